//! Values that are encrypted one by one in TOML layers: making one, and going through those of a file.

use toml_edit::{DocumentMut, Item, TableLike, Value};
use vice_core::manifest::Project;
use vice_core::{Code, Fault, Result};

use crate::backend::{parse_value, write_value};
use crate::envelope::{Binding, wrap};
use crate::key::{DEPTH_MAX, join};
use crate::recipients::Readers;

/// A value encrypted for the readers of a layer and bound to its place.
pub(crate) fn encrypt(
    project: &Project,
    layer: &str,
    key: &str,
    plain: &str,
    readers: &Readers,
    seal: Option<String>,
) -> Result<String> {
    let binding = Binding {
        project: project.name().as_str().to_owned(),
        layer: layer.to_owned(),
        key: key.to_owned(),
        readers: readers.names.clone(),
        seal,
    };
    Ok(write_value(&readers.recipients.seal(&wrap(&binding, plain))?))
}

/// A TOML layer for editing; its text is never quoted.
pub(crate) fn document(text: &str, layer: &str) -> Result<DocumentMut> {
    text.parse().map_err(|_| {
        Fault::new(Code::ConfigInvalid, format!("The layer {layer} is not valid TOML and was left alone."))
    })
}

/// Whether a text is an encrypted value.
pub(crate) fn is_encrypted(text: &str) -> bool {
    parse_value(text).is_some()
}

/// Calls `change` with the key and the text of every text in a document; what it gives takes the place of the text.
pub(crate) fn each_text(
    document: &mut DocumentMut,
    change: &mut dyn FnMut(&str, &str) -> Result<Option<String>>,
) -> Result<()> {
    in_table(document.as_table_mut(), "", 0, change)
}

fn in_table(
    table: &mut dyn TableLike,
    prefix: &str,
    depth: usize,
    change: &mut dyn FnMut(&str, &str) -> Result<Option<String>>,
) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(Fault::new(Code::ConfigInvalid, format!("A layer is nested deeper than {DEPTH_MAX} levels.")));
    }
    for (name, item) in table.iter_mut() {
        let key = join(prefix, name.get());
        if let Some(inner) = item.as_table_like_mut() {
            in_table(inner, &key, depth + 1, change)?;
        } else if let Item::Value(value) = item
            && let Some(text) = value.as_str().map(str::to_owned)
            && let Some(after) = change(&key, &text)?
        {
            let decor = value.decor().clone();
            *value = Value::from(after);
            *value.decor_mut() = decor;
        }
    }
    Ok(())
}
