//! Windows of time in which units may begin to change: days, hours and a time zone, as a predicate over `now`.

use jiff::civil::{Time, Weekday as Day};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};
use vice_core::manifest::Weekday;
use vice_core::{Code, Fault, Result};

use crate::unit_set::UnitSet;

/// How many days ahead an opening is looked for: every day of the week comes twice, so that a day on which the clock
/// jumps over the whole window does not hide the next.
const DAYS_AHEAD_MAX: i64 = 15;

/// The day in the words of the manifest.
const fn weekday(day: Day) -> Weekday {
    match day {
        Day::Monday => Weekday::Mon,
        Day::Tuesday => Weekday::Tue,
        Day::Wednesday => Weekday::Wed,
        Day::Thursday => Weekday::Thu,
        Day::Friday => Weekday::Fri,
        Day::Saturday => Weekday::Sat,
        Day::Sunday => Weekday::Sun,
    }
}

/// Units may begin only inside of it. Going back is never held up by a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Its name.
    pub name: String,
    /// The units that it is for; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<UnitSet>,
    /// The days on which it opens; every day when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Weekday>,
    /// When it opens, as `HH:MM`.
    pub from: String,
    /// When it closes, as `HH:MM`; not later than `from` means on the next day.
    pub until: String,
    /// The time zone, such as `Europe/Berlin`; `UTC` is one.
    pub zone: String,
}

/// A window that was checked.
#[derive(Debug, Clone)]
pub(crate) struct Hours {
    days: Vec<Weekday>,
    from: Time,
    until: Time,
    zone: TimeZone,
}

/// How a window is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opening {
    pub(crate) open: bool,
    /// Until when that stays so.
    pub(crate) until: Timestamp,
}

impl Window {
    /// Checks the times and the zone.
    ///
    /// # Errors
    /// `ManifestInvalid` for a time that is not `HH:MM`, a zone that nobody knows, or hours that are empty.
    pub fn check(&self) -> Result<()> {
        self.hours().map(drop)
    }

    pub(crate) fn hours(&self) -> Result<Hours> {
        let zone = TimeZone::get(&self.zone).map_err(|_| {
            Fault::new(Code::ManifestInvalid, format!("The window {} has the time zone {:?}.", self.name, self.zone))
                .hint("Name it as the time zone database does, such as Europe/Berlin or UTC.")
        })?;
        let (from, until) = (self.time(&self.from)?, self.time(&self.until)?);
        Ok(Hours { days: self.days.clone(), from, until, zone })
    }

    fn time(&self, text: &str) -> Result<Time> {
        let wrong = || {
            Fault::new(Code::ManifestInvalid, format!("The window {} has the time {text:?}.", self.name))
                .hint("Write hours and minutes, such as 09:30.")
        };
        let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
        let number = |part: &str| match part.len() {
            1 | 2 => part.parse::<i8>().ok(),
            _ => None,
        };
        let (hour, minute) = (number(hour).ok_or_else(wrong)?, number(minute).ok_or_else(wrong)?);
        Time::new(hour, minute, 0, 0).map_err(|_| wrong())
    }
}

impl Hours {
    /// Whether it is open at `now`, and until when that stays so. A window that never opens is closed for ever.
    pub(crate) fn at(&self, now: Timestamp) -> Opening {
        let local = now.to_zoned(self.zone.clone());
        let mut next = Timestamp::MAX;
        for ahead in -1..=DAYS_AHEAD_MAX {
            let Some((opens, closes)) = self.on(&local, ahead) else { continue };
            if opens <= now && now < closes {
                return Opening { open: true, until: closes };
            }
            if now < opens && opens < closes {
                next = next.min(opens);
                break;
            }
        }
        Opening { open: false, until: next }
    }

    /// The span of the day that is `ahead` days after that of `local`, if it opens on that day.
    fn on(&self, local: &Zoned, ahead: i64) -> Option<(Timestamp, Timestamp)> {
        let date = local.date().checked_add(ahead.days()).ok()?;
        if !self.days.is_empty() && !self.days.contains(&weekday(date.weekday())) {
            return None;
        }
        let end = if self.until <= self.from { date.checked_add(1.days()).ok()? } else { date };
        let opens = date.to_datetime(self.from).to_zoned(self.zone.clone()).ok()?.timestamp();
        let closes = end.to_datetime(self.until).to_zoned(self.zone.clone()).ok()?.timestamp();
        Some((opens, closes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[Weekday], from: &str, until: &str, zone: &str) -> Window {
        let (from, until, zone) = (from.to_owned(), until.to_owned(), zone.to_owned());
        Window { name: "w".to_owned(), members: None, days: days.to_vec(), from, until, zone }
    }

    fn at(window: &Window, now: &str) -> (bool, String) {
        let opening = window.hours().unwrap().at(now.parse().unwrap());
        (opening.open, opening.until.to_string())
    }

    #[test]
    fn a_window_opens_and_closes_on_its_days() {
        let patch = window(&[Weekday::Thu], "09:00", "17:30", "Europe/Berlin");
        // 2026-11-26 is a Thursday; Berlin is an hour ahead of UTC in winter.
        assert_eq!(at(&patch, "2026-11-25T12:00:00Z"), (false, "2026-11-26T08:00:00Z".to_owned()));
        assert_eq!(at(&patch, "2026-11-26T08:00:00Z"), (true, "2026-11-26T16:30:00Z".to_owned()));
        assert_eq!(at(&patch, "2026-11-26T16:30:00Z"), (false, "2026-12-03T08:00:00Z".to_owned()));
    }

    #[test]
    fn a_window_can_cross_midnight_and_a_change_of_the_clock() {
        let night = window(&[Weekday::Sat], "22:00", "04:00", "Europe/Berlin");
        // The clocks go back on Sunday 2026-10-25 at 03:00: the night has seven hours.
        assert_eq!(at(&night, "2026-10-25T00:30:00Z"), (true, "2026-10-25T03:00:00Z".to_owned()));
        assert_eq!(at(&night, "2026-10-25T03:00:00Z"), (false, "2026-10-31T21:00:00Z".to_owned()));
        let daily = window(&[], "00:00", "00:00", "UTC");
        assert!(at(&daily, "2026-11-25T12:00:00Z").0, "the same time twice is a whole day");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (from, until, zone) in
            [("9", "10:00", "UTC"), ("24:00", "10:00", "UTC"), ("-1:00", "10:00", "UTC"), ("09:00", "10:00", "Mars")]
        {
            assert!(window(&[], from, until, zone).check().is_err(), "{from} {until} {zone}");
        }
    }
}
