//! What is said to a plug-in that is a target, and what it can do. `docs/plugins.md` is the page for whoever writes one.

use serde_json::{Value, json};
use vice_core::capability::{Capabilities, Capability};
use vice_core::port::target::{Op, Workload};
use vice_plugin::Described;

/// What it can do, of what is known here.
pub(super) fn capabilities(described: &Described) -> Capabilities {
    let known = [
        ("fence", Capability::Fence),
        ("observe", Capability::Observe),
        ("start-stop", Capability::StartStop),
        ("drain", Capability::Drain),
    ];
    Capabilities::of(known.into_iter().filter(|(name, _)| described.has(name)).map(|(_, capability)| capability))
}

/// The body of a request about an operation.
pub(super) fn operation(op: &Op, workload: Option<&Workload>) -> Value {
    json!({ "op": op, "workload": workload.map(self::workload) })
}

/// Everything that a target needs to run a release. It holds secrets, so that it goes over the pipe and nowhere else.
fn workload(workload: &Workload) -> Value {
    let environment: serde_json::Map<String, Value> =
        workload.environment.iter().map(|(name, value)| (name.clone(), json!(value.reveal()))).collect();
    json!({
        "release": workload.release,
        "files": workload.files,
        "command": workload.command,
        "environment": environment,
        "health": workload.health,
        "ready_timeout_ms": workload.ready_timeout.0,
        "drain_timeout_ms": workload.drain_timeout.0,
        "stop_timeout_ms": workload.stop_timeout.0,
    })
}
