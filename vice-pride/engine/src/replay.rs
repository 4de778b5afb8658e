//! Replaying a journal: the same inputs must give the same answers. Resume and `vice why` stand on this.

use std::error::Error;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::course::Course;
use crate::effect::Effect;
use crate::input::Input;
use crate::note::EngineNote;
use crate::sink::Recorder;
use crate::state::State;
use crate::step::step;

/// What the engine said in one step: what it asked for, and what that means.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The effects, in order.
    pub effects: Vec<Effect>,
    /// The notes, in order.
    pub notes: Vec<EngineNote>,
}

impl From<Recorder> for Answer {
    fn from(recorder: Recorder) -> Self {
        Self { effects: recorder.effects, notes: recorder.notes }
    }
}

/// One step as a journal holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// The `now` that the engine was given.
    pub now: Timestamp,
    /// What it was told.
    pub inputs: Vec<Input>,
    /// What it said.
    pub answer: Answer,
}

/// A journal that the engine does not reproduce: it was altered, or another version of the engine wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The step, from 1.
    pub step: u64,
    /// What the journal says.
    pub expected: Answer,
    /// What the engine says.
    pub got: Answer,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Step {} of the journal does not follow from its inputs.", self.step)?;
        let lists = |answer: &Answer| {
            let effects = answer.effects.iter().map(|effect| format!("{effect:?}"));
            effects.chain(answer.notes.iter().map(|note| format!("{note:?}"))).collect::<Vec<_>>()
        };
        let (expected, got) = (lists(&self.expected), lists(&self.got));
        let place = expected.iter().zip(&got).take_while(|(one, two)| one == two).count();
        let at = |list: &[String]| list.get(place).cloned().unwrap_or_else(|| "nothing more".to_owned());
        write!(f, " It has {}, and the engine gives {}.", at(&expected), at(&got))
    }
}

impl Error for Mismatch {}

/// Runs the inputs through the engine; gives the last state and what was said in each step.
pub fn replay<'a>(course: &Course, steps: impl IntoIterator<Item = (Timestamp, &'a [Input])>) -> (State, Vec<Answer>) {
    let mut state = State::new(course.clone());
    let answers = steps.into_iter().map(|(now, inputs)| one(&mut state, now, inputs)).collect();
    (state, answers)
}

/// Replays a journal and compares every answer; gives the state at its end.
///
/// # Errors
/// The first step whose stored answer is not the engine's.
pub fn check_replay<'a>(
    course: &Course,
    journal: impl IntoIterator<Item = &'a Recorded>,
) -> Result<State, Box<Mismatch>> {
    let mut state = State::new(course.clone());
    for (step, recorded) in (1..).zip(journal) {
        let got = one(&mut state, recorded.now, &recorded.inputs);
        if got != recorded.answer {
            return Err(Box::new(Mismatch { step, expected: recorded.answer.clone(), got }));
        }
    }
    Ok(state)
}

fn one(state: &mut State, now: Timestamp, inputs: &[Input]) -> Answer {
    let mut recorder = Recorder::default();
    step(state, now, inputs, &mut recorder);
    recorder.into()
}
