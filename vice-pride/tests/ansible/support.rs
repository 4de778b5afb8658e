//! Targets on the hosts of the lab, each with a project and a folder on every host of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vice_core::app::ProcessEnv;
use vice_core::id::{EnvName, ProjectName, Scope};
use vice_core::payload::ReleaseRef;
use vice_core::port::command::EnvValue;
use vice_core::port::target::{Change, Op, Target, UnitState, Workload};
use vice_core::{Millis, secret::Secret};
use vice_pride::target::ansible::{AnsibleOptions, AnsibleTarget};
use vice_pride::target::hosts::Host;

/// Fails a test that would wait for ever; decides nothing else.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) async fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The folder of the lab's hosts.
pub(crate) fn lab() -> PathBuf {
    let lab = std::env::var("VICE_LAB_SSH").unwrap_or_else(|_| {
        panic!("VICE_LAB_SSH is not set. Run the test with scripts/test or scripts/lab/run COMMAND, which install what is missing: apt-get install -y openssh-server ansible-core")
    });
    PathBuf::from(lab)
}

/// A playbook as people write one: it puts a file where the service would be, and fails for a bad version. What it did
/// is noted beside it.
pub(crate) const PLAYBOOK: &str = r#"- hosts: all
  gather_facts: false
  tasks:
    - name: install
      raw: "mkdir -p ~/FOLDER && printf %s {{ vice_version | quote }} >~/FOLDER/app && printf '%s\n' {{ vice_version | quote }} >>~/FOLDER/ran"
    - name: check
      shell: "{{ 'echo it answers 500; exit 7' if vice_version == 'bad' else 'true' }}"
"#;

pub(crate) struct Ground {
    pub(crate) options: AnsibleOptions,
    pub(crate) folder: String,
    pub(crate) project: tempfile::TempDir,
    lab: PathBuf,
}

impl Ground {
    /// A project with that playbook on hosts, written as `name=host`; FOLDER in it is this test's own on every host.
    pub(crate) fn on(hosts: &[&str], playbook: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let lab = lab();
        let folder = format!("a{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let project = tempfile::Builder::new().prefix("va").tempdir_in("/tmp").unwrap();
        // Ansible reads no configuration in a folder that everybody may write.
        std::fs::set_permissions(project.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let root = project.path().to_path_buf();
        std::fs::write(root.join("ansible.cfg"), configuration(&lab, &root)).unwrap();
        std::fs::write(root.join("deploy.yml"), playbook.replace("FOLDER", &folder)).unwrap();
        let hosts: Vec<Host> = hosts.iter().map(|host| Host::parse(host).unwrap()).collect();
        let inventory = hosts.iter().fold(String::new(), |mut text, host| {
            writeln!(text, "{} ansible_host={}", host.name, host.address.host).unwrap();
            text
        });
        std::fs::write(root.join("hosts.ini"), inventory).unwrap();
        let options = AnsibleOptions {
            scope: Scope::new(ProjectName::new("shop").unwrap(), EnvName::new("prod").unwrap()),
            root: root.clone(),
            hosts,
            inventory: root.join("hosts.ini"),
            playbook: root.join("deploy.yml"),
            rollback: None,
            remove: None,
            config: None,
            become_root: false,
            vault: None,
            again: false,
            forks: None,
            timeout: Millis::from_secs(120),
            path: format!("~/{folder}"),
            port: None,
            logs: Vec::new(),
            work: root.join("state"),
            env: Arc::new(ProcessEnv { vars: std::env::vars().collect(), ..ProcessEnv::default() }),
        };
        Self { options, folder, project, lab }
    }

    /// The same with a newer ansible-core than the system's.
    pub(crate) fn newer(mut self) -> Self {
        let programs = std::env::var("VICE_LAB_ANSIBLE")
            .expect("VICE_LAB_ANSIBLE is not set. Run the test with scripts/test or scripts/lab/run COMMAND.");
        assert!(Path::new(&programs).join("ansible-playbook").is_file(), "{programs} has no Ansible");
        let mut env = (*self.options.env).clone();
        let path = format!("{programs}:{}", env.get("PATH").unwrap_or_default());
        env.vars.insert("PATH".to_owned(), path);
        self.options.env = Arc::new(env);
        self
    }

    /// A new client, as every command makes one.
    pub(crate) fn target(&self) -> Arc<AnsibleTarget> {
        Arc::new(AnsibleTarget::new(self.options.clone()))
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.project.path().join(name);
        std::fs::write(&path, text.replace("FOLDER", &self.folder)).unwrap();
        path
    }

    /// A file in this test's folder on a host of the lab.
    pub(crate) fn on_host(&self, host: &str, name: &str) -> PathBuf {
        self.lab.join("homes").join(host).join(&self.folder).join(name)
    }

    pub(crate) fn read(&self, host: &str, name: &str) -> String {
        std::fs::read_to_string(self.on_host(host, name)).unwrap_or_default()
    }

    /// What was carried out on a host so far, a line each, without times and keys.
    pub(crate) fn effects(&self, host: &str) -> Vec<String> {
        let text = self.read(host, "effects.log");
        text.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    pub(crate) async fn unit(&self, name: &str) -> Option<UnitState> {
        self.target().inventory().await.unwrap().units.into_iter().find(|unit| unit.name == name)
    }

    /// Nothing that was given to Ansible is left.
    pub(crate) fn left(&self) -> usize {
        std::fs::read_dir(self.project.path().join("state")).map_or(0, Iterator::count)
    }
}

fn configuration(lab: &Path, root: &Path) -> String {
    format!(
        "[defaults]\ninterpreter_python = /usr/bin/python3\nremote_tmp = ~/.vice-lab-tmp\nlocal_tmp = {root}/tmp\n\
         [ssh_connection]\ntransfer_method = piped\npipelining = true\ncontrol_path_dir = {root}/c\n\
         ssh_args = -F {lab}/config -o ControlMaster=auto -o ControlPersist=20s\n",
        root = root.display(),
        lab = lab.display(),
    )
}

pub(crate) fn release(version: &str) -> Workload {
    Workload {
        release: ReleaseRef {
            version: version.to_owned(),
            artifact: None,
            source: String::new(),
            config: None,
            recipe: None,
        },
        files: None,
        command: Vec::new(),
        environment: BTreeMap::new(),
        objects: Vec::new(),
        images: BTreeMap::new(),
        health: None,
        ready_timeout: Millis::from_secs(20),
        drain_timeout: Millis::from_secs(10),
        stop_timeout: Millis::from_secs(5),
        reload: None,
    }
}

pub(crate) fn with_secret(mut workload: Workload, name: &str, value: &str) -> Workload {
    workload.environment.insert(name.to_owned(), EnvValue::Secret(Secret::new(value)));
    workload
}

pub(crate) fn place(id: &str, epoch: u64, unit: &str, workload: &Workload, before: Option<&Workload>) -> Op {
    Op {
        id: id.to_owned(),
        epoch,
        unit: unit.to_owned(),
        change: Change::Place(workload.release.clone()),
        before: before.map(|before| before.release.clone()),
    }
}
