use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vice_core::port::target::Target;

use crate::support::{Ground, PLAYBOOK, place, release, until, with_secret};

/// Texts that a shell, a template or an option parser would like.
const HOSTILE: &[&str] = &[
    "$(touch CANARY)",
    "`touch CANARY`",
    "1; touch CANARY",
    "1\ntouch CANARY\n",
    "{{ lookup('pipe', 'touch CANARY') }}",
    "{% set x = lookup('pipe', 'touch CANARY') %}",
    "--extra-vars=@CANARY",
    "@/etc/passwd",
    "'\"\\",
];

#[tokio::test]
async fn lab_ansible_a_version_is_never_a_command_an_option_or_a_template() {
    for (number, text) in HOSTILE.iter().enumerate() {
        let ground = Ground::on(&["h1"], PLAYBOOK);
        let canary = ground.project.path().join("canary");
        let text = text.replace("CANARY", &canary.display().to_string());
        let workload = with_secret(release(&text), "TOKEN", &text);
        let op = place(&format!("{text}/{number}"), 1, "h1", &workload, None);
        ground.target().apply(&op, Some(&workload)).await.unwrap();
        assert!(!canary.exists(), "{text:?} was carried out");
        assert_eq!(ground.read("h1", "app"), text);
        assert_eq!(ground.unit("h1").await.unwrap().release.unwrap().version, text);
    }
}

/// Looks at the arguments and environments of all processes for a text.
fn somebody_shows(text: &str) -> Option<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id())
        .flat_map(|pid| ["cmdline", "environ"].map(|name| format!("/proc/{pid}/{name}")))
        .find(|path| std::fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text)))
}

#[tokio::test]
async fn lab_ansible_secrets_are_in_no_argument_no_environment_and_no_error() {
    const SECRET: &str = "s3cret-of-the-shop-4711";
    const VAULT: &str = "password-of-the-vault-0815";
    let playbook = "- hosts: all\n  gather_facts: false\n  vars_files: [sealed.yml]\n  tasks:\n    - name: configure\n      \
                    copy: { src: \"{{ vice_config_file }}\", dest: ~/FOLDER/config.json, mode: '0600' }\n    \
                    - name: slow\n      raw: sleep 2\n    - name: show\n      raw: \"cat ~/FOLDER/config.json; exit {{ sealed }}\"\n";
    let mut ground = Ground::on(&["h1"], playbook);
    ground.options.vault = Some("VAULT_PASSWORD".to_owned());
    // Made as a user would; the password goes over a file that is gone afterwards.
    ground.write("pass", VAULT);
    let sealed = ground.write("sealed.yml", "sealed: 9\n");
    let made = std::process::Command::new("ansible-vault")
        .args(["encrypt", "--vault-password-file", "pass"])
        .arg(&sealed)
        .current_dir(ground.project.path())
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::remove_file(ground.project.path().join("pass")).unwrap();

    let workload = with_secret(with_secret(release("1"), "TOKEN", SECRET), "VAULT_PASSWORD", VAULT);
    let (done, shown) = (Arc::new(AtomicBool::new(false)), Arc::new(std::sync::Mutex::new(Vec::<String>::new())));
    let (ends, seen) = (Arc::clone(&done), Arc::clone(&shown));
    let sampler = std::thread::spawn(move || {
        let mut looked = 0;
        while !ends.load(Ordering::Relaxed) {
            looked += 1;
            seen.lock().unwrap().extend([SECRET, VAULT].iter().filter_map(|text| somebody_shows(text)));
        }
        looked
    });
    let op = place("a", 1, "h1", &workload, None);
    let fault = ground.target().apply(&op, Some(&workload)).await.unwrap_err();
    done.store(true, Ordering::Relaxed);
    assert!(sampler.join().unwrap() > 10, "nobody looked");
    assert!(shown.lock().unwrap().is_empty(), "{:?}", shown.lock().unwrap());
    let said = fault.chain().join(" ");
    // The sealed file was read, and the playbook showed what it had been given.
    assert!(said.contains("\"show\"") && said.contains("TOKEN"), "{said}");
    assert!(!said.contains(SECRET) && !said.contains(VAULT), "{said}");
    assert!(ground.read("h1", "config.json").contains(SECRET), "the playbook has it");
    until("nothing is left", || ground.left() == 0).await;
}

#[tokio::test]
async fn lab_ansible_what_a_host_prints_is_data() {
    let forged = r#"{\"event\": \"ok\", \"phase\": \"finish\", \"host\": \"h1\", \"rc\": 0}"#;
    let playbook = format!(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: print\n      raw: \"printf '%s\\\\n' '{forged}'; \
         head -c 20000000 /dev/zero | tr '\\\\0' x; printf '\\\\033]0;owned\\\\007'; exit 3\"\n"
    );
    let ground = Ground::on(&["h1"], &playbook);
    let workload = release("1");
    let fault = ground.target().apply(&place("a", 1, "h1", &workload, None), Some(&workload)).await.unwrap_err();
    let said = fault.chain().join(" ");
    assert!(said.len() < 5_000 && !said.contains('\u{1b}'), "{} bytes", said.len());
    assert!(ground.unit("h1").await.is_none(), "a forged line has made a unit");
    assert!(Path::new(&ground.options.work).is_dir() && ground.left() == 0);
}
