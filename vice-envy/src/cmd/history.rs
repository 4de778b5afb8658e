//! `vice envy history`: the configurations that rollouts used, and what differed from one to the next. Values of secrets
//! are never stored; that one changed is told by its keyed digest.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::id::{EnvName, Scope};
use vice_core::manifest::Project;
use vice_core::payload::config::{ConfigRecorded, StoredValue};
use vice_core::payload::{config_stream, environment_stream};
use vice_core::secret::masked;
use vice_core::store::{Order, Query};
use vice_core::text::{Table, Tone};
use vice_core::time::ago;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use super::Desk;
use crate::render;
use crate::stack::place;

/// How far back is looked.
const VERSIONS_MAX: usize = 1000;
/// The digits of a digest that are shown.
const DIGITS: usize = 12;

/// A configuration that was recorded.
struct Version {
    config: ConfigRecorded,
    at: Timestamp,
    by: String,
}

fn bare(digest: &str) -> &str {
    digest.strip_prefix("hmac-sha256:").unwrap_or(digest)
}

/// The digits of a digest that people see.
pub(super) fn short(digest: &str) -> String {
    bare(digest).chars().take(DIGITS).collect()
}

/// The latest first.
async fn versions(desk: &Desk, scope: &Scope) -> Result<Vec<Version>> {
    let query = Query { order: Order::Backward, limit: VERSIONS_MAX, ..Query::stream(config_stream(scope), 0) };
    let mut found = Vec::new();
    for recorded in desk.events.read(&query).await? {
        if let Some(config) = recorded.event.decode::<ConfigRecorded>()? {
            let (at, by) = (recorded.event.time, recorded.event.actor.id.clone());
            found.push(Version { config, at, by });
        }
    }
    Ok(found)
}

/// The recorded configuration with a digest.
pub(super) async fn find(desk: &Desk, scope: &Scope, digest: &str) -> Result<Option<ConfigRecorded>> {
    let found = versions(desk, scope).await?;
    Ok(found.into_iter().map(|version| version.config).find(|config| config.digest == digest))
}

/// The keys that differ, each with a sign: `+` new, `-` gone, `~` changed.
pub(super) fn changes(before: Option<&ConfigRecorded>, after: &ConfigRecorded) -> Vec<String> {
    let Some(before) = before else { return Vec::new() };
    let (before, after) = (before.named_entries(), after.named_entries());
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let sign = |key: &String| match (before.get(key), after.get(key)) {
        (None, _) => Some('+'),
        (_, None) => Some('-'),
        (Some((one, first)), Some((two, second))) => {
            let digests = first.zip(*second);
            let differs = digests.map_or(one.value != two.value, |(one, two)| one != two);
            differs.then_some('~')
        }
    };
    keys.into_iter().filter_map(|key| sign(key).map(|sign| format!("{sign}{key}"))).collect()
}

pub(super) async fn run(desk: &Desk, project: &Project, env: EnvName, limit: usize) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    let scope = Scope::new(project.name().clone(), env);
    let found = versions(desk, &scope).await?;
    let (state, _) = fold::load::<EnvironmentState>(desk.events.as_ref(), &environment_stream(&scope)).await?;
    let running = state.running.and_then(|placed| placed.release.config);
    let now = desk.envy.clock.now();
    let mut table = Table::with_heading(&["version", "recorded", "by", "keys", "differs from the one before", ""]);
    let mut list = Vec::new();
    for (index, version) in found.iter().enumerate().take(limit) {
        let before = found.get(index + 1).map(|before| &before.config);
        let changed = changes(before, &version.config);
        let keys = version.config.named_entries().len();
        let in_use = running.as_deref() == Some(version.config.digest.as_str());
        let told = if before.is_none() { "the first".to_owned() } else { changed.join(" ") };
        table.row([
            (Tone::Strong, short(&version.config.digest)),
            (Tone::Plain, ago(version.at, now)),
            (Tone::Plain, version.by.clone()),
            (Tone::Plain, keys.to_string()),
            (Tone::Plain, told),
            (Tone::Good, if in_use { "in use".to_owned() } else { String::new() }),
        ]);
        list.push(json!({
            "version": bare(&version.config.digest), "recorded": version.at, "by": version.by,
            "keys": keys, "changes": changed, "in_use": in_use,
        }));
    }
    let text =
        if list.is_empty() { format!("No rollout of {scope} has used a configuration yet.\n") } else { table.render() };
    Ok(Outcome::done(text, json!({ "scope": scope.to_string(), "versions": list })))
}

/// A recorded configuration as it was; secrets by name.
pub(super) async fn show_at(desk: &Desk, project: &Project, env: EnvName, wanted: &str) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    let scope = Scope::new(project.name().clone(), env);
    let start = bare(wanted);
    let found = versions(desk, &scope).await?;
    let mut fitting: Vec<&Version> =
        found.iter().filter(|version| bare(&version.config.digest).starts_with(start)).collect();
    fitting.dedup_by(|one, two| one.config.digest == two.config.digest);
    let version = match fitting.as_slice() {
        [one] => one,
        [] => return Err(unknown(&scope, &format!("{scope} had no configuration {start:?}."))),
        _ => return Err(unknown(&scope, &format!("{start:?} is too short to tell which configuration is meant."))),
    };
    let mut table = Table::with_heading(&["key", "value", "origin"]);
    let mut values = serde_json::Map::new();
    for (key, (entry, _)) in version.config.named_entries() {
        let value = match &entry.value {
            StoredValue::Plain(value) => value.clone(),
            StoredValue::Secret(name) => Value::String(masked(name)),
        };
        table.row([
            (Tone::Strong, key.clone()),
            (Tone::Plain, render::as_text(&value)),
            (Tone::Faint, place(&entry.origin)),
        ]);
        values.insert(key, value);
    }
    Ok(Outcome::done(table.render(), json!({ "version": bare(&version.config.digest), "values": values })))
}

fn unknown(scope: &Scope, text: &str) -> Fault {
    Fault::new(Code::UnknownName, text).hint(format!("`vice envy history --env {}` lists them.", scope.env))
}
