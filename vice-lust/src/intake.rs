//! From the log to the outbox: reads what is new, asks the rules, and stores the messages together with how far it
//! read, in one append under the outbox's version. Two processes that do this at once never queue anything twice.

use std::sync::Arc;

use jiff::Timestamp;
use vice_core::event::Recorded;
use vice_core::manifest::Project;
use vice_core::store::{Append, Expected, Query};
use vice_core::{Code, Result};

use crate::facts;
use crate::message::Message;
use crate::notify::{Lust, View};
use crate::payload::{Advanced, OUTBOX, Queued};
use crate::rules;

/// So many events are looked at for one append.
const PAGE: usize = 500;

/// Without anything to queue the cursor is stored once in so many events: reading this many again takes a few
/// milliseconds, storing it each time would cost every command a write.
const CURSOR_EVERY: u64 = 1_000;

/// What a page of the log asks for.
#[derive(Default)]
struct Found {
    messages: Vec<Message>,
    /// Whether there was anything that a rule could have been about. Then the cursor is stored even if no rule was,
    /// so that a rule written later does not tell old news.
    noteworthy: bool,
}

impl Lust {
    /// Queues what new events ask for.
    pub(crate) async fn intake(&self, deadline: Timestamp) -> Result<()> {
        let mut view = self.view.lock().await;
        while self.parts.clock.now() < deadline {
            if !self.intake_page(&mut view).await? {
                break;
            }
        }
        Ok(())
    }

    /// One page; false when the end of the log was reached.
    async fn intake_page(&self, view: &mut View) -> Result<bool> {
        self.refresh(view).await?;
        let after = view.state.cursor.max(view.seen);
        let page = self.parts.events.read(&Query { after, limit: PAGE, ..Query::default() }).await?;
        let Some(cursor) = page.last().map(|last| last.seq) else { return Ok(false) };
        let found = self.find(&page).await?;
        let quiet = found.messages.is_empty() && !found.noteworthy;
        if !quiet || cursor - view.state.cursor >= CURSOR_EVERY {
            match self.queue(view, found.messages, cursor).await {
                // Another process was faster: see what it has left.
                Err(fault) if fault.code() == Code::Conflict => return Ok(true),
                other => other?,
            }
        }
        view.seen = cursor;
        Ok(page.len() == PAGE)
    }

    async fn queue(&self, view: &View, messages: Vec<Message>, cursor: u64) -> Result<()> {
        let mut events = Vec::with_capacity(messages.len() + 1);
        for message in messages {
            events.push(self.own_event(message.scope(), &Queued { message })?);
        }
        events.push(self.own_event(None, &Advanced { cursor })?);
        let append = Append::of(events).expect(OUTBOX, Expected::from_version(view.version));
        self.parts.events.append(append).await.map(drop)
    }

    async fn find(&self, page: &[Recorded]) -> Result<Found> {
        let mut found = Found::default();
        for recorded in page.iter().filter(|recorded| rules::concerns(&recorded.event)) {
            let Some(project) = self.project_of(recorded) else { continue };
            match facts::meaning(self.parts.events.as_ref(), recorded).await {
                Ok(meaning) => {
                    found.noteworthy |= !meaning.facts.word.is_empty();
                    found.messages.extend(rules::messages(&project, &recorded.event, &meaning));
                }
                // One event that nobody can read must not stop all later ones.
                Err(fault) if fault.code() == Code::Decode => {
                    tracing::warn!(event = recorded.event.id, "skipped for notification: {fault}");
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(found)
    }

    fn project_of(&self, recorded: &Recorded) -> Option<Arc<Project>> {
        let scope = recorded.event.scope.as_ref()?;
        self.parts.workspace.projects.get(&scope.project).cloned()
    }
}
