//! Where something stands in a TOML file, lists included, so that every error and every result has a line.

use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{Source, Spot};

/// A part of a path into a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At<'a> {
    Key(&'a str),
    Index(usize),
}

/// The places of one file.
pub(crate) struct Places<'t> {
    source: Arc<Source>,
    table: Option<toml::Spanned<DeTable<'t>>>,
}

impl<'t> Places<'t> {
    /// Reads the places of a text that is the one of the source.
    pub(crate) fn new(source: Arc<Source>, text: &'t str) -> Self {
        Self { source, table: DeTable::parse(text).ok() }
    }

    /// The place of a path, or of its nearest parent that exists.
    pub(crate) fn spot(&self, path: &[At<'_>]) -> Spot {
        let span = self.table.as_ref().and_then(|table| in_table(table.get_ref(), path)).unwrap_or(0..0);
        Spot { source: Arc::clone(&self.source), span }
    }
}

fn in_table(table: &DeTable<'_>, path: &[At<'_>]) -> Option<Range<usize>> {
    let (At::Key(wanted), rest) = path.split_first().map(|(first, rest)| (*first, rest))? else { return None };
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == wanted)?;
    let whole = || key.span().start..value.span().end.max(key.span().end);
    if rest.is_empty() { Some(whole()) } else { Some(in_value(value, rest).unwrap_or_else(|| key.span())) }
}

fn in_value(value: &toml::Spanned<DeValue<'_>>, path: &[At<'_>]) -> Option<Range<usize>> {
    match (value.get_ref(), path.first()) {
        (_, None) => Some(value.span()),
        (DeValue::Table(table), Some(At::Key(_))) => in_table(table, path),
        (DeValue::Array(items), Some(At::Index(index))) => {
            let item = items.get(*index)?;
            in_value(item, &path[1..]).or_else(|| Some(item.span()))
        }
        _ => None,
    }
}
