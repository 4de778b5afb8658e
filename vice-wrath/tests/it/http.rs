//! What an HTTP check sends and asserts.

use vice_core::payload::verification::CheckOutcome::{Errored, Failed, Passed};

use crate::server::Server;
use crate::support::{one, verify};

async fn json_server() -> Server {
    Server::start(|_, mut conn| async move {
        let body = r#"{"status": "ok", "n": 3, "user": {"name": "ada", "tags": ["x", "y"]}}"#;
        conn.answer("200 OK", "content-type: application/json\r\nx-version: 1.2\r\n", body).await;
    })
    .await
}

#[tokio::test]
async fn everything_that_holds_passes() {
    let server = json_server().await;
    let check = "http = \"{{env.url}}/x\"\nmatches = ['\"n\": \\d+', 'ok']\nlatency_max = \"1m\"\n\
        expect_headers = { Content-Type = '^application/json', x-version = '^{{version}}$' }\n\
        json = { '/status' = \"ok\", '/n' = 3.0, '/user' = { name = \"ada\", tags = [\"x\", \"y\"] } }\n";
    let result = one(check, &server.url()).await;
    assert_eq!((result.outcome, result.messages), (Passed, vec![]));
    assert_eq!((result.attempts, result.kind.as_str()), (1, "http"));
    assert_eq!(result.subject, format!("{}/x", server.url()));
}

#[tokio::test]
async fn each_assertion_that_does_not_hold_has_its_line() {
    let server = json_server().await;
    let check = "http = \"{{env.url}}/\"\nstatus = 201\nmatches = 'nowhere'\n\
        expect_headers = { x-version = '^2', x-gone = '.' }\n\
        json = { '/status' = \"up\", '/user' = { name = \"bob\", tags = [\"x\"] }, '/none' = 1 }\n";
    let result = one(check, &server.url()).await;
    assert_eq!(result.outcome, Failed);
    assert_eq!(
        result.messages,
        [
            "status: expected 201, got 200",
            "header x-version: expected to match /^2/, got `1.2`",
            "header x-gone: expected to match /./, but the header is absent",
            "json /status: expected \"up\", got \"ok\"",
            "json /user/name: expected \"bob\", got \"ada\"",
            "json /user/tags/1: expected nothing, got \"y\"",
            "json /none: expected 1, but nothing is there",
            "body: expected to match /nowhere/, got `{\"status\": \"ok\", \"n\": 3, \"user\": {\"name\": \"ada\", \"tags\": [\"x\", \"y\"]}}`",
        ]
    );
}

#[tokio::test]
async fn a_latency_beyond_the_limit_fails() {
    let server = Server::start(|_, mut conn| async move {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        conn.answer("200 OK", "", "").await;
    })
    .await;
    let result = one("http = \"{{env.url}}\"\nlatency_max = \"5ms\"", &server.url()).await;
    assert_eq!(result.outcome, Failed);
    assert!(result.messages[0].starts_with("latency: expected at most 5ms, got "), "{:?}", result.messages);
}

#[tokio::test]
async fn method_headers_and_body_are_sent_with_their_values() {
    let server = json_server().await;
    let checks = "[check.a]\nhttp = \"{{env.url}}/a\"\nheaders = { X-Env = \"{{env}}\" }\nbody_json = { v = \"{{version}}\", n = [1] }\n\
        [check.b]\nhttp = \"{{env.url}}/b\"\nmethod = \"PUT\"\nbody = \"v={{version}}\"\n\
        [check.c]\nhttp = \"http://me:pa%20ss@{{address}}/c\"\n";
    let address = server.address.to_string();
    let suite = verify(&checks.replace("{{address}}", &address), &server.url()).await;
    assert!(suite.passed(), "{suite:?}");
    let requests = server.requests();
    assert_eq!(requests[0].line(), "POST /a HTTP/1.1");
    assert!(requests[0].head.contains("x-env: dev") && requests[0].head.contains("content-type: application/json"));
    assert_eq!(requests[0].body, r#"{"v":"1.2","n":[1]}"#);
    assert_eq!((requests[1].line(), requests[1].body.as_str()), ("PUT /b HTTP/1.1", "v=1.2"));
    assert!(requests[2].head.contains("authorization: Basic bWU6cGEgc3M="), "{}", requests[2].head);
    assert!(
        suite.checks[2].subject.contains("me:…@") && !suite.checks[2].subject.contains("pa"),
        "{}",
        suite.checks[2].subject
    );
    assert!(suite.checks[0].subject.starts_with("POST http://"));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let server =
        Server::start(|_, mut conn| async move { conn.answer("302 Found", "location: /login\r\n", "").await }).await;
    let checks = "[check.a]\nhttp = \"{{env.url}}\"\n[check.b]\nhttp = \"{{env.url}}\"\nstatus = 302\nexpect_headers = { location = \"^/login$\" }\n";
    let suite = verify(checks, &server.url()).await;
    assert_eq!(
        suite.checks[0].messages,
        ["status: expected 200, got 302, a redirect to /login (redirects are not followed)"]
    );
    assert_eq!(suite.checks[1].outcome, Passed);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_body_that_is_not_json_is_shown() {
    let server = Server::raw("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>\u{1b}[2J</html>").await;
    let result = one("http = \"{{env.url}}\"\njson = { '/a' = 1 }", &server.url()).await;
    assert_eq!(result.outcome, Failed);
    assert!(
        result.messages[0].starts_with("body: expected JSON, got `<html>\\u{1b}[2J</html>`"),
        "{:?}",
        result.messages
    );
}

#[tokio::test]
async fn nobody_there_is_an_error_and_not_a_failure() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let checks = format!(
        "[check.a]\nhttp = \"http://{address}\"\n[check.b]\ntcp = \"{address}\"\n[check.c]\nhttp = \"http://nowhere.invalid/\"\n"
    );
    let suite = verify(&checks, "").await;
    assert!(suite.checks.iter().all(|check| check.outcome == Errored), "{suite:?}");
    assert_eq!(suite.checks[0].messages, ["can't connect: connection refused"]);
    assert_eq!(suite.checks[1].messages, ["can't connect: connection refused"]);
    assert!(suite.checks[2].messages[0].starts_with("can't connect: "), "{suite:?}");
}

#[tokio::test]
async fn a_100_continue_is_passed_over() {
    let server = Server::raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let result = one("http = \"{{env.url}}\"\nmatches = \"^ok$\"", &server.url()).await;
    assert_eq!((result.outcome, result.messages), (Passed, vec![]));
}
