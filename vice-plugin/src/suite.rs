//! What every plug-in must do, whatever its port. The suites of the ports begin or end with it.

use serde_json::json;
use tokio::time::Duration;
use vice_core::Code;

use crate::Plugin;

/// How long one question of a suite may take.
pub const WITHIN: Duration = Duration::from_secs(60);

/// Holds a plug-in to the rules of the protocol: that it knows what it does not know, and answers what it was asked and
/// nothing else.
///
/// # Panics
/// With the rule that is broken.
pub async fn manners(plugin: &Plugin) {
    let described = plugin.describe().await.expect("it says what it is and opens its place");
    let later = plugin.call("a-call-of-a-later-vice", &json!({ "later": true }), WITHIN).await;
    let fault = later.expect_err("a call that it does not know is refused");
    let alive = !matches!(fault.code(), Code::Unreachable | Code::TimedOut);
    assert!(alive, "a call that it does not know is answered, and is not its end: {fault:?}");
    let again = plugin.describe().await.expect("it goes on after a call that it does not know");
    assert_eq!(again.port, described.port, "it says the same of itself each time");
    assert_eq!(plugin.strays().await, 0, "every request has one answer, and nothing else is answered");
}
