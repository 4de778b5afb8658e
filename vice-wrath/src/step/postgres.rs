//! Steps against PostgreSQL: it lets us in, and, where a query is given, answers it. Reading only is asked of the
//! server for the whole session, so that a check can't change what it looks at by accident.

#[cfg(feature = "postgres")]
mod client {
    use std::str::FromStr as _;

    use serde_json::{Map, Value};
    use tokio::time::{Instant, timeout_at};
    use tokio_postgres::config::SslMode;
    use tokio_postgres::{Config, SimpleQueryMessage};
    use tokio_postgres_rustls::MakeRustlsConnect;

    use crate::query::facts::Facts;
    use crate::step::Try;

    /// So many rows of an answer are looked at.
    const ROWS_MAX: usize = 1000;

    pub(super) async fn ask(
        attempt: &Try<'_>,
        url: &str,
        query: Option<&str>,
        facts: &mut Facts,
    ) -> Result<(), String> {
        let url = attempt.text(url)?;
        let query = query.map(|query| attempt.text(query)).transpose()?;
        let mut config =
            Config::from_str(&url).map_err(|_| "the step has a URL that PostgreSQL does not understand".to_owned())?;
        config.application_name("vice wrath").options("-c default_transaction_read_only=on");
        let began = Instant::now();
        let work = work(config, query.as_deref(), facts);
        let done = timeout_at(attempt.until, work).await;
        done.map_err(|_| format!("no answer within {}", attempt.timeout))??;
        facts.timing.total = began.elapsed();
        Ok(())
    }

    async fn work(config: Config, query: Option<&str>, facts: &mut Facts) -> Result<(), String> {
        let began = Instant::now();
        let tls = crate::step::tls::client_config(config.get_ssl_mode() != SslMode::Disable)?;
        let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await.map_err(|error| said(&error))?;
        let driver = tokio::spawn(async move { connection.await.is_ok() });
        facts.timing.first = Some(began.elapsed());
        let answer = client.simple_query(query.unwrap_or("SELECT 1 AS up")).await.map_err(|error| said(&error));
        drop(client);
        driver.abort();
        let mut rows = Vec::new();
        for message in answer? {
            if let SimpleQueryMessage::Row(row) = message
                && rows.len() < ROWS_MAX
            {
                let field = |index: usize| Value::from(row.get(index).map(str::to_owned));
                let names = row.columns().iter().enumerate();
                let fields: Map<String, Value> =
                    names.map(|(index, column)| (column.name().to_owned(), field(index))).collect();
                rows.push(Value::Object(fields));
            }
        }
        facts.body = Value::Array(rows.clone()).to_string().into_bytes();
        facts.records = Some(rows);
        Ok(())
    }

    fn said(error: &tokio_postgres::Error) -> String {
        if let Some(db) = error.as_db_error() {
            return format!("PostgreSQL says: {} ({})", db.message(), db.code().code());
        }
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        match innermost.downcast_ref::<std::io::Error>() {
            Some(error) => format!("can't connect: {}", crate::http::explain::io_cause(error)),
            None => format!("can't connect: {innermost}"),
        }
    }
}

use super::{Tried, Try};
use crate::query::facts::Facts;

#[cfg(feature = "postgres")]
pub(super) async fn attempt(attempt: &Try<'_>, url: &str, query: Option<&str>, mut facts: Facts) -> Tried {
    match client::ask(attempt, url, query, &mut facts).await {
        Ok(()) => Tried { facts, error: None, late: false },
        Err(why) => Tried::failed(facts, why),
    }
}

#[cfg(not(feature = "postgres"))]
pub(super) async fn attempt(_: &Try<'_>, _: &str, _: Option<&str>, facts: Facts) -> Tried {
    Tried::failed(facts, "this build of vice can't ask PostgreSQL; build it with the feature postgres")
}
