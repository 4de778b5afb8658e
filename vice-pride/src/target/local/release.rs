//! A workload as data: for the socket, and for the release files from which instances are started again.
//!
//! Both carry the values of secrets. The socket's folder and the files can be read by their owner only (0700, 0600);
//! nothing here implements `Debug`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vice_core::payload::ReleaseRef;
use vice_core::port::command::EnvValue;
use vice_core::port::target::{HealthProbe, Reload, Workload};
use vice_core::secret::Masker;
use vice_core::{Code, Context, Digest, Fault, Millis, Result, Secret};

use super::layout::{Layout, write_durably};
use super::patience::Timeouts;
use super::state::State;

/// A workload that can be sent and stored.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredWorkload {
    release: ReleaseRef,
    files: Option<PathBuf>,
    command: Vec<String>,
    environment: BTreeMap<String, StoredValue>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    objects: Vec<Digest>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    images: BTreeMap<String, String>,
    health: Option<HealthProbe>,
    ready_timeout: Millis,
    drain_timeout: Millis,
    stop_timeout: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reload: Option<Reload>,
}

#[derive(Serialize, Deserialize)]
struct StoredValue {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    secret: bool,
    value: String,
}

impl From<&Workload> for StoredWorkload {
    fn from(workload: &Workload) -> Self {
        let value = |value: &EnvValue| StoredValue {
            secret: matches!(value, EnvValue::Secret(_)),
            value: value.reveal().to_owned(),
        };
        Self {
            release: workload.release.clone(),
            // The agent has another working folder than its clients.
            files: workload.files.as_ref().map(|files| std::path::absolute(files).unwrap_or_else(|_| files.clone())),
            command: workload.command.clone(),
            environment: workload.environment.iter().map(|(name, text)| (name.clone(), value(text))).collect(),
            objects: workload.objects.clone(),
            images: workload.images.clone(),
            health: workload.health.clone(),
            ready_timeout: workload.ready_timeout,
            drain_timeout: workload.drain_timeout,
            stop_timeout: workload.stop_timeout,
            reload: workload.reload.clone(),
        }
    }
}

impl From<StoredWorkload> for Workload {
    fn from(stored: StoredWorkload) -> Self {
        let value = |stored: StoredValue| {
            if stored.secret { EnvValue::Secret(Secret::new(stored.value)) } else { EnvValue::Plain(stored.value) }
        };
        Self {
            release: stored.release,
            files: stored.files,
            command: stored.command,
            environment: stored.environment.into_iter().map(|(name, text)| (name, value(text))).collect(),
            objects: stored.objects,
            images: stored.images,
            health: stored.health,
            ready_timeout: stored.ready_timeout,
            drain_timeout: stored.drain_timeout,
            stop_timeout: stored.stop_timeout,
            reload: stored.reload,
        }
    }
}

impl StoredWorkload {
    pub(super) fn timeouts(&self) -> Timeouts {
        Timeouts { ready: self.ready_timeout, drain: self.drain_timeout, stop: self.stop_timeout }
    }
}

/// Stores a workload under a key.
pub(super) fn save(layout: &Layout, key: u64, workload: &Workload) -> Result<()> {
    let bytes = serde_json::to_vec(&StoredWorkload::from(workload))
        .context(Code::Internal, || "The release can't be encoded.".to_owned())?;
    write_durably(&layout.release(key), &bytes)
}

/// Reads a stored workload.
pub(super) fn load(layout: &Layout, key: u64) -> Result<Workload> {
    let path = layout.release(key);
    let missing = || format!("The stored release {} can't be read.", path.display());
    let bytes = std::fs::read(&path).map_err(|error| {
        Fault::new(Code::Io, missing()).because(error).hint("Deploy the version again to store it anew.")
    })?;
    // The parser's error could quote a value, so it is not kept.
    let stored: StoredWorkload = serde_json::from_slice(&bytes)
        .map_err(|_| Fault::new(Code::Decode, missing()).hint("Deploy the version again to store it anew."))?;
    Ok(stored.into())
}

/// Removes release files that no unit refers to; only while no operation is under way.
pub(super) fn prune(layout: &Layout, state: &State) {
    let needed = state.release_keys();
    let Ok(entries) = std::fs::read_dir(layout.releases()) else { return };
    let keys = entries.flatten().filter_map(|entry| entry.path().file_stem()?.to_str()?.parse::<u64>().ok());
    keys.filter(|key| !needed.contains(key)).for_each(|key| remove(layout, key));
}

/// Removes one release file.
pub(super) fn remove(layout: &Layout, key: u64) {
    let path = layout.release(key);
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!(path = %path.display(), %error, "a release file that is not needed stays");
    }
}

/// Hides the workload's secrets in what its instances print.
pub(in crate::target) fn masker(workload: &Workload) -> Masker {
    let mut masker = Masker::default();
    for (name, value) in &workload.environment {
        if let EnvValue::Secret(secret) = value {
            // One that is too short to be masked can't be told from innocent text.
            let _masked = masker.add(name, secret);
        }
    }
    masker
}
