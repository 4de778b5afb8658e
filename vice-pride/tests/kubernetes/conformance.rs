use std::sync::{Arc, Mutex};

use vice_core::testkit::target::{self, Subject};
use vice_core::testkit::target_fixtures::releases;

use crate::support::Ground;

#[tokio::test(flavor = "multi_thread")]
async fn the_kubernetes_target_conforms() {
    let grounds = Arc::new(Mutex::new(Vec::new()));
    let make = async || {
        let ground = Arc::new(Ground::new().await);
        let target = ground.target();
        grounds.lock().unwrap().push(Arc::clone(&ground));
        let effects = move || ground.fake.effects().len();
        Subject { target, effects: Some(Box::new(effects)) }
    };
    target::suite(make, &releases()).await;
}
