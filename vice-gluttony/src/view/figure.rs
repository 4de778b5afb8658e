//! Numbers as people read them. What is not a finite number has nothing to say, and shows so.

use vice_core::Millis;
use vice_core::payload::simulation::Unfinished;

/// What stands where there is no figure.
pub const NONE: &str = "–";

/// A duration in milliseconds.
#[must_use]
pub fn duration(ms: f64) -> String {
    if !ms.is_finite() {
        return NONE.to_owned();
    }
    let shown = millis(ms.abs()).to_string();
    if ms < 0.0 && millis(ms.abs()).0 > 0 { format!("-{shown}") } else { shown }
}

/// How long something takes: a time that is reached only by runs that were not over is more than the simulated time.
#[must_use]
pub fn time_of(ms: f64, unfinished: Option<&Unfinished>) -> String {
    match unfinished {
        Some(unfinished) if ms >= unfinished.after_ms => format!("more than {}", days(unfinished.after_ms)),
        _ => duration(ms),
    }
}

/// A simulated time, in days where it is whole ones.
#[must_use]
pub fn days(ms: f64) -> String {
    let days = ms / 86_400_000.0;
    if days >= 1.0 && days.fract() == 0.0 { format!("{days:.0} days") } else { duration(ms) }
}

/// Whole milliseconds; what is negative or not a number is zero.
#[must_use]
pub fn millis(ms: f64) -> Millis {
    // The cast saturates, and makes zero of what is not a number.
    Millis(ms.round() as u64)
}

/// A count or an amount with at most three significant digits behind nothing, and thousands apart.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        NONE.to_owned()
    } else if size >= 1e15 {
        format!("{value:.2e}")
    } else if size >= 100.0 || size.fract() == 0.0 {
        grouped(value.round())
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.01 {
        format!("{value:.2}")
    } else {
        format!("{value:.1e}")
    }
}

/// A whole number with its thousands apart.
#[must_use]
pub fn whole(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn grouped(value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", whole(value.abs() as u64))
}

/// A probability or share. Almost never and almost always are not never and always.
#[must_use]
pub fn percent(share: f64) -> String {
    let points = share * 100.0;
    if !share.is_finite() {
        NONE.to_owned()
    } else if points == 0.0 || points == 100.0 {
        format!("{points:.0} %")
    } else if points.abs() < 0.1 {
        (if points < 0.0 { ">-0.1 %" } else { "<0.1 %" }).to_owned()
    } else if (99.9..100.0).contains(&points) {
        ">99.9 %".to_owned()
    } else if points.fract() == 0.0 {
        format!("{points:.0} %")
    } else {
        format!("{points:.1} %")
    }
}

/// What kind of number a named figure is; its unit stands last in its name.
#[must_use]
pub fn named(name: &str, value: f64) -> String {
    let points = |name: &str| name.starts_with("p_") || name.ends_with("_share") || name.ends_with("_rate");
    if name.ends_with("_ms") {
        duration(value)
    } else if points(name) {
        percent(value)
    } else {
        number(value)
    }
}

/// The name of a figure in words, without its unit where the value shows it.
#[must_use]
pub fn title(name: &str) -> String {
    let name = name.strip_suffix("_ms").unwrap_or(name);
    let (lead, name) = name.strip_prefix("p_").map_or(("", name), |rest| ("P ", rest));
    format!("{lead}{}", name.replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_say_what_they_are() {
        let shown = [0.0, 0.5, 12.345, 1234.5, 1e18, f64::NAN, -2500.0].map(number);
        assert_eq!(shown, ["0", "0.50", "12.3", "1,235", "1.00e18", "–", "-2,500"]);
        let shown = [0.0, 1.0, 0.0004, 0.9996, 0.5, 0.1234, f64::INFINITY].map(percent);
        assert_eq!(shown, ["0 %", "100 %", "<0.1 %", ">99.9 %", "50 %", "12.3 %", "–"]);
        assert_eq!([90_000.0, -90_000.0, f64::NAN].map(duration), ["1m 30s", "-1m 30s", "–"]);
        assert_eq!([whole(0), whole(1_000), whole(1_234_567)], ["0", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_named_figure_knows_its_unit() {
        let shown = [("total_ms", 90_000.0), ("p_found", 0.5), ("impact", 12.0)].map(|(name, x)| named(name, x));
        assert_eq!(shown, ["1m 30s", "50 %", "12"]);
        assert_eq!([title("total_ms"), title("p_found_early")], ["total", "P found early"]);
    }
}
