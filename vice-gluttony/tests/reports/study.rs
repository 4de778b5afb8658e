//! Simulations, made up by a generator that shares nothing with the simulator or the drawing: it moves units by a
//! simple rule and writes down what it did.

use vice_core::Digest;
use vice_core::payload::environment::Direction;
use vice_core::payload::propagation::{DecisionMark, Propagation, PropagationRow, SharePoint, WaveSpan};
use vice_core::payload::rollout::Verdict;
use vice_core::payload::simulation::{
    Assumption, AssumptionSource, Bottleneck, ComparedFigure, EndCount, Fleet, FleetNode, Found, FoundBefore,
    Histogram, LowerBound, Named, Pareto, ParetoPoint, PolicyComparison, Probability, Quantiles, SCHEMA, SimulatedEnd,
    SimulationMode, SimulationReport, SquareRootLaw, Story, StoryKind, WaveFigures,
};

/// A small generator of numbers, so that the same page comes out everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below.max(1)
    }
}

/// The shape of a fleet: datacenters, racks in each, servers in each.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) centers: u32,
    pub(crate) racks: u32,
    pub(crate) servers: u32,
}

pub(crate) const SMALL: Shape = Shape { centers: 1, racks: 1, servers: 3 };
pub(crate) const LARGE: Shape = Shape { centers: 5, racks: 20, servers: 40 };
pub(crate) const HUGE: Shape = Shape { centers: 5, racks: 50, servers: 4_000 };

impl Shape {
    fn units(self) -> u32 {
        self.centers * self.racks * self.servers
    }

    /// Rows by path, units and nodes, as somebody else would have put them together.
    fn rows(self) -> Vec<Part> {
        let center = |n: u32| format!("dc{}", n + 1);
        if self.racks == 1 {
            return (0..self.servers).map(|n| (vec![format!("web-{}", n + 1)], 1, 1)).collect();
        }
        let together = if self.centers * self.racks > 100 { 3 } else { 1 };
        let mut rows = Vec::new();
        for dc in 0..self.centers {
            for first in (0..self.racks).step_by(together as usize) {
                let last = (first + together).min(self.racks);
                let name = if together == 1 {
                    format!("rack{}", first + 1)
                } else {
                    format!("rack{} … rack{last}", first + 1)
                };
                rows.push((vec![center(dc), name], (last - first) * self.servers, last - first));
            }
        }
        rows
    }
}

/// A row: path, units, nodes.
type Part = (Vec<String>, u32, u32);

const MINUTE: u64 = 60_000;

/// A run: waves that double, units that take some minutes, and a way back when the bug is found.
pub(crate) fn run(shape: Shape, seed: u64, found_in_wave: Option<u32>) -> Propagation {
    let mut dice = Dice(seed);
    let rows = shape.rows();
    let units: Vec<usize> =
        (0..rows.len()).flat_map(|row| std::iter::repeat_n(row, (rows[row].1 as usize).min(400))).collect();
    let scale: Vec<u32> = rows.iter().map(|row| (row.1 / 400).max(1)).collect();
    let mut order: Vec<usize> = (0..units.len()).collect();
    // One of each row comes early, then everything in a mixed order.
    for at in (1..order.len()).rev() {
        order.swap(at, dice.roll(at as u64 + 1) as usize);
    }
    let mut moves: Vec<(u64, usize, usize, usize)> = Vec::new();
    let (mut now, mut size, mut done, mut wave) = (0_u64, 1_usize, 0_usize, 0_u32);
    let mut drawn = Propagation { run: Some(417), ..Propagation::default() };
    while done < order.len() {
        wave += 1;
        let began = now;
        let end = (done + size).min(order.len());
        for (place, unit) in order[done..end].iter().enumerate() {
            let from = now + place as u64 * 30 * MINUTE / size.max(30) as u64;
            let to = from + 2 * MINUTE + dice.roll(5 * MINUTE);
            moves.push((from, units[*unit], 0, 1));
            let broken = dice.roll(900) == 0 && done > 0;
            moves.push((to, units[*unit], 1, if broken { 3 } else { 2 }));
        }
        now = moves.iter().map(|step| step.0).max().unwrap_or(now) + 20 * MINUTE;
        done = end;
        drawn.waves.push(WaveSpan { wave, direction: Direction::Deploy, start_ms: began, end_ms: Some(now) });
        let points = (done * 10_000 / order.len()) as u32;
        drawn.shares.push(SharePoint { at_ms: now - 20 * MINUTE, basis_points: points });
        let bad = found_in_wave == Some(wave);
        let verdict = if bad { Verdict::Rollback } else { Verdict::Proceed };
        let reason = if bad {
            "errors: 4.1 times the baseline, e-value 131."
        } else {
            "errors: no worse than 1.5 times the baseline."
        };
        drawn.decisions.push(DecisionMark { at_ms: now, verdict, reason: reason.to_owned() });
        if bad {
            let touched = order[..done].to_vec();
            drawn.shares.push(SharePoint { at_ms: now, basis_points: 0 });
            drawn.waves.push(WaveSpan { wave: 1, direction: Direction::Rollback, start_ms: now, end_ms: None });
            for (place, unit) in touched.iter().enumerate() {
                let from = now + place as u64 * 10 * MINUTE / touched.len().max(20) as u64;
                moves.push((from, units[*unit], 2, 1));
                moves.push((from + MINUTE + dice.roll(2 * MINUTE), units[*unit], 1, 4));
            }
            now = moves.iter().map(|step| step.0).max().unwrap_or(now);
            if let Some(last) = drawn.waves.last_mut() {
                last.end_ms = Some(now);
            }
            break;
        }
        size *= if order.len() > 100 { 3 } else { 1 };
    }
    moves.sort_unstable();
    record(drawn, &rows, &scale, &moves, now)
}

/// Samples the moves at 200 moments.
fn record(
    mut drawn: Propagation,
    rows: &[Part],
    scale: &[u32],
    moves: &[(u64, usize, usize, usize)],
    end: u64,
) -> Propagation {
    let step = (end / 200).max(1);
    drawn.times_ms = (0..=end.div_ceil(step)).map(|at| at * step).collect();
    let mut state: Vec<[u32; 5]> = rows.iter().map(|row| [row.1, 0, 0, 0, 0]).collect();
    let mut changes: Vec<Vec<[u32; 6]>> = state.iter().map(|now| vec![with(0, now)]).collect();
    let mut next = 0;
    for (at, time) in drawn.times_ms.iter().enumerate() {
        while let Some((_, row, from, to)) = moves.get(next).filter(|step| step.0 <= *time) {
            // A unit that failed on the way there does not go back in this story.
            let count = scale[*row].min(state[*row][*from]);
            state[*row][*from] -= count;
            state[*row][*to] += count;
            next += 1;
        }
        for (row, now) in state.iter().enumerate() {
            if changes[row].last().is_some_and(|last| last[1..] != now[..]) {
                changes[row].push(with(at as u32, now));
            }
        }
    }
    let row = |((path, units, nodes), changes): (&Part, Vec<[u32; 6]>)| {
        let changes = changes.into_iter().fold(Vec::<[u32; 6]>::new(), |mut kept, change| {
            match kept.last_mut().filter(|last| last[0] == change[0]) {
                Some(last) => *last = change,
                None => kept.push(change),
            }
            kept
        });
        PropagationRow { path: path.clone(), units: *units, nodes: *nodes, changes }
    };
    drawn.rows = rows.iter().zip(changes).map(row).collect();
    if rows.iter().any(|row| row.2 > 1) {
        drawn.aggregated =
            Some(format!("250 racks are drawn as {} rows; each row shows the mix within it.", rows.len()));
    }
    drawn
}

fn with(at: u32, now: &[u32; 5]) -> [u32; 6] {
    [at, now[0], now[1], now[2], now[3], now[4]]
}

pub(crate) fn quantiles(middle: f64, spread: f64) -> Quantiles {
    let at = |z: f64| middle * (z * spread).exp();
    Quantiles {
        mean: at(spread / 2.0),
        p5: at(-1.645),
        p25: at(-0.674),
        p50: middle,
        p75: at(0.674),
        p90: at(1.282),
        p95: at(1.645),
        p99: at(2.326),
    }
}

fn histogram(dice: &mut Dice, figures: &Quantiles, runs: u64) -> Histogram {
    let (low, high) = (figures.p5 * 0.8, figures.p99 * 1.05);
    let edges: Vec<f64> = (0..=32).map(|n| low + (high - low) * f64::from(n) / 32.0).collect();
    let mut counts = vec![0; 32];
    for _ in 0..runs {
        // A sum of dice is a bell; its middle is the median.
        let bell = (0..6).map(|_| dice.roll(1_000) as f64).sum::<f64>() / 3_000.0 - 1.0;
        let value = figures.p50 * (bell * (figures.p95 / figures.p50).ln() * 2.2).exp();
        let at = ((value - low) / (high - low) * 32.0).clamp(0.0, 31.0) as usize;
        counts[at] += 1;
    }
    Histogram { edges, counts }
}

fn waves(shape: Shape, drawn: &Propagation, bad: bool) -> Vec<WaveFigures> {
    let units = u64::from(shape.units());
    let forward: Vec<&WaveSpan> = drawn.waves.iter().filter(|wave| wave.direction == Direction::Deploy).collect();
    let mut after = 0;
    let wave = |(index, span): (usize, &&WaveSpan)| {
        let share = drawn.shares.get(index).map_or(0, |share| share.basis_points);
        let now = (units * u64::from(share)).div_ceil(10_000);
        let size = now - after;
        after = now;
        WaveFigures {
            wave: span.wave,
            name: (index == 0).then(|| "canary".to_owned()),
            units: size,
            units_after: now,
            share: None,
            reached: if bad { 0.8_f64.powi(index as i32) } else { 1.0 },
            ended: None,
            start_ms: quantiles(span.start_ms as f64, 0.06),
            end_ms: quantiles(span.end_ms.unwrap_or(0) as f64, 0.08),
            p_unfound_after: bad.then(|| 0.62_f64.powi(index as i32 + 1)),
            exposure_server_hours: Some(now as f64 * 0.4),
        }
    };
    forward.iter().enumerate().map(wave).collect()
}

fn probability(k: u64, n: u64) -> Probability {
    let value = k as f64 / n as f64;
    let reach = 1.96 * (value * (1.0 - value) / n as f64).sqrt();
    Probability {
        value,
        k: Some(k),
        n: Some(n),
        lo: Some((value - reach).max(0.0)),
        hi: Some((value + reach).min(1.0)),
    }
}

fn outcome(end: SimulatedEnd, runs: u64) -> EndCount {
    EndCount { end, runs }
}

fn blank(name: &str, kind: StoryKind, total_ms: Quantiles) -> Story {
    Story {
        name: name.to_owned(),
        kind,
        about: None,
        probability: None,
        outcomes: Vec::new(),
        total_ms,
        unfinished: None,
        lower_bound: None,
        waves: Vec::new(),
        found: None,
        exposure_server_hours: None,
        impact: None,
        impact_unit: None,
        false_rollback: None,
        bottlenecks: Vec::new(),
        total_ms_histogram: None,
        exposure_server_hours_histogram: None,
        propagation: None,
    }
}

fn healthy(shape: Shape, dice: &mut Dice) -> Story {
    let drawn = run(shape, 11, None);
    let longest = drawn.times_ms.last().copied().unwrap_or(1) as f64;
    let time = quantiles(longest, 0.09);
    let exposure = quantiles(f64::from(shape.units()) * 1.7, 0.12);
    let waited = |constraint: &str, waited_share| Bottleneck {
        constraint: constraint.to_owned(),
        waited_share,
        waited_ms: Some(waited_share * longest / 2.0),
    };
    Story {
        outcomes: vec![
            outcome(SimulatedEnd::Completed, 996),
            outcome(SimulatedEnd::RolledBack, 3),
            outcome(SimulatedEnd::NeedsHuman, 1),
        ],
        lower_bound: Some(LowerBound {
            total_ms: longest * 0.81,
            gap: 1.23,
            mean_ms: Some(longest),
            mean_error_ms: Some(longest * 0.006),
            mean_gap: Some(1.23),
            binding: Some("max_down of dc3".into()),
        }),
        waves: waves(shape, &drawn, false),
        exposure_server_hours: Some(exposure),
        false_rollback: Some(probability(3, 1_000)),
        bottlenecks: vec![
            waited("bake of waves", 0.54),
            waited("max_down of dc3/rack7", 0.21),
            waited("exclusion bar and potato", 0.15),
            waited("window patch-thursday", 0.1),
        ],
        total_ms_histogram: Some(histogram(dice, &time, 1_000)),
        exposure_server_hours_histogram: Some(histogram(dice, &exposure, 1_000)),
        propagation: Some(drawn),
        ..blank("healthy", StoryKind::Healthy, time)
    }
}

fn unhealthy(shape: Shape, dice: &mut Dice) -> Story {
    let drawn = run(shape, 11, Some(if shape.units() > 100 { 6 } else { 2 }));
    let time = quantiles(drawn.times_ms.last().copied().unwrap_or(1) as f64, 0.3);
    let exposure = quantiles(f64::from(shape.units()) * 0.12, 0.5);
    let before = [(0.01, 412), (0.1, 871), (0.5, 969)];
    let before = before.map(|(fleet_share, k)| FoundBefore { fleet_share, probability: probability(k, 1_000) });
    Story {
        about: Some("errors x4, 2 per 1,000 server-hours".into()),
        outcomes: vec![
            outcome(SimulatedEnd::RolledBack, 978),
            outcome(SimulatedEnd::Completed, 17),
            outcome(SimulatedEnd::NeedsHuman, 5),
        ],
        waves: waves(shape, &run(shape, 11, None), true),
        found: Some(Found {
            before: before.to_vec(),
            early: 0.871,
            middle: 0.098,
            late: 0.009,
            never: probability(22, 1_000),
            at_ms: Some(quantiles(time.p50 * 0.8, 0.3)),
        }),
        exposure_server_hours: Some(exposure),
        impact: Some(quantiles(37.0, 0.8)),
        impact_unit: Some("bad requests".into()),
        total_ms_histogram: Some(histogram(dice, &time, 1_000)),
        exposure_server_hours_histogram: Some(histogram(dice, &exposure, 1_000)),
        propagation: Some(drawn),
        ..blank("unhealthy", StoryKind::Unhealthy, time)
    }
}

fn fleet(shape: Shape) -> Fleet {
    let units = shape.units();
    if shape.racks == 1 {
        return Fleet { units: u64::from(units), levels: vec!["host".into()], ..Fleet::default() };
    }
    let size = shape.racks * shape.servers;
    let center = |n: u32| FleetNode {
        name: format!("dc{}", n + 1),
        level: 0,
        parent: None,
        first: n * size,
        last: (n + 1) * size,
    };
    let racks = |dc: u32| {
        (0..shape.racks).map(move |rack| {
            let first = dc * size + rack * shape.servers;
            FleetNode {
                name: format!("rack{}", rack + 1),
                level: 1,
                parent: Some(dc),
                first,
                last: first + shape.servers,
            }
        })
    };
    let class = |name: &str, part: u32| Named { name: name.to_owned(), units: u64::from(units / part) };
    Fleet {
        units: u64::from(units),
        levels: ["datacenter", "rack", "server"].map(str::to_owned).to_vec(),
        nodes: (0..shape.centers).map(center).chain((0..shape.centers).flat_map(racks)).collect(),
        classes: vec![class("debian-12", 2), class("debian-13", 3), class("arm", 6)],
        domains: (1..=4).map(|n| class(&format!("ud{n}"), 4)).collect(),
        aggregated: None,
    }
}

fn pareto(dice: &mut Dice) -> Pareto {
    let mut points = Vec::new();
    for growth in [1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0] {
        for bake_minutes in [5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 240.0] {
            let waves = (4_000_f64.ln() / f64::ln(growth)).ceil() + 1.0;
            let time_ms = waves * (bake_minutes + 8.0) * 60_000.0;
            let impact = 12.0 + 260.0 * growth.powf(0.8) / (bake_minutes + 3.0) + dice.roll(9) as f64;
            points.push(ParetoPoint {
                growth,
                bake_ms: bake_minutes * 60_000.0,
                time_ms,
                impact,
                impact_p99: impact * 6.3,
                efficient: false,
            });
        }
    }
    let beaten = |one: &ParetoPoint| points.iter().any(|two| two.time_ms < one.time_ms && two.impact < one.impact);
    let efficient: Vec<bool> = points.iter().map(|one| !beaten(one)).collect();
    for (point, efficient) in points.iter_mut().zip(efficient) {
        point.efficient = efficient;
    }
    let cost = |point: &ParetoPoint| point.time_ms / 3_600_000.0 * 6.0 + point.impact;
    let best = points.iter().min_by(|one, two| cost(one).total_cmp(&cost(two))).copied();
    let current = points.iter().find(|point| point.growth == 2.0 && point.bake_ms == 3_600_000.0).copied();
    let law = SquareRootLaw {
        growth_per_hour: 1.752,
        numeric_growth_per_hour: Some(1.7518),
        time_ms: Some(4.73 * 3_600_000.0),
        impact: Some(44.0),
    };
    Pareto { points, impact_unit: Some("bad requests".into()), current, best, square_root_law: Some(law) }
}

fn compare() -> PolicyComparison {
    let row = |story: &str, figure: &str, (a, b): (f64, f64), reach: f64| ComparedFigure {
        figure: figure.to_owned(),
        story: story.to_owned(),
        a,
        b,
        difference: b - a,
        lo: b - a - reach,
        hi: b - a + reach,
    };
    PolicyComparison {
        a: "waves x2, bake 1h (this plan)".into(),
        b: "waves x4, bake 30m".into(),
        runs: 1_000,
        level: 0.95,
        rows: vec![
            row("healthy", "total_ms", (54_000_000.0, 25_200_000.0), 900_000.0),
            row("healthy", "p_rolled_back", (0.003, 0.002), 0.004),
            row("unhealthy", "p_found_early", (0.871, 0.802), 0.021),
            row("unhealthy", "impact", (37.1, 41.0), 6.0),
            row("unhealthy", "exposure_server_hours", (482.0, 655.0), 24.0),
        ],
    }
}

fn assumptions() -> Vec<Assumption> {
    let one = |key: &str, value: &str, source, note: Option<&str>| Assumption {
        key: key.to_owned(),
        value: value.to_owned(),
        source,
        note: note.map(str::to_owned),
    };
    vec![
        one("model.install", "40s ~ 12s", AssumptionSource::History, Some("312 units of 12 rollouts")),
        one("model.drain", "20s ~ 5s", AssumptionSource::Manifest, None),
        one("model.failure", "0.4 %", AssumptionSource::History, Some("1 of 312, pooled over 4 projects")),
        one(
            "model.bug.any.probability",
            "5 %",
            AssumptionSource::Assumed,
            Some("a default: say what you know of your releases"),
        ),
        one("model.bug.any.hazard", "2 per 1,000 server-hours", AssumptionSource::Assumed, None),
        one("model.traffic", "6000 a minute, 0.1 % errors", AssumptionSource::Manifest, None),
    ]
}

pub(crate) fn study(shape: Shape) -> SimulationReport {
    let mut dice = Dice(2_026);
    SimulationReport {
        schema: SCHEMA.to_owned(),
        project: "shop".parse().unwrap(),
        env: "prod".parse().unwrap(),
        version: Some("1.4.2".into()),
        plan_hash: Some(Digest::of(b"plan")),
        policy: Some("waves x3, bake 20m, coverage first".into()),
        seed: 7,
        runs: 1_000,
        mode: SimulationMode::Exact,
        assumptions: assumptions(),
        fleet: fleet(shape),
        stories: vec![healthy(shape, &mut dice), unhealthy(shape, &mut dice)],
        compare: Some(compare()),
        pareto: Some(pareto(&mut dice)),
        warnings: Vec::new(),
    }
}
