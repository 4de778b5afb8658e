//! How likely something is that happened `failed` times of `tries` in this project, when other projects say what is usual:
//! the hierarchical beta-binomial model. A project with little history leans on the others, one with much on itself.

/// Counts of one project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// How often it happened.
    pub failed: u64,
    /// Of how many.
    pub tries: u64,
}

/// The posterior mean (f + m s) / (n + s) of the first project's rate, with the mean `m` and the strength `s` of the
/// common Beta(m s, (1 - m) s) by marginal likelihood over all projects. None where nobody has tried anything.
#[must_use]
pub fn posterior(own: Counts, others: &[Counts]) -> Option<f64> {
    let all: Vec<(f64, f64)> = std::iter::once(&own).chain(others).filter(|one| one.tries > 0).map(floats).collect();
    if all.is_empty() {
        return None;
    }
    let (mut best, mut at) = (f64::NEG_INFINITY, (0.01, 2.0));
    for step in 0..60 {
        // Means from 0.1 % to 50 %, strengths from 1 to 1,000 tries, both in logarithmic steps.
        let m = 0.001 * libm::pow(500.0, f64::from(step) / 59.0);
        for step in 0..30 {
            let s = libm::pow(1_000.0, f64::from(step) / 29.0);
            // A weak prior on m keeps a project without a failure from saying that there never will be one.
            let likelihood =
                all.iter().map(|counts| marginal(*counts, m, s)).sum::<f64>() + marginal((1.0, 20.0), m, s);
            if likelihood > best {
                (best, at) = (likelihood, (m, s));
            }
        }
    }
    let (failed, tries) = floats(&own);
    Some((failed + at.0 * at.1) / (tries + at.1))
}

#[expect(clippy::cast_precision_loss, reason = "counts of rollouts")]
fn floats(counts: &Counts) -> (f64, f64) {
    (counts.failed.min(counts.tries) as f64, counts.tries as f64)
}

/// The logarithm of the beta-binomial likelihood, without the binomial coefficient.
fn marginal((failed, tries): (f64, f64), m: f64, s: f64) -> f64 {
    let ln_beta = |a: f64, b: f64| libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    ln_beta(failed + m * s, tries - failed + (1.0 - m) * s) - ln_beta(m * s, (1.0 - m) * s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_history_leans_on_others_and_much_on_itself() {
        let counts = |failed, tries| Counts { failed, tries };
        let others = [counts(2, 100), counts(3, 100), counts(1, 80)];
        let new = posterior(Counts::default(), &others).unwrap();
        assert!((0.01..0.06).contains(&new), "{new}");
        let bad = posterior(counts(300, 1_000), &others).unwrap();
        assert!((bad - 0.3).abs() < 0.02, "{bad}");
        let unlucky = posterior(counts(1, 1), &others).unwrap();
        assert!(unlucky > new && unlucky < 0.5, "{unlucky}");
        assert!(posterior(counts(0, 5), &[]).unwrap() > 0.0);
        assert_eq!(posterior(Counts::default(), &[]), None);
    }
}
