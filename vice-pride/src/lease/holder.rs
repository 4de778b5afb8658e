//! Which process holds a lease, and whether it still lives, as far as this machine can tell.

use vice_core::app::App;
use vice_core::payload::lease::Holder;

use crate::procfs::{self, start_ticks};

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// This process.
pub(super) fn this_process(app: &App) -> Holder {
    Holder {
        actor: app.actor.to_string(),
        host: app.env.host.clone(),
        boot_id: read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
        pid: std::process::id(),
        pid_start: start_ticks(&read("/proc/self/stat")).unwrap_or(0),
        pid_space: pid_space(),
    }
}

/// Two processes with the same space and boot see each other's pids. Empty where nobody can tell.
fn pid_space() -> String {
    std::fs::read_link("/proc/self/ns/pid").map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What can be told of a holder from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is this process.
    Own,
    /// It lives, on this machine.
    Lives,
    /// It ended, on this machine.
    Ended,
    /// It is or was on another machine, or in another container.
    Elsewhere,
}

/// Looks for a holder among the processes of this machine.
pub(super) fn look_for(holder: &Holder, own: &Holder) -> Seen {
    let boot = !own.boot_id.is_empty() && holder.boot_id == own.boot_id;
    // An earlier version did not say which processes can see it.
    let space = holder.pid_space.is_empty() || holder.pid_space == own.pid_space;
    if !boot || !space {
        return Seen::Elsewhere;
    }
    if (holder.pid, holder.pid_start) == (own.pid, own.pid_start) {
        return Seen::Own;
    }
    let lives = procfs::stat(holder.pid).and_then(|stat| start_ticks(&stat)) == Some(holder.pid_start);
    if lives { Seen::Lives } else { Seen::Ended }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_means_something_only_on_its_machine_boot_and_space() {
        let stat = read("/proc/self/stat");
        let own = Holder {
            actor: "ada".into(),
            host: "box".into(),
            boot_id: "boot".into(),
            pid: std::process::id(),
            pid_start: start_ticks(&stat).unwrap(),
            pid_space: "space".into(),
        };
        assert_eq!(look_for(&own, &own), Seen::Own);
        let parent = Holder { pid: 1, pid_start: start_ticks(&read("/proc/1/stat")).unwrap_or(0), ..own.clone() };
        assert_eq!(look_for(&parent, &own), Seen::Lives);
        let reused = Holder { pid_start: own.pid_start + 1, ..own.clone() };
        assert_eq!(look_for(&reused, &own), Seen::Ended, "the pid is that of another process by now");
        let container = Holder { pid_space: "other".into(), ..own.clone() };
        assert_eq!(look_for(&container, &own), Seen::Elsewhere);
        let rebooted = Holder { boot_id: "before".into(), ..own.clone() };
        assert_eq!(look_for(&rebooted, &own), Seen::Elsewhere);
        let old = Holder { pid_space: String::new(), ..own.clone() };
        assert_eq!(look_for(&old, &own), Seen::Own);
    }
}
