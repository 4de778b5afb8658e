//! One connection a host, kept by ssh itself: a master process that outlives a command by a minute, so that the next
//! command finds it. It knows where control sockets are and how a master is started; what is said over it is not its
//! business.
//!
//! ssh does everything that is about identity: the user's configuration, agent, jump hosts and known hosts, and an
//! unknown or changed host key is refused.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use openssh::Session;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use vice_core::app::ProcessEnv;
use vice_core::{Code, Context, Digest, Fault, Millis, Result};

use super::super::hosts::Host;
use super::trouble;

/// How long a master waits for another command after the last one.
const PERSISTS: &str = "ControlPersist=60";

/// A socket's path has at most 108 bytes, and ssh adds 17 while it makes one.
const SOCKET_BYTES_MAX: usize = 88;

/// The part of ssh's log that is part of an error.
const LOG_BYTES_MAX: u64 = 8 * 1024;

/// How often a lock or a child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How connections are made.
#[derive(Debug, Clone)]
pub(super) struct Dialling {
    /// The folder of the control sockets, for their owner only.
    pub(super) dir: PathBuf,
    /// A configuration file of ssh to use instead of the user's.
    pub(super) config: Option<PathBuf>,
    /// How long connecting may take.
    pub(super) connect_timeout: Millis,
    /// Held while a connection is made: so many at a time, because each costs this machine a process and both an exchange of
    /// keys.
    pub(super) turns: Arc<Semaphore>,
}

/// Where control sockets go: a folder of the session where there is one, else one below /tmp that is named after the
/// user.
pub(super) fn control_dir(env: &ProcessEnv) -> PathBuf {
    let name = format!("vice-ssh-{}", rustix::process::geteuid().as_raw());
    let places = ["XDG_RUNTIME_DIR", "TMPDIR"].iter().filter_map(|var| env.get(var)).map(PathBuf::from);
    let short = |dir: &PathBuf| dir.is_absolute() && dir.as_os_str().len() + name.len() + 18 <= SOCKET_BYTES_MAX;
    places.filter(|dir| dir.is_dir()).find(short).unwrap_or_else(|| PathBuf::from("/tmp")).join(name)
}

/// A session on a host: over a master that is there, or over a new one.
///
/// # Errors
/// `Unreachable` with what ssh said and what to do about it.
pub(super) async fn open(dialling: &Dialling, host: &Host) -> Result<Session> {
    own_dir(&dialling.dir)?;
    let socket = dialling.dir.join(name(dialling, host));
    if let Some(session) = find(&socket).await {
        return Ok(session);
    }
    let _lock = lock(&socket, patience(dialling)).await?;
    // Somebody may have been faster.
    if let Some(session) = find(&socket).await {
        return Ok(session);
    }
    remove(&socket)?;
    // It is never closed.
    let _turn = dialling.turns.acquire().await;
    start(dialling, host, &socket).await?;
    find(&socket).await.ok_or_else(|| {
        Fault::new(Code::Unreachable, format!("The connection to {} was made and is gone again.", host.name))
            .hint("Try again; `ssh -v` to the host shows whether it ends connections by itself.")
    })
}

/// The same for everything that makes the connection what it is.
fn name(dialling: &Dialling, host: &Host) -> String {
    let key = host.address.key.as_deref().unwrap_or_default();
    let config = dialling.config.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
    let parts = format!("{}\n{key}\n{config}", host.address);
    Digest::of(parts.as_bytes()).to_string().chars().take(16).collect()
}

async fn find(socket: &Path) -> Option<Session> {
    if !socket.exists() {
        return None;
    }
    let session = Session::resume_mux(socket.into(), None);
    session.check().await.ok().map(|()| session)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(Code::StateUnwritable, || format!("{} can't be removed.", path.display()))
        }
        _ => Ok(()),
    }
}

/// Whoever can write there can speak as this user, so that the folder has to be this user's alone.
fn own_dir(dir: &Path) -> Result<()> {
    let unmade = || format!("The folder for connections {} can't be made.", dir.display());
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => made.context(Code::StateUnwritable, unmade)?,
    }
    let facts = std::fs::symlink_metadata(dir).context(Code::StateUnwritable, unmade)?;
    let own = facts.is_dir() && facts.uid() == rustix::process::geteuid().as_raw();
    if own && facts.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(Fault::new(Code::StateUnwritable, format!("{} is not a folder of this user alone.", dir.display()))
        .hint("Remove it, or set XDG_RUNTIME_DIR to a folder of your own."))
}

fn patience(dialling: &Dialling) -> Duration {
    // The handshake comes after the connection; a command that stands for it may never end.
    dialling.connect_timeout.as_duration().saturating_mul(2).saturating_add(Duration::from_secs(10))
}

/// Two commands that start at once share one master.
async fn lock(socket: &Path, at_most: Duration) -> Result<File> {
    let path = socket.with_extension("lock");
    let unmade = || format!("{} can't be written.", path.display());
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.context(Code::StateUnwritable, unmade)?;
    let deadline = Instant::now() + at_most;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => sleep(LOOK_EVERY).await,
            Err(error) => return Err(error).context(Code::StateUnwritable, unmade),
        }
    }
}

async fn start(dialling: &Dialling, host: &Host, socket: &Path) -> Result<()> {
    let log = socket.with_extension("log");
    remove(&log)?;
    let mut command = command(dialling, host, socket, &log);
    let mut child = command.spawn().map_err(|error| {
        Fault::new(Code::Unreachable, "The program ssh can't be started.")
            .hint("Install an OpenSSH client, or put it on PATH.")
            .detail("trouble", "no-ssh")
            .because(error)
    })?;
    let ended = timeout(patience(dialling), child.wait()).await;
    let said = tail(&log);
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(_)) => Err(trouble::connecting(host, &said)),
        Ok(Err(error)) => Err(error).context(Code::Io, || "ssh can't be waited for.".to_owned()),
        Err(_) => {
            let _killed = child.start_kill();
            Err(trouble::connecting(host, &format!("{said}\nConnection timed out")))
        }
    }
}

fn tail(log: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let from = file.metadata()?.len().saturating_sub(LOG_BYTES_MAX);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the master outlives the command that starts it; CommandRunner runs commands to their end"
)]
fn command(dialling: &Dialling, host: &Host, socket: &Path, log: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("ssh");
    let seconds = dialling.connect_timeout.0.div_ceil(1_000).max(1);
    command.args(["-M", "-N", "-f"]).arg("-S").arg(socket).arg("-E").arg(log);
    if let Some(config) = &dialling.config {
        command.arg("-F").arg(config);
    }
    let timeout = format!("ConnectTimeout={seconds}");
    let options = [
        PERSISTS,
        &timeout,
        // Nobody is there to be asked, and a host that is not known is not trusted.
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        // A link that was cut is noticed, whatever TCP thinks.
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
        // What the user has for interactive work is in the way here.
        "ClearAllForwardings=yes",
        "ForwardX11=no",
        "RemoteCommand=none",
        "RequestTTY=no",
        "PermitLocalCommand=no",
    ];
    command.args(options.iter().flat_map(|option| ["-o", *option]));
    if let Some(key) = &host.address.key {
        command.args(["-i", key]);
    }
    if let Some(user) = &host.address.user {
        command.args(["-l", user]);
    }
    if let Some(port) = host.address.port {
        command.arg("-p").arg(port.to_string());
    }
    command.arg("--").arg(&host.address.host);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn sockets_are_where_a_path_is_short_enough() {
        let dir = tempfile::tempdir().unwrap();
        let env = |var: &str, path: &Path| ProcessEnv {
            vars: BTreeMap::from([(var.to_owned(), path.display().to_string())]),
            ..ProcessEnv::default()
        };
        assert!(control_dir(&env("XDG_RUNTIME_DIR", dir.path())).starts_with(dir.path()));
        let long = dir.path().join("long".repeat(30));
        std::fs::create_dir(&long).unwrap();
        assert!(control_dir(&env("TMPDIR", &long)).starts_with("/tmp"));
        assert!(control_dir(&env("TMPDIR", Path::new("/nonexistent"))).starts_with("/tmp"));
    }

    #[test]
    fn a_folder_of_others_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let sockets = dir.path().join("sockets");
        own_dir(&sockets).unwrap();
        own_dir(&sockets).unwrap();
        std::fs::set_permissions(&sockets, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(own_dir(&sockets).unwrap_err().code(), Code::StateUnwritable);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert_eq!(own_dir(&link).unwrap_err().code(), Code::StateUnwritable);
    }
}
