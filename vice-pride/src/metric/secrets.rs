//! The secrets of a metric's source: a configuration key of the project, or `env:NAME`. A manifest never holds one.

use vice_core::app::ProcessEnv;
use vice_core::manifest::MetricSpec;
use vice_core::port::config::{ConfigValue, ResolvedConfig};
use vice_core::secret::Masker;
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Result, Secret};

use super::http::bearer;

/// Whether the metric needs any.
pub(super) fn are_needed(spec: &MetricSpec) -> bool {
    let refs = spec.secret_headers.values().chain(&spec.bearer);
    refs.into_iter().any(|reference| !reference.starts_with("env:"))
}

/// The secret headers of a metric, and what hides them.
pub(super) fn resolve(
    metric: &str,
    spec: &MetricSpec,
    env: &ProcessEnv,
    config: Option<&ResolvedConfig>,
) -> Result<(Vec<(String, Secret)>, Masker)> {
    let mut masker = config.map(ResolvedConfig::masker).unwrap_or_default();
    let mut headers = Vec::new();
    let mut get = |reference: &str| -> Result<Secret> {
        let secret = one(metric, reference, env, config)?;
        masker.add(reference, &secret);
        Ok(secret)
    };
    for (name, reference) in &spec.secret_headers {
        headers.push((name.clone(), get(reference)?));
    }
    if let Some(reference) = &spec.bearer {
        headers.push(bearer(&get(reference)?));
    }
    Ok((headers, masker))
}

fn one(metric: &str, reference: &str, env: &ProcessEnv, config: Option<&ResolvedConfig>) -> Result<Secret> {
    if let Some(name) = reference.strip_prefix("env:") {
        return env.get(name).map(Secret::new).ok_or_else(|| {
            Fault::new(
                Code::ConfigInvalid,
                format!("The variable {name} is not set, and the metric {metric} needs it."),
            )
            .hint(format!("Set {name} where vice runs, or name a configuration key instead."))
        });
    }
    let entries = config.map(|config| &config.entries);
    match entries.and_then(|entries| entries.get(reference)).map(|entry| &entry.value) {
        Some(ConfigValue::Secret(secret)) => Ok(secret.clone()),
        Some(ConfigValue::Plain(serde_json::Value::String(text))) => Ok(Secret::new(text.as_str())),
        _ => {
            // The reference itself may be a secret in the wrong place, so only one that looks like a key is repeated.
            let is_key =
                reference.len() <= 64 && reference.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            let shown = if is_key { format!("no text under {reference:?}") } else { "no such key".to_owned() };
            let fault = Fault::new(
                Code::ConfigInvalid,
                format!("The configuration has {shown}, and the metric {metric} needs it."),
            );
            let near = nearest(reference, entries.into_iter().flat_map(|entries| entries.keys()).map(String::as_str));
            match near {
                Some(near) if near != reference => Err(fault.hint(format!("Did you mean {near}?"))),
                _ => Err(fault.hint("Add it to a layer of the configuration, or write env:NAME.")),
            }
        }
    }
}
