//! The ports that a plug-in can stand behind, by the word that it says of itself.

/// What a plug-in is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Runs releases: `target = { kind = "NAME" }`.
    Target,
    /// Keeps the history: `[history] store = "NAME:PLACE"`.
    Store,
    /// Tells people and other systems: `[channel.x] kind = "NAME"`.
    Notifier,
    /// Has values of the configuration: a layer `plugin:NAME/PATH`.
    Config,
    /// Has numbers by which a rollout is judged: `[metric.x] plugin = "NAME"`.
    Metric,
}

impl Port {
    /// Every port.
    pub const ALL: [Self; 5] = [Self::Target, Self::Store, Self::Notifier, Self::Config, Self::Metric];

    /// The word in `describe`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Store => "store",
            Self::Notifier => "notifier",
            Self::Config => "config",
            Self::Metric => "metric",
        }
    }

    /// A plug-in of this port, with its article.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Target => "a target",
            Self::Store => "a store",
            Self::Notifier => "a notifier",
            Self::Config => "a source of configuration",
            Self::Metric => "a source of metrics",
        }
    }

    /// The port of a word, if there is one.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|port| port.word() == word)
    }

    /// All words, for hints.
    #[must_use]
    pub fn words() -> String {
        Self::ALL.map(|port| format!("\"{}\"", port.word())).join(", ")
    }
}
