//! Layers that a program has: the example of the docs, and programs that don't do as they should.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugin-config/vice-backend-cupboard")
}

/// The example, with one thing about it changed.
fn put(dir: &Path, from: &str, to: &str) -> PathBuf {
    let text = std::fs::read_to_string(example()).unwrap();
    assert!(text.contains(from), "{from}");
    let program = dir.join("vice-backend-cupboard");
    std::fs::write(&program, text.replace(from, to)).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn process(dir: &Path) -> ProcessEnv {
    env(&[("PATH", &format!("{}:/usr/local/bin:/usr/bin:/bin", dir.display()))])
}

async fn fetch(dir: &Path, layer: &str) -> Result<Option<Fetched>> {
    let address = Address::parse(layer)?.expect("a layer behind a program");
    let tools = Tools { process: Arc::new(process(dir)), root: dir.to_owned(), runner: None };
    connect(layer, &address, &tools)?.fetch().await
}

#[tokio::test]
async fn the_example_keeps_the_rules_of_a_source() {
    let dir = tempfile::tempdir().unwrap();
    let env = Arc::new(process(dir.path()));
    crate::suite::suite(|| crate::suite::under_test("cupboard", example(), &env, dir.path())).await;
}

#[tokio::test]
async fn what_breaks_a_rule_is_found_out() {
    for (from, to, rule) in [
        ("if path in TEST else None", "if path in TEST else {}", "what is not there is null"),
        ("raise Refused(\"backend.failed\"", "return None and Refused(\"x\"", "the path `bad` fails"),
        ("raise Refused(\"backend.failed\"", "os._exit(1) or Refused(\"x\"", "is an answer, and not the end"),
        ("\"db\": {\"host\": \"x\"}", "\"pid\": os.getpid()", "the same path gives the same"),
        ("{\"entries\": TEST[path]}", "TEST[path]", "an object `entries`"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (program, env) = (put(dir.path(), from, to), Arc::new(process(dir.path())));
        let folder = dir.path().to_owned();
        let held = async move {
            crate::suite::suite(|| crate::suite::under_test("cupboard", program.clone(), &env, &folder)).await;
        };
        let panic = tokio::spawn(held).await.expect_err(to).into_panic();
        let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(said.contains(rule), "{to}: {said}");
    }
}

#[tokio::test]
async fn a_program_gives_a_layer() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "cupboard", "cupboard");
    std::fs::create_dir_all(dir.path().join("cupboard/shop")).unwrap();
    std::fs::write(dir.path().join("cupboard/shop/prod.json"), "{\"db\":{\"host\":\"x\"},\"port\":1}").unwrap();
    let found = flat(fetch(dir.path(), "plugin:cupboard/shop/prod").await.unwrap().unwrap());
    assert_eq!(found, [("db.host".to_owned(), json!("x")), ("port".to_owned(), json!(1))]);
    assert!(fetch(dir.path(), "plugin:cupboard/shop/dev").await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    for (from, to, code, part) in [
        (
            "\"port\": \"config\"",
            "\"port\": \"store\"",
            Code::Unsupported,
            "not a source of configuration: it is a store",
        ),
        (
            "answer[\"ok\"] = fetch(opened, request[\"path\"])",
            "answer[\"ok\"] = [1]",
            Code::Backend,
            "that makes sense",
        ),
        (
            "answer[\"ok\"] = fetch(opened, request[\"path\"])",
            "print('hello')",
            Code::Unreachable,
            "a line that is no answer",
        ),
        (
            "answer[\"ok\"] = fetch(opened, request[\"path\"])",
            "answer[\"ok\"] = {\"entries\": {\"a.b\": 1, \"a\": {\"b\": 2}}}",
            Code::ConfigInvalid,
            "a.b",
        ),
        ("#!/usr/bin/env python3", "#!/nowhere/python3", Code::BackendMissing, "can't be started"),
        ("cupboard", "cupboard", Code::ConfigInvalid, "letters, digits"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), from, to);
        let fault = fetch(dir.path(), "plugin:cupboard/../x").await.err().expect(to);
        assert_eq!(fault.code(), code, "{to}: {fault:?}");
        assert!(fault.chain().join(" ").contains(part), "{to}: {fault:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let fault = fetch(dir.path(), "plugin:cupboard/x").await.err().unwrap();
    assert_eq!(fault.code(), Code::BackendMissing, "{fault:?}");
    for bad in ["plugin:", "plugin:x", "plugin:x/", "plugin:../x/y", "plugin:X/y", "plugin:x/a\nb"] {
        let fault = Address::parse(bad).err().unwrap_or_else(|| panic!("{bad} was taken"));
        assert_eq!(fault.code(), Code::ConfigInvalid, "{bad}");
    }
}
