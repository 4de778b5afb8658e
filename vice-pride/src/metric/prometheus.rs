//! Prometheus and whatever has its query API. One instant query a number, at the window's end, so that the answer is the
//! same whenever it is asked.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use url::Url;
use vice_core::capability::BackendInfo;
use vice_core::manifest::{MetricKind, MetricSpec};
use vice_core::{Code, Context, Fault, Result};

use super::http::{Http, refused};
use super::number::{Histogram, Numbers, count};
use super::scene::{Asked, seconds};
use super::source::{Ask, Growth, Tally};
use super::trouble::Trouble;

/// The answer of the query API.
#[derive(Debug, Deserialize)]
struct Reply {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

#[derive(Debug, Deserialize)]
struct Series {
    #[serde(default)]
    metric: serde_json::Map<String, Value>,
    value: (f64, String),
}

/// One number of a result, with the label `le` where it has one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) le: Option<String>,
    pub(super) value: f64,
}

/// One Prometheus.
pub(super) struct Prometheus {
    http: Http,
    spec: MetricSpec,
    url: Url,
}

impl Prometheus {
    pub(super) fn new(spec: &MetricSpec, http: Http) -> Result<Self> {
        let url = spec.prometheus.as_deref().unwrap_or_default();
        let url = query_url(url)?;
        Ok(Self { http, spec: spec.clone(), url })
    }

    /// The samples of an instant query; none when nothing matches.
    async fn query(&self, asked: Asked<'_>, template: &str) -> Result<Vec<Sample>, Trouble> {
        let query = asked.promql(template).map_err(|fault| Trouble::refused(fault.to_string()))?;
        let time = seconds(asked.window.until.as_millisecond());
        let answer = self.http.post(self.url.as_str(), &[("query", query), ("time", time)]).await?;
        samples(answer.status, &answer.body)
    }

    /// The sum of a query's samples; none when nothing matches.
    async fn sum(&self, asked: Asked<'_>, key: &str, template: &str) -> Result<Option<u64>, Trouble> {
        let samples = self.query(asked, template).await?;
        if samples.is_empty() {
            return Ok(None);
        }
        count(samples.iter().map(|sample| sample.value).sum(), &format!("`{key}`")).map(Some)
    }

    async fn errors(&self, asked: Asked<'_>) -> Result<Numbers, Trouble> {
        let query = |key: &'static str, text: &Option<String>| {
            let text = text.clone().unwrap_or_default();
            async move { self.sum(asked, key, &text).await }
        };
        let (total, bad) = futures::join!(query("total", &self.spec.total), query("bad", &self.spec.bad));
        let total = total?.ok_or_else(|| Trouble::no_series("`total` matches no series."))?;
        // Nothing matched is not zero: the name of a label may be wrong.
        let bad = bad?.ok_or_else(|| {
            Trouble::no_series("`bad` matches no series. If none means no errors, write: (…) or vector(0).")
        })?;
        Numbers::errors(total, bad)
    }

    async fn times(&self, asked: Asked<'_>) -> Result<Numbers, Trouble> {
        let samples = self.query(asked, self.spec.buckets.as_deref().unwrap_or_default()).await?;
        if samples.is_empty() {
            return Err(Trouble::no_series("`buckets` matches no series."));
        }
        let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(samples.len());
        for sample in samples {
            let le = sample.le.ok_or_else(|| Trouble::refused("`buckets` gives series without the label `le`."))?;
            let edge: f64 = le.parse().map_err(|_| Trouble::failed(format!("A bucket has the bound {le:?}.")))?;
            buckets.push((edge, count(sample.value, "A bucket")?));
        }
        Histogram::cumulative(buckets).map(Numbers::Times)
    }

    async fn scores(&self, asked: Asked<'_>) -> Result<Numbers, Trouble> {
        let samples = self.query(asked, self.spec.scores.as_deref().unwrap_or_default()).await?;
        let expected = match &self.spec.total {
            Some(total) => {
                let expected = self.sum(asked, "total", total).await?;
                Some(expected.ok_or_else(|| Trouble::no_series("`total` matches no series."))?)
            }
            None if samples.is_empty() => return Err(Trouble::no_series("`scores` matches no series.")),
            None => None,
        };
        let scores: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
        Numbers::scores(&scores, expected)
    }

    async fn check_newest(&self, asked: Asked<'_>) -> Result<(), Trouble> {
        let Some(newest) = &self.spec.newest else { return Ok(()) };
        let samples = self.query(asked, newest).await?;
        let newest = samples.iter().map(|sample| sample.value).fold(f64::NEG_INFINITY, f64::max);
        if samples.is_empty() {
            return Err(Trouble::no_series("`newest` matches no series."));
        }
        check_age(newest, asked)
    }
}

/// Fails when the newest number is from before the window.
pub(super) fn check_age(newest: f64, asked: Asked<'_>) -> Result<(), Trouble> {
    if !newest.is_finite() {
        return Err(Trouble::failed(format!("`newest` is {newest}, which is no time.")));
    }
    let from = asked.window.from.as_millisecond() as f64 / 1000.0;
    if newest < from {
        let age = asked.window.until.as_millisecond() as f64 / 1000.0 - newest;
        return Err(Trouble::late(format!("The newest number is {age:.0} s older than the window's end.")));
    }
    Ok(())
}

/// Where instant queries go.
pub(super) fn query_url(base: &str) -> Result<Url> {
    let mut url =
        Url::parse(base).context(Code::ManifestInvalid, || "The URL of a Prometheus is not valid.".to_owned())?;
    let path = format!("{}/api/v1/query", url.path().trim_end_matches('/'));
    url.set_path(&path);
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Fault::new(Code::ManifestInvalid, "The URL of a Prometheus has no host."));
    }
    Ok(url)
}

/// The samples of an answer.
pub(super) fn samples(status: reqwest::StatusCode, body: &[u8]) -> Result<Vec<Sample>, Trouble> {
    let reply: Reply = match serde_json::from_slice(body) {
        Ok(reply) => reply,
        Err(_) if !status.is_success() => return Err(refused(status, "")),
        Err(error) => return Err(Trouble::failed(format!("The answer is not what a Prometheus says: {error}."))),
    };
    if reply.status != "success" {
        return Err(refused_query(status, &reply));
    }
    if !status.is_success() {
        return Err(refused(status, ""));
    }
    let data = reply.data.ok_or_else(|| Trouble::failed("The answer has no data."))?;
    let wrong = |error: serde_json::Error| Trouble::failed(format!("The answer's data make no sense: {error}."));
    match data.result_type.as_str() {
        "vector" => {
            let series: Vec<Series> = serde_json::from_value(data.result).map_err(wrong)?;
            series.into_iter().map(sample).collect()
        }
        "scalar" => {
            let value: (f64, String) = serde_json::from_value(data.result).map_err(wrong)?;
            Ok(vec![sample(Series { metric: serde_json::Map::new(), value })?])
        }
        other => Err(Trouble::refused(format!("The query gives a {other}; it must give a vector or a scalar."))),
    }
}

/// What the server said about a query: a broken one is the user's to mend, a busy server is not.
fn refused_query(status: reqwest::StatusCode, reply: &Reply) -> Trouble {
    let text = format!("The query fails ({}): {}", reply.error_type, reply.error);
    let bad = reply.error_type == "bad_data" || (reply.error_type.is_empty() && status.is_client_error());
    // VictoriaMetrics writes the status where Prometheus has a word.
    if bad || matches!(status.as_u16(), 400 | 422) { Trouble::refused(text) } else { Trouble::failed(text) }
}

fn sample(series: Series) -> Result<Sample, Trouble> {
    let text = series.value.1;
    let value = match text.as_str() {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().map_err(|_| Trouble::failed(format!("{text:?} is not a number.")))?,
    };
    let le = series.metric.get("le").and_then(Value::as_str).map(str::to_owned);
    Ok(Sample { le, value })
}

#[async_trait]
impl Ask for Prometheus {
    fn describe(&self) -> BackendInfo {
        BackendInfo { kind: "prometheus", location: shown(&self.url), shared: true }
    }

    fn growth(&self) -> Growth {
        Growth::Window
    }

    async fn ask(&self, asked: Asked<'_>) -> Result<Vec<Tally>, Trouble> {
        self.check_newest(asked).await?;
        let numbers = match self.spec.kind {
            MetricKind::Errors => self.errors(asked).await?,
            MetricKind::Latency => self.times(asked).await?,
            MetricKind::Health => self.scores(asked).await?,
        };
        Ok(vec![Tally { process: String::new(), numbers }])
    }
}

/// A URL without what could be secret in it.
pub(super) fn shown(url: &Url) -> String {
    format!(
        "{}://{}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.port().map_or(String::new(), |port| format!(":{port}"))
    )
}
