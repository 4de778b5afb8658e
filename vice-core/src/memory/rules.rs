//! The rules that every store applies alike, written once: what a condition means, when two events of one id are the
//! same event, which values are points, and how a refusal reads.

use crate::event::Event;
use crate::fault::{Code, Fault, Result};
use crate::series::Point;
use crate::store::{Expected, Fence};

impl Expected {
    /// Whether a stream at this version (0: without events) meets the condition.
    #[must_use]
    pub const fn holds(self, version: u64) -> bool {
        match self {
            Self::NoStream => version == 0,
            Self::Version(expected) => version == expected,
        }
    }
}

impl Event {
    /// Whether two events of the same id say the same thing. When and by whom they were recorded is not part of it:
    /// a script that tries again an hour later repeats itself, and the first record stays.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.stream == other.stream
            && self.kind == other.kind
            && self.subject == other.subject
            && self.scope == other.scope
            && self.data == other.data
    }
}

impl Fault {
    /// An event of this id exists and says something else.
    #[must_use]
    pub fn other_content(event: &Event) -> Self {
        let id: String = event.id.chars().take(80).collect();
        Self::new(
            Code::Conflict,
            format!("The history has an event {id:?} of source {:?} with other content.", event.source),
        )
        .hint("An id names one event for ever; give the new event an id of its own.")
        .detail("event_id", event.id.as_str())
        .detail("event_source", event.source.as_str())
    }

    /// Of which event [`Fault::other_content`] speaks: its source and its id.
    #[must_use]
    pub fn taken_event(&self) -> Option<(&str, &str)> {
        let text = |key: &str| self.details().get(key)?.as_str();
        if self.code() == Code::Conflict { text("event_source").zip(text("event_id")) } else { None }
    }

    /// The writer's epoch is too low.
    #[must_use]
    pub fn fenced(fence: &Fence, highest: u64) -> Self {
        let Fence { scope, epoch } = fence;
        Self::new(Code::Fenced, format!("Another process has taken over {scope}: epoch {epoch} is below {highest}."))
            .hint("Nothing was written. Look at `vice status` before you try again.")
    }

    /// A stream is not where the writer expected it.
    #[must_use]
    pub fn unexpected(stream: &str, expected: Expected, version: u64) -> Self {
        let wanted = match expected {
            Expected::NoStream => "empty".to_owned(),
            Expected::Version(expected) => format!("at version {expected}"),
        };
        let is = if version == 0 { "empty".to_owned() } else { format!("at version {version}") };
        Self::new(Code::Conflict, format!("The stream {stream} was expected to be {wanted}, but is {is}."))
            .hint("Something else was recorded first. Run the command again; it decides anew.")
    }
}

impl Point {
    /// Checks what every store relies on.
    ///
    /// # Errors
    /// `Usage` when the value is not finite.
    pub fn check(&self) -> Result<()> {
        if self.value.is_finite() {
            return Ok(());
        }
        let name: String = self.name.chars().take(80).collect();
        Err(Fault::new(Code::Usage, format!("A point of {name:?} has the value {}, which is not finite.", self.value)))
    }
}
