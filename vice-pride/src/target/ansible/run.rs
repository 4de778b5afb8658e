//! One run of ansible-playbook: a private folder with what it is given, the process with everything that it starts, and
//! what it said. The folder and the processes are gone when the run is over or dropped; when this process is killed, the
//! callback in the folder ends the run and removes the folder.

use std::convert::Infallible;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use vice_core::app::ProcessEnv;
use vice_core::secret::{Masker, Secret};
use vice_core::text::sanitize;
use vice_core::{Code, Context, Fault, Result};

use super::event::{self, Report};
use super::trouble;
use crate::procfs;

/// The plug-in for Ansible that writes events.
const CALLBACK: &str = include_str!("vice_events.py");

/// How often the callback hears that somebody is still there; it allows for several that are late.
const BEAT: Duration = Duration::from_millis(700);

/// The end of what Ansible prints that is kept for the case that it does not even begin, in bytes.
const TAIL_BYTES_MAX: usize = 8 * 1024;

/// The most that is read of a run's events, in bytes; the callback writes no more.
const EVENTS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long after its start Ansible may ask for the vault's password.
const VAULT_WITHIN: Duration = Duration::from_secs(120);

/// Variables that Ansible and ssh may need, beside Ansible's own.
const PASSED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "XDG_RUNTIME_DIR",
    "VIRTUAL_ENV",
    "KRB5CCNAME",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// What Ansible is started with, whatever it is to do.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// The folder of `vice.toml`, where `ansible.cfg` is looked for.
    pub(super) dir: PathBuf,
    /// Another configuration of Ansible.
    pub(super) config: Option<PathBuf>,
    pub(super) inventory: PathBuf,
    pub(super) forks: Option<u32>,
    /// Where private folders are made.
    pub(super) work: PathBuf,
    pub(super) env: std::sync::Arc<ProcessEnv>,
}

/// What is run once.
pub(super) struct Request<'a> {
    pub(super) hosts: Vec<String>,
    /// The plays.
    pub(super) plays: String,
    /// The user's playbook, beside which collections may lie.
    pub(super) playbook: Option<&'a Path>,
    /// Whether it only looks at what would be changed.
    pub(super) check: bool,
    pub(super) limit: Duration,
    /// The password of encrypted files.
    pub(super) vault: Option<Secret>,
    pub(super) masker: Masker,
}

/// What a run came to.
pub(super) struct Ran {
    pub(super) report: Report,
    /// The exit status; none when it was killed.
    pub(super) status: Option<i32>,
    /// Whether it was ended because its time was up.
    pub(super) late: bool,
    /// The end of what it printed, masked.
    pub(super) tail: String,
}

/// A private folder that a run is given. Its name is the run's.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    /// Makes it.
    pub(super) fn new(setting: &Setting) -> Result<Self> {
        let what = || format!("A folder for Ansible can't be made in {}.", setting.work.display());
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&setting.work).context(Code::StateUnwritable, what)?;
        let dir = tempfile::Builder::new().prefix("run-").rand_bytes(20).tempdir_in(&setting.work);
        let folder = Self(dir.context(Code::StateUnwritable, what)?);
        for name in ["callback_plugins", "touched"] {
            std::fs::create_dir(folder.path(name)).context(Code::StateUnwritable, what)?;
        }
        folder.write("callback_plugins/vice_events.py", CALLBACK)?;
        Ok(folder)
    }

    /// What the run is called, on hosts too.
    pub(super) fn name(&self) -> String {
        self.0.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file that nobody else can read.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let what = || format!("{name} of a run of Ansible can't be written.");
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(self.path(name));
        let mut file = file.context(Code::StateUnwritable, what)?;
        std::io::Write::write_all(&mut file, text.as_bytes()).context(Code::StateUnwritable, what)
    }
}

/// The process and everything that it has started.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            // It can't start anything any more. One that has ended already is what is wanted.
            kill_process(leader, Signal::STOP).ok();
            // Since ansible-core 2.19 workers are in sessions of their own.
            for pid in descendants(leader) {
                kill_process(pid, Signal::KILL).ok();
            }
            kill_process_group(leader, Signal::KILL).ok();
        }
    }
}

/// Everything that a process has started and that has still a parent there, as far as `/proc` tells.
fn descendants(of: Pid) -> Vec<Pid> {
    let parent = |pid: u32| procfs::parent(&procfs::stat(pid)?);
    let parents: Vec<(u32, u32)> = procfs::pids().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![of.as_raw_nonzero().get().unsigned_abs()];
    let mut seen = 0;
    while let Some(one) = found.get(seen).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == one).map(|(pid, _)| *pid));
        seen += 1;
    }
    found.into_iter().skip(1).filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).collect()
}

/// Where a program is on `PATH`.
pub(super) fn program(env: &ProcessEnv, name: &str) -> Option<PathBuf> {
    let path = env.get("PATH").unwrap_or_default();
    std::env::split_paths(path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Runs to the end, or to the limit.
///
/// # Errors
/// `BackendMissing` without Ansible, `StateUnwritable`. Anything that a run can come to is no error here.
pub(super) async fn run(setting: &Setting, folder: &Folder, vars: &str, request: &Request<'_>) -> Result<Ran> {
    let program = program(&setting.env, "ansible-playbook").ok_or_else(trouble::missing)?;
    folder.write("site.yml", &request.plays)?;
    folder.write("vars.yml", vars)?;
    folder.write("limit", &(request.hosts.join("\n") + "\n"))?;
    beside(folder, request.playbook);
    let vault = request.vault.as_ref().map(|_| fifo(folder)).transpose()?;
    let mut child = Group(spawn(&program, &arguments(setting, folder, request, vault.as_deref()), setting)?);
    let (stdin, stdout, stderr) = (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take());
    let work = async {
        let watching = async { futures::join!(child.0.wait(), tail(stdout), tail(stderr)) };
        tokio::select! {
            ended = watching => ended,
            never = beat(stdin) => match never {},
            never = feed(vault.as_deref().zip(request.vault.as_ref())) => match never {},
        }
    };
    let ended = tokio::time::timeout(request.limit, work).await;
    drop(child);
    let report = event::read(&events(&folder.path("events")), &request.masker);
    let (status, late, printed) = match ended {
        Ok((status, out, err)) => (status.ok().and_then(|status| status.code()), false, format!("{out}\n{err}")),
        Err(_) => (None, true, String::new()),
    };
    Ok(Ran { report, status, late, tail: clean(&printed, &request.masker) })
}

/// Collections that lie beside the playbook are found beside ours.
fn beside(folder: &Folder, playbook: Option<&Path>) {
    let collections = playbook.and_then(Path::parent).map(|dir| dir.join("collections"));
    if let Some(collections) = collections.filter(|dir| dir.is_dir())
        && let Err(error) = std::os::unix::fs::symlink(&collections, folder.path("collections"))
    {
        tracing::warn!(%error, "collections beside the playbook can't be used");
    }
}

fn arguments(setting: &Setting, folder: &Folder, request: &Request<'_>, vault: Option<&Path>) -> Vec<String> {
    let at = |name: &str| format!("@{}", folder.path(name).display());
    let mut words: Vec<String> =
        ["-i".to_owned(), setting.inventory.display().to_string(), "--limit".to_owned(), at("limit")].into();
    words.extend(["-e".to_owned(), at("vars.yml")]);
    if request.check {
        words.extend(["--check", "--diff"].map(str::to_owned));
    }
    if let Some(forks) = setting.forks {
        words.extend(["--forks".to_owned(), forks.to_string()]);
    }
    if let Some(vault) = vault {
        words.extend(["--vault-password-file".to_owned(), vault.display().to_string()]);
    }
    words.push(folder.path("site.yml").display().to_string());
    words
}

/// The environment from scratch: a few variables and what the user says to Ansible itself.
fn environment(setting: &Setting) -> Vec<(String, String)> {
    let wanted = |name: &str| PASSED.contains(&name) || name.starts_with("ANSIBLE_");
    let own = setting.env.vars.iter().filter(|(name, _)| wanted(name));
    let mut vars: Vec<(String, String)> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    let is_utf8 = |name: &str| setting.env.get(name).is_some_and(|value| value.to_lowercase().contains("utf"));
    if !is_utf8("LC_ALL") && (setting.env.get("LC_ALL").is_some() || !is_utf8("LANG")) {
        vars.push(("LC_ALL".to_owned(), "C.UTF-8".to_owned()));
    }
    let config = setting.config.iter().map(|path| ("ANSIBLE_CONFIG", path.display().to_string()));
    let fixed = [("ANSIBLE_NOCOLOR", "1"), ("ANSIBLE_RETRY_FILES_ENABLED", "0"), ("ANSIBLE_FORCE_COLOR", "0")];
    vars.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
    vars.extend(config.map(|(name, value)| (name.to_owned(), value)));
    vars
}

#[expect(
    clippy::disallowed_methods,
    reason = "the run is kept on a leash by its standard input, which the runner of commands does not offer"
)]
fn spawn(program: &Path, arguments: &[String], setting: &Setting) -> Result<Child> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&setting.dir).env_clear().envs(environment(setting));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A Ctrl-C is heard by vice, which ends at a point of its own.
    command.process_group(0).kill_on_drop(true);
    command.spawn().map_err(|error| {
        Fault::new(Code::BackendMissing, format!("{} can't be started.", program.display()))
            .because(error)
            .hint("Try `ansible-playbook --version`.")
    })
}

/// Says that somebody is there until it is dropped. When the other side does not listen, the run is ending.
async fn beat(stdin: Option<ChildStdin>) -> Infallible {
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if let Some(mut stdin) = stdin {
        while stdin.write_all(b".").await.is_ok() {
            ticks.tick().await;
        }
    }
    std::future::pending().await
}

async fn tail(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        let above = kept.len().saturating_sub(TAIL_BYTES_MAX);
        kept.drain(..above);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn clean(text: &str, masker: &Masker) -> String {
    // What was cut at its beginning may begin with the end of a secret.
    let lines = masker.mask_cut(text);
    lines.lines().map(sanitize).filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

fn events(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| std::io::Read::read_to_end(&mut std::io::Read::take(file, EVENTS_BYTES_MAX), &mut bytes));
    if let Err(error) = read {
        tracing::debug!(%error, "the run of Ansible left no events");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A pipe by name, so that a password is never on disk.
fn fifo(folder: &Folder) -> Result<PathBuf> {
    let path = folder.path("vault");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
        .context(Code::StateUnwritable, || "A pipe for the vault's password can't be made.".to_owned())?;
    Ok(path)
}

/// Hands the password over to whoever opens the pipe.
async fn feed(pipe: Option<(&Path, &Secret)>) -> Infallible {
    if let Some((path, secret)) = pipe {
        let begun = Instant::now();
        // Ansible asks when it starts; later nobody does.
        while begun.elapsed() < VAULT_WITHIN {
            hand_over(path, secret);
            sleep(Duration::from_millis(30)).await;
        }
    }
    std::future::pending().await
}

/// Until somebody reads, the pipe can't be opened for writing.
fn hand_over(path: &Path, secret: &Secret) {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = std::fs::OpenOptions::new().write(true).custom_flags(nonblocking).open(path);
    if let Ok(mut pipe) = opened
        && let Err(error) = std::io::Write::write_all(&mut pipe, format!("{}\n", secret.reveal()).as_bytes())
    {
        tracing::debug!(%error, "the password of the vault was not read");
    }
}
