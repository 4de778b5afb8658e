//! Processes as the system shows them: who is alive, who carries a token, and how a group of them is ended.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::time::{Instant, sleep, timeout};

use crate::procfs;

/// How often a process that is not a child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How soon what was killed is looked for again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// How long a killed process may take to disappear.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// The variable by which an agent finds the processes that it has started.
pub(super) const TOKEN_VARIABLE: &str = "VICE_INSTANCE";

/// When a process started, in ticks since the machine did; none when there is no such process or it is only waiting
/// to be collected.
pub(super) fn start_time(pid: u32) -> Option<u64> {
    procfs::start_ticks(&procfs::stat(pid)?)
}

/// Whether the process of that pid is still the one that started then.
pub(super) fn is_alive(pid: u32, started: u64) -> bool {
    start_time(pid) == Some(started)
}

/// Which start of the machine this is.
pub(super) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// A running process that carries a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marked {
    pub(super) pid: u32,
    pub(super) start_time: u64,
    pub(super) generation: u64,
}

/// The processes whose environment has a token that starts like this. Those of other users are not seen.
pub(super) fn marked(prefix: &str) -> Vec<Marked> {
    let wanted = format!("{TOKEN_VARIABLE}={prefix}");
    let carries = |pid: u32| {
        let environ = std::fs::read(Path::new("/proc").join(pid.to_string()).join("environ")).ok()?;
        let generation = environ.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(wanted.as_bytes()))?;
        let generation = std::str::from_utf8(generation).ok()?.parse().ok()?;
        Some(Marked { pid, start_time: start_time(pid)?, generation })
    };
    procfs::pids().filter_map(carries).collect()
}

/// Sends a signal to the group that the process leads. Nobody there is no matter.
pub(super) fn signal_group(leader: u32, signal: Signal) {
    let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) else { return };
    if let Err(error) = rustix::process::kill_process_group(pid, signal) {
        tracing::debug!(leader, ?signal, %error, "the signal was not delivered");
    }
}

/// Sends a signal to one process; says whether it was delivered.
pub(super) fn signal_one(pid: u32, signal: Signal) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    match rustix::process::kill_process(pid, signal) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(?pid, ?signal, %error, "the signal was not delivered");
            false
        }
    }
}

/// Waits until a process that need not be a child has gone.
pub(super) async fn gone(pid: u32, started: u64) {
    while is_alive(pid, started) {
        sleep(LOOK_EVERY).await;
    }
}

/// Ends processes that nobody owns any more: politely first, surely at the deadline.
pub(super) async fn end_all(processes: &[Marked], politely: Duration) {
    let alive = || processes.iter().filter(|process| is_alive(process.pid, process.start_time));
    for process in alive() {
        signal_one(process.pid, Signal::TERM);
    }
    let deadline = Instant::now() + politely;
    while Instant::now() < deadline && alive().next().is_some() {
        sleep(Duration::from_millis(20)).await;
    }
    for process in alive() {
        signal_one(process.pid, Signal::KILL);
    }
    let all_gone = async {
        for process in processes {
            gone(process.pid, process.start_time).await;
        }
    };
    if timeout(KILLED_WITHIN, all_gone).await.is_err() {
        tracing::warn!("a killed process does not go away");
    }
}

/// Kills whatever carries this very token, also what comes into being meanwhile; nothing is waited for without end.
pub(super) async fn kill_marked(prefix: &str, generation: u64) {
    let deadline = Instant::now() + KILLED_WITHIN;
    loop {
        let wanted = prefix.to_owned();
        // Every process's environment is looked at, which takes a moment on a full machine.
        let looked = tokio::task::spawn_blocking(move || marked(&wanted)).await.unwrap_or_default();
        let left: Vec<Marked> = looked.into_iter().filter(|process| process.generation == generation).collect();
        if left.is_empty() {
            return;
        }
        if Instant::now() >= deadline {
            tracing::warn!(generation, left = left.len(), "what an instance has started does not go away");
            return;
        }
        for process in &left {
            signal_one(process.pid, Signal::KILL);
        }
        sleep(LOOK_AGAIN_AFTER).await;
    }
}

/// Who listens on a port of this machine, as far as one may know: the program and its pid.
pub(super) fn listener(port: u16) -> Option<(String, u32)> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| listening_inode(table, port))?;
    let wanted = format!("socket:[{inode}]");
    let pids = std::fs::read_dir("/proc").ok()?.flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find_map(|pid| {
        let mut files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let holds =
            files.any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str()));
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        holds.then(|| (name.trim().to_owned(), pid))
    })
}

fn listening_inode(table: &str, port: u16) -> Option<String> {
    let text = std::fs::read_to_string(table).ok()?;
    text.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let here = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok())?;
        // 0A is the kernel's number for listening.
        (here == port && *state == "0A").then(|| (*inode).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not() {
        let me = std::process::id();
        let started = start_time(me).unwrap();
        assert!(is_alive(me, started));
        assert!(!is_alive(me, started + 1));
        assert_eq!(start_time(u32::MAX), None);
    }

    #[test]
    fn the_listener_of_a_port_is_found() {
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(listener(port).map(|(_, pid)| pid), Some(std::process::id()));
        drop(socket);
        assert_eq!(listener(port), None);
    }
}
