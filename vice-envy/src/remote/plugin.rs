//! `plugin:NAME/PATH`: what a program `vice-backend-NAME` on `PATH` has under a path, as an object of values. It gives
//! nothing secret: that is what credential programs are for.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Duration;
use vice_core::app::ProcessEnv;
use vice_core::secret::Masker;
use vice_core::{Code, Fault, Result};
use vice_plugin::{Plugin, Port, Start, find};

use super::{Ability, Address, Fetched, Remote, Tools, object};

/// How long a program may take for one layer.
const WITHIN: Duration = Duration::from_secs(20);

pub(super) fn parse(rest: &str) -> Result<Address, String> {
    let (program, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if program.is_empty() || program.len() > 60 || !program.chars().all(plain) {
        return Err("names no program in lower-case letters, digits and `-`".to_owned());
    }
    if path.is_empty() || path.len() > 1024 || path.chars().any(char::is_control) {
        return Err("needs a path behind the program's name".to_owned());
    }
    Ok(Address::Plugin { program: program.to_owned(), path: path.to_owned() })
}

/// A layer that a program has.
pub(super) struct Program {
    layer: String,
    path: String,
    plugin: Plugin,
}

impl Program {
    pub(super) fn new(layer: &str, name: &str, path: &str, tools: &Tools) -> Result<Self> {
        let program = find(&tools.process, name)?.ok_or_else(|| {
            let message = format!("The layer {layer} needs a program vice-backend-{name} on PATH, and there is none.");
            Fault::new(Code::BackendMissing, message).hint("`vice plugin list` shows what there is.")
        })?;
        let open = json!({ "dir": tools.root });
        let plugin = started(name, program, &tools.process, tools.root.clone(), open);
        Ok(Self { layer: layer.to_owned(), path: path.to_owned(), plugin })
    }
}

/// The program, told what it is opened with when it is first asked.
pub(crate) fn started(name: &str, program: PathBuf, env: &Arc<ProcessEnv>, dir: PathBuf, open: Value) -> Plugin {
    let (name, env, masker) = (name.to_owned(), Arc::clone(env), Masker::default());
    Plugin::new(Start { name, program, env, dir, port: Port::Config, open, masker })
}

/// What a program gives.
#[derive(Deserialize)]
struct Given {
    entries: Map<String, Value>,
}

#[async_trait]
impl Remote for Program {
    fn ability(&self) -> Ability {
        Ability { kind: "plugin", secret: false, document: false }
    }

    async fn fetch(&self) -> Result<Option<Fetched>> {
        let given: Option<Given> = self.plugin.ask("fetch", &json!({ "path": self.path }), WITHIN).await?;
        given.map(|given| object(&self.layer, &given.entries)).transpose()
    }
}
