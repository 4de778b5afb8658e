//! Scenarios: files of steps against a live system. This module owns what a scenario is, whatever it was written in;
//! `toml_file` and `hurl` read the two forms, `library` finds files and follows includes, `lint` says what makes no
//! sense. Nothing here talks to a system: that is [`crate::step`] and [`crate::play`].

pub(crate) mod csv;
pub(crate) mod expect;
pub(crate) mod hurl;
pub(crate) mod library;
pub(crate) mod lint;
pub(crate) mod names;
pub(crate) mod places;
pub(crate) mod toml_file;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use vice_core::fault::Place;
use vice_core::id::EnvName;
use vice_core::{Code, Fault, Millis};

use crate::query::predicate::Predicate;
use crate::query::{Filter, Query};

/// The largest file of scenarios, in bytes: many times what a person writes.
pub(crate) const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// So many steps a scenario may have with everything that it includes; more is a mistake or an attack.
pub(crate) const STEPS_MAX: usize = 10_000;

/// So many rows a table of data may have.
pub(crate) const ROWS_MAX: usize = 10_000;

/// The text of a file, kept for errors that point into it.
#[derive(Debug)]
pub(crate) struct Source {
    /// The file as the user knows it.
    pub(crate) file: String,
    /// Where it lies; relative paths in it start in its folder.
    pub(crate) path: PathBuf,
    /// All of it.
    pub(crate) text: Arc<str>,
}

/// A place in a file.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub(crate) source: Arc<Source>,
    /// Byte offsets.
    pub(crate) span: std::ops::Range<usize>,
}

impl Spot {
    /// The line, counted from 1.
    pub(crate) fn line(&self) -> usize {
        self.place("").line_column().0
    }

    /// As a place that the printer of faults understands.
    pub(crate) fn place(&self, label: &str) -> Place {
        Place {
            file: self.source.file.clone(),
            text: Arc::clone(&self.source.text),
            span: self.span.clone(),
            label: label.to_owned(),
        }
    }

    /// A fault about what stands here.
    pub(crate) fn invalid(&self, message: impl Into<String>) -> Fault {
        Fault::new(Code::ManifestInvalid, message).at(self.place(""))
    }
}

/// A scenario that can be played.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// Its name; unique among those that are found together.
    pub(crate) name: String,
    /// One sentence for people.
    pub(crate) about: Option<String>,
    /// Where it begins.
    pub(crate) spot: Spot,
    /// Words to choose by.
    pub(crate) tags: Vec<String>,
    /// Environments that it is for; all when empty.
    pub(crate) only: Vec<EnvName>,
    /// Variables with their values, which may be templates.
    pub(crate) vars: Vec<(String, Value)>,
    /// It is played once for each row; one row without values where there is no table.
    pub(crate) rows: Vec<Row>,
    /// Before the steps.
    pub(crate) setup: Vec<Step>,
    /// What it is about.
    pub(crate) steps: Vec<Step>,
    /// After the steps, whatever became of them.
    pub(crate) teardown: Vec<Step>,
    /// Whether cookies are kept from step to step.
    pub(crate) cookies: bool,
    /// Whether steps go on after one that did not pass.
    pub(crate) keep_going: bool,
    /// How long setup and steps may take together.
    pub(crate) timeout: Option<Millis>,
}

impl Scenario {
    /// All steps in the order in which they are played.
    pub(crate) fn all_steps(&self) -> impl Iterator<Item = &Step> {
        self.setup.iter().chain(&self.steps).chain(&self.teardown)
    }
}

/// One row of a table of data.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    /// What tells it from the others; empty where there is no table.
    pub(crate) label: String,
    pub(crate) values: BTreeMap<String, Value>,
}

/// One step.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) spot: Spot,
    pub(crate) action: Action,
    pub(crate) expect: Vec<Assertion>,
    pub(crate) captures: Vec<StepCapture>,
    /// How long one attempt may take.
    pub(crate) timeout: Option<Millis>,
    /// Try again until it passes.
    pub(crate) retry: Option<Retry>,
    /// Neighbours with the same word here run at the same time.
    pub(crate) parallel: Option<String>,
}

/// When to try a step again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// For so long.
    pub(crate) within: Option<Millis>,
    /// At most so many times again.
    pub(crate) times: Option<u32>,
    /// With such a pause.
    pub(crate) every: Millis,
}

/// Something that must hold.
#[derive(Debug, Clone)]
pub(crate) struct Assertion {
    pub(crate) query: Query,
    pub(crate) filters: Vec<Filter>,
    pub(crate) predicate: Predicate,
    pub(crate) spot: Spot,
}

/// What a step takes from its answer for later ones.
#[derive(Debug, Clone)]
pub(crate) struct StepCapture {
    pub(crate) name: String,
    pub(crate) query: Query,
    pub(crate) filters: Vec<Filter>,
    /// Whether its value must not be shown.
    pub(crate) secret: bool,
    pub(crate) spot: Spot,
}

/// What a step does.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Http(Box<HttpStep>),
    Tcp { address: String, send: Option<String> },
    Tls { address: String, server_name: Option<String>, verify: bool, ca: Option<String> },
    Dns { name: String, kind: String, server: Option<String> },
    Postgres { url: String, query: Option<String> },
    Command { argv: Vec<String>, stdin: Option<String> },
}

impl Action {
    /// The word for the kind of step.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp { .. } => "tcp",
            Self::Tls { .. } => "tls",
            Self::Dns { .. } => "dns",
            Self::Postgres { .. } => "postgres",
            Self::Command { .. } => "command",
        }
    }

    /// What it looks at, as the file says it.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Http(http) => format!("{} {}", http.method, http.url),
            Self::Tcp { address, .. } | Self::Tls { address, .. } => address.clone(),
            Self::Dns { name, kind, .. } => format!("{kind} {name}"),
            Self::Postgres { url, .. } => url.clone(),
            Self::Command { argv, .. } => argv.join(" "),
        }
    }
}

/// An HTTP request.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpStep {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) cookies: Vec<(String, String)>,
    pub(crate) basic: Option<(String, String)>,
    pub(crate) body: Body,
    /// How many redirects are followed; none when zero.
    pub(crate) follow: u32,
    pub(crate) protocol: Protocol,
    /// Whether compression is offered and undone.
    pub(crate) compressed: bool,
    /// Whether the certificate must be trusted.
    pub(crate) verify: bool,
    /// A file with roots to trust instead of the machine's.
    pub(crate) ca: Option<String>,
}

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum Protocol {
    /// What both sides agree on; 1.1 without TLS.
    #[default]
    Any,
    /// 1.1 only.
    Http1,
    /// 2 only; without TLS by prior knowledge.
    Http2,
}

/// The body of a request.
#[derive(Debug, Clone, Default)]
pub(crate) enum Body {
    #[default]
    None,
    Text(String),
    Json(Value),
    Form(Vec<(String, String)>),
    Multipart(Vec<Part>),
    /// A file beside the scenario.
    File(String),
}

/// A part of a multipart body.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// A text, or a file beside the scenario.
    pub(crate) content: PartContent,
    pub(crate) content_type: Option<String>,
}

/// What a part holds.
#[derive(Debug, Clone)]
pub(crate) enum PartContent {
    Text(String),
    File(String),
}
