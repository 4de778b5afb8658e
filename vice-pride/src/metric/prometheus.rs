//! Prometheus and whatever has its query API. One instant query a number, at the window's end, so that the answer is the
//! same whenever it is asked.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use url::Url;
use vice_core::capability::BackendInfo;
use vice_core::manifest::{MetricKind, MetricSpec};
use vice_core::{Code, Fault, Millis, Result, Secret};

use super::http::{Http, bearer, refused};
use super::number::{Histogram, Numbers, count};
use super::scene::{Asked, seconds};
use super::source::{Ask, Growth, Tally};
use super::trouble::{Trouble, bounded};

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
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
    /// What the server has to say of the answer, such as that a part of the data is missing.
    #[serde(skip)]
    warnings: Vec<String>,
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
        let url = query_url(url, Code::ManifestInvalid)?;
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
        // A query that fails is told before one that finds nothing.
        let (total, bad) = (total?, bad?);
        let total = total.ok_or_else(|| Trouble::no_series("`total` matches no series."))?;
        // Nothing matched is not zero: the name of a label may be wrong.
        let bad = bad.ok_or_else(|| {
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

/// Where instant queries go. `code` is that of a URL which is none, by where it stands; no error repeats it.
fn query_url(base: &str, code: Code) -> Result<Url> {
    let scheme = "Write it with its scheme, such as http://127.0.0.1:9090.";
    let mut url = Url::parse(base)
        .map_err(|error| Fault::new(code, "The URL of a Prometheus is not valid.").because(error).hint(scheme))?;
    // What is meant for a host and a port, such as localhost:9090, parses as a scheme and a path.
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Fault::new(code, "The URL of a Prometheus does not begin with http:// or https://.").hint(scheme));
    }
    let path = format!("{}/api/v1/query", url.path().trim_end_matches('/'));
    url.set_path(&path);
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Fault::new(code, "The URL of a Prometheus has no host."));
    }
    Ok(url)
}

/// The data of an answer.
fn data(status: reqwest::StatusCode, body: &[u8]) -> Result<Data, Trouble> {
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
    Ok(Data { warnings: reply.warnings, ..data })
}

/// The samples of an answer to an instant query.
fn samples(status: reqwest::StatusCode, body: &[u8]) -> Result<Vec<Sample>, Trouble> {
    let data = data(status, body)?;
    let wrong = |error: serde_json::Error| Trouble::failed(format!("The answer's data make no sense: {error}."));
    match data.result_type.as_str() {
        "vector" => {
            let series: Vec<Series> = serde_json::from_value(data.result).map_err(wrong)?;
            series.iter().map(sample).collect()
        }
        "scalar" => {
            let value: (f64, String) = serde_json::from_value(data.result).map_err(wrong)?;
            Ok(vec![sample(&Series { metric: serde_json::Map::new(), value })?])
        }
        other => Err(Trouble::refused(format!("The query gives a {other}; it must give a vector or a scalar."))),
    }
}

/// What the server said about a query: a broken one is the user's to mend, a busy server is not.
fn refused_query(status: reqwest::StatusCode, reply: &Reply) -> Trouble {
    let text = format!("The query fails ({}): {}", reply.error_type, reply.error);
    if matches!(status.as_u16(), 401 | 403) {
        return Trouble::denied(text);
    }
    let bad = reply.error_type == "bad_data" || (reply.error_type.is_empty() && status.is_client_error());
    // VictoriaMetrics writes the status where Prometheus has a word.
    if bad || matches!(status.as_u16(), 400 | 422) { Trouble::refused(text) } else { Trouble::failed(text) }
}

fn parse_value(text: &str) -> Result<f64, Trouble> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        text => text.parse().map_err(|_| Trouble::failed(format!("{text:?} is not a number."))),
    }
}

fn sample(series: &Series) -> Result<Sample, Trouble> {
    let value = parse_value(&series.value.1)?;
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

/// A range of a Prometheus, for two queries over the same time.
pub struct RangeQuery {
    http: Http,
    url: Url,
    range: [(&'static str, String); 3],
}

/// What a query found in a range.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RangeAnswer {
    /// The values of its series in the order of time; none when nothing matches.
    pub values: Vec<f64>,
    /// How many points were left out because they are no number (0/0).
    pub left_out: usize,
    /// What the server says of the answer.
    pub warnings: Vec<String>,
}

/// The most points of one query; Prometheus itself gives no more.
const POINTS_OF_RANGE_MAX: u64 = 11_000;

/// So many warnings of one answer are kept.
const WARNINGS_MAX: usize = 4;

impl RangeQuery {
    /// The range from `from` to `until`, a point every `step`.
    ///
    /// # Errors
    /// `Usage` for a range that is empty or has too many points, and for a URL that is none.
    pub fn new(base: &str, from: Timestamp, until: Timestamp, step: Millis, token: Option<&Secret>) -> Result<Self> {
        let length = Millis::between(from, until);
        let refuse = |what: String, hint: &str| Err(Fault::new(Code::Usage, what).hint(hint));
        if step == Millis::ZERO || length < step {
            return refuse("The range has no two points.".to_owned(), "Give an --until after --from, and a --step.");
        }
        if length.0 / step.0 > POINTS_OF_RANGE_MAX {
            return refuse(format!("The range has more than {POINTS_OF_RANGE_MAX} points."), "Give a longer --step.");
        }
        let mut url = query_url(base, Code::Usage)?;
        url.set_path(&format!("{}_range", url.path()));
        let headers: Vec<(String, Secret)> = token.map(bearer).into_iter().collect();
        let range = [
            ("start", seconds(from.as_millisecond())),
            ("end", seconds(until.as_millisecond())),
            ("step", format!("{:.3}", step.0 as f64 / 1000.0)),
        ];
        Ok(Self { http: Http::new(&MetricSpec::default(), &headers)?, url, range })
    }

    /// All values of a query in the range. Points that are no number are left out, and counted.
    ///
    /// # Errors
    /// `Usage` for a query that is refused or gives several series; `Unreachable`, `Backend`, `TimedOut`.
    pub async fn ask(&self, name: &str, query: &str) -> Result<RangeAnswer> {
        let mut form = vec![("query", query.to_owned())];
        form.extend(self.range.iter().cloned());
        let answered = self.http.post(self.url.as_str(), &form).await;
        let rows = answered.and_then(|answer| range_rows(answer.status, &answer.body));
        let question =
            |trouble: Trouble| trouble.into_question(name, &format!("{}{}", shown(&self.url), self.url.path()));
        let (mut rows, warnings) = rows.map_err(question)?;
        if rows.len() > 1 {
            // Points of several series are no sample of one thing: their differences would count as noise.
            return Err(Fault::new(Code::Usage, format!("The query of {name} gives {} series.", rows.len()))
                .hint("Make one of them, such as sum(…) or avg(…), or name the labels that leave one."));
        }
        let (values, left_out) = range_values(rows.pop()).map_err(question)?;
        Ok(RangeAnswer { values, left_out, warnings })
    }
}

/// One series of a range.
#[derive(Deserialize)]
struct Row {
    values: Vec<(f64, String)>,
}

/// The series of an answer, and what the server says of them.
fn range_rows(status: reqwest::StatusCode, body: &[u8]) -> Result<(Vec<Row>, Vec<String>), Trouble> {
    let data = data(status, body)?;
    if data.result_type != "matrix" {
        let kind = bounded(&data.result_type);
        return Err(Trouble::refused(format!("It gives a {kind}; a query must give a series over the range.")));
    }
    let rows = serde_json::from_value(data.result)
        .map_err(|error| Trouble::failed(format!("The answer's data make no sense: {error}.")))?;
    Ok((rows, data.warnings.iter().take(WARNINGS_MAX).map(|warning| bounded(warning)).collect()))
}

/// The numbers of a series, and how many points are none.
fn range_values(row: Option<Row>) -> Result<(Vec<f64>, usize), Trouble> {
    let points = row.map(|row| row.values).unwrap_or_default();
    let all = points.len();
    let mut values = Vec::with_capacity(all);
    for (_, text) in points {
        match parse_value(&text)? {
            value if value.is_nan() => {}
            value if value.is_infinite() => return Err(Trouble::failed("A point of the query is infinite.")),
            value => values.push(value),
        }
    }
    let left_out = all - values.len();
    Ok((values, left_out))
}
