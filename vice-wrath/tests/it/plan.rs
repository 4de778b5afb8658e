//! What is refused before anything runs, and where it points.

use vice_core::{Class, Code, Fault};

use crate::support::{refused, request, run, with_secret};

const URL: &str = "http = \"{{env.url}}\"\n";

/// The line of the place, counted from the first line of the checks.
fn line(fault: &Fault) -> usize {
    fault.place().expect("a place").line_column().0 - 3
}

#[tokio::test]
async fn circles_are_found_and_named() {
    let fault = refused(&format!(
        "[check.a]\n{URL}needs = [\"b\"]\n[check.b]\n{URL}needs = [\"c\"]\n[check.c]\n{URL}needs = [\"b\"]\n"
    ))
    .await;
    assert_eq!((fault.code(), line(&fault)), (Code::ManifestInvalid, 4));
    assert!(fault.to_string().contains("b needs c needs b"), "{fault:?}");
    let own = refused("[check.a]\nhttp = \"{{env.url}}/{{id}}\"\ncapture = { id = \"json:/id\" }\n").await;
    assert!(own.to_string().contains("a needs a"), "{own:?}");
    let captures = refused(
        "[check.a]\nhttp = \"{{env.url}}/{{y}}\"\ncapture = { x = \"json:\" }\n[check.b]\nhttp = \"{{env.url}}/{{x}}\"\ncapture = { y = \"json:\" }\n",
    )
    .await;
    assert!(captures.to_string().contains("a needs b needs a"), "{captures:?}");
}

#[tokio::test]
async fn unknown_names_point_at_their_place() {
    let need = refused(&format!("[check.smoke]\n{URL}[check.b]\n{URL}needs = [\"smok\"]\n")).await;
    assert_eq!((need.code(), line(&need), need.hints()[0].as_str()), (Code::UnknownName, 5, "Did you mean smoke?"));
    let name = refused(&format!("[check.a]\n{URL}[check.a.headers]\nX = \"{{{{verion}}}}\"\n")).await;
    assert_eq!((name.class(), line(&name), name.hints()[0].as_str()), (Class::Usage, 4, "Did you mean {{version}}?"));
    let config = refused(&format!("[check.a]\n{URL}json = {{ '/a' = [\"{{{{config.x}}}}\"] }}\n")).await;
    assert_eq!((config.class(), line(&config)), (Class::Usage, 3));
    let mut only = request(&format!("[check.smoke]\n{URL}"), "");
    only.only = vec!["smok".to_owned()];
    assert_eq!(run(only).await.unwrap_err().code(), Code::UnknownName);
    let mut tagged = request(&format!("[check.smoke]\n{URL}"), "");
    tagged.tags = vec!["x".to_owned()];
    assert_eq!(run(tagged).await.unwrap_err().code(), Code::UnknownName);
}

#[tokio::test]
async fn fields_that_make_no_sense_point_at_their_place() {
    for (check, place) in [
        ("tcp = \"db:1\"\nstatus = 200\n", 3),
        ("tcp = \"db\"\n", 2),
        ("command = [\"x\"]\njson = { '/a' = 1 }\n", 3),
        ("http = \"ftp://x\"\n", 2),
        ("http = \"no url\"\n", 2),
        ("http = \"http://x\"\ntls_expiry_min = \"1d\"\n", 2),
        ("http = \"http://x\"\nbody = \"\"\nbody_json = 1\n", 3),
        ("http = \"http://x\"\nmethod = \"A B\"\n", 3),
        ("http = \"http://x\"\nstatus = 99\n", 3),
        ("http = \"http://x\"\nmatches = [\"ok\", \"(\"]\n", 3),
        ("http = \"http://x\"\nexpect_headers = { a = \"[\" }\n", 3),
        ("http = \"http://x\"\nheaders = { \"a b\" = \"x\" }\n", 3),
        ("http = \"http://x\"\njson = { 'a.b' = 1 }\n", 3),
        ("http = \"http://x\"\ncapture = { a = \"xml:/a\" }\n", 3),
        ("http = \"http://x\"\ncapture = { version = \"json:/a\" }\n", 3),
        ("http = \"http://x\"\nretry_every = \"1s\"\n", 3),
        ("http = \"http://x\"\nbody = \"{{version\"\n", 3),
    ] {
        let fault = refused(&format!("[check.a]\n{check}")).await;
        assert_eq!((fault.class(), line(&fault)), (Class::Usage, place), "{check}: {fault:?}");
    }
}

#[tokio::test]
async fn two_checks_can_not_capture_the_same_name() {
    let capture = "capture = { id = \"json:/id\" }\n";
    let fault = refused(&format!("[check.a]\n{URL}{capture}[check.b]\n{URL}{capture}")).await;
    assert_eq!((fault.code(), line(&fault)), (Code::ManifestInvalid, 6));
}

#[tokio::test]
async fn secrets_are_refused_as_arguments() {
    let checks = "[check.a]\ncommand = [\"psql\", \"{{config.db.password}}\"]\n";
    let fault = run(with_secret(request(checks, ""), "db.password", "canary-password")).await.unwrap_err();
    assert_eq!((fault.class(), line(&fault)), (Class::Usage, 2));
    assert_eq!(fault.hints(), ["The command finds it in its environment as DB_PASSWORD."]);
    let captured = refused(&format!(
        "[check.a]\n{URL}capture = {{ token = \"json:/t\" }}\n[check.b]\ncommand = [\"x\", \"{{{{token}}}}\"]\n"
    ))
    .await;
    assert_eq!(captured.hints(), ["The command finds it in its environment as VICE_CAPTURE_TOKEN."]);
}
