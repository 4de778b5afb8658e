//! Watching the new release: which window is read next, what the judge said last. The judge itself is in `judge`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::Millis;

use crate::course::Course;
use crate::judge::{Analysis, Cause, Judge, Ruling};
use crate::number::OpNo;
use crate::state::{Phase, Progress, State};

/// What is known from watching.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Watch {
    /// The evidence so far; none where nothing judges the rollout.
    pub(crate) judge: Option<Box<Judge>>,
    /// The beginning of the window that is read next; none before anything is exposed.
    pub(crate) from: Option<Timestamp>,
    /// The measurement that is under way.
    pub(crate) measuring: Option<OpNo>,
    /// The probe traffic that is under way.
    pub(crate) probing: Option<OpNo>,
    /// What the judge said last.
    pub(crate) ruling: Option<Ruling>,
    /// Since when the present wave is watched, without an operator having asked for more patience.
    pub(crate) since: Option<Timestamp>,
    /// Whether an operator let the present wave pass.
    pub(crate) promoted: bool,
    /// Why a person was asked who has not answered. It stays the reason also when figures come in again meanwhile.
    pub(crate) asks: Option<Cause>,
}

impl Eq for Watch {}

impl Watch {
    pub(crate) fn new(analysis: Option<&Analysis>) -> Self {
        Self {
            judge: analysis.map(|analysis| Box::new(Judge::new(analysis))),
            from: None,
            measuring: None,
            probing: None,
            ruling: None,
            since: None,
            promoted: false,
            asks: None,
        }
    }

    /// How many operations only look.
    pub(crate) fn aside(&self) -> u32 {
        u32::from(self.measuring.is_some()) + u32::from(self.probing.is_some())
    }
}

impl Progress {
    /// When the next window can be read: it is over, and late reports have had their time.
    #[inline]
    pub(crate) fn measures_at(&self, course: &Course) -> Option<Timestamp> {
        let analysis = course.analysis.as_ref()?;
        let exposed = matches!(
            self.phase,
            Phase::Shield { .. }
                | Phase::Wave { .. }
                | Phase::Bake { .. }
                | Phase::Check { .. }
                | Phase::Expose { .. }
                | Phase::Watch { .. }
        );
        // Also while a person is waited for: the new release has its traffic all the same.
        if !exposed || self.watch.measuring.is_some() {
            return None;
        }
        let from = self.watch.from?;
        Some(Millis(analysis.interval.0 + analysis.lateness.0).after(from))
    }
}

impl State {
    /// What the judge said last.
    #[must_use]
    pub const fn ruling(&self) -> Option<Ruling> {
        self.progress.watch.ruling
    }
}
