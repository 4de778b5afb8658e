use std::collections::BTreeMap;

use vice_core::Code;
use vice_core::port::target::{Observed, Op, Target};

use crate::support::{Ground, PLAYBOOK, place, release, until};

/// The version `slow` waits on the host, in a process that can be told by its argument.
fn slow(number: u32) -> String {
    PLAYBOOK
        .replace("{{ 'echo it answers 500; exit 7' if vice_version == 'bad' else 'true' }}", "{{ 'sleep NUMBER' if vice_version == 'slow' else 'true' }}\"\n    - name: late\n      shell: \"touch ~/FOLDER/late-{{ vice_version }}")
        .replace("NUMBER", &number.to_string())
}

/// Processes whose arguments or folder have this text.
fn processes(text: &str) -> BTreeMap<u32, String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let line = |pid: u32| {
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    pids.filter(|pid| *pid != std::process::id())
        .map(|pid| (pid, line(pid)))
        .filter(|(_, line)| line.contains(text))
        .collect()
}

#[tokio::test]
async fn lab_ansible_a_run_that_is_given_up_ends_with_all_it_started_and_the_next_holder_is_told() {
    is_given_up(7_654_321, Ground::on(&["h1"], &slow(7_654_321))).await;
}

#[tokio::test]
async fn lab_ansible_newer_a_run_that_is_given_up_ends_with_all_it_started_and_the_next_holder_is_told() {
    is_given_up(7_654_331, Ground::on(&["h1"], &slow(7_654_331)).newer()).await;
}

async fn is_given_up(number: u32, ground: Ground) {
    let sleeps = format!("sleep {number}");
    let (first, long) = (release("1"), release("slow"));
    ground.target().apply(&place("a", 1, "h1", &first, None), Some(&first)).await.unwrap();
    let op = place("b", 1, "h1", &long, Some(&first));
    let (orphan, asked, workload) = (ground.target(), op.clone(), long.clone());
    let asking = tokio::spawn(async move { orphan.apply(&asked, Some(&workload)).await });
    until("the task is under way on the host", || !processes(&sleeps).is_empty()).await;
    let state = ground.options.work.display().to_string();
    assert!(!processes(&state).is_empty(), "the playbook runs");
    asking.abort();
    drop(asking.await);
    until("the playbook has ended", || processes(&state).is_empty()).await;
    until("its folder is gone", || ground.left() == 0).await;

    // Whoever takes over waits for what is left on the host, or ends it.
    let next = ground.target();
    next.fence(2).await.unwrap();
    assert!(processes(&sleeps).is_empty(), "a task of the orphan is under way after the fence");
    let op = Op { epoch: 2, ..op };
    let seen = next.observe(&op).await.unwrap();
    assert!(matches!(&seen, Observed::Unknown { reason } if reason.contains("again = true")), "{seen:?}");
    assert!(!ground.on_host("h1", "late-slow").exists());
    // Who was passed over changes nothing any more.
    let old = place("c", 1, "h1", &first, Some(&first));
    assert_eq!(ground.target().apply(&old, Some(&first)).await.unwrap_err().code(), Code::Fenced);
    // An operator goes back.
    next.undo(&op, Some(&first)).await.unwrap();
    assert_eq!(ground.read("h1", "app"), "1");
    assert_eq!(next.observe(&op).await.unwrap(), Observed::NotApplied);
    assert_eq!(ground.effects("h1"), ["apply", "undo"]);
}

#[tokio::test]
async fn lab_ansible_a_playbook_that_may_begin_again_is_done_again_after_a_kill() {
    let mut ground = Ground::on(&["h1"], &slow(7_654_322));
    ground.options.again = true;
    let (first, long) = (release("1"), release("slow"));
    ground.target().apply(&place("a", 1, "h1", &first, None), Some(&first)).await.unwrap();
    let op = place("b", 1, "h1", &long, Some(&first));
    let (orphan, asked, workload) = (ground.target(), op.clone(), long.clone());
    let asking = tokio::spawn(async move { orphan.apply(&asked, Some(&workload)).await });
    until("the task is under way on the host", || !processes("sleep 7654322").is_empty()).await;
    asking.abort();
    drop(asking.await);
    let next = ground.target();
    let op = Op { epoch: 2, ..op };
    next.fence(2).await.unwrap();
    assert_eq!(next.observe(&op).await.unwrap(), Observed::NotApplied);
    // This time it is quick.
    ground.write("deploy.yml", PLAYBOOK);
    next.apply(&op, Some(&long)).await.unwrap();
    assert_eq!(next.observe(&op).await.unwrap(), Observed::Applied);
    assert_eq!(ground.read("h1", "ran"), "1\nslow\nslow\n");
    assert_eq!(ground.effects("h1"), ["apply", "apply"]);
}
