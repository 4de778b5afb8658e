//! What is under way, for output that is read later: which lines are said already, and when a sign of life is due.

use std::time::Duration;

use tokio::time::Instant;
use vice_core::ui::{Progress, ProgressState};

/// How long nothing may be said while something is under way. CI systems end jobs that are silent for minutes, and
/// people who read a log want to know that it goes on.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What is under way, latest last, and when something was last said.
#[derive(Debug)]
pub(crate) struct Pulse {
    said: Instant,
    under_way: Vec<Progress>,
    last: Option<String>,
}

impl Pulse {
    pub(crate) fn new(now: Instant) -> Self {
        Self { said: now, under_way: Vec::new(), last: None }
    }

    /// Something was written.
    pub(crate) fn said(&mut self, now: Instant) {
        self.said = now;
    }

    /// Takes a progress in; whether it has something new to say. An end always has.
    pub(crate) fn take(&mut self, progress: &Progress) -> bool {
        let at = self.under_way.iter().position(|known| known.key == progress.key);
        let before = at.map(|at| self.under_way.remove(at));
        if matches!(progress.state, ProgressState::Done | ProgressState::Failed) {
            return true;
        }
        self.last = Some(progress.text.clone());
        self.under_way.push(progress.clone());
        before.is_none_or(|before| before.state != progress.state || gist(&before) != gist(progress))
    }

    /// When a sign of life is due, unless something is said before.
    pub(crate) fn due(&self) -> Instant {
        self.said + SILENCE_MAX
    }

    /// The sign of life, when it is due. There is none for a command that never told what it does, such as one that
    /// follows a log.
    pub(crate) fn sign(&mut self, now: Instant) -> Option<String> {
        if now < self.due() {
            return None;
        }
        self.said = now;
        let text = self.under_way.last().map(|progress| &progress.text).or(self.last.as_ref())?;
        Some(format!("· still working: {text}"))
    }
}

fn gist(progress: &Progress) -> &str {
    progress.gist.as_deref().unwrap_or(&progress.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(key: &str, text: &str, state: ProgressState) -> Progress {
        Progress { key: key.to_owned(), text: text.to_owned(), state, gist: None }
    }

    #[test]
    fn an_end_is_always_said_and_a_state_once() {
        let mut pulse = Pulse::new(Instant::now());
        let (running, done) = (progress("c", "c", ProgressState::Running), progress("c", "c", ProgressState::Done));
        assert!(pulse.take(&running));
        assert!(!pulse.take(&running), "nothing has changed");
        assert!(pulse.take(&progress("c", "c: 2 of 3", ProgressState::Running)));
        assert!(pulse.take(&done));
        assert!(pulse.take(&done), "a second wave passes as well");
        assert!(pulse.take(&running));
    }

    #[test]
    fn moving_figures_are_said_with_the_next_sign_of_life_only() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        let judged = |text: &str, gist: &str| Progress {
            gist: Some(gist.to_owned()),
            ..progress("judge", text, ProgressState::Running)
        };
        assert!(pulse.take(&judged("1 of 10", "hold")));
        assert!(!pulse.take(&judged("2 of 20", "hold")));
        assert_eq!(pulse.sign(pulse.due()).as_deref(), Some("· still working: 2 of 20"));
        assert!(pulse.take(&judged("3 of 30", "alarm")));
    }

    #[test]
    fn a_sign_of_life_comes_after_silence_only() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(start);
        assert_eq!(pulse.sign(pulse.due()), None, "nothing is known to be under way");
        pulse.take(&progress("unit/1", "unit 1: starting", ProgressState::Running));
        pulse.take(&progress("check/a", "a", ProgressState::Running));
        pulse.take(&progress("check/a", "a: passed", ProgressState::Done));
        assert_eq!(pulse.sign(at(59)), None);
        pulse.said(at(59));
        assert_eq!(pulse.sign(at(88)), None, "something was said meanwhile");
        assert_eq!(pulse.sign(pulse.due()).as_deref(), Some("· still working: unit 1: starting"));
        assert_eq!((pulse.sign(at(89)), pulse.due()), (None, at(119)));
    }
}
