//! A project with scenarios in a temporary folder, and the commands that play them.

use std::path::Path;
use std::sync::Arc;

use clap::{Args, FromArgMatches};
use vice_core::app::{ProcessEnv, Workspace};
use vice_core::manifest::Project;
use vice_core::port::config::ResolvedConfig;
use vice_core::ui::{Format, Outcome};
use vice_core::{Fault, Result};
use vice_wrath::cmd::{WrathArgs, run};

use crate::app::{Setup, setup};

/// A project in a folder of its own.
pub(crate) struct Stage {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) setup: Setup,
}

impl Stage {
    /// A project whose environment answers at this address.
    pub(crate) fn new(url: &str, format: Format) -> Self {
        Self::with(Some(url), Some(ResolvedConfig::default()), format)
    }

    pub(crate) fn with(url: Option<&str>, config: Option<ResolvedConfig>, format: Format) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut setup = setup("", url.map(str::to_owned), config, format);
        let text = "name = \"hello\"\n[env.dev]\n[env.int]\n";
        let project = Arc::new(Project::parse(dir.path().to_owned(), "vice.toml".into(), text).unwrap());
        setup.app.workspace = Arc::new(Workspace {
            root: dir.path().to_owned(),
            projects: [(project.name().clone(), project)].into(),
            ..Workspace::default()
        });
        setup.app.env =
            Arc::new(ProcessEnv { dir: dir.path().to_owned(), host: "box".into(), ..ProcessEnv::default() });
        Self { dir, setup }
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A command as somebody types it, without `vice wrath`.
    pub(crate) async fn call(&self, words: &[&str]) -> Result<Outcome> {
        let command = WrathArgs::augment_args(clap::Command::new("wrath"));
        let matches = command.try_get_matches_from([&["wrath"], words].concat()).unwrap();
        run(&self.setup.app, WrathArgs::from_arg_matches(&matches).unwrap()).await
    }

    /// Plays everything in `dev`.
    pub(crate) async fn play(&self) -> Outcome {
        self.call(&["run", "--env", "dev"]).await.unwrap()
    }

    pub(crate) async fn refused(&self) -> Fault {
        self.call(&["run", "--env", "dev"]).await.unwrap_err()
    }
}

/// Plays one scenario against an address, and gives the results of its steps.
pub(crate) async fn play_one(url: &str, scenario: &str) -> Outcome {
    let stage = Stage::new(url, Format::Json);
    stage.write("wrath/one.toml", scenario);
    stage.play().await
}

/// Outcomes of all steps of the first scenario, by name.
pub(crate) fn steps(outcome: &Outcome) -> Vec<(String, String)> {
    let steps = outcome.json["scenarios"][0]["steps"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    steps.iter().map(|step| (text(&step["name"]), text(&step["outcome"]))).collect()
}

/// All messages of the first scenario.
pub(crate) fn messages(outcome: &Outcome) -> Vec<String> {
    let steps = outcome.json["scenarios"][0]["steps"].as_array().unwrap();
    let findings = steps.iter().flat_map(|step| step["findings"].as_array().cloned().unwrap_or_default());
    findings.map(|finding| finding["message"].as_str().unwrap().to_owned()).collect()
}
