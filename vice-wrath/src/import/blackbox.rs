//! Modules of Prometheus' blackbox exporter: what a module probes, as a step against `{{target}}`.

use serde_json::{Map, Value, json};

use super::{Import, Made};

/// Reads a file of modules and makes a scenario of one.
///
/// # Errors
/// A sentence: that it is not YAML, which modules there are, or what of a module is not known here.
pub(crate) fn parse(text: &str, module: Option<&str>, target: Option<&str>) -> Result<Import, String> {
    let file: Value = serde_saphyr::from_str(text).map_err(|error| {
        let first = error.to_string().lines().next().unwrap_or_default().to_owned();
        format!("The file of modules is not YAML ({first}).")
    })?;
    let modules = file["modules"].as_object().filter(|modules| !modules.is_empty());
    let modules = modules.ok_or("The file has no modules.")?;
    let names = || modules.keys().cloned().collect::<Vec<_>>().join(", ");
    let (name, spec) = match module {
        Some(name) => {
            modules.get_key_value(name).ok_or_else(|| format!("There is no module {name:?}; there are {}.", names()))?
        }
        None if modules.len() == 1 => modules.iter().next().ok_or("The file has no modules.")?,
        None => return Err(format!("Which module? Name it with --module; there are {}.", names())),
    };
    let mut import = Import {
        name: format!("Probe {name}"),
        about: format!("Made of the module {name} of the blackbox exporter."),
        vars: vec![("target".to_owned(), json!(target.unwrap_or("http://127.0.0.1")))],
        ..Import::default()
    };
    if target.is_none() {
        import.notes.push("Set target to what the exporter was asked to probe.".to_owned());
    }
    let mut step = match spec["prober"].as_str() {
        Some("http") => http(&spec["http"], &mut import.notes)?,
        Some("tcp") => tcp(&spec["tcp"], &mut import.notes)?,
        Some("dns") => dns(&spec["dns"], &mut import.notes)?,
        Some(other) => return Err(format!("A prober {other:?} is not known here; there are http, tcp and dns.")),
        None => return Err(format!("The module {name} names no prober.")),
    };
    if let Some(timeout) = spec["timeout"].as_str() {
        step.keys.push(("timeout".to_owned(), json!(timeout)));
    }
    step.name = name.clone();
    import.steps.push(step);
    Ok(import)
}

/// Says which keys of a module were not taken over.
fn rest(of: &Value, known: &[&str], notes: &mut Vec<String>) {
    for key in of.as_object().into_iter().flat_map(Map::keys).filter(|key| !known.contains(&key.as_str())) {
        notes.push(format!("`{key}` of the module was not taken over."));
    }
}

fn list(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn http(spec: &Value, notes: &mut Vec<String>) -> Result<Made, String> {
    rest(
        spec,
        &[
            "method",
            "valid_status_codes",
            "valid_http_versions",
            "headers",
            "body",
            "follow_redirects",
            "no_follow_redirects",
            "fail_if_ssl",
            "fail_if_not_ssl",
            "fail_if_body_matches_regexp",
            "fail_if_body_not_matches_regexp",
            "fail_if_header_matches",
            "fail_if_header_not_matches",
            "tls_config",
            "basic_auth",
            "preferred_ip_protocol",
            "ip_protocol_fallback",
        ],
        notes,
    );
    let method = spec["method"].as_str().unwrap_or("GET");
    let mut made = Made { action: ("http".to_owned(), format!("{method} {{{{target}}}}")), ..Made::default() };
    if let Some(headers) = spec["headers"].as_object().filter(|headers| !headers.is_empty()) {
        made.keys.push(("headers".to_owned(), Value::Object(headers.clone())));
    }
    if let Some(user) = spec.pointer("/basic_auth/username").and_then(Value::as_str) {
        let password = super::credential("password", notes);
        made.keys.push(("basic".to_owned(), json!(format!("{user}:{password}"))));
    }
    if let Some(body) = spec["body"].as_str() {
        made.keys.push(("body".to_owned(), json!(body)));
    }
    let follows = spec["follow_redirects"].as_bool().unwrap_or(!spec["no_follow_redirects"].as_bool().unwrap_or(false));
    if follows {
        made.keys.push(("follow".to_owned(), json!(10)));
    }
    if spec.pointer("/tls_config/insecure_skip_verify") == Some(&json!(true)) {
        made.keys.push(("verify".to_owned(), json!(false)));
    }
    if let Some(ca) = spec.pointer("/tls_config/ca_file") {
        made.keys.push(("ca".to_owned(), ca.clone()));
    }
    let codes = spec["valid_status_codes"].as_array().filter(|codes| !codes.is_empty());
    made.expect.push(("status".to_owned(), codes.map_or(json!("2xx"), |codes| json!(codes))));
    if let Some(versions) = spec["valid_http_versions"].as_array().filter(|versions| !versions.is_empty()) {
        let ours = versions.iter().filter_map(Value::as_str).map(|version| version.replace("HTTP/2.0", "HTTP/2"));
        made.expect.push(("version".to_owned(), json!({ "one_of": ours.collect::<Vec<_>>() })));
    }
    conditions(spec, &mut made, notes)?;
    Ok(made)
}

fn conditions(spec: &Value, made: &mut Made, notes: &mut Vec<String>) -> Result<(), String> {
    if spec["fail_if_ssl"] == json!(true) {
        made.expect.push(("url".to_owned(), json!({ "starts_with": "http:" })));
    }
    if spec["fail_if_not_ssl"] == json!(true) {
        made.expect.push(("url".to_owned(), json!({ "starts_with": "https:" })));
    }
    let (bad, good) = (list(&spec["fail_if_body_matches_regexp"]), list(&spec["fail_if_body_not_matches_regexp"]));
    let mut body = Map::new();
    if let Some(first) = bad.first() {
        let any = if bad.len() == 1 { first.clone() } else { format!("(?:{})", bad.join(")|(?:")) };
        body.insert("not_matches".to_owned(), json!(any));
    }
    if let Some(first) = good.first() {
        body.insert("matches".to_owned(), json!(first));
        let more = good.iter().skip(1);
        notes.extend(
            more.map(|pattern| format!("The body must also match /{pattern}/, which has to be a step of its own.")),
        );
    }
    if !body.is_empty() {
        made.expect.push(("body".to_owned(), Value::Object(body)));
    }
    let mut headers = Map::new();
    for (key, condition) in [("fail_if_header_matches", "not_matches"), ("fail_if_header_not_matches", "matches")] {
        for item in spec[key].as_array().into_iter().flatten() {
            let (Some(name), Some(pattern)) = (item["header"].as_str(), item["regexp"].as_str()) else {
                return Err(format!("`{key}` needs header and regexp."));
            };
            let conditions = headers.entry(name.to_owned()).or_insert_with(|| json!({}));
            conditions[condition] = json!(pattern);
        }
    }
    if !headers.is_empty() {
        made.expect.push(("headers".to_owned(), Value::Object(headers)));
    }
    Ok(())
}

fn tcp(spec: &Value, notes: &mut Vec<String>) -> Result<Made, String> {
    rest(spec, &["tls", "query_response", "tls_config", "preferred_ip_protocol", "ip_protocol_fallback"], notes);
    if spec["tls"] == json!(true) {
        let mut made = Made { action: ("tls".to_owned(), "{{target}}".to_owned()), ..Made::default() };
        if spec.pointer("/tls_config/insecure_skip_verify") == Some(&json!(true)) {
            made.keys.push(("verify".to_owned(), json!(false)));
        }
        if let Some(name) = spec.pointer("/tls_config/server_name") {
            made.keys.push(("server_name".to_owned(), name.clone()));
        }
        return Ok(made);
    }
    let mut made = Made { action: ("tcp".to_owned(), "{{target}}".to_owned()), ..Made::default() };
    let talk = spec["query_response"].as_array().map(Vec::as_slice).unwrap_or_default();
    if talk.iter().any(|line| line["starttls"] == json!(true)) {
        return Err("`starttls` is not known here.".to_owned());
    }
    let sends: Vec<String> =
        talk.iter().filter_map(|line| line["send"].as_str()).map(|line| format!("{line}\n")).collect();
    if !sends.is_empty() {
        made.keys.push(("send".to_owned(), json!(sends.concat())));
    }
    let expects: Vec<&str> = talk.iter().filter_map(|line| line["expect"].as_str()).collect();
    if let Some(first) = expects.first() {
        made.expect.push(("body".to_owned(), json!({ "matches": format!("(?m){first}") })));
    }
    if expects.len() > 1 || (sends.len() > 1 && !expects.is_empty()) {
        notes.push("The dialogue has several turns; only the first expected line was taken over.".to_owned());
    }
    Ok(made)
}

fn dns(spec: &Value, notes: &mut Vec<String>) -> Result<Made, String> {
    rest(
        spec,
        &[
            "query_name",
            "query_type",
            "valid_rcodes",
            "validate_answer_rrs",
            "transport_protocol",
            "preferred_ip_protocol",
        ],
        notes,
    );
    let name = spec["query_name"].as_str().ok_or("The module has no query_name.")?;
    let kind = spec["query_type"].as_str().filter(|kind| *kind != "ANY").unwrap_or("A");
    let mut made = Made { action: ("dns".to_owned(), format!("{kind} {name}")), ..Made::default() };
    made.keys.push(("server".to_owned(), json!("{{target}}")));
    let answers = &spec["validate_answer_rrs"];
    if let Some(pattern) = list(&answers["fail_if_not_matches_regexp"]).first() {
        notes.push(format!("The exporter matches /{pattern}/ against whole records; here only their data is matched."));
    }
    made.expect.push(("records".to_owned(), json!({ "empty": false })));
    Ok(made)
}
