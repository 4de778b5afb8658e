//! From the outbox to the receivers. A message is claimed in the log before it is sent and settled in the log
//! afterwards; whoever is killed in between leaves a claim that another process takes over when it is old.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use vice_core::event::Event;
use vice_core::store::{Append, Expected};
use vice_core::{Code, Result};

use crate::channel::{self, SendError, Tools};
use crate::message::Message;
use crate::notify::Lust;
use crate::outbox::{ATTEMPTS_MAX, Pending, backoff};
use crate::payload::{Attempted, Dead, Delivered, Failed, OUTBOX};
use crate::rules;

/// So many messages go out in one pump at most.
const MESSAGES_MAX: usize = 200;

/// So many channels are served at once: a receiver that hangs must not hold up the others.
const CHANNELS_AT_ONCE: usize = 8;

/// How often a claim is tried again when other processes append to the outbox at the same moment.
const CLAIM_TRIES: usize = 20;

/// A message that this process may send now.
pub(crate) struct Claimed {
    pub(crate) message: Message,
    pub(crate) attempt: u32,
    pub(crate) repeat: bool,
}

/// What became of an attempt.
pub(crate) struct Sent {
    pub(crate) delivered: bool,
    pub(crate) detail: String,
    /// Whether there will be another attempt.
    retry: bool,
}

impl Lust {
    /// Sends what is due, each channel in order, until the deadline; gives how many messages arrived.
    pub(crate) async fn deliver(&self, deadline: Timestamp) -> Result<usize> {
        let groups = self.due().await?;
        let served = stream::iter(groups.into_values().map(|keys| self.deliver_channel(keys, deadline)));
        let counts: Vec<Result<usize>> = served.buffer_unordered(CHANNELS_AT_ONCE).collect().await;
        counts.into_iter().sum()
    }

    /// The keys of due messages by project and channel.
    async fn due(&self) -> Result<BTreeMap<(String, String), Vec<String>>> {
        let mut view = self.view.lock().await;
        self.refresh(&mut view).await?;
        let mut groups: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        let known = |pending: &&Pending| self.parts.workspace.projects.contains_key(&pending.message.project);
        let ready = view.state.ready(self.parts.clock.now());
        for pending in ready.into_iter().filter(known).take(MESSAGES_MAX) {
            let message = &pending.message;
            let group = (message.project.to_string(), message.channel.clone());
            groups.entry(group).or_default().push(message.key.clone());
        }
        Ok(groups)
    }

    async fn deliver_channel(&self, keys: Vec<String>, deadline: Timestamp) -> Result<usize> {
        let mut delivered = 0;
        for key in keys {
            if self.parts.clock.now() >= deadline {
                break;
            }
            let Some(claimed) = self.claim(&key).await? else { continue };
            let sent = self.send(claimed).await?;
            delivered += usize::from(sent.delivered);
            if sent.retry {
                // The receiver is in trouble; the rest of its messages keep their turn for the next pump.
                break;
            }
        }
        Ok(delivered)
    }

    /// Claims a message, if it is still to be sent and nobody else is sending it.
    async fn claim(&self, key: &str) -> Result<Option<Claimed>> {
        for _ in 0..CLAIM_TRIES {
            let mut view = self.view.lock().await;
            self.refresh(&mut view).await?;
            let ready = view.state.pending.get(key).filter(|pending| pending.ready(self.parts.clock.now()));
            let Some(pending) = ready else { return Ok(None) };
            let (event, claimed) = self.next_attempt(pending)?;
            let append = Append::of(vec![event]).expect(OUTBOX, Expected::from_version(view.version));
            match self.parts.events.append(append).await {
                Ok(_) => return Ok(claimed),
                Err(fault) if fault.code() == Code::Conflict => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(None)
    }

    /// The event that claims a message; or that gives it up, when whoever sent it has died of it again and again.
    fn next_attempt(&self, pending: &Pending) -> Result<(Event, Option<Claimed>)> {
        let message = pending.message.clone();
        let (key, scope) = (message.key.clone(), message.scope());
        if pending.attempts >= 2 * ATTEMPTS_MAX {
            let reason = "Every process that sent it ended before it could say how that went.".to_owned();
            return Ok((self.own_event(scope, &Dead { key, attempt: pending.attempts, reason })?, None));
        }
        let attempt = pending.attempts + 1;
        let repeat = pending.possible_repeat || pending.claim.is_some();
        let attempted = Attempted { key, attempt, by: self.instance.clone(), possible_repeat: repeat };
        Ok((self.own_event(scope, &attempted)?, Some(Claimed { message, attempt, repeat })))
    }

    /// Sends a claimed message and stores what came of it.
    pub(crate) async fn send(&self, claimed: Claimed) -> Result<Sent> {
        let outcome = self.try_send(&claimed).await;
        let (event, sent) = self.settle(&claimed, outcome)?;
        // Without a condition: what happened has happened, whatever others appended meanwhile.
        self.parts.events.append(Append::of(vec![event])).await?;
        Ok(sent)
    }

    async fn try_send(&self, claimed: &Claimed) -> Result<String, SendError> {
        let (parts, message) = (&self.parts, &claimed.message);
        let gone = |what: String| SendError::permanent(format!("The {what} does not exist any more."));
        let project = parts.workspace.projects.get(&message.project);
        let project = project.ok_or_else(|| gone(format!("project {}", message.project)))?;
        let spec = rules::channel(project, &message.channel);
        let spec = spec.ok_or_else(|| gone(format!("channel {}", message.channel)))?;
        let tools = Tools {
            clock: &parts.clock,
            ui: &parts.ui,
            env: &parts.env,
            runner: &parts.runner,
            config: &parts.config,
            http: parts.http,
        };
        channel::send(spec, project, &tools, message, claimed.repeat).await
    }

    fn settle(&self, claimed: &Claimed, outcome: Result<String, SendError>) -> Result<(Event, Sent)> {
        let (key, scope, attempt) = (claimed.message.key.clone(), claimed.message.scope(), claimed.attempt);
        match outcome {
            Ok(answer) => {
                let detail = answer.clone();
                let event = self.own_event(scope, &Delivered { key, attempt, answer })?;
                Ok((event, Sent { delivered: true, detail, retry: false }))
            }
            Err(error) if error.permanent || attempt >= ATTEMPTS_MAX => {
                let detail = format!("{} It is given up; `vice lust retry {key}` tries again.", error.reason);
                let event = self.own_event(scope, &Dead { key, attempt, reason: error.reason })?;
                Ok((event, Sent { delivered: false, detail, retry: false }))
            }
            Err(error) => {
                let wait = backoff(attempt).max(error.retry_after.unwrap_or_default());
                let retry_at = wait.after(self.parts.clock.now());
                let detail = format!("{} It stays queued and is tried again in {wait}.", error.reason);
                let failed = Failed { key, attempt, reason: error.reason, uncertain: error.uncertain, retry_at };
                Ok((self.own_event(scope, &failed)?, Sent { delivered: false, detail, retry: true }))
            }
        }
    }
}
