//! From events to what follows from them: other events, effects that will wait, results of windows. Pure: the same events
//! after the same state give the same, so that it serves the log and a trial alike.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value};
use vice_core::app::App;
use vice_core::event::{Actor, Event, Head, Payload as _, Recorded};
use vice_core::{Code, Context as _, Fault, Result};

use super::cel::Stop;
use super::deliver::event_at;
use super::effect::{Cause, Effect, HOPS_MAX, hops, key};
use super::payload::{DeadLetter, Queued, WindowClosed};
use super::rule::{Input, Rule, Then};
use super::ruleset::{RULE_SOURCE, Ruleset, Verdict};
use super::view::EventView;
use crate::window::{Arrival, Cell, Looked, Panes, WindowRule};
use vice_core::manifest::Measure;

/// What a rule did with an event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Firing {
    pub(crate) rule: String,
    pub(crate) cause: Cause,
    pub(crate) key: String,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// An event to be stored.
    Made(Box<Event>),
    /// An effect that will wait.
    Effect(Effect),
    /// No later rule saw it.
    Dropped,
    /// It was counted in a window.
    Counted,
    /// It was too late for its window; kept, where the rule says so.
    Late(Option<Box<Event>>),
    /// The rule was stopped.
    Stopped(String),
    /// The condition has no answer.
    Unclear(String),
}

/// Goes through events in the order of the log.
pub(crate) struct Planner<'r> {
    rules: &'r Ruleset,
    pub(crate) panes: BTreeMap<String, Panes>,
    /// Milliseconds since 1970.
    pub(crate) watermark: i64,
    pub(crate) firings: Vec<Firing>,
    /// Cells that changed, by rule.
    pub(crate) touched: BTreeMap<String, BTreeSet<(i64, String)>>,
    /// Results of windows, with the cells that they close.
    pub(crate) closed: Vec<(String, i64, String, Event)>,
    /// Whether what is unclear and counted is noted as well.
    verbose: bool,
}

impl<'r> Planner<'r> {
    pub(crate) fn new(rules: &'r Ruleset, panes: BTreeMap<String, Panes>, watermark: i64, verbose: bool) -> Self {
        let (firings, touched, closed) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { rules, panes, watermark, firings, touched, closed, verbose }
    }

    /// Takes in an event. A time in the future does not move the watermark.
    pub(crate) fn take(&mut self, recorded: &Recorded, now: Timestamp) -> Result<()> {
        let (rules, event) = (self.rules, &recorded.event);
        if !rules.concerns(event) {
            return Ok(());
        }
        let view = EventView::new(event);
        self.result_of_window(recorded, &view)?;
        let mut judged = Vec::new();
        rules.judge(event, &view, |rule, verdict| judged.push((rule, verdict)));
        for (rule, verdict) in judged {
            self.judged(rule, verdict, recorded, &view)?;
        }
        self.watermark = self.watermark.max(event.time.min(now).as_millisecond());
        Ok(())
    }

    /// Everything up to now was read: nothing earlier is expected but what is late.
    pub(crate) fn caught_up(&mut self, now: Timestamp) {
        self.watermark = self.watermark.max(now.as_millisecond());
    }

    fn fire(&mut self, rule: &Rule, recorded: &Recorded, outcome: Outcome) {
        let key = self.key(rule, &recorded.event);
        self.firings.push(Firing { rule: rule.name.clone(), cause: Cause::of(recorded), key, outcome });
    }

    fn key(&self, rule: &Rule, event: &Event) -> String {
        key(self.rules.project.as_str(), &rule.name, &[&event.source, &event.id])
    }

    fn judged(&mut self, rule: &Rule, verdict: Verdict, recorded: &Recorded, view: &EventView<'_>) -> Result<()> {
        match (verdict, &rule.window) {
            (Verdict::No, _) => {}
            (Verdict::Unclear(why), _) => {
                if self.verbose {
                    self.fire(rule, recorded, Outcome::Unclear(why));
                }
            }
            (Verdict::Stopped(why), _) => self.fire(rule, recorded, Outcome::Stopped(why)),
            (Verdict::Fits, Some(window)) => self.count(rule, window, recorded, view)?,
            (Verdict::Fits, None) => self.act(rule, recorded, view)?,
        }
        Ok(())
    }

    /// The result of one of our windows: what the rule does with it.
    fn result_of_window(&mut self, recorded: &Recorded, view: &EventView<'_>) -> Result<()> {
        if recorded.event.kind != WindowClosed::KIND {
            return Ok(());
        }
        let maker = self.rules.maker_of(&recorded.event);
        let Some((rule, window)) = maker.and_then(|rule| Some((rule, rule.window.as_ref()?))) else { return Ok(()) };
        match window.having.as_ref().map_or(Ok(true), |having| having.holds(view)) {
            Ok(true) => self.act(rule, recorded, view)?,
            Ok(false) => {}
            Err(stop @ Stop::Cost) => self.fire(rule, recorded, Outcome::Stopped(stop.to_string())),
            Err(stop) if self.verbose => self.fire(rule, recorded, Outcome::Unclear(stop.to_string())),
            Err(_) => {}
        }
        Ok(())
    }

    fn act(&mut self, rule: &Rule, recorded: &Recorded, view: &EventView<'_>) -> Result<()> {
        let outcome = self.outcome(rule, recorded, view)?;
        self.fire(rule, recorded, outcome);
        Ok(())
    }

    /// What a rule makes of an event that fits.
    pub(crate) fn outcome(&self, rule: &Rule, recorded: &Recorded, view: &EventView<'_>) -> Result<Outcome> {
        let hops = hops(&recorded.event);
        if hops >= HOPS_MAX && !matches!(rule.then, Then::Drop) {
            return Ok(Outcome::Stopped(format!(
                "the event has come through {HOPS_MAX} rules already: they form a circle"
            )));
        }
        Ok(match &rule.then {
            Then::Drop => Outcome::Dropped,
            Then::Store { stream } => {
                let stream = format!("kept/{}/{stream}", self.rules.project);
                Outcome::Made(Box::new(self.copy(rule, &recorded.event, stream, hops)))
            }
            Then::Transform { kind, subject, data } => {
                let made = Made { kind, subject: subject.as_ref().map(|subject| subject.line(view)), data };
                match self.transformed(rule, &recorded.event, made, view) {
                    Ok(event) => event,
                    Err(stop) => Outcome::Stopped(stop.to_string()),
                }
            }
            Then::Notify { title, body, to, severity } => Outcome::Effect(Effect::Notify {
                title: title.line(view),
                body: body.as_ref().map(|body| body.fill(view)).unwrap_or_default(),
                to: to.clone(),
                severity: *severity,
            }),
            Then::Action { name, with, timeout } => {
                let filled = with.iter().map(|(key, input)| (key.clone(), input.fill(view)));
                let input = Value::Object(filled.collect::<Map<_, _>>());
                Outcome::Effect(Effect::Action { name: name.clone(), input, timeout: *timeout })
            }
            Then::Command { argv, timeout } => {
                Outcome::Effect(Effect::Command { argv: argv.clone(), timeout: *timeout })
            }
            Then::Emit { url, mode, token, env } => {
                Outcome::Effect(Effect::Emit { url: url.clone(), mode: *mode, token: token.clone(), env: env.clone() })
            }
        })
    }

    fn source(&self, rule: &Rule) -> String {
        format!("{RULE_SOURCE}{}/{}", self.rules.project, rule.name)
    }

    /// The same event in another stream, as something that the rule made.
    fn copy(&self, rule: &Rule, event: &Event, stream: String, hops: u32) -> Event {
        Event {
            id: format!("r{}-{}", hops + 1, self.key(rule, event)),
            source: self.source(rule),
            stream,
            actor: Actor::system(&format!("rule/{}", rule.name)),
            ..event.clone()
        }
    }

    fn transformed<'a>(
        &self,
        rule: &Rule,
        event: &Event,
        made: Made<'a>,
        view: &'a EventView<'_>,
    ) -> Result<Outcome, Stop<'a>> {
        let stream = format!("derived/{}/{}", self.rules.project, rule.name);
        let mut copy = self.copy(rule, event, stream, hops(event));
        copy.kind = made.kind.to_owned();
        copy.subject = made.subject.unwrap_or(copy.subject);
        if !made.data.is_empty() {
            let pair = |(key, cel): &'a (String, super::cel::Cel)| Ok((key.clone(), cel.value(view)?.to_json()));
            let data = made.data.iter().map(pair).collect::<Result<Map<_, _>, Stop<'a>>>()?;
            copy.data = Value::Object(data).to_string();
        }
        // Values come from outside and may be of any size.
        Ok(match copy.check() {
            Ok(()) => Outcome::Made(Box::new(copy)),
            Err(fault) => Outcome::Stopped(fault.to_string()),
        })
    }

    /// Counts an event in the windows of a rule.
    fn count(&mut self, rule: &Rule, window: &WindowRule, recorded: &Recorded, view: &EventView<'_>) -> Result<()> {
        let arrival = match arrival(window, &recorded.event, view) {
            Ok(arrival) => arrival,
            Err(stop @ Stop::Cost) => {
                self.fire(rule, recorded, Outcome::Stopped(stop.to_string()));
                return Ok(());
            }
            Err(stop) => {
                if self.verbose {
                    self.fire(rule, recorded, Outcome::Unclear(stop.to_string()));
                }
                return Ok(());
            }
        };
        let panes = self.panes.entry(rule.name.clone()).or_default();
        let added = panes.add(&window.meter, &arrival, self.watermark);
        self.touched.entry(rule.name.clone()).or_default().extend(added.cells);
        if added.late {
            let stream = format!("late/{}/{}", self.rules.project, rule.name);
            let kept = window.keep_late.then(|| self.copy(rule, &recorded.event, stream, hops(&recorded.event)));
            self.fire(rule, recorded, Outcome::Late(kept.map(Box::new)));
        } else if self.verbose {
            self.fire(rule, recorded, Outcome::Counted);
        }
        Ok(())
    }

    /// Makes the results of the windows that are closed now.
    pub(crate) fn close(&mut self) -> Result<()> {
        let rules = self.rules;
        for rule in &rules.rules {
            let (Some(window), Some(panes)) = (&rule.window, self.panes.get_mut(&rule.name)) else { continue };
            for (start, key) in panes.closed(&window.meter, self.watermark) {
                let Some(cell) = panes.cell(start, &key).cloned() else { continue };
                let late = panes.late;
                panes.remove(start, &key);
                let event = result(rules, rule, window, (start, &key), &cell, late)?;
                if let Some(touched) = self.touched.get_mut(&rule.name) {
                    touched.remove(&(start, key.clone()));
                }
                self.closed.push((rule.name.clone(), start, key, event));
            }
        }
        Ok(())
    }
}

/// What a transformation makes.
struct Made<'a> {
    kind: &'a str,
    subject: Option<String>,
    data: &'a [(String, super::cel::Cel)],
}

impl Input {
    fn fill(&self, view: &EventView<'_>) -> Value {
        match self {
            Self::Text(template) => Value::from(template.fill(view)),
            Self::Fixed(value) => value.clone(),
        }
    }
}

fn arrival<'a>(window: &'a WindowRule, event: &Event, view: &'a EventView<'_>) -> Result<Arrival, Stop<'a>> {
    let key = window.key.as_ref().map(|key| key.value(view)).transpose()?.map(|key| key.show()).unwrap_or_default();
    let of = window.of.as_ref().map(|of| of.value(view)).transpose()?;
    let looked = match (of, window.meter.measure) {
        (Some(of), Measure::Quantile) => Looked::Number(of.number().ok_or(Stop::Wrong("`of` is no number"))?),
        (Some(of), _) => Looked::Text(of.to_json().to_string()),
        (None, _) => Looked::Nothing,
    };
    Ok(Arrival::new(&key, event.time.as_millisecond(), looked, hops(event)))
}

/// The event with the result of a window. Its id follows from the rule, the key and the beginning.
fn result(
    rules: &Ruleset,
    rule: &Rule,
    window: &WindowRule,
    (start, cell_key): (i64, &str),
    cell: &Cell,
    late: u64,
) -> Result<Event> {
    let moment = |millis: i64| Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    let meter = &window.meter;
    let payload = WindowClosed {
        rule: rule.name.clone(),
        key: cell_key.to_owned(),
        start: moment(start),
        end: moment(start.saturating_add(meter.size)),
        measure: meter.measure,
        value: cell.value(meter),
        exact: cell.is_exact(meter),
        count: cell.count,
        late,
    };
    let id = key(rules.project.as_str(), &rule.name, &["window", &start.to_string(), cell_key]);
    let head = Head {
        id: format!("r{}-{id}", cell.hops + 1),
        time: payload.end,
        stream: format!("window/{}/{}", rules.project, rule.name),
        scope: None,
        actor: Actor::system(&format!("rule/{}", rule.name)),
        chain_id: None,
    };
    let mut event = Event::new(head, &payload)?;
    event.source = format!("{RULE_SOURCE}{}/{}", rules.project, rule.name);
    // The two sources of a CDEvent are one.
    let mut data: Value =
        serde_json::from_str(&event.data).context(Code::Internal, || "A window's result is no JSON.".to_owned())?;
    data["context"]["source"] = Value::from(event.source.as_str());
    event.data = data.to_string();
    Ok(event)
}

/// What the rule of a dead letter makes of its event now, as events to append.
pub(crate) async fn again(app: &App, rules: &Ruleset, letter: &DeadLetter) -> Result<Vec<Event>> {
    let stopped = |why: String| {
        let fault = Fault::new(Code::Usage, format!("The rule {} is still stopped: {why}.", letter.rule));
        fault.hint("Change its condition in vice.toml, or drop the letter with `vice greed dead drop`.")
    };
    let found = event_at(app, letter.cause.seq, &letter.cause.id).await?;
    let recorded = found.ok_or_else(|| stopped("its event is not in the history any more".to_owned()))?;
    let rule = rules.rule(&letter.rule).ok_or_else(|| stopped("it does not exist any more".to_owned()))?;
    let view = EventView::new(&recorded.event);
    match rule.verdict(&view) {
        Verdict::Fits if rule.window.is_none() => {}
        Verdict::Fits => return Err(stopped("it counts in a window that has been closed".to_owned())),
        Verdict::Stopped(why) => return Err(stopped(why)),
        Verdict::No | Verdict::Unclear(_) => return Ok(Vec::new()),
    }
    let planner = Planner::new(rules, BTreeMap::new(), i64::MIN, false);
    match planner.outcome(rule, &recorded, &view)? {
        Outcome::Made(event) => Ok(vec![*event]),
        Outcome::Effect(effect) => {
            let (key, cause) = (letter.key.clone(), letter.cause.clone());
            let queued = Queued { key, rule: letter.rule.clone(), cause, effect };
            Ok(vec![app.event(super::payload::rules_stream(&rules.project), None, &queued)?])
        }
        Outcome::Stopped(why) => Err(stopped(why)),
        _ => Ok(Vec::new()),
    }
}
