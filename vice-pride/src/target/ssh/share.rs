//! Artifacts from host to host. Of the hosts that are near each other, the first one that needs an artifact is sent it and keeps
//! the archive; the others fetch it from there, over their own network and by their own ssh. It knows who is near whom and who
//! has what; how a host is called is the business of `link`.
//!
//! What a host fetches is checked by its SHA-256 there, as what is sent is, so that a host that serves something else is
//! only a reason to send it from here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{Mutex, OnceCell, Semaphore};

use super::super::hosts::check_user;
use super::super::naming::quoted;

/// So many hosts fetch from one at a time: an ssh server that is not set up otherwise turns away more than ten that come at
/// once.
const FETCHES_MAX: usize = 8;

/// After so many hosts of a domain that could not fetch, the others are not made to try.
const FAILURES_MAX: u32 = 3;

/// A path on a host is not longer than a path can be.
const PATH_BYTES_MAX: usize = 4096;

/// Who may fetch from whom, and how.
#[derive(Debug, Clone)]
pub struct Sharing {
    /// The domain of each host by its name.
    pub domains: BTreeMap<String, String>,
    /// How a host calls another one, such as `ssh`.
    pub ssh: Vec<String>,
}

/// A host that has an archive, as others reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seed {
    pub(super) host: String,
    user: String,
    address: String,
    port: u16,
    root: String,
}

impl Seed {
    /// Reads where a host says that others find it: its user, address, port and folder, parted by tabs. It becomes arguments of
    /// ssh on other hosts, so that nothing passes that could be more than that.
    pub(super) fn parse(host: &str, text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.trim_end_matches('\n').split('\t').collect();
        let [user, address, port, root] = parts.as_slice() else { return None };
        check_user(user).ok()?;
        // A zone has no meaning on another host.
        address.parse::<IpAddr>().ok()?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let plain = root.starts_with('/') && root.len() <= PATH_BYTES_MAX && !root.chars().any(char::is_control);
        plain.then(|| Self {
            host: host.to_owned(),
            user: (*user).to_owned(),
            address: (*address).to_owned(),
            port,
            root: (*root).to_owned(),
        })
    }

    /// The arguments of `fetch` on another host. `script`: what vice's script is called there.
    pub(super) fn fetch(&self, ssh: &[String], script: &str, artifact: &str, sha256: &str) -> Vec<String> {
        let (path, root) = (quoted(&format!("{}/bin/{script}", self.root)), quoted(&self.root));
        let mut args = vec![artifact.to_owned(), sha256.to_owned()];
        args.push(format!("exec sh {path} give {root} {artifact}"));
        args.extend([self.user.clone(), self.address.clone(), self.port.to_string()]);
        args.extend(ssh.iter().cloned());
        args
    }
}

/// Hosts near each other.
pub(super) struct Domain {
    /// The host that has an artifact, by the artifact.
    seeds: Mutex<BTreeMap<String, Arc<OnceCell<Seed>>>>,
    failures: AtomicU32,
    /// Held while one fetches.
    pub(super) turns: Semaphore,
}

impl Domain {
    fn new() -> Self {
        Self { seeds: Mutex::default(), failures: AtomicU32::new(0), turns: Semaphore::new(FETCHES_MAX) }
    }

    /// Who has the artifact, or will have it.
    pub(super) async fn seed(&self, artifact: &str) -> Arc<OnceCell<Seed>> {
        Arc::clone(self.seeds.lock().await.entry(artifact.to_owned()).or_default())
    }

    /// Whether hosts are still made to try.
    pub(super) fn tries(&self) -> bool {
        self.failures.load(Ordering::Relaxed) < FAILURES_MAX
    }

    /// Notes that a host could not fetch; true for the first one, of which somebody should hear.
    pub(super) fn failed(&self) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed) == 0
    }
}

/// All domains of a target.
pub(super) struct Shares {
    sharing: Sharing,
    domains: BTreeMap<String, Domain>,
}

impl Shares {
    pub(super) fn new(sharing: Sharing) -> Self {
        let domains = sharing.domains.values().map(|name| (name.clone(), Domain::new())).collect();
        Self { sharing, domains }
    }

    /// The domain of a host.
    pub(super) fn of(&self, host: &str) -> Option<&Domain> {
        self.domains.get(self.sharing.domains.get(host)?)
    }

    /// How a host calls another one.
    pub(super) fn ssh(&self) -> &[String] {
        &self.sharing.ssh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_host_is_found_is_taken_only_as_that() {
        let seed = Seed::parse("h1", "ada\t10.0.0.5\t2222\t/srv/it's here\n").unwrap();
        assert_eq!(
            seed.fetch(&["ssh".to_owned(), "-F".to_owned(), "x".to_owned()], "host-1.sh", "abc", "def"),
            [
                "abc",
                "def",
                r"exec sh '/srv/it'\''s here/bin/host-1.sh' give '/srv/it'\''s here' abc",
                "ada",
                "10.0.0.5",
                "2222",
                "ssh",
                "-F",
                "x"
            ]
        );
        assert!(Seed::parse("h1", "ada\t2001:db8::1\t22\t/srv").is_some());
        for text in [
            "",
            "ada\t10.0.0.5\t22",
            "-oProxyCommand=id\t10.0.0.5\t22\t/srv",
            "ada\t-oProxyCommand=id\t22\t/srv",
            "ada\tweb1\t22\t/srv",
            "ada\tfe80::1%eth0\t22\t/srv",
            "ada\t10.0.0.5\t0\t/srv",
            "ada\t10.0.0.5\t22x\t/srv",
            "ada\t10.0.0.5\t22\tsrv",
            "ada\t10.0.0.5\t22\t/srv\u{1b}[2J",
            "ada\t10.0.0.5\t22\t/srv\tmore",
        ] {
            assert_eq!(Seed::parse("h1", text), None, "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_domain_that_can_not_is_left_alone_after_a_few_hosts() {
        let domains =
            [("h1", "r1"), ("h2", "r1"), ("h3", "r2")].map(|(host, domain)| (host.to_owned(), domain.to_owned()));
        let shares = Shares::new(Sharing { domains: domains.into(), ssh: vec!["ssh".to_owned()] });
        let rack = shares.of("h1").unwrap();
        assert!(shares.of("h4").is_none() && rack.tries());
        assert_eq!([rack.failed(), rack.failed(), rack.failed()], [true, false, false]);
        assert!(!shares.of("h2").unwrap().tries() && shares.of("h3").unwrap().tries());
        assert!(Arc::ptr_eq(&rack.seed("a").await, &shares.of("h2").unwrap().seed("a").await));
    }
}
