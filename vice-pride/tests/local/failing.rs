use std::net::TcpListener;
use std::sync::Arc;

use vice_core::port::target::{Observed, Target};
use vice_core::{Code, Fault, Millis};

use crate::support::{Ground, place, service, until, version_at};

async fn refused(ground: &Ground, release: &vice_core::port::target::Workload) -> Fault {
    let op = place("bad", 1, "1", release, Some(&service("1", &[])));
    let fault = ground.target().apply(&op, Some(release)).await.unwrap_err();
    assert_eq!(ground.target().observe(&op).await.unwrap(), Observed::NotApplied);
    fault
}

async fn with_one() -> (Ground, Vec<u32>) {
    let ground = Ground::new();
    ground.place("1", &service("1", &[])).await;
    let instances = ground.instances();
    (ground, instances)
}

#[tokio::test]
async fn a_version_that_never_gets_healthy_changes_nothing() {
    let (ground, before) = with_one().await;
    let mut bad = service("2", &["--unhealthy", "--say", "cannot find the \u{1b}[31mdatabase"]);
    bad.ready_timeout = Millis(700);
    let fault = refused(&ground, &bad).await;
    assert_eq!(fault.code(), Code::Unhealthy);
    let said = fault.chain().join("\n");
    assert!(said.contains("Version 2 did not become healthy on unit 1 within 700ms"), "{said}");
    assert!(said.contains("503") && said.contains("cannot find the \\u{1b}[31mdatabase"), "{said}");
    assert_eq!(ground.instances(), before);
    assert_eq!(version_at(&ground.url().await).await, "1");
}

#[tokio::test]
async fn a_version_that_ends_at_once_is_found_out_at_once() {
    let (ground, before) = with_one().await;
    let fault = refused(&ground, &service("2", &["--crash-after-ms", "0", "--slow-start-ms", "60000"])).await;
    assert_eq!(fault.code(), Code::Unhealthy);
    assert!(fault.to_string().contains("it exited with status 3"), "{fault}");
    assert_eq!(ground.instances(), before);
    let mut missing = service("3", &[]);
    missing.command = vec!["./no-such-program".to_owned()];
    let fault = refused(&ground, &missing).await;
    assert!(fault.to_string().contains("no-such-program"), "{fault}");
    missing.command = vec!["server".to_owned(), "{{prot}}".to_owned()];
    assert_eq!(refused(&ground, &missing).await.code(), Code::Template);
    assert_eq!(ground.instances(), before);
}

#[tokio::test]
async fn a_port_that_the_service_finds_taken_is_named() {
    let (ground, before) = with_one().await;
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut stubborn = service("2", &[]);
    stubborn.command[2] = taken.local_addr().unwrap().port().to_string();
    let fault = refused(&ground, &stubborn).await;
    assert_eq!(fault.code(), Code::PortInUse, "{fault:?}");
    assert!(fault.hints().iter().any(|hint| hint.contains("$PORT")), "{fault:?}");
    assert_eq!(ground.instances(), before);
}

#[tokio::test]
async fn a_front_end_port_that_somebody_else_holds_is_an_error_that_names_them() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut ground = Ground::new();
    ground.port = Some(port);
    let one = service("1", &[]);
    let op = place("a", 1, "1", &one, None);
    let fault = ground.target().apply(&op, Some(&one)).await.unwrap_err();
    assert_eq!(fault.code(), Code::PortInUse);
    assert!(fault.to_string().contains(&port.to_string()), "{fault}");
    assert!(fault.hints()[0].contains(&format!("pid {}", std::process::id())), "{fault:?}");
    drop(taken);
    ground.target().apply(&op, Some(&one)).await.unwrap();
    assert_eq!(ground.url().await, format!("http://127.0.0.1:{port}"));
    ground.port = None;
    ground.place("2", &one).await;
    assert_eq!(ground.url().await, format!("http://127.0.0.1:{port}"), "the port is kept");
}

#[tokio::test]
async fn a_service_that_ignores_sigterm_is_killed_at_the_deadline() {
    let ground = Ground::new();
    let mut deaf = service("1", &["--ignore-term"]);
    deaf.stop_timeout = Millis(200);
    ground.place("1", &deaf).await;
    ground.place("1", &service("2", &[])).await;
    assert_eq!(ground.instances().len(), 1);
    assert_eq!(version_at(&ground.url().await).await, "2");
}

#[tokio::test]
async fn a_higher_epoch_shuts_out_what_is_under_way() {
    let (ground, before) = with_one().await;
    let slow = service("2", &["--slow-start-ms", "60000"]);
    let op = place("slow", 1, "1", &slow, None);
    let (target, under_way) = (ground.target(), op.clone());
    let apply = tokio::spawn(async move { target.apply(&under_way, Some(&slow)).await });
    until("the new one starts", async || ground.instances().len() == 2).await;
    ground.target().fence(2).await.unwrap();
    assert_eq!(ground.instances(), before, "something is left after the fence");
    assert_eq!(ground.target().observe(&op).await.unwrap(), Observed::NotApplied);
    assert_eq!(apply.await.unwrap().unwrap_err().code(), Code::Fenced);
    assert_eq!(version_at(&ground.url().await).await, "1");
}

#[tokio::test]
async fn an_operation_goes_on_without_its_client() {
    let (ground, two) = (Ground::new(), service("2", &["--slow-start-ms", "500"]));
    let op = place("a", 1, "1", &two, None);
    let (target, sent, release) = (ground.target(), op.clone(), two.clone());
    let apply = tokio::spawn(async move { target.apply(&sent, Some(&release)).await });
    until("it starts", async || ground.instances().len() == 1).await;
    apply.abort();
    assert_eq!(ground.target().observe(&op).await.unwrap(), Observed::Applied);
    ground.target().apply(&op, Some(&two)).await.unwrap();
    assert_eq!(ground.instances().len(), 1);
}

#[tokio::test]
async fn hostile_output_stays_bounded() {
    let ground = Ground::new();
    let mut loud = service("1", &["--shout-mib", "1024", "--unhealthy"]);
    loud.ready_timeout = Millis::from_secs(60);
    loud.health = None;
    ground.place("1", &loud).await;
    until("the log is moved aside", async || {
        let size = |name: &str| std::fs::metadata(ground.dir.join("logs").join(name)).map_or(0, |meta| meta.len());
        size("1.log.1") > 0 && size("1.log") < 11 * 1024 * 1024
    })
    .await;
    let lines = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = |line: vice_core::port::target::LogLine| {
        lines.lock().unwrap().push(line.text);
        true
    };
    vice_core::port::target::LogSource::logs(&*ground.target(), None, 5, false, &sink).await.unwrap();
    let lines = lines.lock().unwrap();
    assert!(lines.iter().all(|line| line.len() < 100_000 && !line.contains('\u{1b}')), "a line is hostile");
}

#[tokio::test]
async fn a_damaged_state_file_stops_the_agent_with_a_reason() {
    let (ground, _) = with_one().await;
    ground.kill_agent();
    until("the agent is gone", async || ground.agent().is_none()).await;
    let path = ground.dir.join("state.json");
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, "{\"format\":1,").unwrap();
    let fault = ground.target().fence(2).await.unwrap_err();
    assert_eq!(fault.code(), Code::Unreachable);
    assert!(fault.chain().join(" ").contains("state.json is damaged"), "{fault:?}");
    let op = place("place-1-1", 1, "1", &service("1", &[]), None);
    assert!(matches!(ground.target().observe(&op).await.unwrap(), Observed::Unknown { .. }));
    std::fs::write(&path, good).unwrap();
    ground.target().fence(2).await.unwrap();
    assert_eq!(ground.target().observe(&op).await.unwrap(), Observed::Applied);
}

#[tokio::test]
async fn a_folder_that_can_t_be_written_leaves_the_unit_as_it_was() {
    let (ground, before) = with_one().await;
    let slow = service("2", &["--slow-start-ms", "500"]);
    let op = place("slow", 1, "1", &slow, None);
    let (target, sent, release) = (ground.target(), op.clone(), slow.clone());
    let apply = tokio::spawn(async move { target.apply(&sent, Some(&release)).await });
    until("the new one starts", async || ground.instances().len() == 2).await;
    // A folder in the place of the file that is written first stops every user, root among them.
    let obstacle = ground.dir.join("state.tmp");
    until("no write is under way", async || std::fs::create_dir(&obstacle).is_ok()).await;
    let fault = apply.await.unwrap().unwrap_err();
    assert_eq!(fault.code(), Code::StateUnwritable, "{fault:?}");
    assert!(fault.chain().join(" ").contains("state.json"), "{fault:?}");
    assert_eq!(ground.instances(), before);
    assert_eq!(ground.target().observe(&op).await.unwrap(), Observed::NotApplied);
    assert_eq!(version_at(&ground.url().await).await, "1");
    std::fs::remove_dir(&obstacle).unwrap();
    ground.target().apply(&op, Some(&slow)).await.unwrap();
    assert_eq!(version_at(&ground.url().await).await, "2");
}
