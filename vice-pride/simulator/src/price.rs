//! Prices a bug on the trace of a healthy run, without running again: until a bug is found it does not change the path,
//! so every question about when it is found is an integral over the exposure (Rao-Blackwell: chance is integrated
//! where it can be, and drawn only where it must be). One path prices all bugs, rare ones as exactly as common ones.

use crate::spread::Sampler;
use crate::trace::{HOUR, Trace};
use crate::world::{Bug, Profile, World};
use vice_pride_engine::{Course, UnitNo};

/// The bug is followed so long after the rollout is over; what is found later is nobody's rollout any more.
pub const AFTERWARDS_HOURS: f64 = 30.0 * 24.0;

/// The impact's distribution is read at so many equally likely moments of discovery.
pub const STRATA: usize = 100;

/// Nodes for integrating over what all regions share, where their law has no long tail.
const NODES: usize = 64;

/// So many where it has one; that is a deviation of about 13 times the mean, and beyond it they lie further apart.
const NODES_MAX: usize = 5_000;

/// How long a bug goes on after its first sign.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reaction {
    /// Hours until it is decided to go back.
    pub react: f64,
    /// Hours of bringing one unit back.
    pub undo: f64,
    /// Hours of bringing all units back, by the limit that lets fewest go back at once; at least those of one unit.
    pub fleet: f64,
    /// How many units that are.
    pub units: f64,
}

impl Reaction {
    /// Somebody reacts, and everything is back at once.
    #[must_use]
    pub fn at_once(react: f64) -> Self {
        Self { react, ..Self::default() }
    }

    /// The usual one of a plan in a world, in mean durations. Limits hold on the way back as well.
    #[must_use]
    pub fn of(world: &World, course: &Course) -> Self {
        let mean = |unit: UnitNo| world.profile(unit.0).undo_mean_ms();
        let alike = world.profiles.len() == 1;
        let narrowest = course.plan().limits.iter().map(|limit| {
            let work = match limit.members.iter().next() {
                Some(unit) if alike => mean(unit) * f64::from(limit.members.len()),
                _ => limit.members.iter().map(mean).sum::<f64>(),
            };
            work / f64::from(limit.free().max(1))
        });
        let undo = world.profiles.iter().map(Profile::undo_mean_ms).fold(0.0, f64::max);
        Self {
            react: world.react.mean() / HOUR,
            undo: undo / HOUR,
            fleet: narrowest.fold(undo, f64::max) / HOUR,
            units: f64::from(world.layout.units),
        }
    }

    /// Hours for which a server that is exposed at the first sign stays so, on average over those that are: they go back one
    /// after the other.
    fn hours(self, exposed: f64) -> f64 {
        let part = if self.units > 0.0 { (exposed / self.units).min(1.0) } else { 1.0 };
        self.react + (self.undo + (self.fleet * part).max(self.undo)) / 2.0
    }
}

/// When a bug would be found in one run, and what it would cost. Probabilities are of finding it, given that it is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Priced {
    /// P(unfound at each row of the trace).
    unfound: Vec<f64>,
    at: Vec<u64>,
    exposed: Vec<f64>,
    /// All server-hours at each row.
    hours: Vec<f64>,
    /// Server-hours that it could hit.
    harm: Vec<f64>,
    hit: Vec<f64>,
    severity: f64,
    reaction: Reaction,
}

/// Server-hours and servers of the cells that a bug hits, thinned by its share.
struct Matching {
    /// By row and region: effective exposure.
    regions: Vec<f64>,
    harm: Vec<f64>,
    hit: Vec<f64>,
}

impl Priced {
    /// Prices a bug.
    #[must_use]
    pub fn new(world: &World, bug: &Bug, trace: &Trace, reaction: Reaction) -> Self {
        let matching = matching(world, bug, trace);
        let hazard = Hazard::new(bug);
        let row = |row: usize| &matching.regions[row * world.regions..(row + 1) * world.regions];
        Self {
            unfound: (0..trace.len()).map(|at| hazard.unfound(row(at))).collect(),
            at: trace.at.clone(),
            exposed: (0..trace.len()).map(|row| trace.exposed_at(row).iter().sum()).collect(),
            hours: (0..trace.len()).map(|row| trace.hours_at(row).iter().sum()).collect(),
            harm: matching.harm,
            hit: matching.hit,
            severity: bug.severity,
            reaction,
        }
        .followed(&hazard, &matching.regions, world.regions)
    }

    /// Goes on after the end, with every server exposed, until nobody looks any more.
    fn followed(mut self, hazard: &Hazard, regions: &[f64], count: usize) -> Self {
        let Some(last) = self.at.len().checked_sub(1) else { return self };
        let hit = self.hit[last];
        let total: f64 = regions[last * count..].iter().sum();
        // Hours grow by a quarter each, so that early finds are seen finely and late ones coarsely.
        let mut hours = 0.0;
        let mut step = 0.05;
        while hours < AFTERWARDS_HOURS && hit > 0.0 {
            hours = (hours + step).min(AFTERWARDS_HOURS);
            step *= 1.25;
            let grown = regions[last * count..].iter().map(|region| {
                // Regions go on in proportion to what they had; a region that had nothing gets nothing.
                let part = if total > 0.0 { region / total } else { 1.0 / float(count) };
                region + part * hit * hours
            });
            self.unfound.push(hazard.unfound(&grown.collect::<Vec<_>>()));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a month of milliseconds")]
            self.at.push(self.at[last] + (hours * HOUR) as u64);
            self.exposed.push(self.exposed[last]);
            self.hours.push(self.hours[last] + self.exposed[last] * hours);
            self.harm.push(self.harm[last] + hit * hours);
            self.hit.push(hit);
        }
        self
    }

    /// P(unfound at a moment).
    #[must_use]
    pub fn unfound_at(&self, at: u64) -> f64 {
        let after = self.at.partition_point(|row| *row <= at);
        let Some(low) = after.checked_sub(1) else { return 1.0 };
        let Some(high) = self.at.get(after) else { return self.unfound[low] };
        let part = float_ms(at - self.at[low]) / float_ms(high - self.at[low]).max(1.0);
        // Hazard cumulates about linearly between two rows, so survival is interpolated in its logarithm.
        let (one, two) = (self.unfound[low], self.unfound[after]);
        if one <= 0.0 || two <= 0.0 { two } else { one * libm::pow(two / one, part) }
    }

    /// P(found before so many servers are exposed).
    #[must_use]
    pub fn found_before(&self, servers: f64) -> f64 {
        let reached = self.exposed.iter().position(|exposed| *exposed >= servers);
        match reached {
            None => 1.0 - self.unfound.last().copied().unwrap_or(1.0),
            Some(0) => 0.0,
            Some(row) => 1.0 - self.unfound_at(self.reached_at(row, servers)),
        }
    }

    /// When so many servers were exposed, between the row before and this one. Their server-hours say whether they came
    /// in a straight line or at the very end: the line begins where it must for the area below it to be right.
    fn reached_at(&self, row: usize, servers: f64) -> u64 {
        let (low, high) = (self.exposed[row - 1], self.exposed[row]);
        let length = float_ms(self.at[row] - self.at[row - 1]);
        let area = (self.hours[row] - self.hours[row - 1]) * HOUR - low * length;
        let line = (2.0 * area / (high - low).max(1e-9)).clamp(0.0, length);
        let left = line * (1.0 - (servers - low) / (high - low).max(1e-9)).clamp(0.0, 1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most the length between two rows"
        )]
        self.at[row].saturating_sub(left as u64)
    }

    /// The mean number of servers that it could hit between the row before and this one.
    fn between(&self, row: usize) -> f64 {
        let hours = float_ms(self.at[row] - self.at[row - 1]) / HOUR;
        if hours > 0.0 { (self.harm[row] - self.harm[row - 1]) / hours } else { self.hit[row] }
    }

    /// Server-hours that it could hit between its first sign, between the row before and this one, and the last unit's return.
    fn afterwards(&self, row: usize) -> f64 {
        let hours = float_ms(self.at[row] - self.at[row - 1]) / HOUR;
        let exposed = if hours > 0.0 { (self.hours[row] - self.hours[row - 1]) / hours } else { self.exposed[row] };
        self.between(row) * self.reaction.hours(exposed)
    }

    /// The moment of discovery and the impact at the `STRATA` middles of equally likely parts; `None` where it is not
    /// found in the time that is looked at.
    #[must_use]
    pub fn strata(&self) -> Vec<(Option<u64>, f64)> {
        let mut row = 0;
        let middle = |part: usize| 1.0 - (float(part) + 0.5) / float(STRATA);
        let stratum = |part: usize| {
            let survival = middle(part);
            while row < self.unfound.len() && self.unfound[row] > survival {
                row += 1;
            }
            let Some(high) = self.unfound.get(row) else {
                return (None, self.severity * self.harm.last().copied().unwrap_or(0.0));
            };
            let Some(low) = row.checked_sub(1) else { return (self.at.first().copied(), 0.0) };
            let one = self.unfound[low];
            let part = if *high > 0.0 && *high < one { libm::log(survival / one) / libm::log(high / one) } else { 1.0 };
            let harm = self.harm[low] + (self.harm[row] - self.harm[low]) * part;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two moments")]
            let at = self.at[low] + (float_ms(self.at[row] - self.at[low]) * part) as u64;
            (Some(at), self.severity * (harm + self.afterwards(row)))
        };
        (0..STRATA).map(stratum).collect()
    }

    /// The mean impact: the integral over every moment of discovery.
    #[must_use]
    pub fn impact(&self) -> f64 {
        let mut sum = 0.0;
        for row in 1..self.unfound.len() {
            let harm = (self.harm[row - 1] + self.harm[row]) / 2.0;
            let cost = self.severity * (harm + self.afterwards(row));
            sum += (self.unfound[row - 1] - self.unfound[row]) * cost;
        }
        let last = self.unfound.len().checked_sub(1);
        sum + last.map_or(0.0, |last| self.unfound[last] * self.severity * self.harm[last])
    }

    /// The mean of server-hours and of exposed servers that it could hit at the moment of discovery, where it is found.
    #[must_use]
    pub fn at_discovery(&self) -> (f64, f64) {
        let (mut hours, mut servers) = (0.0, 0.0);
        for row in 1..self.unfound.len() {
            let found = self.unfound[row - 1] - self.unfound[row];
            hours += found * (self.harm[row - 1] + self.harm[row]) / 2.0;
            servers += found * self.between(row);
        }
        (hours, servers)
    }
}

fn matching(world: &World, bug: &Bug, trace: &Trace) -> Matching {
    let rows = trace.len();
    let mut matching =
        Matching { regions: vec![0.0; rows * world.regions], harm: vec![0.0; rows], hit: vec![0.0; rows] };
    for row in 0..rows {
        for (cell, entry) in world.cells.iter().enumerate().filter(|(cell, _)| bug.hits[*cell]) {
            let hours = trace.hours_at(row)[cell] * bug.share;
            matching.regions[row * world.regions + entry.region] += hours;
            matching.harm[row] += hours;
            matching.hit[row] += trace.exposed_at(row)[cell] * bug.share;
        }
    }
    if let Some(appears) = &bug.appears {
        let delayed = delayed(&trace.at, &matching.hit, &matching.harm, appears);
        for ((regions, harm), delayed) in matching.regions.chunks_mut(world.regions).zip(&matching.harm).zip(delayed) {
            let part = if *harm > 0.0 { delayed / harm } else { 0.0 };
            regions.iter_mut().for_each(|hours| *hours *= part);
        }
    }
    matching
}

/// Server-hours on which a bug can show itself when it appears only after a while: for each server that was added, the
/// integral of P(appeared) over its age.
fn delayed(at: &[u64], hit: &[f64], harm: &[f64], appears: &Sampler) -> Vec<f64> {
    let span = at.last().copied().unwrap_or(0).saturating_sub(at.first().copied().unwrap_or(0));
    let ages = Ages::new(float_ms(span), appears);
    // Groups of servers that came between two rows, with the moment at which they came on average: their server-hours
    // until the later row say how old they were then.
    let first = (hit.first().copied().unwrap_or(0.0), at.first().map_or(0.0, |at| float_ms(*at)));
    let mut groups: Vec<(f64, f64)> = vec![first];
    for high in 1..at.len() {
        let (added, length) = (hit[high] - hit[high - 1], float_ms(at[high] - at[high - 1]));
        let age =
            ((harm[high] - harm[high - 1]) * HOUR - hit[high - 1] * length) / if added == 0.0 { 1.0 } else { added };
        groups.push((added, float_ms(at[high]) - age.clamp(0.0, length)));
    }
    let effective = |(row, at): (usize, &u64)| {
        let now = float_ms(*at);
        groups[..=row].iter().map(|(added, came)| added * ages.hours(now - came)).sum::<f64>().max(0.0)
    };
    at.iter().enumerate().map(effective).collect()
}

/// The integral of P(appeared) from age 0 to an age, tabulated.
struct Ages {
    step_ms: f64,
    hours: Vec<f64>,
}

impl Ages {
    /// So many steps, summed by the trapezoid rule: an error of a thousandth of a step's length.
    const STEPS: u32 = 2_048;

    fn new(span_ms: f64, appears: &Sampler) -> Self {
        let step_ms = (span_ms / f64::from(Self::STEPS)).max(1.0);
        let mut sum = 0.0;
        let mut before = appears.at_most(0.0);
        let mut hours = vec![0.0];
        for step in 1..=Self::STEPS + 1 {
            let now = appears.at_most(step_ms * f64::from(step));
            sum += (before + now) / 2.0 * step_ms / HOUR;
            before = now;
            hours.push(sum);
        }
        Self { step_ms, hours }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an age between 0 and the span")]
    fn hours(&self, age_ms: f64) -> f64 {
        let place = (age_ms / self.step_ms).max(0.0);
        let low = (place as usize).min(self.hours.len() - 2);
        self.hours[low] + (self.hours[low + 1] - self.hours[low]) * (place - float(low)).min(1.0)
    }
}

/// Survival under an uncertain hazard that regions share in part.
struct Hazard {
    mean: f64,
    /// The variance of a region's own factor.
    own: f64,
    /// What all share: factors with their weights; one factor of 1 when it is certain.
    shared: Vec<(f64, f64)>,
    /// The shared variance, where everything is shared: then the integral is known.
    all_shared: Option<f64>,
}

impl Hazard {
    fn new(bug: &Bug) -> Self {
        let (shared, own) = (bug.uncertainty * bug.correlation, bug.uncertainty * (1.0 - bug.correlation));
        let all_shared = (own <= 1e-12 && shared > 1e-12).then_some(shared);
        let nodes = if shared > 1e-12 && all_shared.is_none() { gamma_nodes(shared) } else { vec![(1.0, 1.0)] };
        Self { mean: bug.hazard, own, shared: nodes, all_shared }
    }

    fn unfound(&self, regions: &[f64]) -> f64 {
        if let Some(variance) = self.all_shared {
            let a: f64 = regions.iter().sum();
            return libm::exp(-libm::log1p(self.mean * variance * a) / variance);
        }
        let given = |factor: f64| {
            let each = |a: &f64| {
                let h = self.mean * factor * a;
                if self.own <= 1e-12 { -h } else { -libm::log1p(h * self.own) / self.own }
            };
            libm::exp(regions.iter().map(each).sum())
        };
        self.shared.iter().map(|(factor, weight)| weight * given(*factor)).sum()
    }
}

/// Nodes and weights of a gamma distribution with mean 1: equal steps of its logarithm, weights by the density. A shape
/// below 1 reaches far to both sides: nearly all hazards are next to nothing, and few are many times the mean.
fn gamma_nodes(variance: f64) -> Vec<(f64, f64)> {
    let k = 1.0 / variance;
    let (low, high) = if k < 1.0 { (-15.0 / k - 5.0, libm::log1p(40.0 / k)) } else { (-30.0 / k - 5.0, 4.0) };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and bounded below")]
    let nodes = (((high - low) * 2.0) as usize).clamp(NODES, NODES_MAX);
    let node = |i: usize| {
        let s = low + (high - low) * (float(i) + 0.5) / float(nodes);
        let z = libm::exp(s);
        (z, libm::exp(k * s - k * z + k))
    };
    let nodes: Vec<(f64, f64)> = (0..nodes).map(node).collect();
    let sum: f64 = nodes.iter().map(|(_, weight)| weight).sum();
    nodes.into_iter().map(|(z, weight)| (z, weight / sum)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn float(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a simulated rollout, far below 2^53")]
fn float_ms(millis: u64) -> f64 {
    millis as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layout, Past, closed};

    fn world(bug: &str, units: u32) -> World {
        let model = toml::from_str(&format!("[bug.b]\n{bug}")).unwrap();
        World::new(&model, Layout::flat(units), &Past::default()).unwrap()
    }

    /// An exponential ramp as a trace of one cell.
    fn ramp(ramp: closed::Ramp) -> Trace {
        let mut trace = Trace { cells: 1, ..Trace::default() };
        for i in 0..=2_000 {
            let hours = ramp.hours() * f64::from(i) / 2_000.0;
            let exposed = ramp.n0 * libm::exp(ramp.g * hours);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
            trace.at.push((hours * HOUR) as u64);
            trace.exposed.push(exposed);
            trace.hours.push((exposed - ramp.n0) / ramp.g);
        }
        trace
    }

    #[test]
    fn a_ramp_is_priced_as_the_closed_forms_say() {
        let h = 1e-3;
        for g in [0.05, 0.5, 2.0] {
            let shape = closed::Ramp { n0: 10.0, n: 1e5, g };
            let world = world("hazard = \"0.001/h\"", 100_000);
            let priced = Priced::new(
                &world,
                &world.bugs[0],
                &ramp(shape),
                Reaction { react: 0.5, undo: 1.0, fleet: 1.0, units: 1e5 },
            );
            let near = |got: f64, want: f64, what: &str| {
                assert!((got / want - 1.0).abs() < 0.01, "{what} at g = {g}: {got} instead of {want}");
            };
            let (hours, servers) = priced.at_discovery();
            near(hours, closed::exposure_at_detection(h), "exposure");
            near(servers, shape.exposed_at_detection(h), "servers");
            near(priced.impact(), shape.impact(h, 0.5, 1.0), "impact");
            near(priced.found_before(1_000.0), shape.found_before(h, 0.01), "found before 1 %");
            let strata = priced.strata();
            let mean = strata.iter().map(|(_, impact)| impact).sum::<f64>() / float(STRATA);
            assert!((mean / priced.impact() - 1.0).abs() < 0.03, "{mean}");
        }
    }

    #[test]
    fn an_uncertain_hazard_is_found_by_the_gamma_law_however_regions_share_it() {
        // Mean 0.001 an hour with deviation 0.001: shape 1, scale 0.001.
        let shape = closed::Ramp { n0: 10.0, n: 1e4, g: 1.0 };
        let trace = ramp(shape);
        for correlation in ["1.0", "0.999"] {
            let text = format!("hazard = \"0.001/h ~ 0.001/h\"\ncorrelation = {correlation}");
            let world = world(&text, 10_000);
            let priced = Priced::new(&world, &world.bugs[0], &trace, Reaction::default());
            let last = trace.len() - 1;
            let want = closed::unfound_gamma(1.0, 1e-3, trace.hours[last]);
            let got = priced.unfound_at(trace.at[last]);
            assert!((got / want - 1.0).abs() < 0.01, "{correlation}: {got} {want}");
        }
    }

    #[test]
    fn a_delay_takes_exposure_away_and_a_long_one_all_of_it() {
        let trace = ramp(closed::Ramp { n0: 10.0, n: 1e4, g: 1.0 });
        let last = trace.at[trace.len() - 1];
        let unfound = |appears: &str| {
            let world = world(&format!("hazard = \"0.001/h\"\n{appears}"), 10_000);
            Priced::new(&world, &world.bugs[0], &trace, Reaction::default()).unfound_at(last)
        };
        let (now, soon, late) = (unfound(""), unfound("appears = \"30m\""), unfound("appears = \"100h\""));
        assert!(now < soon && soon < late && late > 0.9999, "{now} {soon} {late}");
        // A fixed delay of half an hour: exposure shrinks by e^(-g/2), as the ramp was half an hour earlier.
        let want = libm::exp(libm::log(now) * libm::exp(-0.5));
        assert!((libm::log(soon) / libm::log(want) - 1.0).abs() < 0.01, "{soon} {want}");
    }
}
