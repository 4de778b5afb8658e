//! `[env.NAME.target]`: where an environment runs. One target, or several that one rollout takes together.

use std::fmt;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::values::Command;
use crate::time::Millis;

/// The kind that an environment has without being asked.
pub const LOCAL: &str = "local";

/// The kind whose units are on hosts that are reached over ssh.
pub const SSH: &str = "ssh";

/// Who looks after an instance on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunBy {
    /// A small loop of vice's own. It starts a crashed instance again, and does not outlive a reboot.
    #[default]
    Process,
    /// A unit of systemd: the system's for root, the user's otherwise.
    Systemd,
    /// A service folder of s6.
    S6,
    /// A service folder of runit.
    Runit,
}

impl RunBy {
    /// The word in `vice.toml`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Systemd => "systemd",
            Self::S6 => "s6",
            Self::Runit => "runit",
        }
    }
}

/// Where an instance on a host is asked for its health, by the host itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthAt {
    /// At 127.0.0.1.
    #[default]
    Loopback,
    /// At the address by which ssh comes to the host, for what listens on no other; instances find it in
    /// `VICE_ADDRESS`.
    Address,
}

/// How a target in a cluster splits its traffic between the earlier and the new release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrafficSpec {
    /// By how many pods each of the two has behind the same Service.
    Replicas,
    /// By the weights of this HTTPRoute of the Gateway API, which is among the manifests.
    Route(String),
}

/// The units of a target in a cluster that splits its traffic, in the order in which they get a new release.
pub const TRACKS: [&str; 2] = ["canary", "stable"];

/// The kind whose one unit is a set of objects in a Kubernetes cluster.
pub const KUBERNETES: &str = "kubernetes";

/// The kind whose units are hosts that a playbook is run on.
pub const ANSIBLE: &str = "ansible";

/// Where something runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetSpec {
    /// The backend, such as `local` or `ssh`.
    pub kind: String,
    /// How many instances run there, for hosts: on each; the environment's `instances` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// ssh: the hosts, such as `web1`, `deploy@10.0.0.5:2222` or `web1=deploy@10.0.0.5:2222`. A unit is named after its
    /// host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// ssh, ansible: an Ansible inventory with the hosts, relative to `vice.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<String>,
    /// ssh, ansible: only the hosts of this group of the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// ssh: a command that prints the hosts, one a line as in `hosts`; it runs in the folder of `vice.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts_from: Option<Command>,
    /// ssh: the user, where a host does not name one; what ssh's own configuration says when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// ssh: the port of the ssh server, where a host does not name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// ssh: a configuration file of ssh to use instead of the user's; ansible: an `ansible.cfg`. Relative to `vice.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// ssh, ansible: the folder on the hosts; `/srv/vice/PROJECT/ENV` when absent. `~/` is the user's home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// ssh: who looks after the instances; `process` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunBy>,
    /// ssh with `s6` or `runit`: the folder on the hosts that the supervisor scans; `/run/service` or `/etc/service`
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<String>,
    /// ssh: where instances are asked for their health; `loopback` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_at: Option<HealthAt>,
    /// ssh: how many hosts are asked at the same time; 32 when absent. ansible: `--forks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// ssh: how long connecting to a host may take; 10 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Millis>,
    /// ssh: hosts with the same of this fetch artifacts from each other, so that each goes over your line once for them: a
    /// level or a label of the topology, such as `rack`, or `environment` for all hosts. Each is sent from here when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_within: Option<String>,
    /// ssh: how a host with `share_within` calls another one; `["ssh"]` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_ssh: Option<Command>,
    /// ansible: the playbook that brings a release to a host, relative to `vice.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<String>,
    /// ansible: the playbook that goes back to an earlier release; `playbook` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<String>,
    /// ansible: the playbook that removes what is on a host; nothing is removed there when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove: Option<String>,
    /// ansible: whether the playbook may run from its beginning where a run has broken off; an operator is asked
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<bool>,
    /// ansible: whether vice's notes on the hosts are taken as root.
    #[serde(default, rename = "become", skip_serializing_if = "Option::is_none")]
    pub become_root: Option<bool>,
    /// ansible: the key of the configuration that holds the password of files encrypted with ansible-vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<String>,
    /// ansible: a command that shows the output of a unit on its host; `{{lines}}` and `{{unit}}` are filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Command>,
    /// kubernetes: the context of the kubeconfig; its current one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// kubernetes: the namespace; that of the context when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// kubernetes: the kubeconfig, relative to `vice.toml`; `KUBECONFIG` or `~/.kube/config` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// kubernetes: a file or folder of manifests (`.yaml`, `.yml`, `.json`), relative to `vice.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<String>,
    /// kubernetes: a folder for `kubectl kustomize`, relative to `vice.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kustomize: Option<String>,
    /// kubernetes: a command that prints the manifests, such as `["helm", "template", "shop", "chart/"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// kubernetes: how long the workloads may take to roll out, 10 minutes when absent; ansible: how long a playbook may
    /// take, 15 minutes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// kubernetes: whether fields that belong to other field managers are taken over; false when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
    /// kubernetes: how traffic is split in a canary: `"replicas"`, or `{ route = "NAME" }` for an HTTPRoute of the
    /// manifests. It can't be split when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficSpec>,
    /// kubernetes: whether images that are named by a tag are applied by the digest that the tag has when the rollout is
    /// planned; true when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_images: Option<bool>,
}

/// Keys of one target; none of them can be the name of one of several.
const KEYS: &[&str] = &[
    "kind",
    "instances",
    "hosts",
    "inventory",
    "group",
    "hosts_from",
    "user",
    "port",
    "config",
    "path",
    "run",
    "services",
    "health_at",
    "concurrency",
    "connect_timeout",
    "share_within",
    "peer_ssh",
    "manifests",
    "kustomize",
    "command",
    "context",
    "namespace",
    "kubeconfig",
    "timeout",
    "force",
    "traffic",
    "pin_images",
    "playbook",
    "rollback",
    "remove",
    "again",
    "become",
    "vault",
    "logs",
];

impl TargetSpec {
    /// The names of its units, where they are neither numbers nor hosts.
    #[must_use]
    pub fn tracks(&self) -> Option<[&'static str; 2]> {
        (self.kind == KUBERNETES && self.traffic.is_some()).then_some(TRACKS)
    }

    /// Takes one key; false for a key that no target has.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "kind" => self.kind = map.next_value()?,
            "instances" => self.instances = Some(map.next_value()?),
            "hosts" => self.hosts = map.next_value()?,
            "inventory" => self.inventory = Some(map.next_value()?),
            "group" => self.group = Some(map.next_value()?),
            "hosts_from" => self.hosts_from = Some(map.next_value()?),
            "user" => self.user = Some(map.next_value()?),
            "port" => self.port = Some(map.next_value()?),
            "config" => self.config = Some(map.next_value()?),
            "path" => self.path = Some(map.next_value()?),
            "run" => self.run = Some(map.next_value()?),
            "services" => self.services = Some(map.next_value()?),
            "health_at" => self.health_at = Some(map.next_value()?),
            "concurrency" => self.concurrency = Some(map.next_value()?),
            "connect_timeout" => self.connect_timeout = Some(map.next_value()?),
            "share_within" => self.share_within = Some(map.next_value()?),
            "peer_ssh" => self.peer_ssh = Some(map.next_value()?),
            "context" => self.context = Some(map.next_value()?),
            "namespace" => self.namespace = Some(map.next_value()?),
            "kubeconfig" => self.kubeconfig = Some(map.next_value()?),
            "manifests" => self.manifests = Some(map.next_value()?),
            "kustomize" => self.kustomize = Some(map.next_value()?),
            "command" => self.command = Some(map.next_value()?),
            "timeout" => self.timeout = Some(map.next_value()?),
            "force" => self.force = Some(map.next_value()?),
            "traffic" => self.traffic = Some(map.next_value()?),
            "pin_images" => self.pin_images = Some(map.next_value()?),
            "playbook" => self.playbook = Some(map.next_value()?),
            "rollback" => self.rollback = Some(map.next_value()?),
            "remove" => self.remove = Some(map.next_value()?),
            "again" => self.again = Some(map.next_value()?),
            "become" => self.become_root = Some(map.next_value()?),
            "vault" => self.vault = Some(map.next_value()?),
            "logs" => self.logs = Some(map.next_value()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The keys that only a target with hosts has, as far as they are written.
    fn keys_of_hosts(&self) -> Vec<&'static str> {
        let written = [
            ("hosts", !self.hosts.is_empty()),
            ("inventory", self.inventory.is_some()),
            ("group", self.group.is_some()),
            ("hosts_from", self.hosts_from.is_some()),
            ("user", self.user.is_some()),
            ("port", self.port.is_some()),
            ("config", self.config.is_some()),
            ("path", self.path.is_some()),
            ("run", self.run.is_some()),
            ("services", self.services.is_some()),
            ("health_at", self.health_at.is_some()),
            ("concurrency", self.concurrency.is_some()),
            ("connect_timeout", self.connect_timeout.is_some()),
            ("share_within", self.share_within.is_some()),
            ("peer_ssh", self.peer_ssh.is_some()),
        ];
        written.into_iter().filter(|(_, is)| *is).map(|(key, _)| key).collect()
    }

    /// The keys that only a target in a cluster has, as far as they are written.
    fn keys_of_clusters(&self) -> Vec<&'static str> {
        let written = [
            ("manifests", self.manifests.is_some()),
            ("kustomize", self.kustomize.is_some()),
            ("command", self.command.is_some()),
            ("context", self.context.is_some()),
            ("namespace", self.namespace.is_some()),
            ("kubeconfig", self.kubeconfig.is_some()),
            ("timeout", self.timeout.is_some()),
            ("force", self.force.is_some()),
            ("traffic", self.traffic.is_some()),
            ("pin_images", self.pin_images.is_some()),
        ];
        written.into_iter().filter(|(_, is)| *is).map(|(key, _)| key).collect()
    }

    /// The keys that only a target with playbooks has, as far as they are written.
    fn keys_of_playbooks(&self) -> Vec<&'static str> {
        let written = [
            ("playbook", self.playbook.is_some()),
            ("rollback", self.rollback.is_some()),
            ("remove", self.remove.is_some()),
            ("again", self.again.is_some()),
            ("become", self.become_root.is_some()),
            ("vault", self.vault.is_some()),
            ("logs", self.logs.is_some()),
        ];
        written.into_iter().filter(|(_, is)| *is).map(|(key, _)| key).collect()
    }

    /// What makes no sense in a target with playbooks, or in one that has none.
    fn check_ansible(&self) -> Result<(), String> {
        if self.kind != ANSIBLE {
            return match self.keys_of_playbooks().first() {
                // Of a kind that does not exist, the kind is what is wrong.
                Some(key) if [LOCAL, SSH, KUBERNETES].contains(&self.kind.as_str()) => {
                    Err(format!("`{key}` belongs to a target of kind {ANSIBLE:?}, and this one is {:?}", self.kind))
                }
                _ => Ok(()),
            };
        }
        for (key, is) in [("playbook", self.playbook.is_some()), ("inventory", self.inventory.is_some())] {
            if !is {
                return Err(format!("an Ansible target needs `{key}`"));
            }
        }
        let others = [
            "hosts",
            "hosts_from",
            "user",
            "port",
            "run",
            "services",
            "health_at",
            "connect_timeout",
            "share_within",
            "peer_ssh",
        ];
        if let Some(key) = self.keys_of_hosts().into_iter().find(|key| others.contains(key)) {
            return Err(format!("`{key}` belongs to a target of kind {SSH:?}; Ansible has its inventory for that"));
        }
        if self.instances.is_some() {
            return Err("`instances` says nothing to an Ansible target: a host is one unit".to_owned());
        }
        match self.logs.as_ref() {
            Some(logs) if logs.0.is_empty() => Err("`logs` is a command, and this one is empty".to_owned()),
            _ => Ok(()),
        }
    }

    /// What makes no sense in it.
    fn check(&self) -> Result<(), String> {
        self.check_cluster()?;
        self.check_ansible()?;
        let hosts = self.keys_of_hosts();
        if [LOCAL, KUBERNETES].contains(&self.kind.as_str())
            && let Some(key) = hosts.first()
        {
            return Err(format!("`{key}` belongs to a target of kind \"ssh\", and this one is {:?}", self.kind));
        }
        let sources: Vec<&str> =
            hosts.iter().copied().filter(|key| ["hosts", "inventory", "hosts_from"].contains(key)).collect();
        if let [one, other, ..] = sources.as_slice() {
            return Err(format!("the hosts are said twice, by `{one}` and by `{other}`; keep one of them"));
        }
        if self.group.is_some() && self.inventory.is_none() {
            return Err("`group` chooses from an `inventory`, and there is none".to_owned());
        }
        if self.services.is_some() && !matches!(self.run, Some(RunBy::S6 | RunBy::Runit)) {
            return Err("`services` belongs to `run = \"s6\"` or `run = \"runit\"`".to_owned());
        }
        if self.peer_ssh.is_some() && self.share_within.is_none() {
            return Err("`peer_ssh` belongs to `share_within`".to_owned());
        }
        if self.peer_ssh.as_ref().is_some_and(|command| command.0.is_empty()) {
            return Err("`peer_ssh` is a command, and this one is empty".to_owned());
        }
        if self.port == Some(0) || self.concurrency == Some(0) {
            return Err("`port` and `concurrency` are at least 1".to_owned());
        }
        let path = self.path.as_deref().unwrap_or("/");
        let begins = path.starts_with('/') || path.starts_with("~/");
        // It stands in unit files and in service folders, where other characters mean something.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~@+".contains(c);
        if !begins || path.split('/').any(|part| part == "..") || !path.chars().all(plain) {
            return Err(format!(
                "`path` is an absolute path on the hosts or begins with ~/, in letters, digits and -_.@+, and this is {path:?}"
            ));
        }
        Ok(())
    }

    /// What makes no sense in a target in a cluster, or in one that is none.
    fn check_cluster(&self) -> Result<(), String> {
        let keys = self.keys_of_clusters();
        if self.kind != KUBERNETES {
            let shared = |key: &&str| self.kind == ANSIBLE && *key == "timeout";
            return match keys.into_iter().find(|key| !shared(key)) {
                // Of a kind that does not exist, the kind is what is wrong.
                Some(key) if [LOCAL, SSH, ANSIBLE].contains(&self.kind.as_str()) => Err(format!(
                    "`{key}` belongs to a target of kind \"{KUBERNETES}\", and this one is {:?}",
                    self.kind
                )),
                _ => Ok(()),
            };
        }
        if self.instances.is_some() {
            return Err("`instances` belongs in the manifests of a Kubernetes target, as `replicas`".to_owned());
        }
        let sources: Vec<&str> =
            keys.into_iter().filter(|key| ["manifests", "kustomize", "command"].contains(key)).collect();
        match sources.as_slice() {
            [_] => {}
            [] => return Err("a Kubernetes target needs `manifests`, `kustomize` or `command`".to_owned()),
            [one, other, ..] => {
                return Err(format!("the manifests are said twice, by `{one}` and by `{other}`; keep one of them"));
            }
        }
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        match &self.namespace {
            Some(name)
                if name.is_empty()
                    || name.len() > 63
                    || name.starts_with('-')
                    || name.ends_with('-')
                    || !name.chars().all(label) =>
            {
                let shown: String = name.chars().take(80).collect();
                Err(format!("{shown:?} can't be the name of a namespace"))
            }
            _ => Ok(()),
        }
    }
}

/// One target (`target = { kind = "local" }`), or several by name (`target.eu = { kind = "local" }`): one rollout, one
/// budget and one way back for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TargetsSpec {
    /// One.
    One(Box<TargetSpec>),
    /// Several, in the order of the file. A unit's name begins with that of its target, as in `eu.1`.
    Several(IndexMap<String, TargetSpec>),
}

impl TargetsSpec {
    /// The targets with the key of each below `target`.
    pub fn each(&self) -> impl Iterator<Item = (Option<&str>, &TargetSpec)> {
        let (one, several) = match self {
            Self::One(spec) => (Some(&**spec), None),
            Self::Several(specs) => (None, Some(specs)),
        };
        let one = one.into_iter().map(|spec| (None, spec));
        one.chain(several.into_iter().flatten().map(|(name, spec)| (Some(name.as_str()), spec)))
    }

    /// The kinds with the key that says each, below `target`.
    pub fn kinds(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        self.each().map(|(name, spec)| (name, spec.kind.as_str()))
    }
}

impl<'de> Deserialize<'de> for TargetsSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Targets;
        impl<'de> Visitor<'de> for Targets {
            type Value = TargetsSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a target such as { kind = \"local\" }, or several of them by name")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TargetsSpec, A::Error> {
                targets(map)
            }
        }
        deserializer.deserialize_map(Targets)
    }
}

/// One of several targets. What is no table is a key that was misspelt.
struct Member(TargetSpec);

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MemberVisitor;
        impl<'de> Visitor<'de> for MemberVisitor {
            type Value = Member;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a target of that name, such as {{ kind = \"local\" }}; the keys of a target are ")?;
                f.write_str(&KEYS.join(", "))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Member, A::Error> {
                TargetSpec::deserialize(MapAccessDeserializer::new(map)).map(Member)
            }
        }
        deserializer.deserialize_any(MemberVisitor)
    }
}

fn targets<'de, A: MapAccess<'de>>(mut map: A) -> Result<TargetsSpec, A::Error> {
    let (mut one, mut said) = (TargetSpec::default(), Vec::new());
    let mut several = IndexMap::new();
    while let Some(key) = map.next_key::<String>()? {
        if one.take(&key, &mut map)? {
            said.push(key);
            continue;
        }
        check_name(&key).map_err(A::Error::custom)?;
        let Member(spec) = map.next_value()?;
        spec.check().map_err(|why| A::Error::custom(format!("the target {key:?}: {why}")))?;
        several.insert(key, spec);
    }
    let has_kind = said.iter().any(|key| key == "kind");
    match (has_kind, several.first()) {
        (true, None) => {
            one.check().map_err(A::Error::custom)?;
            Ok(TargetsSpec::One(Box::new(one)))
        }
        (true, Some((name, _))) => Err(A::Error::custom(format!(
            "`target` has a kind of its own and also the target {name:?}; keep one of them"
        ))),
        (false, Some(_)) => match said.first() {
            Some(key) => Err(A::Error::custom(format!("`{key}` belongs to each of several targets, not beside them"))),
            None => Ok(TargetsSpec::Several(several)),
        },
        (false, None) => Err(A::Error::custom("`target` needs a `kind`, such as \"local\"")),
    }
}

/// Names stand in paths and before a dot in the names of units.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.is_empty() && name.len() <= 40 && name.chars().all(plain) {
        return Ok(());
    }
    let shown: String = name.chars().take(60).collect();
    Err(format!("a target is named with lower case letters, digits and dashes, and this is {shown:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TargetsSpec, String> {
        #[derive(Deserialize)]
        struct Env {
            target: TargetsSpec,
        }
        toml::from_str::<Env>(text).map(|env| env.target).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn one_target_or_several() {
        let one = read("target = { kind = 'local', instances = 3 }").unwrap();
        let spec = TargetSpec { kind: "local".into(), instances: Some(3), ..TargetSpec::default() };
        assert_eq!(one, TargetsSpec::One(Box::new(spec)));
        let several = read("target.us = { kind = 'local' }\ntarget.eu = { kind = 'local', instances = 2 }").unwrap();
        assert_eq!(several.kinds().collect::<Vec<_>>(), [(Some("us"), "local"), (Some("eu"), "local")]);
    }

    #[test]
    fn a_target_in_a_cluster_that_splits_its_traffic_has_two_units() {
        for (traffic, wanted) in
            [("'replicas'", TrafficSpec::Replicas), ("{ route = 'shop' }", TrafficSpec::Route("shop".into()))]
        {
            let text = format!("target = {{ kind = 'kubernetes', manifests = 'k8s', traffic = {traffic} }}");
            let TargetsSpec::One(spec) = read(&text).unwrap() else { panic!("one target") };
            assert_eq!((spec.tracks(), spec.traffic), (Some(TRACKS), Some(wanted)));
        }
    }

    #[test]
    fn a_target_with_hosts() {
        let text = "target = { kind = 'ssh', hosts = ['web1', 'ada@10.0.0.5:2222'], run = 'systemd', path = '~/shop' }";
        let TargetsSpec::One(spec) = read(text).unwrap() else { panic!("one target") };
        assert_eq!((spec.hosts.len(), spec.run, spec.path.as_deref()), (2, Some(RunBy::Systemd), Some("~/shop")));
        let several =
            read("target.eu = { kind = 'ssh', hosts_from = ['./list'] }\ntarget.us = { kind = 'local' }").unwrap();
        assert_eq!(several.kinds().count(), 2);
    }

    #[test]
    fn what_is_neither_is_refused_with_its_reason() {
        for (text, said) in [
            ("target = {}", "needs a `kind`"),
            ("target = { kind = 'local', eu = { kind = 'local' } }", "has a kind of its own"),
            ("target = { instances = 2, eu = { kind = 'local' } }", "belongs to each"),
            ("target.EU = { kind = 'local' }", "lower case letters"),
            ("target.eu = { kind = 'local', colour = 1 }", "colour"),
            ("target.eu = 3", "invalid type"),
            ("target = { kind = 'ssh', hots = ['web1'] }", "the keys of a target are kind"),
            ("target = { kind = 'local', hosts = ['web1'] }", "belongs to a target of kind"),
            ("target = { kind = 'ssh', hosts = ['a'], inventory = 'b' }", "said twice"),
            ("target = { kind = 'ssh', hosts = ['a'], path = '../x' }", "an absolute path"),
            ("target = { kind = 'ssh', hosts = ['a'], run = 'cron' }", "unknown variant"),
            ("target = { kind = 'ssh', hosts = ['a'], services = '/x' }", "belongs to `run"),
            ("target = { kind = 'ssh', hosts = ['a'], group = 'web' }", "chooses from"),
            ("target.eu = { kind = 'ssh', hosts = ['a'], port = 0 }", "at least 1"),
            ("target = { kind = 'local', manifests = 'k8s' }", "belongs to a target of kind \"kubernetes\""),
            ("target = { kind = 'kubernetes' }", "needs `manifests`"),
            ("target = { kind = 'ansible', inventory = 'a' }", "needs `playbook`"),
            ("target = { kind = 'ansible', playbook = 'a' }", "needs `inventory`"),
            ("target = { kind = 'ansible', inventory = 'a', playbook = 'b', port = 22 }", "has its inventory for that"),
            ("target = { kind = 'ansible', inventory = 'a', playbook = 'b', instances = 2 }", "a host is one unit"),
            ("target = { kind = 'ansible', inventory = 'a', playbook = 'b', context = 'x' }", "of kind \"kubernetes\""),
            ("target = { kind = 'ssh', hosts = ['a'], playbook = 'b' }", "of kind \"ansible\""),
            ("target = { kind = 'ansible', inventory = 'a', playbook = 'b', path = '/a b' }", "an absolute path"),
            ("target = { kind = 'kubernetes', manifests = 'a', kustomize = 'b' }", "said twice"),
            ("target.eu = { kind = 'kubernetes', manifests = 'a', instances = 2 }", "as `replicas`"),
            ("target = { kind = 'kubernetes', manifests = 'a', namespace = 'A_b' }", "name of a namespace"),
            ("target = { kind = 'kubernetes', manifests = 'a', namespace = '--all' }", "name of a namespace"),
            ("target = { kind = 'kubernetes', manifests = 'a', traffic = 'weights' }", "unknown variant"),
            ("target = { kind = 'local', traffic = 'replicas' }", "belongs to a target of kind \"kubernetes\""),
            (
                "target = { kind = 'ssh', hosts = ['a'], pin_images = false }",
                "belongs to a target of kind \"kubernetes\"",
            ),
            ("target = { kind = 'kubernetes', manifests = 'a', pin_images = 'no' }", "invalid type"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
