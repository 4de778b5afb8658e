//! Durations that vary, made ready for drawing: one table look-up for each draw. It owns the tables; which duration is
//! drawn for what is the world's business.

use vice_core::Millis;
use vice_core::manifest::Spread;

use crate::draw::open_unit;
use crate::normal::quantile;

/// Cells of a quantile table: small enough for the first-level cache, and fine enough that the mean of a lognormal is
/// right to 1e-4.
const CELLS: usize = 1024;

/// Durations are kept below this: 49 days in milliseconds fit into 32 bits.
const MILLIS_MAX: f64 = 4_294_967_000.0;

/// A spread that can be drawn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampler {
    kind: Kind,
    mean: f64,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Fixed(u64),
    /// Quantiles at i / CELLS, straight between them; the first and last cell are computed.
    Table(Box<[f32; CELLS + 1]>, Law),
    Listed(Box<[u32]>),
}

/// The law behind a table.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Law {
    Lognormal { median: f64, sigma: f64 },
    Uniform { from: f64, width: f64 },
    Exponential { mean: f64 },
    Weibull { scale: f64, shape: f64 },
}

impl Law {
    fn quantile(self, p: f64) -> f64 {
        let p = p.clamp(1e-12, 1.0 - 1e-12);
        let value = match self {
            Self::Lognormal { median, sigma } => median * libm::exp(sigma * quantile(p)),
            Self::Uniform { from, width } => from + width * p,
            Self::Exponential { mean } => -mean * libm::log1p(-p),
            Self::Weibull { scale, shape } => scale * libm::pow(-libm::log1p(-p), 1.0 / shape),
        };
        value.min(MILLIS_MAX)
    }

    fn mean(self) -> f64 {
        match self {
            Self::Lognormal { median, sigma } => median * libm::exp(sigma * sigma / 2.0),
            Self::Uniform { from, width } => from + width / 2.0,
            Self::Exponential { mean } => mean,
            Self::Weibull { scale, shape } => scale * libm::tgamma(1.0 + 1.0 / shape),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a duration that a person types")]
fn float(millis: Millis) -> f64 {
    (millis.0 as f64).min(MILLIS_MAX)
}

impl Sampler {
    /// Makes a spread ready.
    #[must_use]
    pub fn new(spread: &Spread) -> Self {
        match spread {
            Spread::Fixed(value) => Self::fixed(*value),
            Spread::Around { median, spread } => {
                let sigma = libm::log1p(float(*spread) / float(*median).max(1.0));
                Self::table(Law::Lognormal { median: float(*median), sigma })
            }
            Spread::Between(from, until) => {
                Self::table(Law::Uniform { from: float(*from), width: float(*until) - float(*from) })
            }
            Spread::Exponential(mean) => Self::table(Law::Exponential { mean: float(*mean) }),
            Spread::Listed(values) => Self::listed(values),
        }
    }

    /// A Weibull distribution by scale and shape.
    #[must_use]
    pub fn weibull(scale: Millis, shape: f64) -> Self {
        Self::table(Law::Weibull { scale: float(scale), shape })
    }

    /// Always the same.
    #[must_use]
    pub fn fixed(value: Millis) -> Self {
        Self { kind: Kind::Fixed(value.0), mean: float(value) }
    }

    fn table(law: Law) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "24 bits of a duration in milliseconds"
        )]
        let cell = |i: usize| law.quantile(i as f64 / CELLS as f64) as f32;
        Self { kind: Kind::Table(Box::new(std::array::from_fn(cell)), law), mean: law.mean() }
    }

    fn listed(values: &[Millis]) -> Self {
        let cells: Box<[u32]> = values.iter().map(|value| u32::try_from(value.0).unwrap_or(u32::MAX)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a list has at most 100,000 entries")]
        let mean = cells.iter().map(|value| f64::from(*value)).sum::<f64>() / cells.len().max(1) as f64;
        Self { kind: if cells.is_empty() { Kind::Fixed(0) } else { Kind::Listed(cells) }, mean }
    }

    /// What it is at least, in milliseconds.
    #[must_use]
    pub(crate) fn least(&self) -> f64 {
        match &self.kind {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of a duration that a person types")]
            Kind::Fixed(value) => *value as f64,
            Kind::Table(_, Law::Uniform { from, .. }) => *from,
            Kind::Table(..) => 0.0,
            Kind::Listed(values) => values.iter().min().map_or(0.0, |least| f64::from(*least)),
        }
    }

    /// The mean in milliseconds.
    #[must_use]
    pub const fn mean(&self) -> f64 {
        self.mean
    }

    /// Whether it is always zero.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        matches!(self.kind, Kind::Fixed(0))
    }

    /// The duration in milliseconds that 64 random bits stand for.
    #[must_use]
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "durations are not negative and below 2^32"
    )]
    pub fn draw(&self, bits: u64) -> u64 {
        match &self.kind {
            Kind::Fixed(value) => *value,
            Kind::Table(cells, law) => {
                let index = (bits >> 54) as usize;
                if index == 0 || index == CELLS - 1 {
                    return (law.quantile(open_unit(bits)) + 0.5) as u64;
                }
                let within = (bits >> 22 & 0xffff_ffff) as f32 * (1.0 / 4_294_967_296.0);
                let (low, high) = (cells[index], cells[index + 1]);
                u64::from((low + (high - low) * within + 0.5) as u32)
            }
            Kind::Listed(values) => {
                let index = ((u128::from(bits) * values.len() as u128) >> 64) as usize;
                u64::from(values[index])
            }
        }
    }

    /// The chance that a draw is at most `millis`; by counting for lists, by the law else.
    #[must_use]
    pub fn at_most(&self, millis: f64) -> f64 {
        match &self.kind {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds below 2^53")]
            Kind::Fixed(value) => {
                if *value as f64 <= millis {
                    1.0
                } else {
                    0.0
                }
            }
            #[expect(clippy::cast_precision_loss, reason = "a list has at most 100,000 entries")]
            Kind::Listed(values) => {
                values.iter().filter(|value| f64::from(**value) <= millis).count() as f64 / values.len() as f64
            }
            Kind::Table(_, law) => law.at_most(millis),
        }
    }
}

impl Law {
    fn at_most(self, x: f64) -> f64 {
        if x <= 0.0 {
            return 0.0;
        }
        match self {
            Self::Lognormal { median, sigma } => crate::normal::distribution(libm::log(x / median) / sigma),
            Self::Uniform { from, width } if width > 0.0 => ((x - from) / width).clamp(0.0, 1.0),
            Self::Uniform { from, .. } => {
                if x >= from {
                    1.0
                } else {
                    0.0
                }
            }
            Self::Exponential { mean } => -libm::expm1(-x / mean),
            Self::Weibull { scale, shape } => -libm::expm1(-libm::pow(x / scale, shape)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Luck, Purpose};

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "test arithmetic")]
    fn draws_have_the_mean_and_the_distribution_of_their_law() {
        // Seed 5, 200,000 draws; the mean within 4 standard errors, the distribution within 0.005 at three points.
        let luck = Luck::new(5, 0);
        let n = 200_000_u32;
        for text in ["20s ~ 5s", "10s..30s", "exp 3s", "1m ~ 4m", "7s"] {
            let sampler = Sampler::new(&text.parse().unwrap());
            let drawn: Vec<f64> = (0..n).map(|i| sampler.draw(luck.bits(Purpose::Drain, i, 0)) as f64).collect();
            let mean = drawn.iter().sum::<f64>() / f64::from(n);
            let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
            let error = 4.0 * (variance / f64::from(n)).sqrt() + 1e-9;
            assert!((mean - sampler.mean()).abs() <= error, "{text}: {mean} {}", sampler.mean());
            for at in [5_000.0, 20_000.0, 70_000.0] {
                let below = drawn.iter().filter(|x| **x <= at).count() as f64 / f64::from(n);
                assert!((below - sampler.at_most(at)).abs() < 0.005, "{text} at {at}: {below}");
            }
        }
    }

    #[test]
    fn a_list_gives_only_what_is_in_it() {
        let list = Spread::Listed(vec![Millis(5), Millis(9)]);
        let sampler = Sampler::new(&list);
        let luck = Luck::new(1, 0);
        let drawn: Vec<u64> = (0..100).map(|i| sampler.draw(luck.bits(Purpose::Drain, i, 0))).collect();
        assert!(drawn.iter().all(|value| [5, 9].contains(value)) && drawn.contains(&5) && drawn.contains(&9));
        assert!((sampler.mean() - 7.0).abs() < 1e-12);
    }
}
