//! What webhooks become: each body has the form that its sender documents, and each event validates against the schema of
//! its type.

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Bench, NOW, SECRET, bench};

fn sign(parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is wrong with an event by the schema of its type.
fn problems(data: &Value) -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../vice-core/tests/cdevents/schemas");
    let read = |path: &std::path::Path| -> Value {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap()
    };
    let mut registry = jsonschema::Registry::new();
    for entry in std::fs::read_dir(folder.join("links")).unwrap() {
        let schema = read(&entry.unwrap().path());
        let id = schema["$id"].as_str().unwrap().to_owned();
        registry = registry.add(id, schema).unwrap();
    }
    let registry = registry.prepare().unwrap();
    let kind = data["context"]["type"].as_str().unwrap();
    let name = match kind.strip_prefix("dev.cdevents.") {
        Some(rest) => rest.split('.').take(2).collect::<String>(),
        None => "custom".to_owned(),
    };
    let schema = read(&folder.join(format!("{name}.json")));
    let validator = jsonschema::options().with_registry(&registry).build(&schema).unwrap();
    validator.iter_errors(data).map(|error| format!("{kind}{}: {error}", error.instance_path())).collect()
}

fn repository() -> Value {
    json!({ "id": 1296269, "full_name": "acme/shop", "html_url": "https://github.com/acme/shop", "pushed_at": 1784019600 })
}

pub(super) async fn github(bench: &Bench, event: &str, delivery: &str, body: &Value) -> (StatusCode, Value) {
    let text = body.to_string();
    let signature = format!("sha256={}", sign(&[text.as_bytes()]));
    let headers =
        [("x-github-event", event), ("x-github-delivery", delivery), ("x-hub-signature-256", signature.as_str())];
    bench.post("/webhooks/shop/gh", &headers, text).await
}

async fn last(bench: &Bench, stream: &str) -> (String, String, Value) {
    let event = bench.stored(stream).await.pop().unwrap();
    (event.kind, event.subject, serde_json::from_str(&event.data).unwrap())
}

#[tokio::test]
async fn github_becomes_cdevents() {
    let bench = bench(false).await;
    let pull = |action: &str, merged: bool| {
        json!({ "action": action, "number": 7, "repository": repository(), "sender": { "login": "octo" },
            "pull_request": { "number": 7, "title": "Sell more", "merged": merged, "updated_at": "2026-07-14T08:00:00Z" } })
    };
    let run = |action: &str, conclusion: Value| {
        json!({ "action": action, "repository": repository(), "workflow_run": { "id": 30433642, "name": "build",
            "html_url": "https://github.com/acme/shop/actions/runs/30433642", "conclusion": conclusion,
            "updated_at": "2026-07-14T08:00:00Z" } })
    };
    let job = json!({ "action": "completed", "repository": repository(), "workflow_job": { "id": 21, "run_id": 30433642,
        "name": "test", "conclusion": "failure", "completed_at": "2026-07-14T08:00:00Z",
        "html_url": "https://github.com/acme/shop/actions/runs/30433642/job/21" } });
    let issue = json!({ "action": "closed", "repository": repository(), "issue": { "number": 3, "title": "Slow",
        "user": { "login": "octo" }, "html_url": "https://github.com/acme/shop/issues/3", "state_reason": "not_planned",
        "updated_at": "2026-07-14T08:00:00Z" } });
    let push = |created: bool| json!({ "ref": "refs/heads/main", "created": created, "deleted": false, "repository": repository() });
    let review = json!({ "action": "submitted", "repository": repository(), "pull_request": { "number": 7 },
        "review": { "state": "approved", "submitted_at": "2026-07-14T08:00:00Z" } });
    let cases = [
        ("pull_request", pull("opened", false), "dev.cdevents.change.created.0.4.0", "7"),
        ("pull_request", pull("synchronize", false), "dev.cdevents.change.updated.0.3.0", "7"),
        ("pull_request", pull("closed", true), "dev.cdevents.change.merged.0.3.0", "7"),
        ("pull_request", pull("closed", false), "dev.cdevents.change.abandoned.0.3.0", "7"),
        ("pull_request_review", review, "dev.cdevents.change.reviewed.0.3.0", "7"),
        ("workflow_run", run("requested", Value::Null), "dev.cdevents.pipelinerun.queued.0.3.0", "30433642"),
        ("workflow_run", run("in_progress", Value::Null), "dev.cdevents.pipelinerun.started.0.3.0", "30433642"),
        ("workflow_run", run("completed", json!("success")), "dev.cdevents.pipelinerun.finished.0.3.0", "30433642"),
        ("workflow_job", job, "dev.cdevents.taskrun.finished.0.3.0", "21"),
        ("issues", issue, "dev.cdevents.ticket.closed.0.2.0", "3"),
        ("push", push(true), "dev.cdevents.branch.created.0.3.0", "main"),
        ("push", push(false), "dev.cdeventsx.github-branch.pushed.0.1.0", "main"),
    ];
    for (n, (event, body, kind, subject)) in cases.into_iter().enumerate() {
        let delivery = format!("d-{n}");
        let (status, said) = github(&bench, event, &delivery, &body).await;
        assert_eq!(status, StatusCode::CREATED, "{event}: {said}");
        let (found, about, data) = last(&bench, "webhook/shop/gh").await;
        assert_eq!((found.as_str(), about.as_str()), (kind, subject));
        assert_eq!(problems(&data), Vec::<String>::new());
        assert_eq!(data["customData"], body);
        assert_eq!(github(&bench, event, &delivery, &body).await.0, StatusCode::OK, "a repeat");
    }
    let ping = github(&bench, "ping", "d-ping", &json!({ "zen": "Keep it logically awesome." })).await;
    assert_eq!(ping, (StatusCode::OK, json!({ "events": 0 })));
    let star = json!({ "action": "created", "repository": repository() });
    github(&bench, "star", "d-star", &star).await;
    assert_eq!(last(&bench, "webhook/shop/gh").await.0, "com.github.star.created");
    // What was caught can come again neither under another name nor as another event.
    assert_eq!(github(&bench, "star", "d-other", &star).await.0, StatusCode::CONFLICT);
    assert_eq!(github(&bench, "watch", "d-star", &star).await.0, StatusCode::CONFLICT);
    let stars = bench.stored("webhook/shop/gh").await;
    assert_eq!(stars.iter().filter(|event| event.kind.starts_with("com.github.")).count(), 1);
}

#[tokio::test]
async fn gitlab_becomes_cdevents() {
    let bench = bench(false).await;
    let project = json!({ "path_with_namespace": "acme/shop", "web_url": "https://gitlab.example/acme/shop" });
    let request = |action: &str| {
        json!({ "object_kind": "merge_request", "project": project, "object_attributes":
        { "iid": 4, "title": "Sell more", "action": action, "updated_at": "2026-07-14 08:00:00 UTC" } })
    };
    let pipeline = json!({ "object_kind": "pipeline", "project": project, "object_attributes": { "id": 31, "status": "failed",
        "created_at": "2026-07-14 07:00:00 UTC", "finished_at": "2026-07-14 08:00:00 UTC" } });
    let deployment = json!({ "object_kind": "deployment", "status": "success", "environment": "staging", "short_sha": "279484c0",
        "status_changed_at": "2026-07-14T08:00:00Z", "project": project });
    let job = json!({ "object_kind": "build", "build_id": 1977, "build_name": "test", "build_status": "success", "pipeline_id": 31,
        "build_finished_at": "2026-07-14 08:00:00 UTC", "repository": { "homepage": "https://gitlab.example/acme/shop" }, "project": project });
    let cases = [
        (request("open"), "dev.cdevents.change.created.0.4.0"),
        (request("merge"), "dev.cdevents.change.merged.0.3.0"),
        (pipeline, "dev.cdevents.pipelinerun.finished.0.3.0"),
        (job, "dev.cdevents.taskrun.finished.0.3.0"),
        (deployment, "dev.cdevents.service.deployed.0.3.0"),
    ];
    for (body, kind) in cases {
        let (status, said) = bench.post("/webhooks/shop/gl", &[("x-gitlab-token", SECRET)], body.to_string()).await;
        assert_eq!(status, StatusCode::CREATED, "{kind}: {said}");
        let (found, _, data) = last(&bench, "webhook/shop/gl").await;
        assert_eq!(found, kind);
        assert_eq!(problems(&data), Vec::<String>::new());
    }
    let (status, _) = bench.post("/webhooks/shop/gl", &[("x-gitlab-token", "wrong")], "{}").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn alerts_and_syncs_become_cdevents() {
    let bench = bench(false).await;
    let bearer = format!("Bearer {SECRET}");
    let alert = |status: &str, fingerprint: &str| {
        json!({ "status": status, "fingerprint": fingerprint,
        "labels": { "alertname": "HighErrors", "service": "shop", "namespace": "prod" }, "annotations": { "summary": "5 % fail" },
        "startsAt": "2026-07-14T08:00:00Z", "endsAt": "2026-07-14T08:30:00Z", "generatorURL": "http://prom/graph" })
    };
    let group = json!({ "version": "4", "groupKey": "{}:{alertname=\"HighErrors\"}", "status": "firing", "receiver": "vice",
        "externalURL": "http://alerts.example", "alerts": [alert("firing", "f00d"), alert("resolved", "beef")] });
    let headers = [("authorization", bearer.as_str())];
    let (status, said) = bench.post("/webhooks/shop/alerts", &headers, group.to_string()).await;
    assert_eq!((status, said["events"].as_u64()), (StatusCode::CREATED, Some(2)), "{said}");
    assert_eq!(bench.post("/webhooks/shop/alerts", &headers, group.to_string()).await.0, StatusCode::OK);
    let stored = bench.stored("webhook/shop/alerts").await;
    let kinds: Vec<&str> = stored.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["dev.cdevents.incident.detected.0.3.0", "dev.cdevents.incident.resolved.0.3.0"]);
    let sync = |phase: &str, health: &str| {
        json!({ "app": "shop", "environment": "prod", "revision": "279484c0", "phase": phase,
        "health": health, "repo": "https://git.example/acme/shop", "finishedAt": "2026-07-14T08:00:00Z" })
    };
    for (phase, health, kind) in [
        ("Succeeded", "Healthy", "dev.cdevents.service.upgraded.0.3.0"),
        ("Failed", "Healthy", "dev.cdeventsx.argocd-sync.failed.0.1.0"),
        ("Succeeded", "Degraded", "dev.cdevents.incident.detected.0.3.0"),
    ] {
        let (status, said) = bench.post("/webhooks/shop/argo", &headers, sync(phase, health).to_string()).await;
        assert_eq!(status, StatusCode::CREATED, "{said}");
        assert_eq!(last(&bench, "webhook/shop/argo").await.0, kind);
    }
    for event in stored.into_iter().chain(bench.stored("webhook/shop/argo").await) {
        assert_eq!(problems(&serde_json::from_str(&event.data).unwrap()), Vec::<String>::new());
    }
}

#[tokio::test]
async fn signatures_are_checked_and_grow_old() {
    let bench = bench(false).await;
    let now: jiff::Timestamp = NOW.parse().unwrap();
    let body = r#"{"type": "com.example.cleared", "subject": "cache"}"#;
    for (off, status) in [
        (0, StatusCode::CREATED),
        (0, StatusCode::OK),
        (-301, StatusCode::UNAUTHORIZED),
        (301, StatusCode::UNAUTHORIZED),
    ] {
        let at = (now.as_second() + off).to_string();
        let signature = format!("v1,t={at},s={}", sign(&[at.as_bytes(), b".", body.as_bytes()]));
        assert_eq!(
            bench.post("/webhooks/shop/own", &[("x-vice-signature", &signature)], body).await.0,
            status,
            "{off}"
        );
    }
    let other = format!("v1,t={},s={}", now.as_second(), sign(&[b"other"]));
    for headers in [vec![], vec![("x-vice-signature", other.as_str())], vec![("x-vice-signature", "v1,t=1,s=zz")]] {
        assert_eq!(bench.post("/webhooks/shop/own", &headers, body).await.0, StatusCode::UNAUTHORIZED);
    }
    let unsigned = [("x-github-event", "push"), ("x-github-delivery", "1"), ("x-hub-signature-256", "sha256=00")];
    assert_eq!(bench.post("/webhooks/shop/gh", &unsigned, "{}").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(bench.post("/webhooks/shop/none", &[], "{}").await.0, StatusCode::NOT_FOUND);
    assert_eq!(bench.stored("webhook/").await.len(), 1);
}
