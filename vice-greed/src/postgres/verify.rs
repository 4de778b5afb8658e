//! Reading everything once, in order and in one transaction, and computing it anew.

use std::collections::HashMap;
use std::path::Path;

use tokio_postgres::{Client, Row};
use vice_core::chain::Header;
use vice_core::store::{LogHead, Verification};
use vice_core::{Code, Digest, Result};

use super::connect::Target;
use super::query::{COLUMNS, count_at, hash, recorded};
use crate::gaps::{Scales, Stored};
use crate::prepared::fence_sum;
use crate::witness::Witness;

/// So many problems are told; a log with more is not better understood by reading on.
const PROBLEMS_MAX: usize = 20;

/// Rows that are in memory at a time; their bodies are a mebibyte each at most, and mostly a few hundred bytes.
const ROWS: i64 = 500;

/// What the witness misses, in a whole sentence.
pub(crate) fn lost(witnessed: &LogHead, found: Option<Digest>) -> Option<String> {
    let seq = witnessed.seq;
    match found {
        _ if seq == 0 => None,
        Some(found) if found == witnessed.chain => None,
        Some(_) => Some(format!("Event {seq} is not the one that was witnessed as the end of the history.")),
        None => Some(format!("Event {seq} was witnessed, and the history does not have it: its end is lost.")),
    }
}

/// Checks the history and the witness of this machine.
pub(crate) async fn verify(client: &Client, target: &Target, witness: &Path) -> Result<Verification> {
    // The witness first: the log may have grown since, but not shrunk.
    let (witnessed, problems) = match Witness::read(witness) {
        Ok(witnessed) => (witnessed, Vec::new()),
        Err(fault) if fault.code() == Code::HistoryDamaged => (None, vec![fault.to_string()]),
        Err(fault) => return Err(fault),
    };
    let fault = |error| target.fault(error);
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(fault)?;
    let mut audit = Audit { watch: witnessed.map(|head| head.seq), problems, ..Audit::default() };
    let walked = audit.walk(client, target).await;
    client.batch_execute("ROLLBACK").await.map_err(fault)?;
    walked?;
    if let Some(problem) = witnessed.and_then(|witnessed| lost(&witnessed, audit.watched)) {
        audit.problem(problem);
    }
    Ok(Verification { events: audit.events, head: audit.head, problems: audit.problems })
}

struct Audit {
    head: LogHead,
    events: u64,
    problems: Vec<String>,
    watch: Option<u64>,
    watched: Option<Digest>,
    scales: Scales,
    versions: HashMap<String, u64>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            head: LogHead { seq: 0, chain: Digest::ZERO },
            events: 0,
            problems: Vec::new(),
            watch: None,
            watched: None,
            scales: Scales::default(),
            versions: HashMap::new(),
        }
    }
}

impl Audit {
    fn problem(&mut self, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text);
        }
    }

    async fn walk(&mut self, client: &Client, target: &Target) -> Result<()> {
        let fault = |error| target.fault(error);
        let sql = format!("SELECT {COLUMNS} FROM events WHERE seq > $1 ORDER BY seq LIMIT {ROWS}");
        let page = client.prepare(&sql).await.map_err(fault)?;
        let mut after = i64::MIN;
        loop {
            let rows = client.query(&page, &[&after]).await.map_err(fault)?;
            let Some(last) = rows.last() else { break };
            after = last.try_get(0).map_err(fault)?;
            rows.iter().for_each(|row| self.event(row));
        }
        self.scales.problems().into_iter().for_each(|problem| self.problem(problem));
        self.ends(client, target).await?;
        self.fences(client, target).await
    }

    fn event(&mut self, row: &Row) {
        self.events += 1;
        let seq = count_at(row, 0).unwrap_or(0);
        if seq != self.head.seq + 1 {
            self.problem(format!("After event {} comes event {seq}.", self.head.seq));
        }
        if let Err(odd) = self.fits(row, seq) {
            self.problem(format!("Event {seq} {odd}."));
        }
        // What is stored is what the next one is checked against, so that one damage is one problem.
        let chain = hash(row, 11).unwrap_or(Digest::ZERO);
        self.head = LogHead { seq, chain };
        if self.watch == Some(seq) {
            self.watched = Some(chain);
        }
    }

    fn fits(&mut self, row: &Row, seq: u64) -> std::result::Result<(), String> {
        let found = recorded(row).map_err(|fault| format!("does not decode ({fault})"))?;
        let body_hash = hash(row, 13).map_err(|fault| format!("does not decode ({fault})"))?;
        let known = self.versions.entry(found.event.stream.clone()).or_insert(0);
        let follows = found.version == *known + 1;
        *known = found.version;
        let header = Header::of(&found.event, seq, found.version);
        let stored = Stored { header, body_hash, chain: found.chain, data: Some(&found.event.data) };
        self.scales.weigh(&self.head.chain, &stored, follows)
    }

    /// What is kept beside the events must say the same as they do.
    async fn ends(&mut self, client: &Client, target: &Target) -> Result<()> {
        let fault = |error| target.fault(error);
        let heads = client.query("SELECT seq, chain FROM head", &[]).await.map_err(fault)?;
        let kept =
            heads.first().and_then(|row| Some(LogHead { seq: count_at(row, 0).ok()?, chain: hash(row, 1).ok()? }));
        if kept != Some(self.head) {
            let seq = kept.map_or(0, |head| head.seq);
            self.problem(format!(
                "The stored end of the history is event {seq}, but event {} is the last.",
                self.head.seq
            ));
        }
        let missing = client
            .query_one(
                "SELECT (SELECT count(*) FROM (SELECT DISTINCT stream FROM events) s LEFT JOIN streams ON name = stream
                 WHERE name IS NULL) + (SELECT count(*) FROM streams WHERE NOT EXISTS
                 (SELECT FROM events WHERE stream = name))",
                &[],
            )
            .await
            .map_err(fault)?;
        let missing: i64 = missing.try_get(0).map_err(fault)?;
        if missing > 0 {
            self.problem(format!("The list of streams differs from that of the events in {missing} names."));
        }
        Ok(())
    }

    async fn fences(&mut self, client: &Client, target: &Target) -> Result<()> {
        let fault = |error| target.fault(error);
        for row in client.query("SELECT scope, epoch, sum FROM fences", &[]).await.map_err(fault)? {
            let (scope, sum): (String, Vec<u8>) = (row.try_get(0).map_err(fault)?, row.try_get(2).map_err(fault)?);
            if count_at(&row, 1).map_or(true, |epoch| fence_sum(&scope, epoch).0[..] != sum[..]) {
                self.problem("A stored epoch does not fit its checksum.".to_owned());
            }
        }
        Ok(())
    }
}
