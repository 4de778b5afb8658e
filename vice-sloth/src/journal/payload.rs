//! The contents of a run's events. Only this crate reads them; fields are only ever added, with a default.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use vice_core::event::Payload;
use vice_core::id::{EnvName, ProjectName};
use vice_core::{Class, Code, Digest, Fault, Millis, Result};

use crate::graph::Steps;

/// A run: `project.graph.number`, counted from 1 for each graph. Names have no dots, so it can be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RunId {
    /// The project.
    pub(crate) project: ProjectName,
    /// The graph.
    pub(crate) graph: String,
    /// The how-manieth run of it.
    pub(crate) number: u64,
}

impl RunId {
    /// Its stream.
    pub(crate) fn stream(&self) -> String {
        format!("run/{}/{}/{}", self.project, self.graph, self.number)
    }

    /// The run of a stream.
    pub(crate) fn of_stream(stream: &str) -> Option<Self> {
        stream.strip_prefix("run/").and_then(|rest| rest.replace('/', ".").parse().ok())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.project, self.graph, self.number)
    }
}

impl FromStr for RunId {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            let shown: String = text.chars().take(80).collect();
            Fault::new(Code::InvalidName, format!("{shown:?} is not the id of a run."))
                .hint("Ids look like shop.release.12; `vice sloth runs` lists them.")
        };
        let mut parts = text.split('.');
        let (Some(project), Some(graph), Some(number), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if graph.is_empty() || !graph.chars().all(fine) {
            return Err(bad());
        }
        let number = number.parse().map_err(|_| bad())?;
        Ok(Self { project: ProjectName::new(project).map_err(|_| bad())?, graph: graph.to_owned(), number })
    }
}

impl Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A run began. What it will do is frozen here: a later change of `vice.toml` does not change it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunStarted {
    pub(crate) run: RunId,
    /// What actions get as environment when their step says none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) env: Option<EnvName>,
    /// The steps as they were written.
    pub(crate) definition: Steps,
    /// The digest of the definition as JSON.
    pub(crate) digest: Digest,
    /// How many steps may run at once.
    pub(crate) parallel: u32,
}

/// A run was gone on with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunResumed {
    pub(crate) run: RunId,
    /// Steps in doubt that are to run again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) redo: Vec<String>,
    /// Steps in doubt that somebody says have done their work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) skip: Vec<String>,
}

/// A step is about to act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepStarted {
    pub(crate) run: RunId,
    pub(crate) step: String,
    /// Counted from 1 over all parts of the run.
    pub(crate) attempt: u32,
}

/// How an attempt of a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// Well.
    Succeeded,
    /// Badly.
    Failed,
    /// What it did can't be told.
    InDoubt,
    /// It stopped in a safe place because the process was asked to end.
    Interrupted,
}

/// What a step failed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepError {
    /// The stable code, such as `verify.failed`.
    pub(crate) code: String,
    /// What it means.
    pub(crate) class: Class,
    /// The message and its causes.
    pub(crate) message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hints: Vec<String>,
}

/// An attempt of a step ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepFinished {
    pub(crate) run: RunId,
    pub(crate) step: String,
    pub(crate) attempt: u32,
    pub(crate) ending: Ending,
    pub(crate) took: Millis,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) outputs: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<StepError>,
    /// After which time it is tried again, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_in: Option<Millis>,
}

/// A step was skipped: its condition did not hold, or what it needs was skipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepSkipped {
    pub(crate) run: RunId,
    pub(crate) step: String,
}

/// A run was left in a safe place, to be gone on with later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunParked {
    pub(crate) run: RunId,
    /// Why, as a stable code such as `interrupted`.
    pub(crate) reason: String,
}

/// A run came to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunFinished {
    pub(crate) run: RunId,
    /// Whether no step failed.
    pub(crate) succeeded: bool,
    /// What it means.
    pub(crate) class: Class,
}

macro_rules! payloads {
    ($($type:ident = $kind:literal,)*) => {
        /// The types of all events of runs.
        #[cfg(test)]
        pub(crate) const KINDS: &[&str] = &[$($kind,)*];

        $(impl Payload for $type {
            const KIND: &'static str = $kind;
            fn subject(&self) -> String {
                self.run.to_string()
            }
        })*
    };
}

payloads! {
    RunStarted = "dev.cdeventsx.vice-graphrun.started.0.1.0",
    RunResumed = "dev.cdeventsx.vice-graphrun.resumed.0.1.0",
    StepStarted = "dev.cdeventsx.vice-graphrun.stepstarted.0.1.0",
    StepFinished = "dev.cdeventsx.vice-graphrun.stepfinished.0.1.0",
    StepSkipped = "dev.cdeventsx.vice-graphrun.stepskipped.0.1.0",
    RunParked = "dev.cdeventsx.vice-graphrun.parked.0.1.0",
    RunFinished = "dev.cdeventsx.vice-graphrun.finished.0.1.0",
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vice_core::manifest::{Command, StepSpec};
    use vice_core::testkit::golden::Corpus;

    use super::*;

    fn corpus() -> Corpus {
        Corpus::of(env!("CARGO_MANIFEST_DIR"))
    }

    fn run() -> RunId {
        "shop.release.12".parse().unwrap()
    }

    /// Steps of both kinds with everything set, and one with nothing.
    fn steps() -> Steps {
        let words = |words: &[(&str, &str)]| words.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let build = StepSpec {
            run: Some(Command(vec!["make".into(), "all".into()])),
            action: None,
            with: [("CC".to_owned(), json!("cc"))].into_iter().collect(),
            out: words(&[("v", "stdout"), ("log", "build.log")]),
            needs: Vec::new(),
            when: None,
            retry: 2,
            timeout: Some(Millis::from_secs(600)),
        };
        let ship = StepSpec {
            run: None,
            action: Some("deploy".into()),
            with: [("version".to_owned(), json!("{{build.v}}")), ("wait".to_owned(), json!(true))]
                .into_iter()
                .collect(),
            needs: vec!["build".into()],
            when: Some("{{build.v}} != 1".into()),
            ..StepSpec::default()
        };
        let rest = StepSpec { run: Some(Command(vec!["true".into()])), ..StepSpec::default() };
        [("build", build), ("ship", ship), ("rest", rest)].map(|(name, step)| (name.to_owned(), step)).into()
    }

    #[test]
    fn runs_are_read_as_they_were_written() {
        let digest = Digest::of(b"definition");
        let started = |env: Option<&str>| RunStarted {
            run: run(),
            env: env.map(|env| EnvName::new(env).unwrap()),
            definition: steps(),
            digest,
            parallel: 4,
        };
        corpus().hold(&[started(Some("prod")), started(None)]);
        let resumed = |redo: &[&str], skip: &[&str]| RunResumed {
            run: run(),
            redo: redo.iter().map(|step| (*step).to_owned()).collect(),
            skip: skip.iter().map(|step| (*step).to_owned()).collect(),
        };
        corpus().hold(&[resumed(&["build"], &["ship"]), resumed(&[], &[])]);
        corpus().hold(&[RunParked { run: run(), reason: "interrupted".into() }]);
        corpus().hold(&Class::ALL.map(|class| RunFinished { run: run(), succeeded: class == Class::Done, class }));
    }

    #[test]
    fn steps_are_read_as_they_were_written() {
        let (step, attempt) = (|| "build".to_owned(), 2);
        corpus().hold(&[StepStarted { run: run(), step: step(), attempt }]);
        corpus().hold(&[StepSkipped { run: run(), step: step() }]);
        let finished = |(ending, outputs, error, retry_in)| StepFinished {
            run: run(),
            step: step(),
            attempt,
            ending,
            took: Millis(1234),
            outputs,
            error,
            retry_in,
        };
        let error = |hints: &[&str]| StepError {
            code: "verify.failed".into(),
            class: Class::Verification,
            message: "A check failed.".into(),
            hints: hints.iter().map(|hint| (*hint).to_owned()).collect(),
        };
        let mut outputs = Map::new();
        outputs.insert("v".into(), json!("7"));
        corpus().hold(&[
            finished((Ending::Succeeded, outputs, None, None)),
            finished((Ending::Failed, Map::new(), Some(error(&["Look."])), Some(Millis(2000)))),
            finished((Ending::InDoubt, Map::new(), Some(error(&[])), None)),
            finished((Ending::Interrupted, Map::new(), None, None)),
        ]);
    }

    #[test]
    fn every_type_of_this_crate_has_an_entry() {
        corpus().has_every_type();
    }

    #[test]
    fn run_ids_survive_the_round_trip() {
        let id: RunId = "shop.release.12".parse().unwrap();
        assert_eq!(id.to_string(), "shop.release.12");
        assert_eq!(RunId::of_stream(&id.stream()), Some(id));
        for bad in ["", "shop", "shop.release", "shop.release.x", "shop..1", "shop.a/b.1", "Shop.a.1", "a.b.1.2"] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
        assert_eq!(RunId::of_stream("rollout/shop/dev/1"), None);
    }

    #[test]
    fn kinds_are_custom_cdevents_of_this_crate() {
        for kind in KINDS {
            assert!(kind.starts_with("dev.cdeventsx.vice-graphrun.") && kind.ends_with(".0.1.0"), "{kind}");
        }
    }
}
