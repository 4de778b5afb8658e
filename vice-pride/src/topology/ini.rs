//! Ansible inventories in INI form: hosts with variables, `[group]`, `[group:children]` and `[group:vars]`.

use vice_core::Result;
use vice_pride_engine::expand_range;

use super::inventory::{Maker, wrong};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Section {
    Hosts(Option<String>),
    Children(String),
    Vars(String),
}

/// Reads an inventory line by line.
pub(super) fn read(file: &str, text: &str, maker: &mut Maker) -> Result<()> {
    let mut section = Section::Hosts(None);
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with(';') {
            continue;
        }
        let at = |why: &str| wrong(file, &format!("line {number}: {why}"));
        if let Some(rest) = line.strip_prefix('[') {
            // A host may begin with a range; a section ends with its bracket.
            if let Some(name) = bare(rest) {
                section = header(name).ok_or_else(|| at("a section is [group], [group:children] or [group:vars]"))?;
                maker.group(section_group(&section));
                continue;
            }
        }
        match &section {
            Section::Hosts(group) => {
                let words = words(line).ok_or_else(|| at("a quote is not closed"))?;
                host(&words, group.as_deref(), maker).map_err(|fault| fault.detail("line", number))?;
            }
            Section::Children(group) => {
                let child = words(line).and_then(|words| words.into_iter().next()).unwrap_or_default();
                maker.child(group, &child);
            }
            Section::Vars(group) => {
                let (key, value) = line.split_once('=').ok_or_else(|| at("a variable is written name=value"))?;
                maker.group_var(group, key.trim(), &unquoted(value.trim()));
            }
        }
    }
    Ok(())
}

/// What stands in the brackets of a line that has nothing else but a comment.
fn bare(rest: &str) -> Option<&str> {
    let (name, after) = rest.split_once(']')?;
    let after = after.trim();
    (after.is_empty() || after.starts_with('#') || after.starts_with(';')).then(|| name.trim())
}

fn header(name: &str) -> Option<Section> {
    match name.split_once(':') {
        None if !name.is_empty() => Some(Section::Hosts(Some(name.to_owned()))),
        Some((group, "children")) => Some(Section::Children(group.to_owned())),
        Some((group, "vars")) => Some(Section::Vars(group.to_owned())),
        _ => None,
    }
}

fn section_group(section: &Section) -> &str {
    match section {
        Section::Hosts(group) => group.as_deref().unwrap_or("ungrouped"),
        Section::Children(group) | Section::Vars(group) => group,
    }
}

/// `web[01:20].example port=80 role="front end"`.
fn host(words: &[String], group: Option<&str>, maker: &mut Maker) -> Result<()> {
    let Some((pattern, vars)) = words.split_first() else { return Ok(()) };
    for name in expand_range(without_port(pattern)).map_err(|fault| fault.detail("key", "inventory"))? {
        maker.host(&name);
        if let Some(group) = group {
            maker.member(group, &name);
        }
        for (key, value) in vars.iter().filter_map(|word| word.split_once('=')) {
            maker.host_var(&name, key, value);
        }
    }
    Ok(())
}

/// A host may be followed by a port, which says how to connect and not who it is.
fn without_port(pattern: &str) -> &str {
    let closed = |host: &str| host.matches('[').count() == host.matches(']').count();
    let number = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match pattern.rsplit_once(':') {
        Some((host, port)) if closed(host) && number(port) => host,
        _ => pattern,
    }
}

/// Words apart by blanks; quotes keep blanks together, and `#` begins a comment. None when a quote is not closed.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut there) = (String::new(), None, false);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => word.push(letter),
            (None, '"' | '\'') => (quote, there) = (Some(letter), true),
            (None, '#') if !there => break,
            (None, _) if letter.is_whitespace() => {
                if there {
                    words.push(std::mem::take(&mut word));
                }
                there = false;
            }
            (None, _) => {
                word.push(letter);
                there = true;
            }
        }
    }
    if there {
        words.push(word);
    }
    quote.is_none().then_some(words)
}

fn unquoted(value: &str) -> String {
    let inside = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(value).to_owned()
}
