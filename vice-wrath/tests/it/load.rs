//! `vice wrath load` against servers whose behaviour is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until, timeout};
use vice_core::ui::{Format, Outcome};
use vice_core::{Class, Code, Result};
use vice_wrath::cmd::{WrathArgs, run};

use crate::app::{deployed, setup};
use crate::server::Server;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: WrathArgs,
}

/// Runs a command line of `vice wrath`.
pub(crate) async fn wrath(words: &[&str]) -> Result<Outcome> {
    wrath_as(Format::Json, words).await
}

/// The arguments of a command line.
pub(crate) fn line(words: &[&str]) -> WrathArgs {
    <Line as clap::Parser>::try_parse_from([&["wrath"], words].concat()).unwrap().args
}

pub(crate) async fn wrath_as(format: Format, words: &[&str]) -> Result<Outcome> {
    let app = setup("[check.a]\nhttp = \"http://127.0.0.1:9\"\n", None, None, format);
    run(&app.app, line(words)).await
}

/// A server that keeps connections, and answers everything that comes between two moments only at the second.
struct Keeping {
    url: String,
    requests: Arc<AtomicU64>,
}

async fn keeping(answer: &'static str, stall: Option<(Duration, Duration)>) -> Keeping {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        let first = Arc::new(std::sync::OnceLock::new());
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(keep(stream, Arc::clone(&seen), Arc::clone(&first), answer, stall));
        }
    });
    Keeping { url, requests }
}

async fn keep(
    mut stream: TcpStream,
    seen: Arc<AtomicU64>,
    first: Arc<std::sync::OnceLock<Instant>>,
    answer: &'static str,
    stall: Option<(Duration, Duration)>,
) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer).await {
        let now = Instant::now();
        let begun = *first.get_or_init(|| now);
        seen.fetch_add(1, Ordering::SeqCst);
        if let Some((from, to)) = stall
            && now >= begun + from
        {
            sleep_until(begun + to).await;
        }
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

fn number(json: &Value, pointer: &str) -> f64 {
    json.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} in {json:#}"))
}

#[tokio::test]
async fn an_open_loop_sends_what_was_asked_for() {
    let server = keeping(HELLO, None).await;
    let outcome =
        wrath(&["load", &server.url, "--rate", "400/s", "--for", "2s", "--fail-if", "errors>0"]).await.unwrap();
    assert_eq!(outcome.class, Class::Done, "{:#}", outcome.json);
    assert_eq!(server.requests.load(Ordering::SeqCst), 800);
    assert_eq!((number(&outcome.json, "/counts/requests"), number(&outcome.json, "/counts/failed")), (800.0, 0.0));
    assert_eq!(number(&outcome.json, "/statuses/200"), 800.0);
}

/// The last arrival is asked for by the one who hands out and by a connection that gets free in the same moment. Whoever
/// comes second must leave those that rest in peace: one that was called for nothing waited for ever, in one short run of
/// fifteen.
#[tokio::test]
async fn a_run_ends_whoever_takes_its_last_arrival() {
    let server = keeping(HELLO, None).await;
    for (rate, due) in [("2000/s", 20.0), ("4000/s", 40.0), ("8000/s", 80.0)] {
        for seed in 0..30 {
            let seed = seed.to_string();
            let words = ["load", &server.url, "--rate", rate, "--for", "10ms", "--connections", "6", "--seed", &seed];
            let ended = timeout(Duration::from_secs(20), wrath(&words)).await;
            let outcome = ended.unwrap_or_else(|_| panic!("a run at {rate} does not end")).unwrap();
            // On a busy machine the last ones may not be sent in time any more; none is lost or sent twice.
            assert_eq!(number(&outcome.json, "/counts/requests"), due, "{:#}", outcome.json);
        }
    }
}

#[tokio::test]
async fn a_closed_loop_keeps_one_connection_a_user() {
    let server = keeping(HELLO, None).await;
    let outcome = wrath(&["load", &server.url, "--users", "7", "--for", "1s"]).await.unwrap();
    assert_eq!(number(&outcome.json, "/connections"), 7.0);
    assert_eq!(number(&outcome.json, "/counts/requests"), server.requests.load(Ordering::SeqCst) as f64);
    assert!(number(&outcome.json, "/counts/requests") > 100.0);
}

/// 100 requests a second for 6 s, and a server that answers nothing between 2 s and 4 s: 200 of 600 requests wait,
/// evenly up to 2 s. So a share of `(1 − x/2)/3` waits longer than `x` seconds: p90 is 1.4 s, p99 is 1.94 s.
#[tokio::test]
async fn a_stall_shows_in_an_open_loop_within_two_percent() {
    let stall = Some((Duration::from_secs(2), Duration::from_secs(4)));
    let server = keeping(HELLO, stall).await;
    let open = wrath(&["load", &server.url, "--rate", "100/s", "--for", "6s"]).await.unwrap().json;
    for (figure, expected) in [("/latency_us/p90", 1.4e6), ("/latency_us/p95", 1.7e6), ("/latency_us/p99", 1.94e6)] {
        let found = number(&open, figure);
        assert!((found / expected - 1.0).abs() < 0.02, "{figure}: {found} instead of {expected}");
    }
    // Users wait for their answers, so only one request each meets the stall, and the percentiles do not see it.
    let server = keeping(HELLO, stall).await;
    let words = ["load", &server.url, "--users", "10", "--pause", "100ms", "--for", "6s"];
    let closed = wrath(&words).await.unwrap().json;
    let found = number(&closed, "/latency_us/p90");
    assert!(found < 0.02 * 1.4e6, "the closed loop found {found}");
}

#[tokio::test]
async fn what_is_not_kept_is_an_exit_of_5() {
    let server = keeping("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", None).await;
    let words =
        ["load", &server.url, "--rate", "100/s", "--for", "500ms", "--fail-if", "errors>1%", "--fail-if", "p50>9s"];
    let outcome = wrath(&words).await.unwrap();
    assert_eq!(outcome.class, Class::Verification);
    assert_eq!(number(&outcome.json, "/counts/failures/bad_status"), 50.0);
    assert_eq!(
        (&outcome.json["limits"][0]["failed"], &outcome.json["limits"][1]["failed"]),
        (&true.into(), &false.into())
    );
}

#[tokio::test]
async fn servers_that_break_give_failures_and_no_panic() {
    for (answer, failure) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc", "malformed"),
        ("220 smtp.test ESMTP\r\n", "malformed"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nabc", "no_answer_in_time"),
    ] {
        let server = keeping(answer, None).await;
        let words = ["load", &server.url, "--rate", "50/s", "--for", "300ms", "--timeout", "200ms"];
        let outcome = wrath(&words).await.unwrap();
        assert_eq!(number(&outcome.json, &format!("/counts/failures/{failure}")), 15.0, "{:#}", outcome.json);
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outcome = wrath(&["load", &format!("http://{closed}/"), "--rate", "50/s", "--for", "300ms"]).await.unwrap();
    assert_eq!(outcome.class, Class::Failed);
    assert_eq!(number(&outcome.json, "/counts/failures/no_connection"), 15.0);
}

#[tokio::test]
async fn too_few_connections_are_said() {
    let server = keeping(HELLO, Some((Duration::ZERO, Duration::from_secs(2)))).await;
    let words = ["load", &server.url, "--rate", "100/s", "--for", "1s", "--connections", "3"];
    let outcome = wrath(&words).await.unwrap();
    assert_eq!(number(&outcome.json, "/counts/failures/not_sent"), 97.0, "{:#}", outcome.json);
    let note = outcome.json["notes"][0].as_str().unwrap();
    assert!(note.contains("every connection waited"), "{note}");
}

#[tokio::test]
async fn a_page_has_the_charts() {
    let server = keeping(HELLO, None).await;
    let words = ["load", &server.url, "--rate", "50/s", "--for", "1s", "--poisson", "--threads", "2"];
    let page = wrath_as(Format::Html, &words).await.unwrap().text;
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(page.contains("50/s for 1.0s, Poisson") && !page.contains("<script"));
}

#[tokio::test]
async fn the_checks_of_a_project_are_a_load() {
    let server = keeping(HELLO, None).await;
    let checks = "[check.home]\nhttp = \"{{env.url}}/\"\n[check.search]\nhttp = \"{{env.url}}/search?v={{version}}\"\nstatus = 404\n\
        [check.port]\ntcp = \"127.0.0.1:9\"\n";
    let load = async |words: &[&str], url: &str| {
        let app = setup(checks, Some(url.to_owned()), None, Format::Json);
        deployed(&app.app, "1.2").await;
        run(&app.app, line(words)).await
    };
    let words =
        ["load", "hello", "--env", "dev", "--rate", "100/s", "--for", "200ms", "--fail-if", "search:errors>50%"];
    let outcome = load(&words, &server.url).await.unwrap();
    assert_eq!(outcome.class, Class::Verification, "{:#}", outcome.json);
    let kinds = &outcome.json["kinds"];
    assert_eq!((&kinds[0]["name"], &kinds[1]["name"], &kinds[2]), (&"home".into(), &"search".into(), &Value::Null));
    assert_eq!((&kinds[0]["counts"]["failed"], &kinds[1]["counts"]["failed"]), (&0.into(), &10.into()));
    let only = ["load", "hello", "--env", "dev", "--rate", "50/s", "--for", "100ms", "--check", "home"];
    assert_eq!(load(&only, &server.url).await.unwrap().json["counts"]["failed"], 0);
    for (check, code) in [("port", Code::Usage), ("nothing", Code::UnknownName)] {
        let words = ["load", "hello", "--env", "dev", "--rate", "50/s", "--check", check];
        assert_eq!(load(&words, &server.url).await.unwrap_err().code(), code, "{check}");
    }
}

#[tokio::test]
async fn nonsense_is_refused_before_anything_is_sent() {
    for words in [
        vec!["load", "http://127.0.0.1:9/"],
        vec!["load", "ftp://127.0.0.1/", "--rate", "1/s"],
        vec!["load", "http://127.0.0.1:9/", "--rate", "fast"],
        vec!["load", "http://127.0.0.1:9/", "--users", "1.5"],
        vec!["load", "http://127.0.0.1:9/", "--stage", "1/s:1s", "--stage", "5:1s"],
        vec!["load", "http://127.0.0.1:9/", "--rate", "1/s", "--for", "0ms"],
        vec!["load", "http://127.0.0.1:9/", "--rate", "1/s", "--fail-if", "slow"],
        vec!["load", "http://127.0.0.1:9/", "--rate", "1/s", "-H", "nonsense"],
        vec!["load", "http://127.0.0.1:9/", "--rate", "1/s", "--threads", "0"],
        vec!["load", "http://127.0.0.1:9/", "--rate", "1/s", "--connections", "9999999"],
    ] {
        let fault = wrath(&words).await.unwrap_err();
        assert_eq!(fault.code(), Code::Usage, "{words:?}: {fault:?}");
        assert!(!fault.hints().is_empty(), "{words:?}");
    }
    let fault = wrath(&["load", "http://127.0.0.1:9/", "--rate", "1/s", "--fail-if", "cart:p99>1s"]).await.unwrap_err();
    assert_eq!(fault.code(), Code::UnknownName);
}

/// A shop with a stock of its own: whoever logs in gets a number, and may buy only under that number.
async fn shop(stall: Duration) -> (Server, Arc<AtomicU64>) {
    let (sold, numbers) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&sold);
    let server = Server::start(move |request, mut conn| {
        let (sold, numbers) = (Arc::clone(&counted), Arc::clone(&numbers));
        async move {
            let line = request.line().to_owned();
            if line.starts_with("POST /login") {
                let number = numbers.fetch_add(1, Ordering::SeqCst);
                let cookie = format!("set-cookie: sid=s{number}\r\ncontent-type: application/json\r\n");
                return conn.answer("201 Created", &cookie, &format!("{{\"id\":{number}}}")).await;
            }
            if line.starts_with("POST /buy") {
                tokio::time::sleep(stall).await;
                let number = line.split(['/', ' ', '?']).nth(3).unwrap_or_default().to_owned();
                let known = request.head.contains(&format!("sid=s{number}\r"));
                sold.fetch_add(u64::from(known), Ordering::SeqCst);
                return conn.answer(if known { "200 OK" } else { "403 No" }, "", "").await;
            }
            conn.answer(if line.starts_with("GET /out") { "204 Gone" } else { "404 No" }, "", "").await;
        }
    })
    .await;
    (server, sold)
}

const BUY: &str = r#"
name = "buy"
data = [{ item = "tea" }, { item = "cup" }]
[[step]]
name = "log in"
http = "POST /login"
body_json = { item = "{{item}}" }
capture = { id = "json:/id" }
expect.status = 201
[[step]]
name = "buy"
http = "POST /buy/{{id}}?item={{item}}&run={{run.id}}"
[[teardown]]
name = "log out"
http = "/out"
expect.status = 204
"#;

#[tokio::test]
async fn scenarios_are_journeys_with_captures_and_cookies_of_their_own() {
    crate::support::provider();
    let (server, sold) = shop(Duration::ZERO).await;
    let dir = tempfile::tempdir().unwrap();
    let (buy, look) = (dir.path().join("buy.toml"), dir.path().join("look.toml"));
    std::fs::write(&buy, BUY).unwrap();
    std::fs::write(&look, "name = \"look\"\n[[step]]\nname = \"home\"\nhttp = \"/\"\n").unwrap();
    let (buy, look) = (format!("{}=3", buy.display()), look.display().to_string());
    let words = [
        "load",
        &server.url(),
        "--env",
        "dev",
        "--scenario",
        &buy,
        "--scenario",
        &look,
        "--rate",
        "100/s",
        "--for",
        "1s",
    ];
    let more = ["--fail-if", "buy:errors>0", "--fail-if", "buy / buy:p99>5s", "--threads", "2", "--seed", "7"];
    let outcome = wrath(&[&words[..], &more].concat()).await.unwrap();
    let json = &outcome.json;
    assert_eq!(outcome.class, Class::Done, "{json:#}");
    let names: Vec<&str> = json["kinds"].as_array().unwrap().iter().filter_map(|kind| kind["name"].as_str()).collect();
    assert_eq!(names, ["buy", "buy / log in", "buy / buy", "buy / log out", "look", "look / home"]);
    let of = |index: usize, pointer: &str| number(&json["kinds"][index], pointer);
    let (bought, looked) = (of(0, "/counts/requests"), of(4, "/counts/requests"));
    assert_eq!((bought + looked, of(4, "/counts/failed")), (100.0, looked), "the shop has no home page");
    // Three of four, within four standard errors of a hundred.
    assert!((bought - 75.0).abs() < 4.0 * (100.0 * 0.75 * 0.25_f64).sqrt(), "{bought}");
    assert_eq!(sold.load(Ordering::SeqCst) as f64, bought, "each journey bought with its own capture and cookie");
    assert_eq!(number(json, "/counts/requests"), 3.0 * bought + looked);
    assert_eq!((number(json, "/journeys/good"), number(json, "/journeys/bad")), (bought, looked));
    let reasons = json["journeys"]["reasons"].as_object().unwrap();
    assert_eq!(reasons.keys().collect::<Vec<_>>(), ["look: home: status: expected 200, got 404"]);
    let lines: Vec<String> = server.requests().iter().map(|request| request.line().to_owned()).collect();
    let runs: std::collections::BTreeSet<&str> = lines.iter().filter_map(|line| line.split("run=").nth(1)).collect();
    assert_eq!(runs.len() as f64, bought, "each journey has a run.id of its own");
    assert!(lines.iter().any(|line| line.contains("item=tea")) && lines.iter().any(|line| line.contains("item=cup")));
}

#[tokio::test]
async fn a_journey_counts_from_when_it_was_due_and_is_ended_with_its_teardown() {
    crate::support::provider();
    let (server, _) = shop(Duration::from_millis(300)).await;
    let dir = tempfile::tempdir().unwrap();
    let buy = dir.path().join("buy.toml");
    std::fs::write(&buy, BUY).unwrap();
    let words =
        ["load", &server.url(), "--env", "dev", "--scenario", buy.to_str().unwrap(), "--rate", "20/s", "--for", "1s"];
    let json = wrath(&[&words[..], &["--connections", "1"]].concat()).await.unwrap().json;
    // One place, 300 ms each: three or four of twenty get through, and each waits longer than the one before.
    let journeys = number(&json, "/journeys/good") + number(&json, "/journeys/broken_off");
    assert!((3.0..=4.0).contains(&journeys), "{json:#}");
    assert_eq!(number(&json, "/counts/failures/not_sent"), 20.0 - journeys);
    let (due, sent) = (number(&json, "/kinds/1/latency_us/max"), number(&json, "/service_us/max"));
    assert!(due > 400_000.0 && due > sent, "the wait for a place counts: {due} and {sent}");
    let count = |word: &str| server.requests().iter().filter(|request| request.line().contains(word)).count();
    assert_eq!(count("/login"), count("/out"), "whoever logged in was logged out");
    // One that may not go on beyond the end is broken off, but not without its teardown.
    let (server, sold) = shop(Duration::from_millis(300)).await;
    std::fs::write(&buy, format!("{BUY}[[step]]\nname = \"more\"\nhttp = \"POST /buy/{{{{id}}}}\"\n")).unwrap();
    let url = server.url();
    let words = ["load", &url, "--env", "dev", "--scenario", buy.to_str().unwrap(), "--rate", "10/s", "--for", "100ms"];
    let json = wrath(&[&words[..], &["--timeout", "50ms"]].concat()).await.unwrap().json;
    assert_eq!((&json["journeys"]["broken_off"], &json["journeys"]["good"]), (&1.into(), &0.into()), "{json:#}");
    assert_eq!(sold.load(Ordering::SeqCst), 1, "the step under way was heard, and the next one not begun");
    assert!(server.requests().last().unwrap().line().starts_with("GET /out"));
}

#[tokio::test]
async fn journeys_through_servers_that_misbehave_are_failures_and_no_panic() {
    crate::support::provider();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    std::fs::write(&file, "name = \"a\"\n[[step]]\nname = \"s\"\nhttp = \"/\"\ntimeout = \"300ms\"\n").unwrap();
    let many: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(100_000)).into_boxed_str());
    for (answer, failure) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc", "not_carried_out"),
        ("220 smtp.test ESMTP\r\n", "not_carried_out"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\n", "not_carried_out"),
        (many, "not_carried_out"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nabc", "no_answer_in_time"),
        ("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", "not_as_expected"),
    ] {
        let server = keeping(answer, None).await;
        let words = [
            "load",
            &server.url,
            "--env",
            "dev",
            "--scenario",
            file.to_str().unwrap(),
            "--rate",
            "50/s",
            "--for",
            "200ms",
        ];
        let json = wrath(&words).await.unwrap().json;
        assert_eq!(number(&json, &format!("/counts/failures/{failure}")), 10.0, "{answer:.60} {json:#}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let words = [
        "load",
        &format!("http://{closed}/"),
        "--env",
        "dev",
        "--scenario",
        file.to_str().unwrap(),
        "--users",
        "3",
        "--for",
        "300ms",
    ];
    let outcome = wrath(&words).await.unwrap();
    assert_eq!(outcome.class, Class::Failed, "{:#}", outcome.json);
    // Users do not ask as fast as they are refused.
    assert!(number(&outcome.json, "/counts/requests") < 100.0);
}

#[tokio::test]
async fn scenarios_of_a_project_are_a_load_and_nonsense_is_refused() {
    crate::support::provider();
    let (server, sold) = shop(Duration::ZERO).await;
    let stage = crate::stage::Stage::new(&server.url(), Format::Json);
    stage.write("wrath/buy.toml", BUY);
    stage.write("wrath/int.toml", "name = \"int\"\nonly = [\"int\"]\n[[step]]\nhttp = \"/\"\n");
    let load = ["load", "hello", "--env", "dev", "--rate", "50/s", "--for", "200ms", "--scenario"];
    let outcome = stage.call(&[&load[..], &["buy"]].concat()).await.unwrap();
    assert_eq!((outcome.class, sold.load(Ordering::SeqCst)), (Class::Done, 10), "{:#}", outcome.json);
    for (name, code) in [
        ("nope", Code::UnknownName),
        ("buy=0", Code::Usage),
        ("buy=x", Code::Usage),
        ("=2", Code::Usage),
        ("int", Code::Usage),
    ] {
        assert_eq!(stage.call(&[&load[..], &[name]].concat()).await.unwrap_err().code(), code, "{name}");
    }
}
