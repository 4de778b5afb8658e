//! Recordings of browsers (HAR 1.2): the requests in their order, each expecting the status that it got.

use serde_json::{Map, Value, json};

use super::{HttpMade, Import, REQUESTS_MAX, body_of, common_origin};

/// What browsers add by themselves, and what a scenario makes anew.
const OWN: &[&str] = &[
    "host",
    "content-length",
    "connection",
    "accept-encoding",
    "cookie",
    "upgrade-insecure-requests",
    "pragma",
    "cache-control",
    "if-none-match",
    "if-modified-since",
    "te",
    "priority",
    "dnt",
    "user-agent",
    "accept-language",
];

/// Endings of what a page brings along.
const ASSETS: &[&str] = &[
    ".css", ".js", ".mjs", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".ico", ".woff", ".woff2", ".ttf", ".map", ".webp",
];

/// Reads a recording. What a page brings along (styles, pictures) is left out unless `all`.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(crate) fn parse(text: &str, all: bool) -> Result<Import, String> {
    let har: Value = serde_json::from_str(text).map_err(|error| format!("The HAR file is not JSON ({error})."))?;
    let entries = har.pointer("/log/entries").and_then(Value::as_array).ok_or("The HAR file has no log.entries.")?;
    let title = har.pointer("/log/pages/0/title").and_then(Value::as_str).unwrap_or("a recording");
    let mut import = Import {
        name: "Imported from HAR".to_owned(),
        about: format!("Made of {title}.").replace("{{", "{ {"),
        ..Import::default()
    };
    let mut made = Vec::new();
    let mut left_out = 0;
    for (index, entry) in entries.iter().enumerate() {
        if !all && is_asset(entry) {
            left_out += 1;
            continue;
        }
        made.extend(request(entry).map_err(|why| format!("Entry {} of the HAR file {why}.", index + 1))?);
        if made.len() > REQUESTS_MAX {
            return Err(format!("The HAR file has more than {REQUESTS_MAX} requests."));
        }
    }
    if made.is_empty() {
        return Err("The HAR file has no request that could be a step.".to_owned());
    }
    if left_out > 0 {
        import.notes.push(format!(
            "{left_out} requests for styles, scripts, pictures and fonts were left out; --all keeps them."
        ));
    }
    import.url = common_origin(made.iter().map(|made| made.url.as_str()));
    let common = import.url.clone();
    import.steps = made.into_iter().map(|made| made.step(common.as_deref(), &mut import.notes)).collect();
    Ok(import)
}

fn is_asset(entry: &Value) -> bool {
    let kind = entry["_resourceType"].as_str().unwrap_or_default();
    let url = entry.pointer("/request/url").and_then(Value::as_str).unwrap_or_default();
    let path = url.split(['?', '#']).next().unwrap_or_default();
    matches!(kind, "image" | "font" | "stylesheet" | "script" | "media")
        || ASSETS.iter().any(|ending| path.ends_with(ending))
}

/// The request of an entry; none where it is not HTTP.
fn request(entry: &Value) -> Result<Option<HttpMade>, String> {
    let request = &entry["request"];
    let url = request["url"].as_str().ok_or("has no request.url")?;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Ok(None);
    }
    let method = request["method"].as_str().ok_or("has no request.method")?;
    let pairs = |value: &Value| -> Vec<(String, String)> {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let pair = |item: &Value| {
            Some((item["name"].as_str()?.to_owned(), item["value"].as_str().unwrap_or_default().to_owned()))
        };
        items.iter().filter_map(pair).collect()
    };
    let mut headers = pairs(&request["headers"]);
    headers.retain(|(name, _)| {
        let name = name.to_ascii_lowercase();
        !name.starts_with(':') && !name.starts_with("sec-") && !OWN.contains(&name.as_str())
    });
    let mut made = HttpMade {
        method: Some(method.to_owned()),
        url: url.split('#').next().unwrap_or(url).to_owned(),
        ..HttpMade::default()
    };
    let post = &request["postData"];
    let kind = post["mimeType"].as_str().unwrap_or_default();
    let params = pairs(&post["params"]);
    if kind.starts_with("application/x-www-form-urlencoded") && !params.is_empty() {
        let form: Map<String, Value> =
            params.into_iter().map(|(name, value)| (name, json!(value.replace("{{", "{ {")))).collect();
        made.body = Some(("body_form", Value::Object(form)));
    } else if let Some(text) = post["text"].as_str().filter(|text| !text.is_empty()) {
        made.body = Some(body_of(text, Some(kind)));
    }
    if made.body.as_ref().is_some_and(|(key, _)| *key != "body") {
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
    }
    made.headers = headers;
    let response = &entry["response"];
    if let Some(status) = response["status"].as_u64().filter(|status| (100..=599).contains(status)) {
        // A cached answer is a whole one for a client without a cache.
        made.expect.push(("status".to_owned(), json!(if status == 304 { 200 } else { status })));
    }
    if let Some(kind) = response.pointer("/content/mimeType").and_then(Value::as_str).filter(|kind| kind.contains('/'))
    {
        let bare = kind.split(';').next().unwrap_or(kind).trim();
        made.expect.push(("headers".to_owned(), json!({ "Content-Type": { "starts_with": bare } })));
    }
    Ok(Some(made))
}
