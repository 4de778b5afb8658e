//! Tests at a fixed share: false rollbacks, delays, proofs.

use vice_core::payload::rollout::Verdict;
use vice_pride_engine::judge::{Analysis, Judge};

use crate::ours::{Ours, counts, pure, reference, shipped};
use crate::rivals::{Argo, Flagger, Kayenta, LindonMalek, Minute, Oracle, Peeked, Rule};
use crate::world::{Pattern, VOLUME, World, divide, quantile};
use crate::{Size, parallel, print};

type Make = Box<dyn Fn(f64, f64) -> Box<dyn Rule> + Send + Sync>;

struct Method {
    name: &'static str,
    /// Makes one for this base rate and regression.
    make: Make,
    slow: bool,
    equal: bool,
}

fn method(name: &'static str, make: impl Fn(f64, f64) -> Box<dyn Rule> + Send + Sync + 'static) -> Method {
    Method { name, make: Box::new(make), slow: false, equal: false }
}

fn ours(name: &'static str, analysis: Analysis) -> Method {
    let analysis = pure(analysis);
    method(name, move |_, _| Box::new(Ours::new(analysis.clone())))
}

fn methods() -> Vec<Method> {
    let with = |change: fn(&mut Analysis)| {
        let mut analysis = reference();
        change(&mut analysis);
        analysis
    };
    let equal = Method { equal: true, ..ours("vice, equal 10 % control", reference()) };
    vec![
        ours("vice as shipped (margin 1.05, restarts, 64 leaning ratios)", shipped()),
        ours("vice reference (margin 1, no restarts, 24 even ratios)", reference()),
        ours("reference, leaning ratios", with(|analysis| analysis.grid.lean = 1.0)),
        ours("reference, restarts", with(|analysis| analysis.restart = shipped().restart)),
        ours("reference, margin 1.05", with(|analysis| analysis.metrics[0].margin = 1.05)),
        ours("reference, alpha 0.05", with(|analysis| analysis.alpha = 0.05)),
        ours("reference, alpha 0.001", with(|analysis| analysis.alpha = 0.001)),
        equal,
        method("Lindon-Malek Beta(100w)", |_, _| Box::new(LindonMalek::new(0.01))),
        method("z-test, peeked each minute", |_, _| Box::new(Peeked::new())),
        method("Argo docs (5 %, 5 min, 3)", |_, _| Box::new(Argo::new(0.05))),
        method("Argo 2x base", |base, _| Box::new(Argo::new(2.0 * base))),
        method("Argo 1.5x base", |base, _| Box::new(Argo::new(1.5 * base))),
        method("Flagger docs (99 %, 10)", |_, _| Box::new(Flagger::new(0.01, 10))),
        method("Flagger 2x base, 5", |base, _| Box::new(Flagger::new(2.0 * base, 5))),
        Method { slow: true, equal: true, ..method("Kayenta, each 5 min", |_, _| Box::new(Kayenta::new(5))) },
    ]
}

/// The minute of each run's rollback within a day.
fn cell(method: &Method, world: &mut World, seed: u64, runs: u32) -> Vec<Option<u32>> {
    let (canary, rest) = divide(VOLUME, 0.1);
    let baseline = if method.equal { canary } else { rest };
    let mut one = |run: u32| {
        world.run(seed, u64::from(run));
        let mut rule = (method.make)(world.base, world.ratio);
        (0..1440).find(|minute| {
            let (bad, other) = world.minute(*minute, canary, baseline);
            let base = world.rates(*minute).0;
            rule.minute(&Minute { canary: (canary, bad), baseline: (baseline, other), base })
        })
    };
    (0..runs).map(&mut one).collect()
}

fn rows<T: Send + Sync>(
    methods: &[Method],
    cells: &[T],
    show: impl Fn(&Method, &T) -> String + Sync,
) -> Vec<(String, Vec<String>)> {
    let show = &show;
    let all = methods.iter().flat_map(|method| cells.iter().map(move |cell| (method, cell)));
    let jobs = all.map(|(method, cell)| Box::new(move || show(method, cell)) as Box<dyn FnOnce() -> String + Send>);
    let done = parallel(jobs.collect());
    methods.iter().zip(done.chunks(cells.len())).map(|(method, row)| (method.name.to_owned(), row.to_vec())).collect()
}

pub(crate) fn false_rollbacks(size: Size) {
    let cells = [Pattern::Constant, Pattern::Daily, Pattern::Incident];
    let cells: Vec<(Pattern, f64)> = cells.into_iter().flat_map(|one| [(one, 0.001), (one, 0.01)]).collect();
    let rows = rows(&methods(), &cells, |method, (pattern, base)| {
        let runs = if method.slow { size.slow } else { size.runs };
        let found = cell(method, &mut World::new(0, *pattern, *base, 1.0), 501, runs);
        let by = |minutes: u32| {
            let hits = found.iter().flatten().filter(|minute| **minute < minutes).count();
            format!("{:.3}", hits as f64 / f64::from(runs)).trim_start_matches('0').to_owned()
        };
        format!("{}/{}/{}", by(10), by(60), by(1440))
    });
    let head = ["rule", "constant .1 %", "constant 1 %", "daily .1 %", "daily 1 %", "incident .1 %", "incident 1 %"];
    print("False rollbacks of a good release by 10 min / 1 h / 24 h (10 % share, seed 501)", &head, &rows);
}

pub(crate) fn delays(size: Size) {
    let cells: Vec<(f64, f64)> = [0.001, 0.01]
        .into_iter()
        .flat_map(|base| [1.5, 2.0, 5.0].into_iter().map(move |ratio| (base, ratio)))
        .collect();
    let mut all = vec![method("oracle (knows rate and regression)", |_, ratio| Box::new(Oracle::new(0.01, ratio)))];
    all.extend(methods());
    let rows = rows(&all, &cells, |method, (base, ratio)| {
        let runs = if method.slow { size.slow } else { size.runs.min(1000) };
        let found = cell(method, &mut World::new(0, Pattern::Constant, *base, *ratio), 502, runs);
        let mut times: Vec<f64> = found.iter().map(|at| at.map_or(f64::INFINITY, |at| f64::from(at + 1))).collect();
        let spent: f64 = times.iter().map(|time| time.min(1440.0)).sum::<f64>() / f64::from(runs);
        let excess = spent * 600.0 * base * (ratio - 1.0);
        let missed = times.iter().filter(|time| time.is_infinite()).count() as f64 / f64::from(runs);
        let escaped = if missed > 0.0 { format!(" [{:.2}]", 1.0 - missed) } else { String::new() };
        let median = quantile(&mut times, 0.5);
        let p90 = quantile(&mut times, 0.9);
        format!("{median} ({p90}){escaped} {excess:.0}").replace("inf", "never")
    });
    let head = ["rule", ".1 % x1.5", ".1 % x2", ".1 % x5", "1 % x1.5", "1 % x2", "1 % x5"];
    let title = "Minutes to the rollback: median (p90) [found within 24 h, if not all] mean excess events (seed 502)";
    print(title, &head, &rows);
}

/// Minutes to the proof in two days; none where it is rolled back before or not proven.
fn proof(world: &mut World, analysis: &Analysis, share: f64) -> Option<f64> {
    let mut judge = Judge::new(analysis);
    let (canary, baseline) = divide(VOLUME, share);
    for minute in 0..2880 {
        let (bad, other) = world.minute(minute, canary, baseline);
        judge.window(analysis, 0, counts(&Minute { canary: (canary, bad), baseline: (baseline, other), base: 0.0 }));
        match judge.close(analysis, share).verdict {
            Verdict::Proceed => return Some(f64::from(minute + 1)),
            Verdict::Rollback => return None,
            Verdict::Hold | Verdict::Inconclusive => {}
        }
    }
    None
}

pub(crate) fn proofs(size: Size) {
    let mut jobs: Vec<Box<dyn FnOnce() -> String + Send>> = Vec::new();
    let cells = [(0.001, 0.1), (0.001, 0.5), (0.01, 0.1), (0.01, 0.5)];
    for (base, share) in cells {
        for tolerance in [1.1, 1.25, 1.5, 2.0] {
            jobs.push(Box::new(move || {
                let mut analysis = pure(shipped());
                analysis.tolerance = tolerance;
                let run = |ratio: f64| {
                    let mut world = World::new(0, Pattern::Constant, base, ratio);
                    let each = (0..size.slow).map(|run| {
                        world.run(503, u64::from(run));
                        proof(&mut world, &analysis, share).unwrap_or(f64::INFINITY)
                    });
                    each.collect::<Vec<f64>>()
                };
                let (mut good, bad) = (run(1.0), run(tolerance));
                let wrong = bad.iter().filter(|time| time.is_finite()).count() as f64 / bad.len() as f64;
                let (median, p90) = (quantile(&mut good, 0.5), quantile(&mut good, 0.9));
                format!("{median} ({p90}) {wrong:.3}").replace("inf", "> 2880")
            }));
        }
    }
    let done = parallel(jobs);
    let names = cells.iter().map(|(base, share)| format!("base {base}, share {share}"));
    let rows: Vec<(String, Vec<String>)> = names.zip(done.chunks(4).map(<[String]>::to_vec)).collect();
    let title = "Minutes to the proof of a good release, as shipped: median (p90), and false proofs at exactly the tolerance (seed 503)";
    print(title, &["", "tolerance 1.1", "1.25", "1.5", "2"], &rows);
}
