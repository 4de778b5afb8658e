//! Holding an event type to what was ever written of it. A corpus is a folder with one folder a type and version, in which
//! each file is the content of one event as some version of vice has written it. Entries are never changed and never removed.
//!
//! A sample whose form no entry has is reported: the type has changed. When a field was added with a default, the new form
//! becomes another entry (`VICE_GOLDEN=write` makes it) beside the old ones, which must decode for ever. Any other change is
//! a new version of the type, with an `upcast`, and a folder of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::event::{Actor, Event, Head, Payload, split_kind};

/// What the types begin with that are vice's own. Each has an entry in the corpus of the crate that writes it.
const OWN: &str = "\"dev.cdeventsx.vice-";

/// The corpus of one crate: `tests/golden` below the folder of its manifest.
#[derive(Debug, Clone)]
pub struct Corpus {
    manifest: PathBuf,
}

impl Corpus {
    /// The corpus of the crate whose `CARGO_MANIFEST_DIR` this is.
    #[must_use]
    pub fn of(manifest: &str) -> Self {
        Self { manifest: manifest.into() }
    }

    /// Where it lies.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.manifest.join("tests/golden")
    }

    /// Whether a run adds what is missing instead of reporting it.
    #[expect(clippy::disallowed_methods, reason = "the corpus is written when a variable asks for it")]
    #[must_use]
    pub fn writes() -> bool {
        std::env::var("VICE_GOLDEN").is_ok_and(|value| value == "write")
    }

    /// Holds a type to the corpus by samples that have every field set.
    ///
    /// # Panics
    /// With everything that [`problems`] finds.
    #[track_caller]
    pub fn hold<P: Payload>(&self, samples: &[P]) {
        let found = problems(&self.folder(), samples, Self::writes());
        assert!(found.is_empty(), "{found:#?}");
    }

    /// Holds the data of a type that nothing decodes to the corpus: they are written in a form that has an entry.
    ///
    /// # Panics
    /// For a form without an entry.
    #[track_caller]
    pub fn hold_data(&self, kind: &str, data: &[Value]) {
        let found = forms(&self.folder().join(kind), kind, data, Self::writes());
        assert!(found.is_empty(), "{found:#?}");
    }

    /// Holds the crate to having an entry of every type of vice's own that its sources name with a version. A run that
    /// writes the corpus says nothing here: its other tests may be at it.
    ///
    /// # Panics
    /// With the types that have none, and for a crate that names none at all, because then the search is at fault.
    #[track_caller]
    pub fn has_every_type(&self) {
        let without = self.without_entry();
        assert!(
            without.is_empty() || Self::writes(),
            "These types have no entry in {}: {without:#?}",
            self.folder().display()
        );
    }

    fn without_entry(&self) -> Vec<String> {
        let types = types(&self.manifest.join("src"));
        assert!(!types.is_empty(), "no type is named below {}", self.manifest.display());
        types.into_iter().filter(|kind| entries(&self.folder().join(kind)).is_empty()).collect()
    }
}

/// The types of vice's own that the sources below a folder name, tests aside.
fn types(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the sources can be read") {
        let path = entry.expect("the sources can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "tests" {
            found.extend(types(&path));
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = std::fs::read_to_string(&path).expect("a source is text");
            // Unit tests stand at the end of a file, behind this line.
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let named = text.match_indices(OWN).filter_map(|(at, _)| text[at + 1..].split('"').next());
            found.extend(named.filter(|kind| has_version(kind)).map(str::to_owned));
        }
    }
    found
}

fn has_version(kind: &str) -> bool {
    split_kind(kind).is_some_and(|(name, version)| {
        !name.contains('{') && version.split('.').all(|part| part.parse::<u32>().is_ok())
    })
}

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
    let samples: Vec<Value> = samples.iter().map(content).collect();
    let mut found = forms(&corpus.join(P::KIND), P::KIND, &samples, write);
    found.extend(unread::<P>(corpus));
    found
}

/// The forms of a type that its folder has no entry of; `write` adds them.
fn forms(own: &Path, kind: &str, forms: &[Value], write: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut known = entries(own);
    for form in forms {
        if known.iter().any(|(_, entry)| entry == form) {
            continue;
        }
        if write {
            std::fs::create_dir_all(own).expect("the corpus can be written");
            // Whatever is there stays as it is, so the name is one that nothing has.
            let mut paths = (known.len()..).map(|number| own.join(format!("{number:03}.json")));
            let path = paths.find(|path| !path.exists()).expect("there is a number");
            let text = serde_json::to_string_pretty(form).expect("a value is JSON");
            std::fs::write(&path, text + "\n").expect("the corpus can be written");
            known.push((path, form.clone()));
        } else {
            found.push(format!(
                "{kind} is written in a form that {} has no entry of. For a new field with a default run the test with \
                 VICE_GOLDEN=write; any other change is a new version of the type. It is now: {form}",
                own.display()
            ));
        }
    }
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
