//! What Ansible and hosts say when something goes wrong, as faults: which host, which task, what it said, and the next step.

use std::path::Path;

use vice_core::{Code, Fault};

use super::event::{HostReport, Said, one_line};
use super::run::Ran;

/// Exit statuses of the script on the host.
pub(super) mod status {
    pub(super) const FENCED: i32 = 20;
    pub(in super::super) const BUSY: i32 = 26;
    pub(super) const NO_TOOL: i32 = 27;
    pub(in super::super) const ALREADY: i32 = 40;
    pub(super) const OVERTAKEN: i32 = 41;
}

/// How ansible-core is installed.
const INSTALL: &str = "Install it: apt-get install -y ansible-core, or pipx install ansible-core.";

/// The fault for a machine without Ansible.
pub(super) fn missing() -> Fault {
    Fault::new(Code::BackendMissing, "ansible-playbook is not on PATH.").hint(INSTALL).detail("trouble", "no-ansible")
}

/// The fault for a run that said nothing of its hosts, or of one of them.
pub(super) fn silent(ran: &Ran, host: Option<&str>, playbook: Option<&Path>) -> Fault {
    if let Some(version) = &ran.report.too_old {
        let message = format!("ansible-core {version} is too old; vice needs 2.12 or later.");
        return Fault::new(Code::BackendMissing, message).hint(INSTALL).detail("trouble", "old-ansible");
    }
    let said = one_line(&ran.tail);
    let last: String = said.chars().rev().take(900).collect::<Vec<_>>().into_iter().rev().collect();
    let fault = match host {
        Some(host) if !ran.report.hosts.is_empty() => {
            Fault::new(Code::Backend, format!("Ansible did nothing on the host {host}."))
                .hint("Is it in the inventory under this name? See `ansible-inventory --graph`.")
        }
        _ => Fault::new(
            Code::Backend,
            match ran.status {
                Some(status) => format!("ansible-playbook ended with {status} before it came to any host."),
                None => "ansible-playbook was ended before it came to any host.".to_owned(),
            },
        )
        .hint(match playbook {
            Some(path) => format!("Try it alone: ansible-playbook --syntax-check {}.", path.display()),
            None => "See what `ansible-inventory --graph` says.".to_owned(),
        }),
    };
    let fault = fault.detail("trouble", "no-run").detail("sent", false);
    if last.is_empty() { fault } else { fault.because(format!("it said: {last}")) }
}

/// The fault for a host that Ansible could not reach.
pub(super) fn unreachable(host: &str, why: &str, sent: bool) -> Fault {
    let fault = Fault::new(Code::Unreachable, format!("Ansible can't reach the host {host}."))
        .hint(format!("Try the same with `ansible {host} -m ping`."))
        .detail("host", host)
        .detail("trouble", "unreachable")
        .because(format!("it said: {}", one_line(why)));
    // What broke off in the middle may have done something.
    if sent { fault } else { fault.detail("sent", false) }
}

/// The fault for what the script on a host refused.
pub(super) fn refused(host: &str, epoch: u64, said: &Said) -> Fault {
    let what = said.out.lines().next().unwrap_or_default().trim();
    let fault = match said.status {
        status::FENCED => {
            Fault::new(Code::Fenced, format!("The host {host} has seen epoch {what} and refuses {epoch}."))
        }
        status::OVERTAKEN => Fault::new(Code::Fenced, format!("{what} on {host}.")),
        status::BUSY => Fault::new(Code::TimedOut, format!("{what} on {host}."))
            .hint("Look at the host: a task of an earlier run hangs there."),
        status::NO_TOOL => Fault::new(Code::Unsupported, format!("The host {host} has no {what}."))
            .hint("Install util-linux (or busybox) there.")
            .detail("trouble", "no-tool"),
        status => {
            Fault::new(Code::Backend, format!("vice can't note anything on the host {host} (exit status {status})."))
                .hint(
                    "The user that Ansible connects as has to be able to write `path` of the target: make it once \
                 (`sudo install -d -o USER PATH`), set another such as ~/vice, or set `become = true`.",
                )
                .detail("trouble", "not-allowed")
                .because(format!("it said: {}", one_line(&said.out)))
        }
    };
    fault.detail("host", host)
}

/// The fault for a host on which the playbook did not come to its end.
pub(super) fn failed(host: &str, version: &str, report: &HostReport) -> Fault {
    if let Some((task, text)) = &report.failed {
        let fault = Fault::new(Code::Unhealthy, format!("Version {version} failed on {host} in the task {task:?}."))
            .detail("host", host)
            .detail("task", task.as_str())
            .detail("trouble", "task-failed");
        return if text.is_empty() { fault } else { fault.because(one_line(text)) };
    }
    Fault::new(Code::Unhealthy, format!("The playbook ended before version {version} was on {host}."))
        .hint("Another host failed under `any_errors_fatal`, `max_fail_percentage` or `serial` of the playbook.")
        .detail("host", host)
        .detail("trouble", "ended-early")
}

/// The fault for a host that the playbook leaves out.
pub(super) fn left_out(host: &str) -> Fault {
    Fault::new(Code::Usage, format!("The playbook has no task for the host {host}."))
        .hint("Let its `hosts:` cover the host, or choose a `group` for the target.")
        .detail("host", host)
        .detail("trouble", "left-out")
}

/// The fault for a playbook that takes too long.
pub(super) fn late(host: &str, seconds: u64) -> Fault {
    Fault::new(Code::Unhealthy, format!("The playbook was not done with {host} within {seconds} s and was ended."))
        .hint("`timeout` of the target allows for more.")
        .detail("host", host)
        .detail("trouble", "late")
}

/// The fault for a host that could not be brought back.
pub(super) fn not_restored(host: &str, first: &Fault, why: &str) -> Fault {
    let fault = Fault::new(Code::NotRestored, format!("{first} The host {host} is half done: {why}."))
        .hint("Look at it, then deploy again: the playbook runs on it from the beginning.")
        .detail("host", host);
    match first.chain().get(1..) {
        Some(rest) if !rest.is_empty() => fault.because(rest.join(" ")),
        _ => fault,
    }
}
