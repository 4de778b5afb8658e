//! GitHub: pushes, pull requests, reviews, workflow runs and jobs, issues, releases.

use serde_json::{Value, json};

use super::{Call, Mapped, missing};
use crate::ingest::answer::Refusal;

/// The event and the name that it came under; none for a ping.
pub(super) fn map(call: &Call<'_>) -> Result<Option<(Mapped, String)>, Refusal> {
    let event = call.header("x-github-event").ok_or_else(|| missing("header X-GitHub-Event"))?.to_owned();
    let delivery = call.header("x-github-delivery").ok_or_else(|| missing("header X-GitHub-Delivery"))?.to_owned();
    if event == "ping" {
        return Ok(None);
    }
    let source = call.text("/repository/html_url").unwrap_or("https://github.com").to_owned();
    let name = format!("{event}/{delivery}");
    let mapped = known(call, &event).map(|(kind, subject, time, content)| Mapped {
        id: delivery.clone(),
        source: source.clone(),
        kind: kind.to_owned(),
        subject,
        time: call.time(time),
        content: Some(content),
    });
    // Without a time of its own a CDEvent would differ each time that it comes.
    let mapped = mapped.filter(|mapped| mapped.time.is_some()).unwrap_or_else(|| {
        let action = call.text("/action").map(|action| format!(".{action}")).unwrap_or_default();
        let subject = call.text("/repository/full_name").unwrap_or("github").to_owned();
        Mapped { id: delivery, source, kind: format!("com.github.{event}{action}"), subject, time: None, content: None }
    });
    Ok(Some((mapped, name)))
}

/// Type, subject, where the time stands, and content.
type Known = (&'static str, String, &'static str, Value);

fn known(call: &Call<'_>, event: &str) -> Option<Known> {
    let action = call.text("/action").unwrap_or_default();
    match event {
        "push" => push(call),
        "pull_request" => change(call, action),
        "pull_request_review" if action == "submitted" => {
            let subject = call.id("/pull_request/number")?;
            Some(("dev.cdevents.change.reviewed.0.3.0", subject, "/review/submitted_at", repository(call)))
        }
        "workflow_run" => run(call, action),
        "workflow_job" => job(call, action),
        "issues" => issue(call, action),
        "release" if action == "published" => {
            let subject = call.text("/release/tag_name")?.to_owned();
            Some(("dev.cdeventsx.github-release.published.0.1.0", subject, "/release/published_at", repository(call)))
        }
        _ => None,
    }
}

fn repository(call: &Call<'_>) -> Value {
    match (call.text("/repository/full_name"), call.text("/repository/html_url")) {
        (Some(name), Some(url)) => json!({ "repository": { "id": name, "source": url } }),
        (Some(name), None) => json!({ "repository": { "id": name } }),
        _ => json!({}),
    }
}

fn push(call: &Call<'_>) -> Option<Known> {
    let branch = call.text("/ref")?.strip_prefix("refs/heads/")?.to_owned();
    let is = |pointer| call.body.pointer(pointer).and_then(Value::as_bool) == Some(true);
    let kind = match (is("/created"), is("/deleted")) {
        (true, _) => "dev.cdevents.branch.created.0.3.0",
        (_, true) => "dev.cdevents.branch.deleted.0.3.0",
        _ => "dev.cdeventsx.github-branch.pushed.0.1.0",
    };
    Some((kind, branch, "/repository/pushed_at", repository(call)))
}

fn change(call: &Call<'_>, action: &str) -> Option<Known> {
    let merged = call.body.pointer("/pull_request/merged").and_then(Value::as_bool) == Some(true);
    let kind = match action {
        "opened" | "reopened" => "dev.cdevents.change.created.0.4.0",
        "closed" if merged => "dev.cdevents.change.merged.0.3.0",
        "closed" => "dev.cdevents.change.abandoned.0.3.0",
        "synchronize" | "edited" | "ready_for_review" => "dev.cdevents.change.updated.0.3.0",
        _ => return None,
    };
    let mut content = repository(call);
    if let (true, Some(title)) = (kind.contains("created"), call.text("/pull_request/title")) {
        content["description"] = json!(title);
    }
    Some((kind, call.id("/pull_request/number")?, "/pull_request/updated_at", content))
}

/// How a run ended, in the words of CDEvents.
pub(super) fn outcome(conclusion: &str) -> &'static str {
    match conclusion {
        "success" => "success",
        "failure" | "failed" | "timed_out" | "startup_failure" => "failure",
        "cancelled" | "canceled" | "skipped" => "cancel",
        _ => "error",
    }
}

fn run(call: &Call<'_>, action: &str) -> Option<Known> {
    let kind = match action {
        "requested" => "dev.cdevents.pipelinerun.queued.0.3.0",
        "in_progress" => "dev.cdevents.pipelinerun.started.0.3.0",
        "completed" => "dev.cdevents.pipelinerun.finished.0.3.0",
        _ => return None,
    };
    let name = call.text("/workflow_run/name").unwrap_or("workflow");
    let mut content = json!({ "pipelineName": name, "uri": call.text("/workflow_run/html_url")? });
    if action == "completed" {
        content["outcome"] = json!(outcome(call.text("/workflow_run/conclusion").unwrap_or_default()));
    }
    Some((kind, call.id("/workflow_run/id")?, "/workflow_run/updated_at", content))
}

fn job(call: &Call<'_>, action: &str) -> Option<Known> {
    let (kind, time) = match action {
        "in_progress" => ("dev.cdevents.taskrun.started.0.3.0", "/workflow_job/started_at"),
        "completed" => ("dev.cdevents.taskrun.finished.0.3.0", "/workflow_job/completed_at"),
        _ => return None,
    };
    let mut content = json!({
        "taskName": call.text("/workflow_job/name").unwrap_or("job"),
        "uri": call.text("/workflow_job/html_url")?,
        "pipelineRun": { "id": call.id("/workflow_job/run_id")? },
    });
    if action == "completed" {
        content["outcome"] = json!(outcome(call.text("/workflow_job/conclusion").unwrap_or_default()));
    }
    Some((kind, call.id("/workflow_job/id")?, time, content))
}

fn issue(call: &Call<'_>, action: &str) -> Option<Known> {
    let mut content = json!({
        "summary": call.text("/issue/title")?,
        "creator": call.text("/issue/user/login")?,
        "uri": call.text("/issue/html_url")?,
    });
    let kind = match action {
        "opened" => "dev.cdevents.ticket.created.0.2.0",
        "closed" => {
            let done = call.text("/issue/state_reason") != Some("not_planned");
            content["resolution"] = json!(if done { "completed" } else { "withdrawn" });
            "dev.cdevents.ticket.closed.0.2.0"
        }
        _ => return None,
    };
    Some((kind, call.id("/issue/number")?, "/issue/updated_at", content))
}
