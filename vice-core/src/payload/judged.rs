//! The figures that a judgement rests on, as people read them. It owns their words, so that the terminal, `vice why`
//! and the reports say the same; it judges nothing, and takes figures of which some are missing.

use serde::Deserialize;
use serde_json::Value;

use crate::time::Millis;

/// Odds above this are written as a power of ten.
const ODDS_MAX: f64 = 1e6;

/// A ratio at or above this is the end of the judge's grid, and says that nothing is known.
const RATIO_UNKNOWN: f64 = 1e5;

/// The figures, as the judge stores them with every ruling. Logarithms are natural ones.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Judged {
    /// Windows closed so far.
    pub windows: u32,
    /// Exposures of the new release.
    pub canary_seen: u64,
    /// Bad ones among them; a sum of badness has a fraction.
    pub canary_bad: f64,
    /// Exposures of the old release.
    pub baseline_seen: u64,
    /// Bad ones among them.
    pub baseline_bad: f64,
    /// The logarithm of the evidence that the new release is worse.
    pub log_e: f64,
    /// Rollback at or above this.
    pub log_e_limit: f64,
    /// The logarithm of the evidence that it is good enough.
    pub log_proof: f64,
    /// Proceed at or above this.
    pub log_proof_limit: f64,
    /// The lowest plausible ratio of the bad rates.
    pub ratio_low: f64,
    /// The most plausible one; 0 when nothing is known.
    pub ratio: f64,
    /// The highest plausible one.
    pub ratio_high: f64,
    /// The old release's bad rate.
    pub base_rate: f64,
    /// The share in force, 0 to 1.
    pub share: f64,
    /// Bad events beyond what the old release would have had.
    pub spent: f64,
    /// Of so many.
    pub budget: f64,
}

impl Judged {
    /// The figures in the evidence of a note: of a judgement, or of a decision that rests on one. None where there
    /// are none.
    #[must_use]
    pub fn of(evidence: &Value) -> Option<Self> {
        let inner = evidence.get("judge").unwrap_or(evidence);
        inner.get("canary_seen")?;
        Self::deserialize(inner).ok()
    }

    /// The counts: `new 7 of 534 bad (1.31 %), old 1 of 3323 (0.03 %)`.
    #[must_use]
    pub fn counts(&self) -> String {
        let arm = |bad: f64, seen: u64| {
            let rate = if seen == 0 { String::new() } else { format!(" ({})", percent(bad / seen as f64)) };
            (amount(bad), seen, rate)
        };
        let (bad, seen, rate) = arm(self.canary_bad, self.canary_seen);
        let (old_bad, old_seen, old_rate) = arm(self.baseline_bad, self.baseline_seen);
        format!("new {bad} of {seen} bad{rate}, old {old_bad} of {old_seen}{old_rate}")
    }

    /// How the two compare: `4.8 times as bad, plausibly 1.4 to 12 times`.
    #[must_use]
    pub fn comparison(&self) -> Option<String> {
        let times = |ratio: f64| if ratio < 10.0 { format!("{ratio:.1}") } else { format!("{ratio:.0}") };
        let range = match (self.ratio_low, self.ratio_high) {
            (low, high) if high >= RATIO_UNKNOWN && low <= 0.0 => return None,
            (low, high) if high >= RATIO_UNKNOWN => format!("plausibly at least {} times", times(low)),
            (low, high) => format!("plausibly {} to {} times", times(low), times(high)),
        };
        let known = self.ratio > 0.0 && self.ratio < RATIO_UNKNOWN;
        Some(if known { format!("{} times as bad, {range}", times(self.ratio)) } else { format!("{range} as bad") })
    }

    /// How far the evidence is: `evidence that it is worse 557:1 (rollback at 100:1), that it is good enough 3.2:1
    /// (proceed at 20:1)`.
    #[must_use]
    pub fn evidence(&self) -> String {
        format!(
            "evidence that it is worse {} (rollback at {}), that it is good enough {} (proceed at {})",
            odds(self.log_e),
            odds(self.log_e_limit),
            odds(self.log_proof),
            odds(self.log_proof_limit),
        )
    }

    /// What the rollout has cost so far: `6.9 of 100 extra bad ones spent`.
    #[must_use]
    pub fn cost(&self) -> String {
        format!("{} of {} extra bad ones spent", amount(self.spent), amount(self.budget))
    }

    /// How much of the proof is there, 0 to 1.
    #[must_use]
    pub fn proof(&self) -> f64 {
        if self.log_proof_limit <= 0.0 { 0.0 } else { (self.log_proof / self.log_proof_limit).clamp(0.0, 1.0) }
    }

    /// How long until the proof if it goes on as on average so far; none while it does not come nearer, and when it
    /// is there.
    #[must_use]
    pub fn remaining(&self, interval: Millis) -> Option<Millis> {
        let left = self.log_proof_limit - self.log_proof;
        if self.log_proof <= 0.0 || left <= 0.0 || self.windows == 0 {
            return None;
        }
        let windows = (left * f64::from(self.windows) / self.log_proof).ceil();
        let millis = windows * interval.as_duration().as_secs_f64() * 1e3;
        // Longer than a year is no forecast.
        (millis < 3.2e10).then(|| Millis::from_secs((millis / 1e3).ceil() as u64))
    }

    /// Everything, one fact a line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let spent = (self.budget > 0.0).then(|| self.cost());
        [Some(self.counts()), self.comparison(), Some(self.evidence()), spent].into_iter().flatten().collect()
    }
}

/// A rate in percent, with as many digits as it needs.
fn percent(rate: f64) -> String {
    let percent = rate * 100.0;
    let places = if percent >= 10.0 {
        0
    } else if percent >= 0.095 || percent == 0.0 {
        2
    } else {
        4
    };
    let text = format!("{percent:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

/// A number of events, with one digit where it has a fraction.
fn amount(number: f64) -> String {
    if (number - number.round()).abs() < 0.05 { format!("{number:.0}") } else { format!("{number:.1}") }
}

/// Odds to one from their natural logarithm.
fn odds(log: f64) -> String {
    let odds = log.exp();
    if odds > ODDS_MAX {
        return format!("10^{:.0}:1", log / std::f64::consts::LN_10);
    }
    if odds < 0.1 { "under 0.1:1".to_owned() } else { format!("{}:1", amount(odds)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn figures() -> Judged {
        let evidence = json!({ "judge": {
            "canary_seen": 534, "canary_bad": 7.0, "baseline_seen": 3323, "baseline_bad": 1.0, "windows": 3,
            "log_e": 6.3, "log_e_limit": 4.60517, "log_proof": -2.4, "log_proof_limit": 2.99573,
            "ratio_low": 2.4, "ratio": 43.6, "ratio_high": 1e6, "spent": 6.88, "budget": 100.0, "more": 1,
        }});
        Judged::of(&evidence).unwrap()
    }

    #[test]
    fn figures_are_sentences_for_people() {
        assert_eq!(
            figures().lines(),
            [
                "new 7 of 534 bad (1.31 %), old 1 of 3323 (0.0301 %)",
                "44 times as bad, plausibly at least 2.4 times",
                "evidence that it is worse 544.6:1 (rollback at 100:1), that it is good enough under 0.1:1 (proceed at 20:1)",
                "6.9 of 100 extra bad ones spent",
            ]
        );
        assert_eq!(Judged::of(&json!({ "passed": 3 })), None);
        assert_eq!(Judged::of(&Value::Null), None);
    }

    #[test]
    fn the_time_to_the_proof_follows_from_its_speed_so_far() {
        let half = Judged { log_proof: 1.0, log_proof_limit: 3.0, windows: 10, ..figures() };
        assert_eq!(half.remaining(Millis::from_secs(1)), Some(Millis::from_secs(20)));
        assert_eq!(Judged { log_proof: -1.0, ..half }.remaining(Millis::from_secs(1)), None);
        assert_eq!(Judged { log_proof: 3.0, ..half }.remaining(Millis::from_secs(1)), None);
        assert!((half.proof() - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn small_and_large_numbers_stay_readable() {
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.5), "50 %");
        assert_eq!(percent(0.00031), "0.031 %");
        assert_eq!(odds(40.0), "10^17:1");
        assert_eq!(odds(0.0), "1:1");
    }
}
