//! Channels: how one message reaches one receiver, once. A channel does not retry, queue or choose; it says whether
//! the receiver took the message and, if not, whether trying again can help.

mod command;
#[cfg(feature = "email")]
mod email;
mod file;
mod http;
pub(crate) mod plugin;
mod slack;
mod stdout;
mod webhook;

use std::sync::Arc;

use async_trait::async_trait;
use vice_core::app::ProcessEnv;
use vice_core::manifest::{BuiltInChannel, ChannelSpec, Project};
use vice_core::port::command::CommandRunner;
use vice_core::port::config::ConfigSource;
use vice_core::secret::Masker;
use vice_core::ui::Ui;
use vice_core::{Clock, Fault, Millis};

use crate::message::Message;
use crate::secrets::Secrets;

/// How long a receiver may take.
pub(crate) const SEND_TIMEOUT: Millis = Millis::from_secs(10);

/// A way to one receiver.
#[async_trait]
pub(crate) trait Channel: Send + Sync {
    /// Sends the message once and gives the receiver's answer.
    async fn send(&self, message: &Message) -> Result<String, SendError>;
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SendError {
    /// Why.
    pub(crate) reason: String,
    /// Whether trying again is pointless until somebody changes something.
    pub(crate) permanent: bool,
    /// Whether the receiver may have taken it all the same.
    pub(crate) uncertain: bool,
    /// When the receiver wants to be asked again.
    pub(crate) retry_after: Option<Millis>,
}

impl SendError {
    /// The receiver did not take it; later it may.
    pub(crate) fn retry(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), permanent: false, uncertain: false, retry_after: None }
    }

    /// It is not known whether the receiver took it.
    pub(crate) fn uncertain(reason: impl Into<String>) -> Self {
        Self { uncertain: true, ..Self::retry(reason) }
    }

    /// The receiver will never take it.
    pub(crate) fn permanent(reason: impl Into<String>) -> Self {
        Self { permanent: true, ..Self::retry(reason) }
    }
}

/// Something is not as it has to be before sending; it may be better in another process or after a change, so the
/// message stays.
impl From<Fault> for SendError {
    fn from(fault: Fault) -> Self {
        let mut text = fault.chain().join(" ");
        for hint in fault.hints() {
            text.push(' ');
            text.push_str(hint);
        }
        Self::retry(text)
    }
}

/// What channels are made with.
pub(crate) struct Tools<'a> {
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) ui: &'a Arc<dyn Ui>,
    pub(crate) env: &'a Arc<ProcessEnv>,
    pub(crate) runner: &'a Arc<dyn CommandRunner>,
    pub(crate) config: &'a Arc<dyn ConfigSource>,
    pub(crate) http: fn() -> vice_core::Result<reqwest::Client>,
}

/// Where a channel goes, for people; nothing secret.
pub(crate) fn receiver(spec: &ChannelSpec) -> String {
    let spec = match spec {
        ChannelSpec::BuiltIn(spec) => spec,
        ChannelSpec::Plugin(plugin) => return format!("the program vice-backend-{}", plugin.kind),
    };
    match spec {
        BuiltInChannel::Stdout {} => "the terminal".to_owned(),
        BuiltInChannel::File { path } => path.clone(),
        BuiltInChannel::Webhook { url, .. } => crate::mask::shown_url(url),
        BuiltInChannel::Slack { url, channel } => match channel {
            Some(channel) => format!("{channel} through the URL in {}", reference(url)),
            None => format!("the URL in {}", reference(url)),
        },
        BuiltInChannel::Email { server, to, .. } => {
            format!("{} through {}", to.join(", "), crate::mask::shown_url(server))
        }
        BuiltInChannel::Command { command } => command.0.join(" "),
    }
}

/// The name of a secret; a value in its place is not shown.
fn reference(text: &str) -> &str {
    if text.contains("://") { "«a secret in the wrong place»" } else { text }
}

/// Sends one message through the channel that the specification describes. Answer and reason are masked and bounded.
pub(crate) async fn send(
    spec: &ChannelSpec,
    project: &Arc<Project>,
    tools: &Tools<'_>,
    message: &Message,
    repeat: bool,
) -> Result<String, SendError> {
    let mut secrets = Secrets {
        project,
        env: message.env.as_ref(),
        config: tools.config.as_ref(),
        process: tools.env,
        masker: Masker::default(),
    };
    let sent = match build(spec, tools, &mut secrets, message, repeat).await {
        Ok(channel) => channel.send(message).await,
        Err(error) => Err(error),
    };
    let masker = &secrets.masker;
    match sent {
        Ok(answer) => Ok(crate::mask::detail(masker, &answer)),
        Err(error) => Err(SendError { reason: crate::mask::detail(masker, &error.reason), ..error }),
    }
}

async fn build(
    spec: &ChannelSpec,
    tools: &Tools<'_>,
    secrets: &mut Secrets<'_>,
    message: &Message,
    repeat: bool,
) -> Result<Box<dyn Channel>, SendError> {
    let spec = match spec {
        ChannelSpec::BuiltIn(spec) => spec,
        ChannelSpec::Plugin(spec) => return plugin::build(spec, tools, secrets, message, repeat).await,
    };
    Ok(match spec {
        BuiltInChannel::Stdout {} => Box::new(stdout::Stdout { ui: Arc::clone(tools.ui) }),
        BuiltInChannel::File { path } => {
            Box::new(file::File { root: secrets.project.root.clone(), path: path.clone() })
        }
        BuiltInChannel::Webhook { url, secret } => {
            let secret = match secret {
                Some(reference) => Some(secrets.get(reference).await?),
                None => None,
            };
            let post = http::Post { client: (tools.http)()?, shown: crate::mask::shown_url(url) };
            Box::new(webhook::Webhook { post, url: url.clone(), secret, clock: Arc::clone(tools.clock), repeat })
        }
        BuiltInChannel::Slack { url, channel } => {
            let post = http::Post { client: (tools.http)()?, shown: format!("the URL in {}", reference(url)) };
            let url = secrets.get(url).await?;
            Box::new(slack::Slack { post, url, channel: channel.clone() })
        }
        BuiltInChannel::Email { .. } => email(spec, secrets).await?,
        BuiltInChannel::Command { command } => Box::new(command::Command {
            runner: Arc::clone(tools.runner),
            argv: command.0.clone(),
            dir: secrets.project.root.clone(),
        }),
    })
}

#[cfg(feature = "email")]
async fn email(spec: &BuiltInChannel, secrets: &mut Secrets<'_>) -> Result<Box<dyn Channel>, SendError> {
    let BuiltInChannel::Email { server, from, to, user, password } = spec else {
        return Err(SendError::permanent("This is not an e-mail channel."));
    };
    let password = match password {
        Some(reference) => Some(secrets.get(reference).await?),
        None => None,
    };
    let login = user.clone().zip(password);
    Ok(Box::new(email::Email { server: server.clone(), from: from.clone(), to: to.clone(), login }))
}

#[cfg(not(feature = "email"))]
async fn email(_: &BuiltInChannel, _: &mut Secrets<'_>) -> Result<Box<dyn Channel>, SendError> {
    Err(SendError::permanent("This vice was built without e-mail (the feature `email`)."))
}
