//! A program of somebody else that takes messages: `vice-backend-NAME` on `PATH`. One process a message: it is told the
//! channel's settings and secrets, then the message with its key, and is ended. Whether a message counts as taken is
//! decided here, from what it says and from whether it could have been heard.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use vice_core::app::ProcessEnv;
use vice_core::manifest::{ChannelSpec, PluginChannel};
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Result};
use vice_plugin::{Plugin, Port, Start, find};

use super::{Channel, SEND_TIMEOUT, SendError, Tools};
use crate::message::Message;
use crate::secrets::Secrets;

pub(crate) struct Program {
    plugin: Plugin,
    repeat: bool,
}

/// The channel of a program, which is told its secrets when it is started and not before.
pub(super) async fn build(
    spec: &PluginChannel,
    tools: &Tools<'_>,
    secrets: &mut Secrets<'_>,
    message: &Message,
    repeat: bool,
) -> Result<Box<dyn Channel>, SendError> {
    let program = program(spec, tools.env)?;
    let mut told = Map::new();
    for (name, reference) in &spec.secrets {
        told.insert(name.clone(), secrets.get(reference).await?.reveal().into());
    }
    let project = secrets.project;
    let open = json!({
        "project": project.name(), "env": message.env, "channel": message.channel, "dir": project.root,
        "settings": spec.settings, "secrets": told,
    });
    let plugin = Plugin::new(Start {
        name: spec.kind.clone(),
        program,
        env: Arc::clone(tools.env),
        dir: project.root.clone(),
        port: Port::Notifier,
        open,
        masker: secrets.masker.clone(),
    });
    Ok(Box::new(Program { plugin, repeat }))
}

/// Where the program is.
///
/// # Errors
/// `BackendMissing` with the nearest kind; `Usage` for a program that anybody could replace.
pub(crate) fn program(spec: &PluginChannel, env: &ProcessEnv) -> Result<PathBuf> {
    if let Some(program) = find(env, &spec.kind)? {
        return Ok(program);
    }
    let shown: String = spec.kind.chars().take(60).collect();
    let message = format!("{shown:?} is no kind of channel, and there is no program vice-backend-{shown} on PATH.");
    let fault = Fault::new(Code::BackendMissing, message);
    Err(match nearest(&spec.kind, ChannelSpec::built_in()) {
        Some(near) => fault.hint(format!("Did you mean {near}?")),
        None => fault.hint("`vice plugin list` shows what there is."),
    })
}

#[async_trait]
impl Channel for Program {
    async fn send(&self, message: &Message) -> Result<String, SendError> {
        // Until it has said what it is, it has not heard of any message.
        self.plugin.describe().await?;
        let (body, within) = (request(message, self.repeat), SEND_TIMEOUT.as_duration());
        match tokio::time::timeout(within, self.plugin.call("send", &body, within)).await {
            Ok(said) => judge(said),
            Err(_) => Err(SendError::uncertain(format!("The plug-in did not answer within {SEND_TIMEOUT}."))),
        }
    }
}

/// The body of the request that hands a message over.
pub(crate) fn request(message: &Message, repeat: bool) -> Value {
    json!({ "message": message, "possible_repeat": repeat })
}

/// What an answer means for the message.
fn judge(said: Result<Value>) -> Result<String, SendError> {
    match said {
        Ok(Value::Null) => Ok("taken".to_owned()),
        Ok(Value::String(text)) => Ok(text),
        Ok(_) => Err(SendError::uncertain("The plug-in gave an answer that is no text.")),
        Err(fault) => {
            let text = fault.chain().into_iter().chain(fault.hints().iter().cloned()).collect::<Vec<_>>().join(" ");
            Err(match fault.code() {
                Code::Unreachable | Code::TimedOut => SendError::uncertain(text),
                Code::Usage | Code::ConfigInvalid | Code::UnknownName | Code::Unsupported => SendError::permanent(text),
                _ => SendError::retry(text),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let failed = |code| judge(Err(Fault::new(code, "No."))).unwrap_err();
        assert_eq!(judge(Ok(Value::Null)).unwrap(), "taken");
        assert_eq!(judge(Ok("as 17".into())).unwrap(), "as 17");
        assert!(judge(Ok(json!({ "id": 17 }))).unwrap_err().uncertain);
        for (code, permanent, uncertain) in [
            (Code::Unreachable, false, true),
            (Code::TimedOut, false, true),
            (Code::Usage, true, false),
            (Code::UnknownName, true, false),
            (Code::Backend, false, false),
            (Code::Io, false, false),
        ] {
            let error = failed(code);
            assert_eq!((error.permanent, error.uncertain), (permanent, uncertain), "{code}");
        }
    }
}
