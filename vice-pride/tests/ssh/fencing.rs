use vice_core::Code;
use vice_core::port::target::{Observed, Target, UnitHealth};

use crate::support::{Ground, place, service, until};

/// The whole script at once, as when somebody cleans up by hand: only what it had started stays.
fn kill_the_script(ground: &Ground, host: &str) {
    let folder = format!("~/{}", ground.root(host).file_name().unwrap().display());
    let script = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains("host-") && line.contains(" apply ")
    };
    let pids: Vec<i32> = crate::support::processes(&[folder]).into_iter().filter(script).collect();
    assert!(!pids.is_empty(), "the script runs");
    for pid in pids {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

#[tokio::test]
async fn lab_ssh_an_orphan_is_shut_out_and_leaves_nothing() {
    let ground = Ground::on(&["h1"]);
    let (target, first) = (ground.target(), service("1", &[]));
    target.apply(&place("a", 1, "h1", &first, None), Some(&first)).await.unwrap();
    // It would take long, and whoever asked for it goes away in the middle.
    let slow = service("2", &["--slow-start-ms", "20000"]);
    let op = place("b", 1, "h1", &slow, Some(&first));
    let (orphan, asked) = (ground.target(), op.clone());
    let asking = tokio::spawn(async move { orphan.apply(&asked, Some(&slow)).await });
    let pending = ground.root("h1").join("units/h1/pending");
    until("the operation is under way", || pending.exists()).await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());

    // The next holder's fence returns when nothing of the orphan can come any more.
    let next = ground.target();
    next.fence(2).await.unwrap();
    assert!(!pending.exists(), "the fence has not waited");
    let seen = next.observe(&vice_core::port::target::Op { epoch: 2, ..op }).await.unwrap();
    assert_eq!(seen, Observed::NotApplied);
    let unit = ground.unit("h1").await;
    assert_eq!((unit.release.unwrap().version.as_str(), unit.health), ("1", UnitHealth::Healthy));
    assert_eq!(ground.effects("h1").len(), 1);
}

#[tokio::test]
async fn lab_ssh_a_script_that_was_killed_is_mended_by_the_next() {
    let ground = Ground::on(&["h1"]);
    let (target, first) = (ground.target(), service("1", &[]));
    target.apply(&place("a", 1, "h1", &first, None), Some(&first)).await.unwrap();
    let slow = service("2", &["--slow-start-ms", "20000"]);
    let op = place("b", 1, "h1", &slow, Some(&first));
    let (other, asked, release) = (ground.target(), op.clone(), slow.clone());
    let asking = tokio::spawn(async move { other.apply(&asked, Some(&release)).await });
    let root = ground.root("h1");
    until("the operation is under way", || root.join("units/h1/pending").exists()).await;
    kill_the_script(&ground, "h1");
    let fault = asking.await.unwrap().unwrap_err();
    assert!(matches!(fault.code(), Code::Unreachable | Code::Backend), "{fault:?}");
    let next = ground.target();
    let op = vice_core::port::target::Op { epoch: 2, ..op };
    assert_eq!(next.observe(&op).await.unwrap(), Observed::NotApplied);
    let unit = ground.unit("h1").await;
    assert_eq!((unit.release.unwrap().version.as_str(), unit.health), ("1", UnitHealth::Healthy));
    assert!(ground.effects("h1")[1].ends_with("mended"), "{:?}", ground.effects("h1"));
    // And it can be done after all.
    let quick = service("2", &[]);
    let op = place("b", 2, "h1", &quick, Some(&first));
    next.apply(&op, Some(&quick)).await.unwrap();
    assert_eq!(ground.unit("h1").await.release.unwrap().version, "2");
}

/// What was told to end lives on for a while, and must not be taken for something that runs.
#[tokio::test]
async fn lab_ssh_a_script_that_was_killed_while_the_old_one_ends_takes_nothing_down() {
    let ground = Ground::on(&["h1"]);
    let mut first = service("1", &[]);
    let serve = first.command.join(" ");
    let slow_to_end = format!("{serve} & trap 'sleep 1; kill $!; exit 0' TERM; wait");
    first.command = ["sh", "-c", &slow_to_end].map(str::to_owned).into();
    ground.target().apply(&place("a", 1, "h1", &first, None), Some(&first)).await.unwrap();
    let second = service("2", &[]);
    let op = place("b", 1, "h1", &second, Some(&first));
    let (other, asked, release) = (ground.target(), op.clone(), second.clone());
    let asking = tokio::spawn(async move { other.apply(&asked, Some(&release)).await });
    let told = ground.root("h1").join("units/h1/run/stop");
    until("the first one is told to end", || told.exists()).await;
    kill_the_script(&ground, "h1");
    asking.await.unwrap().unwrap_err();
    assert_eq!(ground.target().observe(&op).await.unwrap(), Observed::NotApplied);
    // By now it would have ended.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let unit = ground.unit("h1").await;
    assert_eq!((unit.release.unwrap().version.as_str(), unit.health), ("1", UnitHealth::Healthy));
}

#[tokio::test]
async fn lab_ssh_a_holder_that_was_passed_over_changes_nothing() {
    let ground = Ground::on(&["h1", "h2"]);
    let (old, first) = (ground.target(), service("1", &[]));
    old.apply(&place("a", 1, "h1", &first, None), Some(&first)).await.unwrap();
    ground.target().fence(2).await.unwrap();
    let late = place("b", 1, "h2", &first, None);
    assert_eq!(old.apply(&late, Some(&first)).await.unwrap_err().code(), Code::Fenced);
    assert_eq!(old.observe(&late).await.unwrap(), Observed::NotApplied, "looking is not refused");
    assert!(ground.effects("h2").is_empty());
}
