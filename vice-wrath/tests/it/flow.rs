//! How checks depend on each other, repeat, and end in time.

use std::sync::Arc;

use vice_core::Millis;
use vice_core::app::StopSignal;
use vice_core::payload::verification::CheckOutcome::{Errored, Failed, Passed, Skipped};
use vice_core::port::verifier::Verifier;

use crate::server::Server;
use crate::support::{one, outcomes, request, run, verify, wrath};

async fn users() -> Server {
    Server::start(|request, mut conn| async move {
        match request.line() {
            "POST /users HTTP/1.1" => {
                let headers = "location: /users/42\r\nset-cookie: sid=canary-cookie-1\r\n";
                conn.answer("201 Created", headers, r#"{"id": 42, "name": "ada", "at": "v=7;"}"#).await;
            }
            "GET /users/42?v=7 HTTP/1.1" if request.head.contains("cookie: sid=canary-cookie-1") => {
                conn.answer("200 OK", "", r#"{"id": 42, "name": "ada"}"#).await;
            }
            _ => conn.answer("404 Not Found", "", "").await,
        }
    })
    .await
}

#[tokio::test]
async fn captures_flow_into_later_checks() {
    let server = users().await;
    // The producer stands below its user: it is needed by itself and runs first.
    let checks = "[check.read]\nhttp = \"{{env.url}}{{where}}?v={{v}}\"\nheaders = { Cookie = \"{{cookie}}\" }\njson = { '/id' = \"{{id}}\" }\n\
        [check.create]\nhttp = \"{{env.url}}/users\"\nbody = \"ada\"\nstatus = 201\n\
        capture = { id = \"json:/id\", where = \"header:Location\", cookie = \"header:Set-Cookie\", v = 'regex:v=(\\d+);' }\n";
    let suite = verify(checks, &server.url()).await;
    assert_eq!(outcomes(&suite), [("read", Passed), ("create", Passed)], "{suite:?}");
    let lines: Vec<String> = server.requests().iter().map(|request| request.line().to_owned()).collect();
    assert_eq!(lines, ["POST /users HTTP/1.1", "GET /users/42?v=7 HTTP/1.1"]);
}

#[tokio::test]
async fn a_capture_that_is_not_there_fails_its_check_and_skips_its_users() {
    let server = users().await;
    let checks = "[check.create]\nhttp = \"{{env.url}}/users\"\nbody = \"\"\nstatus = 201\ncapture = { key = \"json:/nope\" }\n\
        [check.read]\nhttp = \"{{env.url}}/{{key}}\"\n[check.after]\nhttp = \"{{env.url}}\"\nneeds = [\"read\"]\n";
    let suite = verify(checks, &server.url()).await;
    assert_eq!(outcomes(&suite), [("create", Failed), ("read", Skipped), ("after", Skipped)]);
    assert_eq!(suite.checks[0].messages, ["capture key: nothing is at /nope in the body"]);
    assert_eq!(suite.checks[1].messages, ["needs create, which failed"]);
    assert_eq!(suite.checks[2].messages, ["needs read, which was skipped"]);
    assert_eq!((suite.checks[1].attempts, server.requests().len()), (0, 1));
}

#[tokio::test]
async fn a_check_is_repeated_until_it_passes() {
    let server = Server::start(|request, mut conn| async move {
        let status = if request.number < 4 { "503 Not Yet" } else { "200 OK" };
        conn.answer(status, "", "").await;
    })
    .await;
    let result = one("http = \"{{env.url}}\"\nretry_for = \"5m\"\nretry_every = \"1ms\"", &server.url()).await;
    assert_eq!((result.outcome, result.attempts), (Passed, 4));
    assert!(result.messages.is_empty());
}

#[tokio::test]
async fn repeating_ends_and_shows_the_last_attempt() {
    let server = Server::start(|_, mut conn| async move { conn.answer("503 Never", "", "").await }).await;
    let result = one("http = \"{{env.url}}\"\nretry_for = \"300ms\"\nretry_every = \"1ms\"", &server.url()).await;
    assert_eq!(
        (result.outcome, result.messages.as_slice()),
        (Failed, ["status: expected 200, got 503".to_owned()].as_slice())
    );
    assert_eq!(u64::from(result.attempts), server.requests().len() as u64);
}

#[tokio::test]
async fn the_deadline_bounds_all_checks() {
    let server = Server::start(|_, mut conn| async move { conn.until_gone().await }).await;
    let checks = "[check.hangs]\nhttp = \"{{env.url}}\"\nretry_for = \"1h\"\n[check.later]\ntcp = \"127.0.0.1:9\"\n[check.needy]\ntcp = \"127.0.0.1:9\"\nneeds = [\"hangs\"]\n";
    let mut request = request(checks, &server.url());
    request.deadline = Millis(200);
    let suite = run(request).await.unwrap();
    assert_eq!(outcomes(&suite), [("hangs", Errored), ("later", Errored), ("needy", Skipped)]);
    assert_eq!(suite.checks[1].messages, ["not reached before the deadline of 200ms for all checks"]);
    assert_eq!(suite.checks[2].messages, ["needs hangs, which could not be run"]);
}

#[tokio::test]
async fn only_and_tags_bring_what_they_need() {
    let server = users().await;
    let checks = "[check.create]\nhttp = \"{{env.url}}/users\"\nbody = \"\"\nstatus = 201\ncapture = { id = \"json:/id\" }\n\
        [check.read]\nhttp = \"{{env.url}}/x/{{id}}\"\nstatus = 404\ntags = [\"slow\"]\n[check.other]\nhttp = \"{{env.url}}\"\n";
    let mut only = request(checks, &server.url());
    only.only = vec!["read".to_owned()];
    assert_eq!(outcomes(&run(only).await.unwrap()), [("create", Passed), ("read", Passed)]);
    let mut tagged = request(checks, &server.url());
    tagged.tags = vec!["slow".to_owned()];
    assert_eq!(outcomes(&run(tagged).await.unwrap()), [("create", Passed), ("read", Passed)]);
}

#[tokio::test]
async fn checks_for_other_environments_are_skipped() {
    let server = users().await;
    let checks = "[check.a]\nhttp = \"{{env.url}}/{{config.only_there}}\"\nonly = [\"int\"]\n[check.b]\nhttp = \"{{env.url}}\"\nstatus = 404\n";
    let suite = verify(checks, &server.url()).await;
    assert_eq!(outcomes(&suite), [("a", Skipped), ("b", Passed)]);
    assert_eq!(suite.checks[0].messages, ["only for int"]);
    assert!(suite.passed());
}

#[tokio::test]
async fn no_checks_give_an_empty_suite_that_is_no_pass() {
    let suite = verify("", "http://127.0.0.1:9").await;
    assert!(suite.checks.is_empty() && !suite.passed());
}

#[tokio::test]
async fn an_interrupted_run_ends_before_the_next_attempt() {
    let stop = Arc::new(StopSignal::default());
    stop.raise(true);
    let wrath = wrath(Arc::default()).with_stop(stop);
    let fault = wrath.verify(request("[check.a]\ntcp = \"127.0.0.1:9\"\n", "")).await.unwrap_err();
    assert_eq!(fault.code(), vice_core::Code::Interrupted);
}

#[tokio::test]
async fn an_interrupted_pause_ends_the_run() {
    let stop = Arc::new(StopSignal::default());
    let raised = Arc::clone(&stop);
    let server = Server::start(move |_, mut conn| {
        raised.raise(false);
        async move { conn.answer("503 Never", "", "").await }
    })
    .await;
    let checks = "[check.a]\nhttp = \"{{env.url}}\"\nretry_for = \"1h\"\nretry_every = \"30m\"\n";
    let mut request = request(checks, &server.url());
    request.deadline = Millis::from_secs(7200);
    let fault = wrath(Arc::default()).with_stop(stop).verify(request).await.unwrap_err();
    assert_eq!((fault.code(), server.requests().len()), (vice_core::Code::Terminated, 1));
}

#[tokio::test]
async fn checks_for_different_environments_may_capture_the_same_name() {
    let server = users().await;
    let create = "http = \"{{env.url}}/users\"\nbody = \"\"\nstatus = 201\ncapture = { id = \"json:/id\" }\n";
    let checks = format!(
        "[check.there]\n{create}only = [\"int\"]\n[check.here]\n{create}only = [\"dev\"]\n[check.read]\nhttp = \"{{{{env.url}}}}/{{{{id}}}}\"\nstatus = 404\n"
    );
    let suite = verify(&checks, &server.url()).await;
    assert_eq!(outcomes(&suite), [("there", Skipped), ("here", Passed), ("read", Passed)], "{suite:?}");
}
