//! What a judged rollout will take, said as soon as the traffic is known. It only words what the engine's forecast
//! computes, and decides nothing.

use serde_json::Value;
use vice_core::Millis;
use vice_core::payload::judged::Judged;
use vice_pride_engine::judge::{Analysis, Expected, Forecast, MetricKind, SharePath, forecast};
use vice_pride_engine::{Exposure, Plan, WHOLE};

/// How long the old release's rates of the last window speak for what comes: of the metric that was shown the counts
/// are known, and of others nothing but their traffic.
pub(super) fn sentence(plan: &Plan, evidence: &Value) -> Option<String> {
    let analysis = plan.analysis.as_ref()?;
    let judged = Judged::of(evidence)?;
    let shown = evidence.get("metric").and_then(Value::as_u64)?;
    if judged.baseline_seen == 0 || judged.windows == 0 {
        return None;
    }
    let volume = (judged.canary_seen + judged.baseline_seen) as f64 / f64::from(judged.windows);
    let expected: Vec<Expected> = (0_u64..)
        .zip(&analysis.metrics)
        .map(|(at, metric)| {
            let known = at == shown && metric.kind != MetricKind::Latency;
            let base_rate = if known { judged.baseline_bad / judged.baseline_seen as f64 } else { 0.0 };
            Expected { volume, base_rate }
        })
        .collect();
    Some(words(analysis, &forecast(analysis, &expected, path(plan)), volume))
}

/// How the share moves: by the ramp, or at the largest step before everything.
fn path(plan: &Plan) -> SharePath {
    let judged = || plan.waves.iter().filter(|wave| wave.judged).map(|wave| wave.exposure);
    if judged().any(|exposure| exposure == Exposure::Ramp) {
        return SharePath::Ramp;
    }
    let shares = judged().filter_map(|exposure| match exposure {
        Exposure::Share { basis_points } if basis_points < WHOLE => Some(basis_points),
        _ => None,
    });
    // Units of a canary get about what they are of all units.
    let share = shares.max().unwrap_or(WHOLE / 2);
    SharePath::Fixed(f64::from(share) / f64::from(WHOLE))
}

fn words(analysis: &Analysis, forecast: &Forecast, volume: f64) -> String {
    let span = |windows: u32| Millis(analysis.interval.0.saturating_mul(u64::from(windows)));
    let traffic = volume / analysis.interval.as_duration().as_secs_f64().max(1e-3);
    let proven = match forecast.proceed {
        Some(windows) => format!("one as good as the old is proven after about {}", span(windows)),
        None => format!("one as good as the old can't be proven to be under {} times as bad", analysis.tolerance),
    };
    let found = forecast.found.iter().rev().find(|found| found.ratio <= 2.0).and_then(|found| {
        let windows = found.windows?;
        Some(format!("; one {} times as bad is found after about {}", found.ratio, span(windows)))
    });
    format!("forecast at {traffic:.0} a second: {proven}{}", found.unwrap_or_default())
}
