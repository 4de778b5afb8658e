use std::sync::{Arc, Mutex};

use vice_core::testkit::target::{self, Releases, Subject};

use crate::support::{Ground, PLAYBOOK, release};

#[tokio::test]
async fn lab_ansible_the_target_conforms() {
    let grounds: Arc<Mutex<Vec<Arc<Ground>>>> = Arc::default();
    let releases = Releases { first: release("1"), second: release("2"), bad: release("bad") };
    let make = async || {
        let ground = Arc::new(Ground::on(&["1=h1"], PLAYBOOK));
        grounds.lock().unwrap().push(Arc::clone(&ground));
        let target = ground.target();
        // What the host has noted of itself.
        Subject { target, effects: Some(Box::new(move || ground.effects("h1").len())) }
    };
    target::suite(make, &releases).await;
    for ground in grounds.lock().unwrap().iter() {
        assert_eq!(ground.left(), 0, "a private folder is left");
    }
}
