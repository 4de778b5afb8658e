//! What all sources share: ask for both versions and all strata, take differences of counters that only grow, and turn
//! the numbers or the trouble into readings.
//!
//! Knows nothing of protocols. Both versions always move together: when one of them can't be read, the counters of
//! neither go on, so that the next window covers the same time for both.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use vice_core::Result;
use vice_core::capability::BackendInfo;
use vice_core::id::Scope;
use vice_core::manifest::{MetricKind, MetricSpec};
use vice_core::port::metric::{Metered, MetricArm, MetricMark, MetricReading, MetricSource, MetricWindow};
use vice_core::secret::Masker;
use vice_core::time::Millis;

use super::number::Numbers;
use super::scene::Asked;
use super::trouble::{Trouble, bounded};

/// How many questions of one metric are under way at once.
const ASKED_AT_ONCE: usize = 8;

/// How far back thresholds are taken from when nobody says.
const HISTORY: Millis = Millis::from_secs(3600);

/// So many sentences about one window are kept.
const NOTES_MAX: usize = 4;

/// What one process of a version counted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tally {
    /// Tells one process from the next; empty where there is only one.
    pub(super) process: String,
    pub(super) numbers: Numbers,
}

/// What the numbers of a source mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// They are of the window that was asked for.
    Window,
    /// They only grow. Whether a process that was never seen began at zero, or may have counted before.
    Cumulative { from_zero: bool },
}

/// A source with its protocol.
#[async_trait]
pub(super) trait Ask: Send + Sync + 'static {
    fn describe(&self) -> BackendInfo;

    fn growth(&self) -> Growth;

    /// What one version did in one stratum.
    async fn ask(&self, asked: Asked<'_>) -> Result<Vec<Tally>, Trouble>;
}

/// A metric with its source.
pub(super) struct Source<A> {
    pub(super) scope: Scope,
    pub(super) spec: MetricSpec,
    pub(super) name: String,
    pub(super) ask: A,
    pub(super) masker: Masker,
}

/// What was answered about one stratum.
struct Answers {
    canary: Answered,
    baseline: Answered,
    /// The baseline's two halves, where the source is asked for them.
    halves: Option<(Answered, Answered)>,
}

/// What one version of one stratum answered.
type Answered = Result<Vec<Tally>, Trouble>;

impl<A: Ask> Source<A> {
    fn strata(&self) -> Vec<Option<&str>> {
        if self.spec.strata.is_empty() {
            return vec![None];
        }
        self.spec.strata.iter().map(|stratum| Some(stratum.as_str())).collect()
    }

    /// Asks everything, a few questions at a time; in the order of the strata.
    async fn ask_all(&self, window: &MetricWindow) -> Vec<Answers> {
        let mut asked: Vec<BoxFuture<'_, Answers>> = Vec::new();
        for stratum in self.strata() {
            asked.push(Box::pin(self.ask_about(window, stratum)));
        }
        futures::stream::iter(asked).buffered(ASKED_AT_ONCE / 4).collect().await
    }

    /// Together, so that a counter that only grows is read at nearly the same moment for all.
    async fn ask_about(&self, window: &MetricWindow, stratum: Option<&str>) -> Answers {
        let of = |version, half| self.ask.ask(Asked { scope: &self.scope, window, version, stratum, half });
        let both = async { futures::join!(of(&window.canary, None), of(&window.baseline, None)) };
        let halves = async {
            let [left, right] = self.spec.halves.as_slice() else { return None };
            Some(futures::join!(of(&window.baseline, Some(left)), of(&window.baseline, Some(right))))
        };
        let ((canary, baseline), halves) = futures::join!(both, halves);
        Answers { canary, baseline, halves }
    }

    /// The thresholds of latency from the baseline's past up to the window's end.
    async fn freeze(&self, window: &MetricWindow) -> Result<Vec<f64>, Trouble> {
        let history = self.spec.history.unwrap_or(HISTORY);
        let from = window.until.checked_sub(jiff::SignedDuration::from_millis(history.as_i64()));
        let window = MetricWindow { from: from.unwrap_or(window.from), ..window.clone() };
        let mut all: Option<Numbers> = None;
        for stratum in self.strata() {
            let baseline = window.baseline.as_str();
            let asked = Asked { scope: &self.scope, window: &window, version: baseline, stratum, half: None };
            let tallies = self.ask.ask(asked).await?;
            all = sum(all.into_iter().chain(tallies.into_iter().map(|tally| tally.numbers)));
        }
        match all {
            Some(Numbers::Times(histogram)) => Ok(histogram.thresholds().unwrap_or_default()),
            _ => Ok(Vec::new()),
        }
    }

    fn note(&self, text: &str) -> String {
        bounded(&self.masker.mask(text))
    }

    /// What each process of a version did since the mark, and where its counters stand now; never empty.
    fn since(
        &self,
        key: &str,
        tallies: Vec<Tally>,
        mark: &MetricMark,
        now: &mut MetricMark,
    ) -> Result<Vec<Numbers>, Trouble> {
        let mut known = Vec::new();
        let mut unknown = false;
        for tally in tallies {
            let Growth::Cumulative { from_zero } = self.ask.growth() else {
                known.push(tally.numbers);
                continue;
            };
            let key = format!("{key}/{}", tally.process);
            let before = mark.counters.get(&key);
            now.counters.insert(key, tally.numbers.flat());
            match before {
                Some(before) => known.push(tally.numbers.since(before)),
                None if from_zero && mark.at.is_some() => known.push(tally.numbers),
                None => unknown = true,
            }
        }
        if unknown {
            return Err(Trouble::late("Where its counters stood before was not known, so counting begins now."));
        }
        if known.is_empty() {
            return Err(Trouble::no_traffic("Nothing has been counted."));
        }
        Ok(known)
    }

    /// The readings of all strata, or the one that says why there are none.
    fn readings(&self, answers: Vec<Answers>, window: &MetricWindow, mark: &MetricMark) -> Metered {
        let mut now = MetricMark { at: Some(window.until), counters: BTreeMap::new(), ..mark.clone() };
        let (mut readings, mut troubles): (Vec<MetricReading>, Vec<(String, Trouble)>) = (Vec::new(), Vec::new());
        for (at, Answers { canary, baseline, halves }) in answers.into_iter().enumerate() {
            let stratum = u16::try_from(at).unwrap_or(u16::MAX);
            let mut each = |version: &str, answer: Answered| {
                let key = format!("{at}/{version}");
                answer.and_then(|tallies| self.since(&key, tallies, mark, &mut now))
            };
            let (canary, baseline) = (each(&window.canary, canary), each(&window.baseline, baseline));
            let halves = self.halves(halves, baseline.as_ref().ok(), &mark.thresholds);
            let mut arm = |version: &str, each: Result<Vec<Numbers>, Trouble>| -> (Option<MetricArm>, bool) {
                match each.and_then(|each| arm_of(each, &mark.thresholds)) {
                    Ok(arm) => (Some(arm), false),
                    Err(trouble) => {
                        let silent = trouble.is_silence();
                        troubles.push((version.to_owned(), trouble));
                        (None, silent)
                    }
                }
            };
            let ((canary, silent), (baseline, _)) = (arm(&window.canary, canary), arm(&window.baseline, baseline));
            // A new version that nobody has asked yet has neither counts nor series. How much traffic there is follows
            // from the old one, and without that a ramp could not take its first step.
            let canary = canary.or(silent.then(MetricArm::default));
            let baseline = baseline.or(canary.map(|_| MetricArm::default()));
            if let (Some(canary), Some(baseline)) = (canary, baseline)
                && canary.seen + baseline.seen > 0
            {
                readings.push(MetricReading::Counts { stratum, canary, baseline });
                readings.extend(halves.map(|[left, right]| MetricReading::Halves { stratum, left, right }));
            }
        }
        self.concluded(readings, &troubles, mark, now)
    }

    /// The baseline in two: as the source was asked for it, or the processes that had exposures in turn. Without both
    /// halves the metric is judged as if nobody had looked.
    fn halves(
        &self,
        asked: Option<(Answered, Answered)>,
        each: Option<&Vec<Numbers>>,
        thresholds: &[f64],
    ) -> Option<[MetricArm; 2]> {
        let arm = |numbers: &Numbers| numbers.arm(thresholds).ok().filter(|arm| arm.seen > 0);
        if let Some((left, right)) = asked {
            let whole = |half: Answered| arm(&sum(half.ok()?.into_iter().map(|tally| tally.numbers))?);
            return Some([whole(left)?, whole(right)?]);
        }
        let each = each.filter(|_| self.spec.front && self.spec.sensor.unwrap_or(true))?;
        let arms: Vec<MetricArm> = each.iter().filter_map(arm).collect();
        let turn = |first: usize| arms.iter().skip(first).step_by(2).copied().reduce(MetricArm::plus);
        Some([turn(0)?, turn(1)?])
    }

    fn concluded(
        &self,
        mut readings: Vec<MetricReading>,
        troubles: &[(String, Trouble)],
        mark: &MetricMark,
        now: MetricMark,
    ) -> Metered {
        let worst = troubles.iter().map(|(_, trouble)| trouble.reading()).min_by_key(|reading| rank(*reading));
        let mut notes: Vec<String> = Vec::new();
        for (version, trouble) in troubles {
            let note = self.note(&format!("{}, version {version}: {}", self.name, trouble.text));
            if !notes.contains(&note) && notes.len() < NOTES_MAX {
                notes.push(note);
            }
        }
        match worst {
            // Counters stay where they were, for both: the next window then has all of the time.
            Some(reading @ MetricReading::Failed) => Metered { readings: vec![reading], notes, mark: mark.clone() },
            _ if !readings.is_empty() => {
                let seen = |reading: &MetricReading| matches!(reading, MetricReading::Counts { canary, .. } if canary.seen > 0);
                let unknown = worst == Some(MetricReading::NoSeries) && !readings.iter().any(seen);
                readings.extend(unknown.then_some(MetricReading::NoSeries));
                Metered { readings, notes, mark: now }
            }
            Some(reading @ (MetricReading::Late | MetricReading::NoSeries)) => {
                Metered { readings: vec![reading], notes, mark: now }
            }
            _ => {
                if notes.is_empty() {
                    notes.push(self.note(&format!("{}: the new version had no exposures.", self.name)));
                }
                Metered { readings: vec![MetricReading::NoTraffic], notes, mark: now }
            }
        }
    }
}

/// The sum of what several processes did; none of none.
fn sum(all: impl IntoIterator<Item = Numbers>) -> Option<Numbers> {
    all.into_iter().reduce(|sum, next| sum.plus(&next))
}

fn arm_of(each: Vec<Numbers>, thresholds: &[f64]) -> Result<MetricArm, Trouble> {
    let whole = sum(each).ok_or_else(|| Trouble::no_traffic("Nothing has been counted."))?;
    whole.arm(thresholds)
}

/// Which trouble counts when there are several: that of which least is known.
fn rank(reading: MetricReading) -> u8 {
    match reading {
        MetricReading::Failed => 0,
        MetricReading::Late => 1,
        MetricReading::NoSeries => 2,
        MetricReading::NoTraffic => 3,
        MetricReading::Counts { .. } | MetricReading::Halves { .. } => 4,
    }
}

#[async_trait]
impl<A: Ask> MetricSource for Source<A> {
    fn describe(&self) -> BackendInfo {
        self.ask.describe()
    }

    async fn begin(&self, window: &MetricWindow) -> Result<MetricMark> {
        let mut mark = MetricMark { at: Some(window.until), ..MetricMark::default() };
        let answers = self.ask_all(window).await;
        for (stratum, Answers { canary, baseline, .. }) in answers.into_iter().enumerate() {
            for (version, answer) in [(&window.canary, canary), (&window.baseline, baseline)] {
                match answer {
                    Ok(tallies) if self.ask.growth() != Growth::Window => {
                        let key = |tally: &Tally| format!("{stratum}/{version}/{}", tally.process);
                        mark.counters.extend(tallies.iter().map(|tally| (key(tally), tally.numbers.flat())));
                    }
                    Err(trouble) if !trouble.may_pass() => {
                        return Err(trouble.into_fault(&self.name, &self.masker));
                    }
                    _ => {}
                }
            }
        }
        if self.spec.kind == MetricKind::Latency {
            // What is not there yet is looked for again after each window.
            mark.thresholds = self.freeze(window).await.unwrap_or_default();
        }
        Ok(mark)
    }

    async fn read(&self, window: &MetricWindow, mark: &MetricMark) -> Metered {
        let answers = self.ask_all(window).await;
        let metered = self.readings(answers, window, mark);
        if self.spec.kind != MetricKind::Latency || !mark.thresholds.is_empty() {
            return metered;
        }
        let mut mark = metered.mark;
        mark.thresholds = self.freeze(window).await.unwrap_or_default();
        let reading = match metered.readings.first() {
            Some(MetricReading::Counts { .. } | MetricReading::Halves { .. }) | None => MetricReading::NoTraffic,
            Some(trouble) => *trouble,
        };
        let note = if mark.thresholds.is_empty() {
            format!("{}: version {} has shown too few latencies to take thresholds from.", self.name, window.baseline)
        } else {
            format!("{}: the thresholds were taken only now; they hold from the next window on.", self.name)
        };
        let notes = metered.notes.into_iter().chain([self.note(&note)]).collect();
        Metered { readings: vec![reading], notes, mark }
    }
}
