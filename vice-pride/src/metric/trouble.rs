//! Why there are no numbers: each kind is a reading of its own, with a sentence for people.

use vice_core::port::metric::MetricReading;
use vice_core::secret::Masker;
use vice_core::{Code, Fault};

/// The longest sentence that is kept of what a foreign server says, in characters.
const TEXT_CHARS_MAX: usize = 300;

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Refused,
    Denied,
    Elsewhere,
    Unreachable,
    TimedOut,
    Failed,
    NoSeries,
    NoTraffic,
    Late,
}

/// Why there are no numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    kind: Kind,
    pub(super) text: String,
}

impl Trouble {
    fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: bounded(&text.into()) }
    }

    /// The reading that it becomes.
    pub(super) const fn reading(&self) -> MetricReading {
        match self.kind {
            Kind::Refused | Kind::Denied | Kind::Elsewhere | Kind::Unreachable | Kind::TimedOut | Kind::Failed => {
                MetricReading::Failed
            }
            Kind::NoSeries => MetricReading::NoSeries,
            Kind::NoTraffic => MetricReading::NoTraffic,
            Kind::Late => MetricReading::Late,
        }
    }

    const fn code(&self) -> Code {
        match self.kind {
            Kind::Refused => Code::Usage,
            Kind::Unreachable => Code::Unreachable,
            Kind::TimedOut => Code::TimedOut,
            Kind::Denied | Kind::Elsewhere | Kind::Failed | Kind::NoSeries | Kind::NoTraffic | Kind::Late => {
                Code::Backend
            }
        }
    }

    /// The source took too long.
    pub(super) fn timed_out(text: impl Into<String>) -> Self {
        Self::new(Kind::TimedOut, text)
    }

    /// The source could not be asked or makes no sense.
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self::new(Kind::Failed, text)
    }

    /// The source refuses the question: nobody but the user can help.
    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self::new(Kind::Refused, text)
    }

    /// The source does not let us in.
    pub(super) fn denied(text: impl Into<String>) -> Self {
        Self::new(Kind::Denied, text)
    }

    /// Somebody answers, and nothing is known there of what was asked: most likely it is asked at another place.
    pub(super) fn elsewhere(text: impl Into<String>) -> Self {
        Self::new(Kind::Elsewhere, text)
    }

    /// The source does not answer.
    pub(super) fn unreachable(text: impl Into<String>) -> Self {
        Self::new(Kind::Unreachable, text)
    }

    /// The source knows no such series.
    pub(super) fn no_series(text: impl Into<String>) -> Self {
        Self::new(Kind::NoSeries, text)
    }

    /// There is nothing to count, and the source is sure of it.
    pub(super) fn no_traffic(text: impl Into<String>) -> Self {
        Self::new(Kind::NoTraffic, text)
    }

    /// The numbers are older than the window.
    pub(super) fn late(text: impl Into<String>) -> Self {
        Self::new(Kind::Late, text)
    }

    /// Whether nothing was counted and nothing is broken.
    pub(super) const fn is_silence(&self) -> bool {
        matches!(self.kind, Kind::NoSeries | Kind::NoTraffic)
    }

    /// Whether a rollout can begin in spite of it: what is not there yet may come with the traffic.
    pub(super) const fn may_pass(&self) -> bool {
        !matches!(self.reading(), MetricReading::Failed)
    }

    /// As a fault of a question that somebody has just asked a Prometheus on the command line.
    pub(super) fn into_question(self, name: &str, url: &str) -> Fault {
        let (message, hint) = match self.kind {
            Kind::Refused => (
                format!("The query of {name} can't be judged."),
                "Try the query in the Prometheus itself: it must give one series of numbers.",
            ),
            Kind::Denied => (
                format!("{url} does not let the query of {name} in."),
                "Give a token that is valid there with --bearer-file FILE.",
            ),
            Kind::Elsewhere => (
                format!("{url} does not know the query of {name}."),
                "Is --prometheus the right URL? It is what stands in front of /api/v1/query_range.",
            ),
            Kind::Unreachable => (
                format!("{url} did not answer the query of {name}."),
                "Is --prometheus the right URL, and does the server run?",
            ),
            Kind::TimedOut => (
                format!("{url} did not answer the query of {name} in time."),
                "Try again, or ask for less: a shorter range, or a longer --step.",
            ),
            Kind::Failed | Kind::NoSeries | Kind::NoTraffic | Kind::Late => (
                format!("{url} gave no usable answer to the query of {name}."),
                "Is it a Prometheus, and is it well? Try the query there.",
            ),
        };
        Fault::new(self.code(), message).because(self.text).hint(hint)
    }

    /// As a fault, before anything has been changed.
    pub(super) fn into_fault(self, metric: &str, masker: &Masker) -> Fault {
        let fault = Fault::new(self.code(), format!("The metric {metric} can't be read."));
        fault
            .because(bounded(&masker.mask(&self.text)))
            .hint(format!("Mend [metric.{metric}] in vice.toml, or its source."))
    }
}

/// One line, of bounded length, without what could change a terminal.
pub(super) fn bounded(text: &str) -> String {
    let line = vice_core::text::sanitize(text).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_who_was_asked_and_only_a_bad_one_is_a_mistake_of_the_user() {
        for (trouble, code, help) in [
            (Trouble::refused("x"), Code::Usage, "Try the query"),
            (Trouble::denied("x"), Code::Backend, "--bearer-file"),
            (Trouble::elsewhere("x"), Code::Backend, "--prometheus"),
            (Trouble::unreachable("x"), Code::Unreachable, "--prometheus"),
            (Trouble::timed_out("x"), Code::TimedOut, "--step"),
            (Trouble::failed("x"), Code::Backend, "Is it a Prometheus"),
        ] {
            let fault = trouble.into_question("--canary", "http://prom:9090");
            assert_eq!(fault.code(), code, "{fault:?}");
            assert!(fault.hints().join(" ").contains(help), "{fault:?}");
            assert!(fault.to_string().contains("--canary"), "{fault}");
            assert_eq!(fault.to_string().contains("http://prom:9090"), code != Code::Usage, "{fault}");
        }
    }
}
