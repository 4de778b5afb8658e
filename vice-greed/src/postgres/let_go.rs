//! Letting go of data that were archived, in one transaction behind the lock of `head`: the trigger that refuses changes
//! is switched off, the data that an anchor in this very log names are emptied, and it is switched on again. Only the
//! owner of the tables may do so, which is whoever made them.

use tokio_postgres::Client;
use vice_core::Result;

use super::connect::Target;
use super::query::number;
use super::{beats, schema};
use crate::gaps::spans_of;

const EMPTY: &str = "UPDATE events SET data = '' FROM unnest($1::bigint[], $2::bigint[]) AS span(first, last)
    WHERE seq BETWEEN span.first AND span.last AND data <> ''";

/// Empties what the anchor names; gives how many events had their data still.
pub(super) async fn let_go(target: &Target, anchor: u64) -> Result<u64> {
    let client = beats::connect(target).await?;
    if schema::found(&client, target).await?.is_none() {
        return spans_of(anchor, None, "").map(|_| 0);
    }
    let fault = |error| target.fault(error);
    // Whoever appends holds this lock before anything else, so the two wait for each other in one order only.
    client.batch_execute("BEGIN; SELECT FROM head FOR UPDATE").await.map_err(fault)?;
    let emptied = empty(&client, target, anchor).await;
    match emptied {
        Ok(_) => client.batch_execute("COMMIT").await.map_err(fault)?,
        // A connection that can't even roll back is given up with what it began.
        Err(_) => drop(client.batch_execute("ROLLBACK").await),
    }
    emptied
}

async fn empty(client: &Client, target: &Target, anchor: u64) -> Result<u64> {
    let fault = |error| target.fault(error);
    let row = client.query_opt("SELECT kind, data FROM events WHERE seq = $1", &[&number(anchor)?]).await;
    let found: Option<(String, String)> = row.map_err(fault)?.map(|row| (row.get(0), row.get(1)));
    let (kind, data) = found.unzip();
    let spans = spans_of(anchor, kind.as_deref(), &data.unwrap_or_default())?;
    let ends = spans.iter().map(|(first, last)| Ok((number(*first)?, number(*last)?))).collect::<Result<Vec<_>>>()?;
    let (firsts, lasts): (Vec<i64>, Vec<i64>) = ends.into_iter().unzip();
    client.batch_execute("ALTER TABLE events DISABLE TRIGGER events_change").await.map_err(fault)?;
    let gone = client.execute(EMPTY, &[&firsts, &lasts]).await.map_err(fault)?;
    client.batch_execute("ALTER TABLE events ENABLE TRIGGER events_change").await.map_err(fault)?;
    client.execute("UPDATE meta SET format = $1", &[&schema::FORMAT]).await.map_err(fault)?;
    Ok(gone)
}
