//! Checks by command and by TCP.

use std::sync::{Arc, Mutex};

use vice_core::Secret;
use vice_core::payload::verification::CheckOutcome::{Errored, Failed, Passed};
use vice_core::payload::verification::CheckResult;
use vice_core::port::command::{Ended, EnvValue};
use vice_core::port::verifier::Verifier;

use crate::server::Server;
use crate::support::{FakeRunner, one, request, with_secret, wrath};

async fn ended(ended: Ended, stdout: &str) -> CheckResult {
    let runner = Arc::new(FakeRunner { ran: Mutex::default(), ended, stdout: stdout.to_owned() });
    let request =
        request("[check.a]\ncommand = [\"./smoke\", \"{{version}}\"]\nmatches = \"all {{version}} good\"\n", "");
    wrath(runner).verify(request).await.unwrap().checks.remove(0)
}

#[tokio::test]
async fn a_command_passes_by_its_status_and_output() {
    let passed = ended(Ended::Exited(0), "all 1.2 good\n").await;
    assert_eq!((passed.outcome, passed.subject.as_str(), passed.kind.as_str()), (Passed, "./smoke 1.2", "command"));
    let silent = ended(Ended::Exited(0), "hm\n").await;
    assert_eq!(silent.messages, ["output: expected to match /all {{version}} good/, got `hm`"]);
    let failed = ended(Ended::Exited(3), "all 1.2 good\nboom\n").await;
    assert_eq!(
        (failed.outcome, failed.messages),
        (Failed, vec!["command: expected exit status 0, got exit status 3: boom".to_owned()])
    );
    let killed = ended(Ended::Signalled(9), "all 1.2 good").await;
    assert_eq!(killed.outcome, Failed);
    let slow = ended(Ended::TimedOut, "").await;
    assert_eq!((slow.outcome, slow.messages.len()), (Errored, 1));
}

#[tokio::test]
async fn a_command_is_told_what_it_may_need_and_secrets_by_environment_only() {
    let server =
        Server::start(
            |_, mut conn| async move { conn.answer("200 OK", "", r#"{"token": "canary-token", "id": 7}"#).await },
        )
        .await;
    let runner = Arc::new(FakeRunner::default());
    let checks = "[check.login]\nhttp = \"{{env.url}}\"\ncapture = { token = \"json:/token\", id = \"json:/id\" }\n\
        [check.a]\ncommand = [\"./smoke\", \"{{id}}\"]\nneeds = [\"login\"]\ntimeout = \"7s\"\n";
    let request = with_secret(request(checks, &server.url()), "db.password", "canary-password");
    let suite = wrath(Arc::clone(&runner) as _).verify(request).await.unwrap();
    assert!(suite.passed(), "{suite:?}");
    let ran = runner.ran.lock().unwrap();
    assert_eq!(ran[0].argv, ["./smoke", "7"]);
    assert_eq!(ran[0].dir, std::path::Path::new("/project"));
    assert!(ran[0].timeout.0 <= 7000);
    let plain = |name: &str| ran[0].env.get(name).cloned();
    assert_eq!(plain("VICE_VERSION"), Some(EnvValue::Plain("1.2".into())));
    assert_eq!(plain("VICE_URL"), Some(EnvValue::Plain(server.url())));
    assert_eq!(plain("DB_PASSWORD"), Some(EnvValue::Secret(Secret::new("canary-password"))));
    assert_eq!(plain("VICE_CAPTURE_TOKEN"), Some(EnvValue::Secret(Secret::new("canary-token"))));
    assert_eq!(ran[0].masker.mask("canary-token canary-password"), "«secret:token» «secret:db.password»");
}

#[tokio::test]
async fn a_port_that_accepts_passes() {
    let server = Server::raw("").await;
    let result = one(&format!("tcp = \"{}\"\nlatency_max = \"1m\"", server.address), "").await;
    assert_eq!((result.outcome, result.subject), (Passed, server.address.to_string()));
}
