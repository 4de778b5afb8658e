//! How a history behind a plug-in is written: `NAME:PLACE`, where NAME is a program `vice-backend-NAME` and PLACE is what
//! that program makes of it.

use std::path::{Path, PathBuf};

use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault, Result};
use vice_plugin::find;

/// The longest place, in bytes.
const PLACE_BYTES_MAX: usize = 4096;

/// A place that a program knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginPlace {
    /// The name behind `vice-backend-`.
    pub(super) name: String,
    /// What the program makes something of.
    pub(super) place: String,
    /// The folder that paths are relative to.
    pub(super) base: PathBuf,
}

impl std::fmt::Display for PluginPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.place)
    }
}

impl PluginPlace {
    /// What stands before and behind the colon.
    ///
    /// # Errors
    /// `Usage`, without repeating what may be a secret.
    pub(crate) fn parse(name: &str, place: &str, base: &Path) -> Result<Self> {
        let usage = |message: &str| Fault::new(Code::Usage, message).hint("Write NAME:PLACE, as the plug-in says.");
        if place.len() > PLACE_BYTES_MAX || place.chars().any(char::is_control) {
            return Err(usage("The place of the history behind a plug-in is too long, or has control characters."));
        }
        let authority = place.split_once("//").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
        if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
            return Err(usage("The place of a history must not hold a password.")
                .hint("Leave it out; the plug-in gets the environment of vice."));
        }
        Ok(Self { name: name.to_owned(), place: place.to_owned(), base: base.to_owned() })
    }

    /// The program.
    ///
    /// # Errors
    /// `BackendMissing` when there is none; `Usage` for one that anybody could replace.
    pub(crate) fn program(&self, env: &ProcessEnv) -> Result<PathBuf> {
        find(env, &self.name)?.ok_or_else(|| {
            crate::place::unknown(&self.name)
                .hint(format!("A program vice-backend-{} on PATH would be one: docs/plugins.md.", self.name))
        })
    }
}
