use futures::future::join_all;
use vice_core::Code;
use vice_core::port::target::{Observed, Target, UNREACHABLE, UnitHealth};

use crate::support::{Ground, PLAYBOOK, place, release};

fn trouble(fault: &vice_core::Fault) -> String {
    fault.details().get("trouble").and_then(|text| text.as_str()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn lab_ansible_a_bad_version_harms_one_host_and_is_brought_back_there() {
    let ground = Ground::on(&["h1", "h2", "h3"], PLAYBOOK);
    let (target, first, bad) = (ground.target(), release("1"), release("bad"));
    let ops = ["h1", "h2", "h3"].map(|unit| place(&format!("a/{unit}"), 1, unit, &first, None));
    for done in join_all(ops.iter().map(|op| target.apply(op, Some(&first)))).await {
        done.unwrap();
    }
    // One canary; another process that never placed the first release is told of it by its caller.
    let op = place("b", 1, "h2", &bad, Some(&first));
    let fault = ground.target().apply_over(&op, Some(&bad), Some(&first)).await.unwrap_err();
    assert_eq!((fault.code(), trouble(&fault).as_str()), (Code::Unhealthy, "task-failed"), "{fault:?}");
    let said = fault.chain().join(" ");
    assert!(said.contains("h2") && said.contains("\"check\"") && said.contains("it answers 500"), "{said}");
    assert_eq!(ground.read("h2", "app"), "1", "the earlier version runs again");
    assert_eq!(ground.read("h2", "ran"), "1\nbad\n1\n");
    assert_eq!((ground.read("h1", "ran"), ground.read("h3", "ran")), ("1\n".to_owned(), "1\n".to_owned()));
    let unit = ground.unit("h2").await.unwrap();
    assert_eq!((unit.release, unit.health), (Some(first.release.clone()), UnitHealth::Healthy));
    assert_eq!(ground.target().observe(&op).await.unwrap(), Observed::NotApplied);
    // Where nobody knows the earlier release, nothing is guessed.
    let op = place("c", 1, "h3", &bad, Some(&first));
    let fault = ground.target().apply(&op, Some(&bad)).await.unwrap_err();
    assert_eq!(fault.code(), Code::NotRestored, "{fault:?}");
    let unit = ground.unit("h3").await.unwrap();
    assert_eq!((unit.health, unit.facts["playbook"].as_str()), (UnitHealth::Unhealthy, "half-done"));
}

#[tokio::test]
async fn lab_ansible_a_host_that_does_not_answer_is_no_host_that_failed() {
    // Nothing listens at that address.
    let ground = Ground::on(&["h1", "gone=127.0.9.9"], PLAYBOOK);
    let (target, first) = (ground.target(), release("1"));
    target.fence(1).await.unwrap();
    let ops = ["h1", "gone"].map(|unit| place(&format!("a/{unit}"), 1, unit, &first, None));
    let done = join_all(ops.iter().map(|op| target.apply(op, Some(&first)))).await;
    assert!(done[0].is_ok(), "{done:?}");
    let fault = done[1].as_ref().unwrap_err();
    assert_eq!((fault.code(), trouble(fault).as_str()), (Code::Unreachable, "unreachable"), "{fault:?}");
    assert_eq!(fault.details()["sent"], false, "nothing was done there, for sure");
    let inventory = target.inventory().await.unwrap();
    let gone = inventory.units.iter().find(|unit| unit.name == "gone").unwrap();
    assert!(gone.release.is_none() && gone.facts.contains_key(UNREACHABLE));
    assert_eq!(ground.target().observe(&ops[1]).await.unwrap_err().code(), Code::Unreachable);
}

#[tokio::test]
async fn lab_ansible_what_a_playbook_leaves_out_is_not_deployed() {
    let ground = Ground::on(&["h1", "h2"], &PLAYBOOK.replace("hosts: all", "hosts: h1"));
    let (target, first) = (ground.target(), release("1"));
    let ops = ["h1", "h2"].map(|unit| place(&format!("a/{unit}"), 1, unit, &first, None));
    let done = join_all(ops.iter().map(|op| target.apply(op, Some(&first)))).await;
    assert!(done[0].is_ok(), "{done:?}");
    assert_eq!(trouble(done[1].as_ref().unwrap_err()), "left-out", "{done:?}");
    assert!(ground.unit("h2").await.is_none());
}

#[tokio::test]
async fn lab_ansible_check_and_diff_are_the_plan_and_change_nothing() {
    let playbook = "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: configure\n      copy: { content: \"{{ vice_version }}\\n\", dest: ~/FOLDER.conf }\n";
    let ground = Ground::on(&["h1"], playbook);
    let lines = ground.target().preview(&release("1")).await.unwrap();
    assert!(lines.iter().any(|line| line == "h1: configure"), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("+1")), "{lines:?}");
    assert!(!ground.on_host("h1", "../FOLDER.conf".replace("FOLDER", &ground.folder).as_str()).exists());
    assert!(ground.unit("h1").await.is_none() && ground.effects("h1").is_empty());
    let broken = Ground::on(&["h1"], "- hosts: all\n  tasks:\n    - nonsense_module: {}\n");
    let fault = broken.target().preview(&release("1")).await.unwrap_err();
    assert!(fault.chain().join(" ").contains("nonsense_module"), "{fault:?}");
}

#[tokio::test]
async fn lab_ansible_any_errors_fatal_takes_the_others_back_too() {
    any_errors_fatal(Ground::on(&["h1", "h2"], &all_or_none())).await;
}

#[tokio::test]
async fn lab_ansible_newer_any_errors_fatal_takes_the_others_back_too() {
    any_errors_fatal(Ground::on(&["h1", "h2"], &all_or_none()).newer()).await;
}

fn all_or_none() -> String {
    PLAYBOOK
        .replace("gather_facts: false", "gather_facts: false\n  any_errors_fatal: true")
        .replace("vice_version == 'bad'", "vice_version == '2.0' and inventory_hostname == 'h2'")
}

/// Versions are texts, though they look like numbers.
async fn any_errors_fatal(ground: Ground) {
    let (target, first, second) = (ground.target(), release("1.10"), release("2.0"));
    let ops = ["h1", "h2"].map(|unit| place(&format!("a/{unit}"), 1, unit, &first, None));
    for done in join_all(ops.iter().map(|op| target.apply(op, Some(&first)))).await {
        done.unwrap();
    }
    let ops = ["h1", "h2"].map(|unit| place(&format!("b/{unit}"), 1, unit, &second, Some(&first)));
    let done = join_all(ops.iter().map(|op| target.apply(op, Some(&second)))).await;
    let troubles: Vec<String> = done.iter().map(|done| trouble(done.as_ref().unwrap_err())).collect();
    assert_eq!(troubles, ["ended-early", "task-failed"], "{done:?}");
    assert_eq!((ground.read("h1", "app"), ground.read("h2", "app")), ("1.10".to_owned(), "1.10".to_owned()));
    assert_eq!(ground.effects("h1"), ["apply", "restore"]);
}

#[tokio::test]
async fn lab_ansible_a_playbook_that_takes_too_long_is_ended_and_taken_back() {
    let playbook = PLAYBOOK.replace("echo it answers 500; exit 7", "sleep 600");
    let mut ground = Ground::on(&["h1"], &playbook);
    let (first, bad) = (release("1"), release("bad"));
    let op = place("a", 1, "h1", &first, None);
    ground.target().apply(&op, Some(&first)).await.unwrap();
    ground.options.timeout = vice_core::Millis::from_secs(45);
    let op = place("b", 1, "h1", &bad, Some(&first));
    let fault = ground.target().apply_over(&op, Some(&bad), Some(&first)).await.unwrap_err();
    assert_eq!(trouble(&fault), "late", "{fault:?}");
    assert_eq!(ground.read("h1", "app"), "1");
    assert_eq!(ground.left(), 0);
}

#[tokio::test]
async fn without_ansible_the_error_says_how_to_install_it() {
    use vice_core::app::ProcessEnv;
    use vice_pride::target::ansible::{AnsibleOptions, AnsibleTarget, TIMEOUT};
    let dir = tempfile::tempdir().unwrap();
    let scope = vice_core::id::Scope::new(
        vice_core::id::ProjectName::new("shop").unwrap(),
        vice_core::id::EnvName::new("prod").unwrap(),
    );
    let target = AnsibleTarget::new(AnsibleOptions {
        scope,
        root: dir.path().to_path_buf(),
        hosts: vec![vice_pride::target::hosts::Host::parse("h1").unwrap()],
        inventory: dir.path().join("hosts.ini"),
        playbook: dir.path().join("deploy.yml"),
        rollback: None,
        remove: None,
        config: None,
        become_root: false,
        vault: None,
        again: false,
        forks: None,
        timeout: TIMEOUT,
        path: "~/x".to_owned(),
        port: None,
        logs: Vec::new(),
        work: dir.path().join("state"),
        env: std::sync::Arc::new(ProcessEnv::default()),
    });
    let fault = target.inventory().await.unwrap_err();
    assert_eq!((fault.code(), trouble(&fault).as_str()), (Code::BackendMissing, "no-ansible"));
    assert!(fault.hints()[0].contains("apt-get install -y ansible-core"), "{fault:?}");
    assert_eq!(std::fs::read_dir(dir.path().join("state")).unwrap().count(), 0);
}
