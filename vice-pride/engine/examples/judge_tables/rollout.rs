//! Whole rollouts: what a policy costs from the first request to the last.

use vice_core::payload::rollout::Verdict;
use vice_pride_engine::judge::{Analysis, Judge, first_share};

use crate::ours::{counts, reference, shipped};
use crate::rivals::{Argo, Flagger, Kayenta, Minute, Rule};
use crate::world::{Pattern, VOLUME, World, divide, quantile};
use crate::{Size, parallel, print};

/// How a rollout ended.
pub(crate) struct End {
    pub(crate) back: bool,
    pub(crate) promoted: bool,
    pub(crate) minutes: f64,
    pub(crate) excess: f64,
}

enum Policy {
    /// Steps of the share in percent, each so many minutes long; a failed look does not advance.
    Steps {
        make: fn(f64) -> Box<dyn Rule>,
        steps: &'static [u32],
        length: u32,
        /// Against a baseline as large as the canary.
        equal: bool,
    },
    Ramp(Box<Analysis>),
}

fn draw(world: &mut World, minute: u32, share: f64, equal: bool) -> (Minute, f64) {
    let (canary, rest) = divide(VOLUME, share);
    let baseline = if equal { canary } else { rest };
    let (bad, other) = world.minute(minute, canary, baseline);
    let base = world.rates(minute).0;
    (Minute { canary: (canary, bad), baseline: (baseline, other), base }, f64::from(bad) - canary as f64 * base)
}

fn by_steps(world: &mut World, rule: &mut dyn Rule, steps: &[u32], length: u32, equal: bool) -> End {
    let (mut step, mut stayed, mut excess) = (0, 0, 0.0);
    for minute in 0..1440 {
        let (counts, more) = draw(world, minute, f64::from(steps[step]) / 100.0, equal);
        excess += more;
        let minutes = f64::from(minute + 1);
        if rule.minute(&counts) {
            return End { back: true, promoted: false, minutes, excess };
        }
        stayed += u32::from(!rule.failed());
        if stayed >= length {
            (step, stayed) = (step + 1, 0);
        }
        if step == steps.len() {
            return End { back: false, promoted: true, minutes, excess };
        }
    }
    End { back: false, promoted: false, minutes: 1440.0, excess }
}

/// A rollout by the ramp; `late`: so many minutes pass before a window can be read.
pub(crate) fn by_ramp(world: &mut World, analysis: &Analysis, volume: u64, late: u32) -> End {
    let mut judge = Judge::new(analysis);
    let mut share = first_share(analysis, volume as f64);
    let mut excess = 0.0;
    let mut waiting = std::collections::VecDeque::new();
    for minute in 0..1440 {
        let (canary, baseline) = divide(volume, share);
        let (bad, other) = world.minute(minute, canary, baseline);
        let base = world.rates(minute).0;
        excess += f64::from(bad) - canary as f64 * base;
        waiting.push_back(Minute { canary: (canary, bad), baseline: (baseline, other), base });
        if waiting.len() <= late as usize {
            continue;
        }
        let Some(read) = waiting.pop_front() else { continue };
        judge.window(analysis, 0, counts(&read));
        let ruling = judge.close(analysis, share);
        if matches!(ruling.verdict, Verdict::Rollback | Verdict::Proceed) {
            let back = ruling.verdict == Verdict::Rollback;
            return End { back, promoted: !back, minutes: f64::from(minute + 1), excess };
        }
        share = ruling.share;
    }
    End { back: false, promoted: false, minutes: 1440.0, excess }
}

/// Rollback probability, median minutes, mean and p95 of the excess.
pub(crate) fn summary(ends: &[End]) -> (f64, f64, f64, f64) {
    let many = ends.len() as f64;
    let back = ends.iter().filter(|end| end.back).count() as f64 / many;
    let mut minutes: Vec<f64> = ends.iter().map(|end| end.minutes).collect();
    let mut excess: Vec<f64> = ends.iter().map(|end| end.excess).collect();
    let mean = excess.iter().sum::<f64>() / many;
    (back, quantile(&mut minutes, 0.5), mean, quantile(&mut excess, 0.95))
}

fn policies() -> Vec<(&'static str, Policy)> {
    const FLAGGER: &[u32] = &[5, 10, 15, 20, 25, 30, 35, 40, 45, 50];
    const ARGO: &[u32] = &[20, 40, 60, 80];
    let steps = |make, steps, length| Policy::Steps { make, steps, length, equal: false };
    let ramp = |analysis: Analysis| Policy::Ramp(Box::new(analysis));
    vec![
        ("Flagger docs", steps(|_| Box::new(Flagger::new(0.01, 10)), FLAGGER, 1)),
        ("Flagger 2x base, 5", steps(|base| Box::new(Flagger::new(2.0 * base, 5)), FLAGGER, 1)),
        ("Argo docs", steps(|_| Box::new(Argo::new(0.05)), ARGO, 10)),
        ("Argo 2x base", steps(|base| Box::new(Argo::new(2.0 * base)), ARGO, 10)),
        (
            "Kayenta 3 h, each 30 min",
            Policy::Steps { make: |_| Box::new(Kayenta::new(30)), steps: &[10], length: 180, equal: true },
        ),
        ("**vice as shipped, B = 100, tolerance 1.5**", ramp(shipped())),
        ("vice reference, B = 100, tolerance 1.5", ramp(reference())),
        ("vice as shipped, B = 200, tolerance 1.25", ramp(Analysis { budget: 200.0, tolerance: 1.25, ..shipped() })),
    ]
}

fn cell(policy: &Policy, base: f64, ratio: f64, pattern: Pattern, runs: u32) -> String {
    let mut world = World::new(0, pattern, base, ratio);
    let ends = (0..runs).map(|run| {
        world.run(504, u64::from(run));
        match policy {
            Policy::Steps { make, steps, length, equal } => {
                by_steps(&mut world, &mut *make(base), steps, *length, *equal)
            }
            Policy::Ramp(analysis) => by_ramp(&mut world, analysis, VOLUME, 0),
        }
    });
    let ends: Vec<End> = ends.collect();
    let (back, median, mean, p95) = summary(&ends);
    let back = format!("{back:.3}");
    if ratio == 1.0 { format!("{back} / {median} min") } else { format!("{back} / {mean:.0} ({p95:.0})") }
}

pub(crate) fn table(size: Size) {
    for (pattern, name) in [(Pattern::Constant, "constant rate"), (Pattern::Daily, "daily cycle")] {
        let policies: Vec<_> = policies();
        let policies = if pattern == Pattern::Constant { &policies[..] } else { &policies[5..] };
        let columns: Vec<(f64, f64)> =
            [0.001, 0.01].into_iter().flat_map(|base| [1.0, 1.5, 2.0, 5.0, 50.0].map(|ratio| (base, ratio))).collect();
        let mut jobs: Vec<Box<dyn FnOnce() -> String + Send + '_>> = Vec::new();
        for (rule, policy) in policies {
            for (base, ratio) in &columns {
                let runs = if rule.starts_with("Kayenta") { size.slow } else { size.runs.min(1000) };
                jobs.push(Box::new(move || cell(policy, *base, *ratio, pattern, runs)));
            }
        }
        let done = parallel(jobs);
        let names = policies.iter().map(|(name, _)| (*name).to_owned());
        let rows: Vec<(String, Vec<String>)> = names.zip(done.chunks(columns.len()).map(<[String]>::to_vec)).collect();
        let head = ["policy", ".1 % good", "x1.5", "x2", "x5", "x50", "1 % good", "x1.5", "x2", "x5", "x50"];
        let title = format!(
            "Whole rollouts, {name}: P(rollback) / median minutes, or mean excess events (p95) until rollback or 100 % (seed 504)"
        );
        print(&title, &head, &rows);
    }
}
