//! A history behind a program of somebody else. The program keeps texts by name and makes one only if it is not there;
//! everything that a history is beyond that (`crate::shared`) stays here, so that a program that lies is found out by the
//! chain, and one that is slow or dies costs time.
//!
//! Of several writers the one wins whose batch is made first. That a program really keeps two apart is what
//! `vice plugin test` tries; it can't be seen from one machine while it is used.

mod place;
pub mod suite;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Duration;
use vice_core::app::ProcessEnv;
use vice_core::capability::BackendInfo;
use vice_core::secret::Masker;
use vice_core::text::sanitize;
use vice_core::{Code, Digest, Fault, Result};
use vice_plugin::{Described, PLUGIN, Plugin, Port, Start};

use crate::jsonl::log::segment_name;
use crate::place::Opening;
use crate::shared::SharedStore;
use crate::shared::batch::READ_BYTES_MAX;
use crate::shared::medium::{Kept, Known, Medium, Page, Pushed};

pub use place::PluginPlace;

/// How long one question may take: a batch of 8 MiB over a slow line.
const WITHIN: Duration = Duration::from_secs(60);

/// So many batches are listed at once.
const PAGE: usize = 200;

/// The longest sign of life, in bytes.
const MARK_BYTES_MAX: usize = 4096;

/// What a program said of itself, once it was asked.
type Said = Arc<OnceLock<Described>>;

/// The store of a place. Starts nothing.
///
/// # Errors
/// `BackendMissing` when there is no such program; `Usage` for one that anybody could replace.
pub(crate) fn open(place: &PluginPlace, opening: &Opening) -> Result<SharedStore> {
    let program = place.program(&opening.env)?;
    // A place may be relative to the folder of the project.
    let whole = format!("{place}\n{}", place.base.display());
    let folder = opening.state.join("shared").join(format!("{}-{}", place.name, Digest::of(whole.as_bytes()).short()));
    let site = Site { place: place.clone(), program, env: Arc::clone(&opening.env), test: false };
    Ok(store(site, folder, opening))
}

fn store(site: Site, folder: PathBuf, opening: &Opening) -> SharedStore {
    let info = BackendInfo { kind: PLUGIN, location: sanitize(&site.place.to_string()), shared: true };
    let medium = PluginMedium::new(site, &folder);
    let said = Arc::clone(&medium.said);
    SharedStore::new(info, Box::new(medium), folder, Arc::clone(&opening.notices)).described_by(said)
}

/// Where a program is, and what it is started for.
#[derive(Clone)]
struct Site {
    place: PluginPlace,
    program: PathBuf,
    env: Arc<ProcessEnv>,
    test: bool,
}

impl Site {
    fn plugin(&self, folder: &Path) -> Plugin {
        let mut open = json!({ "place": self.place.place, "dir": self.place.base, "state": folder.join("plugin") });
        if self.test {
            open["test"] = true.into();
        }
        Plugin::new(Start {
            name: self.place.name.clone(),
            program: self.program.clone(),
            env: Arc::clone(&self.env),
            dir: self.place.base.clone(),
            port: Port::Store,
            open,
            masker: Masker::default(),
        })
    }
}

/// A place that a program keeps.
struct PluginMedium {
    site: Site,
    plugin: Plugin,
    said: Said,
    /// Whether it was seen that the batch known as the last one is there, and everything behind it.
    caught_up: bool,
}

impl PluginMedium {
    fn new(site: Site, folder: &Path) -> Self {
        let plugin = site.plugin(folder);
        Self { site, plugin, said: Said::default(), caught_up: false }
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, call: &str, body: &Value) -> Result<T> {
        if self.said.get().is_none() {
            // A later start says the same, or it is another program.
            drop(self.said.set(self.plugin.describe().await?));
        }
        self.plugin.ask(call, body, WITHIN).await.map_err(silent)
    }

    /// A batch by its name; none when it is not there.
    async fn fetch(&self, name: String) -> Result<Option<Kept>> {
        let text: Option<String> = self.ask("read", &json!({ "name": name })).await?;
        let Some(text) = text else { return Ok(None) };
        if text.len() as u64 > READ_BYTES_MAX {
            return Err(damaged(format!("The batch {name} is too large.")));
        }
        Ok(Some(Kept { tip: name, bytes: text.into_bytes() }))
    }

    /// What comes behind, by listing.
    async fn list(&mut self, known: &Known) -> Result<Page> {
        let last = record_of(&known.tip);
        // The listing begins behind the name it is given, and is to begin with the one that is known.
        let behind = last.map_or_else(String::new, |record| segment_name(record - 1));
        let body = json!({ "after": behind, "limit": PAGE + 1 });
        let mut names: Vec<String> = self.ask("list", &body).await?;
        let in_order = names.windows(2).all(|pair| pair[0] < pair[1]);
        let fits = names.len() <= PAGE + 1 && names.iter().all(|name| record_of(name).is_some() && *name > behind);
        if !in_order || !fits {
            let message = format!("The plug-in {} lists what it was not asked for.", self.plugin.name());
            return Err(Fault::new(Code::Backend, message)
                .hint(format!("`vice plugin test {}` shows which rule it breaks.", self.plugin.name())));
        }
        let more = names.len() > PAGE;
        if last.is_some() {
            if names.first() != Some(&known.tip) {
                return Err(damaged(format!("The batch {} is not there any more.", known.tip)));
            }
            names.remove(0);
        }
        let mut batches = Vec::with_capacity(names.len());
        let mut bytes = 0;
        let mut all = true;
        for name in names {
            let Some(kept) = self.fetch(name.clone()).await? else {
                return Err(damaged(format!("The batch {name} is listed and is not there.")));
            };
            bytes += kept.bytes.len() as u64;
            batches.push(kept);
            if bytes > READ_BYTES_MAX {
                // The rest is asked for anew.
                all = false;
                break;
            }
        }
        self.caught_up = all && !more;
        Ok(Page { batches, more: more || !all })
    }
}

/// After silence nobody can tell what was done.
fn silent(fault: Fault) -> Fault {
    if fault.code() != Code::TimedOut {
        return fault;
    }
    recoded(&fault)
}

/// Whether a batch was made is known only where the program has refused it as what it is.
fn uncertain(fault: Fault) -> Fault {
    match fault.code() {
        Code::Usage | Code::Unsupported | Code::BackendMissing | Code::ConfigInvalid | Code::Fenced => fault,
        _ => recoded(&fault),
    }
}

fn recoded(fault: &Fault) -> Fault {
    fault.hints().iter().fold(Fault::new(Code::Unreachable, fault.chain().join(" ")), Fault::hint)
}

fn damaged(message: impl Into<String>) -> Fault {
    Fault::new(Code::HistoryDamaged, message)
}

/// The number of the first record in the name of a batch.
fn record_of(name: &str) -> Option<u64> {
    let record = name.strip_suffix(".jsonl")?.parse().ok().filter(|record| *record > 0)?;
    (segment_name(record) == name).then_some(record)
}

/// A scope may have letters that a name must not.
fn beat_name(scope: &str) -> String {
    Digest::of(scope.as_bytes()).short()
}

#[async_trait]
impl Medium for PluginMedium {
    async fn pull(&mut self, known: &Known) -> Result<Page> {
        if !self.caught_up || known.tip.is_empty() {
            return self.list(known).await;
        }
        let next = self.fetch(segment_name(known.records + 1)).await?;
        let more = next.is_some();
        Ok(Page { batches: next.into_iter().collect(), more })
    }

    async fn push(&mut self, known: &Known, bytes: &[u8], _: &str) -> Result<Pushed> {
        let text = std::str::from_utf8(bytes).map_err(|_| Fault::internal("A batch is no text."))?;
        let name = segment_name(known.records + 1);
        let first: bool = self.ask("create", &json!({ "name": name, "text": text })).await.map_err(uncertain)?;
        Ok(if first { Pushed::Done(name) } else { Pushed::Lost })
    }

    async fn beat(&mut self, scope: &str, mark: &str) -> Result<()> {
        self.ask::<serde::de::IgnoredAny>("beat", &json!({ "name": beat_name(scope), "mark": mark })).await.map(drop)
    }

    async fn pulse(&mut self, scope: &str) -> Result<Option<String>> {
        let mark: Option<String> = self.ask("pulse", &json!({ "name": beat_name(scope) })).await?;
        if mark.as_ref().is_some_and(|mark| mark.len() > MARK_BYTES_MAX) {
            return Err(Fault::new(Code::Backend, format!("The sign of life for {} is none.", sanitize(scope))));
        }
        Ok(mark)
    }

    fn elsewhere(&self, folder: &Path) -> Box<dyn Medium> {
        Box::new(Self::new(self.site.clone(), folder))
    }
}
