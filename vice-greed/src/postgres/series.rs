//! Observations in the database of the history, in tables of their own. Not history: unchained, compact, expiring, and after
//! a power cut of the server the last moments may be missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio_postgres::{Client, Error, Row};
use vice_core::capability::BackendInfo;
use vice_core::memory::POINTS_MAX;
use vice_core::series::{Labels, Point, SeriesQuery, SeriesStore};
use vice_core::{Code, Context, Fault, Result};

use super::connect::Target;
use super::schema::LOCK;
use crate::place::Opening;

const FORMAT: i32 = 1;

const TABLES: &str = r#"
CREATE TABLE IF NOT EXISTS series_meta(format int NOT NULL);
INSERT INTO series_meta SELECT 1 WHERE NOT EXISTS (SELECT FROM series_meta);
CREATE TABLE IF NOT EXISTS series(
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    labels jsonb NOT NULL,
    UNIQUE (name, labels)
);
CREATE TABLE IF NOT EXISTS points(
    series bigint NOT NULL,
    time bigint NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (series, time)
);
"#;

const NAMES: &str = "INSERT INTO series(name, labels) SELECT DISTINCT name, labels::jsonb
    FROM unnest($1::text[], $2::text[]) AS wanted(name, labels) ON CONFLICT DO NOTHING";
const POINTS: &str = "INSERT INTO points(series, time, value) SELECT s.id, wanted.time, wanted.value
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::double precision[]) AS wanted(name, labels, time, value)
    JOIN series s ON s.name = wanted.name COLLATE \"C\" AND s.labels = wanted.labels::jsonb
    ON CONFLICT (series, time) DO UPDATE SET value = excluded.value";
const QUERY: &str = "SELECT s.labels::text, p.time, p.value FROM series s JOIN points p ON p.series = s.id
    WHERE s.name = $1 AND s.labels @> $2::text::jsonb AND p.time >= $3 AND p.time < $4
    ORDER BY p.time, s.id LIMIT $5";

/// Observations in a database.
pub struct PostgresSeries {
    target: Arc<Target>,
    /// One connection: whoever records waits for the one before, as with a file.
    client: Mutex<Option<Client>>,
}

impl std::fmt::Debug for PostgresSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSeries").field("location", &self.target.shown).finish_non_exhaustive()
    }
}

impl PostgresSeries {
    /// The observations beside the history that a URL names. Nothing is connected before the first question, and no table
    /// is made before the first point.
    ///
    /// # Errors
    /// `Usage` for a URL that makes no sense.
    pub fn open(url: &str, opening: &Opening) -> Result<Self> {
        Ok(Self { target: Arc::new(Target::parse(url, &opening.env)?), client: Mutex::new(None) })
    }

    async fn connected(&self, slot: &mut Option<Client>) -> Result<Client> {
        if let Some(client) = slot.take().filter(|client| !client.is_closed()) {
            return Ok(client);
        }
        let (client, driver) = self.target.connect().await?;
        tokio::spawn(async move {
            // Whoever waits for an answer gets the error.
            driver.await.ok();
        });
        self.target.prepare(&client, false).await?;
        // A point that is lost with the server's power is measured again; waiting for each would cost more than it is worth.
        client.batch_execute("SET synchronous_commit = off").await.map_err(|error| self.target.fault(error))?;
        Ok(client)
    }

    /// Whether the tables are there.
    async fn made(&self, client: &Client) -> Result<bool> {
        let sql =
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname = $1 AND c.relname = 'series_meta')";
        let fault = |error| self.target.fault(error);
        let there = client.query_one(sql, &[&self.target.schema]).await.map_err(fault)?;
        if !there.get::<_, bool>(0) {
            return Ok(false);
        }
        let format: i32 = client.query_one("SELECT format FROM series_meta", &[]).await.map_err(fault)?.get(0);
        if format > FORMAT {
            let message = format!("The observations in {} have format {format}.", self.target.shown);
            return Err(Fault::new(Code::HistoryNewer, message).hint("A newer vice wrote them. Use that version."));
        }
        Ok(true)
    }

    async fn ensure(&self, client: &Client) -> Result<()> {
        if self.made(client).await? {
            return Ok(());
        }
        let schema = &self.target.schema;
        // One command is one transaction, whose lock ends with it.
        let sql = format!(
            "BEGIN; SELECT pg_advisory_xact_lock({LOCK}, hashtext('{schema}')); CREATE SCHEMA IF NOT EXISTS \"{schema}\";
             SET LOCAL search_path = \"{schema}\"; {TABLES} COMMIT;"
        );
        let made = client.batch_execute(&sql).await;
        if made.is_err() {
            // A connection that can't even roll back is given up by whoever asked.
            client.batch_execute("ROLLBACK").await.ok();
        }
        made.map_err(|error| self.target.fault(error))
    }

    async fn write(&self, client: &Client, rows: &Rows) -> Result<(), Error> {
        client.execute(NAMES, &[&rows.names, &rows.labels]).await?;
        client.execute(POINTS, &[&rows.names, &rows.labels, &rows.times, &rows.values]).await.map(|_| ())
    }
}

#[derive(Default)]
struct Rows {
    names: Vec<String>,
    labels: Vec<String>,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Rows {
    /// Within one statement a row can be replaced only once, and the last value is the one that counts.
    fn of(points: Vec<Point>) -> Result<Self> {
        let mut last = BTreeMap::new();
        for point in points {
            point.check()?;
            let labels = labels_text(&point.labels)?;
            if point.name.contains('\0') || labels.contains("\\u0000") {
                return Err(Fault::new(
                    Code::Usage,
                    "A name or label with a NUL character can't be stored in PostgreSQL.",
                ));
            }
            last.insert((point.name, labels, point.time.as_millisecond()), point.value);
        }
        let mut rows = Self::default();
        for ((name, labels, time), value) in last {
            rows.names.push(name);
            rows.labels.push(labels);
            rows.times.push(time);
            rows.values.push(value);
        }
        Ok(rows)
    }
}

fn labels_text(labels: &Labels) -> Result<String> {
    serde_json::to_string(labels).context(Code::Internal, || "Labels do not serialise.".to_owned())
}

fn point(name: &str, row: &Row) -> Result<Point> {
    let labels = serde_json::from_str(row.get(0)).context(Code::Decode, || "Labels do not decode.".to_owned())?;
    let time =
        Timestamp::from_millisecond(row.get(1)).context(Code::Decode, || "A time is out of range.".to_owned())?;
    Ok(Point { name: name.to_owned(), labels, time, value: row.get(2) })
}

#[async_trait]
impl SeriesStore for PostgresSeries {
    fn describe(&self) -> BackendInfo {
        BackendInfo { kind: "postgres", location: self.target.shown.clone(), shared: true }
    }

    async fn record(&self, points: Vec<Point>) -> Result<()> {
        let rows = Rows::of(points)?;
        let mut slot = self.client.lock().await;
        let client = self.connected(&mut slot).await?;
        self.ensure(&client).await?;
        self.write(&client, &rows).await.map_err(|error| self.target.fault(error))?;
        *slot = Some(client);
        Ok(())
    }

    async fn query(&self, query: &SeriesQuery) -> Result<Vec<Point>> {
        let mut slot = self.client.lock().await;
        let client = self.connected(&mut slot).await?;
        if !self.made(&client).await? {
            *slot = Some(client);
            return Ok(Vec::new());
        }
        let (labels, limit) = (labels_text(&query.labels)?, i64::try_from(POINTS_MAX).unwrap_or(i64::MAX));
        let (from, until) = (query.from.as_millisecond(), query.until.as_millisecond());
        let rows = client.query(QUERY, &[&query.name, &labels, &from, &until, &limit]).await;
        let rows = rows.map_err(|error| self.target.fault(error))?;
        *slot = Some(client);
        rows.iter().map(|row| point(&query.name, row)).collect()
    }

    async fn expire(&self, before: Timestamp) -> Result<u64> {
        let mut slot = self.client.lock().await;
        let client = self.connected(&mut slot).await?;
        let gone = if self.made(&client).await? {
            let gone = client.execute("DELETE FROM points WHERE time < $1", &[&before.as_millisecond()]).await;
            gone.map_err(|error| self.target.fault(error))?
        } else {
            0
        };
        *slot = Some(client);
        Ok(gone)
    }
}
