//! Bad input, class by class, with the numbers of the catalogue in parentheses:
//!
//! - (1) a shell that takes a version, a path or a value for a command: `what_looks_like_a_command_stays_a_text`
//! - (2, 3) options of ssh in hosts and users: `what_looks_like_an_option_is_no_host`; in what a host says of itself:
//!   `where_a_host_is_found_is_taken_only_as_that` beside `target/ssh/share.rs`
//! - (4) a configuration of ssh that lies in the project: `a_configuration_that_lies_around_is_not_read`
//! - (5) templates in data that are filled in, or filled in twice: `what_looks_like_a_template_is_not_filled_in`
//! - (6) templates and commands in what a host has said, when that is used again: `what_a_host_said_is_used_as_a_text_again`
//! - (24) secrets among arguments or readable by others: `a_secret_is_never_an_argument`
//! - (25) a program in the place of ours: `a_program_in_the_place_of_ours_is_not_run`, and for artifacts that come from another host
//!   `what_another_host_gives_is_checked` in `sharing.rs`
//! - (26) hosts that answer what they like: `what_a_host_answers_is_data`

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vice_core::port::command::EnvValue;
use vice_core::port::target::Target;
use vice_core::{Code, Secret};
use vice_pride::target::hosts::Host;

use crate::support::{Ground, place, service};

/// Texts that a shell, ssh or a printer would take for something else.
fn hostile(canary: &Path) -> Vec<String> {
    let canary = canary.display();
    vec![
        format!("`touch {canary}`"),
        format!("$(touch {canary})"),
        format!("1; touch {canary}"),
        format!("1\ntouch {canary}"),
        format!("' touch {canary} '"),
        format!("\"; touch {canary}; \""),
        format!("-oProxyCommand=touch {canary}"),
        "--config=/etc/passwd".to_owned(),
        "@/etc/passwd".to_owned(),
        "{{ lookup('pipe', 'id') }}".to_owned(),
        "\u{1b}]0;title\u{7}".to_owned(),
    ]
}

/// (1, 5) A version, an operation's id, a variable's value and an argument reach the host as they are.
#[tokio::test]
async fn lab_ssh_what_looks_like_a_command_stays_a_text() {
    let dir = tempfile::tempdir().unwrap();
    let canary = dir.path().join("canary");
    let ground = Ground::on(&["h1"]);
    let target = ground.target();
    let mut before = None;
    for (number, text) in hostile(&canary).into_iter().enumerate() {
        let mut workload = service("1", &[]);
        workload.release.version.clone_from(&text);
        workload.release.source.clone_from(&text);
        workload.environment.insert("TEXT".to_owned(), EnvValue::Plain(text.clone()));
        let op = place(&format!("{text}/{number}"), 1, "h1", &workload, before.as_ref());
        target.apply(&op, Some(&workload)).await.unwrap_or_else(|fault| panic!("{text:?}: {:?}", fault.chain()));
        let has = ground.unit("h1").await.release.unwrap();
        assert_eq!(has.version, text, "it came back as it went");
        assert!(!canary.exists(), "{text:?} was carried out");
        before = Some(workload);
    }
}

/// (2, 3) What would be an option of ssh, or more than one word, is no host and no user.
#[test]
fn what_looks_like_an_option_is_no_host() {
    let dir = tempfile::tempdir().unwrap();
    let canary = dir.path().join("canary");
    for text in hostile(&canary) {
        for spelt in [text.clone(), format!("{text}@web1"), format!("web1={text}"), format!("web1:{text}")] {
            assert!(Host::parse(&spelt).is_err(), "{spelt:?} passed for a host");
        }
    }
    for bad in ["web1@-x", "-x@web1", "web 1", "web1:99999", "%h", "a=b=c", "web1:22x", "[::1", "web1:0", ""] {
        assert!(Host::parse(bad).is_err(), "{bad:?} passed for a host");
    }
    assert!(!canary.exists());
}

/// (4) A configuration of ssh that lies in the project's folder is not read unless the target names it.
#[tokio::test]
async fn lab_ssh_a_configuration_that_lies_around_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let canary = dir.path().join("canary");
    let text = format!("Host *\n    ProxyCommand touch {}\n", canary.display());
    fs::create_dir(dir.path().join(".ssh")).unwrap();
    for name in ["ssh_config", ".ssh/config", "config"] {
        fs::write(dir.path().join(name), &text).unwrap();
    }
    let mut ground = Ground::on(&["h1"]);
    ground.options.work = dir.path().to_path_buf();
    let first = service("1", &[]);
    ground.target().apply(&place("a", 1, "h1", &first, None), Some(&first)).await.unwrap();
    assert!(!canary.exists());
}

/// Texts that one or the other template language or shell would fill in.
const TEMPLATES: [&str; 8] = [
    "{{port}}",
    "{{unit}} {{ version }} {{no.such}}",
    "${HOME} $HOME $((6*7)) $(echo 42)",
    "`echo 42`",
    "%{host} %h %s %n",
    "{{{raw}}} {{#if x}}{{/if}} <%= 7*7 %>",
    "{{ lookup('pipe', 'id') }}",
    "{{",
];

/// (5) The words of the command are templates; what comes in by them, by variables or by the version is not.
#[tokio::test]
async fn lab_ssh_what_looks_like_a_template_is_not_filled_in() {
    let ground = Ground::on(&["h1"]);
    let out = ground.root("h1").with_extension("out");
    let target = ground.target();
    let mut before = None;
    for (number, text) in TEMPLATES.iter().enumerate() {
        let mut workload = service("1", &[]);
        let script = "printf '%s|%s|%s' \"$TEXT\" \"$VICE_VERSION\" \"$UNIT_WORD\" >\"$OUT\"; exec \"$@\"";
        let fixture = std::mem::take(&mut workload.command);
        workload.command = ["sh", "-c", script, "{{unit}}"].map(str::to_owned).into_iter().chain(fixture).collect();
        workload.release.version = (*text).to_owned();
        for (name, value) in [("TEXT", *text), ("UNIT_WORD", "{{unit}}"), ("OUT", out.to_str().unwrap())] {
            workload.environment.insert(name.to_owned(), EnvValue::Plain(value.to_owned()));
        }
        let op = place(&format!("{number}"), 1, "h1", &workload, before.as_ref());
        target.apply(&op, Some(&workload)).await.unwrap_or_else(|fault| panic!("{text:?}: {:?}", fault.chain()));
        assert_eq!(fs::read_to_string(&out).unwrap(), format!("{text}|{text}|{{{{unit}}}}"));
        before = Some(workload);
    }
}

/// (6) What a host said comes back to it: the release that it has, the output that it showed. It stays a text.
#[tokio::test]
async fn lab_ssh_what_a_host_said_is_used_as_a_text_again() {
    let dir = tempfile::tempdir().unwrap();
    let canary = dir.path().join("canary");
    let ground = Ground::on(&["h1"]);
    let target = ground.target();
    let good = service("1", &[]);
    target.apply(&place("a", 1, "h1", &good, None), Some(&good)).await.unwrap();
    for text in hostile(&canary).into_iter().chain(TEMPLATES.map(str::to_owned)).filter(|text| !text.contains('\n')) {
        // The host says that it has a release of this name; that is what a rollout goes back to.
        let current = fs::canonicalize(ground.root("h1").join("units/h1/current")).unwrap();
        let mut claimed = good.release.clone();
        claimed.version.clone_from(&text);
        let json = serde_json::to_string(&claimed).unwrap();
        let id: String = vice_core::Digest::of(json.as_bytes()).to_string().chars().take(32).collect();
        fs::write(current.join("release.json"), json).unwrap();
        fs::write(current.join("id"), format!("{id}\n")).unwrap();
        let found = ground.unit("h1").await.release.unwrap();
        assert_eq!(found, claimed);
        let mut sick = service("2", &["--unhealthy", "--leak"]);
        sick.environment.insert("TOKEN".to_owned(), EnvValue::Plain(text.clone()));
        sick.ready_timeout = vice_core::Millis::from_secs(1);
        let mut op = place(&format!("b {text}"), 1, "h1", &sick, None);
        op.before = Some(found);
        let fault = target.apply(&op, Some(&sick)).await.unwrap_err();
        assert_eq!(fault.code(), Code::Unhealthy, "{fault:?}");
        assert!(fault.chain().join(" ").contains(text.trim()), "{text:?}: its output is quoted as it is: {fault:?}");
        target.undo(&op, None).await.unwrap_or_else(|fault| panic!("{text:?}: {:?}", fault.chain()));
        assert_eq!(ground.unit("h1").await.release.unwrap().version, text);
    }
    assert!(!canary.exists());
}

/// (25) Our script is run by its digest from a folder of this user alone: not through a link, not when it is somebody else's.
#[tokio::test]
async fn lab_ssh_a_program_in_the_place_of_ours_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let canary = dir.path().join("canary");
    let ground = Ground::on(&["h1"]);
    ground.target().fence(1).await.unwrap();
    let bin = ground.root("h1").join("bin");
    let ours = fs::read_dir(&bin).unwrap().flatten().next().unwrap().path();
    let text = fs::read(&ours).unwrap();
    let refused = async |what: &str| {
        let fault = ground.target().inventory().await.expect_err(what);
        assert_eq!(fault.details()["trouble"], "not-ours", "{what}: {fault:?}");
        assert!(!canary.exists(), "{what} was run");
    };
    let evil = dir.path().join("evil");
    fs::write(&evil, format!("touch {}", canary.display())).unwrap();
    fs::remove_file(&ours).unwrap();
    std::os::unix::fs::symlink(&evil, &ours).unwrap();
    refused("a link").await;
    fs::remove_file(&ours).unwrap();
    fs::write(&ours, format!("touch {}", canary.display())).unwrap();
    // Only root can give a file away.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&ours, Some(65_534), None).unwrap();
        refused("a file of somebody else").await;
        fs::write(&ours, &text).unwrap();
        std::os::unix::fs::chown(&ours, Some(0), None).unwrap();
        std::os::unix::fs::chown(&bin, Some(65_534), None).unwrap();
        refused("a folder of somebody else").await;
        std::os::unix::fs::chown(&bin, Some(0), None).unwrap();
    }
    // What is not there is put there, unless everybody could put it there.
    fs::remove_file(&ours).unwrap();
    fs::set_permissions(&bin, fs::Permissions::from_mode(0o777)).unwrap();
    refused("a folder that everybody writes to").await;
    fs::set_permissions(&bin, fs::Permissions::from_mode(0o700)).unwrap();
    ground.target().inventory().await.unwrap();
    assert!(ours.is_file(), "the script is named by its digest, so that another one is never taken for it");
    assert_eq!(fs::read(&ours).unwrap(), text);
}

/// (24) No process of this machine has the secret among its arguments, from beginning to end of a deploy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_ssh_a_secret_is_never_an_argument() {
    const SECRET: &str = "s3cr3t-0f-th3-l4b-7391";
    let (over, found) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let sampler = std::thread::spawn({
        let (over, found) = (Arc::clone(&over), Arc::clone(&found));
        move || {
            let mut looks = 0_u64;
            while !over.load(Ordering::SeqCst) {
                for process in fs::read_dir("/proc").unwrap().flatten() {
                    let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
                    if String::from_utf8_lossy(&line).contains(SECRET) {
                        found.store(true, Ordering::SeqCst);
                    }
                }
                looks += 1;
            }
            looks
        }
    });
    let ground = Ground::on(&["h1"]);
    let mut workload = service("1", &[]);
    workload.environment.insert("PASSWORD".to_owned(), EnvValue::Secret(Secret::new(SECRET)));
    ground.target().apply(&place("a", 1, "h1", &workload, None), Some(&workload)).await.unwrap();
    over.store(true, Ordering::SeqCst);
    let looks = sampler.join().unwrap();
    assert!(looks > 3, "it looked {looks} times");
    assert!(!found.load(Ordering::SeqCst), "a secret was among the arguments of a process");
    // On the host it is in files that only their owner reads.
    let mut holders = 0;
    let mut folders = vec![ground.root("h1")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && fs::read(&path).is_ok_and(|text| String::from_utf8_lossy(&text).contains(SECRET))
            {
                holders += 1;
                assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
            }
        }
    }
    assert!(holders > 0, "the instance has no secret at all");
}

/// Puts something in the place of vice's script on a host.
fn answers(ground: &Ground, script: &str) {
    let bin = ground.root("h1").join("bin");
    let ours =
        fs::read_dir(&bin).unwrap().flatten().find(|entry| entry.file_name().to_string_lossy().starts_with("host-"));
    fs::write(ours.unwrap().path(), script).unwrap();
}

/// (26) What a host answers is data: too much, terminal sequences, other hosts' units, lines that look like results.
#[tokio::test]
async fn lab_ssh_what_a_host_answers_is_data() {
    let ground = Ground::on(&["h1"]);
    ground.target().fence(1).await.unwrap();
    let release = r#"{"version":"9"}"#;
    let cases = [
        ("nothing", String::new()),
        ("an epoch that is none", "printf '@\\tmany\\t-\\t\\n'".to_owned()),
        ("terminal sequences", "printf '\\033]0;owned\\007@\\t1\\n'".to_owned()),
        ("a unit with too few facts", "printf '@\\t1\\t-\\t\\nh1\\thealthy\\n'".to_owned()),
        (
            "a unit of another host",
            format!("printf '@\\t1\\t-\\t\\nh2\\thealthy\\t0\\t0\\t1\\t80\\tprocess\\t%s\\n' '{release}'"),
        ),
        (
            "a unit by a similar name",
            format!("printf '@\\t1\\t-\\t\\nh11\\thealthy\\t0\\t0\\t1\\t80\\tprocess\\t%s\\n' '{release}'"),
        ),
        (
            "a path for a name",
            format!("printf '@\\t1\\t-\\t\\n../../x\\thealthy\\t0\\t0\\t1\\t80\\tprocess\\t%s\\n' '{release}'"),
        ),
        (
            "a release that is none",
            "printf '@\\t1\\t-\\t\\nh1\\thealthy\\t0\\t0\\t1\\t80\\tprocess\\t[[[[\\n'".to_owned(),
        ),
        ("far too much", "head -c 100000000 /dev/zero | tr '\\0' a".to_owned()),
    ];
    for (case, script) in cases {
        answers(&ground, &script);
        let fault = ground.target().inventory().await.expect_err(case);
        assert_eq!(fault.code(), Code::Decode, "{case}: {fault:?}");
        assert!(fault.to_string().len() < 1_000, "{case}: {} bytes", fault.to_string().len());
    }
    // An operation that fails quotes a few lines of the host, and those are cut.
    answers(&ground, "head -c 100000000 /dev/zero | tr '\\0' a; exit 22");
    let first = service("1", &[]);
    let fault = ground.target().apply(&place("a", 1, "h1", &first, None), Some(&first)).await.unwrap_err();
    let said: usize = fault.chain().iter().map(String::len).sum();
    assert!(said < 10_000, "{said} bytes of the host's are quoted");
}
