//! Many checks in one run. The figure is printed (`--no-capture`), not asserted.

use vice_core::payload::verification::CheckOutcome::Passed;

use crate::server::Server;
use crate::support::verify;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_checks_pass_in_order() {
    let server =
        Server::start(|_, mut conn| async move { conn.answer("200 OK", "", r#"{"status":"ok"}"#).await }).await;
    let check = |n| {
        format!("[check.c{n:03}]\nhttp = \"{{{{env.url}}}}/{n}\"\njson = {{ '/status' = \"ok\" }}\nmatches = \"ok\"\n")
    };
    let checks: String = (0..500).map(check).collect();
    let suite = verify(&checks, &server.url()).await;
    println!("500 HTTP checks took {}", suite.took);
    assert!(suite.checks.iter().all(|check| check.outcome == Passed && check.attempts == 1));
    let lines: Vec<String> = server.requests().iter().map(|request| request.line().to_owned()).collect();
    let expected: Vec<String> = (0..500).map(|n| format!("GET /{n} HTTP/1.1")).collect();
    assert_eq!(lines, expected);
}
