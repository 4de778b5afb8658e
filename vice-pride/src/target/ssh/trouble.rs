//! What ssh and the host say when something goes wrong, as faults: which host, what it said, and the next step. It
//! knows texts and exit statuses and nothing else.

use vice_core::port::target::Op;
use vice_core::secret::Masker;
use vice_core::{Code, Fault};

use super::super::hosts::Host;

/// A line in an error is cut, in characters.
const LINE_CHARS_MAX: usize = 300;

/// Exit statuses of the script on the host.
pub(super) mod status {
    pub(in super::super) const FENCED: i32 = 20;
    pub(in super::super) const NEEDS_ARTIFACT: i32 = 21;
    pub(super) const UNHEALTHY: i32 = 22;
    pub(super) const PORT_TAKEN: i32 = 23;
    pub(super) const NO_UNIT: i32 = 24;
    pub(super) const WRONG_DIGEST: i32 = 25;
    pub(in super::super) const BUSY: i32 = 26;
    pub(super) const NO_TOOL: i32 = 27;
    pub(super) const UNWRITABLE: i32 = 28;
    pub(super) const NOT_RESTORED: i32 = 29;
    pub(super) const NOT_STARTED: i32 = 30;
    pub(in super::super) const NOT_STORED: i32 = 31;
    pub(super) const HAS_UNIT: i32 = 32;
    pub(super) const NO_PROCESS: i32 = 33;
    pub(in super::super) const NOTHING_THERE: i32 = 90;
    pub(in super::super) const NO_SCRIPT: i32 = 91;
    pub(super) const NOT_OURS: i32 = 92;
}

/// What can be wrong with a connection: what ssh says, a name for programs, a sentence and the next step.
const CONNECTIONS: &[(&str, &str, &str, &str)] = &[
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "host-key-changed",
        "has another host key than the one that is known",
        "If the host was set up anew, remove the old key with `ssh-keygen -R HOST` and connect once with ssh to compare \
         the new one. If not, somebody may stand in between.",
    ),
    (
        "Host key verification failed",
        "host-key-unknown",
        "has a host key that is not known",
        "Connect once with ssh and compare the key, or put it into known_hosts.",
    ),
    (
        "Permission denied",
        "permission-denied",
        "does not let this user in",
        "Try the same with `ssh HOST true`. Is the right key in the agent (`ssh-add -l`), and is the user right?",
    ),
    (
        "Too many authentication failures",
        "permission-denied",
        "does not let this user in, because too many keys were tried",
        "Name the key in ssh's configuration: IdentityFile and IdentitiesOnly yes.",
    ),
    (
        "Connection refused",
        "refused",
        "refuses connections: no ssh server listens there",
        "Is the port right, and does sshd run?",
    ),
    (
        "Connection timed out",
        "timed-out",
        "did not answer in time",
        "Is it up, and does a firewall stand in between? `connect_timeout` of the target allows for more.",
    ),
    ("Operation timed out", "timed-out", "did not answer in time", "Is it up, and does a firewall stand in between?"),
    (
        "Could not resolve hostname",
        "unresolved",
        "has a name that does not resolve",
        "Is it spelt as in ssh's configuration or in DNS?",
    ),
    (
        "No route to host",
        "no-route",
        "can't be reached over the network",
        "Is it up, and is this machine in its network?",
    ),
    ("Network is unreachable", "no-route", "can't be reached over the network", "Is this machine's network up?"),
    (
        "Bad configuration option",
        "ssh-config",
        "can't be connected to, because ssh does not understand its configuration",
        "See what `ssh -G HOST` says.",
    ),
    (
        "Can't open user config file",
        "ssh-config",
        "can't be connected to, because the configuration file of ssh can't be read",
        "`config` of the target is relative to vice.toml.",
    ),
];

/// The fault for a connection that was not made. Nothing was sent.
pub(super) fn connecting(host: &Host, said: &str) -> Fault {
    let quoted = quote(said);
    let found = CONNECTIONS.iter().find(|(sign, ..)| said.contains(sign));
    let (trouble, what, next) = match found {
        Some((_, trouble, what, next)) => (*trouble, *what, *next),
        None => ("unreachable", "can't be connected to", "Try the same with `ssh -v HOST true`."),
    };
    let fault = Fault::new(Code::Unreachable, format!("The host {} ({}) {what}.", host.name, host.address))
        .hint(next.replace("HOST", &host.address.host))
        .detail("host", host.name.clone())
        .detail("trouble", trouble)
        .detail("sent", false);
    if quoted.is_empty() { fault } else { fault.because(format!("ssh said: {quoted}")) }
}

/// The fault for a connection that broke off while something was under way.
pub(super) fn cut_off(host: &Host, error: &openssh::Error) -> Fault {
    if let openssh::Error::Remote(_) = error {
        return Fault::new(Code::Unreachable, format!("The host {} has no sh.", host.name))
            .hint("vice needs a POSIX shell there; it does not work with hosts that only offer sftp.")
            .detail("host", host.name.clone())
            .detail("trouble", "no-shell");
    }
    Fault::new(Code::Unreachable, format!("The connection to {} broke off.", host.name))
        .hint("What it did is asked when the host answers again: vice pride resume.")
        .detail("host", host.name.clone())
        .detail("trouble", "cut-off")
        .because(vice_core::fault::causes(error))
}

/// The fault for a host that has not finished in time.
pub(super) fn late(host: &Host, what: &str, seconds: u64) -> Fault {
    Fault::new(Code::TimedOut, format!("The host {} did not finish `{what}` within {seconds} s.", host.name))
        .hint("Look at the host: is it overloaded, or does its disk hang?")
        .detail("host", host.name.clone())
        .detail("trouble", "late")
}

/// What the script on the host answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// The fault for an answer that is no success.
pub(super) fn refused(host: &Host, op: Option<&Op>, version: &str, said: &Said, masker: &Masker) -> Fault {
    let text = masker.mask(&said.stdout);
    let mut lines = text.lines().map(cut);
    let (what, rest) = (lines.next().unwrap_or_default(), lines.filter(|line| !line.is_empty()).collect::<Vec<_>>());
    let unit = op.map_or(host.name.as_str(), |op| op.unit.as_str());
    let fault = match said.status {
        status::FENCED => {
            let epoch = op.map_or(0, |op| op.epoch);
            Fault::new(Code::Fenced, format!("The host {} has seen epoch {what} and refuses {epoch}.", host.name))
        }
        status::UNHEALTHY => Fault::new(Code::Unhealthy, format!("Version {version} on unit {unit} {what}.")),
        status::PORT_TAKEN => Fault::new(Code::PortInUse, format!("Version {version} on unit {unit} {what}.")).hint(
            "`vice pride adopt` takes over what runs there already; or choose another `port` for the environment.",
        ),
        status::NOT_STARTED => {
            Fault::new(Code::Unhealthy, format!("Version {version} could not be started on unit {unit}: {what}."))
        }
        status::NOT_RESTORED => Fault::new(Code::NotRestored, format!("Version {version} on unit {unit} {what}."))
            .hint("Somebody has to look at the host. The next operation tries to bring it back first."),
        status::NO_UNIT => Fault::new(Code::UnknownName, format!("There is no unit {unit:?} on {}.", host.name))
            .hint("Deploy something first."),
        status::NOT_STORED => {
            Fault::new(Code::Usage, format!("The earlier release of unit {unit} is no longer on {}.", host.name))
                .hint("Deploy the version to go back to.")
        }
        status::WRONG_DIGEST => Fault::new(Code::ArtifactDigest, format!("{what} (host {}).", host.name))
            .hint("Try again; if it happens again, the link or the host's disk damages data."),
        status::BUSY => Fault::new(Code::TimedOut, format!("{what} on {}.", host.name))
            .hint("Look at the host: something hangs there."),
        status::NO_TOOL => missing(host, &what),
        status::HAS_UNIT => Fault::new(Code::Conflict, format!("The unit {unit} is vice's already."))
            .hint("Adopting is for what was never deployed by vice."),
        status::NO_PROCESS => Fault::new(Code::UnknownName, format!("{what} on {}.", host.name))
            .hint("Name the process with --pid, or its port with `port` in the environment."),
        status::NOT_OURS => Fault::new(
            Code::Io,
            format!("{what} on {} is not this user's alone, so that nothing there is run.", host.name),
        )
        .hint("Somebody else could have put a program there. Look at it, and remove it or `chown` the folder.")
        .detail("trouble", "not-ours"),
        _ => unexpected(host, &what, said),
    };
    let fault = fault.detail("host", host.name.clone());
    if rest.is_empty() {
        fault
    } else {
        fault.because(format!("the last lines of its output are: {}", rest.join(" | ")))
    }
}

fn missing(host: &Host, tool: &str) -> Fault {
    let package = match tool {
        "flock" | "setsid" => "util-linux (or busybox)",
        "sha256sum" => "coreutils (or busybox)",
        other => other,
    };
    Fault::new(Code::Unsupported, format!("The host {} has no {tool}.", host.name))
        .hint(format!("Install {package} there."))
        .detail("trouble", "no-tool")
        .detail("tool", tool)
}

/// What the system of the host refuses: a sign in what it said, a name for programs, a sentence, and the next step.
const SYSTEMS: &[(&str, &str, &str, &str)] = &[
    (
        "No space left",
        "no-space",
        "has no space left",
        "Free some; `vice pride prune` removes artifacts that nothing needs.",
    ),
    ("Disk quota exceeded", "no-space", "has no space left for this user", "Raise the quota, or free some."),
    ("I/O error", "no-space", "can't write: its disk is full or fails", "Look at its disk."),
    (
        "Read-only file system",
        "read-only",
        "has a file system that can only be read",
        "Mount it for writing, or set another `path`.",
    ),
    (
        "Permission denied",
        "not-allowed",
        "does not let this user write there",
        "Make the folder once, `sudo install -d -o USER PATH`, or set `path` of the target to one of the user's own, such as ~/shop.",
    ),
    ("mv: unrecognized option", "no-tool", "has a `mv` without -T", "Install coreutils there."),
    ("tar: not found", "no-tool", "has no tar", "Install tar there."),
];

fn unexpected(host: &Host, what: &str, said: &Said) -> Fault {
    let quoted = quote(&said.stderr);
    let code = if said.status == status::UNWRITABLE { Code::Io } else { Code::Backend };
    let fault = match SYSTEMS.iter().find(|(sign, ..)| said.stderr.contains(sign)) {
        Some((_, trouble, sentence, next)) => {
            let place = if what.is_empty() { String::new() } else { format!(": {what}") };
            Fault::new(Code::Io, format!("The host {} {sentence}{place}.", host.name))
                .hint(*next)
                .detail("trouble", *trouble)
        }
        None if what.is_empty() => {
            Fault::new(code, format!("The host {} broke off with exit status {}.", host.name, said.status))
        }
        None => Fault::new(code, format!("{what} on {}.", host.name)),
    };
    if quoted.is_empty() { fault } else { fault.because(format!("it said: {quoted}")) }
}

/// What the script said of why it ended, in one line.
pub(super) fn quoted(said: &Said) -> String {
    let text = quote(&format!("{}\n{}", said.stdout, said.stderr));
    if text.is_empty() { format!("it ended with status {}", said.status) } else { text }
}

/// The last lines that say something, as one.
fn quote(text: &str) -> String {
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('@')).collect();
    let last = lines.iter().skip(lines.len().saturating_sub(3));
    last.map(|line| cut(line)).collect::<Vec<_>>().join(" | ")
}

fn cut(line: &str) -> String {
    line.chars().take(LINE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host::parse("web1=ada@10.0.0.5:2222").unwrap()
    }

    fn trouble(fault: &Fault) -> &str {
        fault.details().get("trouble").and_then(serde_json::Value::as_str).unwrap_or_default()
    }

    #[test]
    fn each_trouble_with_a_connection_has_its_own_name_and_next_step() {
        for (said, name) in [
            (
                "@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                "host-key-changed",
            ),
            ("No ED25519 host key is known for x.\nHost key verification failed.", "host-key-unknown"),
            ("ada@10.0.0.5: Permission denied (publickey).", "permission-denied"),
            ("ssh: connect to host 10.0.0.5 port 2222: Connection refused", "refused"),
            ("ssh: connect to host 10.0.0.5 port 2222: Connection timed out", "timed-out"),
            ("ssh: Could not resolve hostname web9: Name or service not known", "unresolved"),
            ("something else", "unreachable"),
        ] {
            let fault = connecting(&host(), said);
            assert_eq!((trouble(&fault), fault.code()), (name, Code::Unreachable), "{said}");
            assert!(fault.to_string().contains("web1") && !fault.hints().is_empty(), "{fault:?}");
            assert!(fault.chain().len() == 2 && !fault.hints()[0].contains("HOST"), "{fault:?}");
        }
    }

    #[test]
    fn what_the_host_refuses_is_a_fault_of_its_own() {
        let said = |status: i32, stdout: &str, stderr: &str| {
            let said = Said { status, stdout: stdout.to_owned(), stderr: stderr.to_owned() };
            refused(&host(), None, "2", &said, &Masker::default())
        };
        let full = said(28, "/srv/x can't be written\n", "cat: write error: No space left on device\n");
        assert_eq!((trouble(&full), full.code()), ("no-space", Code::Io));
        assert_eq!(
            trouble(&said(28, "/srv can't be made", "mkdir: cannot create: Read-only file system")),
            "read-only"
        );
        assert_eq!(trouble(&said(28, "/srv can't be made", "mkdir: /srv: Permission denied")), "not-allowed");
        let tool = said(27, "flock\n", "");
        assert_eq!((trouble(&tool), tool.code()), ("no-tool", Code::Unsupported));
        let sick = said(22, "did not become healthy within 3 s: it answered 500\nboom\n\nbang\n", "");
        assert_eq!(sick.code(), Code::Unhealthy);
        assert!(sick.chain()[1].ends_with("boom | bang"), "{sick:?}");
    }
}
