use std::fs;
use std::path::Path;

use vice_core::port::target::{LogSource, Target, UNREACHABLE};
use vice_core::{Code, Fault};

use crate::support::{Ground, lab, place, service};

fn trouble(fault: &Fault) -> String {
    fault.details().get("trouble").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// What becomes of a configuration of ssh.
type Change<'a> = Box<dyn Fn(String) -> String + 'a>;

/// The lab's configuration with something else before or in it.
fn config(ground: &mut Ground, dir: &Path, change: impl Fn(String) -> String) {
    let text = change(fs::read_to_string(lab().join("config")).unwrap());
    let path = dir.join("config");
    fs::write(&path, text).unwrap();
    ground.options.config = Some(path);
}

#[tokio::test]
async fn lab_ssh_each_trouble_with_a_host_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let known = fs::read_to_string(lab().join("known_hosts")).unwrap();
    let other = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(dir.path().join("other"))
        .status()
        .unwrap();
    assert!(other.success());
    let public = fs::read_to_string(dir.path().join("other.pub")).unwrap();
    let key = public.split(' ').nth(1).unwrap();
    let changed: String = known
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            format!("{} {} {key}\n", words.next().unwrap(), words.next().unwrap())
        })
        .collect();
    fs::write(dir.path().join("changed"), changed).unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    let known_hosts = lab().join("known_hosts").display().to_string();
    let id = lab().join("id").display().to_string();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let cases: Vec<(&str, Change<'_>)> = vec![
        ("host-key-changed", Box::new(|text: String| text.replace(&known_hosts, &at("changed")))),
        ("host-key-unknown", Box::new(|text: String| text.replace(&known_hosts, &at("empty")))),
        ("permission-denied", Box::new(|text: String| text.replace(&id, &at("other")))),
        ("refused", Box::new(|text: String| format!("Host h1\n    Port 1\n{text}"))),
        ("unresolved", Box::new(|text: String| format!("Host h1\n    HostName no-such-host.invalid\n{text}"))),
        ("ssh-config", Box::new(|text: String| format!("NoSuchOption yes\n{text}"))),
    ];
    for (name, change) in cases {
        let mut ground = Ground::on(&["h1"]);
        let own = dir.path().join(name);
        fs::create_dir(&own).unwrap();
        config(&mut ground, &own, &*change);
        let fault = ground.target().inventory().await.unwrap_err();
        assert_eq!((trouble(&fault).as_str(), fault.code()), (name, Code::Unreachable), "{fault:?}");
        assert!(fault.to_string().contains("h1") && !fault.hints().is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn lab_ssh_one_silent_host_does_not_hide_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut ground = Ground::on(&["h1", "h2"]);
    let first = service("1", &[]);
    ground.target().apply(&place("a", 1, "h1", &first, None), Some(&first)).await.unwrap();
    config(&mut ground, dir.path(), |text| format!("Host h2\n    Port 1\n{text}"));
    let inventory = ground.inventory().await;
    assert_eq!(inventory.units[0].release.as_ref().unwrap().version, "1");
    assert!(inventory.units[1].facts[UNREACHABLE].contains("refuse"), "{inventory:?}");
    let target = ground.target();
    target.fence(3).await.unwrap();
    let unsent = target.apply(&place("b", 3, "h2", &first, None), Some(&first)).await.unwrap_err();
    assert_eq!(unsent.details()["sent"], false);
    assert_eq!(target.observe(&place("b", 3, "h2", &first, None)).await.unwrap_err().code(), Code::Unreachable);
}

#[tokio::test]
async fn lab_ssh_a_folder_that_can_not_be_made_says_so() {
    let mut ground = Ground::on(&["h1"]);
    // A file is where the folder should be.
    fs::write(ground.root("h1"), "in the way").unwrap();
    let first = service("1", &[]);
    let fault = ground.target().apply(&place("a", 1, "h1", &first, None), Some(&first)).await.unwrap_err();
    assert!(fault.to_string().contains("h1") && fault.chain().join(" ").contains("Not a directory"), "{fault:?}");
    ground.options.root = "/proc/vice".to_owned();
    let fault = ground.target().fence(1).await.unwrap_err();
    assert!(fault.to_string().contains("/proc/vice"), "{fault:?}");
}

#[tokio::test]
async fn lab_ssh_a_port_that_somebody_has_is_a_fault_and_changes_nothing() {
    let ground = Ground::on(&["h1"]);
    let _held = std::net::TcpListener::bind(("127.0.1.1", ground.options.port.unwrap())).unwrap();
    let first = service("1", &[]);
    let fault = ground.target().apply(&place("a", 1, "h1", &first, None), Some(&first)).await.unwrap_err();
    assert_eq!(fault.code(), Code::PortInUse, "{fault:?}");
    assert!(ground.inventory().await.units.is_empty());
    let nobody = ground.target().logs(Some("h1"), 5, false, &|_| true).await.unwrap_err();
    assert_eq!(nobody.code(), Code::UnknownName);
}
