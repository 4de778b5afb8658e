//! Argo CD: what its notifications send with the template of `docs/ingest.md`.

use serde_json::json;

use super::{Call, Mapped, missing};
use crate::ingest::answer::Refusal;

/// The event of a call.
pub(super) fn map(call: &Call<'_>) -> Result<Mapped, Refusal> {
    let app = call.text("/app").ok_or_else(|| missing("app"))?.to_owned();
    let (phase, health) = (call.text("/phase").unwrap_or_default(), call.text("/health").unwrap_or_default());
    let environment =
        json!({ "id": call.text("/environment").or_else(|| call.text("/namespace")).unwrap_or("default") });
    let (kind, content) = match (phase, health) {
        (_, "Degraded") => (
            "dev.cdevents.incident.detected.0.3.0",
            json!({
                "description": format!("{app} is degraded."),
                "environment": environment,
                "service": { "id": app },
            }),
        ),
        ("Succeeded", _) => (
            "dev.cdevents.service.upgraded.0.3.0",
            json!({
                "environment": environment,
                "artifactId": format!("pkg:generic/{app}@{}", call.text("/revision").unwrap_or("unknown")),
            }),
        ),
        ("Failed" | "Error", _) => ("dev.cdeventsx.argocd-sync.failed.0.1.0", json!({ "environment": environment })),
        _ => ("dev.cdeventsx.argocd-sync.changed.0.1.0", json!({ "environment": environment, "phase": phase })),
    };
    let time = call.time("/finishedAt").or_else(|| call.time("/startedAt"));
    let time = time.ok_or_else(|| missing("finishedAt or startedAt in RFC 3339"))?;
    Ok(Mapped {
        id: call.digest(),
        source: call.text("/repo").filter(|repo| !repo.contains(char::is_whitespace)).unwrap_or("/argocd").to_owned(),
        kind: kind.to_owned(),
        subject: app,
        time: Some(time),
        content: Some(content),
    })
}
