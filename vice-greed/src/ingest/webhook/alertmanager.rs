//! Alertmanager: each alert of a group is an incident, detected or resolved.

use serde_json::{Value, json};
use vice_core::Digest;

use super::{Call, Mapped, missing, moment, wrong};
use crate::ingest::answer::Refusal;

/// The most alerts of one call.
const ALERTS_MAX: usize = 1_000;

/// Every alert as an event, with what Alertmanager said of it.
pub(super) fn map<'c>(call: &'c Call<'_>) -> Result<Vec<(Mapped, &'c Value)>, Refusal> {
    if call.text("/version") != Some("4") {
        return Err(wrong("Only version 4 of Alertmanager's webhooks is known."));
    }
    let alerts = call.body.get("alerts").and_then(Value::as_array).ok_or_else(|| missing("alerts"))?;
    if alerts.len() > ALERTS_MAX {
        return Err(wrong("The call has too many alerts; set max_alerts to 1000."));
    }
    let source = call.text("/externalURL").unwrap_or("/alertmanager");
    alerts.iter().map(|alert| Ok((one(alert, source)?, alert))).collect()
}

fn one(alert: &Value, source: &str) -> Result<Mapped, Refusal> {
    let text = |pointer: &str| alert.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let either = |names: &[&str]| names.iter().find_map(|name| text(&format!("/labels/{name}")));
    let name = text("/labels/alertname").ok_or_else(|| missing("labels.alertname in an alert"))?;
    let fingerprint = text("/fingerprint").ok_or_else(|| missing("fingerprint in an alert"))?;
    let resolved = match text("/status") {
        Some("firing") => false,
        Some("resolved") => true,
        _ => return Err(missing("status firing or resolved in an alert")),
    };
    let time = alert.get(if resolved { "endsAt" } else { "startsAt" }).and_then(moment);
    let time = time.ok_or_else(|| missing("startsAt or endsAt in an alert"))?;
    let kind = if resolved { "dev.cdevents.incident.resolved.0.3.0" } else { "dev.cdevents.incident.detected.0.3.0" };
    let described = text("/annotations/summary").or_else(|| text("/annotations/description")).unwrap_or(name);
    let mut content = json!({
        "description": described,
        "environment": { "id": either(&["environment", "env", "namespace"]).unwrap_or("default") },
    });
    if let Some(service) = either(&["service", "app", "job"]) {
        content["service"] = json!({ "id": service });
    }
    // The same alert is told again and again; one whose words have changed is news.
    let digest: String = Digest::of(alert.to_string().as_bytes()).to_string().chars().take(16).collect();
    Ok(Mapped {
        id: format!("{fingerprint}-{digest}"),
        source: source.to_owned(),
        kind: kind.to_owned(),
        subject: fingerprint.to_owned(),
        time: Some(time),
        content: Some(content),
    })
}
