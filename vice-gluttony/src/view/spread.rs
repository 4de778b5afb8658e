//! How a real rollout spread over its units, from its notes: the same value as a simulated one, so that the same code
//! draws both.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use vice_core::Millis;
use vice_core::fold::rollout::{Moment, RolloutView};
use vice_core::payload::environment::Direction;
use vice_core::payload::propagation::{Leaf, Propagation, ROWS_MAX, Recorder, Rows, UnitPhase};
use vice_core::payload::rollout::{Note, Verdict};

/// How the rollout spread; none when no unit is known or it has not begun to change any.
#[must_use]
pub fn spread(view: &RolloutView, start: Timestamp, end: Timestamp) -> Option<Propagation> {
    let places = places(view);
    let began = view.timeline.iter().any(|moment| matches!(moment.note, Note::UnitStarted { .. }));
    if places.is_empty() || !began {
        return None;
    }
    let leaves: Vec<Leaf> = places.iter().map(|path| Leaf { path: path.clone(), units: 1 }).collect();
    let rows = Rows::fit(&leaves, ROWS_MAX);
    let named = places.iter().zip(&rows.row_of).filter_map(|(path, row)| Some((path.last()?.as_str(), *row)));
    let forward = view.direction.unwrap_or(Direction::Deploy);
    let mut teller = Teller {
        start,
        forward,
        direction: forward,
        wanted: view.to.as_ref().map(|to| to.version.as_str()).unwrap_or_default(),
        units: named.map(|(name, row)| (name, (row, UnitPhase::Old))).collect(),
        judged: None,
        recorder: Recorder::new(rows.rows, rows.aggregated, 1),
    };
    for name in kept(&view.plan) {
        teller.shift(0, name, UnitPhase::New);
    }
    for moment in &view.timeline {
        teller.take(moment);
    }
    Some(teller.recorder.finish(Millis::between(start, end).0.max(1)))
}

/// The path of every unit: as the plan places it, and by name where the plan says nothing. In the order in which people
/// count, whatever the order of the waves was.
fn places(view: &RolloutView) -> Vec<Vec<String>> {
    let mut paths: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for unit in view.plan.get("units").and_then(Value::as_array).into_iter().flatten() {
        let Some(name) = unit.get("name").and_then(Value::as_str) else { continue };
        let place = unit.get("place").and_then(Value::as_str).unwrap_or_default();
        let path = place.split('/').filter(|part| !part.is_empty()).chain([name]);
        paths.insert(name, path.map(str::to_owned).collect());
    }
    for moment in &view.timeline {
        let started = match &moment.note {
            Note::WaveStarted { units, .. } => units.as_slice(),
            Note::UnitStarted { unit, .. } => std::slice::from_ref(unit),
            _ => continue,
        };
        for unit in started {
            paths.entry(unit).or_insert_with(|| vec![unit.clone()]);
        }
    }
    let mut paths: Vec<Vec<String>> = paths.into_values().collect();
    paths.sort_by(|one, two| as_people_count(&one.join("/"), &two.join("/")));
    paths
}

/// The units that already are as wanted.
fn kept(plan: &Value) -> impl Iterator<Item = &str> {
    let units = plan.get("units").and_then(Value::as_array).into_iter().flatten();
    units
        .filter(|unit| unit.get("action").and_then(Value::as_str) == Some("keep"))
        .filter_map(|unit| unit.get("name")?.as_str())
}

/// `rack2` before `rack10`.
fn as_people_count(one: &str, two: &str) -> Ordering {
    let (mut left, mut right) = (one, two);
    loop {
        let (head, other) = (leading(&mut left), leading(&mut right));
        let by_number = |text: &str| (text.trim_start_matches('0').len(), text.trim_start_matches('0').to_owned());
        let digits = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let order = match digits(head) && digits(other) {
            true => by_number(head).cmp(&by_number(other)),
            false => head.cmp(other),
        };
        if order != Ordering::Equal || head.is_empty() {
            return order.then_with(|| one.cmp(two));
        }
    }
}

/// Takes the leading run of digits, or of anything else, from the text.
fn leading<'a>(text: &mut &'a str) -> &'a str {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    *text = rest;
    head
}

struct Teller<'a> {
    start: Timestamp,
    /// Where the rollout wants to go; anything else is the way back.
    forward: Direction,
    /// Where the latest wave goes.
    direction: Direction,
    wanted: &'a str,
    units: BTreeMap<&'a str, (u32, UnitPhase)>,
    /// What the latest window was judged to be: windows are many, changes of mind are few.
    judged: Option<Verdict>,
    recorder: Recorder,
}

impl Teller<'_> {
    fn take(&mut self, moment: &Moment) {
        let at = Millis::between(self.start, moment.at).0;
        match &moment.note {
            Note::WaveStarted { wave, direction, .. } => {
                self.direction = *direction;
                self.recorder.wave_started(at, *wave, *direction);
            }
            Note::WaveFinished { wave } => self.recorder.wave_finished(at, *wave),
            Note::UnitStarted { unit, .. } => self.shift(at, unit, UnitPhase::Changing),
            Note::UnitFinished { unit, version, .. } => {
                let there = version == self.wanted && self.direction == self.forward;
                self.shift(at, unit, if there { UnitPhase::New } else { UnitPhase::Back });
            }
            Note::UnitFailed { unit, .. } => self.shift(at, unit, UnitPhase::Failed),
            Note::WeightsSet { weights } => {
                let points = if weights.is_empty() { self.changed() } else { self.named(weights) };
                self.recorder.share(at, points);
            }
            Note::Judged { verdict, reason, share, .. } => {
                self.recorder.share(at, (*share).min(10_000));
                if self.judged.replace(*verdict) != Some(*verdict) {
                    self.recorder.decided(at, *verdict, reason.clone());
                }
            }
            Note::Decided { verdict, reason, .. } => self.recorder.decided(at, *verdict, reason.clone()),
            _ => {}
        }
    }

    /// The wanted version's part of the weights, in basis points.
    fn named(&self, weights: &[(String, u32)]) -> u32 {
        let new = weights.iter().filter(|(version, _)| version == self.wanted).map(|(_, points)| *points);
        new.fold(0, u32::saturating_add).min(10_000)
    }

    /// Its part of the units, which traffic follows where no weights are set.
    fn changed(&self) -> u32 {
        let new = self.units.values().filter(|(_, phase)| *phase == UnitPhase::New).count();
        u32::try_from(new * 10_000 / self.units.len().max(1)).unwrap_or(10_000)
    }

    fn shift(&mut self, at: u64, unit: &str, to: UnitPhase) {
        if let Some((row, phase)) = self.units.get_mut(unit) {
            self.recorder.shift(at, *row, *phase, to);
            *phase = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vice_core::payload::ReleaseRef;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number is a time")
    }

    fn release(version: &str) -> ReleaseRef {
        ReleaseRef { version: version.into(), artifact: None, source: String::new(), config: None, recipe: None }
    }

    fn view(plan: Value, notes: Vec<(i64, Note)>) -> RolloutView {
        let moment = |(second, note)| Moment { at: at(second), step: 1, note };
        let timeline = notes.into_iter().map(moment).collect();
        let direction = Some(Direction::Deploy);
        RolloutView { to: Some(release("2")), direction, plan, timeline, ..RolloutView::default() }
    }

    fn wave(direction: Direction) -> Note {
        Note::WaveStarted { wave: 1, of: 1, units: vec!["a".into()], direction }
    }

    fn started(unit: &str, version: &str) -> Note {
        Note::UnitStarted { unit: unit.into(), version: version.into(), op: String::new() }
    }

    fn finished(unit: &str, version: &str) -> Note {
        Note::UnitFinished { unit: unit.into(), version: version.into(), took: Millis(1) }
    }

    #[test]
    fn units_go_there_and_back_even_to_the_same_version() {
        let forth = vec![(0, wave(Direction::Deploy)), (1, started("a", "2")), (2, finished("a", "2"))];
        let back = vec![(3, wave(Direction::Rollback)), (4, started("a", "2")), (5, finished("a", "2"))];
        let drawn = spread(&view(json!({}), forth.into_iter().chain(back).collect()), at(0), at(6)).unwrap();
        let phases: Vec<[u32; 5]> =
            drawn.rows[0].changes.iter().map(|change| [1, 2, 3, 4, 5].map(|n| change[n])).collect();
        assert_eq!(phases, [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]],);
    }

    #[test]
    fn places_of_the_plan_make_the_tree_and_people_count_ten_after_two() {
        let unit = |name: &str, place: &str| json!({ "name": name, "place": place });
        let plan = json!({ "units": [unit("s10", "eu/r1"), unit("s2", "eu/r1"), unit("s1", "eu/r10")] });
        let drawn = spread(&view(plan, vec![(1, started("s2", "2"))]), at(0), at(6)).unwrap();
        let paths: Vec<String> = drawn.rows.iter().map(|row| row.path.join("/")).collect();
        assert_eq!(paths, ["eu/r1/s2", "eu/r1/s10", "eu/r10/s1"]);
    }

    #[test]
    fn a_window_is_marked_where_the_judgement_changes_and_kept_units_are_new_from_the_start() {
        let judged = |verdict, share| Note::Judged {
            verdict,
            metric: Some("errors".into()),
            reason: "because".into(),
            share,
            evidence: json!({}),
        };
        let plan = json!({ "units": [{ "name": "a", "action": "place" }, { "name": "b", "action": "keep" }] });
        let notes = vec![
            (0, started("a", "2")),
            (1, judged(Verdict::Hold, 500)),
            (2, judged(Verdict::Hold, 500)),
            (3, judged(Verdict::Proceed, 1_000)),
            (4, finished("a", "2")),
            (5, Note::WeightsSet { weights: Vec::new() }),
        ];
        let drawn = spread(&view(plan, notes), at(0), at(6)).unwrap();
        let marks: Vec<u64> = drawn.decisions.iter().map(|mark| mark.at_ms).collect();
        let shares: Vec<(u64, u32)> = drawn.shares.iter().map(|share| (share.at_ms, share.basis_points)).collect();
        assert_eq!((marks, shares), (vec![1_000, 3_000], vec![(1_000, 500), (3_000, 1_000), (5_000, 10_000)]));
        assert_eq!(drawn.rows[1].changes, [[0, 0, 0, 1, 0, 0]]);
    }

    #[test]
    fn what_has_not_begun_has_no_picture() {
        assert_eq!(spread(&view(json!({ "units": [{ "name": "a" }] }), Vec::new()), at(0), at(6)), None);
    }
}
