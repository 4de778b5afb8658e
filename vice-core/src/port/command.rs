//! Running a command of the project: tasks, hooks, command checks, graph steps, notification commands.
//!
//! One implementation stands behind this port. It takes an argument list (never a shell string), builds the
//! environment from scratch, bounds and masks the output, and ends the whole process group at the deadline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::fault::Result;
use crate::secret::{Masker, Secret};
use crate::time::Millis;

/// A value of a child's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// A value that anyone may read.
    Plain(String),
    /// A value that must not be shown.
    Secret(Secret),
}

impl EnvValue {
    /// The value for the child.
    #[must_use]
    pub fn reveal(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.reveal(),
        }
    }
}

/// The largest part of a stream's end that is kept, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Takes the lines of a command as they come.
pub type LineSink = Arc<dyn Fn(Stream, &str) + Send + Sync>;

/// What to run.
#[derive(Clone)]
pub struct CommandSpec {
    /// The program and its arguments; never empty.
    pub argv: Vec<String>,
    /// The working folder.
    pub dir: PathBuf,
    /// Variables beside the few that every child gets (PATH, HOME, LANG, TMPDIR, USER).
    pub env: BTreeMap<String, EnvValue>,
    /// What the child reads on standard input; nothing when none.
    pub stdin: Option<Secret>,
    /// How long it may take before its process group is killed.
    pub timeout: Millis,
    /// What is replaced in everything it prints.
    pub masker: Masker,
    /// Called with each line as it comes, masked, without line end; for progress.
    pub on_line: Option<LineSink>,
}

impl CommandSpec {
    /// A command without variables, input or progress.
    #[must_use]
    pub fn new(argv: Vec<String>, dir: PathBuf, timeout: Millis) -> Self {
        Self { argv, dir, env: BTreeMap::new(), stdin: None, timeout, masker: Masker::default(), on_line: None }
    }
}

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It was killed because its time was up.
    TimedOut,
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// How it ended.
    pub ended: Ended,
    /// The end of its standard output, at most [`OUTPUT_BYTES_MAX`], masked, invalid UTF-8 replaced.
    pub stdout: String,
    /// The same of its standard error.
    pub stderr: String,
    /// Whether something was left out at the beginning of either.
    pub truncated: bool,
    /// How long it took.
    pub took: Millis,
}

impl CommandOutput {
    /// Whether it exited with 0.
    #[must_use]
    pub const fn ok(&self) -> bool {
        matches!(self.ended, Ended::Exited(0))
    }

    /// Why it is not ok, with the last line that it printed.
    #[must_use]
    pub fn failure(&self) -> String {
        let how = match self.ended {
            Ended::Exited(status) => format!("exit status {status}"),
            Ended::Signalled(signal) => format!("killed by signal {signal}"),
            Ended::TimedOut => format!("did not end within {}", self.took),
        };
        let last = [&self.stderr, &self.stdout]
            .into_iter()
            .find_map(|text| text.lines().rev().map(str::trim).find(|line| !line.is_empty()));
        match last {
            Some(line) => format!("{how}: {}", line.chars().take(300).collect::<String>()),
            None => how,
        }
    }
}

/// Runs commands.
#[async_trait]
pub trait CommandRunner: Send + Sync + 'static {
    /// Runs to the end or to the deadline.
    ///
    /// # Errors
    /// `Usage` when the program does not exist or can't be executed, `Io` otherwise. A failing command is not an
    /// error here; see [`CommandOutput::ok`].
    async fn run(&self, spec: CommandSpec) -> Result<CommandOutput>;
}
