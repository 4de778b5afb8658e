//! `vice envy`: the effective configuration.

use std::sync::Arc;

use serde_json::Value;
use vice_core::Result;
use vice_core::manifest::Project;
use vice_core::port::config::{ConfigValue, ResolvedConfig};
use vice_core::port::notifier::Severity;
use vice_core::text::{Table, Tone, paint};
use vice_core::ui::{Format, Outcome};

use super::Desk;
use crate::export::{self, FORMATS, Subject};
use crate::render;
use crate::source::Ask;
use crate::stack::place;

pub(super) async fn run(desk: &Desk, project: &Arc<Project>, ask: Ask, reveal: bool) -> Result<Outcome> {
    let format = desk.ui.format().among(&FORMATS)?;
    let config = desk.envy.resolve_for(project, ask).await?;
    warn(desk, &config, reveal);
    if reveal {
        desk.envy.known.lift();
    }
    let values = render::shown_all(&config.entries, reveal);
    let text = match format {
        Format::Text | Format::Json | Format::Ndjson => table(&config, &values),
        format => export::write(format, &config.entries, &Subject { name: project.name().as_str(), reveal })?,
    };
    Ok(Outcome::done(text, Value::Object(render::nested(&values))))
}

fn warn(desk: &Desk, config: &ResolvedConfig, reveal: bool) {
    if reveal && secrets(config).next().is_some() {
        desk.ui.say(Severity::Warning, "The output has secrets as they are.");
    }
    for (key, length) in config.unmaskable() {
        let text =
            format!("The secret {key} has only {length} bytes: too short to be masked in the output of programs.");
        desk.ui.say(Severity::Warning, &text);
    }
}

fn secrets(config: &ResolvedConfig) -> impl Iterator<Item = (&str, usize)> {
    config.entries.iter().filter_map(|(key, entry)| match &entry.value {
        ConfigValue::Secret(secret) => Some((key.as_str(), secret.reveal().len())),
        ConfigValue::Plain(_) => None,
    })
}

fn table(config: &ResolvedConfig, values: &[(String, Value)]) -> String {
    if values.is_empty() {
        return "There is no configuration. Name files in [config] layers of vice.toml, or run `vice envy init`.\n"
            .to_owned();
    }
    let mut table = Table::with_heading(&["key", "value", "origin"]);
    for ((key, value), entry) in values.iter().zip(config.entries.values()) {
        let tone = if matches!(entry.value, ConfigValue::Secret(_)) { Tone::Warn } else { Tone::Plain };
        table.row([(Tone::Strong, key.clone()), (tone, render::as_text(value)), (Tone::Faint, place(&entry.origin))]);
    }
    let digest: String = config.digest.chars().take("hmac-sha256:".len() + 12).collect();
    let count = format!("{} values, {} of them secret, {digest}", values.len(), secrets(config).count());
    format!("{}\n{}\n", table.render(), paint(Tone::Faint, count))
}
