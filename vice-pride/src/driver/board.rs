//! How a rollout over many units is shown: as a tree of the places where they stand, in which what is in like state is
//! one line with counts. It goes by the engine's notes alone, and decides nothing.
//!
//! On a terminal the tree is drawn in place and fits it, whatever the size of the fleet. Where lines are kept, each place
//! has a line when it has come a good part further. Units that failed are named one by one in both cases.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use vice_core::payload::rollout::Verdict;
use vice_core::text::{count, sanitize};
use vice_core::ui::{Area, Progress, ProgressState};
use vice_pride_engine::{EngineNote, Plan, UnitAction};

/// Up to so many units that change, each has lines of its own.
const SINGLY_MAX: usize = 8;

/// Rows of a terminal that are left to everything else that is under way.
const ROWS_LEFT: usize = 6;

/// The most rows of the tree: what a person takes in at a glance.
const ROWS_MAX: usize = 18;

/// The most places that have lines of their own where lines are kept.
const KEPT_PLACES_MAX: usize = 16;

/// In about so many lines each place is told where lines are kept, if there is only one; with more places, in fewer.
const KEPT_LINES: usize = 40;

/// The columns that names of units at work or of places may take.
const NAMES_WIDTH: usize = 28;

/// The key of what is shown in place.
const KEY: &str = "units";

/// How a unit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// Nothing happens to it.
    Aside,
    /// Nothing happens to it any more, because the rollout turned back before it was begun.
    Left,
    Waiting,
    Working,
    Done,
    Failed,
}

/// A place: the whole fleet, a region, a rack.
#[derive(Debug, Default)]
struct Place {
    name: String,
    above: Option<usize>,
    below: Vec<usize>,
    depth: usize,
    tally: Tally,
}

/// The units below a place.
#[derive(Debug, Clone, Default)]
struct Tally {
    waiting: usize,
    done: usize,
    working: BTreeSet<u32>,
    failed: BTreeSet<u32>,
}

impl Tally {
    fn total(&self) -> usize {
        self.waiting + self.done + self.working.len() + self.failed.len()
    }

    fn change(&mut self, unit: u32, from: Stand, to: Stand) {
        match from {
            Stand::Waiting => self.waiting -= 1,
            Stand::Done => self.done -= 1,
            Stand::Working => drop(self.working.remove(&unit)),
            Stand::Failed => drop(self.failed.remove(&unit)),
            Stand::Aside | Stand::Left => {}
        }
        match to {
            Stand::Waiting => self.waiting += 1,
            Stand::Done => self.done += 1,
            Stand::Working => drop(self.working.insert(unit)),
            Stand::Failed => drop(self.failed.insert(unit)),
            Stand::Aside | Stand::Left => {}
        }
    }

    fn add(&mut self, other: &Self) {
        self.waiting += other.waiting;
        self.done += other.done;
        self.working.extend(&other.working);
        self.failed.extend(&other.failed);
    }

    /// The one way in which all units stand that are not about to be looked at.
    fn alike(&self) -> Option<Stand> {
        match self.total() {
            0 => Some(Stand::Aside),
            total if total == self.waiting => Some(Stand::Waiting),
            total if total == self.done => Some(Stand::Done),
            _ => None,
        }
    }
}

/// A row below a place: one place of its own, or several in one.
struct Row {
    places: Vec<usize>,
    /// Whether it stands for what did not fit.
    rest: bool,
}

/// The units of a rollout, and how they stand.
#[derive(Debug)]
pub(super) struct Board {
    /// The first one is the whole fleet.
    places: Vec<Place>,
    /// Where each unit is, and how it stands, by its number.
    units: Vec<(usize, Stand)>,
    /// Why units failed that are in that state.
    reasons: BTreeMap<u32, String>,
    back: bool,
    /// The places that have lines where lines are kept.
    kept: BTreeSet<usize>,
    /// Those of which something has changed since they were last told.
    stirred: BTreeSet<usize>,
}

impl Board {
    /// The board of a plan; none for one of so few units that each can have lines of its own.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let changes = |action| action != UnitAction::Keep;
        if plan.units.iter().filter(|unit| changes(unit.action)).count() <= SINGLY_MAX {
            return None;
        }
        let mut board = Self {
            places: vec![Place::default()],
            units: Vec::with_capacity(plan.units.len()),
            reasons: BTreeMap::new(),
            back: false,
            kept: BTreeSet::new(),
            stirred: BTreeSet::new(),
        };
        let mut known = BTreeMap::new();
        for unit in &plan.units {
            if changes(unit.action) {
                let place = board.place(unit.place.as_deref().unwrap_or_default(), &mut known);
                board.units.push((place, Stand::Aside));
                board.stands(board.units.len() - 1, Stand::Waiting);
            } else {
                board.units.push((0, Stand::Aside));
            }
        }
        board.kept = board.deepest(KEPT_PLACES_MAX);
        board.stirred.clear();
        Some(board)
    }

    /// The place of a path, with all above it.
    fn place(&mut self, path: &str, known: &mut BTreeMap<String, usize>) -> usize {
        if path.is_empty() {
            return 0;
        }
        if let Some(place) = known.get(path) {
            return *place;
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let above = self.place(above, known);
        let (place, depth) = (self.places.len(), self.places[above].depth + 1);
        self.places.push(Place { name: sanitize(name), above: Some(above), depth, ..Place::default() });
        self.places[above].below.push(place);
        known.insert(path.to_owned(), place);
        place
    }

    /// The places of the deepest level that has no more than that, and units right in the places above it.
    fn deepest(&self, most: usize) -> BTreeSet<usize> {
        let deepest = self.places.iter().map(|place| place.depth).max().unwrap_or(0);
        let at = |depth: usize| self.places.iter().filter(|place| place.depth == depth).count();
        let depth = (0..=deepest).rev().find(|depth| at(*depth) <= most).unwrap_or(0);
        let wanted = |place: &Place| place.depth == depth || (place.depth < depth && place.below.is_empty());
        let found = (0..self.places.len()).filter(|place| wanted(&self.places[*place]));
        let found: BTreeSet<usize> = found.collect();
        // Units that stand beside places, and not in one, would have no line.
        let covered: usize = found.iter().map(|place| self.places[*place].tally.total()).sum();
        if covered == self.places[0].tally.total() { found } else { BTreeSet::from([0]) }
    }

    fn stands(&mut self, unit: usize, to: Stand) {
        let Some((home, stand)) = self.units.get_mut(unit) else { return };
        let (mut at, from) = (Some(*home), std::mem::replace(stand, to));
        let number = u32::try_from(unit).unwrap_or(u32::MAX);
        if to != Stand::Failed {
            self.reasons.remove(&number);
        }
        while let Some(place) = at {
            self.places[place].tally.change(number, from, to);
            self.stirred.insert(place);
            at = self.places[place].above;
        }
    }

    /// Takes a note in. `reason`: what is said of a unit that failed.
    pub(super) fn take(&mut self, note: &EngineNote, reason: Option<&str>) {
        match note {
            EngineNote::UnitStarted { unit, back, .. } => {
                if self.back && !back {
                    self.turn(false);
                }
                self.stands(unit.index(), Stand::Working);
            }
            // What was done after turning round still has to be taken back.
            EngineNote::UnitFinished { unit, back, .. } => {
                self.stands(unit.index(), if *back == self.back { Stand::Done } else { Stand::Waiting });
            }
            EngineNote::UnitFailed { unit, .. } => {
                self.stands(unit.index(), Stand::Failed);
                let reason = reason.unwrap_or_default().chars().take(200).collect::<String>();
                self.reasons.insert(unit.0, sanitize(&reason));
            }
            EngineNote::Decided { verdict: Verdict::Rollback, .. } => self.turn(true),
            _ => {}
        }
    }

    /// From now on those units go back that were begun; or, when an operator has it tried again, the others go on.
    fn turn(&mut self, back: bool) {
        if std::mem::replace(&mut self.back, back) == back {
            return;
        }
        for unit in 0..self.units.len() {
            match (self.units[unit].1, back) {
                (Stand::Waiting, true) => self.stands(unit, Stand::Left),
                (Stand::Done, true) | (Stand::Left, false) => self.stands(unit, Stand::Waiting),
                (Stand::Waiting, false) => self.stands(unit, Stand::Done),
                _ => {}
            }
        }
    }

    /// What is said of what has changed.
    pub(super) fn progress(&mut self, plan: &Plan, area: Option<Area>) -> Vec<Progress> {
        let stirred = std::mem::take(&mut self.stirred);
        if stirred.is_empty() {
            return Vec::new();
        }
        match area {
            Some(area) => vec![self.drawn(plan, area)],
            None => {
                let told = stirred.intersection(&self.kept).filter(|place| self.places[**place].tally.total() > 0);
                told.map(|place| self.line(plan, *place)).collect()
            }
        }
    }

    /// The last word, in the place of the tree.
    pub(super) fn end(&self, plan: &Plan, good: bool, area: Option<Area>) -> Option<Progress> {
        let area = area?;
        let state = if good { ProgressState::Done } else { ProgressState::Failed };
        let text = cut(&self.told(plan, "units", &self.places[0].tally, area.columns), area.columns);
        Some(Progress { key: KEY.to_owned(), text, state, gist: None })
    }

    fn drawn(&self, plan: &Plan, area: Area) -> Progress {
        let rows = area.rows.saturating_sub(ROWS_LEFT).clamp(1, ROWS_MAX);
        let text = self.lines(plan, rows, area.columns).join("\n");
        Progress { key: KEY.to_owned(), text, state: ProgressState::Running, gist: None }
    }

    /// The line of a place where lines are kept: said again when a good part more is done, or when one failed.
    fn line(&self, plan: &Plan, place: usize) -> Progress {
        let Place { tally, .. } = &self.places[place];
        let path = self.path(place);
        let total = tally.total().max(1);
        let parts = (KEPT_LINES / self.kept.len().max(1)).clamp(4, 20);
        let gist = format!("{} {} {}", self.back, tally.done * parts / total, tally.failed.len());
        let whole = tally.alike() == Some(Stand::Done);
        let state = if whole { ProgressState::Done } else { ProgressState::Running };
        let text = self.told(plan, if path.is_empty() { KEY } else { &path }, tally, 200);
        Progress { key: format!("{KEY}/{path}"), text, state, gist: Some(gist) }
    }

    fn path(&self, place: usize) -> String {
        let mut names = Vec::new();
        let mut at = Some(place);
        while let Some(place) = at.filter(|place| *place != 0) {
            names.push(self.places[place].name.as_str());
            at = self.places[place].above;
        }
        names.reverse();
        names.join("/")
    }

    /// The tree in at most so many lines, the whole fleet first.
    fn lines(&self, plan: &Plan, rows: usize, columns: usize) -> Vec<String> {
        let mut open: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
        let (mut used, mut next) = (1, VecDeque::from([0]));
        while let Some(place) = next.pop_front() {
            let below = self.rows_below(place, rows - used);
            used += below.len();
            let single = below.iter().filter(|row| row.places.len() == 1 && !row.rest).map(|row| row.places[0]);
            next.extend(single.filter(|place| self.places[*place].tally.alike().is_none()));
            open.insert(place, below);
        }
        let mut lines = Vec::with_capacity(used);
        self.draw(plan, 0, &open, columns, &mut lines);
        lines
    }

    fn draw(
        &self,
        plan: &Plan,
        place: usize,
        open: &BTreeMap<usize, Vec<Row>>,
        columns: usize,
        lines: &mut Vec<String>,
    ) {
        let Place { name, depth, tally, .. } = &self.places[place];
        let columns = columns.saturating_sub(3);
        let indent = "  ".repeat(*depth);
        let name = if place == 0 { KEY } else { name };
        lines.push(cut(&format!("{indent}{}", self.told(plan, name, tally, columns)), columns));
        for row in open.get(&place).into_iter().flatten() {
            match row.places.as_slice() {
                [one] if !row.rest => self.draw(plan, *one, open, columns + 3, lines),
                several => {
                    let text = self.folded(plan, several, row.rest, columns);
                    lines.push(cut(&format!("{indent}  {text}"), columns));
                }
            }
        }
    }

    /// What stands below a place in so many rows: those where something happens have one each, those in like state one
    /// together, and so has what there is no room for. Nothing where that would say nothing.
    fn rows_below(&self, place: usize, room: usize) -> Vec<Row> {
        let below = &self.places[place].below;
        let alike = |wanted: Stand| -> Vec<usize> {
            below.iter().copied().filter(|place| self.places[*place].tally.alike() == Some(wanted)).collect()
        };
        let mut lively: Vec<usize> =
            below.iter().copied().filter(|place| self.places[*place].tally.alike().is_none()).collect();
        let same: Vec<Vec<usize>> =
            [alike(Stand::Done), alike(Stand::Waiting)].into_iter().filter(|places| !places.is_empty()).collect();
        // At least one place, and what it took the rows from.
        let least = same.len() + lively.len().min(2);
        if lively.is_empty() || room < least {
            return Vec::new();
        }
        let most = room - same.len();
        let mut rest = Vec::new();
        if lively.len() > most {
            // Where something failed comes first; the order stays.
            lively.sort_by_key(|place| self.places[*place].tally.failed.is_empty());
            rest = lively.split_off(most - 1);
            lively.sort_unstable();
        }
        let mut rows: Vec<Row> = lively.into_iter().map(|place| Row { places: vec![place], rest: false }).collect();
        if !rest.is_empty() {
            rows.push(Row { places: rest, rest: true });
        }
        rows.extend(same.into_iter().map(|places| Row { places, rest: false }));
        rows
    }

    fn folded(&self, plan: &Plan, places: &[usize], rest: bool, columns: usize) -> String {
        let mut tally = Tally::default();
        places.iter().for_each(|place| tally.add(&self.places[*place].tally));
        let names = named(places.iter().map(|place| self.places[*place].name.as_str()), NAMES_WIDTH);
        let more = if rest { " more" } else { "" };
        let name = format!("{}{more}, {names}", count(places.len() as u64, "place", "places"));
        self.told(plan, &name, &tally, columns)
    }

    /// One line: a name and what is to be said of the units there.
    fn told(&self, plan: &Plan, name: &str, tally: &Tally, columns: usize) -> String {
        let unit = |unit: &u32| plan.units.get(*unit as usize).map_or("?", |unit| unit.name.as_str());
        let mut parts = Vec::new();
        if tally.done > 0 {
            parts.push(format!("{} {}", tally.done, if self.back { "taken back" } else { "done" }));
        }
        if tally.waiting > 0 {
            parts.push(format!("{} {}", tally.waiting, if self.back { "to take back" } else { "waiting" }));
        }
        if !tally.working.is_empty() {
            let names = named(tally.working.iter().map(unit), NAMES_WIDTH);
            parts.push(format!("{} working: {names}", tally.working.len()));
        }
        if !tally.failed.is_empty() {
            let of = |number: &u32| {
                let reason = self.reasons.get(number).map(String::as_str).unwrap_or_default();
                format!("{} {reason}", unit(number)).trim_end().to_owned()
            };
            let told: Vec<String> = tally.failed.iter().map(of).collect();
            parts.push(format!("{} failed: {}", tally.failed.len(), named(told.iter().map(String::as_str), columns)));
        }
        let total = tally.total();
        match parts.is_empty() {
            true => format!("{name}: nothing to do"),
            false => format!("{name} ({total}): {}", parts.join(" · ")),
        }
    }
}

/// Names one after another, as many as fit, at least one.
fn named<'n>(names: impl Iterator<Item = &'n str>, width: usize) -> String {
    let mut text = String::new();
    for name in names {
        let name = sanitize(name);
        if !text.is_empty() && text.width() + 1 + name.width() > width {
            return format!("{text} …");
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&name);
    }
    text
}

/// A line that does not run into the next one.
fn cut(line: &str, columns: usize) -> String {
    if line.width() <= columns {
        return line.to_owned();
    }
    let mut width = 0;
    let fits = line.chars().take_while(|c| {
        width += c.width().unwrap_or(0);
        width < columns
    });
    fits.chain(['…']).collect()
}

#[cfg(test)]
mod tests;
