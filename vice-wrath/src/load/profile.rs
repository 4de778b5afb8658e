//! How much load there is over time: stages with a level that stays or moves in a straight line. Pure arithmetic.

use std::time::Duration;

use vice_core::Millis;

/// The highest rate that can be asked for, in requests a second. One thread makes less than a tenth of it.
const RATE_MAX: f64 = 1e6;

/// The most users.
const USERS_MAX: f64 = 20_000.0;

/// The longest run: a week.
const DURATION_MAX: Millis = Millis::from_secs(7 * 24 * 3600);

/// A level that goes from one value to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    /// At the beginning.
    pub(crate) from: f64,
    /// At the end.
    pub(crate) to: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Stage {
    /// Seconds.
    length: f64,
    level: Level,
}

impl Stage {
    fn mass(&self) -> f64 {
        self.length * f64::midpoint(self.level.from, self.level.to)
    }
}

/// The stages in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Profile {
    stages: Vec<Stage>,
}

impl Profile {
    /// Adds a stage.
    pub(crate) fn push(&mut self, level: Level, length: Millis) {
        self.stages.push(Stage { length: length.0 as f64 / 1e3, level });
    }

    /// How long all stages take.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.stages.iter().map(|stage| stage.length).sum())
    }

    /// The level at a time in seconds; zero after the end.
    pub(crate) fn level(&self, at: f64) -> f64 {
        let mut begin = 0.0;
        for stage in &self.stages {
            if at < begin + stage.length {
                let share = (at - begin) / stage.length;
                return stage.level.from + (stage.level.to - stage.level.from) * share;
            }
            begin += stage.length;
        }
        0.0
    }

    /// The time in seconds at which `mass` has come together, if that happens.
    pub(crate) fn when(&self, mass: f64) -> Option<f64> {
        let (mut begin, mut rest) = (0.0, mass);
        for stage in &self.stages {
            if rest < stage.mass() {
                return Some(begin + within(stage, rest));
            }
            rest -= stage.mass();
            begin += stage.length;
        }
        None
    }

    /// In words, such as `500/s for 30s`.
    pub(crate) fn words(&self, unit: &str) -> String {
        let stage = |stage: &Stage| {
            let length = Millis((stage.length * 1e3).round() as u64);
            let Level { from, to } = stage.level;
            if (from - to).abs() < f64::EPSILON {
                format!("{from}{unit} for {length}")
            } else {
                format!("{from} to {to}{unit} over {length}")
            }
        };
        self.stages.iter().map(stage).collect::<Vec<_>>().join(", ")
    }
}

/// The root of `from·x + (to − from)·x²/(2·length) = mass`, in the form that stays exact for a small slope.
fn within(stage: &Stage, mass: f64) -> f64 {
    let Level { from, to } = stage.level;
    let slope = (to - from) / stage.length;
    let root = (from * from + 2.0 * slope * mass).max(0.0).sqrt();
    if from + root <= 0.0 { 0.0 } else { (2.0 * mass / (from + root)).min(stage.length) }
}

/// `500/s`, `30/m`, or `0..500/s`.
///
/// # Errors
/// Text that says what a rate looks like.
pub(crate) fn parse_rate(text: &str) -> Result<Level, String> {
    let bad = || format!("`{text}` is not a rate; write for example 500/s, 30/m or 0..500/s");
    let (number, unit) = text.rsplit_once('/').ok_or_else(bad)?;
    let seconds = match unit {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let level = level(number).ok_or_else(bad)?;
    let level = Level { from: level.from / seconds, to: level.to / seconds };
    if level.from.max(level.to) > RATE_MAX {
        return Err(format!("a rate of {text} can't be made; {RATE_MAX}/s is the most"));
    }
    Ok(level)
}

/// `50` or `0..50`.
///
/// # Errors
/// Text that says what a number of users looks like.
pub(crate) fn parse_users(text: &str) -> Result<Level, String> {
    let bad = || format!("`{text}` is not a number of users; write for example 50 or 0..50");
    let level = level(text).ok_or_else(bad)?;
    if level.from.fract() != 0.0 || level.to.fract() != 0.0 {
        return Err(bad());
    }
    if level.from.max(level.to) > USERS_MAX {
        return Err(format!("{text} users are too many; {USERS_MAX} are the most"));
    }
    Ok(level)
}

/// `LEVEL:DURATION`; whether the level is a rate shows in its unit.
///
/// # Errors
/// Text that says what a stage looks like.
pub(crate) fn parse_stage(text: &str) -> Result<(bool, Level, Millis), String> {
    let bad = || format!("`{text}` is not a stage; write for example 500/s:30s, 0..500/s:1m or 50:1m");
    let (level, length) = text.rsplit_once(':').ok_or_else(bad)?;
    let length: Millis = length.trim().parse().map_err(|_| bad())?;
    if length == Millis::ZERO || length > DURATION_MAX {
        return Err(format!("the stage {text} has to take longer than nothing and at most {DURATION_MAX}"));
    }
    let rate = level.contains('/');
    let level = if rate { parse_rate(level.trim())? } else { parse_users(level.trim())? };
    Ok((rate, level, length))
}

fn level(text: &str) -> Option<Level> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|it| it.is_finite() && *it >= 0.0);
    let level = match text.split_once("..") {
        Some((from, to)) => Level { from: number(from)?, to: number(to)? },
        None => number(text).map(|it| Level { from: it, to: it })?,
    };
    (level.from > 0.0 || level.to > 0.0).then_some(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read() {
        assert_eq!(parse_rate("500/s"), Ok(Level { from: 500.0, to: 500.0 }));
        assert_eq!(parse_rate("0..30/m"), Ok(Level { from: 0.0, to: 0.5 }));
        assert_eq!(parse_users("0..50"), Ok(Level { from: 0.0, to: 50.0 }));
        assert_eq!(parse_stage("5/s:2s"), Ok((true, Level { from: 5.0, to: 5.0 }, Millis(2000))));
        for bad in ["", "500", "x/s", "-1/s", "0/s", "1/day", "2e9/s", "inf/s", "1..2..3/s"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
        for bad in ["1.5", "0", "99999999"] {
            assert!(parse_users(bad).is_err(), "{bad}");
        }
        for bad in ["5/s", "5/s:0s", "5/s:soon", ":1s", "5/s:9999d"] {
            assert!(parse_stage(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_time_of_a_request_inverts_the_integral() {
        let mut profile = Profile::default();
        profile.push(Level { from: 0.0, to: 100.0 }, Millis(10_000));
        profile.push(Level { from: 100.0, to: 100.0 }, Millis(5_000));
        profile.push(Level { from: 100.0, to: 0.0 }, Millis(10_000));
        // By the first quarter of a ramp a sixteenth has come.
        assert!((profile.when(500.0 / 16.0).unwrap() - 2.5).abs() < 1e-9);
        assert!((profile.when(600.0).unwrap() - 11.0).abs() < 1e-9);
        assert!((profile.when(1000.0 + 375.0).unwrap() - 20.0).abs() < 1e-9);
        assert_eq!(profile.when(1500.0), None);
        assert!((profile.level(5.0) - 50.0).abs() < 1e-9);
    }
}
