//! Numbers in a JSON document, from an HTTP server, a command or a plug-in, found by JSON Pointers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use url::Url;
use vice_core::capability::BackendInfo;
use vice_core::manifest::{MetricCounts, MetricKind, MetricSpec};
use vice_core::port::command::{CommandRunner, CommandSpec, EnvValue};
use vice_core::secret::Masker;
use vice_core::{Millis, Result};

use super::http::{Http, refused};
use super::number::{Histogram, Numbers, count};
use super::program::Program;
use super::prometheus::{check_age, shown};
use super::scene::{Asked, seconds};
use super::source::{Ask, Growth, Tally};
use super::trouble::Trouble;

/// How long a command may take when nobody says.
const COMMAND_TIMEOUT: Millis = Millis::from_secs(10);

/// Where the document comes from.
pub(super) enum Origin {
    Web(Http),
    Command { runner: Arc<dyn CommandRunner>, dir: PathBuf, env: BTreeMap<String, EnvValue>, masker: Masker },
    Program(Box<Program>),
}

/// A document with the metric's numbers.
pub(super) struct Document {
    pub(super) spec: MetricSpec,
    pub(super) origin: Origin,
}

impl Document {
    async fn fetch(&self, asked: Asked<'_>) -> Result<Value, Trouble> {
        match &self.origin {
            Origin::Web(http) => {
                let url = asked.url(self.spec.json.as_deref().unwrap_or_default());
                let url = url.map_err(|fault| Trouble::refused(fault.to_string()))?;
                let answer = http.get(&url).await?;
                if !answer.status.is_success() {
                    return Err(refused(answer.status, ""));
                }
                parse(&answer.body)
            }
            Origin::Command { runner, dir, env, masker } => {
                let spec = self.command(asked, dir, env, masker)?;
                let output = runner.run(spec).await.map_err(|fault| Trouble::refused(fault.chain().join(": ")))?;
                if !output.ok() {
                    return Err(Trouble::failed(format!("The command failed: {}.", output.failure())));
                }
                if output.truncated {
                    return Err(Trouble::failed("The command printed more than a document of numbers may have."));
                }
                parse(output.stdout.as_bytes())
            }
            Origin::Program(program) => program.measure(&self.spec, asked).await,
        }
    }

    fn command(
        &self,
        asked: Asked<'_>,
        dir: &Path,
        env: &BTreeMap<String, EnvValue>,
        masker: &Masker,
    ) -> Result<CommandSpec, Trouble> {
        let words = self.spec.command.iter().flat_map(|command| &command.0);
        let argv: Result<Vec<String>> = words.map(|word| asked.plain(word)).collect();
        let argv = argv.map_err(|fault| Trouble::refused(fault.to_string()))?;
        let mut spec = CommandSpec::new(argv, dir.to_owned(), self.spec.timeout.unwrap_or(COMMAND_TIMEOUT));
        spec.env = env.clone();
        let own = [
            ("VICE_PROJECT", asked.scope.project.to_string()),
            ("VICE_ENV", asked.scope.env.to_string()),
            ("VICE_VERSION", asked.version.to_owned()),
            ("VICE_FROM", seconds(asked.window.from.as_millisecond())),
            ("VICE_UNTIL", seconds(asked.window.until.as_millisecond())),
        ];
        spec.env.extend(own.map(|(name, value)| (name.to_owned(), EnvValue::Plain(value))));
        spec.masker = masker.clone();
        Ok(spec)
    }

    /// What stands at a pointer; none when nothing does.
    fn at<'a>(&self, document: &'a Value, asked: Asked<'_>, pointer: &str) -> Result<Option<&'a Value>, Trouble> {
        let pointer = asked.pointer(pointer).map_err(|fault| Trouble::refused(fault.to_string()))?;
        Ok(document.pointer(&pointer).filter(|value| !value.is_null()))
    }

    fn required<'a>(
        &self,
        document: &'a Value,
        asked: Asked<'_>,
        key: &str,
        pointer: Option<&String>,
    ) -> Result<&'a Value, Trouble> {
        let default = format!("/{key}");
        let pointer = pointer.unwrap_or(&default);
        let found = self.at(document, asked, pointer)?;
        found.ok_or_else(|| Trouble::no_series(format!("The document has nothing at {pointer} (`{key}`).")))
    }

    fn numbers(&self, document: &Value, asked: Asked<'_>) -> Result<Numbers, Trouble> {
        let spec = &self.spec;
        match spec.kind {
            MetricKind::Errors => {
                let total = whole(self.required(document, asked, "total", spec.total.as_ref())?, "total")?;
                let bad = whole(self.required(document, asked, "bad", spec.bad.as_ref())?, "bad")?;
                Numbers::errors(total, bad)
            }
            MetricKind::Latency => {
                let buckets = self.required(document, asked, "buckets", spec.buckets.as_ref())?;
                let wrong = || Trouble::failed("`buckets` must be an object of counts by upper bound.");
                let mut edges = Vec::new();
                for (edge, value) in buckets.as_object().ok_or_else(wrong)? {
                    let edge: f64 = edge.trim_start_matches('+').parse().map_err(|_| wrong())?;
                    edges.push((edge, whole(value, "A bucket")?));
                }
                Histogram::cumulative(edges).map(Numbers::Times)
            }
            MetricKind::Health => {
                let scores = self.required(document, asked, "scores", spec.scores.as_ref())?;
                let list = scores.as_array().ok_or_else(|| Trouble::failed("`scores` must be a list of numbers."))?;
                let scores: Result<Vec<f64>, Trouble> = list.iter().map(|score| number(score, "A score")).collect();
                let expected = match &spec.total {
                    Some(total) => Some(whole(self.required(document, asked, "total", Some(total))?, "total")?),
                    None => None,
                };
                Numbers::scores(&scores?, expected)
            }
        }
    }
}

fn parse(body: &[u8]) -> Result<Value, Trouble> {
    // The parser's error has a place and no content.
    serde_json::from_slice(body).map_err(|error| Trouble::failed(format!("The document is not JSON: {error}.")))
}

fn number(value: &Value, what: &str) -> Result<f64, Trouble> {
    let parsed = value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    parsed.ok_or_else(|| Trouble::failed(format!("{what} is not a number.")))
}

fn whole(value: &Value, what: &str) -> Result<u64, Trouble> {
    count(number(value, what)?, what)
}

#[async_trait]
impl Ask for Document {
    fn describe(&self) -> BackendInfo {
        match &self.origin {
            Origin::Web(_) => {
                let url = self.spec.json.as_deref().unwrap_or_default();
                let location = Url::parse(url).map_or_else(|_| "?".to_owned(), |url| shown(&url));
                BackendInfo { kind: "json", location, shared: true }
            }
            Origin::Command { .. } => {
                let program = self.spec.command.as_ref().and_then(|command| command.0.first());
                BackendInfo { kind: "command", location: program.cloned().unwrap_or_default(), shared: false }
            }
            Origin::Program(program) => program.describe(),
        }
    }

    fn growth(&self) -> Growth {
        match self.spec.counts {
            Some(MetricCounts::Cumulative) => Growth::Cumulative { from_zero: false },
            _ => Growth::Window,
        }
    }

    async fn ask(&self, asked: Asked<'_>) -> Result<Vec<Tally>, Trouble> {
        let document = self.fetch(asked).await?;
        if let Some(newest) = &self.spec.newest {
            let newest = self.required(&document, asked, "newest", Some(newest))?;
            check_age(number(newest, "`newest`")?, asked)?;
        }
        let numbers = self.numbers(&document, asked)?;
        Ok(vec![Tally { process: String::new(), numbers }])
    }
}
