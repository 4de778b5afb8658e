//! The ssh target for real: sshd on loopback addresses, instances, broken releases, cut connections.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, a panic is the report; this covers the helpers beside the test functions"
)]
#![expect(clippy::disallowed_methods, reason = "a test starts what it needs as a user would")]

mod conformance;
mod fencing;
mod hostile;
mod netns;
mod placing;
mod ports;
mod sharing;
mod supervised;
mod support;
mod systemd;
mod trouble;
