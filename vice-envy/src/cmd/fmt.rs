//! `vice envy fmt`: TOML layers in one form. Comments, order and values stay as they are; only blanks and blank lines
//! change.

use std::sync::Arc;

use serde_json::json;
use toml_edit::{DocumentMut, Item, KeyMut, RawString, Table};
use vice_core::manifest::Project;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use super::Desk;
use crate::file;
use crate::layer::{self, LayerSpec, kind_of, specs};

pub(super) async fn run(desk: &Desk, project: Arc<Project>, named: Vec<String>, check: bool) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    if check {
        return desk.envy.off_thread(move |_| format_all(&project, named, true)).await;
    }
    let theirs = Arc::clone(&project);
    desk.alone(&project, "vice envy fmt", move |_| format_all(&theirs, named, false)).await
}

fn format_all(project: &Project, named: Vec<String>, check: bool) -> Result<Outcome> {
    let paths = if named.is_empty() { all_layers(project)? } else { named };
    let (mut changed, mut fine) = (Vec::new(), 0);
    for path in paths {
        if !matches!(kind_of(&path), Ok((layer::Kind::Toml, false))) {
            return Err(Fault::new(
                Code::Usage,
                format!("{path} is no TOML layer in the clear, and only those are formatted."),
            ));
        }
        let Some(before) = file::read_text(&project.root, &path)? else {
            return Err(Fault::new(Code::Usage, format!("{path} does not exist.")));
        };
        let after = formatted(&before, &path)?;
        if after == before {
            fine += 1;
            continue;
        }
        if !check {
            file::write(&project.root, &path, after.as_bytes())?;
        }
        changed.push(path);
    }
    if check && !changed.is_empty() {
        return Err(Fault::new(Code::ConfigInvalid, format!("Not in form: {}.", changed.join(", ")))
            .hint("Run `vice envy fmt`.")
            .detail("files", changed));
    }
    let mut text: String = changed.iter().map(|path| format!("Formatted {path}.\n")).collect();
    if changed.is_empty() {
        text = format!("{fine} files are in form.\n");
    }
    Ok(Outcome::done(text, json!({ "changed": changed, "unchanged": fine })))
}

/// The TOML layers of all environments that exist.
fn all_layers(project: &Project) -> Result<Vec<String>> {
    let mut all = std::collections::BTreeSet::new();
    for env in project.manifest.env.keys() {
        let specs = specs(project, env)?;
        all.extend(specs.iter().filter_map(LayerSpec::editable).map(str::to_owned));
    }
    let mut found = Vec::new();
    for path in all {
        if file::read(&project.root, &path)?.is_some() {
            found.push(path);
        }
    }
    Ok(found)
}

/// A text in form: `key = value`, comments at the margin or one blank behind a value, one blank line before a table,
/// none at the start, one line end at the end.
fn formatted(before: &str, path: &str) -> Result<String> {
    let refuse = || Fault::new(Code::ConfigInvalid, format!("The layer {path} is not valid TOML and was left alone."));
    let values = layer::toml::read(before).map_err(|flaw| flaw.in_layer(path))?;
    let mut document: DocumentMut = before.parse().map_err(|_| refuse())?;
    let tail = lines(document.trailing().as_str().unwrap_or_default(), false);
    table(document.as_table_mut());
    document.set_trailing(tail);
    let text = document.to_string();
    let text = text.trim_start_matches('\n');
    let text = if text.is_empty() { String::new() } else { format!("{}\n", text.trim_end_matches('\n')) };
    // A form that changed a value would be worse than none.
    match layer::toml::read(&text) {
        Ok(after) if after.same_values(&values) => Ok(text),
        _ => Err(Fault::internal(format!("Formatting {path} would have changed a value; it was left alone."))),
    }
}

fn table(here: &mut Table) {
    for (mut key, item) in here.iter_mut() {
        match item {
            Item::Value(value) => {
                entry(&mut key);
                let suffix = value.decor().suffix().and_then(RawString::as_str).unwrap_or_default().trim().to_owned();
                let suffix = if suffix.is_empty() { suffix } else { format!(" {suffix}") };
                value.decor_mut().set_prefix(" ");
                value.decor_mut().set_suffix(suffix);
            }
            Item::Table(inner) => section(inner),
            Item::ArrayOfTables(all) => all.iter_mut().for_each(section),
            Item::None => {}
        }
    }
}

/// The key of a value: comments and at most one blank line before it.
fn entry(key: &mut KeyMut<'_>) {
    let before = key.leaf_decor().prefix().and_then(RawString::as_str).unwrap_or_default();
    let before = lines(before, before.starts_with('\n') || before.starts_with("\r\n"));
    key.leaf_decor_mut().set_prefix(before);
    key.leaf_decor_mut().set_suffix(" ");
}

fn section(inner: &mut Table) {
    if !inner.is_implicit() && !inner.is_dotted() {
        let before = inner.decor().prefix().and_then(RawString::as_str).unwrap_or_default();
        let before = lines(before, true);
        let behind = inner.decor().suffix().and_then(RawString::as_str).unwrap_or_default().trim().to_owned();
        inner.decor_mut().set_prefix(before);
        inner.decor_mut().set_suffix(if behind.is_empty() { behind } else { format!(" {behind}") });
    }
    table(inner);
}

/// Comment lines at the margin, blank lines between them at most one at a time; begins with a blank line if wanted.
fn lines(text: &str, blank: bool) -> String {
    let mut out = String::new();
    let mut gap = blank;
    let mut all = text.lines().map(str::trim).peekable();
    while all.next_if(|line| line.is_empty()).is_some() {}
    for line in all {
        if line.is_empty() {
            gap = true;
            continue;
        }
        if gap {
            out.push('\n');
        }
        gap = false;
        out.push_str(line);
        out.push('\n');
    }
    if gap {
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blanks_change_and_comments_and_values_stay() {
        let before = "\n\n  # head\n#two\n\n\n a=1   # one\nb   =  \"x  y\"\n\n\n\n  c = [1,\n   2] # list\n[t]  # table\nx=1\n\n\n   # of u\n[t.u]\ny.z = { a=1 }\n[[l]]\nn=1\n[[l]]\nn=2\n# end\n\n\n";
        let after = "# head\n#two\n\na = 1 # one\nb = \"x  y\"\n\nc = [1,\n   2] # list\n\n[t] # table\nx = 1\n\n# of u\n[t.u]\ny.z = { a=1 }\n\n[[l]]\nn = 1\n\n[[l]]\nn = 2\n# end\n";
        assert_eq!(formatted(before, "l").unwrap(), after);
        assert_eq!(formatted(after, "l").unwrap(), after);
        assert_eq!(formatted("", "l").unwrap(), "");
        let fault = formatted("a = hunter22", "l").unwrap_err();
        assert!(!format!("{fault:?}").contains("hunter22"));
    }

    proptest! {
        #[test]
        fn the_form_of_a_form_is_itself(parts in prop::collection::vec(prop::sample::select(PARTS.to_vec()), 0..12)) {
            let mut text = String::new();
            for (index, part) in parts.iter().enumerate() {
                text.push_str(&part.replace('N', &index.to_string()));
            }
            let once = formatted(&text, "l").unwrap();
            prop_assert_eq!(formatted(&once, "l").unwrap(), once.clone());
            for comment in text.lines().filter(|line| line.trim_start().starts_with('#')) {
                prop_assert!(once.contains(comment.trim()), "{} is lost in {}", comment, once);
            }
        }
    }

    const PARTS: [&str; 10] = [
        "kN=1\n",
        " kN   =  \"x\"   # why\n",
        "\n\n",
        "# note N\n",
        "   #indented N\n",
        "[tN]\n",
        "  [t.sN]  # head N\n",
        "d.kN = [ 1,\n\t# inside N\n 2 ]\n",
        "kN = '''\n\n # no comment N\n'''\n",
        "[[aN]]\n",
    ];
}
