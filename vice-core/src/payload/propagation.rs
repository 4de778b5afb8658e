//! How a release spreads over a fleet: for each row of the picture and each moment how many units are in which phase.
//! Simulated and real rollouts are both recorded as this, so that the same code draws them.
//!
//! Its size is bounded: at most [`ROWS_MAX`] rows and [`TIMES_MAX`] moments, whatever the fleet and however long it
//! took. What was put together for that is said in words. It knows neither how it is drawn nor what moved the units.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::environment::Direction;
use super::rollout::Verdict;

/// More rows than this don't fit on a page.
pub const ROWS_MAX: usize = 100;

/// Moments: about as many as a picture is wide in its smallest visible parts.
pub const TIMES_MAX: usize = 240;

/// A level of the tree with fewer nodes than this says too little about a fleet that has more units than rows.
const ROWS_MIN: usize = 24;

/// How a release spreads over a fleet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Propagation {
    /// Which of the simulated runs this is; none for a real rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// The moments, in milliseconds after the start, ascending from 0.
    pub times_ms: Vec<u64>,
    /// The rows from top to bottom.
    pub rows: Vec<PropagationRow>,
    /// What was put together so that it fits, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregated: Option<String>,
    /// When the waves were under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<WaveSpan>,
    /// The new release's share of the traffic, from each moment on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<SharePoint>,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<DecisionMark>,
}

/// One row: a unit, or a part of the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PropagationRow {
    /// Its place in the tree from the root, its own name last.
    pub path: Vec<String>,
    /// How many units it stands for.
    pub units: u32,
    /// How many nodes of the tree were put together in it; 1 for a node by itself.
    pub nodes: u32,
    /// Only what changes: `[moment, old, changing, new, failed, back]`, where the moment is an index into
    /// [`Propagation::times_ms`] and the rest are numbers of units, from that moment on. The first has the moment 0.
    pub changes: Vec<[u32; 6]>,
}

/// In which phase a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnitPhase {
    /// On the old release, not touched yet.
    Old,
    /// Drained, being installed or checked, in either direction.
    Changing,
    /// On the new release.
    New,
    /// It could not be changed.
    Failed,
    /// On the old release again.
    Back,
}

impl UnitPhase {
    /// Every phase, in the order of the counts.
    pub const ALL: [Self; 5] = [Self::Old, Self::Changing, Self::New, Self::Failed, Self::Back];

    const fn index(self) -> usize {
        match self {
            Self::Old => 0,
            Self::Changing => 1,
            Self::New => 2,
            Self::Failed => 3,
            Self::Back => 4,
        }
    }
}

/// When a wave was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaveSpan {
    /// Which, from 1.
    pub wave: u32,
    /// Deploy or rollback.
    pub direction: Direction,
    /// From when, after the start.
    pub start_ms: u64,
    /// Until when; none when it did not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<u64>,
}

/// A share of the traffic from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SharePoint {
    /// From when, after the start.
    pub at_ms: u64,
    /// The new release's share; 10000 is everything.
    pub basis_points: u32,
}

/// A decision at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionMark {
    /// When, after the start.
    pub at_ms: u64,
    /// What.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub reason: String,
}

/// A leaf of the tree before it is fitted into rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its place in the tree from the root, its own name last.
    pub path: Vec<String>,
    /// How many units it stands for.
    pub units: u32,
}

/// Which rows are drawn, and in which of them each leaf is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// The rows, without any changes.
    pub rows: Vec<PropagationRow>,
    /// For each leaf its row.
    pub row_of: Vec<u32>,
    /// What was put together, as a sentence; none when each leaf has its own row.
    pub aggregated: Option<String>,
}

impl Rows {
    /// Fits leaves into at most `most` rows (at least 1). First whole levels of the tree are put together, as long as
    /// enough nodes are left to see something; then neighbours below the same node; at last any neighbours.
    #[must_use]
    pub fn fit(leaves: &[Leaf], most: usize) -> Self {
        let most = most.max(1);
        let rows = leaves.iter().map(|leaf| row(leaf.path.clone(), leaf.units)).collect();
        let row_of = (0..leaves.len()).map(number).collect();
        let mut fitted = Self { rows, row_of, aggregated: None };
        while fitted.rows.len() > most && fitted.lift(most) {}
        if fitted.rows.len() > most {
            fitted.join(most);
        }
        if fitted.rows.len() < leaves.len() {
            let units: u64 = leaves.iter().map(|leaf| u64::from(leaf.units)).sum();
            let (few, many) = (fitted.rows.len(), leaves.len());
            let what = if u64::from(number(many)) == units { "units" } else { "nodes" };
            fitted.aggregated =
                Some(format!("{many} {what} are drawn as {few} rows; each row shows the mix within it."));
        }
        fitted
    }

    /// Puts the rows below each parent together; false when that would leave too few.
    fn lift(&mut self, most: usize) -> bool {
        let mut parents: BTreeMap<&[String], u32> = BTreeMap::new();
        let mut row_of = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let Some((_, parent)) = row.path.split_last().filter(|(_, parent)| !parent.is_empty()) else {
                return false;
            };
            let next = number(parents.len());
            row_of.push(*parents.entry(parent).or_insert(next));
        }
        if parents.len() < ROWS_MIN.min(most) || parents.len() == self.rows.len() {
            return false;
        }
        let mut rows = vec![PropagationRow::default(); parents.len()];
        for (parent, at) in parents {
            rows[index(at)].path = parent.to_vec();
        }
        for (old, at) in self.rows.iter().zip(&row_of) {
            rows[index(*at)].units += old.units;
        }
        for row in &mut rows {
            row.nodes = 1;
        }
        self.replace(rows, &row_of);
        true
    }

    /// Puts neighbours together: those below one node if that is enough, else any.
    fn join(&mut self, most: usize) {
        let size = self.rows.len().div_ceil(most);
        let limit = self.rows.len() / ROWS_MIN.min(most) + 1;
        for size in size..=limit.max(size) {
            let (rows, row_of) = self.chunks(size, true);
            if rows.len() <= most {
                return self.replace(rows, &row_of);
            }
        }
        let (rows, row_of) = self.chunks(size, false);
        self.replace(rows, &row_of);
    }

    fn chunks(&self, size: usize, within: bool) -> (Vec<PropagationRow>, Vec<u32>) {
        let mut rows: Vec<PropagationRow> = Vec::new();
        let mut firsts: Vec<&PropagationRow> = Vec::new();
        let mut row_of = Vec::with_capacity(self.rows.len());
        let parent = |row: &PropagationRow| row.path.split_last().map(|(_, parent)| parent.to_vec());
        for old in &self.rows {
            let fits = rows
                .last()
                .zip(firsts.last())
                .is_some_and(|(row, first)| index(row.nodes) < size && (!within || parent(first) == parent(old)));
            match rows.last_mut().zip(firsts.last()).filter(|_| fits) {
                Some((row, first)) => {
                    row.nodes += 1;
                    row.units += old.units;
                    row.path = span(first, old);
                }
                None => {
                    firsts.push(old);
                    rows.push(PropagationRow { nodes: 1, ..row(old.path.clone(), old.units) });
                }
            }
            row_of.push(number(rows.len() - 1));
        }
        (rows, row_of)
    }

    fn replace(&mut self, rows: Vec<PropagationRow>, row_of: &[u32]) {
        self.rows = rows;
        for at in &mut self.row_of {
            *at = row_of[index(*at)];
        }
    }
}

fn row(path: Vec<String>, units: u32) -> PropagationRow {
    PropagationRow { path, units, nodes: 1, changes: Vec::new() }
}

/// The path of a row from its first to its last node.
fn span(first: &PropagationRow, last: &PropagationRow) -> Vec<String> {
    let mut path = first.path.clone();
    if let (Some(name), Some(to)) = (path.last_mut(), last.path.last()) {
        *name = format!("{name} … {to}");
    }
    path
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Records how units move. Moments are sampled: the distance between them doubles whenever there would be more than
/// [`TIMES_MAX`], so the length of the rollout need not be known before. A moment shows the state right then.
#[derive(Debug, Clone)]
pub struct Recorder {
    drawn: Propagation,
    now: Vec<[u32; 5]>,
    step_ms: u64,
}

impl Recorder {
    /// All units are on the old release. `step_ms` is the smallest distance between two moments, at least 1.
    #[must_use]
    pub fn new(rows: Vec<PropagationRow>, aggregated: Option<String>, step_ms: u64) -> Self {
        let now = rows.iter().map(|row| [row.units, 0, 0, 0, 0]).collect();
        let begin = |row: PropagationRow| PropagationRow { changes: vec![[0, row.units, 0, 0, 0, 0]], ..row };
        let rows = rows.into_iter().map(begin).collect();
        Self { drawn: Propagation { rows, aggregated, ..Propagation::default() }, now, step_ms: step_ms.max(1) }
    }

    /// A unit of a row moves from one phase to another. Moments must not go back; a row that does not exist and a phase
    /// that no unit is in are ignored.
    pub fn shift(&mut self, at_ms: u64, row: u32, from: UnitPhase, to: UnitPhase) {
        let Some(now) = self.now.get_mut(index(row)).filter(|now| now[from.index()] > 0) else { return };
        now[from.index()] -= 1;
        now[to.index()] += 1;
        let [old, changing, new, failed, back] = *now;
        let at = self.moment(at_ms);
        let Some(row) = self.drawn.rows.get_mut(index(row)) else { return };
        match row.changes.last_mut().filter(|last| last[0] >= at) {
            Some(last) => *last = [last[0], old, changing, new, failed, back],
            None => row.changes.push([at, old, changing, new, failed, back]),
        }
    }

    /// A wave begins.
    pub fn wave_started(&mut self, at_ms: u64, wave: u32, direction: Direction) {
        self.drawn.waves.push(WaveSpan { wave, direction, start_ms: at_ms, end_ms: None });
    }

    /// The latest wave of that number ends.
    pub fn wave_finished(&mut self, at_ms: u64, wave: u32) {
        if let Some(span) = self.drawn.waves.iter_mut().rev().find(|span| span.wave == wave) {
            span.end_ms = Some(at_ms);
        }
    }

    /// The new release has this share of the traffic from now on.
    pub fn share(&mut self, at_ms: u64, basis_points: u32) {
        if self.drawn.shares.last().is_none_or(|last| last.basis_points != basis_points) {
            self.drawn.shares.push(SharePoint { at_ms, basis_points });
        }
    }

    /// Something was decided.
    pub fn decided(&mut self, at_ms: u64, verdict: Verdict, reason: impl Into<String>) {
        self.drawn.decisions.push(DecisionMark { at_ms, verdict, reason: reason.into() });
    }

    /// The whole, which ended at this moment.
    #[must_use]
    pub fn finish(mut self, end_ms: u64) -> Propagation {
        let last = self.moment(end_ms);
        let recorded = self.drawn.rows.iter().filter_map(|row| row.changes.last()).map(|change| change[0]).max();
        let last = last.max(recorded.unwrap_or(0));
        self.drawn.times_ms = (0..=u64::from(last)).map(|at| at.saturating_mul(self.step_ms)).collect();
        // The last moment is the end itself, not the next one that would be sampled.
        if let [.., before, last] = self.drawn.times_ms.as_mut_slice() {
            *last = (*last).min(end_ms).max(*before + 1);
        }
        self.drawn
    }

    /// The first moment that is not before this time; makes moments rarer until there is one.
    fn moment(&mut self, at_ms: u64) -> u32 {
        while at_ms.div_ceil(self.step_ms) >= TIMES_MAX as u64 {
            self.step_ms = self.step_ms.saturating_mul(2);
            for row in &mut self.drawn.rows {
                halve(&mut row.changes);
            }
        }
        u32::try_from(at_ms.div_ceil(self.step_ms)).unwrap_or(0)
    }
}

/// Every second moment goes away; what happened just before a moment that stays belongs to it.
fn halve(changes: &mut Vec<[u32; 6]>) {
    let mut kept: Vec<[u32; 6]> = Vec::with_capacity(changes.len());
    for change in changes.drain(..) {
        let mut change = change;
        change[0] = change[0].div_ceil(2);
        match kept.last_mut().filter(|last| last[0] == change[0]) {
            Some(last) => *last = change,
            None => kept.push(change),
        }
    }
    *changes = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(regions: usize, racks: usize, servers: usize) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        for region in 0..regions {
            for rack in 0..racks {
                for server in 0..servers {
                    let path = vec![format!("dc{region}"), format!("rack{rack}"), format!("s{server}")];
                    leaves.push(Leaf { path, units: 1 });
                }
            }
        }
        leaves
    }

    fn total(rows: &Rows) -> u32 {
        rows.rows.iter().map(|row| row.units).sum()
    }

    #[test]
    fn few_units_keep_their_own_rows() {
        let rows = Rows::fit(&tree(1, 1, 3), ROWS_MAX);
        assert_eq!((rows.rows.len(), rows.row_of.as_slice(), &rows.aggregated), (3, &[0, 1, 2][..], &None));
    }

    #[test]
    fn a_fleet_is_drawn_by_rack_and_many_racks_by_neighbours_of_one_datacenter() {
        let rows = Rows::fit(&tree(5, 20, 40), ROWS_MAX);
        assert_eq!((rows.rows.len(), rows.rows[0].units, total(&rows)), (100, 40, 4_000));
        assert_eq!(rows.rows[21].path, ["dc1", "rack1"]);
        assert_eq!(rows.row_of[40 * 21 + 7], 21);
        assert!(rows.aggregated.unwrap().contains("4000 units are drawn as 100 rows"));
        let many = Rows::fit(&tree(5, 50, 8), ROWS_MAX);
        assert!(many.rows.len() <= ROWS_MAX && many.rows.len() >= 80, "{}", many.rows.len());
        assert_eq!((many.rows[0].path.join("/"), many.rows[0].nodes), ("dc0/rack0 … rack2".to_owned(), 3));
        // No row crosses from one datacenter into the next.
        assert_eq!(total(&many), 2_000);
        assert_eq!(many.rows[16].path.join("/"), "dc0/rack48 … rack49");
    }

    #[test]
    fn any_shape_fits() {
        for (regions, racks, servers) in [(500, 1, 1), (1, 1, 5_000), (300, 2, 2), (1, 101, 1), (60, 60, 2)] {
            let leaves = tree(regions, racks, servers);
            for most in [1, 2, 7, 100] {
                let rows = Rows::fit(&leaves, most);
                assert!(rows.rows.len() <= most, "{regions} {racks} {servers} {most}: {}", rows.rows.len());
                assert_eq!(total(&rows) as usize, leaves.len());
                assert!(rows.row_of.iter().all(|row| (*row as usize) < rows.rows.len()));
            }
        }
        assert_eq!(Rows::fit(&[], 10).rows.len(), 0);
    }

    #[test]
    fn units_are_never_lost_and_moments_stay_bounded() {
        let rows = Rows::fit(&tree(1, 1, 2), ROWS_MAX);
        let mut recorder = Recorder::new(rows.rows, None, 10);
        for second in 0..1_000_u64 {
            let (from, to) = match second % 2 {
                0 => (UnitPhase::Old, UnitPhase::Changing),
                _ => (UnitPhase::Changing, UnitPhase::Old),
            };
            recorder.shift(second * 1_000, 0, from, to);
        }
        recorder.shift(1_000_000, 1, UnitPhase::Old, UnitPhase::New);
        recorder.shift(1_000_000, 1, UnitPhase::Failed, UnitPhase::New);
        recorder.shift(1_000_000, 9, UnitPhase::Old, UnitPhase::New);
        let drawn = recorder.finish(1_000_500);
        assert_eq!(drawn.times_ms.last(), Some(&1_000_500));
        assert!(drawn.times_ms.len() <= TIMES_MAX && drawn.times_ms.len() > TIMES_MAX / 4, "{}", drawn.times_ms.len());
        for row in &drawn.rows {
            assert!(row.changes.iter().all(|change| change[1..].iter().sum::<u32>() == row.units));
            assert!(row.changes.windows(2).all(|pair| pair[0][0] < pair[1][0]));
            assert!(row.changes.iter().all(|change| (change[0] as usize) < drawn.times_ms.len()));
        }
        assert_eq!(drawn.rows[1].changes.last().unwrap()[1..], [0, 0, 1, 0, 0]);
    }
}
