//! Limits that make a run fail: `p99>200ms`, `errors>1%`, `rate<450/s`, `home:p95>=1s`.

use vice_core::Millis;

use super::report::Report;
use super::tally::{Counts, Latencies};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Figure {
    /// Microseconds.
    Percentile(f64),
    Mean,
    Max,
    /// Share of all requests.
    Errors,
    /// Number of requests.
    ErrorCount,
    /// Good answers a second.
    Rate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// One limit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Threshold {
    text: String,
    kind: Option<String>,
    figure: Figure,
    comparison: Comparison,
    limit: f64,
}

/// What a limit came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// As it was asked for.
    pub(crate) text: String,
    /// The figure that was found, in words.
    pub(crate) found: String,
    /// Whether the run fails by it.
    pub(crate) failed: bool,
}

impl Threshold {
    /// Takes the text apart.
    ///
    /// # Errors
    /// Text that says what a limit looks like.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is not a limit; write for example p99>200ms, errors>1%, rate<450/s or home:p95>1s");
        let at = text.find(['>', '<']).ok_or_else(bad)?;
        let (name, rest) = text.split_at(at);
        let (comparison, value) = match (rest.strip_prefix(">="), rest.strip_prefix("<=")) {
            (Some(value), _) => (Comparison::AtLeast, value),
            (_, Some(value)) => (Comparison::AtMost, value),
            _ if rest.starts_with('>') => (Comparison::Above, &rest[1..]),
            _ => (Comparison::Below, &rest[1..]),
        };
        let (kind, name) = match name.rsplit_once(':') {
            Some((kind, name)) => (Some(kind.trim().to_owned()), name.trim()),
            None => (None, name.trim()),
        };
        let (figure, limit) = figure(name, value.trim()).ok_or_else(bad)?;
        Ok(Self { text: text.to_owned(), kind, figure, comparison, limit })
    }

    /// The kind of request that it is about, where it is about one.
    pub(crate) fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// Looks whether the run keeps it. A figure that nothing was measured for fails: no data is not good.
    pub(crate) fn verdict(&self, report: &Report, kinds: &[String]) -> Verdict {
        let place = self.kind.as_ref().map(|kind| kinds.iter().position(|it| it == kind));
        let part = match place {
            None => Some((&report.tally.counts, &report.tally.latencies)),
            Some(place) => place.and_then(|at| report.tally.kinds.get(at)).map(|kind| (&kind.counts, &kind.latencies)),
        };
        let Some(found) = part.and_then(|(counts, latencies)| self.found(report, counts, latencies)) else {
            return Verdict { text: self.text.clone(), found: "nothing was measured".to_owned(), failed: true };
        };
        let failed = match self.comparison {
            Comparison::Above => found > self.limit,
            Comparison::AtLeast => found >= self.limit,
            Comparison::Below => found < self.limit,
            Comparison::AtMost => found <= self.limit,
        };
        Verdict { text: self.text.clone(), found: self.shown(found), failed }
    }

    fn found(&self, report: &Report, counts: &Counts, latencies: &Latencies) -> Option<f64> {
        let timed = latencies.len() > 0;
        match self.figure {
            Figure::Percentile(percent) => timed.then(|| latencies.percentile(percent) as f64),
            Figure::Mean => timed.then(|| latencies.mean()),
            Figure::Max => timed.then(|| latencies.max() as f64),
            Figure::Errors => (counts.all() > 0).then(|| counts.failed() as f64 / counts.all() as f64),
            Figure::ErrorCount => (counts.all() > 0).then(|| counts.failed() as f64),
            Figure::Rate => Some(report.rate(counts)),
        }
    }

    fn shown(&self, found: f64) -> String {
        match self.figure {
            Figure::Percentile(_) | Figure::Mean | Figure::Max => super::report::time(found),
            Figure::Errors => format!("{:.3}%", found * 100.0),
            Figure::ErrorCount => format!("{found}"),
            Figure::Rate => format!("{found:.1}/s"),
        }
    }
}

fn figure(name: &str, value: &str) -> Option<(Figure, f64)> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|it| it.is_finite() && *it >= 0.0);
    let time = |value: &str| {
        let micros = value.strip_suffix("us").or_else(|| value.strip_suffix("µs")).and_then(number);
        micros.or_else(|| Some(value.parse::<Millis>().ok()?.0 as f64 * 1e3))
    };
    match name {
        "mean" => Some((Figure::Mean, time(value)?)),
        "max" => Some((Figure::Max, time(value)?)),
        "rate" => Some((Figure::Rate, number(value.strip_suffix("/s")?)?)),
        "errors" => match value.strip_suffix('%') {
            Some(percent) => Some((Figure::Errors, number(percent)? / 100.0)),
            None => Some((Figure::ErrorCount, number(value)?)),
        },
        _ => {
            let percent = number(name.strip_prefix('p')?)?;
            (percent <= 100.0).then_some((Figure::Percentile(percent), time(value)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::{Ended, Failure, Tally};
    use super::*;
    use std::time::Duration;

    fn report() -> Report {
        let mut tally = Tally::new(2);
        for number in 1..=100 {
            let bad = (number == 100).then_some(Failure::Status);
            let result = Ok((if bad.is_some() { 500 } else { 200 }, 1));
            let kind = usize::from(number > 50);
            drop(tally.ended(&Ended { kind, latency: number * 1_000, service: None, result, bad }, 0));
        }
        Report { took: Duration::from_secs(10), tally, seconds: Vec::new() }
    }

    #[test]
    fn limits_are_kept_or_not() {
        let kinds = ["a".to_owned(), "b".to_owned()];
        for (text, failed) in [
            ("p99>98ms", true),
            ("p99>100ms", false),
            ("p50 >= 40ms", true),
            ("max>200ms", false),
            ("max>99500us", true),
            ("mean<1ms", false),
            ("errors>0.5%", true),
            ("errors>1", false),
            ("errors>=1", true),
            ("rate<9/s", false),
            ("rate<=10/s", true),
            ("a:p100>51ms", false),
            ("b:p0<51ms", false),
            ("b:errors>1%", true),
            ("c:p50>1s", true),
        ] {
            let verdict = Threshold::parse(text).unwrap().verdict(&report(), &kinds);
            assert_eq!(verdict.failed, failed, "{verdict:?}");
        }
        for bad in ["", "p99", "p101>1s", "p99>fast", "errors>x%", "rate<5", "q5>1s", "p99=1s"] {
            assert!(Threshold::parse(bad).is_err(), "{bad}");
        }
    }
}
