//! Events in over HTTP: CloudEvents (structured, binary, batch) and webhooks of other systems, each of which becomes a CDEvent.
//!
//! What is acknowledged is on disk. An event that comes again under its id is answered as if it were new and stored once; the
//! same id with other content is refused, and what was sent is kept as evidence. Whatever else is wrong is answered with a
//! status of the 400s, one sentence and what to do. It decides nothing about events; that is what rules are for.

mod act;
mod answer;
pub(crate) mod cloudevent;
mod routes;
mod serve;
mod signature;
mod tally;
#[cfg(test)]
mod tests;
mod webhook;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;
use vice_core::app::App;
use vice_core::event::DATA_BYTES_MAX;
use vice_core::id::Scope;
use vice_core::manifest::WebhookKind;
use vice_core::{Code, Fault, Result, Secret};

pub use act::act;
pub(crate) use answer::CONFLICTS;
pub use routes::{Sender, events_router, router, webhooks_router};
pub use serve::serve;
use tally::Tally;

/// So many requests are worked on at once; more are asked to come again.
const REQUESTS_MAX: usize = 256;

/// The largest body of one event, of a webhook and of a batch, in bytes.
const EVENT_BYTES_MAX: usize = 2 * DATA_BYTES_MAX;
const WEBHOOK_BYTES_MAX: usize = 4 * DATA_BYTES_MAX;
const BATCH_BYTES_MAX: usize = 8 * DATA_BYTES_MAX;

/// The most events of a batch.
const BATCH_MAX: usize = 1_000;

/// What takes events in.
pub struct Ingest {
    app: App,
    /// What senders of CloudEvents have to show.
    token: Option<Secret>,
    hooks: BTreeMap<(String, String), Hook>,
    room: Semaphore,
    tally: Tally,
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest").field("hooks", &self.hooks.keys()).finish_non_exhaustive()
    }
}

/// A webhook that is answered.
struct Hook {
    kind: WebhookKind,
    secret: Secret,
    scope: Option<Scope>,
    project: String,
    name: String,
}

impl Ingest {
    /// Takes the webhooks of all projects with their secrets, and the token for CloudEvents, as a reference such as
    /// `env:NAME`.
    ///
    /// # Errors
    /// `ManifestInvalid` for a webhook that makes no sense, `ConfigInvalid` for a secret that is not there.
    pub async fn new(app: App, token: Option<&str>) -> Result<Arc<Self>> {
        let token = match token {
            Some(reference) => Some(token_of(&app, reference)?),
            None => None,
        };
        let mut hooks = BTreeMap::new();
        for project in app.workspace.projects.values() {
            crate::rules::check(project)?;
            for (name, spec) in &project.manifest.webhook {
                let who = format!("the webhook {name}");
                let secret = crate::secrets::get(&app, project, spec.env.as_ref(), &spec.secret, &who).await?;
                if secret.reveal().len() < signature::SECRET_BYTES_MIN {
                    let message = format!("The secret of the webhook {name} is too short to protect anything.");
                    return Err(Fault::new(Code::ConfigInvalid, message)
                        .hint(format!("Make one of at least {} random characters.", signature::SECRET_BYTES_MIN)));
                }
                let scope = spec.env.clone().map(|env| Scope::new(project.name().clone(), env));
                let project = project.name().to_string();
                let hook = Hook { kind: spec.kind, secret, scope, project: project.clone(), name: name.clone() };
                hooks.insert((project, name.clone()), hook);
            }
        }
        Ok(Arc::new(Self { app, token, hooks, room: Semaphore::new(REQUESTS_MAX), tally: Tally::default() }))
    }

    /// Refuses to take events from anybody on a network.
    ///
    /// # Errors
    /// `Usage` for an address that others can reach while there is no token.
    pub fn require_token(&self, listen: SocketAddr) -> Result<()> {
        if listen.ip().is_loopback() || self.token.is_some() {
            return Ok(());
        }
        Err(Fault::new(Code::Usage, format!("Everybody who reaches {listen} could write into the history."))
            .hint("Add --token env:NAME with the name of a variable that holds a secret, or listen on 127.0.0.1."))
    }

    /// The paths of the webhooks.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.hooks.keys().map(|(project, name)| format!("/webhooks/{project}/{name}")).collect()
    }
}

fn token_of(app: &App, reference: &str) -> Result<Secret> {
    let name = reference.strip_prefix("env:").ok_or_else(|| {
        Fault::new(Code::Usage, "The token is named, not written.")
            .hint("Write --token env:NAME and set that variable.")
    })?;
    let token = app.env.get(name).map(Secret::new);
    let token = token.filter(|token| token.reveal().len() >= signature::SECRET_BYTES_MIN);
    token.ok_or_else(|| {
        Fault::new(Code::ConfigInvalid, format!("The variable {name} holds no token."))
            .hint(format!("Set it to at least {} random characters where vice runs.", signature::SECRET_BYTES_MIN))
    })
}
