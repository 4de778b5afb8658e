//! Where a step puts what it asks for and what it means.

use crate::effect::Effect;
use crate::note::EngineNote;
use crate::reason::Reason;

/// The receiver of a step. The engine calls it in a fixed order; it must not panic.
pub trait Sink {
    /// Whether it wants the notes of single units (`UnitStarted`, `UnitFinished`, `UnitFailed`): a simulation of
    /// thousands of rollouts leaves them out.
    const UNIT_NOTES: bool = true;

    /// Something to do, after the step was stored.
    fn effect(&mut self, effect: Effect);
    /// Something that people want to know.
    fn note(&mut self, note: EngineNote);
    /// Why an input was ignored, or why the step stops here.
    fn held(&mut self, reason: Reason);
}

/// A sink that keeps everything, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recorder {
    /// The effects.
    pub effects: Vec<Effect>,
    /// The notes.
    pub notes: Vec<EngineNote>,
    /// The reasons; the last one says why the step stops.
    pub held: Vec<Reason>,
}

impl Sink for Recorder {
    fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }
    fn note(&mut self, note: EngineNote) {
        self.notes.push(note);
    }
    fn held(&mut self, reason: Reason) {
        self.held.push(reason);
    }
}
