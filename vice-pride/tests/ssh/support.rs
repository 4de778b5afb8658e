//! Targets on the hosts of the lab. Each test has a folder of its own on every host; whatever it started there ends with
//! it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vice_core::app::ProcessEnv;
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::manifest::{HealthAt, RunBy};
use vice_core::payload::ReleaseRef;
use vice_core::port::target::{Change, HealthProbe, Inventory, Op, Target, UnitState, Workload};
use vice_core::{Digest, Millis};
use vice_pride::target::hosts::Host;
use vice_pride::target::ssh::{SshOptions, SshTarget};

use crate::ports::free_port;

/// The folder of the lab's hosts.
pub(crate) fn lab() -> PathBuf {
    let lab = std::env::var("VICE_LAB_SSH").unwrap_or_else(|_| {
        panic!("VICE_LAB_SSH is not set. Run the test with scripts/test or scripts/lab/run COMMAND, which install what is missing: apt-get install -y openssh-server")
    });
    PathBuf::from(lab)
}

/// Fails a test that would wait for ever; decides nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something on the hosts.
pub(crate) async fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A binary that cargo has built beside the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.is_file(), "{} is missing; build the examples", path.display());
    path
}

/// A folder of one test on the hosts of the lab.
pub(crate) struct Ground {
    pub(crate) options: SshOptions,
    folder: String,
    work: tempfile::TempDir,
    lab: PathBuf,
}

impl Ground {
    /// A folder on those hosts, which are written as in `vice.toml`.
    pub(crate) fn on(hosts: &[&str]) -> Self {
        Self::in_lab(&lab(), hosts)
    }

    /// The same in another lab.
    pub(crate) fn in_lab(lab: &Path, hosts: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let folder = format!("t{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let work = tempfile::tempdir().unwrap();
        let options = SshOptions {
            scope: Scope::new(ProjectName::new("shop").unwrap(), EnvName::new("prod").unwrap()),
            hosts: hosts.iter().map(|host| Host::parse(host).unwrap()).collect(),
            instances: 1,
            root: format!("~/{folder}"),
            config: Some(lab.join("config")),
            run: RunBy::Process,
            services: String::new(),
            health_at: HealthAt::Address,
            port: Some(free_port()),
            concurrency: 8,
            connect_timeout: Millis::from_secs(10),
            work: work.path().to_path_buf(),
            env: Arc::new(ProcessEnv::default()),
            sharing: None,
            ui: None,
        };
        Self { options, folder, work, lab: lab.to_path_buf() }
    }

    /// A new client, as every command makes one.
    pub(crate) fn target(&self) -> Arc<SshTarget> {
        Arc::new(SshTarget::new(self.options.clone()))
    }

    /// The folder on a host of the lab, as this machine sees it.
    pub(crate) fn root(&self, host: &str) -> PathBuf {
        self.lab.join("homes").join(host).join(&self.folder)
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.work.path().to_path_buf()
    }

    /// What was carried out on a host so far, a line each, without times.
    pub(crate) fn effects(&self, host: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.root(host).join("effects.log")).unwrap_or_default();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    pub(crate) async fn inventory(&self) -> Inventory {
        self.target().inventory().await.unwrap()
    }

    pub(crate) async fn unit(&self, name: &str) -> UnitState {
        self.inventory().await.units.into_iter().find(|unit| unit.name == name).unwrap()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let homes = std::fs::read_dir(self.lab.join("homes")).unwrap().flatten();
        let marks: Vec<String> = homes.map(|home| home.path().join(&self.folder).display().to_string()).collect();
        for pid in processes(&marks) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            // It may be gone by itself.
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Processes that name one of the folders, supervisors first: they would start again what ends.
pub(crate) fn processes(marks: &[String]) -> Vec<i32> {
    let pids =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let read = |pid: i32, name: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (mut first, mut then) = (Vec::new(), Vec::new());
    for pid in pids.filter(|pid| *pid != i32::try_from(std::process::id()).unwrap()) {
        let line = read(pid, "cmdline");
        let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default().display().to_string();
        if marks.iter().any(|mark| line.contains(mark.as_str())) {
            first.push(pid);
        } else if marks.iter().any(|mark| folder.starts_with(mark.as_str())) {
            then.push(pid);
        }
    }
    first.extend(then);
    first
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
        objects: Vec::new(),
        images: BTreeMap::new(),
    }
}

/// The same with files of its own.
pub(crate) fn with_files(mut workload: Workload, dir: &Path, content: &str) -> Workload {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("content"), content).unwrap();
    workload.files = Some(dir.to_path_buf());
    workload.release.artifact = Some(Digest::of(content.as_bytes()));
    workload
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
