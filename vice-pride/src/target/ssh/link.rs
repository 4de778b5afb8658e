//! One host: the session on it, and calls of vice's script there. The script is uploaded by its digest when the host
//! does not have it; what it answers is read within bounds.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use openssh::{Child, Session, Stdio};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;
use vice_core::secret::Masker;
use vice_core::{Code, Context, Digest, Fault, Result};

use super::super::hosts::Host;
use super::master::{self, Dialling};
use super::trouble::{self, Said, status};

/// What runs on hosts.
const SCRIPT: &str = concat!(include_str!("../host_common.sh"), include_str!("host.sh"));

/// Reads the script where it is, in the shell that is there already. It says by its exit status that the folder (90) or the
/// script (91) is not there, or that somebody else could have written it (92).
const BOOT: &str = r#"c=$1 r=$2; shift 2; case $r in "~/"*) r=$HOME/${r#"~/"};; esac; w=$r/bin/$0; if [ -f "$w" ]; then if [ -L "$w" ]; then echo "$w"; exit 92; fi; for f in "$w" "$r/bin"; do [ -O "$f" ] || { echo "$f"; exit 92; }; done; set -- "$c" "$r" "$@"; . "$w"; elif [ -d "$r" ]; then exit 91; else exit 90; fi"#;

/// Puts the script where it belongs, and looks for what it can't do without.
const INSTALL: &str = r#"umask 077; r=$1; case $r in "~/"*) r=$HOME/${r#"~/"};; esac; for t in flock tar sha256sum readlink sed; do command -v $t >/dev/null 2>&1 || { echo $t; exit 27; }; done; mkdir -p "$r/bin" || { echo "$r can not be made"; exit 28; }; [ -O "$r/bin" ] || { echo "$r/bin"; exit 92; }; case $(ls -ld "$r/bin/.") in ????????w*) echo "$r/bin"; exit 92;; esac; n=$r/bin/$0.$$; cat >"$n" || { echo "$n can not be written"; exit 28; }; s=$(sha256sum "$n"); [ "${s%% *}" = "$2" ] || { rm -f "$n"; echo "The script did not arrive whole"; exit 25; }; mv -f "$n" "$r/bin/$0""#;

/// The most that is kept of an answer: ten thousand units take less.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many calls one connection carries at a time: sshd allows ten unless it is told otherwise, and the output of
/// instances may be followed beside them.
const CALLS_MAX: usize = 6;

/// How long an upload may take at least; a slow link is not a broken one.
const UPLOAD_AT_LEAST: Duration = Duration::from_secs(120);

/// The slowest link that an upload waits for, in bytes a second.
const UPLOAD_RATE_MIN: u64 = 64 * 1024;

/// What the script reads.
pub(super) enum Input<'a> {
    Nothing,
    Bytes(&'a [u8]),
    File(PathBuf),
}

/// A call of the script.
pub(super) struct Call<'a> {
    pub(super) command: &'a str,
    pub(super) args: Vec<String>,
    pub(super) input: Input<'a>,
    pub(super) limit: Duration,
}

impl<'a> Call<'a> {
    /// A call that looks or says something short.
    pub(super) fn short(command: &'a str, args: Vec<String>) -> Self {
        Self { command, args, input: Input::Nothing, limit: Duration::from_secs(90) }
    }

    /// How long an upload of so many bytes may take.
    pub(super) fn upload_limit(bytes: u64) -> Duration {
        UPLOAD_AT_LEAST.saturating_add(Duration::from_secs(bytes / UPLOAD_RATE_MIN))
    }
}

/// One host and the session on it.
pub(super) struct Link {
    pub(super) host: Host,
    session: Mutex<Option<Arc<Session>>>,
    calls: Semaphore,
    /// The release folders that the host had when it was last looked at; none when it was not.
    pub(super) artifacts: std::sync::Mutex<Option<BTreeSet<String>>>,
    /// Held while an artifact is on its way, so that two units on one host do not send it twice.
    pub(super) uploads: Mutex<()>,
}

impl Link {
    pub(super) fn new(host: Host) -> Self {
        Self {
            host,
            session: Mutex::new(None),
            calls: Semaphore::new(CALLS_MAX),
            artifacts: std::sync::Mutex::new(None),
            uploads: Mutex::new(()),
        }
    }

    /// Notes which release folders the host has.
    pub(super) fn has(&self, artifacts: BTreeSet<String>) {
        *self.artifacts.lock().unwrap_or_else(PoisonError::into_inner) = Some(artifacts);
    }

    /// Whether the host is known not to have a release folder; it is taken to have it from now on.
    pub(super) fn lacks(&self, artifact: &str) -> bool {
        let mut known = self.artifacts.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_mut().is_some_and(|known| known.insert(artifact.to_owned()))
    }

    async fn session(&self, dialling: &Dialling) -> Result<Arc<Session>> {
        let mut session = self.session.lock().await;
        if let Some(session) = session.as_ref() {
            return Ok(Arc::clone(session));
        }
        let opened = Arc::new(master::open(dialling, &self.host).await?);
        *session = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Starts the script. A session that was kept may have ended in the meantime: then there is one more try, because
    /// nothing was sent.
    pub(super) async fn start(
        &self,
        dialling: &Dialling,
        root: &str,
        command: &str,
        args: &[String],
    ) -> Result<Child<Arc<Session>>> {
        let name = script_name();
        let words: Vec<&str> =
            [BOOT, &name, command, root].into_iter().chain(args.iter().map(String::as_str)).collect();
        self.spawn(dialling, &words).await
    }

    async fn spawn(&self, dialling: &Dialling, words: &[&str]) -> Result<Child<Arc<Session>>> {
        let mut tries = 0;
        loop {
            let session = self.session(dialling).await?;
            let mut command = session.arc_command("sh");
            command.arg("-c").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            match command.spawn().await {
                Ok(child) => return Ok(child),
                Err(error) => {
                    *self.session.lock().await = None;
                    tries += 1;
                    if tries == 2 {
                        return Err(trouble::cut_off(&self.host, &error));
                    }
                }
            }
        }
    }

    /// Calls the script, which is brought to the host first when it is not there.
    ///
    /// # Errors
    /// `Unreachable` when the host can't be asked or broke off, `TimedOut` when it took too long. What the script says
    /// is no error here.
    pub(super) async fn call(&self, dialling: &Dialling, root: &str, call: &Call<'_>) -> Result<Said> {
        let said = self.once(dialling, root, call).await?;
        if !matches!(said.status, status::NO_SCRIPT | status::NOTHING_THERE) {
            return Ok(said);
        }
        self.install(dialling, root).await?;
        self.once(dialling, root, call).await
    }

    /// As [`Link::call`], and leaves a host alone on which vice has never been.
    pub(super) async fn look(&self, dialling: &Dialling, root: &str, call: &Call<'_>) -> Result<Option<Said>> {
        let said = self.once(dialling, root, call).await?;
        match said.status {
            status::NOTHING_THERE => Ok(None),
            status::NO_SCRIPT => self.call(dialling, root, call).await.map(Some),
            _ => Ok(Some(said)),
        }
    }

    async fn once(&self, dialling: &Dialling, root: &str, call: &Call<'_>) -> Result<Said> {
        // It is never closed.
        let _turn = self.calls.acquire().await;
        let child = self.start(dialling, root, call.command, &call.args).await?;
        self.finish(child, &call.input, call.limit, call.command).await
    }

    async fn install(&self, dialling: &Dialling, root: &str) -> Result<()> {
        let (name, digest) = (script_name(), Digest::of(SCRIPT.as_bytes()).to_string());
        let child = self.spawn(dialling, &[INSTALL, &name, root, &digest]).await?;
        let said = self.finish(child, &Input::Bytes(SCRIPT.as_bytes()), Duration::from_secs(60), "install").await?;
        if said.status == 0 {
            return Ok(());
        }
        Err(trouble::refused(&self.host, None, "", &said, &Masker::default()))
    }

    async fn finish(
        &self,
        mut child: Child<Arc<Session>>,
        input: &Input<'_>,
        limit: Duration,
        what: &str,
    ) -> Result<Said> {
        let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
        let whole = async {
            let (fed, out, err) = futures::join!(feed(stdin, input), read(stdout), read(stderr));
            fed?;
            let ended = child.wait().await.map_err(|error| trouble::cut_off(&self.host, &error))?;
            // Signals of the other side come as no status at all.
            Ok(Said { status: ended.code().unwrap_or(-1), stdout: out, stderr: err })
        };
        let answer: Result<Said> = match timeout(limit, whole).await {
            Ok(answer) => answer,
            Err(_) => Err(trouble::late(&self.host, what, limit.as_secs())),
        };
        if answer.is_err() {
            // Whatever it was: the next call makes sure of the connection first.
            *self.session.lock().await = None;
        }
        answer
    }
}

pub(super) fn script_name() -> String {
    format!("host-{}.sh", Digest::of(SCRIPT.as_bytes()).short())
}

/// Gives the script what it reads. One that ends without reading it all says why by its status.
async fn feed(stdin: Option<impl AsyncWrite + Unpin>, input: &Input<'_>) -> Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    let fed = match input {
        Input::Nothing => Ok(()),
        Input::Bytes(bytes) => stdin.write_all(bytes).await,
        Input::File(path) => {
            let mut file =
                tokio::fs::File::open(path).await.context(Code::Io, || format!("{} can't be read.", path.display()))?;
            let mut buffer = vec![0; 256 * 1024];
            loop {
                let read = file.read(&mut buffer).await.context(Code::Io, || "An upload can't be read.".to_owned())?;
                if read == 0 {
                    break Ok(());
                }
                if let Err(error) = stdin.write_all(&buffer[..read]).await {
                    break Err(error);
                }
            }
        }
    };
    if let Err(error) = fed {
        tracing::debug!(%error, "the host did not read everything");
    }
    Ok(())
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    while let Ok(read) = pipe.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        // The rest is read and dropped, so that whoever writes it can end.
        let room = ANSWER_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The fault for an answer that makes no sense.
pub(super) fn nonsense(host: &Host, what: &str) -> Fault {
    Fault::new(Code::Decode, format!("What {} says of its units can't be read: {what}.", host.name))
        .hint("Is the folder on the host used by another version of vice?")
        .detail("host", host.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_through_any_login_shell_has_no_newline_and_no_exclamation_mark() {
        for text in [BOOT, INSTALL] {
            assert!(!text.contains(['\n', '!', '\'']), "{text}");
        }
    }
}
