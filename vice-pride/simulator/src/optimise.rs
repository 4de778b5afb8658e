//! The search for the sweet spot: how fast waves should grow and how long they should bake. Every point of a grid runs
//! on the same luck in the fast mode, with bugs priced by integration; beside it stands what the square-root law says.

use vice_core::payload::simulation::{Pareto, ParetoPoint, SquareRootLaw};
use vice_core::{Millis, Result};
use vice_pride_engine::{Course, Plan, UnitNo};

use crate::closed::{Price, Ramp, golden_section};
use crate::fast::FastCourse;
use crate::fleet::waves_of;
use crate::interval::{mean, sorted_at};
use crate::price::{Priced, Reaction};
use crate::run::Run;
use crate::study::{Study, parallel};
use crate::trace::HOUR;
use crate::world::{Profile, World};

/// The grid has so many growths and bakes.
const GRID: usize = 20;

/// About so many changes of units are simulated in all: a few seconds.
const CHANGES_MAX: f64 = 4e7;

/// Growths are searched between these, bakes between these, in logarithmic steps; a bake of zero comes first.
const GROWTHS: (f64, f64) = (1.2, 20.0);
const BAKES_MS: (f64, f64) = (60_000.0, 86_400_000.0);

/// Searches around the plan of a study. The order of its units, its limits and the size of its first wave stay.
///
/// # Errors
/// What making a plan says.
pub fn optimise(study: &Study<'_>) -> Result<Pareto> {
    let setting = study.setting;
    let plan = setting.course.plan();
    let units: Vec<UnitNo> = plan.waves.iter().flat_map(|wave| wave.units.iter().copied()).collect();
    let first = u32::try_from(plan.waves.first().map_or(1, |wave| wave.units.len())).unwrap_or(1).max(1);
    let runs = runs_for(units.len(), study.runs);
    let search = Search { study, runs, reaction: Reaction::of(setting.world, setting.course) };
    let mut points = Vec::with_capacity(GRID * GRID);
    for growth in grid(GROWTHS) {
        let course = regrouped(setting.course, plan, waves_of(&units, first, growth, Millis::ZERO))?;
        let fast = FastCourse::new(setting.world, &course);
        let bakes = std::iter::once(0.0).chain(grid(BAKES_MS).take(GRID - 1));
        points.extend(bakes.map(|bake| search.point(&fast, growth, bake)));
    }
    mark_efficient(&mut points);
    let current = FastCourse::new(setting.world, setting.course);
    let (growth, bake) = shape(plan);
    let current = ParetoPoint { efficient: false, ..search.sample(&current, growth, bake, None) };
    let best = points.iter().copied().min_by(|one, two| search.cost(one).total_cmp(&search.cost(two)));
    Ok(Pareto {
        points,
        impact_unit: Some("severity x server-hours".to_owned()),
        current: Some(current),
        best,
        square_root_law: law(setting.world, f64::from(first)),
    })
}

fn regrouped(course: &Course, plan: &Plan, waves: Vec<vice_pride_engine::Wave>) -> Result<Course> {
    let plan = Plan { waves, ..plan.clone() };
    if plan.units.is_empty() { Course::unnamed(plan, course.unit_count()) } else { Course::new(plan) }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few dozen runs"
)]
fn runs_for(units: usize, asked: u64) -> u64 {
    let most = CHANGES_MAX / ((GRID * GRID) as f64 * units.max(1) as f64);
    (most as u64).clamp(1, 64).min(asked.max(1))
}

#[expect(clippy::cast_precision_loss, reason = "twenty steps")]
fn grid((low, high): (f64, f64)) -> impl Iterator<Item = f64> {
    let ratio = libm::log(high / low) / (GRID - 1) as f64;
    (0..GRID).map(move |step| low * libm::exp(ratio * step as f64))
}

/// The growth and bake of a plan, about: the mean ratio of neighbouring waves, and the first bake.
#[expect(clippy::cast_precision_loss, reason = "sizes of waves and milliseconds")]
fn shape(plan: &Plan) -> (f64, f64) {
    let sizes: Vec<f64> = plan.waves.iter().map(|wave| wave.units.len() as f64).collect();
    let ratios: Vec<f64> = sizes.windows(2).filter(|pair| pair[0] > 0.0).map(|pair| pair[1] / pair[0]).collect();
    let growth = if ratios.is_empty() { 1.0 } else { mean(&ratios) };
    (growth, plan.waves.first().map_or(0.0, |wave| wave.bake.0 as f64))
}

struct Search<'s, 'w> {
    study: &'s Study<'w>,
    runs: u64,
    /// The limits of all plans that are looked at are the same.
    reaction: Reaction,
}

impl Search<'_, '_> {
    fn point(&self, fast: &FastCourse<'_>, growth: f64, bake: f64) -> ParetoPoint {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a day")]
        self.sample(fast, growth, bake, Some(bake as u64))
    }

    fn sample(&self, fast: &FastCourse<'_>, growth: f64, bake: f64, said: Option<u64>) -> ParetoPoint {
        let setting = self.study.setting;
        let one = |run: u64| {
            let run = fast.run_with(setting.seed, run, said);
            let impacts = impacts(setting.world, &run, self.reaction);
            #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
            (run.total_ms as f64, impacts)
        };
        let samples = parallel(self.runs, self.study.threads, one);
        let mut times: Vec<f64> = samples.iter().map(|(time, _)| *time).collect();
        times.sort_by(f64::total_cmp);
        let means: Vec<f64> = samples.iter().map(|(_, (mean, _))| *mean).collect();
        let mut all: Vec<f64> = samples.into_iter().flat_map(|(_, (_, impacts))| impacts).collect();
        all.sort_by(f64::total_cmp);
        ParetoPoint {
            growth,
            bake_ms: bake,
            time_ms: sorted_at(&times, 0.5),
            impact: mean(&means),
            impact_p99: sorted_at(&all, 0.99),
            efficient: false,
        }
    }

    /// What a rollout costs: its time, and the impact of a bug times the chance that there is one.
    fn cost(&self, point: &ParetoPoint) -> f64 {
        let world = self.study.setting.world;
        let p_bug = 1.0 - world.bugs().iter().map(|bug| 1.0 - bug.probability).product::<f64>();
        world.cost().hour * point.time_ms / HOUR + p_bug * point.impact
    }
}

/// The mean impact of a bad release and impacts at equally likely moments: bugs as likely as they are.
fn impacts(world: &World, run: &Run, reaction: Reaction) -> (f64, Vec<f64>) {
    let total: f64 = world.bugs().iter().map(|bug| bug.probability).sum();
    let (mut mean, mut all) = (0.0, Vec::new());
    for bug in world.bugs() {
        let priced = Priced::new(world, bug, &run.trace, reaction);
        mean += priced.impact() * if total > 0.0 { bug.probability / total } else { 0.0 };
        all.extend(priced.strata().into_iter().map(|(_, impact)| impact));
    }
    (mean, all)
}

fn mark_efficient(points: &mut [ParetoPoint]) {
    let all = points.to_vec();
    for point in points {
        let beats = |other: &ParetoPoint| {
            let no_worse =
                other.time_ms <= point.time_ms && other.impact <= point.impact && other.impact_p99 <= point.impact_p99;
            no_worse
                && (other.time_ms < point.time_ms || other.impact < point.impact || other.impact_p99 < point.impact_p99)
        };
        point.efficient = !all.iter().any(beats);
    }
}

/// The square-root law for the costliest bug.
fn law(world: &World, n0: f64) -> Option<SquareRootLaw> {
    let weight = |bug: &&crate::world::Bug| bug.probability * bug.severity;
    let bug = world.bugs().iter().max_by(|one, two| weight(one).total_cmp(&weight(two)))?;
    let n = f64::from(world.layout.units);
    let hit: f64 =
        world.cells.iter().zip(&bug.hits).filter(|(_, hits)| **hits).map(|(cell, _)| f64::from(cell.units)).sum();
    // The hazard of a mean server: the bug sits only on some.
    let part = if n > 0.0 { hit * bug.share / n } else { 0.0 };
    let back = world.profiles.iter().map(Profile::undo_mean_ms).fold(0.0, f64::max) / HOUR;
    let price = Price {
        h: bug.hazard * part,
        p_bug: bug.probability,
        hour: world.cost().hour,
        impact: bug.severity * part,
        lag: world.react.mean() / HOUR,
        back,
    };
    if n <= n0 {
        return None;
    }
    let g = price.best_growth(n0, n)?;
    let numeric = golden_section(g / 1e3, g * 1e3, |g| price.cost(Ramp { n0, n, g }));
    let ramp = Ramp { n0, n, g };
    Some(SquareRootLaw {
        growth_per_hour: g,
        numeric_growth_per_hour: Some(numeric),
        time_ms: Some(ramp.hours() * HOUR),
        impact: Some(price.impact * ramp.impact(price.h, price.lag, price.back)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_that_another_beats_is_not_efficient() {
        let point = |time_ms, impact| ParetoPoint {
            growth: 2.0,
            bake_ms: 0.0,
            time_ms,
            impact,
            impact_p99: impact,
            efficient: false,
        };
        let mut points = [point(1.0, 9.0), point(2.0, 5.0), point(3.0, 5.0), point(4.0, 1.0)];
        mark_efficient(&mut points);
        assert_eq!(points.map(|point| point.efficient), [true, true, false, true]);
    }
}
