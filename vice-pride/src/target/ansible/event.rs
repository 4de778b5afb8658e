//! What a run of Ansible said, line by line, as one report a host. What comes from hosts is data: bounded, cleaned of
//! control characters and masked before it goes anywhere.

use std::collections::BTreeMap;

use serde::Deserialize;
use vice_core::secret::Masker;
use vice_core::text::sanitize;

/// So many lines are kept of a host for people.
const LINES_MAX: usize = 200;

/// The longest line of the file that is read, in bytes: a report of a host and what it is wrapped in.
const LINE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A text of a host in a fault, in characters.
const TEXT_CHARS_MAX: usize = 1_000;

#[derive(Debug, Deserialize)]
struct Event {
    event: String,
    #[serde(default)]
    phase: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    task: String,
    #[serde(default)]
    rc: Option<i32>,
    #[serde(default)]
    out: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    diff: String,
}

/// What the script said on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: i32,
    pub(super) out: String,
}

/// What became of a host in one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HostReport {
    /// What the script said before the playbook.
    pub(super) begin: Option<Said>,
    /// What the script said when it was only asked.
    pub(super) ask: Option<Said>,
    /// What the script said after the playbook.
    pub(super) finish: Option<Said>,
    /// Whether the playbook had a task for the host.
    pub(super) touched: bool,
    /// The last task that failed, and what it said.
    pub(super) failed: Option<(String, String)>,
    /// What was said of a connection that could not be made.
    pub(super) unreachable: Option<String>,
    /// What would be changed, for people.
    pub(super) lines: Vec<String>,
}

impl HostReport {
    fn line(&mut self, line: String) {
        if self.lines.len() < LINES_MAX {
            self.lines.push(line);
        } else if self.lines.len() == LINES_MAX {
            self.lines.push("… (more is left out)".to_owned());
        }
    }
}

/// What a run said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) hosts: BTreeMap<String, HostReport>,
    /// Whether it came to its end.
    pub(super) whole: bool,
    /// The version of an ansible-core that is too old.
    pub(super) too_old: Option<String>,
}

/// Reads a run's events. A line that is none, such as one that broke off, is passed over.
pub(super) fn read(text: &str, masker: &Masker) -> Report {
    let mut report = Report::default();
    for line in text.lines().filter(|line| line.len() <= LINE_BYTES_MAX) {
        if let Ok(event) = serde_json::from_str::<Event>(line) {
            take(&mut report, &event, masker);
        }
    }
    report
}

fn take(report: &mut Report, event: &Event, masker: &Masker) {
    match event.event.as_str() {
        "stats" => report.whole = true,
        "old" => report.too_old = Some(clean(&event.text, masker)),
        _ if event.host.is_empty() => {}
        _ => of_host(report.hosts.entry(event.host.clone()).or_default(), event, masker),
    }
}

fn of_host(host: &mut HostReport, event: &Event, masker: &Masker) {
    let text = clean(&event.text, masker);
    if event.event == "unreachable" {
        host.unreachable = Some(text);
        return;
    }
    let said = || {
        Some(Said {
            status: event.rc.unwrap_or(if event.event == "failed" { -1 } else { 0 }),
            out: event.out.replace('\r', ""),
        })
    };
    match (event.phase.as_str(), event.event.as_str()) {
        (_, "skipped") => {}
        ("begin", _) => host.begin = said(),
        ("ask", _) => host.ask = said(),
        ("finish", _) => host.finish = said(),
        (_, "begun") => host.touched = true,
        (_, "failed") => {
            host.line(format!("{}: fails: {}", clean(&event.task, masker), one_line(&text)));
            host.failed = Some((clean(&event.task, masker), text));
        }
        (_, "changed") => {
            host.line(clean(&event.task, masker));
            let diff = masker.mask(&event.diff);
            diff.lines()
                .filter(|line| !line.trim().is_empty())
                .for_each(|line| host.line(format!("  {}", sanitize(line))));
        }
        _ => {}
    }
}

fn clean(text: &str, masker: &Masker) -> String {
    let masked = masker.mask(text);
    masked.lines().map(sanitize).collect::<Vec<_>>().join("\n").chars().take(TEXT_CHARS_MAX).collect()
}

/// A text of several lines as one.
pub(super) fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use vice_core::secret::Secret;

    #[test]
    fn outcomes_are_told_apart_by_host_and_play() {
        let text = concat!(
            r#"{"event":"ok","phase":"begin","host":"h1","task":"begin","rc":0,"out":""}"#,
            "\n",
            r#"{"event":"failed","phase":"begin","host":"h2","task":"begin","rc":20,"out":"7\r\n"}"#,
            "\n",
            r#"{"event":"unreachable","phase":"begin","host":"h3","text":"timed out"}"#,
            "\n",
            r#"{"event":"begun","phase":"playbook","host":"h1","task":"copy"}"#,
            "\n",
            r#"{"event":"failed","phase":"playbook","host":"h1","task":"copy","text":"no\u001b[31m space"}"#,
            "\n",
            r#"{"event":"skipped","phase":"finish","host":"h1"}"#,
            "\n",
            r#"{"event":"stats","phase":"end"}"#,
            "\n",
            r#"{"event":"ok","phase":"fin"#,
        );
        let report = read(text, &Masker::default());
        assert!(report.whole);
        let (h1, h2, h3) = (&report.hosts["h1"], &report.hosts["h2"], &report.hosts["h3"]);
        assert_eq!(h1.begin.as_ref().unwrap().status, 0);
        assert!(h1.touched && h1.finish.is_none());
        let (task, said) = h1.failed.clone().unwrap();
        assert_eq!(task, "copy");
        assert!(said.starts_with("no") && !said.contains('\u{1b}'), "{said:?}");
        assert_eq!(h2.begin.clone().unwrap(), Said { status: 20, out: "7\n".to_owned() });
        assert_eq!(h3.unreachable.as_deref(), Some("timed out"));
    }

    #[test]
    fn what_a_host_says_is_data_masked_and_bounded() {
        let mut masker = Masker::default();
        assert!(masker.add("PASSWORD", &Secret::new("hunter22-and-more")));
        let forged = serde_json::json!({
            "event": "failed", "phase": "playbook", "host": "h1", "task": "t",
            "text": format!("hunter22-and-more\n{}\n{}", r#"{"event":"ok","phase":"finish","host":"h1","rc":0}"#, "x".repeat(100_000)),
        });
        let changed = serde_json::json!({
            "event": "changed", "phase": "playbook", "host": "h1", "task": "t", "diff": "+ hunter22-and-more\n".repeat(10_000),
        });
        let report = read(&format!("{forged}\n{changed}\n"), &masker);
        let host = &report.hosts["h1"];
        assert!(host.finish.is_none(), "a line within a text is no event");
        let said = &host.failed.as_ref().unwrap().1;
        assert!(said.chars().count() <= TEXT_CHARS_MAX && !said.contains("hunter22"), "{said}");
        assert!(host.lines.len() <= LINES_MAX + 1 && !host.lines.join("").contains("hunter22"));
    }
}
