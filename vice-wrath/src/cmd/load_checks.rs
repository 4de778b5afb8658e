//! The HTTP checks of a project as the requests of a load: in their order, each a kind of its own, each with the status
//! that it expects.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use url::Url;
use vice_core::app::App;
use vice_core::manifest::CheckSpec;
use vice_core::{Code, Context, Fault, Result};

use super::load::LoadArgs;
use super::verify;
use crate::http::{STATUS_DEFAULT, method, parse_url};
use crate::load::{Feed, Prepared};
use crate::values::Values;

/// Whether a target is a project and not a URL.
pub(super) fn is_project(target: &str) -> bool {
    !target.contains("://")
}

/// The requests of a project's checks, and the server that all of them ask.
///
/// # Errors
/// `UnknownName`, `Usage` for checks that can't be sent alone or ask several servers, `Unreachable` when nothing is
/// deployed.
pub(super) async fn feed(app: &App, args: &LoadArgs, common: &HeaderMap) -> Result<(Url, Feed)> {
    let (project, scope) = app.scope(Some(&args.url), args.env.as_ref())?;
    let checks = &project.manifest.check;
    if let Some(name) = args.check.iter().find(|name| !checks.contains_key(name.as_str())) {
        let known: Vec<&str> = checks.keys().map(String::as_str).collect();
        return Err(Fault::new(Code::UnknownName, format!("There is no check {name:?}."))
            .hint(format!("Known: {}.", known.join(", "))));
    }
    let vars = verify::vars(app, &project, &scope).await?;
    let config = verify::config(app, &project, &scope).await?;
    let values = Values::new(&vars, config.as_ref());
    let (mut requests, mut kinds, mut server) = (Vec::new(), Vec::new(), None::<Url>);
    for (name, spec) in checks {
        let here = spec.only.is_empty() || spec.only.contains(&scope.env);
        let asked = if args.check.is_empty() { here && spec.http.is_some() } else { args.check.contains(name) };
        if !asked {
            continue;
        }
        let (url, request) = request(kinds.len(), name, spec, &values, common)?;
        if server.as_ref().is_some_and(|server| server.origin() != url.origin()) {
            return Err(Fault::new(Code::Usage, format!("The check {name} asks another server than those before it."))
                .hint("A load asks one server; choose checks with --check."));
        }
        server.get_or_insert(url);
        requests.push(Arc::new(request));
        kinds.push(name.clone());
    }
    let Some(server) = server else {
        return Err(Fault::new(Code::Usage, format!("The project {} has no HTTP check to send.", project.name()))
            .hint("Add one to vice.toml: [check.smoke] with http = \"{{env.url}}/\"."));
    };
    Ok((server, Feed::Cycle { requests: requests.into(), kinds: kinds.into() }))
}

fn request(
    number: usize,
    name: &str,
    spec: &CheckSpec,
    values: &Values,
    common: &HeaderMap,
) -> Result<(Url, Prepared)> {
    let alone = |fault: Fault| {
        Fault::new(Code::Usage, format!("The check {name} can't be sent alone."))
            .because(fault)
            .hint("It uses what another check captures, or nothing is deployed; choose others with --check.")
    };
    let template = spec.http.as_deref().ok_or_else(|| {
        Fault::new(Code::Usage, format!("The check {name} is no HTTP check.")).hint("Only those can be a load.")
    })?;
    let text = values.text(template).map_err(alone)?;
    let bad = |why: String| Fault::new(Code::Usage, format!("The check {name} {why}."));
    let url = parse_url(&text, false).map_err(bad)?;
    let mut headers = common.clone();
    for (header, value) in &spec.headers {
        let value = values.text(value).map_err(alone)?;
        let unusable = || bad(format!("has a header {header} that can't be sent"));
        let header = HeaderName::try_from(header.as_str()).map_err(|_| unusable())?;
        headers.insert(header, HeaderValue::from_str(&value).map_err(|_| unusable())?);
    }
    let body = match (&spec.body, &spec.body_json) {
        (Some(body), _) => values.text(body).map_err(alone)?,
        (None, Some(body)) => {
            headers.entry("content-type").or_insert(HeaderValue::from_static("application/json"));
            values.json(body).map_err(alone)?.to_string()
        }
        (None, None) => String::new(),
    };
    let method =
        Method::from_bytes(method(spec).as_bytes()).map_err(|_| bad("has a method that is none".to_owned()))?;
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let uri: Uri = format!("{}{target}", url.origin().ascii_serialization())
        .parse()
        .context(Code::Usage, || format!("The check {name} has a URL that can't be sent."))?;
    let mut request = Prepared::new(number, &method, &uri, &headers, Bytes::from(body));
    request.expect = Some(spec.status.unwrap_or(STATUS_DEFAULT));
    Ok((url, request))
}
