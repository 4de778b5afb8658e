//! The metrics of an environment: which there are, where each comes from, and where each stood after the last window.
//!
//! Owns the sources and the marks between windows. It judges nothing: readings go to the engine as they are.

mod document;
mod front;
mod http;
mod marks;
mod number;
mod program;
mod prometheus;
mod sample;
mod scene;
mod secrets;
mod series;
mod source;
pub mod suite;
mod trouble;

#[cfg(test)]
mod lab;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use vice_core::app::App;
use vice_core::capability::BackendInfo;
use vice_core::id::{EnvName, Scope};
use vice_core::manifest::{MetricKind, MetricOrigin, MetricSpec, Project};
use vice_core::port::config::ResolvedConfig;
use vice_core::port::metric::{Metered, MetricMark, MetricSource, MetricWindow};
use vice_core::secret::Masker;
use vice_core::{Code, Fault, Result};

use self::document::{Document, Origin};
pub use self::front::FrontCounts;
use self::front::FrontEnd;
use self::http::Http;
use self::marks::MarkFile;
use self::program::Program;
use self::prometheus::Prometheus;
pub use self::prometheus::{RangeAnswer, RangeQuery};
pub use self::sample::{Sample, parse_sample};
use self::series::OwnSeries;
use self::source::Source;

/// The metrics that hold in an environment, in the order of `vice.toml`. Without any, an environment with the built-in
/// front end is judged by what that counts.
#[must_use]
pub fn specs(project: &Project, env: &EnvName, has_front: bool) -> Vec<(String, MetricSpec)> {
    let named = project.manifest.metric.iter().filter(|(_, spec)| spec.applies(env));
    let specs: Vec<(String, MetricSpec)> = named.map(|(name, spec)| (name.clone(), spec.clone())).collect();
    if !specs.is_empty() || !has_front {
        return specs;
    }
    [MetricKind::Errors, MetricKind::Latency]
        .map(|kind| (format!("front-{}", kind.word()), MetricSpec::of_front(kind)))
        .into()
}

/// One metric with its source.
pub struct Meter {
    /// Its name in `vice.toml`.
    pub name: String,
    /// What `vice.toml` says of it.
    pub spec: MetricSpec,
    source: Arc<dyn MetricSource>,
    mark: MetricMark,
}

/// The metrics of one rollout.
pub struct Meters {
    meters: Vec<Meter>,
    file: MarkFile,
}

impl Meters {
    /// The metrics of these names, each where the last window left it. Asks nobody yet, and does not look at others: what
    /// a rollout does not use can't keep it from beginning.
    ///
    /// # Errors
    /// `ConfigInvalid` for a secret that does not exist, `Unsupported` for `front` where there is none.
    pub async fn open(
        app: &App,
        project: &Arc<Project>,
        scope: &Scope,
        front: Option<Arc<dyn FrontCounts>>,
        rollout: &str,
        names: &BTreeSet<&str>,
    ) -> Result<Self> {
        let mut specs = specs(project, &scope.env, front.is_some());
        specs.retain(|(name, _)| names.contains(name.as_str()));
        let needs = |spec: &MetricSpec| spec.command.is_some() || secrets::are_needed(spec);
        let config = match specs.iter().any(|(_, spec)| needs(spec)) {
            true => Some(app.config.resolve(project, &scope.env).await?),
            false => None,
        };
        let file = MarkFile::new(&app.workspace.state, scope, rollout);
        let mut marks = file.load();
        let mut meters = Vec::new();
        for (name, spec) in specs {
            let parts = Parts { app, project, scope, front: front.as_ref(), config: config.as_ref() };
            let source = parts.source(&name, &spec)?;
            let mark = marks.remove(&name).unwrap_or_default();
            meters.push(Meter { name, spec, source, mark });
        }
        Ok(Self { meters, file })
    }

    /// The metrics in order: the number of a metric is its place here.
    #[must_use]
    pub fn metrics(&self) -> &[Meter] {
        &self.meters
    }

    /// Looks before the first exposure. `window` is the time just before it.
    ///
    /// # Errors
    /// The first metric that can't be asked, before anything has been changed.
    pub async fn begin(&mut self, window: &MetricWindow) -> Result<()> {
        let begun = self.meters.iter().map(|meter| meter.source.begin(window));
        for (mark, begun) in futures::future::join_all(begun).await.into_iter().enumerate() {
            let begun = begun?;
            if let Some(meter) = self.meters.get_mut(mark) {
                meter.mark = begun;
            }
        }
        self.keep();
        Ok(())
    }

    /// Reads one window of every metric, in order.
    pub async fn read(&mut self, window: &MetricWindow) -> Vec<Metered> {
        let reads = self.meters.iter().map(|meter| meter.source.read(window, &meter.mark));
        let read = futures::future::join_all(reads).await;
        for (meter, metered) in self.meters.iter_mut().zip(&read) {
            meter.mark = metered.mark.clone();
        }
        self.keep();
        read
    }

    fn keep(&self) {
        let marks = self.meters.iter().map(|meter| (meter.name.clone(), meter.mark.clone())).collect();
        self.file.store(marks);
    }
}

impl Meter {
    /// What and where its source is.
    #[must_use]
    pub fn describe(&self) -> BackendInfo {
        self.source.describe()
    }
}

/// What sources are made from.
struct Parts<'a> {
    app: &'a App,
    project: &'a Arc<Project>,
    scope: &'a Scope,
    front: Option<&'a Arc<dyn FrontCounts>>,
    config: Option<&'a ResolvedConfig>,
}

impl Parts<'_> {
    fn source(&self, name: &str, spec: &MetricSpec) -> Result<Arc<dyn MetricSource>> {
        let (headers, masker) = secrets::resolve(name, spec, &self.app.env, self.config)?;
        let origin = spec
            .origin()
            .map_err(|(key, why)| self.project.invalid(&["metric", name, key], format!("The metric {name} {why}.")))?;
        Ok(match origin {
            MetricOrigin::Prometheus => {
                let prometheus = Prometheus::new(spec, Http::new(spec, &headers)?);
                let at = |fault: Fault| fault.at(self.project.place(&["metric", name, "prometheus"], ""));
                self.with(name, spec, masker, prometheus.map_err(at)?)
            }
            MetricOrigin::Json => {
                let origin = Origin::Web(Http::new(spec, &headers)?);
                self.with(name, spec, masker, Document { spec: spec.clone(), origin })
            }
            MetricOrigin::Command => {
                let origin = Origin::Command {
                    runner: Arc::clone(&self.app.runner),
                    dir: self.project.root.clone(),
                    env: self.config.map(ResolvedConfig::environment).unwrap_or_default(),
                    masker: masker.clone(),
                };
                self.with(name, spec, masker, Document { spec: spec.clone(), origin })
            }
            MetricOrigin::Plugin => {
                let at = |fault: Fault| fault.at(self.project.place(&["metric", name, "plugin"], ""));
                let program = Program::new(spec, &self.app.env, self.project, self.scope).map_err(at)?;
                self.with(
                    name,
                    spec,
                    masker,
                    Document { spec: spec.clone(), origin: Origin::Program(Box::new(program)) },
                )
            }
            MetricOrigin::Series | MetricOrigin::Checks => {
                let series = OwnSeries { spec: spec.clone(), store: Arc::clone(&self.app.series) };
                self.with(name, spec, masker, series)
            }
            MetricOrigin::Front => {
                let front = self.front.map(Arc::clone).ok_or_else(|| self.no_front(name))?;
                self.with(
                    name,
                    spec,
                    masker,
                    FrontEnd { kind: spec.kind, per_client: spec.per_client.unwrap_or(true), front },
                )
            }
        })
    }

    fn with<A: source::Ask>(&self, name: &str, spec: &MetricSpec, masker: Masker, ask: A) -> Arc<dyn MetricSource> {
        Arc::new(Source { scope: self.scope.clone(), spec: spec.clone(), name: name.to_owned(), ask, masker })
    }

    fn no_front(&self, name: &str) -> Fault {
        let message = format!("The metric {name} is of the built-in front end, and {} has none.", self.scope);
        Fault::new(Code::Unsupported, message)
            .at(self.project.place(&["metric", name, "front"], ""))
            .hint("Only the local target has one. Name another source, or leave this environment out with `only`.")
    }
}
