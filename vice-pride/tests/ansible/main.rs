//! The Ansible target for real: ansible-core over sshd on loopback addresses, playbooks that fail, hosts that are cut off,
//! runs that are killed.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, a panic is the report; this covers the helpers beside the test functions"
)]
#![expect(clippy::disallowed_methods, reason = "a test starts what it needs as a user would")]

mod conformance;
mod failing;
mod hostile;
mod killing;
mod support;
