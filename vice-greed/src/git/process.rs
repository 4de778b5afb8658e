//! Starting the user's `git`: with the user's settings and keys, without those of a repository that happens to be around,
//! never asking anybody at the keyboard, and never longer than allowed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Duration, timeout};
use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault, Result};

use crate::shared::batch::READ_BYTES_MAX;

/// How long one command may take; a first fetch of a long history is the longest.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The most that is read of what git prints: a page of batches, of which at least one is whole.
const OUTPUT_BYTES_MAX: u64 = READ_BYTES_MAX;
const ERROR_BYTES_MAX: u64 = 64 * 1024;

/// Variables that would make git work in another repository than the one that is meant, as they are set within hooks.
const OTHERS: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
];

const SETTINGS: [&str; 18] = [
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "protocol.ext.allow=never",
    "-c",
    "credential.interactive=false",
    "-c",
    "core.fsync=objects,reference",
    "-c",
    "fetch.fsckObjects=true",
    "-c",
    "gc.autoDetach=false",
    "-c",
    "maintenance.autoDetach=false",
    "-c",
    "push.recurseSubmodules=no",
];

/// A way to run git in a folder.
pub(crate) struct Git {
    dir: PathBuf,
    url: String,
    vars: BTreeMap<String, String>,
}

/// What a command of git gave.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Output {
    pub(crate) fn ok(&self) -> bool {
        self.status == Some(0)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

impl Git {
    pub(crate) fn new(env: &ProcessEnv, dir: PathBuf) -> Self {
        let mut vars = env.vars.clone();
        vars.retain(|name, _| !OTHERS.contains(&name.as_str()));
        for (name, value) in [
            // Messages are read, so they must be in the language that is known here.
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ALLOW_PROTOCOL", "ssh:https:http:git:file"),
            ("GIT_PROTOCOL_FROM_USER", "1"),
        ] {
            vars.insert(name.to_owned(), value.to_owned());
        }
        Self { dir, url: String::new(), vars }
    }

    /// From now on works in the repository of that folder, and talks to that URL.
    pub(crate) fn work_in(&mut self, dir: PathBuf, url: &str) {
        self.dir = dir;
        url.clone_into(&mut self.url);
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether the other repository lies on this machine.
    pub(crate) fn is_near(&self) -> bool {
        self.url.starts_with('/')
    }

    /// Sees to it that commits have an author, and that ssh does not ask at a keyboard that nobody looks at.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        if !self.run(&["var", "GIT_COMMITTER_IDENT"], None).await?.ok() {
            for role in ["AUTHOR", "COMMITTER"] {
                self.vars.insert(format!("GIT_{role}_NAME"), "vice".to_owned());
                self.vars.insert(format!("GIT_{role}_EMAIL"), "vice@localhost".to_owned());
            }
        }
        let speaks_ssh = !self.is_near() && !self.url.starts_with("http");
        let chosen = ["GIT_SSH_COMMAND", "GIT_SSH"].iter().any(|name| self.vars.contains_key(*name));
        if speaks_ssh && !chosen {
            let configured = self.run(&["config", "--get", "core.sshCommand"], None).await?;
            let command = if configured.ok() { configured.text() } else { "ssh".to_owned() };
            self.vars.insert("GIT_SSH_COMMAND".to_owned(), format!("{command} -oBatchMode=yes"));
        }
        Ok(())
    }

    /// Runs a command that must go well, and gives what it printed.
    ///
    /// # Errors
    /// `Backend` with the last line of what git says.
    pub(crate) async fn ok(&self, arguments: &[&str]) -> Result<String> {
        self.ok_with(arguments, None).await
    }

    /// As [`Git::ok`], with something to read.
    pub(crate) async fn ok_with(&self, arguments: &[&str], stdin: Option<Vec<u8>>) -> Result<String> {
        let output = self.run(arguments, stdin).await?;
        if output.ok() { Ok(output.text()) } else { Err(super::errors::local(&output, arguments)) }
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// `BackendMissing` where there is no git, `Unreachable` when it takes too long, `Io`.
    pub(crate) async fn run(&self, arguments: &[&str], stdin: Option<Vec<u8>>) -> Result<Output> {
        let child = self.start(arguments, stdin.is_some())?;
        match timeout(TIMEOUT, talk(child, stdin)).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(Fault::new(Code::Io, "git could not be listened to.").because(error)),
            // Dropping the child has killed it; what it started ends with its pipes.
            Err(_) => {
                let what = arguments.first().copied().unwrap_or_default();
                Err(Fault::new(Code::Unreachable, format!("git {what} did not end within {} s.", TIMEOUT.as_secs()))
                    .hint("Look whether the repository answers: `git ls-remote` with the same URL."))
            }
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "batches are bytes of any size, which the runner of commands cuts and masks"
    )]
    fn start(&self, arguments: &[&str], reads: bool) -> Result<Child> {
        let mut command = Command::new("git");
        command
            .args(SETTINGS)
            .args(arguments)
            .current_dir(&self.dir)
            .env_clear()
            .envs(&self.vars)
            .stdin(if reads { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C is heard by vice, which ends at a point of its own.
            .process_group(0)
            .kill_on_drop(true);
        command.spawn().map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound && self.dir.is_dir() {
                return Fault::new(Code::BackendMissing, "There is no git on this machine.")
                    .hint("Install git; a history on a git ref is kept through it.");
            }
            Fault::new(Code::Io, "git can't be started.").because(error)
        })
    }
}

async fn talk(mut child: Child, stdin: Option<Vec<u8>>) -> std::io::Result<Output> {
    let (pipe, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let (Some(mut pipe), Some(bytes)) = (pipe, stdin) {
            // Whoever ends early says why by other means.
            pipe.write_all(&bytes).await.ok();
        }
    };
    let ((), stdout, stderr) = tokio::join!(feed, read(out, OUTPUT_BYTES_MAX), read(err, ERROR_BYTES_MAX));
    let (stdout, stderr) = (stdout?, stderr?);
    let status = child.wait().await?;
    Ok(Output { status: status.code(), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() })
}

/// Reads a stream to its end, and keeps the beginning of one that is too long.
async fn read(stream: Option<impl tokio::io::AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        (&mut stream).take(most).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}
