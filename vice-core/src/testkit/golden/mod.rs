//! Holding an event type to what was ever written of it. A corpus is a folder with one folder a type and version, in which
//! each file is the content of one event as some version of vice has written it. Entries are never changed and never removed.
//!
//! A sample whose form no entry has is reported: the type has changed. When a field was added with a default, the new form
//! becomes another entry (`VICE_GOLDEN=write` makes it) beside the old ones, which must decode for ever. Any other change is
//! a new version of the type, with an `upcast`, and a folder of its own.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::event::{Actor, Event, Head, Payload, split_kind};

/// The content of an event of this payload.
fn content<P: Payload>(payload: &P) -> Value {
    let head = Head {
        id: "golden".into(),
        time: Timestamp::UNIX_EPOCH,
        stream: "golden".into(),
        scope: None,
        actor: Actor::system("golden"),
        chain_id: None,
    };
    let event = Event::new(head, payload).expect("a payload serialises");
    let data: Value = serde_json::from_str(&event.data).expect("an event is JSON");
    data["subject"]["content"].clone()
}

/// An event of a type with this content, as a store gives it.
fn event(kind: &str, content: &Value) -> Event {
    Event {
        id: "golden".into(),
        source: crate::event::SOURCE.into(),
        kind: kind.into(),
        subject: "golden".into(),
        time: Timestamp::UNIX_EPOCH,
        stream: "golden".into(),
        scope: None,
        actor: Actor::system("golden"),
        data: json!({ "context": {}, "subject": { "id": "golden", "content": content } }).to_string(),
    }
}

/// Whether everything that `old` says is in `new`. Fields may have been added.
fn says(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(key, value)| new.get(key).is_some_and(|new| says(new, value)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| says(new, old))
        }
        (new, old) => new == old,
    }
}

fn entries(folder: &Path) -> Vec<(PathBuf, Value)> {
    let Ok(listed) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("the corpus can be read").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("an entry can be read");
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, value)
    };
    paths.into_iter().map(read).collect()
}

/// What is wrong with a type by its corpus. Samples have every field set, so that no field is left out; `write` adds
/// their forms where no entry has them.
#[must_use]
pub fn problems<P: Payload>(corpus: &Path, samples: &[P], write: bool) -> Vec<String> {
    let mut found = Vec::new();
    let own = corpus.join(P::KIND);
    let known = entries(&own);
    for (number, sample) in samples.iter().enumerate() {
        let form = content(sample);
        if known.iter().any(|(_, entry)| *entry == form) {
            continue;
        }
        if write {
            std::fs::create_dir_all(&own).expect("the corpus can be written");
            let path = own.join(format!("{:03}.json", known.len() + number));
            let text = serde_json::to_string_pretty(&form).expect("a value is JSON");
            std::fs::write(path, text + "\n").expect("the corpus can be written");
        } else {
            found.push(format!(
                "{} is written in a form that {} has no entry of. For a new field with a default run the test with \
                 VICE_GOLDEN=write; any other change is a new version of the type. It is now: {form}",
                P::KIND,
                own.display()
            ));
        }
    }
    found.extend(unread::<P>(corpus));
    found
}

/// Entries of this and earlier versions of a type that are not read any more, or not wholly.
fn unread<P: Payload>(corpus: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Some((name, _)) = split_kind(P::KIND) else { return vec![format!("{} has no version.", P::KIND)] };
    let listed = std::fs::read_dir(corpus).into_iter().flatten();
    let kinds = listed.filter_map(|entry| entry.expect("the corpus can be read").file_name().into_string().ok());
    for kind in kinds.filter(|kind| split_kind(kind).is_some_and(|(of, _)| of == name)) {
        for (path, entry) in entries(&corpus.join(&kind)) {
            match event(&kind, &entry).decode::<P>() {
                // An earlier version says the same in other words; that it is understood is all that can be asked.
                Ok(Some(payload)) if kind != P::KIND || says(&content(&payload), &entry) => {}
                Ok(_) => found.push(format!("{} is read, and not all of it.", path.display())),
                Err(fault) => {
                    found.push(format!("{} is not read any more: {}", path.display(), fault.chain().join(" ")));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
