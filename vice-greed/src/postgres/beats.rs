//! Signs of life beside the log: one row a scope, the last one only. A lost row costs a waiting time, never a history.

use vice_core::{Fault, Result};

use super::connect::Target;
use super::schema;

const TABLE: &str = r#"CREATE TABLE IF NOT EXISTS beats(scope text COLLATE "C" PRIMARY KEY, mark text NOT NULL)"#;

/// Keeps the mark as the last one of its scope.
pub(crate) async fn put(target: &Target, scope: &str, mark: &str) -> Result<()> {
    if [scope, mark].iter().any(|text| text.contains('\0')) {
        return Err(Fault::internal("A sign of life has a NUL."));
    }
    let fault = |error| target.fault(error);
    let client = connect(target).await?;
    schema::ensure(&client, target).await?;
    client.batch_execute(TABLE).await.map_err(fault)?;
    let sql = "INSERT INTO beats(scope, mark) VALUES ($1, $2) ON CONFLICT (scope) DO UPDATE SET mark = $2";
    client.execute(sql, &[&scope, &mark]).await.map(drop).map_err(fault)
}

/// The last mark of a scope.
pub(crate) async fn get(target: &Target, scope: &str) -> Result<Option<String>> {
    let fault = |error| target.fault(error);
    let client = connect(target).await?;
    let there = client.query_one("SELECT to_regclass('beats') IS NOT NULL", &[]).await.map_err(fault)?;
    if !there.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = client.query_opt("SELECT mark FROM beats WHERE scope = $1", &[&scope]).await.map_err(fault)?;
    Ok(row.map(|row| row.get(0)))
}

/// A connection of its own: beats are seldom, and must not wait behind a long query.
pub(super) async fn connect(target: &Target) -> Result<tokio_postgres::Client> {
    let (client, driver) = target.connect().await?;
    tokio::spawn(async move {
        // Whoever waits for an answer gets the error.
        driver.await.ok();
    });
    target.prepare(&client, false).await?;
    Ok(client)
}
