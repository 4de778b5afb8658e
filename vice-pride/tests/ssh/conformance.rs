use std::sync::{Arc, Mutex};

use vice_core::testkit::target::{self, Releases, Subject};

use crate::support::{Ground, service, with_files};

#[tokio::test]
async fn lab_ssh_the_target_conforms() {
    let grounds: Arc<Mutex<Vec<Arc<Ground>>>> = Arc::default();
    let dir = tempfile::tempdir().unwrap();
    let releases = Releases {
        first: with_files(service("1", &[]), &dir.path().join("1"), "one"),
        second: with_files(service("2", &[]), &dir.path().join("2"), "two"),
        bad: with_files(service("bad", &["--crash-after-ms", "0", "--unhealthy"]), &dir.path().join("bad"), "bad"),
    };
    let make = async || {
        let ground = Arc::new(Ground::on(&["1=h1"]));
        grounds.lock().unwrap().push(Arc::clone(&ground));
        let target = ground.target();
        // What the script on the host has noted of itself.
        Subject { target, effects: Some(Box::new(move || ground.effects("h1").len())) }
    };
    target::suite(make, &releases).await;
}
