//! Deploys by playbooks to hosts of the lab: real ansible-core, the built binary, and the example of the page that
//! describes it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::docs::{blocks, commands};
use crate::lab::{Lab, ran};

/// The hosts of the lab.
fn hosts() -> PathBuf {
    let lab = std::env::var("VICE_LAB_SSH").unwrap_or_else(|_| {
        panic!("VICE_LAB_SSH is not set. Run the test with scripts/test or scripts/lab/run COMMAND, which install what is missing: apt-get install -y openssh-server ansible-core")
    });
    PathBuf::from(lab)
}

/// The project of the page, on three hosts of the lab and in folders of its own there.
struct Fleet {
    lab: Lab,
    folder: String,
}

impl Fleet {
    fn new() -> Self {
        let lab = Lab::new();
        let folder = lab.root().parent().and_then(Path::file_name).expect("a name").to_string_lossy().into_owned();
        let block = |language: &str| blocks("ansible-target.md", language).remove(0);
        let inventory = [("10.0.0.5", "h1"), ("10.0.0.6", "h2"), ("10.0.0.7", "h3")]
            .iter()
            .fold(block("ini"), |text, (theirs, ours)| text.replace(theirs, ours));
        lab.write("hosts.ini", &inventory);
        lab.write("deploy.yml", &block("yaml").replace("~/shop", &format!("~/{folder}")));
        lab.write("vice.toml", &block("toml").replace("~/.vice", &format!("~/{folder}/vice")));
        lab.write(
            "ansible.cfg",
            &format!(
                "[defaults]\ninterpreter_python = /usr/bin/python3\nremote_tmp = ~/.vice-lab-tmp\n[ssh_connection]\n\
                 pipelining = true\ncontrol_path_dir = {}/c\n\
                 ssh_args = -F {}/config -o ControlMaster=auto -o ControlPersist=20s\n",
                lab.root().parent().expect("a folder").display(),
                hosts().display(),
            ),
        );
        for (version, check) in
            [("1", "true"), ("2", "true"), ("bad", "echo it answers 500; exit 1"), ("slow", "sleep 8654321")]
        {
            lab.write(&format!("dist/shop-{version}/check.sh"), &format!("echo {version} >>ran\n{check}\n"));
        }
        Self { lab, folder }
    }

    /// Which versions ran on a host, in order.
    fn ran(&self, host: &str) -> Vec<String> {
        let path = hosts().join("homes").join(host).join(&self.folder).join("ran");
        std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn status(&self) -> Value {
        self.lab.vice(&["status", "--format", "json"]).expect(0).json()["environments"][0].clone()
    }
}

#[test]
fn lab_ansible_the_example_of_the_page_works_and_a_bad_version_harms_one_host() {
    let fleet = Fleet::new();
    let lab = &fleet.lab;
    let mut said = Vec::new();
    for command in commands("ansible-target.md", &[]) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        said.push((command.join(" "), lab.vice(&words).expect(0).stdout));
    }
    let of = |start: &str| said.iter().find(|(command, _)| command.starts_with(start)).expect("the command").1.clone();
    assert!(of("plan").contains("web2: switch"), "{}", of("plan"));
    assert!(of("doctor").contains("target ansible with 3 units"), "{}", of("doctor"));
    assert_eq!(fleet.ran("h3"), ["1", "2", "1"]);

    let failed = lab.vice(&["deploy", "shop@bad", "--env", "prod"]);
    assert!([1, 6].contains(&failed.status), "{}{}", failed.stdout, failed.stderr);
    assert!(failed.stderr.contains("it answers 500") && failed.stderr.contains("it works"), "{}", failed.stderr);
    let harmed: Vec<&str> =
        ["h1", "h2", "h3"].into_iter().filter(|host| fleet.ran(host).contains(&"bad".to_owned())).collect();
    let [host] = harmed.as_slice() else { panic!("{harmed:?}") };
    assert_eq!(fleet.ran(host), ["1", "2", "1", "bad", "1"], "it came back");
    let state = fleet.status();
    assert_eq!((state["version"].as_str(), state["health"].as_str()), (Some("1"), Some("healthy 3/3")), "{state}");
    lab.vice(&["greed", "verify"]).expect(0);
}

/// Whether a process has this text among its arguments.
fn runs(text: &str) -> bool {
    std::fs::read_dir("/proc").into_iter().flatten().flatten().any(|entry| {
        let number = entry.file_name().to_string_lossy().parse::<u32>().is_ok();
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        number && String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
    })
}

fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !so() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn lab_ansible_a_driver_that_is_killed_takes_its_playbook_along_and_another_goes_on() {
    let fleet = Fleet::new();
    let lab = &fleet.lab;
    let text = lab.read("vice.toml").replace("group = \"web\"", "group = \"web\", again = true");
    lab.write("vice.toml", &text);
    lab.vice(&["deploy", "shop@1", "--env", "prod"]).expect(0);
    let deploy = ["deploy", "shop@slow", "--env", "prod"];
    let mut driver = lab.command(&deploy).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vice");
    until("the task is under way", || runs("sleep 8654321"));
    let work = lab.root().join(".vice").join("ansible").display().to_string();
    assert!(runs(&format!("ansible-playbook -i {}", lab.path("hosts.ini").display())), "the playbook runs");
    driver.kill().expect("SIGKILL");
    ran(&driver.wait_with_output().expect("it ends"));
    let playbook = format!("ansible-playbook -i {}", lab.path("hosts.ini").display());
    until("the playbook has ended with its driver", || !runs(&playbook));
    until("variables and secrets are gone", || std::fs::read_dir(&work).map_or(0, Iterator::count) == 0);

    // The next one is quick; the artifact itself can't change.
    let quick = lab.read("deploy.yml").replace("sh current/check.sh", "sh -c 'echo again >>ran'");
    lab.write("deploy.yml", &quick);
    lab.vice(&["pride", "resume"]).expect(0);
    assert!(!runs("sleep 8654321"), "what the killed one had started on the host is ended");
    let state = fleet.status();
    assert_eq!((state["version"].as_str(), state["health"].as_str()), (Some("slow"), Some("healthy 3/3")), "{state}");
    let all: Vec<Vec<String>> = ["h1", "h2", "h3"].iter().map(|host| fleet.ran(host)).collect();
    let times = |text: &str| all.iter().flatten().filter(|line| *line == text).count();
    assert_eq!((times("slow"), times("again")), (1, 3), "{all:?}");
}
