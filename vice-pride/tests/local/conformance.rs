use std::sync::{Arc, Mutex};

use vice_core::Code;
use vice_core::port::target::{LogSource, Target};
use vice_core::testkit::target::{Releases, Subject};
use vice_core::testkit::{target, traffic};

use crate::support::{Ground, service};

fn releases() -> Releases {
    Releases {
        first: service("1", &[]),
        second: service("2", &[]),
        bad: service("bad", &["--crash-after-ms", "0", "--unhealthy"]),
    }
}

#[tokio::test]
async fn the_local_target_conforms() {
    let grounds = Arc::new(Mutex::new(Vec::new()));
    let make = async || {
        let ground = Ground::new();
        let (target, dir) = (ground.target(), ground.dir.clone());
        grounds.lock().unwrap().push(ground);
        // Each instance that came into its place is an effect; the state file counts them.
        let effects = move || {
            let text = std::fs::read_to_string(dir.join("state.json")).unwrap_or_default();
            let state: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            usize::try_from(state["generation"].as_u64().unwrap_or(0)).unwrap()
        };
        Subject { target, effects: Some(Box::new(effects)) }
    };
    target::suite(make, &releases()).await;
}

#[tokio::test]
async fn the_front_end_conforms() {
    let ground = Ground::new();
    traffic::suite(ground.target(), ground.target(), &releases()).await;
}

#[tokio::test]
async fn looking_starts_and_makes_nothing() {
    let ground = Ground::new();
    let inventory = ground.inventory().await;
    assert!(inventory.units.is_empty() && inventory.url.is_none());
    let nobody = ground.target().logs(Some("1"), 10, false, &|_| true).await.unwrap_err();
    assert_eq!(nobody.code(), Code::UnknownName);
    assert!(!ground.dir.exists());
    assert_eq!(ground.agent(), None);
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_works() {
    let ground = Ground::at(&"long/".repeat(30));
    ground.place("1", &service("1", &[])).await;
    assert_eq!(ground.unit("1").await.release.unwrap().version, "1");
    assert!(!ground.dir.join("agent.sock").exists());
    ground.kill_agent();
    ground.target().fence(2).await.unwrap();
    assert_eq!(ground.inventory().await.epoch, 2);
    let noted = std::fs::read_to_string(ground.dir.join("agent.sock.path")).unwrap();
    ground.target().shut_down(true).await.unwrap();
    std::fs::remove_dir_all(std::path::Path::new(&noted).parent().unwrap()).unwrap();
}

#[tokio::test]
async fn names_that_leave_the_folder_are_refused() {
    let ground = Ground::new();
    let release = service("1", &[]);
    for name in ["../x", "", "a/b", ".hidden"] {
        let op = crate::support::place("a", 1, name, &release, None);
        let refused = ground.target().apply(&op, Some(&release)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidName, "{name:?}");
    }
}
