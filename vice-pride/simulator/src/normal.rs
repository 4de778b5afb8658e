//! The quantile of the standard normal distribution, by pinned arithmetic: the same bits on every platform.

/// Coefficients of Acklam's rational approximation (2003): the middle, then the tails.
const A: [f64; 6] = [
    -3.969_683_028_665_376e1,
    2.209_460_984_245_205e2,
    -2.759_285_104_469_687e2,
    1.383_577_518_672_69e2,
    -3.066_479_806_614_716e1,
    2.506_628_277_459_239,
];
const B: [f64; 5] = [
    -5.447_609_879_822_406e1,
    1.615_858_368_580_409e2,
    -1.556_989_798_598_866e2,
    6.680_131_188_771_972e1,
    -1.328_068_155_288_572e1,
];
const C: [f64; 6] = [
    -7.784_894_002_430_293e-3,
    -3.223_964_580_411_365e-1,
    -2.400_758_277_161_838,
    -2.549_732_539_343_734,
    4.374_664_141_464_968,
    2.938_163_982_698_783,
];
const D: [f64; 4] = [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
/// Where the tails begin.
const TAIL: f64 = 0.02425;

/// The x with Φ(x) = p, for p strictly between 0 and 1; relative error below 2e-9.
#[must_use]
pub(crate) fn quantile(p: f64) -> f64 {
    let horner = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    if p < TAIL {
        let q = libm::sqrt(-2.0 * libm::log(p));
        return horner(&C, q) / (horner(&D, q) * q + 1.0);
    }
    if p > 1.0 - TAIL {
        return -quantile(1.0 - p);
    }
    let q = p - 0.5;
    let r = q * q;
    horner(&A, r) * q / (horner(&B, r) * r + 1.0)
}

/// Φ(x).
#[must_use]
pub(crate) fn distribution(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_and_distribution_are_inverse() {
        for i in 1..2000 {
            let p = f64::from(i) / 2000.0;
            assert!((distribution(quantile(p)) - p).abs() < 3e-9, "{p}");
        }
        for (p, x) in [(0.975, 1.959_963_984_540), (0.001, -3.090_232_306_168), (1e-9, -5.997_807_015_00)] {
            assert!((quantile(p) - x).abs() < 1e-7, "{p}: {}", quantile(p));
        }
    }
}
