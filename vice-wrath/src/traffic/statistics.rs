//! Two tests of whether samples are of one kind: chi-square for counts, Kolmogorov-Smirnov for times.

/// How likely chance alone makes a chi-square statistic at least so large.
pub(super) fn chi_square_survival(statistic: f64, freedom: usize) -> f64 {
    if freedom == 0 || statistic <= 0.0 {
        return 1.0;
    }
    upper_gamma(freedom as f64 / 2.0, statistic / 2.0)
}

/// The regularised upper incomplete gamma function Q(a, x): a series below the bend, a continued fraction above it.
fn upper_gamma(a: f64, x: f64) -> f64 {
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for n in 1..1000 {
            term *= x / (a + f64::from(n));
            sum += term;
            if term < sum * 1e-15 {
                break;
            }
        }
        return (1.0 - front * sum).clamp(0.0, 1.0);
    }
    // Lentz's way to evaluate it from the front.
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / tiny, 1.0 / b);
    let mut h = d;
    for n in 1..1000 {
        let n = f64::from(n);
        let an = -n * (n - a);
        b += 2.0;
        d = 1.0 / nonzero(an * d + b);
        c = nonzero(b + an / c);
        let factor = d * c;
        h *= factor;
        if (factor - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front * h).clamp(0.0, 1.0)
}

fn nonzero(value: f64) -> f64 {
    if value.abs() < 1e-300 { 1e-300 } else { value }
}

/// The logarithm of the gamma function: Stirling's series, reached by the recurrence.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 15.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    shift + (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series
}

/// The largest distance between the distributions of two sorted samples, and how likely chance alone makes one so large.
pub(super) fn kolmogorov_smirnov(one: &[f64], other: &[f64]) -> (f64, f64) {
    if one.is_empty() || other.is_empty() {
        return (0.0, 1.0);
    }
    let (n, m) = (one.len() as f64, other.len() as f64);
    let (mut i, mut j, mut distance) = (0, 0, 0.0_f64);
    while i < one.len() && j < other.len() {
        let value = one[i].min(other[j]);
        while i < one.len() && one[i] <= value {
            i += 1;
        }
        while j < other.len() && other[j] <= value {
            j += 1;
        }
        distance = distance.max((i as f64 / n - j as f64 / m).abs());
    }
    let size = (n * m / (n + m)).sqrt();
    (distance, kolmogorov_survival((size + 0.12 + 0.11 / size) * distance))
}

fn kolmogorov_survival(x: f64) -> f64 {
    if x < 0.3 {
        return 1.0;
    }
    let terms = (1..=100).map(|k| {
        let k = f64::from(k);
        let sign = if k % 2.0 == 1.0 { 1.0 } else { -1.0 };
        sign * (-2.0 * k * k * x * x).exp()
    });
    (2.0 * terms.sum::<f64>()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use vice_core::rng::Streams;

    #[test]
    fn tables_are_met() {
        // Critical values of chi-square, from any table.
        for (statistic, freedom, expected) in [
            (3.841, 1, 0.05),
            (5.991, 2, 0.05),
            (18.307, 10, 0.05),
            (124.342, 100, 0.05),
            (6.635, 1, 0.01),
            (0.0, 3, 1.0),
        ] {
            let found = chi_square_survival(statistic, freedom);
            assert!((found - expected).abs() < 2e-4, "{statistic} {freedom}: {found}");
        }
        // Critical values of Kolmogorov's distribution.
        for (x, expected) in [(1.358, 0.05), (1.628, 0.01), (1.224, 0.10)] {
            assert!((kolmogorov_survival(x) - expected).abs() < 2e-3, "{x}");
        }
    }

    #[test]
    fn distributions_are_told_apart() {
        // Seed 3.
        let mut chance = Streams::new(3).stream("ks", 0);
        let mut sample = |shift: f64| {
            let mut all: Vec<f64> = (0..2000).map(|_| chance.random::<f64>() + shift).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let (one, same, other) = (sample(0.0), sample(0.0), sample(0.1));
        assert!(kolmogorov_smirnov(&one, &same).1 > 0.01);
        let (distance, chance) = kolmogorov_smirnov(&one, &other);
        assert!((0.08..0.16).contains(&distance) && chance < 1e-6, "{distance} {chance}");
    }
}
