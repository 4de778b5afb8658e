//! What the system says of processes in `/proc`: which there are, who started them, and when.

/// The processes of this machine that can be seen from here; none where there is no `/proc`.
pub(crate) fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The line about a process; none when there is no such process.
pub(crate) fn stat(pid: u32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()
}

/// The fields from the third one on. The command name in field 2 may hold spaces and parentheses, so counting starts after
/// its last parenthesis.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace())
}

/// Field 4: who started it, or has taken it over since.
pub(crate) fn parent(stat: &str) -> Option<u32> {
    fields(stat)?.nth(1)?.parse().ok()
}

/// Field 22: when the process started, in clock ticks since boot. None for a process that is only waited for.
pub(crate) fn start_ticks(stat: &str) -> Option<u64> {
    let mut fields = fields(stat)?;
    if matches!(fields.next(), Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_command_name_does_not_shift_the_fields() {
        let fields: Vec<String> = (4..=25).map(|n| n.to_string()).collect();
        let stat = |state: &str| format!("1 (a) b (c) ) {state} {}", fields.join(" "));
        assert_eq!(start_ticks(&stat("S")), Some(22));
        assert_eq!(parent(&stat("S")), Some(4));
        assert_eq!(start_ticks(&stat("Z")), None, "a zombie does not live");
    }
}
