//! Runs a replay: sessions side by side, requests of a session one after the other, at the pace of the recording.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use vice_core::app::StopSignal;
use vice_core::{Fault, Result};

use super::compare::{Difference, Place, are_times, differences};
use super::evidence::{Evidence, Spot};
use super::memory::{Memory, Source, is_token, names_id};
use super::rules::Rules;
use super::send::{Arm, Seen, still_masked};
use crate::recording::Recording;
use crate::traffic::route;

/// Answers that wait to be compared.
const WAITING_MAX: usize = 16;

/// The most differences of one replay that are kept, beyond their number.
const FINDINGS_MAX: usize = 500;

/// What is to be replayed, how, and where.
pub(crate) struct Plan {
    /// The recording.
    pub(crate) recording: Recording,
    /// Its sessions.
    pub(crate) sessions: Vec<Vec<usize>>,
    /// What the user said.
    pub(crate) rules: Rules,
    /// How many times as fast as recorded; as fast as answers come when absent.
    pub(crate) speed: Option<f64>,
    /// Sessions at the same time.
    pub(crate) concurrency: usize,
    /// The server that is asked.
    pub(crate) to: Arc<Arm>,
    /// The other version, where two are compared.
    pub(crate) against: Option<Arc<Arm>>,
    /// Whether every request is sent twice, to learn what is noise.
    pub(crate) learn: bool,
    /// How often a session is sent again to prove or refute what it showed.
    pub(crate) rounds: usize,
}

/// One kind of difference that was found.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    /// The kind of request.
    pub(crate) route: String,
    /// Where and how.
    pub(crate) place: Place,
    pub(crate) way: super::compare::Way,
    /// In how many requests.
    pub(crate) times: u64,
    /// The exchange in which it was first seen.
    pub(crate) index: usize,
    /// The exact JSON Pointer there, and both values.
    pub(crate) pointer: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Requests that were sent, not counting repetitions.
    pub(crate) sent: u64,
    /// Of these, those whose answers are the same but for noise.
    pub(crate) equal: u64,
    /// Requests that could not be sent, with the reasons.
    pub(crate) unsent: BTreeMap<String, u64>,
    /// Requests that say masked values.
    pub(crate) masked: u64,
    /// What differs.
    pub(crate) findings: Vec<Finding>,
    /// What differed and could neither be proven nor refuted.
    pub(crate) unproven: Vec<Finding>,
    /// Kinds of requests that take longer, with the medians.
    pub(crate) slower: Vec<(String, Duration, Duration)>,
    /// Places that are noise.
    pub(crate) noise: usize,
    /// Sessions that were sent again.
    pub(crate) repeated: u64,
    /// The values that each session's answers gave: the recorded value, the exchange, the place.
    pub(super) origins: BTreeMap<usize, Vec<(String, usize, Source)>>,
}

/// What one request brought, in the order of the lanes.
struct Step {
    index: usize,
    masked: bool,
    lanes: Vec<Result<Seen, String>>,
}

enum Message {
    Step(Box<Step>),
    End { session: usize, origins: Vec<(String, usize, Source)> },
}

/// Replays.
///
/// # Errors
/// `Interrupted` or `Terminated` when the process was asked to end.
pub(crate) async fn run(plan: Plan, stop: &StopSignal, mut look: impl FnMut(u64)) -> Result<Report> {
    let plan = Arc::new(plan);
    let mut report = Report::default();
    let mut judge = Judge { plan: Arc::clone(&plan), evidence: Evidence::default(), differing: Vec::new() };
    let all: Vec<(usize, usize)> =
        plan.sessions.iter().enumerate().map(|(number, session)| (number, session.len())).collect();
    pass(&plan, &all, plan.speed, stop, |message| {
        match message {
            Message::Step(step) => judge.first(&mut report, &step),
            Message::End { session, origins } => drop(report.origins.insert(session, origins)),
        }
        look(report.sent);
    })
    .await?;
    if plan.against.is_some() {
        repeat(&plan, &mut judge, &mut report, stop, &mut look).await?;
    }
    judge.conclude(&mut report);
    Ok(report)
}

/// Sends sessions that showed something again, until it is proven or refuted.
async fn repeat(
    plan: &Arc<Plan>,
    judge: &mut Judge,
    report: &mut Report,
    stop: &StopSignal,
    look: &mut impl FnMut(u64),
) -> Result<()> {
    for _ in 0..plan.rounds {
        let mut wanted: BTreeMap<usize, usize> = BTreeMap::new();
        for index in judge.evidence.open().filter_map(|(_, seen)| seen.first.as_ref().map(|first| first.0)) {
            let place =
                plan.sessions.iter().enumerate().find_map(|(number, session)| {
                    session.iter().position(|it| *it == index).map(|at| (number, at + 1))
                });
            if let Some((session, length)) = place {
                let longest = wanted.entry(session).or_default();
                *longest = (*longest).max(length);
            }
        }
        if wanted.is_empty() {
            break;
        }
        let wanted: Vec<(usize, usize)> = wanted.into_iter().collect();
        report.repeated += wanted.len() as u64;
        let sent = report.sent;
        pass(plan, &wanted, None, stop, |message| {
            if let Message::Step(step) = message {
                judge.again(&step);
            }
            look(sent);
        })
        .await?;
    }
    Ok(())
}

/// Sends the beginnings of sessions once, and hands over what comes back.
async fn pass(
    plan: &Arc<Plan>,
    sessions: &[(usize, usize)],
    speed: Option<f64>,
    stop: &StopSignal,
    mut take: impl FnMut(Message),
) -> Result<()> {
    let (sender, mut messages) = mpsc::channel(WAITING_MAX);
    let room = Arc::new(Semaphore::new(plan.concurrency));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    let first = plan.recording.exchanges.first().map_or(0, |exchange| exchange.at_us);
    let mut waiting = sessions.iter();
    let mut next = waiting.next();
    let mut sender = Some(sender);
    loop {
        if next.is_none() {
            sender = None;
        }
        if let Some(code) = stop.raised() {
            return Err(Fault::new(code, "The replay was interrupted."));
        }
        let admitted = async {
            match next {
                Some(_) => Arc::clone(&room).acquire_owned().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => take(message),
                None => return Ok(()),
            },
            place = admitted => {
                if let (Some((session, length)), Some(sender)) = (next, &sender) {
                    let pace = speed.map(|speed| (begun, first, speed));
                    let task = one(Arc::clone(plan), *session, *length, pace, sender.clone());
                    tasks.spawn(async move {
                        task.await;
                        drop(place);
                    });
                }
                next = waiting.next();
            }
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
}

/// One session from its beginning.
async fn one(
    plan: Arc<Plan>,
    number: usize,
    length: usize,
    pace: Option<(Instant, u64, f64)>,
    sender: mpsc::Sender<Message>,
) {
    let doubled = plan.learn || plan.against.is_some();
    let arms: Vec<&Arc<Arm>> = match &plan.against {
        Some(against) => vec![&plan.to, &plan.to, against, against],
        None if doubled => vec![&plan.to, &plan.to],
        None => vec![&plan.to],
    };
    let mut memories = vec![Memory::default(); arms.len()];
    for index in plan.sessions[number].iter().take(length).copied() {
        let exchange = &plan.recording.exchanges[index];
        if let Some((begun, first, speed)) = pace {
            let after = Duration::from_micros(exchange.at_us - first).as_secs_f64() / speed;
            sleep_until(begun + Duration::from_secs_f64(after)).await;
        }
        let masked = still_masked(&exchange.request, &memories[0], &plan.rules);
        let send = |lane: usize| arms[lane].send(&exchange.request, &memories[lane], &plan.rules);
        let lanes = match arms.len() {
            1 => vec![send(0).await],
            2 => vec![send(0).await, send(1).await],
            // Both versions see the same, in the same order: first their first lanes, then their second.
            _ => {
                let (first, third) = tokio::join!(send(0), send(2));
                let (second, fourth) = tokio::join!(send(1), send(3));
                vec![first, second, third, fourth]
            }
        };
        for (memory, seen) in memories.iter_mut().zip(&lanes) {
            if let Ok(seen) = seen {
                memory.learn(index, exchange, seen, &plan.rules.captures);
            }
        }
        if sender.send(Message::Step(Box::new(Step { index, masked, lanes }))).await.is_err() {
            return;
        }
    }
    let origins = memories[0].origins().map(|(value, index, source)| (value.to_owned(), index, source.clone()));
    let end = Message::End { session: number, origins: origins.collect() };
    // Nobody listens any more when the replay was interrupted.
    drop(sender.send(end).await);
}

/// Compares what comes back.
struct Judge {
    plan: Arc<Plan>,
    evidence: Evidence,
    /// The places in which each request differed.
    differing: Vec<(usize, Vec<Spot>)>,
}

impl Judge {
    fn first(&mut self, report: &mut Report, step: &Step) {
        report.masked += u64::from(step.masked);
        if let Some(Err(why)) = step.lanes.first()
            && why.contains("not kept in the recording")
        {
            *report.unsent.entry(why.clone()).or_default() += 1;
            return;
        }
        let spots = self.again(step);
        report.sent += 1;
        if spots.is_empty() { report.equal += 1 } else { self.differing.push((step.index, spots)) }
    }

    /// Adds a request to the evidence; the places in which it differed.
    fn again(&mut self, step: &Step) -> Vec<Spot> {
        let exchange = &self.plan.recording.exchanges[step.index];
        let route = route::of(&exchange.request);
        let (within, between) = if self.plan.against.is_some() {
            if let (Some(Ok(before)), Some(Ok(after))) = (step.lanes.first(), step.lanes.get(2)) {
                self.evidence.took(&route, before.took, after.took);
            }
            (self.compared(&step.lanes, 0, 1), self.compared(&step.lanes, 0, 2))
        } else {
            let within = if step.lanes.len() > 1 { self.compared(&step.lanes, 0, 1) } else { Vec::new() };
            (within, self.with_recording(step))
        };
        let keep = |all: Vec<Difference>| -> Vec<Difference> {
            all.into_iter().filter(|it| !self.plan.rules.ignores(&route, &it.place)).collect()
        };
        let (within, between) = (keep(within), keep(between));
        self.evidence.add(&route, step.index, &within, &between);
        let spots: BTreeSet<Spot> = between.iter().map(|it| (route.clone(), it.place.clone(), it.way)).collect();
        spots.into_iter().collect()
    }

    fn compared(&self, lanes: &[Result<Seen, String>], one: usize, other: usize) -> Vec<Difference> {
        let arm = |lane: usize| if lane < 2 { Some(&self.plan.to) } else { self.plan.against.as_ref() };
        let side = |lane: usize| {
            let authority = arm(lane).map(|arm| arm.authority.as_str()).unwrap_or_default();
            lanes.get(lane).map(|seen| seen.as_ref().map_or_else(|why| broken(why), |seen| neutral(seen, authority)))
        };
        match (side(one), side(other)) {
            (Some(before), Some(after)) => differences(&before, &after),
            _ => Vec::new(),
        }
    }

    /// How the live answer differs from the recorded one. Between the two time has passed, and values that are made up
    /// each time differ: those are no differences.
    fn with_recording(&self, step: &Step) -> Vec<Difference> {
        let exchange = &self.plan.recording.exchanges[step.index];
        let Some(recorded) = Seen::recorded(exchange) else { return Vec::new() };
        let host =
            exchange.request.headers.iter().find(|(name, _)| name == "host").map_or("", |(_, value)| value.as_str());
        let origin = self.plan.recording.opening.to.rsplit("://").next().unwrap_or_default();
        let recorded = neutral(&neutral(&recorded, host), origin);
        let live = match &step.lanes[0] {
            Ok(seen) => neutral(&neutral(seen, &self.plan.to.authority), host),
            Err(why) => broken(why),
        };
        let mut found = differences(&recorded, &live);
        found.retain(|it| !made_anew(it));
        found
    }

    fn conclude(self, report: &mut Report) {
        let two = self.plan.against.is_some();
        let finding = |(spot, seen): (&Spot, &super::evidence::Seen)| {
            let (index, difference) = seen.first.clone()?;
            let (route, place, way) = spot.clone();
            let Difference { pointer, before, after, .. } = difference;
            Some(Finding { route, place, way, times: seen.between, index, pointer, before, after })
        };
        let spots = &self.evidence.spots;
        // Against a recording there is only one sample of the past: what never differs by itself is a difference.
        let single = |seen: &super::evidence::Seen| seen.between > 0 && seen.within == 0 && seen.both == 0;
        let found: Vec<(&Spot, &super::evidence::Seen)> =
            if two { self.evidence.found().collect() } else { spots.iter().filter(|(_, seen)| single(seen)).collect() };
        let proven: BTreeSet<&Spot> = found.iter().map(|(spot, _)| *spot).collect();
        report.findings = found.iter().copied().filter_map(finding).take(FINDINGS_MAX).collect();
        if two {
            report.unproven = self.evidence.open().filter_map(finding).take(FINDINGS_MAX).collect();
            report.slower = self.evidence.slower();
        }
        report.noise = spots.len() - proven.len() - report.unproven.len();
        let only_noise = |spots: &Vec<Spot>| !spots.iter().any(|spot| proven.contains(spot));
        report.equal += self.differing.iter().filter(|(_, spots)| only_noise(spots)).count() as u64;
        report.findings.sort_by_key(|finding| finding.index);
    }
}

/// No answer, as an answer that can be compared.
fn broken(why: &str) -> Seen {
    Seen { status: 0, body: why.as_bytes().to_vec(), ..Seen::default() }
}

/// An answer in which a server's own address is left open.
fn neutral(seen: &Seen, authority: &str) -> Seen {
    let mut seen = seen.clone();
    if authority.is_empty() {
        return seen;
    }
    for (_, value) in &mut seen.headers {
        if value.contains(authority) {
            *value = value.replace(authority, "{host}");
        }
    }
    if let Ok(text) = std::str::from_utf8(&seen.body)
        && text.contains(authority)
    {
        seen.body = text.replace(authority, "{host}").into_bytes();
    }
    seen
}

/// Whether a value is one that a server makes up anew: a moment, a token, an id, a masked secret, a cookie's value.
fn made_anew(difference: &Difference) -> bool {
    if difference.way != super::compare::Way::Value {
        return false;
    }
    let (before, after) = (difference.before.trim_matches('"'), difference.after.trim_matches('"'));
    match &difference.place {
        Place::Status => false,
        Place::Header(name) if name.starts_with("set-cookie") => true,
        Place::Header(name) if name == "etag" || name == "last-modified" => true,
        Place::Header(name) if name == "location" => route::name("", before) == route::name("", after),
        Place::Json(place) if names_id(place.rsplit('/').next().unwrap_or_default()) => true,
        Place::Body => before.contains("masked-"),
        _ => are_times(before, after) || before.starts_with("masked-") || (is_token(before) && is_token(after)),
    }
}
