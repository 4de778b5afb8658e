//! The tables, and making them under a lock so that two processes that begin at once don't meet.
//!
//! Format 1, and 2 when the data of events were archived (`data` is empty then, and its hash is not that of nothing). Texts are compared by their bytes (`COLLATE "C"`), as every other store does. `head` is one row: whoever
//! appends locks it, and so numbers have no gap and no order but that of the log. Triggers refuse changes of events.

use tokio_postgres::Client;
use vice_core::{Code, Fault, Result};

use super::connect::Target;

/// The newest format that this version knows: that of tables that have let go of data. New ones have 1.
pub(crate) const FORMAT: i32 = 2;

const TABLES: &str = r#"
CREATE TABLE meta(format int NOT NULL);
CREATE TABLE head(one boolean PRIMARY KEY DEFAULT true CHECK (one), seq bigint NOT NULL, chain bytea NOT NULL)
    WITH (fillfactor = 10);
CREATE TABLE streams(name text COLLATE "C" PRIMARY KEY);
CREATE TABLE events(
    seq bigint PRIMARY KEY,
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    time bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    subject text NOT NULL,
    project text COLLATE "C",
    env text COLLATE "C",
    actor text NOT NULL,
    body_hash bytea NOT NULL,
    chain bytea NOT NULL,
    data text NOT NULL,
    UNIQUE (source, id),
    UNIQUE (stream, version)
);
CREATE INDEX events_project ON events(project, seq) WHERE project IS NOT NULL;
CREATE INDEX events_kind ON events(kind, seq);
CREATE INDEX events_time ON events(time);
CREATE TABLE fences(scope text COLLATE "C" PRIMARY KEY, epoch bigint NOT NULL, sum bytea NOT NULL);
CREATE TABLE snapshots(
    fold text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    fold_version bigint NOT NULL,
    version bigint NOT NULL,
    state text NOT NULL,
    sum bytea NOT NULL,
    PRIMARY KEY (fold, stream)
);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the history is append-only'; END $$;
CREATE TRIGGER events_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER streams_change BEFORE UPDATE OR DELETE OR TRUNCATE ON streams
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
INSERT INTO head(seq, chain) VALUES (0, decode(repeat('00', 32), 'hex'));
INSERT INTO meta(format) VALUES (1);
"#;

/// The lock under which tables are made: `vice` in ASCII, and the schema.
pub(crate) const LOCK: i32 = 0x7669_6365;

/// The format of the tables that are there; `None` where there are none.
pub(crate) async fn found(client: &Client, target: &Target) -> Result<Option<i32>> {
    let fault = |error| target.fault(error);
    // By reading the catalogue: a lookup by name may answer from a cache that is older than the lock.
    let sql =
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = 'meta')";
    let there = client.query_one(sql, &[&target.schema]).await.map_err(fault)?;
    if !there.get::<_, bool>(0) {
        return Ok(None);
    }
    let format: i32 =
        client.query_one(&format!("SELECT format FROM \"{}\".meta", target.schema), &[]).await.map_err(fault)?.get(0);
    if format > FORMAT {
        let message =
            format!("The history in {} has format {format}; this vice knows formats up to {FORMAT}.", target.shown);
        return Err(
            Fault::new(Code::HistoryNewer, message).hint("A newer vice wrote it. Use that version or a later one.")
        );
    }
    Ok(Some(format))
}

/// Makes the tables where they are missing.
pub(crate) async fn ensure(client: &Client, target: &Target) -> Result<()> {
    if found(client, target).await?.is_some() {
        return Ok(());
    }
    let fault = |error| target.fault(error);
    let schema = &target.schema;
    // All of it in one transaction, whose lock ends with it.
    let begin = format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK}, hashtext('{schema}'));");
    client.batch_execute(&begin).await.map_err(fault)?;
    let made = async {
        if found(client, target).await?.is_none() {
            let sql =
                format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\"; SET LOCAL search_path = \"{schema}\"; {TABLES}");
            client.batch_execute(&sql).await.map_err(fault)?;
        }
        client.batch_execute("COMMIT").await.map_err(fault)
    }
    .await;
    if made.is_err() {
        // A connection that can't even roll back is given up by whoever asked.
        client.batch_execute("ROLLBACK").await.ok();
    }
    made
}
