//! Time as an argument: a [`Clock`] is handed in, never read from the air, so that a simulation, a test and
//! production run the same code. [`Millis`] is the one duration type of manifests and events.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where `now` comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present moment, UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's clock. The only place in the project that reads it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one real clock behind the Clock port")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still until it is moved; for tests and simulations.
#[derive(Debug)]
pub struct ManualClock {
    millis: AtomicI64,
    step_millis: i64,
}

impl ManualClock {
    /// Starts at `at` and moves `step` forward after each reading (zero: stands still).
    #[must_use]
    pub fn new(at: Timestamp, step: Millis) -> Self {
        Self { millis: AtomicI64::new(at.as_millisecond()), step_millis: step.as_i64() }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Millis) {
        self.millis.fetch_add(by.as_i64(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let millis = self.millis.fetch_add(self.step_millis, Ordering::SeqCst);
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// A non-negative duration in whole milliseconds; written `300ms`, `10s`, `2h 30m` in the files of people, and as a number
/// of milliseconds in JSON, which vice writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// Whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// From one moment to a later one; zero when `to` is earlier (clocks go back).
    #[must_use]
    pub fn between(from: Timestamp, to: Timestamp) -> Self {
        Self(u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0))
    }

    /// The value as a standard duration.
    #[must_use]
    pub const fn as_duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }

    /// The value as a signed number; saturates.
    #[must_use]
    pub fn as_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// `at` plus this duration; saturates at the end of time.
    #[must_use]
    pub fn after(self, at: Timestamp) -> Timestamp {
        at.checked_add(SignedDuration::from_millis(self.as_i64())).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for Millis {
    /// Two significant units at most, as a person would say it: `320ms`, `4.2s`, `3m 05s`, `2h 10m`, `3d 4h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        let s = ms / 1000;
        match ms {
            0..=999 => write!(f, "{ms}ms"),
            1_000..=59_999 => write!(f, "{}.{}s", s, (ms % 1000) / 100),
            60_000..=3_599_999 => write!(f, "{}m {:02}s", s / 60, s % 60),
            3_600_000..=86_399_999 => write!(f, "{}h {:02}m", s / 3600, (s % 3600) / 60),
            _ => write!(f, "{}d {}h", s / 86_400, (s % 86_400) / 3600),
        }
    }
}

impl FromStr for Millis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a duration; write for example 300ms, 10s, 5m or 2h 30m");
        if text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let days = |span: jiff::Span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok();
        let duration = text.parse::<jiff::Span>().ok().and_then(days).ok_or_else(bad)?;
        u64::try_from(duration.as_millis()).map(Self).map_err(|_| bad())
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Millis;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"300ms\", \"10s\" or \"2h 30m\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Millis, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, millis: u64) -> Result<Millis, E> {
                Ok(Millis(millis))
            }
            // What vice writes is JSON, whose whole numbers come as `u64`; those of TOML, which people write, are `i64`. A
            // person may mean seconds, so that a number without a unit is not taken for anything.
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Millis, E> {
                Err(E::custom(match u64::try_from(number) {
                    Ok(_) => format!(
                        "{number} has no unit: write a duration as text, such as \"{number}s\" or \"{number}ms\""
                    ),
                    Err(_) => "a duration can't be negative".to_owned(),
                }))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Millis {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A duration such as 300ms, 10s, 5m or 2h 30m.",
        })
    }
}

/// `then` as a person would say it at `now`: `just now`, `5m ago`, `3d ago`.
#[must_use]
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = Millis::between(then, now).0 / 1000;
    match seconds {
        0..=4 => "just now".to_owned(),
        5..=59 => format!("{seconds}s ago"),
        60..=3_599 => format!("{}m ago", seconds / 60),
        3_600..=86_399 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_as_people_write_them() {
        for (text, millis) in [("300ms", 300), ("10s", 10_000), ("2h 30m", 9_000_000), ("1d", 86_400_000)] {
            assert_eq!(text.parse::<Millis>().unwrap(), Millis(millis), "{text}");
        }
        for bad in ["", "10", "soon", "-5s", "ten seconds"] {
            assert!(bad.parse::<Millis>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_is_milliseconds_in_json_and_nothing_in_toml() {
        #[derive(Debug, Deserialize)]
        struct Flat {
            #[serde(flatten)]
            inner: std::collections::BTreeMap<String, Millis>,
        }
        for json in [r#"{"bake": 300}"#, r#"{"bake": "300ms"}"#] {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            for flat in [serde_json::from_str::<Flat>(json).unwrap(), serde_json::from_value(value).unwrap()] {
                assert_eq!(flat.inner["bake"], Millis(300), "{json}");
            }
        }
        assert_eq!(serde_json::from_value::<Millis>(serde_json::json!(300_i64)).unwrap(), Millis(300));
        let refused = |text: &str| toml::from_str::<Flat>(text).unwrap_err().to_string();
        assert!(refused("bake = 300").contains("\"300s\""));
        assert!(refused("bake = -5").contains("negative"));
        assert!(refused("bake = 1.5").contains("\"300ms\""));
        assert_eq!(toml::from_str::<Flat>("bake = \"5m\"").unwrap().inner["bake"], Millis(300_000));
    }

    #[test]
    fn durations_print_with_two_units() {
        for (millis, text) in
            [(320, "320ms"), (4_250, "4.2s"), (185_000, "3m 05s"), (7_800_000, "2h 10m"), (277_200_000, "3d 5h")]
        {
            assert_eq!(Millis(millis).to_string(), text);
        }
    }

    #[test]
    fn a_clock_that_goes_back_gives_zero() {
        let later = Timestamp::from_second(10).unwrap();
        let earlier = Timestamp::from_second(5).unwrap();
        assert_eq!(Millis::between(later, earlier), Millis::ZERO);
    }
}
