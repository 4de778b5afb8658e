//! A folder with a target in it, the services that run there, and a look at the process table.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use vice_core::app::ProcessEnv;
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::payload::ReleaseRef;
use vice_core::port::target::{Change, HealthProbe, Inventory, Op, Target, UnitState, Workload};
use vice_core::time::SystemClock;
use vice_core::{Digest, Millis};
use vice_pride::target::local::front::ClientOptions;
use vice_pride::target::local::{LocalOptions, LocalTarget};

/// Fails a test that would wait for ever; decides nothing else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A binary that cargo has built beside the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.is_file(), "{} is missing; build the examples", path.display());
    path
}

/// A folder with a target. Whatever runs there ends with it.
pub(crate) struct Ground {
    pub(crate) dir: PathBuf,
    pub(crate) port: Option<u16>,
    pub(crate) metrics: Option<u16>,
    _keep: TempDir,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self::at("local")
    }

    pub(crate) fn at(name: &str) -> Self {
        let keep = tempfile::tempdir().unwrap();
        Self { dir: keep.path().join(name), port: None, metrics: None, _keep: keep }
    }

    /// A new client, as every command makes one.
    pub(crate) fn target(&self) -> Arc<LocalTarget> {
        let vars: BTreeMap<String, String> =
            [("PATH", "/usr/bin:/bin"), ("HOME", "/nonexistent"), ("HIDDEN", "do-not-pass")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        Arc::new(LocalTarget::new(LocalOptions {
            dir: self.dir.clone(),
            scope: Scope::new(ProjectName::new("shop").unwrap(), EnvName::new("dev").unwrap()),
            exe: example("fixture_agent"),
            port: self.port,
            metrics: self.metrics,
            clients: ClientOptions::default(),
            clock: Arc::new(SystemClock),
            env: Arc::new(ProcessEnv { vars, ..ProcessEnv::default() }),
        }))
    }

    pub(crate) async fn inventory(&self) -> Inventory {
        self.target().inventory().await.unwrap()
    }

    pub(crate) async fn unit(&self, name: &str) -> UnitState {
        self.inventory().await.units.into_iter().find(|unit| unit.name == name).unwrap()
    }

    pub(crate) async fn url(&self) -> String {
        self.inventory().await.url.unwrap()
    }

    pub(crate) async fn place(&self, unit: &str, workload: &Workload) -> Op {
        let op = place(&format!("place-{unit}-{}", workload.release.version), 1, unit, workload, None);
        self.target().apply(&op, Some(workload)).await.unwrap();
        op
    }

    /// The agent, while one runs.
    pub(crate) fn agent(&self) -> Option<u32> {
        let dir = self.dir.to_str().unwrap();
        processes().find(|pid| {
            let words = proc_file(*pid, "cmdline");
            let mut words = words.split('\0');
            words.any(|word| word == "agent") && words.any(|word| word == dir)
        })
    }

    /// How the tokens of this folder's processes begin.
    pub(crate) fn token(&self) -> String {
        format!("{}.", Digest::of(self.dir.to_str().unwrap().as_bytes()).short())
    }

    /// The running instances, each by pid.
    pub(crate) fn instances(&self) -> Vec<u32> {
        let token = format!("VICE_INSTANCE={}", self.token());
        processes().filter(|pid| proc_file(*pid, "environ").contains(&token)).collect()
    }

    pub(crate) fn kill_agent(&self) {
        let agent = self.agent().expect("an agent runs");
        kill(agent);
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // First the agent, which would start again what ends.
        self.agent().into_iter().for_each(kill);
        self.instances().into_iter().for_each(kill);
    }
}

pub(crate) fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("{error}"),
    }
}

fn processes() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

pub(crate) fn proc_file(pid: u32, name: &str) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A release of the fixture service.
pub(crate) fn service(version: &str, flags: &[&str]) -> Workload {
    let mut command = vec![example("fixture_server").to_str().unwrap().to_owned()];
    command.extend(["--port", "{{port}}", "--version", version].map(str::to_owned));
    command.extend(flags.iter().map(|flag| (*flag).to_owned()));
    Workload {
        release: ReleaseRef {
            version: version.to_owned(),
            artifact: None,
            source: String::new(),
            config: None,
            recipe: None,
        },
        files: None,
        command,
        environment: BTreeMap::new(),
        objects: Vec::new(),
        images: BTreeMap::new(),
        health: Some(HealthProbe {
            path: Some("/health".to_owned()),
            interval: Millis(100),
            timeout: Millis(2_000),
            healthy_after: 1,
            unhealthy_after: 3,
        }),
        ready_timeout: Millis::from_secs(20),
        drain_timeout: Millis::from_secs(10),
        stop_timeout: Millis::from_secs(5),
        reload: None,
    }
}

pub(crate) fn place(id: &str, epoch: u64, unit: &str, workload: &Workload, before: Option<&Workload>) -> Op {
    Op {
        id: id.to_owned(),
        epoch,
        unit: unit.to_owned(),
        change: Change::Place(workload.release.clone()),
        before: before.map(|before| before.release.clone()),
    }
}

/// A connection that is kept alive.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn connect(url: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).await.map_err(|error| error.to_string())?;
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// The text at a path.
    pub(crate) async fn get(&mut self, path: &str) -> String {
        let request = Request::get(path).header("host", "test").body(Full::default()).unwrap();
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8_lossy(&body).into_owned()
    }

    /// Status, who answered, and the body.
    pub(crate) async fn ask(&mut self, body: Option<Bytes>) -> Result<(u16, String, Bytes), String> {
        let method = if body.is_some() { "POST" } else { "GET" };
        let request = Request::builder().method(method).uri("/").header("host", "test");
        let request = request.body(Full::new(body.unwrap_or_default())).unwrap();
        self.sender.ready().await.map_err(|error| error.to_string())?;
        let response = self.sender.send_request(request).await.map_err(|error| error.to_string())?;
        let who = response.headers().get("x-who").map_or("", |who| who.to_str().unwrap()).to_owned();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok((status, who, body))
    }
}

/// The version that answers there.
pub(crate) async fn version_at(url: &str) -> String {
    let (status, who, _) = Client::connect(url).await.unwrap().ask(None).await.unwrap();
    assert_eq!(status, 200, "{who}");
    who.split(' ').next().unwrap().to_owned()
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, so: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
