//! `[metric.NAME]`: what a rollout is judged by, and where the numbers come from.
//!
//! Owns the keys and what they mean together. Reads nothing: sources are the business of whoever implements
//! [`MetricSource`](crate::port::metric::MetricSource).

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::channel::is_name;
use super::types::HttpHeaderMap;
use super::values::{Command, OneOrMany};
use crate::id::EnvName;
use crate::template;
use crate::time::Millis;

/// The names that queries, URLs, pointers and arguments of a metric can use.
pub const METRIC_VARIABLES: &[&str] =
    &["version", "release", "window", "env", "project", "stratum", "half", "from", "until"];

/// How many strata a metric may have.
pub const STRATA_MAX: usize = 64;

/// What one exposure of a metric can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// It is good or bad: requests and errors, sessions and crashes.
    #[default]
    Errors,
    /// It takes time: a histogram, compared at the baseline's p50, p90, p99 and p99.9 of before the change.
    Latency,
    /// It has a health score from 0 (dead) to 1 (well).
    Health,
}

impl MetricKind {
    /// The word in `vice.toml`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Health => "health",
        }
    }
}

/// What the numbers of a document count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricCounts {
    /// Everything since the process began; it only grows, and begins again at a restart.
    Cumulative,
    /// What happened in the window that was asked for.
    Window,
}

/// A metric: exactly one of `prometheus`, `json`, `command`, `plugin`, `series`, `front` and `checks` says where it comes from.
/// Queries, URLs, JSON Pointers and arguments can use `{{version}}`, `{{window}}` (such as `60s`), `{{from}}` and
/// `{{until}}` (Unix seconds), `{{env}}`, `{{project}}` and `{{stratum}}`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricSpec {
    /// What one exposure can show: errors (when absent), latency or health.
    #[serde(default)]
    pub kind: MetricKind,

    /// The URL of a Prometheus, or of anything that has its query API, such as VictoriaMetrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<String>,
    /// The URL of a JSON document with the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
    /// A command that prints a JSON document with the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// The name of a program `vice-backend-NAME` that has such a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// plugin: what the program is told as it stands here.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// The name of vice's own series: `NAME_total` and `NAME_bad`, `NAME_bucket` with the label `le`, or, for health,
    /// `NAME` with a score a point; each with the label `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// What the built-in front end of the local target counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub front: bool,
    /// What probes of these checks found; `*` means all checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<OneOrMany>,

    /// errors: the bad ones, as PromQL (prometheus) or a JSON Pointer (json, command, plugin; `/bad` when absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad: Option<String>,
    /// errors, health: all exposures, as PromQL (prometheus) or a JSON Pointer (json, command, plugin; `/total` when absent).
    /// Count them when the service hands them out, so that one that never reports is not lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// latency: a histogram: PromQL whose series have the label `le`, or a JSON Pointer (`/buckets` when absent) to an
    /// object of counts by upper bound. Each bucket includes the smaller ones, as in Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<String>,
    /// health: PromQL with a score a series, or a JSON Pointer (`/scores` when absent) to a list of scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<String>,
    /// prometheus, json, command, plugin: when the newest number was made, in Unix seconds: PromQL such as
    /// `max(timestamp(x))`, or a JSON Pointer. One that is older than the window makes it late instead of quiet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// json, command, plugin: what the numbers count: `cumulative` (since the process began) or `window`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<MetricCounts>,
    /// series: labels that must have these values.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub labels: IndexMap<String, String>,
    /// Compare only like with like: one comparison for each of these values of `{{stratum}}`, such as regions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strata: Vec<String>,
    /// prometheus: two regular expressions for `{{half}}` that divide the old version's exposures, such as by instance.
    /// The old version is then compared with itself as well: a metric that sees a difference there is trusted less.
    /// Where the whole is asked for, `{{half}}` is `.*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub halves: Vec<String>,
    /// front: whether the old version's instances, in two groups, are compared with each other: a metric that sees a
    /// difference there is trusted less. True when absent; it needs two instances of the old version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<bool>,
    /// front, errors: whether failures of one client in one window count once, so that a client that retries is no
    /// flood of failures. True when absent; see `client_header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_client: Option<bool>,
    /// latency: how far back the baseline's thresholds are taken from; 1 h when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Millis>,

    /// prometheus, json: headers with values that anyone may read.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub headers: HttpHeaderMap,
    /// prometheus, json: headers whose values are secrets, each by its configuration key or `env:NAME`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub secret_headers: HttpHeaderMap,
    /// prometheus, json: the configuration key or `env:NAME` of a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<String>,
    /// How long one answer may take; 10 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,

    /// Whether it can stop a rollout alone, with a share of the allowed error of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub critical: bool,
    /// How much it counts beside the others; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// How many times worse than the baseline still counts as equal, at least 1; 1.05 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// The largest share of bad exposures, whatever the baseline does; between 0 and 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<f64>,
    /// A bad rate below which it does not matter how the two compare, because it is negligible; of latencies the share
    /// beyond each threshold. 0.001 when absent, 0 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// Whether bad exposures come in bursts, many of one cause; each then counts for less, by how much they do so in the
    /// baseline.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bursty: bool,
    /// Only in these environments; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<EnvName>,
}

/// What is wrong with a metric: the key at fault, and text that continues "The metric x …".
pub type MetricSlip = (&'static str, String);

/// Where the numbers of a metric come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricOrigin {
    /// A Prometheus or its like.
    Prometheus,
    /// A JSON document by HTTP.
    Json,
    /// A JSON document from a command.
    Command,
    /// A JSON document from a program that is asked again and again.
    Plugin,
    /// vice's own series.
    Series,
    /// The built-in front end.
    Front,
    /// Probes of checks.
    Checks,
}

impl MetricOrigin {
    /// The key in `vice.toml`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Json => "json",
            Self::Command => "command",
            Self::Plugin => "plugin",
            Self::Series => "series",
            Self::Front => "front",
            Self::Checks => "checks",
        }
    }

    const fn is_http(self) -> bool {
        matches!(self, Self::Prometheus | Self::Json)
    }

    const fn is_document(self) -> bool {
        matches!(self, Self::Json | Self::Command | Self::Plugin)
    }
}

impl MetricSpec {
    /// The metric of the built-in front end, which the local target has without being asked.
    #[must_use]
    pub fn of_front(kind: MetricKind) -> Self {
        Self { kind, front: true, ..Self::default() }
    }

    /// Whether it is for this environment.
    #[must_use]
    pub fn applies(&self, env: &EnvName) -> bool {
        self.only.is_empty() || self.only.contains(env)
    }

    /// Where the numbers come from.
    ///
    /// # Errors
    /// When not exactly one source is given.
    pub fn origin(&self) -> Result<MetricOrigin, MetricSlip> {
        let given: Vec<MetricOrigin> = [
            (self.prometheus.is_some(), MetricOrigin::Prometheus),
            (self.json.is_some(), MetricOrigin::Json),
            (self.command.is_some(), MetricOrigin::Command),
            (self.plugin.is_some(), MetricOrigin::Plugin),
            (self.series.is_some(), MetricOrigin::Series),
            (self.front, MetricOrigin::Front),
            (self.checks.is_some(), MetricOrigin::Checks),
        ]
        .into_iter()
        .filter_map(|(given, origin)| given.then_some(origin))
        .collect();
        match given.as_slice() {
            [origin] => Ok(*origin),
            [] => Err((
                "kind",
                "says nowhere to read: give it one of prometheus, json, command, plugin, series, front and checks"
                    .into(),
            )),
            [_, second, ..] => {
                let keys: Vec<&str> = given.iter().map(|origin| origin.key()).collect();
                Err((
                    second.key(),
                    format!("has more than one source: {}; give each a metric of its own", keys.join(", ")),
                ))
            }
        }
    }

    /// Checks what the types can't.
    ///
    /// # Errors
    /// The first slip.
    pub fn check(&self) -> Result<(), MetricSlip> {
        let origin = self.origin()?;
        self.check_numbers()?;
        self.check_keys(origin)?;
        self.check_queries(origin)?;
        self.check_templates(origin)
    }

    fn check_numbers(&self) -> Result<(), MetricSlip> {
        let outside = |value: Option<f64>, fine: fn(f64) -> bool| value.is_some_and(|value| !fine(value));
        if outside(self.weight, |weight| weight > 0.0 && weight <= 1e6) {
            return Err(("weight", "has a weight that is not a number above 0".into()));
        }
        if outside(self.margin, |margin| (1.0..=100.0).contains(&margin)) {
            return Err(("margin", "has a margin outside of 1 to 100; 1.05 tolerates 5 % more".into()));
        }
        if outside(self.slo, |slo| slo > 0.0 && slo < 1.0) {
            return Err(("slo", "has an slo that is not between 0 and 1; 0.01 allows 1 % bad ones".into()));
        }
        if outside(self.floor, |floor| (0.0..1.0).contains(&floor)) {
            return Err(("floor", "has a floor that is not from 0 to 1; 0.001 neglects 1 bad one in 1000".into()));
        }
        if self.timeout == Some(Millis::ZERO) {
            return Err(("timeout", "has a timeout of nothing".into()));
        }
        if self.history == Some(Millis::ZERO) {
            return Err(("history", "has a history of nothing".into()));
        }
        if self.strata.len() > STRATA_MAX {
            return Err(("strata", format!("has {} strata; {STRATA_MAX} is the limit", self.strata.len())));
        }
        if !matches!(self.halves.as_slice(), [] | [_, _]) {
            return Err(("halves", format!("has {} `halves`; there are two", self.halves.len())));
        }
        if self.halves.len() == 2 && self.halves[0] == self.halves[1] {
            return Err(("halves", "has the same half twice, which would never differ from itself".into()));
        }
        let mut seen = self.strata.iter().collect::<Vec<_>>();
        seen.sort();
        if seen.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(("strata", "names a stratum twice, so its numbers would count twice".into()));
        }
        Ok(())
    }

    /// Refuses keys that would silently do nothing.
    fn check_keys(&self, origin: MetricOrigin) -> Result<(), MetricSlip> {
        use MetricKind::{Errors, Health, Latency};
        let queries = origin == MetricOrigin::Prometheus || origin.is_document();
        let given = [
            ("bad", self.bad.is_some(), queries && self.kind == Errors),
            ("total", self.total.is_some(), queries && self.kind != Latency),
            ("buckets", self.buckets.is_some(), queries && self.kind == Latency),
            ("scores", self.scores.is_some(), queries && self.kind == Health),
            ("newest", self.newest.is_some(), queries),
            ("counts", self.counts.is_some(), origin.is_document() && self.kind != Health),
            ("labels", !self.labels.is_empty(), origin == MetricOrigin::Series),
            ("settings", !self.settings.is_empty(), origin == MetricOrigin::Plugin),
            ("strata", !self.strata.is_empty(), queries || origin == MetricOrigin::Series),
            ("halves", !self.halves.is_empty(), origin == MetricOrigin::Prometheus),
            ("sensor", self.sensor.is_some(), origin == MetricOrigin::Front),
            ("per_client", self.per_client.is_some(), origin == MetricOrigin::Front && self.kind == Errors),
            ("history", self.history.is_some(), self.kind == Latency),
            ("headers", !self.headers.is_empty(), origin.is_http()),
            ("secret_headers", !self.secret_headers.is_empty(), origin.is_http()),
            ("bearer", self.bearer.is_some(), origin.is_http()),
        ];
        let kind = self.kind.word();
        let useless = given.iter().find(|(_, given, useful)| *given && !*useful);
        if let Some((key, ..)) = useless {
            return Err((key, format!("has `{key}`, which means nothing for {kind} from `{}`", origin.key())));
        }
        let no_health = matches!(origin, MetricOrigin::Front | MetricOrigin::Checks);
        if self.kind == Health && no_health {
            return Err(("kind", format!("is of kind health, which `{}` can't tell", origin.key())));
        }
        Ok(())
    }

    fn check_queries(&self, origin: MetricOrigin) -> Result<(), MetricSlip> {
        if let Some(url) = self.prometheus.as_ref().or(self.json.as_ref())
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            return Err((origin.key(), "has a URL that begins with neither http:// nor https://".into()));
        }
        if self.plugin.as_ref().is_some_and(|name| !is_name(name)) {
            return Err(("plugin", "has a plug-in whose name is not of lower-case letters, digits and `-`".into()));
        }
        let missing =
            |key: &'static str, example: &str| Err((origin.key(), format!("needs `{key}`, such as {example}")));
        if origin == MetricOrigin::Prometheus {
            return match self.kind {
                MetricKind::Errors if self.total.is_none() => {
                    missing("total", "sum(increase(http_requests_total{version=\"{{version}}\"}[{{window}}]))")
                }
                MetricKind::Errors if self.bad.is_none() => missing(
                    "bad",
                    "sum(increase(http_requests_total{version=\"{{version}}\",code=~\"5..\"}[{{window}}])) or vector(0)",
                ),
                MetricKind::Latency if self.buckets.is_none() => missing(
                    "buckets",
                    "sum by (le) (increase(request_seconds_bucket{version=\"{{version}}\"}[{{window}}]))",
                ),
                MetricKind::Health if self.scores.is_none() => {
                    missing("scores", "avg by (client) (avg_over_time(health{version=\"{{version}}\"}[{{window}}]))")
                }
                _ => Ok(()),
            };
        }
        if !origin.is_document() {
            return Ok(());
        }
        if self.kind != MetricKind::Health && self.counts.is_none() {
            let why =
                "needs `counts`: \"cumulative\" when the numbers only grow, \"window\" when they are of the window";
            return Err((origin.key(), why.into()));
        }
        for (key, pointer) in self.texts().into_iter().filter(|(key, _)| is_pointer(key)) {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err((
                    key,
                    format!("has {pointer:?} where it needs a JSON Pointer such as \"/requests/{key}\""),
                ));
            }
        }
        Ok(())
    }

    /// The texts with templates in them, each with its key.
    fn texts(&self) -> Vec<(&'static str, &str)> {
        let own = [
            ("prometheus", &self.prometheus),
            ("json", &self.json),
            ("bad", &self.bad),
            ("total", &self.total),
            ("buckets", &self.buckets),
            ("scores", &self.scores),
            ("newest", &self.newest),
        ];
        let mut texts: Vec<(&'static str, &str)> =
            own.into_iter().filter_map(|(key, text)| Some((key, text.as_deref()?))).collect();
        texts.extend(self.command.iter().flat_map(|command| &command.0).map(|word| ("command", word.as_str())));
        texts.extend(self.labels.values().map(|value| ("labels", value.as_str())));
        texts
    }

    fn check_templates(&self, origin: MetricOrigin) -> Result<(), MetricSlip> {
        let mut used: Vec<(&'static str, Vec<String>)> = Vec::new();
        for (key, text) in self.texts() {
            let names =
                template::names(text).map_err(|fault| (key, format!("has a template that is not closed: {fault}")))?;
            if let Some(unknown) = names.iter().find(|name| !METRIC_VARIABLES.contains(&name.as_str())) {
                let known = METRIC_VARIABLES.join(", ");
                return Err((key, format!("uses {{{{{unknown}}}}}, which is not known; known are {known}")));
            }
            used.push((key, names));
        }
        let uses = |key: &str, name: &str| used.iter().any(|(it, names)| *it == key && names.iter().any(|n| n == name));
        let anywhere = |name: &str| used.iter().any(|(_, names)| names.iter().any(|n| n == name));
        if uses("prometheus", "version") {
            return Err(("prometheus", "has {{version}} in its URL; it belongs into the queries".into()));
        }
        self.check_arms(origin, &uses)?;
        if self.halves.is_empty() == anywhere("half") {
            let why = "has `halves` without {{half}} in its queries, or {{half}} without `halves`; it needs both";
            return Err(("halves", why.into()));
        }
        match (self.strata.is_empty(), anywhere("stratum")) {
            (true, true) => Err(("strata", "uses {{stratum}} and has no `strata`, such as [\"eu\", \"us\"]".into())),
            // A program is told the stratum by itself.
            (false, false) if origin != MetricOrigin::Plugin => {
                Err(("strata", "has `strata` and never uses {{stratum}}, so all would have the same numbers".into()))
            }
            _ => Ok(()),
        }
    }

    /// Two versions that read the same number would be compared with themselves, and never differ.
    fn check_arms(&self, origin: MetricOrigin, uses: &dyn Fn(&str, &str) -> bool) -> Result<(), MetricSlip> {
        let queries: &[(&'static str, &Option<String>)] =
            &[("bad", &self.bad), ("total", &self.total), ("buckets", &self.buckets), ("scores", &self.scores)];
        let same = "never uses {{version}}, so both versions would have the same numbers";
        match origin {
            MetricOrigin::Prometheus => {
                let blind = queries.iter().find(|(key, query)| query.is_some() && !uses(key, "version"));
                blind.map_or(Ok(()), |(key, _)| Err((*key, format!("has a query that {same}"))))
            }
            MetricOrigin::Json | MetricOrigin::Command if !uses(origin.key(), "version") => {
                let needed: &[&'static str] = match self.kind {
                    MetricKind::Errors => &["bad", "total"],
                    MetricKind::Latency => &["buckets"],
                    MetricKind::Health => &["scores"],
                };
                let blind = needed.iter().find(|key| !uses(key, "version"));
                blind.map_or(Ok(()), |key| Err((origin.key(), format!("has one document whose `{key}` {same}"))))
            }
            _ => Ok(()),
        }
    }
}

fn is_pointer(key: &str) -> bool {
    matches!(key, "bad" | "total" | "buckets" | "scores" | "newest")
}

#[cfg(test)]
mod tests {
    use crate::fault::Code;
    use crate::manifest::Project;

    fn parsed(metric: &str) -> crate::Result<Project> {
        let text = format!("name = \"shop\"\n[env.dev]\n[metric.m]\n{metric}\n");
        Project::parse("/p".into(), "vice.toml".into(), text)
    }

    const FINE: &[&str] = &[
        "front = true",
        "front = true\nkind = \"latency\"\ncritical = true\nweight = 2\nmargin = 1.25\nslo = 0.01\nbursty = true",
        "checks = \"*\"\nfloor = 0",
        "checks = [\"smoke\"]\nkind = \"latency\"",
        "series = \"probe\"\nlabels = { region = \"{{stratum}}\" }\nstrata = [\"eu\", \"us\"]",
        "series = \"wellness\"\nkind = \"health\"",
        "prometheus = \"http://x\"\nbad = 'b{v=\"{{version}}\"}'\ntotal = 't{v=\"{{version}}\"}[{{window}}]'\nbearer = \"env:T\"",
        "prometheus = \"http://x\"\nkind = \"latency\"\nbuckets = 'b{v=\"{{version}}\"}'\nhistory = \"2h\"",
        "json = \"http://x/{{version}}\"\ncounts = \"cumulative\"\nbad = \"/errors\"\ntotal = \"/requests\"",
        "json = \"http://x\"\ncounts = \"window\"\nbad = \"/{{version}}/bad\"\ntotal = \"/{{version}}/total\"",
        "command = [\"./count\", \"{{version}}\", \"{{from}}\"]\ncounts = \"window\"\ntimeout = \"3s\"",
        "plugin = \"tally\"\ncounts = \"window\"\nstrata = [\"eu\", \"us\"]\nsettings = { table = \"hits\" }",
        "command = [\"./score\", \"{{version}}\"]\nkind = \"health\"\nscores = \"/h\"\ntotal = \"/expected\"",
    ];

    #[test]
    fn sources_as_people_write_them_are_accepted() {
        for text in FINE {
            let project = parsed(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            assert!(project.manifest.metric["m"].origin().is_ok());
        }
    }

    #[test]
    fn slips_are_refused_with_their_place_and_the_remedy() {
        let cases = [
            ("", "says nowhere to read"),
            ("kind = \"errors\"", "says nowhere to read"),
            ("front = true\nchecks = \"*\"", "more than one source: front, checks"),
            ("front = true\nbad = \"x\"", "means nothing"),
            ("front = true\nkind = \"health\"", "can't tell"),
            ("front = true\nmargin = 0.5", "1 to 100"),
            ("front = true\nmargin = nan", "1 to 100"),
            ("front = true\nweight = -1", "above 0"),
            ("front = true\nweight = inf", "above 0"),
            ("front = true\nslo = 1.5", "between 0 and 1"),
            ("front = true\nfloor = -1", "0 to 1"),
            ("front = true\ntimeout = \"0s\"", "timeout of nothing"),
            ("front = true\nstrata = [\"a\"]", "means nothing"),
            ("prometheus = \"prom:9090\"\nbad = 'b{{version}}'\ntotal = 't{{version}}'", "http://"),
            ("prometheus = \"http://x\"", "needs `total`"),
            ("prometheus = \"http://x\"\ntotal = 't{{version}}'", "or vector(0)"),
            ("prometheus = \"http://x\"\nbad = 'b'\ntotal = 't{{version}}'", "same numbers"),
            ("prometheus = \"http://x\"\nbad = 'b{{verson}}'\ntotal = 't{{version}}'", "{{verson}}"),
            ("prometheus = \"http://x\"\nbad = 'b{{version'\ntotal = 't{{version}}'", "not closed"),
            ("prometheus = \"http://x\"\nkind = \"latency\"", "needs `buckets`"),
            ("prometheus = \"http://x\"\nkind = \"health\"", "needs `scores`"),
            ("json = \"http://x/{{version}}\"", "needs `counts`"),
            ("json = \"http://x\"\ncounts = \"window\"", "same numbers"),
            ("json = \"http://x/{{version}}\"\ncounts = \"window\"\nbad = \"errors\"", "JSON Pointer"),
            ("plugin = \"../sh\"\ncounts = \"window\"", "whose name"),
            ("plugin = \"tally\"", "needs `counts`"),
            ("front = true\nsettings = { a = 1 }", "means nothing"),
            ("series = \"x\"\nstrata = [\"eu\", \"eu\"]\nlabels = { r = \"{{stratum}}\" }", "twice"),
            ("series = \"x\"\nstrata = [\"eu\"]", "never uses {{stratum}}"),
            ("series = \"x\"\nlabels = { r = \"{{stratum}}\" }", "has no `strata`"),
            ("command = [\"x\", \"{{version}}\"]\ncounts = \"window\"\nbearer = \"k\"", "means nothing"),
        ];
        for (text, said) in cases {
            let fault = parsed(text).err().unwrap_or_else(|| panic!("{text:?} was accepted"));
            assert_eq!(fault.code(), Code::ManifestInvalid, "{text}");
            assert!(fault.to_string().contains(said), "{text}: {fault}");
            assert!(fault.place().is_some(), "{text}");
        }
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let fault = parsed("prometeus = \"http://x\"").unwrap_err();
        assert_eq!(fault.hints(), ["Did you mean `prometheus`?"]);
        assert!(parsed("kind = \"error\"\nfront = true").is_err());
        assert!(parsed("timeout = \"-5s\"\nfront = true").is_err());
    }
}
