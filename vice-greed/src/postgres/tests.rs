//! Tests against a real server (`lab_*`), each in a schema of its own, and against ports where nobody answers.

use std::sync::{Arc, Mutex};

use tokio_postgres::NoTls;
use vice_core::app::ProcessEnv;
use vice_core::store::{Append, EventStore, Fence, LogHead, Snapshot};
use vice_core::testkit::event_store::{self, event};
use vice_core::time::SystemClock;
use vice_core::{Code, Millis};

use super::PostgresStore;
use crate::place::Opening;

const CANARY: &str = "canary-secret-7f3a";

#[expect(clippy::disallowed_methods, reason = "the lab says by variables where its server is")]
fn lab() -> String {
    std::env::var("VICE_LAB_POSTGRES")
        .unwrap_or_else(|_| panic!("VICE_LAB_POSTGRES is not set: run scripts/test, which starts the server"))
}

/// A schema that no other test has, and a state folder.
struct Bench {
    url: String,
    schema: String,
    state: tempfile::TempDir,
    told: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let unique = state.path().file_name().unwrap().to_string_lossy().to_lowercase().replace('.', "t");
        let schema = format!("greed_{unique}");
        Self { url: format!("{}?schema={schema}", lab()), schema, state, told: Arc::default() }
    }

    fn open_as(&self, url: &str, vars: &[(&str, &str)]) -> PostgresStore {
        PostgresStore::open(url, &self.opening(vars)).unwrap()
    }

    fn opening(&self, vars: &[(&str, &str)]) -> Opening {
        let told = Arc::clone(&self.told);
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Opening {
            clock: Arc::new(SystemClock),
            env: Arc::new(ProcessEnv { vars, ..ProcessEnv::default() }),
            notices: Arc::new(move |text: &str| told.lock().unwrap().push(text.to_owned())),
            state: self.state.path().to_owned(),
        }
    }

    fn open(&self) -> PostgresStore {
        self.open_as(&self.url, &[])
    }

    /// Somebody else's hands in the database.
    async fn sql(&self, sql: &str) {
        let (client, driver) = tokio_postgres::connect(&lab(), NoTls).await.unwrap();
        tokio::spawn(driver);
        let all = format!("SET search_path = \"{}\"; {sql}", self.schema);
        client.batch_execute(&all).await.unwrap();
    }
}

async fn grow(store: &PostgresStore, ids: &[&str]) -> LogHead {
    for id in ids {
        store.append(Append::of(vec![event(id, "s/1")])).await.unwrap();
    }
    store.head().await.unwrap()
}

#[tokio::test]
async fn lab_postgres_conforms() {
    let benches = Mutex::new(Vec::new());
    let make = async || {
        let bench = Bench::new();
        let store: Arc<dyn EventStore> = Arc::new(bench.open());
        benches.lock().unwrap().push(bench);
        store
    };
    event_store::suite(make).await;
}

#[tokio::test]
async fn lab_postgres_conforms_across_restarts() {
    let bench = Bench::new();
    event_store::durable_suite(async || Arc::new(bench.open()) as Arc<dyn EventStore>).await;
    assert_eq!(*bench.told.lock().unwrap(), Vec::<String>::new(), "the server of the lab syncs");
}

#[tokio::test]
async fn lab_postgres_wakes_who_waits_elsewhere() {
    let bench = Bench::new();
    let (here, there) = (bench.open(), bench.open());
    grow(&there, &["a"]).await;
    // Longer than the test may take: only an announcement or a look now and then can end it.
    let hour = Millis::from_secs(3600);
    let (woken, _) = futures::join!(here.wait(1, hour), grow(&there, &["b"]));
    assert_eq!(woken.unwrap().seq, 2);
}

#[tokio::test]
async fn lab_postgres_two_that_begin_at_once_make_one_history() {
    let bench = Bench::new();
    let stores: Vec<PostgresStore> = (0..6).map(|_| bench.open()).collect();
    let writes = stores.iter().enumerate().map(async |(n, store)| grow(store, &[&format!("{n}")]).await);
    futures::future::join_all(writes).await;
    let found = stores[0].verify().await.unwrap();
    assert_eq!((found.events, found.problems), (6, Vec::new()));
}

#[tokio::test]
async fn lab_postgres_alterations_are_found() {
    let changes = [
        "UPDATE events SET data = '{\"id\":\"x\"}' WHERE seq = 2",
        "UPDATE events SET subject = 'other' WHERE seq = 2",
        "UPDATE events SET time = time + 1 WHERE seq = 2",
        "DELETE FROM events WHERE seq = 2",
        "UPDATE events SET seq = -seq WHERE seq = 3",
        "UPDATE fences SET epoch = 1",
        "UPDATE head SET seq = 2",
        "DELETE FROM streams",
    ];
    for change in changes {
        let bench = Bench::new();
        let store = bench.open();
        let fence = Fence { scope: "shop/prod".into(), epoch: 7 };
        store.append(Append::of(vec![event("z", "s/1")]).fenced(fence)).await.unwrap();
        grow(&store, &["a", "b"]).await;
        bench.sql(&format!("SET session_replication_role = replica; {change}")).await;
        let problems = store.verify().await.unwrap().problems;
        assert!(!problems.is_empty(), "{change}");
    }
}

#[tokio::test]
async fn lab_postgres_refuses_changes_by_itself() {
    let bench = Bench::new();
    grow(&bench.open(), &["a"]).await;
    for change in ["UPDATE events SET data = ''", "DELETE FROM events", "TRUNCATE events", "DELETE FROM streams"] {
        let refused = std::panic::AssertUnwindSafe(bench.sql(change));
        let done = futures::FutureExt::catch_unwind(refused).await;
        assert!(done.is_err(), "{change} went through");
    }
}

#[tokio::test]
async fn lab_postgres_a_lost_tail_is_reported_and_not_built_upon() {
    let bench = Bench::new();
    let store = bench.open();
    grow(&store, &["a", "b", "c"]).await;
    store.close().await.unwrap();
    bench
        .sql(
            "SET session_replication_role = replica; DELETE FROM events WHERE seq > 1;
             UPDATE head SET (seq, chain) = (SELECT seq, chain FROM events)",
        )
        .await;
    let store = bench.open();
    let problems = store.verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("its end is lost")), "{problems:?}");
    let fault = store.append(Append::of(vec![event("d", "s/1")])).await.unwrap_err();
    assert_eq!(fault.code(), Code::HistoryDamaged, "{fault:?}");
}

#[tokio::test]
async fn lab_postgres_a_lost_connection_is_made_anew() {
    let bench = Bench::new();
    let store = bench.open_as(&format!("{}&application_name={}", bench.url, bench.schema), &[]);
    let end =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'", bench.schema);
    grow(&store, &["a"]).await;
    bench.sql(&end).await;
    assert_eq!(grow(&store, &["b"]).await.seq, 2);
    assert_eq!(store.verify().await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test]
async fn lab_postgres_faults_are_named_and_hold_no_password() {
    let bench = Bench::new();
    let role = format!("{}_user", bench.schema);
    grow(&bench.open(), &["a"]).await;
    bench.sql(&format!("CREATE ROLE \"{role}\" LOGIN PASSWORD 'right'")).await;
    let other = bench.url.replace("vice@", &format!("{role}@"));
    let missing = bench.url.replace("/postgres?", "/nowhere?");
    let cases = [
        (&other, vec![("PGPASSWORD", CANARY)], Code::Backend, "refuses the user"),
        (&other, vec![], Code::Backend, "asks for a password"),
        (&other, vec![("PGPASSWORD", "right")], Code::Backend, "may not do this"),
        (&missing, vec![], Code::Backend, "does not exist"),
    ];
    for (url, vars, code, part) in cases {
        let fault = bench.open_as(url, &vars).append(Append::of(vec![event("b", "s/1")])).await.unwrap_err();
        assert_eq!(fault.code(), code, "{part}: {fault:?}");
        let shown = format!("{fault:?}");
        assert!(shown.contains(part) && !fault.hints().is_empty(), "{part}: {shown}");
        assert!(!shown.contains(CANARY), "a password is in the error: {shown}");
    }
}

#[tokio::test]
async fn lab_postgres_a_newer_format_is_refused() {
    let bench = Bench::new();
    grow(&bench.open(), &["a"]).await;
    bench.sql("UPDATE meta SET format = 99").await;
    let store = bench.open();
    assert_eq!(store.head().await.unwrap_err().code(), Code::HistoryNewer);
    let fault = store.append(Append::of(vec![event("b", "s/1")])).await.unwrap_err();
    assert_eq!(fault.code(), Code::HistoryNewer);
}

#[tokio::test]
async fn lab_postgres_a_read_only_server_says_so() {
    let bench = Bench::new();
    grow(&bench.open(), &["a"]).await;
    let url = format!("{}&options=-c%20default_transaction_read_only%3Don", bench.url);
    let store = bench.open_as(&url, &[]);
    assert_eq!(store.head().await.unwrap().seq, 1, "reading goes on");
    let fault = store.append(Append::of(vec![event("b", "s/1")])).await.unwrap_err();
    assert_eq!(fault.code(), Code::StateUnwritable, "{fault:?}");
}

#[tokio::test]
async fn lab_postgres_a_damaged_snapshot_is_none() {
    let bench = Bench::new();
    let store = bench.open();
    grow(&store, &["a"]).await;
    let snapshot = Snapshot { fold_version: 1, version: 1, state: "{\"healthy\":true}".into() };
    store.put_snapshot("fold", "s/1", snapshot).await.unwrap();
    bench.sql("UPDATE snapshots SET state = '{}'").await;
    assert_eq!(store.snapshot("fold", "s/1").await.unwrap(), None);
}

#[tokio::test]
async fn lab_postgres_takes_and_gives_whole_histories() {
    use crate::tests::{
        Kind,
        copy::{fill, same},
    };
    let bench = Bench::new();
    let store = bench.open();
    let (before, after) =
        (Kind::Sqlite.open(&bench.state.path().join("one")), Kind::Sqlite.open(&bench.state.path().join("two")));
    fill(&*before, 1, 150).await;
    crate::copy::copy(&*before, &store, &crate::cmd::Told::default()).await.unwrap();
    same(&*before, &store).await;
    crate::copy::copy(&store, &*after, &crate::cmd::Told::default()).await.unwrap();
    same(&store, &*after).await;
}

#[tokio::test]
async fn lab_postgres_what_it_can_not_hold_is_refused_alone() {
    let bench = Bench::new();
    let store = bench.open();
    let mut odd = event("odd", "s/1");
    odd.subject = "a\0b".into();
    let conditional = Append::of(vec![event("c", "s/1")]).expect("s\0", vice_core::store::Expected::NoStream);
    let snapshot = Snapshot { fold_version: 1, version: 1, state: "\0".into() };
    let (one, two, three, good) = futures::join!(
        store.append(Append::of(vec![odd])),
        store.append(conditional),
        store.put_snapshot("fold", "s/1", snapshot),
        store.append(Append::of(vec![event("good", "s/1")])),
    );
    for fault in [one.unwrap_err(), two.unwrap_err(), three.unwrap_err()] {
        assert_eq!(fault.code(), Code::Usage, "{fault:?}");
    }
    assert_eq!(good.unwrap().seqs, [1], "what others append at the same time goes through");
}

#[tokio::test]
async fn lab_postgres_series_conform() {
    let benches = Mutex::new(Vec::new());
    let make = async || {
        let bench = Bench::new();
        let series = super::PostgresSeries::open(&bench.url, &bench.opening(&[])).unwrap();
        benches.lock().unwrap().push(bench);
        Arc::new(series) as Arc<dyn vice_core::series::SeriesStore>
    };
    vice_core::testkit::series_store::suite(make).await;
}

#[tokio::test]
async fn lab_postgres_looking_makes_no_table() {
    let bench = Bench::new();
    let store = bench.open();
    assert_eq!(store.head().await.unwrap().seq, 0);
    assert_eq!(store.verify().await.unwrap().events, 0);
    // Fails if there is one: the schema would exist.
    bench.sql(&format!("CREATE SCHEMA \"{}\"", bench.schema)).await;
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let state = tempfile::tempdir().unwrap();
    let vars = [("PGPASSWORD".to_owned(), CANARY.to_owned())].into();
    let opening = Opening {
        clock: Arc::new(SystemClock),
        env: Arc::new(ProcessEnv { vars, ..ProcessEnv::default() }),
        notices: Arc::new(|_| {}),
        state: state.path().to_owned(),
    };
    let store = PostgresStore::open(&format!("postgres://u@127.0.0.1:{port}/d"), &opening).unwrap();
    for fault in [store.head().await.unwrap_err(), store.append(Append::of(vec![event("a", "s")])).await.unwrap_err()] {
        assert_eq!(fault.code(), Code::Unreachable, "{fault:?}");
        let shown = format!("{fault:?}");
        assert!(shown.contains(&format!("127.0.0.1:{port}")) && !shown.contains(CANARY), "{shown}");
    }
}

#[tokio::test]
async fn lab_postgres_lets_go_of_what_is_archived_and_of_nothing_else() {
    use crate::archive::tests::{GO, archive_once, fill, told, without_data};
    let bench = Bench::new();
    let (store, place) = (Arc::new(bench.open()), tempfile::tempdir().unwrap());
    fill(&*store).await;
    let before = told(&*store).await;
    let whole = crate::archive::reunited(
        Arc::clone(&store) as Arc<dyn EventStore>,
        &Arc::default(),
        &(Arc::new(|_: &str| {}) as crate::Notices),
    );
    let made = archive_once(&*whole, place.path(), 1).await.unwrap();
    assert_eq!((made.events, made.finished), (GO, 0));
    assert_eq!(without_data(&told(&*store).await), GO);
    assert!(told(&*whole).await == before, "with its archive it says what it said");
    assert_eq!(whole.verify().await.unwrap().problems, Vec::<String>::new());
    assert_eq!(archive_once(&*whole, place.path(), 2).await.unwrap().events, 0);

    // Appends are decided as before, and events can't be changed by others.
    let again = store.append(Append::of(vec![before[1].event.clone()])).await.unwrap();
    assert_eq!((again.duplicates, again.seqs), (1, vec![2]));
    let fault = store.let_go(3).await.unwrap_err();
    assert_eq!(fault.code(), Code::Conflict, "{fault:?}");
    let (client, driver) = tokio_postgres::connect(&lab(), NoTls).await.unwrap();
    tokio::spawn(driver);
    let change = format!("UPDATE \"{}\".events SET data = ''", bench.schema);
    assert!(client.batch_execute(&change).await.is_err(), "the trigger is there again");

    // Somebody empties what no archive has.
    bench.sql("ALTER TABLE events DISABLE TRIGGER events_change; UPDATE events SET data = '' WHERE seq = 200").await;
    let problems = store.verify().await.unwrap().problems;
    assert_eq!(problems, ["Event 200 is without its data, and no archive has them."]);
}
