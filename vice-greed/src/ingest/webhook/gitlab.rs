//! GitLab: pushes, merge requests, pipelines, jobs, issues, deployments.

use serde_json::{Value, json};

use super::github::outcome;
use super::{Call, Mapped, missing};
use crate::ingest::answer::Refusal;

/// The event. GitLab repeats a call under the same `Idempotency-Key`.
pub(super) fn map(call: &Call<'_>) -> Result<Mapped, Refusal> {
    let object = call.text("/object_kind").ok_or_else(|| missing("object_kind"))?;
    let id = call.header("idempotency-key").map_or_else(|| call.digest(), str::to_owned);
    let source = call.text("/project/web_url").unwrap_or("https://gitlab.com").to_owned();
    let mapped = known(call, object).map(|(kind, subject, times, content)| Mapped {
        id: id.clone(),
        source: source.clone(),
        kind: kind.to_owned(),
        subject,
        time: times.iter().find_map(|time| call.time(time)),
        content: Some(content),
    });
    Ok(mapped.filter(|mapped| mapped.time.is_some()).unwrap_or_else(|| {
        let subject = call.text("/project/path_with_namespace").unwrap_or("gitlab").to_owned();
        Mapped { id, source, kind: format!("com.gitlab.{object}"), subject, time: None, content: None }
    }))
}

/// Type, subject, where the time may stand, and content.
type Known = (&'static str, String, &'static [&'static str], Value);

fn known(call: &Call<'_>, object: &str) -> Option<Known> {
    match object {
        "push" => push(call),
        "merge_request" => change(call),
        "pipeline" => pipeline(call),
        "build" => job(call),
        "issue" => issue(call),
        "deployment" => deployment(call),
        _ => None,
    }
}

fn repository(call: &Call<'_>) -> Value {
    match (call.text("/project/path_with_namespace"), call.text("/project/web_url")) {
        (Some(name), Some(url)) => json!({ "repository": { "id": name, "source": url } }),
        _ => json!({}),
    }
}

fn push(call: &Call<'_>) -> Option<Known> {
    let branch = call.text("/ref")?.strip_prefix("refs/heads/")?.to_owned();
    let zeros = |pointer| call.text(pointer).is_some_and(|sha| sha.bytes().all(|byte| byte == b'0'));
    // Only what brings commits says when.
    let kind =
        if zeros("/before") { "dev.cdevents.branch.created.0.3.0" } else { "dev.cdeventsx.gitlab-branch.pushed.0.1.0" };
    (!zeros("/after")).then(|| (kind, branch, ["/commits/0/timestamp"].as_slice(), repository(call)))
}

fn change(call: &Call<'_>) -> Option<Known> {
    let kind = match call.text("/object_attributes/action")? {
        "open" | "reopen" => "dev.cdevents.change.created.0.4.0",
        "update" => "dev.cdevents.change.updated.0.3.0",
        "merge" => "dev.cdevents.change.merged.0.3.0",
        "close" => "dev.cdevents.change.abandoned.0.3.0",
        "approved" | "approval" => "dev.cdevents.change.reviewed.0.3.0",
        _ => return None,
    };
    let mut content = repository(call);
    if let (true, Some(title)) = (kind.contains("created"), call.text("/object_attributes/title")) {
        content["description"] = json!(title);
    }
    Some((kind, call.id("/object_attributes/iid")?, &["/object_attributes/updated_at"], content))
}

fn pipeline(call: &Call<'_>) -> Option<Known> {
    let status = call.text("/object_attributes/status")?;
    let url = match (call.text("/object_attributes/url"), call.text("/project/web_url")) {
        (Some(url), _) => url.to_owned(),
        (None, base) => format!("{}/-/pipelines/{}", base?, call.id("/object_attributes/id")?),
    };
    let name = call.text("/object_attributes/name").unwrap_or("pipeline");
    let mut content = json!({ "pipelineName": name, "uri": url });
    let (kind, times): (_, &'static [&'static str]) = match status {
        "created" | "pending" => ("dev.cdevents.pipelinerun.queued.0.3.0", &["/object_attributes/created_at"]),
        "running" => ("dev.cdevents.pipelinerun.started.0.3.0", &["/object_attributes/created_at"]),
        "success" | "failed" | "canceled" | "skipped" => {
            content["outcome"] = json!(outcome(status));
            (
                "dev.cdevents.pipelinerun.finished.0.3.0",
                &["/object_attributes/finished_at", "/object_attributes/created_at"],
            )
        }
        _ => return None,
    };
    Some((kind, call.id("/object_attributes/id")?, times, content))
}

fn job(call: &Call<'_>) -> Option<Known> {
    let url = format!("{}/-/jobs/{}", call.text("/repository/homepage")?, call.id("/build_id")?);
    let mut content = json!({
        "taskName": call.text("/build_name").unwrap_or("job"),
        "uri": url,
        "pipelineRun": { "id": call.id("/pipeline_id")? },
    });
    let status = call.text("/build_status")?;
    let (kind, times): (_, &'static [&'static str]) = match status {
        "running" => ("dev.cdevents.taskrun.started.0.3.0", &["/build_started_at"]),
        "success" | "failed" | "canceled" => {
            content["outcome"] = json!(outcome(status));
            ("dev.cdevents.taskrun.finished.0.3.0", &["/build_finished_at"])
        }
        _ => return None,
    };
    Some((kind, call.id("/build_id")?, times, content))
}

fn issue(call: &Call<'_>) -> Option<Known> {
    let mut content = json!({
        "summary": call.text("/object_attributes/title")?,
        "creator": call.text("/user/username")?,
        "uri": call.text("/object_attributes/url")?,
    });
    let kind = match call.text("/object_attributes/action")? {
        "open" => "dev.cdevents.ticket.created.0.2.0",
        "close" => {
            content["resolution"] = json!("completed");
            "dev.cdevents.ticket.closed.0.2.0"
        }
        _ => return None,
    };
    Some((kind, call.id("/object_attributes/iid")?, &["/object_attributes/updated_at"], content))
}

fn deployment(call: &Call<'_>) -> Option<Known> {
    if call.text("/status")? != "success" {
        return None;
    }
    let name = call.text("/project/path_with_namespace")?.to_owned();
    let content = json!({
        "environment": { "id": call.text("/environment")? },
        "artifactId": format!("pkg:gitlab/{name}@{}", call.text("/short_sha")?),
    });
    Some(("dev.cdevents.service.deployed.0.3.0", name, &["/status_changed_at"], content))
}
