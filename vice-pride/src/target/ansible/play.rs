//! What is handed to Ansible: the plays around the user's playbook, and the file of variables. It writes text and runs
//! nothing. No value of a variable is ever a template.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use vice_core::{Code, Fault, Result};

/// What is called on hosts.
const SCRIPT: &str = concat!(include_str!("../host_common.sh"), include_str!("mark.sh"));

/// What vice notes on a host before and after a playbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The host gets a release, or loses the one that it has.
    Apply,
    /// An operation is taken back.
    Undo,
    /// An operation that failed is cleared away; the host keeps what it had.
    Restore,
}

impl Way {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Undo => "undo",
            Self::Restore => "restore",
        }
    }
}

/// A play that calls vice's script on every host.
fn calling(name: &str, become_root: bool, when: &str) -> String {
    let become_root = if become_root { "\n  become: true" } else { "" };
    format!(
        "- name: \"vice: {name}\"\n  hosts: all\n  gather_facts: false\n  any_errors_fatal: false\n  strategy: linear\n  \
         tags: [always]{become_root}\n  tasks:\n    - name: {name}\n      raw: \
         \"{{{{ vice__script }}}} {{{{ vice__{name}[inventory_hostname] }}}}\"\n      changed_when: false\n{when}"
    )
}

/// The user's playbook as it is.
///
/// # Errors
/// `ManifestInvalid` for a path that Ansible would take for a template.
pub(super) fn playbook(path: &Path) -> Result<String> {
    let text = path.display().to_string();
    if is_template(&text) {
        return Err(Fault::new(Code::ManifestInvalid, format!("The path {text:?} can't be that of a playbook."))
            .hint("Ansible would take its braces for a template; call it otherwise."));
    }
    Ok(format!("- name: the playbook\n  import_playbook: {}\n", yaml(&text)))
}

/// The user's playbook between vice's own plays; without one, only those.
pub(super) fn around(path: Option<&Path>, become_root: bool) -> Result<String> {
    // A host for which the playbook has no task did not get the release.
    let touched = "      when: (vice__folder ~ '/touched/' ~ inventory_hostname) is exists\n";
    let (middle, when) = match path {
        Some(path) => (playbook(path)?, touched),
        None => (String::new(), ""),
    };
    Ok(format!("{}{middle}{}", calling("begin", become_root, ""), calling("finish", become_root, when)))
}

/// Only a question to every host.
pub(super) fn asking(become_root: bool) -> String {
    calling("ask", become_root, "")
}

/// Variables of a run.
#[derive(Default)]
pub(super) struct Vars(String);

impl Vars {
    /// A text.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.line(format_args!("{name}: {}", literal(value)));
    }

    /// A number.
    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.line(format_args!("{name}: {value}"));
    }

    /// A text for each host.
    pub(super) fn each(&mut self, name: &str, values: &BTreeMap<String, String>) {
        self.line(format_args!("{name}:"));
        for (host, value) in values {
            self.line(format_args!("  {}: {}", yaml(host), literal(value)));
        }
    }

    /// A template of our own.
    pub(super) fn template(&mut self, name: &str, value: &str) {
        self.line(format_args!("{name}: {}", yaml(value)));
    }

    /// What the calls of the script need.
    pub(super) fn script(&mut self) {
        self.text("vice__script", &format!("sh -c {} vice", crate::target::naming::quoted(SCRIPT)));
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _written = writeln!(self.0, "{line}");
    }
}

/// A text as YAML reads it back: in double quotes, with everything escaped that is not plain ASCII.
pub(super) fn yaml(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            ' '..='~' => out.push(c),
            other => {
                let _written = write!(out, "\\U{:08X}", u32::from(other));
            }
        }
    }
    out.push('"');
    out
}

/// A text that Ansible takes as it is. What could be a template is marked as none; anything else is not, because since
/// ansible-core 2.19 what is marked and looks like a number is one: 1.10 would be 1.1.
fn literal(text: &str) -> String {
    format!("{}{}", if is_template(text) { "!unsafe " } else { "" }, yaml(text))
}

/// Whether Ansible would take a text for a template.
fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|sign| text.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_looks_like_a_number_is_a_text() {
        assert_eq!(["1.10", "true", "a {{ b }}"].map(literal), ["\"1.10\"", "\"true\"", "!unsafe \"a {{ b }}\""]);
    }

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        let hostile = "a\"b\\c\nd\t{{ lookup('pipe', 'touch p') }} é\u{7f}\u{85}\u{feff}😀 # : - !x\r";
        let mut vars = Vars::default();
        vars.text("one", hostile);
        vars.number("two", 7);
        vars.each("three", &[("h1".to_owned(), hostile.to_owned())].into());
        let text = vars.finish();
        assert!(text.is_ascii() && text.contains("one: !unsafe \""), "{text}");
        let read: serde_json::Value = serde_saphyr::from_str(&text.replace("!unsafe ", "")).unwrap();
        assert_eq!(read["one"], hostile);
        assert_eq!((&read["two"], &read["three"]["h1"]), (&7.into(), &hostile.into()));
    }

    #[test]
    fn a_playbook_whose_path_would_be_a_template_is_refused() {
        assert_eq!(playbook(Path::new("/x/{{ a }}.yml")).unwrap_err().code(), Code::ManifestInvalid);
        let text = around(Some(Path::new("/x/a b.yml")), true).unwrap();
        let plays: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(plays[1]["import_playbook"], "/x/a b.yml");
        assert_eq!((&plays[0]["become"], &plays[2]["name"]), (&true.into(), &"vice: finish".into()));
        assert!(plays[2]["tasks"][0]["when"].as_str().unwrap().contains("touched"));
        assert!(!around(None, false).unwrap().contains("touched"));
    }
}
