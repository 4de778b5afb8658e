//! A difference as Markdown, for pull requests. Secrets come in masked; what is shown here is what a reader of the pull
//! request may see.

use serde_json::Value;
use vice_core::text::sanitize;

use crate::render;

/// The longest value that is shown, in characters; a table with longer ones is not read by anybody.
const VALUE_CHARS_MAX: usize = 80;

/// A table of what differs between two configurations.
pub(super) fn render<'r>(
    titles: [&str; 2],
    rows: impl Iterator<Item = (&'r str, &'r str, Option<&'r Value>, Option<&'r Value>)>,
) -> String {
    let lines: Vec<String> = rows
        .map(|(key, state, from, to)| format!("| {} | {state} | {} | {} |\n", code(key), cell(from), cell(to)))
        .collect();
    let [one, two] = titles.map(code);
    if lines.is_empty() {
        return format!("{one} and {two} have the same configuration.\n");
    }
    format!("| key | | {one} | {two} |\n| --- | --- | --- | --- |\n{}", lines.concat())
}

fn cell(value: Option<&Value>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| code(&render::as_text(value)))
}

/// Text that stays text, whatever is in it: neither a table cell nor code ends in it.
fn code(text: &str) -> String {
    let text = sanitize(text);
    let mut shown: String = text.chars().take(VALUE_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    let longest = shown.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if shown.is_empty() || shown.starts_with('`') || shown.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{}{space}{fence}", shown.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_in_their_cells() {
        let titles = ["dev", "prod at v1|x"];
        let value = Value::from("a|b`c\nd");
        let text = render(titles, [("db.host", "changed", Some(&value), None)].into_iter());
        assert!(text.starts_with("| key | | `dev` | `prod at v1\\|x` |\n"), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.ends_with("| `db.host` | changed | ``a\\|b`c\\nd`` | – |\n"), "{text}");
        let long = Value::from("x".repeat(500));
        assert!(render(titles, [("k", "added", None, Some(&long))].into_iter()).len() < 200);
        assert!(render(titles, std::iter::empty()).contains("same configuration"));
    }
}
