//! Backing up where files may not grow, as on a full disk: it fails and says so, and what was backed up before is untouched.

use std::path::Path;
use std::process::{Command, Stdio};

use vice_core::app::ProcessEnv;
use vice_core::testkit::event_store::event;

use super::{back_up, bring_back, file_url, grow, increment, open, sound_head};
use vice_core::store::{Append, EventStore};

const CHILD_DIR: &str = "GREED_TEST_ROOM_DIR";
const CHILD_PLACE: &str = "GREED_TEST_ROOM_PLACE";
const CHILD_WHOLE: &str = "GREED_TEST_ROOM_WHOLE";

#[expect(clippy::disallowed_methods, reason = "the child is told by variables what to do")]
fn var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What the child does; nothing as a test of its own.
#[tokio::test]
async fn the_child_backs_up() {
    let (Some(dir), Some(place)) = (var(CHILD_DIR), var(CHILD_PLACE)) else { return };
    let env = ProcessEnv::default();
    match var(CHILD_WHOLE).is_some() {
        true => drop(back_up(Path::new(&dir), &place, &env).await.unwrap()),
        false => drop(increment(Path::new(&dir), &place, &[], &env).await.unwrap()),
    }
}

/// This test binary, whose files may have at most so many blocks.
#[expect(clippy::disallowed_methods, reason = "a test of what another process does starts one")]
fn succeeds(dir: &Path, place: &str, whole: bool, blocks: u32) -> bool {
    let script = format!(
        "trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" --exact backup::tests::room::the_child_backs_up --test-threads=1"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(std::env::current_exe().unwrap());
    command.env(CHILD_DIR, dir).env(CHILD_PLACE, place).stdout(Stdio::null()).stderr(Stdio::null());
    if whole {
        command.env(CHILD_WHOLE, "1");
    }
    command.status().unwrap().success()
}

#[tokio::test]
async fn a_backup_without_room_leaves_the_earlier_one_and_the_history_as_they_are() {
    for whole in [true, false] {
        let (state, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (url, env) = (file_url(place.path()), ProcessEnv::default());
        let first = grow(state.path(), &["a", "b"]).await;
        match whole {
            true => drop(back_up(state.path(), &url, &env).await.unwrap()),
            false => drop(increment(state.path(), &url, &[], &env).await.unwrap()),
        }
        let store = open(state.path());
        for n in 0..20 {
            let mut event = event(&format!("large {n}"), "s/1");
            event.data = format!("\"{}\"", "x".repeat(20_000));
            store.append(Append::of(vec![event])).await.unwrap();
        }
        let second = store.head().await.unwrap();
        store.close().await.unwrap();
        let mut failed = 0;
        for blocks in [1, 16, 64, 200, 400] {
            if succeeds(state.path(), &url, whole, blocks) {
                break;
            }
            failed += 1;
            assert_eq!(sound_head(state.path()).await, second);
            let target = tempfile::tempdir().unwrap();
            bring_back(target.path(), &url, &env, true).await.unwrap();
            assert_eq!(sound_head(target.path()).await, first, "whole: {whole}, {blocks} blocks");
        }
        assert!(failed > 1, "whole: {whole}: the limit did not limit");
        assert!(succeeds(state.path(), &url, whole, 1_000_000), "whole: {whole}: what was left is in the way");
        let target = tempfile::tempdir().unwrap();
        bring_back(target.path(), &url, &env, true).await.unwrap();
        assert_eq!(sound_head(target.path()).await, second);
    }
}
