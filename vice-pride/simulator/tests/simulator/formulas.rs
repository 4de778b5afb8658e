//! Chance against the closed forms: runs through the engine with a bug that is found by chance, and the same questions
//! answered by formula. Seeds and numbers of runs are stated; everything is within 3 standard errors.

use vice_core::Millis;
use vice_pride_engine::{Course, FailurePolicy};
use vice_pride_simulator::fleet::{Fleet, growing_waves};
use vice_pride_simulator::{Layout, Run, Sampler, World, closed};

use crate::support::{setting, world};

const RUNS: u64 = 4_000;
const UNITS: u32 = 1_000;
/// The hazard for each server-hour.
const H: f64 = 0.01;

/// Geometric waves of single steps that take no time, so that exposure follows the waves alone.
fn waves(growth: f64, bake_hours: u64) -> (World, Course) {
    let fleet = Fleet { layout: Layout::flat(UNITS), limits: Vec::new() };
    // The first wave has one unit, and each later one brings the total to `growth` times what it was.
    let totals = closed::geometric_waves(1.0, growth, f64::from(UNITS));
    let mut before = 0.0;
    let mut plan_waves = Vec::new();
    let mut all = growing_waves(UNITS, UNITS, 1.0, Millis(bake_hours * 3_600_000)).remove(0).units.into_iter();
    for total in totals {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers of units")]
        let count = (total.floor() - f64::floor(before)) as usize;
        let units: Vec<_> = all.by_ref().take(count).collect();
        plan_waves.push(vice_pride_engine::Wave {
            bake: Millis(bake_hours * 3_600_000),
            ..vice_pride_engine::Wave::of(units)
        });
        before = total;
    }
    let course = fleet.course(plan_waves, FailurePolicy::default()).unwrap();
    let model = format!(
        "drain = \"0s\"\ninstall = \"0s\"\ncheck = \"0s\"\nfails = 0.0\nreact = \"0s\"\n[bug.b]\nhazard = \"{H}/h\""
    );
    (world(&model, Layout::flat(UNITS)), course)
}

fn runs(world: &World, course: &Course) -> Vec<Run> {
    (0..RUNS).map(|run| setting(world, course, 20_261_124).run(run, Some(&world.bugs()[0]))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of runs")]
fn share(runs: &[Run], holds: impl Fn(&Run) -> bool) -> f64 {
    runs.iter().filter(|run| holds(run)).count() as f64 / runs.len() as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts of runs")]
fn within(got: f64, want: f64, n: usize, what: &str) {
    let error = (want * (1.0 - want) / n as f64).sqrt();
    assert!((got - want).abs() <= 3.0 * error + 1e-9, "{what}: {got} instead of {want} ({error} standard error)");
}

#[test]
fn bugs_are_found_in_the_waves_that_the_formula_says() {
    for (growth, bake) in [(2.0, 1), (4.0, 2), (10.0, 6)] {
        let (world, course) = waves(growth, bake);
        let runs = runs(&world, &course);
        let exposed: Vec<f64> = {
            let mut total = 0.0;
            let sizes = course.plan().waves.iter().map(|wave| f64::from(u32::try_from(wave.units.len()).unwrap()));
            sizes
                .map(|size| {
                    total += size;
                    total
                })
                .collect()
        };
        #[expect(clippy::cast_precision_loss, reason = "hours")]
        let want = closed::found_in_wave(H, &exposed, bake as f64);
        for (at, want) in want.iter().enumerate() {
            let in_wave = |run: &Run| run.found.is_some() && run.waves.len() == at + 1;
            within(share(&runs, in_wave), *want, runs.len(), &format!("wave {at} at growth {growth}"));
        }
    }
}

#[test]
fn exposure_at_detection_is_the_same_for_every_schedule() {
    // Conservation: 1 / h server-hours, whatever the waves; those that are not found in time count what they had.
    for (growth, bake) in [(2.0, 1), (10.0, 6)] {
        let (world, course) = waves(growth, bake);
        let runs = runs(&world, &course);
        let hours: Vec<f64> = runs.iter().map(|run| run.harm_hours).collect();
        #[expect(clippy::cast_precision_loss, reason = "counts of runs")]
        let n = hours.len() as f64;
        let mean = hours.iter().sum::<f64>() / n;
        let variance = hours.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let want = closed::exposure_at_detection(H);
        assert!((mean - want).abs() <= 3.0 * (variance / n).sqrt(), "{mean} instead of {want}");
    }
}

#[test]
fn what_is_integrated_is_what_is_drawn() {
    // The price on one healthy path against 4,000 runs of the engine with the bug in it, a delay included.
    let (_, course) = waves(4.0, 2);
    let model = format!(
        "drain = \"0s\"\ninstall = \"0s\"\ncheck = \"0s\"\nfails = 0.0\nreact = \"0s\"\n[bug.b]\nhazard = \"{H}/h ~ {H}/h\"\nappears = \"1h\"\nappears_shape = 1.5\nshare = 0.5"
    );
    let world = world(&model, Layout::flat(UNITS));
    let healthy = setting(&world, &course, 1).run(0, None);
    let priced = vice_pride_simulator::Priced::new(
        &world,
        &world.bugs()[0],
        &healthy.trace,
        vice_pride_simulator::Reaction::default(),
    );
    let runs = runs(&world, &course);
    for (_, end) in healthy.waves.iter().skip(1) {
        let end = end.unwrap();
        let found = share(&runs, |run| run.found.is_some_and(|(at, _)| at <= end));
        // A hundredth more is allowed for straight lines between rows.
        let want = 1.0 - priced.unfound_at(end);
        #[expect(clippy::cast_precision_loss, reason = "counts of runs")]
        let error = (want * (1.0 - want) / RUNS as f64).sqrt();
        assert!((found - want).abs() <= 3.0 * error + 0.01, "until {end}: {found} instead of {want}");
    }
}

#[test]
fn a_class_is_missed_as_often_as_the_hypergeometric_law_says() {
    // 50 of 1,000 units are of a class; 100 random ones are touched; 20,000 draws, seed 5.
    let want = closed::untouched(1_000.0, 50.0, 100.0);
    let mut chance = vice_pride_simulator::Stream::new(5);
    let mut missed = 0_u32;
    for _ in 0..20_000 {
        let mut deck: Vec<u32> = (0..1_000).collect();
        let touched = (0..100).any(|at| {
            let other = at + usize::try_from(chance.bits() % (1_000 - at as u64)).unwrap();
            deck.swap(at, other);
            deck[at] < 50
        });
        missed += u32::from(!touched);
    }
    within(f64::from(missed) / 20_000.0, want, 20_000, "untouched");
}

#[test]
fn a_weibull_delay_has_its_mean() {
    let sampler = Sampler::weibull(Millis(3_600_000), 1.0);
    assert!((sampler.mean() - 3_600_000.0).abs() < 1.0);
}
