//! Where webhooks and rules get their secrets: a configuration key of the project, or `env:NAME`. A manifest never holds one.

use std::sync::Arc;

use vice_core::app::App;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::port::config::ConfigValue;
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Result, Secret};

/// The value behind a reference. `who` says what needs it.
///
/// # Errors
/// `ConfigInvalid` when it does not exist, and what the configuration says. Never with a value in it.
pub(crate) async fn get(
    app: &App,
    project: &Arc<Project>,
    env: Option<&EnvName>,
    reference: &str,
    who: &str,
) -> Result<Secret> {
    if let Some(name) = reference.strip_prefix("env:") {
        return app.env.get(name).map(Secret::new).ok_or_else(|| {
            Fault::new(Code::ConfigInvalid, format!("The variable {name} is not set, and {who} needs it."))
                .hint(format!("Set {name} where vice runs, or name a configuration key instead."))
        });
    }
    let env = project.choose_env(env)?;
    let config = app.config.resolve(project, &env).await?;
    match config.entries.get(reference).map(|entry| &entry.value) {
        Some(ConfigValue::Secret(secret)) => Ok(secret.clone()),
        Some(ConfigValue::Plain(serde_json::Value::String(text))) => Ok(Secret::new(text.as_str())),
        found => {
            let what = if found.is_some() { "no text under" } else { "no key" };
            let name = project.name();
            let message =
                format!("The configuration of {name} for {env} has {what} {reference:?}, and {who} needs it.");
            let near = nearest(reference, config.entries.keys().map(String::as_str)).filter(|near| *near != reference);
            Err(Fault::new(Code::ConfigInvalid, message).hint(match near {
                Some(near) => format!("Did you mean {near}?"),
                None => "Add it to a layer of the configuration, or write env:NAME.".to_owned(),
            }))
        }
    }
}
