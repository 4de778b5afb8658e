//! Measures the history; DIR is a folder for SQLite, or any other place that `[history] store` can name; `bench/greed/run` calls it.
//!
//!     greed_bench append DIR [SECONDS] [ROUNDS]   64 writers, against a bare group-commit loop, in turn
//!     greed_bench fill DIR N                      N events; resident memory on the way
//!     greed_bench verify DIR                      events a second of one core
//!     greed_bench one DIR [SECONDS]               one writer, one event at a time; events a second
//!     greed_bench last DIR                        the last 50 events of one project, milliseconds
//!     greed_bench deep DIR [N]                    N events (10 million) in a hurry, then the last 50 of a rare project
//!     greed_bench damage DIR [N]                  N flipped bits in every file; each that changes an answer must be told
//!     greed_bench series DIR [SECONDS]            points a second beside 64 writers of events
//!     greed_bench kill DIR ROUNDS                 SIGKILLs while 16 writers write; every acknowledged id must be there,
//!                                                 once; everything is verified every 100 rounds and at the end
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints, starts itself anew and measures time"
)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};
use vice_core::app::ProcessEnv;
use vice_core::event::{Actor, Event};
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::series::{Point, SeriesStore};
use vice_core::store::{Append, EventStore, Fence, Order, PAGE_MAX, Query};
use vice_core::time::SystemClock;
use vice_greed::{Opening, SqliteSeries, StorePlace};

type Failure = Box<dyn std::error::Error>;

const WRITERS: u64 = 64;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |index: usize| args.get(index).map(String::as_str);
    let dir =
        PathBuf::from(arg(1).ok_or("usage: greed_bench append|fill|verify|one|last|deep|damage|series|kill DIR [N]")?);
    let number = |index, default| arg(index).map_or(Ok(default), str::parse::<u64>);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match arg(0) {
        Some("append") => append(&runtime, &dir, number(2, 3)?, number(3, 5)?),
        Some("fill") => runtime.block_on(fill(&dir, number(2, 1_000_000)?)),
        Some("verify") => runtime.block_on(verify(&dir)),
        Some("kill") => kill(&runtime, &dir, number(2, 100)?),
        Some("one") => runtime.block_on(one(&dir, number(2, 5)?)),
        Some("last") => runtime.block_on(last(&dir, "shop")),
        Some("deep") => runtime.block_on(deep(&dir, number(2, 10_000_000)?)),
        Some("damage") => runtime.block_on(damage(&dir, number(2, 1000)?)),
        Some("series") => runtime.block_on(series(&dir, number(2, 10)?)),
        Some("ingest") => runtime.block_on(ingest(&dir, number(2, 0)?)),
        _ => Err("unknown mode".into()),
    }
}

/// About 500 bytes of data, as a CDEvent has.
fn data(n: u64) -> String {
    format!(
        "{{\"context\":{{\"specversion\":\"0.5.1\",\"id\":\"{n:032x}\"}},\"subject\":{{\"id\":\"shop\",\"content\":{{\"note\":\"{}\"}}}}}}",
        "x".repeat(380)
    )
}

fn event(writer: u64, n: u64) -> Result<Event, Failure> {
    Ok(Event {
        id: format!("0198{n:012x}-{writer:08x}"),
        source: "/vice".into(),
        kind: "dev.cdeventsx.vice-rollout.stepped.0.1.0".into(),
        subject: format!("shop.prod.{writer}"),
        time: Timestamp::from_millisecond(1_780_000_000_000 + i64::try_from(n)?)?,
        stream: format!("rollout/shop/prod/{writer}"),
        scope: Some(Scope::new(ProjectName::new("shop")?, EnvName::new("prod")?)),
        actor: Actor::system("bench"),
        data: data(n),
    })
}

/// A folder is SQLite in it; `jsonl:FOLDER` and `postgres://…` are what they say.
fn open(dir: &Path) -> Result<Arc<dyn EventStore>, Failure> {
    let vars = std::env::vars().collect();
    let opening = Opening {
        clock: Arc::new(SystemClock),
        env: Arc::new(ProcessEnv { vars, ..ProcessEnv::default() }),
        notices: Arc::new(|_| {}),
        state: std::env::temp_dir(),
    };
    let text = dir.to_str().ok_or("not text")?;
    Ok(StorePlace::parse(text, &std::env::current_dir()?)?.open(&opening)?)
}

/// Writers that append one event at a time and wait for the acknowledgement, until `stop`; gives how many were made.
async fn write_all(store: Arc<dyn EventStore>, run: u64, span: Duration) -> Result<(u64, f64), Failure> {
    let (began, stop, count) = (Instant::now(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let (store, stop, count) = (Arc::clone(&store), Arc::clone(&stop), Arc::clone(&count));
        tasks.push(tokio::spawn(async move {
            let mut n = run * 100_000_000;
            while !stop.load(Ordering::Relaxed) {
                let event = event(run * 1000 + writer, n).map_err(|error| error.to_string())?;
                store.append(Append::of(vec![event])).await.map_err(|error| error.to_string())?;
                count.fetch_add(1, Ordering::Relaxed);
                n += 1;
            }
            Ok::<(), String>(())
        }));
    }
    tokio::time::sleep(span).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    Ok((count.load(Ordering::Relaxed), began.elapsed().as_secs_f64()))
}

/// One row of the bare loop: the columns of `events` with numbers for the texts that repeat, and its acknowledgement.
struct Row {
    stream: u64,
    version: u64,
    event: Event,
    reply: tokio::sync::oneshot::Sender<()>,
}

/// The yardstick: the same table, indexes, triggers and settings, one thread, up to 1000 rows a transaction; no chain,
/// no conditions, no look for repeats, no witness.
fn bare_writer(path: &Path, rows: &mpsc::Receiver<Row>) -> Result<(), Failure> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA synchronous = FULL;
         PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384;",
    )?;
    let mut seq: u64 = connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?;
    while let Ok(first) = rows.recv() {
        let mut batch = vec![first];
        while batch.len() < 1000 {
            let Ok(row) = rows.try_recv() else { break };
            batch.push(row);
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO events(seq, stream, version, time, kind, source, id, subject, project, env, actor,
                 body_hash, chain, data) VALUES (?1, ?2, ?3, ?4, 1, 2, ?5, ?6, 3, 4, 5, ?7, ?7, ?8)",
            )?;
            for row in &batch {
                seq += 1;
                let Event { id, subject, time, data, .. } = &row.event;
                let time = i64::try_from(time.as_nanosecond())?;
                insert.execute(params![seq, row.stream, row.version, time, id, subject, [7_u8; 32], data])?;
            }
        }
        transaction.commit()?;
        for row in batch {
            row.reply.send(()).ok();
        }
    }
    Ok(())
}

async fn bare_all(path: PathBuf, run: u64, span: Duration) -> Result<(u64, f64), Failure> {
    let connection = Connection::open(&path)?;
    for writer in 0..WRITERS {
        let id = run * 1000 + writer + 1;
        connection.execute("INSERT INTO streams(id, name) VALUES (?1, 'rollout/shop/prod/' || ?1)", [id])?;
    }
    drop(connection);
    let (rows, waiting) = mpsc::channel::<Row>();
    let thread = std::thread::spawn(move || bare_writer(&path, &waiting).map_err(|error| error.to_string()));
    let (began, stop, count) = (Instant::now(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let (rows, stop, count) = (rows.clone(), Arc::clone(&stop), Arc::clone(&count));
        tasks.push(tokio::spawn(async move {
            let (mut n, mut version) = (run * 100_000_000, 0);
            while !stop.load(Ordering::Relaxed) {
                version += 1;
                let event = event(run * 1000 + writer, n).map_err(|error| error.to_string())?;
                let (reply, answer) = tokio::sync::oneshot::channel();
                let row = Row { stream: run * 1000 + writer + 1, version, event, reply };
                rows.send(row).map_err(|error| error.to_string())?;
                answer.await.map_err(|error| error.to_string())?;
                count.fetch_add(1, Ordering::Relaxed);
                n += 1;
            }
            Ok::<(), String>(())
        }));
    }
    drop(rows);
    tokio::time::sleep(span).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    let elapsed = began.elapsed().as_secs_f64();
    thread.join().map_err(|_| "the bare writer panicked")??;
    Ok((count.load(Ordering::Relaxed), elapsed))
}

/// A database as the store makes it, with one event in it so that the words are there, for the bare loop.
fn bare_database(runtime: &tokio::runtime::Runtime, dir: &Path) -> Result<PathBuf, Failure> {
    let store = open(dir)?;
    runtime.block_on(async {
        store.append(Append::of(vec![event(0, 0)?])).await?;
        store.close().await?;
        Ok::<(), Failure>(())
    })?;
    Ok(dir.join("history.db"))
}

fn append(runtime: &tokio::runtime::Runtime, dir: &Path, seconds: u64, rounds: u64) -> Result<(), Failure> {
    let (store, bare) = (open(&dir.join("store"))?, bare_database(runtime, &dir.join("bare"))?);
    let span = Duration::from_secs(seconds);
    let mut ratios = Vec::new();
    // Round 0 warms both up and does not count.
    for round in 0..=rounds {
        let (count, took) = runtime.block_on(write_all(Arc::clone(&store), round + 1, span))?;
        let ours = count as f64 / took;
        let (count, took) = runtime.block_on(bare_all(bare.clone(), round + 1, span))?;
        let theirs = count as f64 / took;
        println!("round {round}: store {ours:.0} events/s, bare loop {theirs:.0} events/s, ratio {:.3}", ours / theirs);
        if round > 0 {
            ratios.push(ours / theirs);
        }
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "ratio of durable appends, {WRITERS} writers, median of {rounds}: {:.3} (aim 0.7)",
        ratios[ratios.len() / 2]
    );
    runtime.block_on(store.close())?;
    Ok(())
}

fn resident_mib() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib / 1024.0)
}

async fn fill(dir: &Path, wanted: u64) -> Result<(), Failure> {
    let store = open(dir)?;
    let began = Instant::now();
    let steps = 10;
    for step in 0..steps {
        let mut tasks = Vec::new();
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            let (from, to) = (step * wanted / steps, (step + 1) * wanted / steps);
            tasks.push(tokio::spawn(async move {
                for n in (from..to).filter(|n| n % WRITERS == writer) {
                    let event = event(n % 1000, n).map_err(|error| error.to_string())?;
                    store.append(Append::of(vec![event])).await.map_err(|error| error.to_string())?;
                }
                Ok::<(), String>(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        println!("{} events, {:.1} MiB resident", (step + 1) * wanted / steps, resident_mib()?);
    }
    store.close().await?;
    println!("{wanted} events in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Processor seconds of this process, user and system; Linux counts them in hundredths.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("no stat")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

async fn verify(dir: &Path) -> Result<(), Failure> {
    let store = open(dir)?;
    let mut best = 0.0_f64;
    for _ in 0..3 {
        let (began, used) = (Instant::now(), cpu_seconds()?);
        let found = store.verify().await?;
        if !found.problems.is_empty() {
            return Err(format!("{:?}", found.problems).into());
        }
        let events = found.events as f64;
        let (wall, cpu) = (events / began.elapsed().as_secs_f64(), events / (cpu_seconds()? - used));
        println!("verify: {events} events, {cpu:.0} events/s of one core, {wall:.0} events/s by the clock");
        best = best.max(cpu);
    }
    println!("verify, best of 3: {best:.0} events/s of one core (aim 300000)");
    Ok(())
}

/// The child: 16 writers append and print each acknowledged id; the parent kills it.
async fn ingest(dir: &Path, run: u64) -> Result<(), Failure> {
    let store = open(dir)?;
    let mut tasks = Vec::new();
    for writer in 0..16 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            for n in run * 1_000_000.. {
                let event = event(writer, n).map_err(|error| error.to_string())?;
                let line = format!("{}\n", event.id);
                store.append(Append::of(vec![event])).await.map_err(|error| error.to_string())?;
                std::io::stdout().lock().write_all(line.as_bytes()).map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

fn kill(runtime: &tokio::runtime::Runtime, dir: &Path, rounds: u64) -> Result<(), Failure> {
    let (mut acknowledged, mut total) = (0, 0_u64);
    let began = Instant::now();
    for round in 1..=rounds {
        let seen = killed(dir, round)?;
        runtime.block_on(found(dir, &seen))?;
        acknowledged += seen.len();
        if round % 100 == 0 || round == rounds {
            total = runtime.block_on(check(dir))?;
            println!(
                "{round} kills after {:.0} s: {acknowledged} acknowledged, {total} stored",
                began.elapsed().as_secs_f64()
            );
        }
    }
    println!("{rounds} kills: {acknowledged} acknowledged events, 0 lost, none twice ({total} stored)");
    Ok(())
}

/// Starts a writer, kills it at some moment, and gives the ids that it had acknowledged.
fn killed(dir: &Path, round: u64) -> Result<HashSet<String>, Failure> {
    let mut acknowledged = HashSet::new();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["ingest".as_ref(), dir.as_os_str(), round.to_string().as_ref()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
    // The moment of the kill is counted in acknowledgements, another number each time.
    for line in lines.by_ref().take(usize::try_from(20 + (round * 7919) % 400)?) {
        acknowledged.insert(line?);
    }
    child.kill()?;
    // What was in the pipe was acknowledged as well; a torn last line was not.
    acknowledged.extend(lines.map_while(Result::ok).filter(|line| line.len() == 25));
    child.wait()?;
    Ok(acknowledged)
}

/// Every id of a round must be there. What a round wrote is the end of the log, so it is read from there.
async fn found(dir: &Path, acknowledged: &HashSet<String>) -> Result<(), Failure> {
    let store = open(dir)?;
    let (mut missing, mut query) = (acknowledged.clone(), Query { order: Order::Backward, ..Query::default() });
    while !missing.is_empty() {
        let page = store.read(&query).await?;
        for recorded in &page {
            missing.remove(&recorded.event.id);
        }
        match page.last() {
            Some(last) if last.seq > 1 => query.after = last.seq,
            _ => break,
        }
    }
    store.close().await?;
    match missing.len() {
        0 => Ok(()),
        lost => Err(format!("{lost} acknowledged events are lost").into()),
    }
}

/// The whole history: chain, order, witness, and no id twice.
async fn check(dir: &Path) -> Result<u64, Failure> {
    let store = open(dir)?;
    let verified = store.verify().await?;
    if !verified.problems.is_empty() {
        return Err(format!("after a kill: {:?}", verified.problems).into());
    }
    let (mut ids, mut query) = (HashSet::new(), Query::default());
    loop {
        let page = store.read(&query).await?;
        if let Some(twice) = page.iter().find(|recorded| !ids.insert(recorded.event.id.clone())) {
            return Err(format!("{} is there twice", twice.event.id).into());
        }
        match page.last() {
            Some(last) if page.len() == PAGE_MAX => query.after = last.seq,
            _ => break,
        }
    }
    store.close().await?;
    Ok(verified.events)
}

async fn one(dir: &Path, seconds: u64) -> Result<(), Failure> {
    let store = open(dir)?;
    let run = store.head().await?.seq;
    store.append(Append::of(vec![event(run, 0)?])).await?;
    let (began, mut count) = (Instant::now(), 0_u64);
    while began.elapsed() < Duration::from_secs(seconds) {
        count += 1;
        store.append(Append::of(vec![event(run + 1, count)?])).await?;
    }
    println!("{:.1}", count as f64 / began.elapsed().as_secs_f64());
    store.close().await?;
    Ok(())
}

/// Events of twenty projects, 5000 to an append, and 200 of another one among the first: what is asked for lies far back.
async fn deep(dir: &Path, wanted: u64) -> Result<(), Failure> {
    const BATCH: u64 = 5_000;
    let store = open(dir)?;
    let began = Instant::now();
    let mut made = store.head().await?.seq;
    while made < wanted {
        let to = (made + BATCH).min(wanted);
        let events = (made..to).map(|n| {
            let rare = n < BATCH && n % 25 == 0;
            let project = if rare { "rare".to_owned() } else { format!("project-{}", n % 20) };
            let scope = Scope::new(ProjectName::new(&project)?, EnvName::new("prod")?);
            let stream = format!("rollout/{project}/prod/{}", n / 2_000);
            Ok(Event { scope: Some(scope), stream, data: format!("{{\"n\":{n}}}"), ..event(n % 64, n)? })
        });
        store.append(Append::of(events.collect::<Result<_, Failure>>()?)).await?;
        made = to;
        if made % 1_000_000 < BATCH {
            println!("{made} events after {:.0} s, {:.0} MiB resident", began.elapsed().as_secs_f64(), resident_mib()?);
        }
    }
    store.close().await?;
    last(dir, "rare").await?;
    last(dir, "project-7").await
}

async fn last(dir: &Path, project: &str) -> Result<(), Failure> {
    let opened = Instant::now();
    let store = open(dir)?;
    let query =
        Query { project: Some(ProjectName::new(project)?), limit: 50, order: Order::Backward, ..Query::default() };
    store.read(&query).await?;
    let first = opened.elapsed().as_secs_f64() * 1000.0;
    let mut times = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        let found = store.read(&query).await?.len();
        if found != 50 {
            return Err(format!("{found} events instead of 50").into());
        }
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let events = store.head().await?.seq;
    println!(
        "last 50 events of {project} in {events}: median {:.2} ms, worst {:.2} ms (aim 5); with opening {first:.2} ms",
        times[100], times[199]
    );
    Ok(())
}

/// Every file below a folder.
fn files_below(dir: &Path, into: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, into)?;
        } else if path.metadata()?.len() > 0 {
            into.push(path);
        }
    }
    into.sort();
    Ok(())
}

/// Everything that a history says; an error is an answer as well.
async fn content(place: &Path) -> Result<String, Failure> {
    let store = open(place)?;
    let said = format!("{:?} {:?}", store.read(&Query::default()).await?, store.fences().await?);
    store.close().await?;
    Ok(said)
}

async fn damage(dir: &Path, flips: u64) -> Result<(), Failure> {
    let mut missed = 0;
    for kind in ["sqlite", "jsonl"] {
        let folder = dir.join(kind);
        let place = PathBuf::from(format!("{kind}:{}", folder.display()));
        let store = open(&place)?;
        for n in 0..300 {
            let fence = Fence { scope: format!("shop/{}", n % 3), epoch: n };
            store.append(Append::of(vec![event(n % 7, n)?]).fenced(fence)).await?;
        }
        store.close().await?;
        if kind == "sqlite" {
            let connection = Connection::open(folder.join("history.db"))?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        let sound = content(&place).await?;
        let mut files = Vec::new();
        files_below(&folder, &mut files)?;
        for file in files {
            missed += flip_all(&place, &file, &sound, flips).await?;
        }
    }
    if missed > 0 { Err(format!("{missed} flips changed an answer and were not told").into()) } else { Ok(()) }
}

/// Flips so many single bits of a file, one at a time; gives how many changed an answer and were not told.
async fn flip_all(place: &Path, file: &Path, sound: &str, flips: u64) -> Result<u64, Failure> {
    let bytes = std::fs::read(file)?;
    let (mut seed, mut told, mut harmless, mut missed) = (0x2545_f491_4f6c_dd1d_u64, 0, 0, 0);
    for round in 0..flips {
        // xorshift: a round can be repeated by its number.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let at = usize::try_from(seed % bytes.len() as u64)?;
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (seed % 8);
        std::fs::write(file, &flipped)?;
        let store = open(place);
        let reported = match &store {
            Ok(store) => store.verify().await.map_or(true, |found| !found.problems.is_empty()),
            Err(_) => true,
        };
        if reported {
            told += 1;
        } else if content(place).await.is_ok_and(|content| content == sound) {
            harmless += 1;
        } else {
            missed += 1;
            println!("missed: round {round}, byte {at} of {}", file.display());
        }
    }
    std::fs::write(file, bytes)?;
    let name = file.file_name().unwrap_or_default().display();
    println!("{name}: {flips} flips, {told} told, {harmless} without effect, {missed} missed");
    Ok(missed)
}

async fn series(dir: &Path, seconds: u64) -> Result<(), Failure> {
    let (store, points) = (open(dir)?, Arc::new(SqliteSeries::open(dir)?));
    let span = Duration::from_secs(seconds);
    let writers = tokio::spawn({
        let store = Arc::clone(&store);
        async move { write_all(store, 1, span).await.map_err(|error| error.to_string()) }
    });
    let (began, mut count) = (Instant::now(), 0_i64);
    while began.elapsed() < span {
        let batch = (count..count + 500).map(|n| {
            let labels = [("instance", n % 20), ("version", n % 2)].map(|(key, n)| (key.to_owned(), n.to_string()));
            let time = Timestamp::from_millisecond(1_780_000_000_000 + n)?;
            Ok(Point { name: "http_requests".into(), labels: labels.into(), time, value: n as f64 })
        });
        points.record(batch.collect::<Result<_, Failure>>()?).await?;
        count += 500;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    let (events, took) = writers.await??;
    println!("{rate:.0} points/s (aim 10000) beside {:.0} events/s", events as f64 / took);
    store.close().await?;
    Ok(())
}
