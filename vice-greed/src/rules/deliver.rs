//! From the queue to the world. An effect is claimed in the log before it is carried out and settled in the log
//! afterwards; whoever is killed in between leaves a claim that another process takes over when it is old. What reaches
//! beyond the log can therefore happen twice after a kill, and carries the same key each time; what is told by `notify`
//! is taken by the outbox once for each key.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use vice_core::app::App;
use vice_core::event::{Event, Recorded};
use vice_core::port::command::{CommandSpec, EnvValue};
use vice_core::port::notifier::Notice;
use vice_core::secret::Masker;
use vice_core::store::{Append, Query};
use vice_core::text::sanitize;
use vice_core::{Class, Code, Fault, Millis, Result, Secret};

use super::effect::{Cause, Effect};
use super::payload::{Claimed, DeadLetter, Done, Failed, GivenUp, Queued, dead_stream};
use super::pump::{Engine, Pumped};
use super::state::{ATTEMPTS_MAX, backoff};
use crate::emit;

/// So many effects are carried out in one pump at most.
const EFFECTS_MAX: usize = 200;

/// So many rules are served at once: a receiver that hangs must not hold up the others.
const RULES_AT_ONCE: usize = 8;

/// How much longer than the effect itself a claim holds.
const CLAIM_SPARE: Millis = Millis::from_secs(60);

/// The longest answer or reason that is stored, in characters.
const WORDS_MAX: usize = 300;

/// Why an effect was not carried out.
pub(crate) struct Trouble {
    pub(crate) reason: String,
    /// Whether trying again is pointless.
    pub(crate) permanent: bool,
    /// How long the receiver asked to be left alone.
    pub(crate) retry_after: Option<Millis>,
}

impl Trouble {
    pub(crate) fn retry(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), permanent: false, retry_after: None }
    }

    pub(crate) fn permanent(reason: impl Into<String>) -> Self {
        Self { permanent: true, ..Self::retry(reason) }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        let permanent = matches!(fault.class(), Class::Usage | Class::InDoubt);
        Self { permanent, ..Self::retry(fault.chain().join(" ")) }
    }
}

/// An effect that this process may carry out now.
struct Job {
    queued: Queued,
    attempt: u32,
}

impl Engine {
    /// Carries out what is due, each rule in order; a rule whose effect fails waits with the rest.
    pub(crate) async fn deliver(&mut self, deadline: Timestamp) -> Result<Pumped> {
        let mut pumped = Pumped::default();
        self.refresh().await?;
        let mut queues: Vec<_> = self
            .state
            .ready(self.app.clock.now(), EFFECTS_MAX)
            .into_values()
            .map(std::collections::VecDeque::from)
            .collect();
        while !queues.is_empty() && self.app.clock.now() < deadline && self.app.stop.raised().is_none() {
            let mut jobs = Vec::new();
            for queue in queues.iter_mut().take(RULES_AT_ONCE) {
                let Some(key) = queue.pop_front() else { continue };
                jobs.extend(self.claim(&key).await?);
            }
            let sent = stream::iter(jobs.into_iter().map(|job| carry_out(self, job)));
            let outcomes: Vec<(Job, Result<String, Trouble>)> = sent.buffer_unordered(RULES_AT_ONCE).collect().await;
            for (job, outcome) in outcomes {
                let rule = job.queued.rule.clone();
                let failed = outcome.is_err();
                pumped += self.settle(job, outcome).await?;
                if failed {
                    queues.retain(|queue| !self.belongs(queue.front(), &rule));
                }
            }
            queues.retain(|queue| !queue.is_empty());
        }
        Ok(pumped)
    }

    fn belongs(&self, key: Option<&String>, rule: &str) -> bool {
        key.and_then(|key| self.state.pending.get(key)).is_some_and(|pending| pending.queued.rule == rule)
    }

    /// Claims an effect, if it still waits and nobody else has it.
    async fn claim(&mut self, key: &str) -> Result<Option<Job>> {
        loop {
            let now = self.app.clock.now();
            let Some(pending) = self.state.pending.get(key).filter(|pending| pending.ready(now)) else {
                return Ok(None);
            };
            let (queued, attempts) = (pending.queued.clone(), pending.attempts);
            // Processes that died of it again and again are as good as failures.
            if attempts >= 2 * ATTEMPTS_MAX {
                let trouble =
                    Trouble::permanent("Every process that tried it ended before it could say how that went.");
                self.settle(Job { queued, attempt: attempts }, Err(trouble)).await?;
                return Ok(None);
            }
            let until = Millis(queued.effect.timeout().0.saturating_add(CLAIM_SPARE.0)).after(now);
            let by = format!("{}/{}", self.app.env.host, std::process::id());
            let claimed = Claimed { key: key.to_owned(), attempt: attempts + 1, by, until };
            let event = self.own_event(&self.stream, &claimed)?;
            if self.append(vec![event]).await? {
                return Ok(Some(Job { queued, attempt: attempts + 1 }));
            }
        }
    }

    /// Stores what came of an attempt.
    async fn settle(&mut self, job: Job, outcome: Result<String, Trouble>) -> Result<Pumped> {
        let Job { queued: Queued { key, rule, cause, effect }, attempt } = job;
        let mut pumped = Pumped::default();
        let events: Vec<Event> = match outcome {
            Ok(answer) => {
                pumped.done = 1;
                vec![self.own_event(&self.stream, &Done { key, answer: shorten(&answer) })?]
            }
            Err(trouble) if trouble.permanent || attempt >= ATTEMPTS_MAX => {
                pumped.dead = 1;
                let given_up = self.own_event(&self.stream, &GivenUp { key: key.clone() })?;
                let reason = shorten(&trouble.reason);
                let letter = DeadLetter { key, rule, cause, effect: Some(effect), attempts: attempt, reason };
                vec![given_up, self.own_event(&dead_stream(self.project.name()), &letter)?]
            }
            Err(trouble) => {
                let wait = backoff(attempt).max(trouble.retry_after.unwrap_or_default());
                let retry_at = wait.after(self.app.clock.now());
                let failed = Failed { key, attempt, reason: shorten(&trouble.reason), retry_at };
                vec![self.own_event(&self.stream, &failed)?]
            }
        };
        // Without a condition: what happened has happened, whatever others appended meanwhile.
        self.app.events.append(Append::of(events)).await?;
        self.refresh().await?;
        Ok(pumped)
    }
}

fn shorten(text: &str) -> String {
    sanitize(text).chars().take(WORDS_MAX).collect()
}

async fn carry_out(engine: &Engine, job: Job) -> (Job, Result<String, Trouble>) {
    let done = async {
        let cause = event_of(&engine.app, &job.queued.cause).await?;
        act(engine, &job.queued, &cause).await
    };
    let done = done.await;
    (job, done)
}

/// The event at a place in the log, if it is still the one that is meant.
pub(crate) async fn event_at(app: &App, seq: u64, id: &str) -> Result<Option<Recorded>> {
    let query = Query { after: seq.saturating_sub(1), limit: 1, ..Query::default() };
    let found = app.events.read(&query).await?.into_iter().next();
    Ok(found.filter(|recorded| recorded.seq == seq && recorded.event.id == id))
}

async fn event_of(app: &App, cause: &Cause) -> Result<Recorded, Trouble> {
    let found = event_at(app, cause.seq, &cause.id).await?;
    found.ok_or_else(|| Trouble::permanent("The event that caused it is not in the history any more."))
}

async fn act(engine: &Engine, queued: &Queued, cause: &Recorded) -> Result<String, Trouble> {
    let app = &engine.app;
    match &queued.effect {
        Effect::Notify { title, body, to, severity } => {
            let notice = Notice {
                key: queued.key.clone(),
                project: engine.project.clone(),
                scope: cause.event.scope.clone(),
                severity: *severity,
                title: title.clone(),
                body: body.clone(),
                time: cause.event.time,
                channels: to.clone(),
            };
            // Whoever is told takes it durably; delivering it is not the rules' business any more.
            let told = app.notifier.notify(notice).await?;
            let channels: Vec<&str> = told.iter().map(|delivery| delivery.channel.as_str()).collect();
            Ok(format!("told {}", channels.join(", ")))
        }
        Effect::Action { name, input, timeout } => {
            let Some(action) = app.actions.get(name.as_str()) else {
                return Err(Trouble::permanent(format!("There is no action {name:?}.")));
            };
            match tokio::time::timeout(timeout.as_duration(), action.run(input.clone())).await {
                Ok(done) => Ok(done.map(|output| output.to_string())?),
                Err(_) => Err(Trouble::permanent(format!(
                    "The action {name} did not end within {timeout}; what it did is not known."
                ))),
            }
        }
        Effect::Command { argv, timeout } => command(engine, queued, cause, argv, *timeout).await,
        Effect::Emit { url, mode, token, env } => {
            let token = match token {
                Some(token) => Some(crate::secrets::get(app, &engine.project, env.as_ref(), token, "a rule").await?),
                None => None,
            };
            emit::send(app, emit::Target { url, mode: *mode, token: token.as_ref() }, cause, &queued.key).await
        }
    }
}

async fn command(
    engine: &Engine,
    queued: &Queued,
    cause: &Recorded,
    argv: &[String],
    timeout: Millis,
) -> Result<String, Trouble> {
    let mut spec = CommandSpec::new(argv.to_vec(), engine.project.root.clone(), timeout);
    let plain = |text: &str| EnvValue::Plain(text.to_owned());
    let mut env = BTreeMap::from([
        ("VICE_PROJECT".to_owned(), plain(engine.project.name().as_str())),
        ("VICE_RULE".to_owned(), plain(&queued.rule)),
        ("VICE_EVENT_KEY".to_owned(), plain(&queued.key)),
    ]);
    if let Some(scope) = &cause.event.scope {
        env.insert("VICE_ENV".to_owned(), plain(scope.env.as_str()));
    }
    spec.env = env;
    spec.masker = Masker::default();
    spec.stdin = Some(Secret::new(cause.event.to_cloudevent()?.to_string()));
    let output = match engine.app.runner.run(spec).await {
        Ok(output) => output,
        // A program that is missing today may be there tomorrow, but not within the patience of a queue.
        Err(fault) if fault.code() == Code::Usage => return Err(Trouble::permanent(fault.to_string())),
        Err(fault) => return Err(fault.into()),
    };
    if output.ok() {
        return Ok(output.stdout.lines().next().unwrap_or("ended well").to_owned());
    }
    Err(Trouble::retry(format!("{} failed: {}", argv.first().map_or("", String::as_str), output.failure())))
}
