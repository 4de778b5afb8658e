//! Plug-ins that hang, end, lie and babble, in a few lines of shell each.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tokio::time::Duration;
use vice_core::app::ProcessEnv;
use vice_core::secret::{Masker, Secret};
use vice_core::{Code, Fault};

use super::{Plugin, Port, Start};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(500);

fn env() -> Arc<ProcessEnv> {
    let vars = [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())].into();
    Arc::new(ProcessEnv { vars, dir: "/".into(), ..ProcessEnv::default() })
}

/// `answers` are cases of shell: `$line` is the request, `$id` its number, `ok VALUE` answers.
fn script(dir: &Path, answers: &str) -> Plugin {
    let program = dir.join("vice-backend-odd");
    let text = format!(
        "#!/bin/sh\nok() {{ echo \"{{\\\"id\\\":$id,\\\"ok\\\":$1}}\"; }}\n\
         while read -r line; do\nid=${{line#*:}}; id=${{id%%,*}}\ncase $line in\n{answers}\n\
         *describe*) ok '{{\"protocol\":1,\"port\":\"target\"}}';;\n*) ok null;;\nesac\ndone\n"
    );
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut masker = Masker::default();
    masker.add("token", &Secret::new("canary-secret"));
    Plugin::new(Start {
        name: "odd".to_owned(),
        program,
        env: env(),
        dir: dir.to_owned(),
        port: Port::Target,
        open: json!({}),
        masker,
    })
}

async fn fault_of(answers: &str) -> Fault {
    let dir = tempfile::tempdir().unwrap();
    script(dir.path(), answers).call("look", &json!({}), LONG).await.unwrap_err()
}

#[tokio::test]
async fn what_is_no_answer_is_told_and_never_waited_for() {
    let cases = [
        ("*describe*) ok '{\"protocol\":2,\"port\":\"target\"}';;", Code::Unsupported, "speaks protocol 2"),
        ("*describe*) ok '{\"protocol\":1,\"port\":\"store\"}';;", Code::Unsupported, "is not a target: it is a store"),
        ("*describe*) ok '{\"protocol\":1}';;", Code::Unsupported, "is not a target."),
        ("*describe*) ok '{\"name\":\"x\"}';;", Code::Backend, "does not say what it is"),
        ("*describe*) echo 'hello, I am a plug-in';;", Code::Unreachable, "a line that is no answer"),
        ("*describe*) echo 'no license' >&2; exit 3;;", Code::Unreachable, "no license"),
        ("*open*) echo 'no canary-secret' >&2; exit 3;;", Code::Unreachable, "no «secret:token»"),
        ("*look*) echo 'out of memory' >&2; exit 1;;", Code::Unreachable, "ended in the middle"),
        ("*look*) printf '{\"id\":3,\"ok\"'; exit 0;;", Code::Unreachable, "ended in the middle"),
        ("*look*) echo '[1]';;", Code::Unreachable, "a line that is no answer"),
        ("*look*) echo '{\"id\":\"3\",\"ok\":1}';;", Code::Unreachable, "a line that is no answer"),
        ("*look*) printf '\\377\\n';;", Code::Unreachable, "a line that is no answer"),
        ("*look*) head -c 100000000 /dev/zero | tr '\\0' x; echo;;", Code::Unreachable, "more than 64 MiB"),
        (
            "*look*) echo \"{\\\"id\\\":$id,\\\"error\\\":{\\\"code\\\":\\\"target.unhealthy\\\",\\\"message\\\":\\\"sick canary-secret\\\"}}\";;",
            Code::Unhealthy,
            "sick «secret:token»",
        ),
        (
            "*look*) echo \"{\\\"id\\\":$id,\\\"error\\\":{\\\"code\\\":\\\"made.up\\\"}}\";;",
            Code::Backend,
            "no reason",
        ),
    ];
    for (answers, code, said) in cases {
        let fault = fault_of(answers).await;
        assert_eq!(fault.code(), code, "{answers}: {fault:?}");
        assert!(fault.chain().join(" ").contains(said), "{answers}: {fault:?}");
        assert!(!format!("{fault:?}").contains("canary"), "{answers}: {fault:?}");
    }
}

#[tokio::test]
async fn an_answer_of_another_form_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = script(dir.path(), "*look*) ok '[1]';;");
    let fault = plugin.ask::<bool>("look", &json!({}), LONG).await.unwrap_err();
    assert_eq!(fault.code(), Code::Backend);
    assert!(fault.to_string().contains("that makes sense"), "{fault:?}");
}

#[tokio::test]
async fn one_that_ended_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let once = dir.path().join("once");
    let plugin =
        script(dir.path(), &format!("*look*) if [ ! -e '{0}' ]; then : > '{0}'; exit 1; fi; ok 1;;", once.display()));
    assert_eq!(plugin.call("look", &json!({}), LONG).await.unwrap_err().code(), Code::Unreachable);
    assert_eq!(plugin.call("look", &json!({}), LONG).await.unwrap(), json!(1));
}

#[tokio::test]
async fn two_answers_to_one_question_are_counted_and_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = script(dir.path(), "*look*) ok 1; ok 2; echo '{\"id\":99,\"ok\":3}';;");
    assert_eq!(plugin.call("look", &json!({}), LONG).await.unwrap(), json!(1));
    assert_eq!(plugin.call("other", &json!({}), LONG).await.unwrap(), json!(null));
    assert_eq!(plugin.strays().await, 2);
}

#[tokio::test]
async fn answers_may_come_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = script(dir.path(), "*first*) first=$id;;\n*second*) ok 2; id=$first; ok 1;;");
    let (none, empty) = (json!({}), json!({}));
    let (first, second) = tokio::join!(plugin.call("first", &none, LONG), plugin.call("second", &empty, LONG));
    assert_eq!((first.unwrap(), second.unwrap()), (json!(1), json!(2)));
}

#[tokio::test]
async fn one_that_hangs_is_ended_with_what_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let plugin = script(dir.path(), &format!("*look*) sleep 600 & echo $! > '{}'; wait;;", pid.display()));
    plugin.describe().await.unwrap();
    let fault = plugin.call("look", &json!({}), SHORT).await.unwrap_err();
    assert_eq!(fault.code(), Code::TimedOut, "{fault:?}");
    let stat = format!("/proc/{}/stat", std::fs::read_to_string(pid).unwrap().trim());
    for _ in 0..200 {
        // Ended, or ended and not collected yet by whoever inherits it.
        let state = std::fs::read_to_string(&stat).unwrap_or_default();
        if state.is_empty() || state.contains(") Z ") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("what it started lives on");
}

/// A pipe holds 64 KiB: what nobody reads holds up whoever writes more.
#[tokio::test]
async fn one_that_does_not_read_is_not_written_to_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = script(dir.path(), "*look*) sleep 600;;");
    let large = json!({ "text": "x".repeat(200_000) });
    let (none, deaf) = (json!({}), plugin.call("more", &large, SHORT));
    let (looked, written) = tokio::join!(plugin.call("look", &none, LONG), deaf);
    assert_eq!(written.unwrap_err().code(), Code::TimedOut);
    // It was the same process.
    assert_eq!(looked.unwrap_err().code(), Code::Unreachable);
    assert_eq!(plugin.call("more", &large, LONG).await.unwrap(), json!(null));
}

/// Half a request in the pipe would be the beginning of the next one.
#[tokio::test]
async fn a_question_that_is_dropped_does_not_spoil_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = script(dir.path(), "*look*) sleep 600;;");
    let (none, large) = (json!({}), json!({ "text": "x".repeat(1_000_000) }));
    let both = async { tokio::join!(plugin.call("look", &none, LONG), plugin.call("more", &large, LONG)) };
    assert!(tokio::time::timeout(SHORT, both).await.is_err());
    assert_eq!(plugin.call("other", &none, LONG).await.unwrap(), json!(null));
}

#[tokio::test]
async fn the_port_is_asked_for_without_opening_anything() {
    let dir = tempfile::tempdir().unwrap();
    let opened = dir.path().join("opened");
    let ask = |port: &str| {
        let said =
            format!("*describe*) ok '{{\"protocol\":1,\"port\":\"{port}\"}}';;\n*open*) : > '{}';;", opened.display());
        let program = script(dir.path(), &said).program().clone();
        Plugin::port_of("odd", program, env())
    };
    for port in Port::ALL {
        assert_eq!(ask(port.word()).await.unwrap(), port);
    }
    let fault = ask("oven").await.unwrap_err();
    assert!(fault.to_string().contains("\"oven\"") && fault.hints()[0].contains("notifier"), "{fault:?}");
    assert!(!opened.exists());
}

#[tokio::test]
async fn what_is_no_program_says_where_to_look() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = script(dir.path(), "");
    std::fs::write(plugin.program(), "#!/nowhere/python\n").unwrap();
    let fault = plugin.describe().await.unwrap_err();
    assert_eq!(fault.code(), Code::BackendMissing);
    assert!(fault.hints()[0].contains("first line"), "{fault:?}");
}
