//! `[channel.NAME]`: where messages go. Owns the keys; how a message gets there is the business of lust.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::values::Command;

/// The kinds that are built in, by their words.
const BUILT_IN: [&str; 6] = ["stdout", "file", "webhook", "slack", "email", "command"];

/// A channel for notifications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ChannelSpec {
    /// One that vice has itself.
    BuiltIn(BuiltInChannel),
    /// A program `vice-backend-KIND` on `PATH`.
    Plugin(PluginChannel),
}

/// A channel that is a program of somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginChannel {
    /// The name behind `vice-backend-`.
    pub kind: String,
    /// What the program is told as it stands here, such as where to send.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
    /// What the program is told and nobody else: each the configuration key or `env:NAME` of a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
}

impl ChannelSpec {
    /// The name of the channel's kind, as in `vice.toml`.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::BuiltIn(channel) => channel.kind(),
            Self::Plugin(channel) => &channel.kind,
        }
    }

    /// The kinds that are built in, for suggestions.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.into_iter()
    }
}

// What is built in is never taken for a program, so that a slip in its keys is told as what it is.
impl<'de> Deserialize<'de> for ChannelSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = Map::<String, Value>::deserialize(deserializer)?;
        let kind = table.get("kind").and_then(Value::as_str);
        let read = match kind {
            Some(kind) if !is_name(kind) => {
                let known = BUILT_IN.join(", ");
                return Err(D::Error::custom(format!(
                    "the kind of a channel is one of {known}, or the name of a plug-in in lower-case letters, digits and `-`"
                )));
            }
            Some(kind) if !BUILT_IN.contains(&kind) => serde_json::from_value(Value::Object(table)).map(Self::Plugin),
            _ => serde_json::from_value(Value::Object(table)).map(Self::BuiltIn),
        };
        read.map_err(D::Error::custom)
    }
}

/// Whether a program could be named so.
pub(super) fn is_name(kind: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=60).contains(&kind.len()) && kind.bytes().all(plain)
}

/// A channel of a kind that vice has itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum BuiltInChannel {
    /// The command's own standard output (or standard error when output is machine-readable).
    Stdout {},
    /// One line of JSON a message, appended to a file.
    File {
        /// The file, relative to `vice.toml`.
        path: String,
    },
    /// A CloudEvent by POST.
    Webhook {
        /// The URL.
        url: String,
        /// The configuration key or `env:NAME` of the HMAC-SHA256 signing secret.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<String>,
    },
    /// An incoming webhook as Slack and Mattermost have it.
    Slack {
        /// The configuration key or `env:NAME` that holds the URL, which is itself a secret.
        url: String,
        /// The channel to post to, where the webhook allows a choice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<String>,
    },
    /// E-mail.
    Email {
        /// `smtp://host:port` (plain or STARTTLS where offered) or `smtps://host:port`.
        server: String,
        /// The sender.
        from: String,
        /// The recipients.
        to: Vec<String>,
        /// The login name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// The configuration key or `env:NAME` of the password.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password: Option<String>,
    },
    /// A command that gets the message as JSON on standard input.
    Command {
        /// What runs.
        command: Command,
    },
}

impl BuiltInChannel {
    /// The name of the channel's kind, as in `vice.toml`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Stdout {} => "stdout",
            Self::File { .. } => "file",
            Self::Webhook { .. } => "webhook",
            Self::Slack { .. } => "slack",
            Self::Email { .. } => "email",
            Self::Command { .. } => "command",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Code;
    use crate::manifest::Project;

    fn channel(text: &str) -> crate::Result<ChannelSpec> {
        let text = format!("name = \"shop\"\n[channel.c]\n{text}\n[env.dev]\n");
        let project = Project::parse("/p".into(), "vice.toml".into(), text)?;
        Ok(project.manifest.channel["c"].clone())
    }

    #[test]
    fn kinds_are_built_in_or_programs() {
        for kind in BUILT_IN {
            let fault = channel(&format!("kind = \"{kind}\"\nsetings = {{}}")).unwrap_err();
            assert_eq!(fault.code(), Code::ManifestInvalid, "{kind}: {fault:?}");
            assert!(fault.chain().join(" ").contains("setings") && fault.place().is_some(), "{kind}: {fault:?}");
        }
        assert_eq!(channel("kind = \"file\"\npath = \"x\"").unwrap().kind(), "file");
        let pager =
            channel("kind = \"pager\"\nsettings = { to = [\"ann\"], level = 3 }\nsecrets = { key = \"env:KEY\" }");
        let ChannelSpec::Plugin(pager) = pager.unwrap() else { panic!("it is a plug-in") };
        assert_eq!((pager.kind.as_str(), &pager.settings["to"][0]), ("pager", &Value::from("ann")));
        assert_eq!(pager.secrets["key"], "env:KEY");
    }

    #[test]
    fn slips_are_told() {
        for (text, said) in [
            ("path = \"x\"", "kind"),
            ("kind = 3", "3"),
            ("kind = \"../sh\"", "the name of a plug-in"),
            ("kind = \"\"", "the name of a plug-in"),
            ("kind = \"pager\"\nto = \"ann\"", "unknown key `to`"),
            ("kind = \"pager\"\nsecrets = { key = 3 }", "string"),
            ("kind = \"webhook\"", "url"),
        ] {
            let fault = channel(text).unwrap_err();
            assert_eq!(fault.code(), Code::ManifestInvalid, "{text}: {fault:?}");
            assert!(fault.chain().join(" ").contains(said), "{text}: {fault:?}");
        }
    }
}
