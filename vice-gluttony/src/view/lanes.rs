//! The timeline: what ran from when to when, in lanes, and the marks between them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vice_core::Millis;
use vice_core::fold::rollout::Moment;
use vice_core::payload::environment::Direction;
use vice_core::payload::rollout::{Note, Verdict};

use super::{Mood, sentence};

/// What happened when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The left edge.
    pub start: Timestamp,
    /// The right edge, always later than the left one.
    pub end: Timestamp,
    /// What ran from when to when, grouped: waves, units, tasks, checks.
    pub lanes: Vec<Lane>,
    /// Single moments, in order.
    pub marks: Vec<Mark>,
    /// The weights of the front end from each moment on.
    pub weights: Vec<Weights>,
}

impl Timeline {
    /// At most `most` lanes in their order, those with a failure before all others, and how many are left out: a fleet
    /// of thousands fits neither a page nor a terminal, and what failed is what people look for.
    #[must_use]
    pub fn shown(&self, most: usize) -> (Vec<&Lane>, usize) {
        let failed = |lane: &Lane| lane.bars.iter().any(|bar| bar.state == BarState::Bad);
        let mut order: Vec<usize> = (0..self.lanes.len()).collect();
        order.sort_by_key(|index| !failed(&self.lanes[*index]));
        order.truncate(most);
        order.sort_unstable();
        let shown: Vec<&Lane> = order.into_iter().map(|index| &self.lanes[index]).collect();
        let hidden = self.lanes.len() - shown.len();
        (shown, hidden)
    }
}

/// What a lane is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Waves.
    Waves,
    /// Units: instances or hosts.
    Units,
    /// Tasks and hooks.
    Tasks,
    /// Runs of the checks.
    Checks,
}

impl Group {
    /// The heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Waves => "Waves",
            Self::Units => "Units",
            Self::Tasks => "Tasks",
            Self::Checks => "Checks",
        }
    }
}

/// One row of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// What it is about.
    pub group: Group,
    /// Its name, such as a unit's.
    pub name: String,
    /// What ran, in order.
    pub bars: Vec<Bar>,
}

/// How something in a lane ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BarState {
    /// Well.
    Good,
    /// Badly.
    Bad,
    /// Something else came between: its end was never recorded.
    Cut,
    /// Not yet.
    Open,
}

impl BarState {
    /// The word that people read.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Bad => "failed",
            Self::Cut => "cut short",
            Self::Open => "under way",
        }
    }
}

/// Something that ran from one moment to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// From when.
    pub from: Timestamp,
    /// Until when; none while it runs.
    pub to: Option<Timestamp>,
    /// Deploy, or on the way back.
    pub direction: Direction,
    /// How it ended.
    pub state: BarState,
    /// What it is, in a few characters, such as a version.
    pub label: String,
    /// Why it failed.
    pub detail: Option<String>,
}

impl Bar {
    /// How long it took, up to `end` while it runs.
    #[must_use]
    pub fn took(&self, end: Timestamp) -> Millis {
        Millis::between(self.from, self.to.unwrap_or(end))
    }
}

/// What a mark marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// A decision of the engine.
    Decision,
    /// The engine holds back.
    Hold,
    /// An operator spoke, or another process took over.
    Operator,
}

/// A moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub at: Timestamp,
    /// What kind.
    pub kind: MarkKind,
    /// How good that is.
    pub mood: Mood,
    /// What it says, as a sentence.
    pub text: String,
}

/// The weights of the front end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// From when.
    pub at: Timestamp,
    /// Versions with their share in basis points.
    pub shares: Vec<Share>,
}

/// A version's share of the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The version.
    pub version: String,
    /// Its share; 10000 is everything.
    pub basis_points: u32,
}

/// Builds the timeline. `end` is where it ended or how far it has got; `finished` says which of the two.
#[must_use]
pub fn timeline(moments: &[Moment], start: Timestamp, end: Timestamp, finished: bool) -> Timeline {
    let mut builder = Builder {
        lanes: Vec::new(),
        marks: Vec::new(),
        weights: Vec::new(),
        direction: Direction::Deploy,
        judged: None,
    };
    for moment in moments {
        builder.take(moment);
    }
    let last = moments.iter().map(|moment| moment.at).max().unwrap_or(start);
    let end = end.max(last).max(Millis(1).after(start));
    builder.close(finished.then_some(end));
    builder.lanes.sort_by_key(|lane| lane.group);
    Timeline { start, end, lanes: builder.lanes, marks: builder.marks, weights: builder.weights }
}

struct Builder {
    lanes: Vec<Lane>,
    marks: Vec<Mark>,
    weights: Vec<Weights>,
    /// Where the latest wave goes; units follow it.
    direction: Direction,
    /// What the latest window was judged to be.
    judged: Option<Verdict>,
}

impl Builder {
    fn take(&mut self, moment: &Moment) {
        let at = moment.at;
        match &moment.note {
            Note::WaveStarted { wave, of, direction, .. } => {
                self.direction = *direction;
                self.cut(Group::Waves, "waves", at);
                self.open(Group::Waves, "waves", at, (*direction, format!("{wave}/{of}")));
            }
            Note::WaveFinished { .. } => self.end(Group::Waves, "waves", at, true, None),
            Note::UnitStarted { unit, version, .. } => {
                self.cut(Group::Units, unit, at);
                self.open(Group::Units, unit, at, (self.direction, version.clone()));
            }
            Note::UnitFinished { unit, .. } => self.end(Group::Units, unit, at, true, None),
            Note::UnitFailed { unit, reason, .. } => self.end(Group::Units, unit, at, false, Some(reason.clone())),
            Note::TaskStarted { task, unit, direction } => {
                let name = task_name(task, unit.as_deref());
                self.cut(Group::Tasks, &name, at);
                self.open(Group::Tasks, &name, at, (*direction, direction.word().to_owned()));
            }
            Note::TaskFinished { task, unit, ok, reason, .. } => {
                self.end(Group::Tasks, &task_name(task, unit.as_deref()), at, *ok, reason.clone());
            }
            Note::VerifyStarted { direction } => {
                self.cut(Group::Checks, "verification", at);
                self.open(Group::Checks, "verification", at, (*direction, direction.word().to_owned()));
            }
            Note::VerifyFinished { suite } => {
                let detail = sentence::suite(suite);
                self.end(Group::Checks, "verification", at, suite.passed(), Some(detail));
            }
            Note::WeightsSet { weights } => {
                let share = |(version, basis_points): &(String, u32)| Share {
                    version: version.clone(),
                    basis_points: *basis_points,
                };
                self.weights.push(Weights { at, shares: weights.iter().map(share).collect() });
            }
            note => self.mark(at, note),
        }
    }

    fn mark(&mut self, at: Timestamp, note: &Note) {
        let kind = match note {
            // Windows are many, changes of mind are few.
            Note::Judged { verdict, .. } if self.judged.replace(*verdict) == Some(*verdict) => return,
            Note::Judged { .. } => MarkKind::Decision,
            Note::Decided { .. } => MarkKind::Decision,
            Note::Held { .. } => MarkKind::Hold,
            Note::Commanded { .. } | Note::Resumed { .. } => MarkKind::Operator,
            _ => return,
        };
        let (mood, text) = sentence::of(note);
        self.marks.push(Mark { at, kind, mood, text });
    }

    fn lane(&mut self, group: Group, name: &str) -> &mut Lane {
        let found = self.lanes.iter().position(|lane| lane.group == group && lane.name == name);
        let index = found.unwrap_or_else(|| {
            self.lanes.push(Lane { group, name: name.to_owned(), bars: Vec::new() });
            self.lanes.len() - 1
        });
        &mut self.lanes[index]
    }

    fn open(&mut self, group: Group, name: &str, at: Timestamp, (direction, label): (Direction, String)) {
        let bar = Bar { from: at, to: None, direction, state: BarState::Open, label, detail: None };
        self.lane(group, name).bars.push(bar);
    }

    fn cut(&mut self, group: Group, name: &str, at: Timestamp) {
        if let Some(bar) = self.lane(group, name).bars.last_mut().filter(|bar| bar.state == BarState::Open) {
            bar.state = BarState::Cut;
            bar.to = Some(at);
        }
    }

    fn end(&mut self, group: Group, name: &str, at: Timestamp, good: bool, detail: Option<String>) {
        if let Some(bar) = self.lane(group, name).bars.last_mut().filter(|bar| bar.state == BarState::Open) {
            bar.state = if good { BarState::Good } else { BarState::Bad };
            bar.to = Some(at);
            bar.detail = detail;
        }
    }

    fn close(&mut self, end: Option<Timestamp>) {
        self.lanes.retain(|lane| !lane.bars.is_empty());
        let Some(end) = end else { return };
        for bar in self.lanes.iter_mut().flat_map(|lane| &mut lane.bars).filter(|bar| bar.state == BarState::Open) {
            bar.state = BarState::Cut;
            bar.to = Some(end);
        }
    }
}

fn task_name(task: &str, unit: Option<&str>) -> String {
    match unit {
        Some(unit) => format!("{task} on {unit}"),
        None => task.to_owned(),
    }
}

/// How good a verdict is.
#[must_use]
pub const fn verdict_mood(verdict: Verdict) -> Mood {
    match verdict {
        Verdict::Proceed => Mood::Good,
        Verdict::Hold | Verdict::Inconclusive => Mood::Warn,
        Verdict::Rollback => Mood::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lanes_those_that_failed_are_shown() {
        let at = |second| Timestamp::from_second(second).expect("a small number is a time");
        let mut moments = Vec::new();
        for number in 0..50_i64 {
            let (unit, version, took) = (format!("u{number:02}"), "2".to_owned(), Millis(500));
            let started = Note::UnitStarted { unit: unit.clone(), version: version.clone(), op: String::new() };
            moments.push(Moment { at: at(number), step: 1, note: started });
            let ended = match number {
                40 => Note::UnitFailed { unit, version, reason: "refused".into(), took },
                _ => Note::UnitFinished { unit, version, took },
            };
            moments.push(Moment { at: at(number + 1), step: 1, note: ended });
        }
        let line = timeline(&moments, at(0), at(60), true);
        let (shown, hidden) = line.shown(3);
        let names: Vec<&str> = shown.iter().map(|lane| lane.name.as_str()).collect();
        assert_eq!((names, hidden), (vec!["u00", "u01", "u40"], 47));
    }

    #[test]
    fn what_has_no_recorded_end_is_cut_when_the_rollout_ended_and_open_while_it_runs() {
        let at = |second| Timestamp::from_second(second).expect("a small number is a time");
        let started = Note::UnitStarted { unit: "1".into(), version: "2".into(), op: String::new() };
        let moments = [Moment { at: at(1), step: 1, note: started }];
        let bar = |finished| timeline(&moments, at(0), at(9), finished).lanes[0].bars[0].clone();
        assert_eq!((bar(true).state, bar(true).to), (BarState::Cut, Some(at(9))));
        assert_eq!((bar(false).state, bar(false).to), (BarState::Open, None));
    }
}
