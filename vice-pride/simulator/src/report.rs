//! From samples to the report: quantiles, probabilities with their intervals, bottlenecks, pictures, warnings.

use std::collections::BTreeMap;

use vice_core::id::{EnvName, ProjectName};
use vice_core::payload::propagation::Propagation;
use vice_core::payload::simulation::{
    EndCount, Fleet, Found, FoundBefore, LowerBound, Named, Quantiles, SCHEMA, SimulatedEnd, SimulationMode,
    SimulationReport, Story, StoryKind, Unfinished, Waited, WaveFigures,
};

use vice_pride_engine::Course;

use crate::bound::{fast_lower_bound, lower_bound};
use crate::interval::{counted, histogram, integrated, mean, quantiles, standard_error, times};
use crate::layout::Layout;
use crate::picture::{Picture, bottlenecks};
use crate::run::CUT_OFF_MS;
use crate::study::{SHARES, Sample, Study, float};
use crate::world::{Bug, World};

/// More nodes than this are not shown by name.
const NODES_MAX: usize = 200;

/// For whom a report is made.
#[derive(Debug, Clone)]
pub struct Title {
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub env: EnvName,
    /// The policy in a few words.
    pub policy: Option<String>,
}

/// Runs every story and makes the report.
#[must_use]
pub fn report(study: &Study<'_>, title: &Title) -> SimulationReport {
    let setting = study.setting;
    SimulationReport {
        schema: SCHEMA.to_owned(),
        project: title.project.clone(),
        env: title.env.clone(),
        version: Some(setting.course.plan().to.version.clone()),
        plan_hash: (!setting.course.plan().units.is_empty()).then(|| setting.course.plan().hash()),
        policy: title.policy.clone(),
        seed: setting.seed,
        runs: study.runs,
        mode: study.mode,
        assumptions: setting.world.assumptions().to_vec(),
        fleet: fleet(&setting.world.layout),
        stories: stories(study),
        compare: None,
        pareto: None,
        warnings: warnings(study),
    }
}

/// The stories of a plan, the healthy one first. Where there are no units there is nothing to tell: a rollout of nothing takes no
/// time, and no bug is found in it.
fn stories(study: &Study<'_>) -> Vec<Story> {
    let world = study.setting.world;
    if world.layout.units == 0 {
        return Vec::new();
    }
    let healthy = study.healthy();
    let bad = world.bugs.iter().enumerate().map(|(at, bug)| unhealthy_story(study, &healthy, at, bug));
    std::iter::once(healthy_story(study, &healthy)).chain(bad).collect()
}

fn fleet(layout: &Layout) -> Fleet {
    let shown = layout.nodes.iter().take_while(|_| layout.nodes.len() <= NODES_MAX).cloned().collect::<Vec<_>>();
    let units = |ranges: &[(u32, u32)]| ranges.iter().map(|(low, high)| u64::from(high - low)).sum();
    let class = |(name, ranges): &(String, Vec<(u32, u32)>)| Named { name: name.clone(), units: units(ranges) };
    let aggregated = (layout.nodes.len() > NODES_MAX)
        .then(|| format!("The fleet has {} places; they are not listed.", layout.nodes.len()));
    Fleet {
        units: u64::from(layout.units),
        levels: layout.levels.clone(),
        nodes: shown,
        classes: layout.classes.iter().map(class).collect(),
        domains: Vec::new(),
        aggregated,
    }
}

fn healthy_story(study: &Study<'_>, samples: &[Sample]) -> Story {
    let turned = samples.iter().filter(|sample| sample.turned).count() as u64;
    let (waits, watched) = study.waits();
    Story {
        name: "healthy".to_owned(),
        kind: StoryKind::Healthy,
        about: Some("the release is good".to_owned()),
        lower_bound: bound(study, samples),
        waves: waves(study, samples, None),
        false_rollback: Some(counted(turned, samples.len() as u64)),
        bottlenecks: bottlenecks(&waits, watched),
        propagation: picture(study, samples, None),
        ..story(samples)
    }
}

fn unhealthy_story(study: &Study<'_>, healthy: &[Sample], at: usize, bug: &Bug) -> Story {
    let world = study.setting.world;
    let samples = match study.mode {
        SimulationMode::Exact => study.unhealthy(bug),
        SimulationMode::Fast => Vec::new(),
    };
    let by_chance_alone = !is_judged(study) && bug.checks == 0.0;
    let found = if by_chance_alone || samples.is_empty() {
        found_integrated(healthy, at, &samples)
    } else {
        found_counted(&samples)
    };
    let impact = if by_chance_alone || samples.is_empty() {
        impact_integrated(healthy, at)
    } else {
        quantiles(&collect(&samples, |sample| sample.impact))
    };
    let base = if samples.is_empty() { story(healthy) } else { story(&samples) };
    Story {
        name: bug.name.clone(),
        kind: StoryKind::Unhealthy,
        about: Some(about(bug, world)),
        probability: Some(bug.probability),
        waves: if by_chance_alone || samples.is_empty() {
            waves(study, if samples.is_empty() { healthy } else { &samples }, Some((healthy, at)))
        } else {
            unfound_counted(waves(study, &samples, None), &samples)
        },
        found: Some(found),
        impact: Some(impact),
        impact_unit: Some("severity x server-hours".to_owned()),
        propagation: picture(study, &samples, Some(bug)),
        ..base
    }
}

fn about(bug: &Bug, world: &World) -> String {
    let hit: u32 = world.cells.iter().zip(&bug.hits).filter(|(_, hits)| **hits).map(|(cell, _)| cell.units).sum();
    format!(
        "shows itself {} times a server-hour on {} of {} units; in {}% of releases",
        short(bug.hazard),
        short(f64::from(hit) * bug.share),
        world.layout.units,
        short(bug.probability * 100.0)
    )
}

fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() { "0".to_owned() } else { text.to_owned() }
}

pub(crate) fn is_judged(study: &Study<'_>) -> bool {
    let plan = study.setting.course.plan();
    plan.analysis.is_some() && plan.waves.iter().any(|wave| wave.judged)
}

fn collect(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> Vec<f64> {
    samples.iter().map(figure).collect()
}

/// For what runs waited that were not over; so many causes are named.
const WAITS_MAX: usize = 8;

fn unfinished(samples: &[Sample]) -> Option<Unfinished> {
    let mut waits: BTreeMap<&str, u64> = BTreeMap::new();
    let still = || samples.iter().filter(|sample| sample.end.is_unfinished());
    for what in still().filter_map(|sample| sample.waits_for.as_deref()) {
        *waits.entry(what).or_default() += 1;
    }
    let mut waits: Vec<Waited> = waits.into_iter().map(|(what, runs)| Waited { what: what.to_owned(), runs }).collect();
    waits.sort_by_key(|waited| std::cmp::Reverse(waited.runs));
    waits.truncate(WAITS_MAX);
    let runs = still().count() as u64;
    (runs > 0).then(|| Unfinished { runs, of: samples.len() as u64, after_ms: float(CUT_OFF_MS), waits })
}

/// How long runs took, with those that were not over as later than all others.
fn durations(values: &[f64]) -> Quantiles {
    times(values, float(CUT_OFF_MS))
}

fn story(samples: &[Sample]) -> Story {
    let total = collect(samples, |sample| sample.total_ms);
    let over: Vec<f64> =
        samples.iter().filter(|sample| !sample.end.is_unfinished()).map(|sample| sample.total_ms).collect();
    let exposure = collect(samples, |sample| sample.exposure_hours);
    Story {
        name: String::new(),
        kind: StoryKind::Healthy,
        about: None,
        probability: None,
        outcomes: outcomes(samples),
        total_ms: durations(&total),
        unfinished: unfinished(samples),
        lower_bound: None,
        waves: Vec::new(),
        found: None,
        exposure_server_hours: Some(quantiles(&exposure)),
        impact: None,
        impact_unit: None,
        false_rollback: None,
        bottlenecks: Vec::new(),
        total_ms_histogram: histogram(&over),
        exposure_server_hours_histogram: histogram(&exposure),
        propagation: None,
    }
}

fn outcomes(samples: &[Sample]) -> Vec<EndCount> {
    let mut ends: Vec<SimulatedEnd> = samples.iter().map(|sample| sample.end).collect();
    ends.sort_unstable();
    ends.dedup();
    let count = |end: SimulatedEnd| samples.iter().filter(|sample| sample.end == end).count() as u64;
    ends.into_iter().map(|end| EndCount { end, runs: count(end) }).collect()
}

fn bound(study: &Study<'_>, samples: &[Sample]) -> Option<LowerBound> {
    let (world, course) = (study.setting.world, study.setting.course);
    let bound = match study.mode {
        SimulationMode::Exact => lower_bound(world, course),
        SimulationMode::Fast => fast_lower_bound(world, course),
    };
    // It is the bound of placing every unit; a run that went back or was cut off did not.
    let whole = || samples.iter().filter(|sample| sample.end == SimulatedEnd::Completed);
    let times: Vec<f64> = whole().map(|sample| sample.total_ms).collect();
    if bound.total_ms <= 0.0 || times.is_empty() {
        return None;
    }
    let gap = quantiles(&times).p50 / bound.total_ms;
    // A bound of means is compared with a mean. Without the longest runs that would be another one, and who is asked may end a
    // wave before its bake is over.
    let alone: Vec<f64> = whole().filter(|sample| sample.asked == 0).map(|sample| sample.total_ms).collect();
    if alone.is_empty() || samples.iter().any(|sample| sample.end.is_unfinished()) {
        return Some(LowerBound { gap, ..bound });
    }
    let mean_ms = mean(&alone);
    Some(LowerBound {
        gap,
        mean_ms: Some(mean_ms),
        mean_error_ms: Some(standard_error(&alone)),
        mean_gap: Some(mean_ms / bound.total_ms),
        ..bound
    })
}

fn waves(study: &Study<'_>, samples: &[Sample], priced: Option<(&[Sample], usize)>) -> Vec<WaveFigures> {
    let plan = study.setting.course.plan();
    let mut after = 0;
    let mut figures = Vec::new();
    for (at, wave) in plan.waves.iter().enumerate() {
        after += wave.units.len() as u64;
        let began: Vec<f64> = samples.iter().filter_map(|sample| sample.waves.get(at)).map(|wave| wave.0).collect();
        // What was not over in this wave is later than all others; what went back in it says nothing of its end.
        let end = |sample: &Sample| {
            let still = sample.end.is_unfinished() && !sample.turned;
            sample.waves.get(at)?.1.or(still.then_some(float(CUT_OFF_MS)))
        };
        let ended: Vec<f64> = samples.iter().filter_map(end).collect();
        let over = samples.iter().filter(|sample| sample.waves.get(at).is_some_and(|wave| wave.1.is_some())).count();
        let hours: Vec<f64> = samples.iter().filter_map(|sample| sample.wave_hours.get(at).copied()).collect();
        // After a wave that ended in no run there is nothing to say.
        let unfound = priced.and_then(|(healthy, bug)| {
            let of = |sample: &Sample| sample.priced.get(bug)?.after_wave.get(at).copied();
            let after: Vec<f64> = healthy.iter().filter_map(of).collect();
            (!after.is_empty()).then(|| mean(&after))
        });
        figures.push(WaveFigures {
            wave: u32::try_from(at + 1).unwrap_or(u32::MAX),
            name: wave.name.clone(),
            units: wave.units.len() as u64,
            units_after: after,
            share: share(wave.exposure),
            reached: ratio(began.len(), samples.len()),
            ended: Some(ratio(over, samples.len())),
            start_ms: quantiles(&began),
            end_ms: durations(&ended),
            p_unfound_after: unfound,
            exposure_server_hours: (!hours.is_empty()).then(|| mean(&hours)),
        });
    }
    figures
}

/// Where the judge or the checks find bugs, what is unfound after a wave is counted: a bug was found in the last wave
/// that its run began.
fn unfound_counted(mut figures: Vec<WaveFigures>, samples: &[Sample]) -> Vec<WaveFigures> {
    for (at, wave) in figures.iter_mut().enumerate() {
        let unfound = samples.iter().filter(|sample| sample.found.is_none() || sample.waves.len() > at + 1);
        wave.p_unfound_after = Some(ratio(unfound.count(), samples.len()));
    }
    figures
}

fn share(exposure: vice_pride_engine::Exposure) -> Option<f64> {
    match exposure {
        vice_pride_engine::Exposure::Share { basis_points } => Some(f64::from(basis_points) / 10_000.0),
        vice_pride_engine::Exposure::Units | vice_pride_engine::Exposure::Ramp => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of runs")]
fn ratio(part: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

/// Found by chance alone: the probabilities are integrals over the healthy paths, without the noise of drawing.
fn found_integrated(healthy: &[Sample], at: usize, samples: &[Sample]) -> Found {
    let of = |figure: &dyn Fn(&crate::study::PricedSample) -> f64| {
        mean(&healthy.iter().filter_map(|sample| sample.priced.get(at)).map(figure).collect::<Vec<_>>())
    };
    let before = [0, 1, 2].map(|share| of(&|priced| priced.before[share]));
    let never = of(&|priced| priced.never);
    let times: Vec<f64> = samples.iter().filter_map(|sample| sample.found).map(|(time, _)| time).collect();
    Found {
        before: SHARES
            .iter()
            .zip(before)
            .map(|(share, p)| FoundBefore { fleet_share: *share, probability: integrated(p) })
            .collect(),
        early: before[1],
        middle: (before[2] - before[1]).max(0.0),
        late: (1.0 - never - before[2]).max(0.0),
        never: integrated(never),
        at_ms: (!times.is_empty()).then(|| quantiles(&times)),
    }
}

fn found_counted(samples: &[Sample]) -> Found {
    let n = samples.len() as u64;
    let finds: Vec<(f64, f64)> = samples.iter().filter_map(|sample| sample.found).collect();
    let before = |share: f64| finds.iter().filter(|(_, at)| *at < share).count();
    let late = finds.len() - before(0.5);
    let times: Vec<f64> = finds.iter().map(|(time, _)| *time).collect();
    Found {
        before: SHARES
            .map(|share| FoundBefore { fleet_share: share, probability: counted(before(share) as u64, n) })
            .to_vec(),
        early: ratio(before(0.1), samples.len()),
        middle: ratio(before(0.5) - before(0.1), samples.len()),
        late: ratio(late, samples.len()),
        never: counted(n - finds.len() as u64, n),
        at_ms: (!times.is_empty()).then(|| quantiles(&times)),
    }
}

/// The impact over all paths and all moments of discovery, each moment as likely as it is.
pub(crate) fn impact_integrated(healthy: &[Sample], at: usize) -> Quantiles {
    let priced = || healthy.iter().filter_map(|sample| sample.priced.get(at));
    let all: Vec<f64> = priced().flat_map(|priced| priced.strata.iter().map(|impact| f64::from(*impact))).collect();
    let exact = mean(&priced().map(|priced| priced.impact).collect::<Vec<_>>());
    Quantiles { mean: exact, ..quantiles(&all) }
}

/// The run whose time is nearest to the median, run again and watched.
fn picture(study: &Study<'_>, samples: &[Sample], bug: Option<&Bug>) -> Option<Propagation> {
    let median = durations(&collect(samples, |sample| sample.total_ms)).p50;
    let distance = |sample: &Sample| (sample.total_ms - median).abs();
    let nearest = samples.iter().enumerate().min_by(|one, two| distance(one.1).total_cmp(&distance(two.1)))?.0;
    let run = u64::try_from(nearest).unwrap_or(0);
    let setting = study.setting;
    let bug = bug.and_then(|bug| setting.world.bugs.iter().find(|other| other.name == bug.name));
    let mut picture = Picture::new(&setting.world.layout, setting.course);
    let total = setting.watched(run, bug, &mut picture).total_ms;
    Some(picture.finish(run, total))
}

/// What a plan has that only the exact mode keeps; none where there is nothing.
#[must_use]
pub fn left_out(course: &Course) -> Option<String> {
    let plan = course.plan();
    let counted = |many: usize, one: &str| match many {
        0 => None,
        1 => Some(format!("1 {one}")),
        many => Some(format!("{many} {one}s")),
    };
    let judged = plan.analysis.is_some() && plan.waves.iter().any(|wave| wave.judged);
    let left: Vec<String> = [
        counted(plan.exclusions.len(), "exclusion"),
        counted(plan.orders.len(), "order"),
        counted(plan.windows.len(), "window"),
        judged.then(|| "the judge of live metrics".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!left.is_empty()).then(|| left.join(", "))
}

fn warnings(study: &Study<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if study.mode == SimulationMode::Fast {
        warnings.push(
            "The fast mode approximates wide limits by fair shares: it is good for comparing, not for promising."
                .to_owned(),
        );
        let left = left_out(study.setting.course);
        warnings.extend(
            left.map(|left| {
                format!("The fast mode leaves out what this plan has: {left}. Without --fast they are kept.")
            }),
        );
    }
    if study.runs < 100 {
        let runs = if study.runs == 1 { "one run".to_owned() } else { format!("{} runs", study.runs) };
        warnings.push(format!("With {runs}, quantiles beyond the median say little."));
    }
    if study.setting.world.layout.units == 0 {
        warnings.push("The fleet has no units, so nothing happens.".to_owned());
    }
    warnings
}
