//! What went wrong, once, for everybody: a [`Fault`] has a stable [`Code`], a message that states one fact,
//! hints that say what to do next, and, where it is known, the place in a file.
//!
//! The code decides the class and the class decides the exit status, so no caller chooses a number.
//! `Display` never repeats the source; whoever prints walks the chain with [`Fault::chain`].

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The result type of everything that can fail in vice.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

/// What a failure or an outcome means for whoever called; fixes the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// 0: done.
    Done,
    /// 1: failed, nothing was changed.
    Failed,
    /// 2: usage or configuration error.
    Usage,
    /// 3: `plan --detailed-exitcode` found changes.
    Changes,
    /// 4: refused by a gate, lock, policy or fence.
    Refused,
    /// 5: verification failed.
    Verification,
    /// 6: failed and rolled back.
    RolledBack,
    /// 7: the outcome is unknown.
    InDoubt,
    /// 8: parked on a gate, a window, a notice or an operator.
    Waiting,
    /// 9: changed and not restored; somebody must look.
    NotRestored,
    /// 130: interrupted by the user.
    Interrupted,
    /// 143: told to stop.
    Terminated,
}

impl Class {
    /// Every class, in the order of the exit table.
    pub const ALL: [Self; 12] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Changes,
        Self::Refused,
        Self::Verification,
        Self::RolledBack,
        Self::InDoubt,
        Self::Waiting,
        Self::NotRestored,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The process exit status, 0..=255.
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Changes => 3,
            Self::Refused => 4,
            Self::Verification => 5,
            Self::RolledBack => 6,
            Self::InDoubt => 7,
            Self::Waiting => 8,
            Self::NotRestored => 9,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// One line for `vice help exit-codes`.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed, nothing was changed",
            Self::Usage => "usage or configuration error",
            Self::Changes => "the plan has changes (plan --detailed-exitcode)",
            Self::Refused => "refused: gate, lock, policy, hold or fence",
            Self::Verification => "verification failed",
            Self::RolledBack => "failed and rolled back",
            Self::InDoubt => "outcome unknown (in doubt, timed out)",
            Self::Waiting => "waiting: parked on a gate, a window, a notice or an operator",
            Self::NotRestored => "changed and not restored: somebody must look",
            Self::Interrupted => "interrupted (SIGINT)",
            Self::Terminated => "terminated (SIGTERM)",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal => $class:ident,)*) => {
        /// A stable name for one kind of failure. Printed, stored and documented; never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code, so that a test can enumerate the exit table.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The stable text, such as `manifest.invalid`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// The class, and with it the exit status.
            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Code::$variant => Class::$class,)* }
            }
        }
    };
}

codes! {
    /// Arguments do not fit together.
    Usage = "usage" => Usage,
    /// A prompt would be needed and is not possible.
    NoInput = "usage.no-input" => Usage,
    /// No `vice.toml` was found.
    ManifestMissing = "manifest.missing" => Usage,
    /// `vice.toml` does not parse or does not make sense.
    ManifestInvalid = "manifest.invalid" => Usage,
    /// A project, environment, graph, check or dashboard of that name does not exist.
    UnknownName = "name.unknown" => Usage,
    /// A name breaks the naming rules.
    InvalidName = "name.invalid" => Usage,
    /// A template names a variable that does not exist.
    Template = "template.invalid" => Usage,
    /// The environment has to be named.
    EnvironmentNeeded = "environment.needed" => Usage,
    /// A production-class environment was not confirmed.
    ConfirmationNeeded = "confirmation.needed" => Usage,
    /// The backend does not offer the operation.
    Unsupported = "backend.unsupported" => Usage,
    /// A backend is known but not compiled in, or not known at all.
    BackendMissing = "backend.missing" => Usage,
    /// A configuration source is broken.
    ConfigInvalid = "config.invalid" => Usage,
    /// A secret can't be decrypted with the keys at hand.
    SecretLocked = "config.secret-locked" => Usage,
    /// The graph has a cycle, a missing output or a wrong type.
    GraphInvalid = "graph.invalid" => Usage,

    /// A file or folder can't be read or written.
    Io = "io" => Failed,
    /// The state folder is read-only or its disk is full.
    StateUnwritable = "state.unwritable" => Failed,
    /// The artifact does not exist.
    ArtifactMissing = "artifact.missing" => Failed,
    /// The artifact's digest is not the expected one.
    ArtifactDigest = "artifact.digest" => Failed,
    /// The archive is broken, hostile or too large.
    ArtifactRejected = "artifact.rejected" => Failed,
    /// A backend could not be reached.
    Unreachable = "backend.unreachable" => Failed,
    /// A backend answered with an error.
    Backend = "backend.failed" => Failed,
    /// The network port is taken.
    PortInUse = "target.port-in-use" => Failed,
    /// An instance did not become healthy in time.
    Unhealthy = "target.unhealthy" => Failed,
    /// A task or hook of the project failed.
    TaskFailed = "task.failed" => Failed,
    /// A notification could not be delivered.
    DeliveryFailed = "notify.failed" => Failed,
    /// A step of a graph failed.
    GraphFailed = "graph.failed" => Failed,
    /// A backup could not be made, verified or restored.
    Backup = "backup.failed" => Failed,
    /// The history is damaged.
    HistoryDamaged = "history.damaged" => Failed,
    /// The history was written by a newer version.
    HistoryNewer = "history.newer" => Failed,
    /// What is wanted was archived, and the archive is not at hand.
    HistoryArchived = "history.archived" => Failed,
    /// Stored content can't be decoded.
    Decode = "decode" => Failed,
    /// Time ran out.
    TimedOut = "timed-out" => InDoubt,
    /// A bug in vice.
    Internal = "internal" => Failed,

    /// Somebody else holds the lease of the environment.
    Locked = "refused.locked" => Refused,
    /// Another holder has taken over; this process must not write any more.
    Fenced = "refused.fenced" => Refused,
    /// Something else was appended first.
    Conflict = "refused.conflict" => Refused,
    /// The version is on hold.
    Held = "refused.held" => Refused,
    /// The observed state is not the one the plan was made for.
    PlanDrifted = "refused.plan-drifted" => Refused,

    /// At least one check failed.
    VerificationFailed = "verify.failed" => Verification,
    /// The deploy failed and the earlier version runs again.
    RolledBack = "rollout.rolled-back" => RolledBack,
    /// What an operation did can't be told.
    InDoubt = "rollout.in-doubt" => InDoubt,
    /// The rollout waits.
    Waiting = "rollout.waiting" => Waiting,
    /// The deploy failed and the earlier version could not be restored.
    NotRestored = "rollout.not-restored" => NotRestored,
    /// The user interrupted.
    Interrupted = "interrupted" => Interrupted,
    /// Something told the process to end.
    Terminated = "terminated" => Terminated,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A span of bytes in a named text, for errors that point at `vice.toml`.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file's name as the user knows it.
    pub file: String,
    /// The whole text, so that the printer can show the line.
    pub text: Arc<str>,
    /// Byte offsets into `text`.
    pub span: Range<usize>,
    /// What to write under the marked span; may be empty.
    pub label: String,
}

impl Place {
    /// Line and column of the span's start, both counted from 1.
    #[must_use]
    pub fn line_column(&self) -> (usize, usize) {
        let end = self.span.start.min(self.text.len());
        let before = self.text.get(..end).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
        (line, column)
    }
}

struct Inner {
    code: Code,
    message: String,
    hints: Vec<String>,
    place: Option<Place>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    details: serde_json::Map<String, serde_json::Value>,
}

/// One failure. Cheap to move; build it with [`Fault::new`] and the chained methods.
pub struct Fault(Box<Inner>);

impl Fault {
    /// A failure of the given kind. `message` states one fact, in a whole sentence.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            message: message.into(),
            hints: Vec::new(),
            place: None,
            source: None,
            details: serde_json::Map::new(),
        }))
    }

    /// A bug in vice itself.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
            .hint("This is a bug in vice; please report it with the command that you ran.")
    }

    /// `backend` does not offer `operation`.
    #[must_use]
    pub fn unsupported(backend: &str, operation: &str) -> Self {
        Self::new(Code::Unsupported, format!("The backend {backend} does not support {operation}."))
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Points at the place in a file.
    #[must_use]
    pub fn at(mut self, place: impl Into<Option<Place>>) -> Self {
        if let Some(place) = place.into() {
            self.0.place = Some(place);
        }
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same fault with what it is about in front, such as a file or an object. Code, hints and cause stay.
    #[must_use]
    pub fn about(mut self, what: impl fmt::Display) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// The same fault with one more fact behind its own. Code, hints and cause stay.
    #[must_use]
    pub fn and(mut self, fact: impl fmt::Display) -> Self {
        self.0.message = format!("{} {fact}", self.0.message);
        self
    }

    /// Adds a machine-readable fact to the JSON form.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.0.details.insert(key.to_owned(), value.into());
        self
    }

    /// The stable kind.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The class, and with it the exit status.
    #[must_use]
    pub fn class(&self) -> Class {
        self.0.code.class()
    }

    /// What to do next, in order of likelihood.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// The place in a file, where it is known.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// Machine-readable facts.
    #[must_use]
    pub fn details(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.0.details
    }

    /// The message and every cause below it, outermost first.
    #[must_use]
    pub fn chain(&self) -> Vec<String> {
        let mut lines = vec![self.0.message.clone()];
        let mut next = self.0.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(error) = next {
            let text = error.to_string();
            if lines.last() != Some(&text) {
                lines.push(text);
            }
            next = error.source();
        }
        lines
    }
}

/// An error of a library with every cause below it in one line, outermost first.
#[must_use]
pub fn causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// The innermost cause of an error, which names the fact; those around it may hold addresses.
#[must_use]
pub fn root_cause<'e>(error: &'e (dyn StdError + 'static)) -> &'e (dyn StdError + 'static) {
    let mut at = error;
    while let Some(cause) = at.source() {
        at = cause;
    }
    at
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.0.code, self.chain().join(": "))?;
        for hint in &self.0.hints {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

impl StdError for Fault {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Adds context to foreign errors without `From` conversions that would hide what was being done.
pub trait Context<T> {
    /// Wraps an error as a fault of `code` whose message is computed only on failure.
    ///
    /// # Errors
    /// The wrapped error.
    fn context(self, code: Code, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Context<T> for std::result::Result<T, E> {
    fn context(self, code: Code, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Fault::new(code, message()).because(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_map_to_a_documented_status() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} is used twice");
            assert!(Class::ALL.contains(&code.class()));
        }
    }

    #[test]
    fn display_never_repeats_the_source() {
        let cause = std::io::Error::other("disk on fire");
        let fault = Fault::new(Code::Io, "The file could not be written.").because(cause);
        assert_eq!(fault.to_string(), "The file could not be written.");
        assert_eq!(fault.chain(), ["The file could not be written.", "disk on fire"]);
    }

    #[test]
    fn place_counts_lines_from_one() {
        let place =
            Place { file: "vice.toml".into(), text: "a = 1\nbb = 2\n".into(), span: 6..8, label: String::new() };
        assert_eq!(place.line_column(), (2, 1));
    }
}
