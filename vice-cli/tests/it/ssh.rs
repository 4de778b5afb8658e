//! Deploys to hosts of the lab: real sshd, the built binary, and the example of the page that describes it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crash_matrix::Draw;
use crate::lab::{Lab, ran};
use crate::ports::free_port;

/// The hosts of the lab.
fn hosts() -> PathBuf {
    let lab = std::env::var("VICE_LAB_SSH").unwrap_or_else(|_| {
        panic!("VICE_LAB_SSH is not set. Run the test with scripts/test or scripts/lab/run COMMAND, which install what is missing: apt-get install -y openssh-server")
    });
    PathBuf::from(lab)
}

/// A service that notes each of its starts. `bad` answers 500, `slow` takes its time.
const APP: &str = r#"import http.server, os, sys, time
VERSION = "@VERSION@"
address = os.environ.get("VICE_ADDRESS", "127.0.0.1")
with open(os.environ["STARTS"], "a") as starts:
    starts.write(os.environ["VICE_UNIT"] + " " + VERSION + "\n")
print("started " + VERSION, flush=True)
if VERSION == "slow":
    time.sleep(3)
class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if VERSION == "bad" else 200)
        self.end_headers()
        self.wfile.write(("hello from " + VERSION).encode())
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer((address, int(sys.argv[1])), Service).serve_forever()
"#;

/// A project on hosts, in a folder of its own on each; what it started ends with it.
struct Fleet {
    lab: Lab,
    folder: String,
}

impl Fleet {
    fn new(names: &[&str]) -> Self {
        let lab = Lab::new();
        let folder = lab.root().parent().and_then(Path::file_name).expect("a name").to_string_lossy().into_owned();
        let fleet = Self { lab, folder };
        for version in ["1", "2", "3", "bad", "slow"] {
            fleet.lab.write(&format!("dist/shop-{version}/app.py"), &APP.replace("@VERSION@", version));
        }
        fleet.write(&format!("hosts = {names:?}"), "");
        fleet
    }

    fn write(&self, hosts: &str, more: &str) {
        let port = free_port();
        let (config, folder) = (self::hosts().join("config"), &self.folder);
        self.lab.write(
            "vice.toml",
            &format!(
                "name = \"shop\"\nversion = \"1\"\nartifact = \"dist/shop-{{{{version}}}}\"\n\
                 command = [\"python3\", \"app.py\", \"{{{{port}}}}\"]\n\
                 health = {{ path = \"/\", ready_timeout = \"8s\" }}\nstop_timeout = \"2s\"\n\
                 [env.dev]\nshared = false\nport = {port}\nconfig = {{ STARTS = \"{}\" }}\n\
                 target = {{ kind = \"ssh\", {hosts}, path = \"~/{folder}\", health_at = \"address\", config = {config:?} }}\n\
                 [check.greets]\nhttp = \"{{{{env.url}}}}/\"\nmatches = \"hello\"\n{more}",
                self.lab.path("starts").display()
            ),
        );
    }

    fn root(&self, host: &str) -> PathBuf {
        hosts().join("homes").join(host).join(&self.folder)
    }

    /// What was started, in order, as `h1 2`.
    fn starts(&self) -> Vec<String> {
        self.lab.read("starts").lines().map(str::to_owned).collect()
    }

    fn status(&self) -> Value {
        self.lab.vice(&["status", "--format", "json"]).expect(0).json()["environments"][0].clone()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Supervisors first: they would start again what ends.
        for pattern in [format!("{}/.* supervise", self.folder), self.folder.clone()] {
            let found = Command::new("pgrep").args(["-f", &pattern]).output().expect("pgrep");
            for pid in String::from_utf8_lossy(&found.stdout).split_whitespace() {
                drop(Command::new("kill").args(["-9", pid]).stderr(Stdio::null()).status());
            }
        }
        for pid in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = pid.file_name().to_string_lossy().into_owned();
            let folder = std::fs::read_link(pid.path().join("cwd")).unwrap_or_default();
            if name.parse::<u32>().is_ok() && folder.to_string_lossy().contains(&self.folder) && name != "self" {
                let own = name.parse() == Ok(std::process::id());
                if !own {
                    drop(Command::new("kill").args(["-9", &name]).stderr(Stdio::null()).status());
                }
            }
        }
    }
}

#[test]
fn lab_ssh_a_bad_version_is_found_on_the_first_host_and_the_others_never_hear_of_it() {
    let fleet = Fleet::new(&["h1", "h2", "h3"]);
    let lab = &fleet.lab;
    lab.vice(&["deploy"]).expect(0);
    let state = fleet.status();
    assert_eq!((state["version"].as_str(), state["health"].as_str()), (Some("1"), Some("healthy 3/3")), "{state}");
    assert_eq!((state["target"].as_str(), state["proven"].as_bool()), (Some("ssh"), Some(true)));

    let failed = lab.vice(&["deploy", "shop@bad"]);
    assert!([1, 6].contains(&failed.status), "{}{}", failed.stdout, failed.stderr);
    assert!(failed.stderr.contains("it answered 500"), "{}", failed.stderr);
    let bad: Vec<String> = fleet.starts().into_iter().filter(|start| start.ends_with("bad")).collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    let state = fleet.status();
    assert_eq!((state["version"].as_str(), state["health"].as_str()), (Some("1"), Some("healthy 3/3")), "{state}");
    assert_eq!(state["drift"], Value::Array(vec![]));

    lab.vice(&["deploy", "shop@2"]).expect(0);
    let said = lab.vice(&["deploy", "shop@2"]).expect(0);
    assert!(said.stdout.contains("nothing to do"), "{}", said.stdout);
    let logs = lab.vice(&["logs", "--unit", "h2", "-n", "1"]).expect(0);
    assert!(logs.stdout.contains("started 2"), "{}", logs.stdout);
    let before = fleet.starts().len();
    lab.vice(&["rollback"]).expect(0);
    assert_eq!(fleet.starts()[before..].iter().filter(|start| start.ends_with(" 1")).count(), 3);
    assert_eq!(fleet.status()["version"], "1");
    lab.vice(&["pride", "stop"]).expect(0);
    assert_eq!(fleet.status()["health"], "stopped");
    lab.vice(&["pride", "start"]).expect(0);
    assert_eq!(fleet.status()["health"], "healthy 3/3");
    lab.vice(&["pride", "prune", "--yes"]).expect(0);
    lab.vice(&["greed", "verify"]).expect(0);
}

/// Kills the driver right before or after one of its appends, and takes up what it left.
fn dies_at(point: &str) -> bool {
    let fleet = Fleet::new(&["h1", "h2"]);
    let lab = &fleet.lab;
    lab.vice(&["deploy"]).expect(0);
    let died = lab.vice_with(&[("VICE_TEST_CRASH", point)], &["deploy", "shop@2"]);
    if died.status != 128 + 9 {
        died.expect(0);
        return false;
    }
    if fleet.status()["active_rollout"].is_string() {
        lab.vice(&["pride", "resume"]).expect(0);
    } else {
        lab.vice(&["deploy", "shop@2"]).expect(0);
    }
    let state = fleet.status();
    assert_eq!((state["version"].as_str(), state["health"].as_str()), (Some("2"), Some("healthy 2/2")), "{point}");
    let twos = |host: &str| fleet.starts().iter().filter(|start| **start == format!("{host} 2")).count();
    assert_eq!((twos("h1"), twos("h2")), (1, 1), "{point}: each host got it once: {:?}", fleet.starts());
    for host in ["h1", "h2"] {
        let log = std::fs::read_to_string(fleet.root(host).join("effects.log")).expect("the host's own log");
        assert_eq!(log.matches("place 2").count(), 1, "{point}: {log}");
    }
    true
}

#[test]
fn lab_ssh_a_kill_around_the_operations_comes_to_a_good_end() {
    // The appends around the operations of a rollout on two hosts; the local target goes through all of them.
    let reached =
        ["before:5", "after:6", "before:8", "after:9", "before:11"].into_iter().filter(|point| dies_at(point));
    assert!(reached.count() >= 4);
}

/// Kills the driver at two appends, the second one while it resumes; the oracle is the hosts' own logs.
fn pair(seed: u64) {
    let mut draw = Draw(seed);
    let mut point = || {
        let side = if draw.below(2) == 0 { "before" } else { "after" };
        format!("{side}:{}", 3 + draw.below(12))
    };
    let (first, second) = (point(), point());
    let case = format!("seed {seed}: {first}, {second}");
    let fleet = Fleet::new(&["h1", "h2"]);
    let lab = &fleet.lab;
    lab.vice(&["deploy"]).expect(0);
    let open = || fleet.status()["active_rollout"].is_string();
    lab.vice_with(&[("VICE_TEST_CRASH", &first)], &["deploy", "shop@2"]);
    if open() {
        lab.vice_with(&[("VICE_TEST_CRASH", &second)], &["pride", "resume"]);
    } else if fleet.status()["version"] != "2" {
        lab.vice(&["deploy", "shop@2"]).expect(0);
    }
    if open() {
        lab.vice(&["pride", "resume"]).expect(0);
    }
    let state = fleet.status();
    assert_eq!((state["version"].as_str(), state["health"].as_str()), (Some("2"), Some("healthy 2/2")), "{case}");
    for host in ["h1", "h2"] {
        let log = std::fs::read_to_string(fleet.root(host).join("effects.log")).expect("the host's own log");
        assert_eq!(log.matches("place 2").count(), 1, "{case}: {log}");
        assert_eq!(fleet.starts().iter().filter(|start| **start == format!("{host} 2")).count(), 1, "{case}");
    }
}

#[test]
fn lab_ssh_pairs_of_kills_come_to_a_good_end() {
    let seeds = std::env::var("VICE_TEST_PAIR_SEED").map_or(1..=8, |text| {
        let seed = text.parse().expect("a number");
        seed..=seed
    });
    for seed in seeds {
        pair(seed);
    }
}

#[test]
fn lab_ssh_a_driver_that_dies_in_the_middle_of_an_operation_leaves_one_effect() {
    let fleet = Fleet::new(&["h1", "h2"]);
    let lab = &fleet.lab;
    lab.vice(&["deploy"]).expect(0);
    let mut driver =
        lab.command(&["deploy", "shop@slow"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vice");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !["h1", "h2"].iter().any(|host| fleet.root(host).join("units").join(host).join("pending").exists()) {
        assert!(Instant::now() < deadline, "the operation never began");
        std::thread::sleep(Duration::from_millis(5));
    }
    driver.kill().expect("SIGKILL");
    ran(&driver.wait_with_output().expect("it ends"));
    lab.vice(&["pride", "resume"]).expect(0);
    let state = fleet.status();
    assert_eq!((state["version"].as_str(), state["health"].as_str()), (Some("slow"), Some("healthy 2/2")), "{state}");
    for host in ["h1", "h2"] {
        let log = std::fs::read_to_string(fleet.root(host).join("effects.log")).expect("the host's own log");
        assert_eq!(log.matches("place slow").count(), 1, "{log}");
    }
}

#[test]
fn lab_ssh_what_runs_is_taken_over_and_comes_back() {
    let fleet = Fleet::new(&["h1"]);
    let lab = &fleet.lab;
    let toml = lab.read("vice.toml");
    let port = toml.lines().find_map(|line| line.strip_prefix("port = ")).expect("a port").to_owned();
    let mut old = Command::new("python3")
        .args(["app.py", &port])
        .current_dir(lab.path("dist/shop-3"))
        .env("VICE_ADDRESS", "127.0.1.1")
        .env("VICE_UNIT", "by-hand")
        .env("STARTS", lab.path("starts"))
        .spawn()
        .expect("python3");
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(("127.0.1.1", port.parse().expect("a number"))).is_err() {
        assert!(Instant::now() < deadline, "the service by hand never listened");
        std::thread::sleep(Duration::from_millis(20));
    }
    lab.vice(&["pride", "adopt", "shop"]).expect(2);
    let adopted = lab.vice(&["pride", "adopt", "shop@0.9", "--format", "json"]).expect(0).json();
    assert_eq!(adopted["adopted"][0]["pid"], old.id(), "{adopted}");
    let state = fleet.status();
    assert_eq!((state["version"].as_str(), state["health"].as_str()), (Some("0.9"), Some("healthy 1/1")), "{state}");
    lab.vice(&["pride", "adopt", "shop@0.9"]).expect(4);
    let reaping = std::thread::spawn(move || old.wait());
    // The first deploy is a bad one: what was there before vice comes back by itself.
    let failed = lab.vice(&["deploy", "shop@bad"]);
    assert!([1, 6].contains(&failed.status), "{}{}", failed.stdout, failed.stderr);
    assert!(reaping.join().expect("the thread").is_ok());
    let state = fleet.status();
    assert_eq!((state["version"].as_str(), state["health"].as_str()), (Some("0.9"), Some("healthy 1/1")), "{state}");
    assert_eq!(fleet.starts().last().map(String::as_str), Some("h1 3"), "its own files in its own folder");
    lab.vice(&["deploy", "shop@1"]).expect(0);
    assert_eq!(fleet.status()["version"], "1");
}

#[test]
fn lab_ssh_hosts_come_from_an_inventory_or_a_command() {
    let fleet = Fleet::new(&["h1"]);
    let lab = &fleet.lab;
    lab.write("hosts.ini", "[web]\nweb1 ansible_host=h1\nweb2 ansible_host=h2\n[db]\ndb1\n");
    fleet.write("inventory = \"hosts.ini\", group = \"web\"", "");
    let plan = lab.vice(&["plan", "--format", "json"]).expect(0).json();
    let names = |plan: &Value| {
        let units = plan["plan"]["units"].as_array().cloned().unwrap_or_default();
        units.iter().map(|unit| unit["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&plan), ["web1", "web2"], "{plan}");
    fleet.write("hosts_from = [\"sh\", \"-c\", \"echo h1; echo other=h2\"], instances = 2", "");
    let plan = lab.vice(&["plan", "--format", "json"]).expect(0).json();
    assert_eq!(names(&plan), ["h1.1", "h1.2", "other.1", "other.2"], "{plan}");
    fleet.write("hosts_from = [\"false\"]", "");
    let refused = lab.vice(&["plan"]).expect(2);
    assert!(refused.stderr.contains("lists no hosts") && refused.stderr.contains("hosts_from"), "{}", refused.stderr);
    fleet.write("hosts = [\"h1\", \"-oProxyCommand=x\"]", "");
    lab.vice(&["plan"]).expect(2);
}

/// The page's own project and commands, with the lab's hosts in the place of the page's.
#[test]
fn lab_ssh_the_example_of_the_page_works() {
    let fleet = Fleet::new(&["h1"]);
    let lab = &fleet.lab;
    let page = include_str!("../../../docs/ssh-target.md");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the example");
    let port = lab.read("vice.toml").lines().find_map(|line| line.strip_prefix("port = ").map(str::to_owned));
    let lab_config = format!("health_at = \"address\", config = {:?}", hosts().join("config"));
    let toml = block
        .replace("\"web1\", \"web2\", \"edge=deploy@10.0.0.7:2222\"", "\"web1=h1\", \"web2=h2\", \"edge=h3\"")
        .replace("path = \"~/shop\"", &format!("path = \"~/{}\", {lab_config}", fleet.folder))
        .replace("port   = 8080", &format!("port   = {}", port.expect("a port")))
        .replace(
            "[env.prod]\n",
            &format!("[env.prod]\nconfig = {{ STARTS = \"{}\" }}\n", lab.path("starts").display()),
        );
    lab.write("vice.toml", &toml);
    let commands: Vec<&str> = page
        .split("```sh\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("the commands")
        .lines()
        .map(|line| line.split("  ").next().unwrap_or(line).trim_start_matches("vice "))
        .collect();
    assert!(commands.len() >= 7, "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        lab.vice(&words).expect(0);
    }
    let state = fleet.status();
    assert_eq!((state["version"].as_str(), state["health"].as_str()), (Some("1"), Some("healthy 3/3")), "{state}");
}
