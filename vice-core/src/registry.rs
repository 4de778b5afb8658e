//! Named implementations: what can be chosen by a word in `vice.toml`. A name that is unknown, or known and not
//! compiled in, fails before anything is planned, and says what to do.

use std::collections::BTreeMap;

use crate::fault::{Code, Fault, Result};
use crate::suggest::nearest;

/// Implementations of one kind of thing by name.
#[derive(Debug, Clone)]
pub struct Registry<T> {
    what: &'static str,
    present: BTreeMap<&'static str, T>,
    absent: BTreeMap<&'static str, &'static str>,
}

impl<T> Registry<T> {
    /// An empty registry of, say, targets.
    #[must_use]
    pub const fn new(what: &'static str) -> Self {
        Self { what, present: BTreeMap::new(), absent: BTreeMap::new() }
    }

    /// Adds an implementation.
    ///
    /// # Errors
    /// `Internal` when the name is taken: two of one name are a bug, found at the first start.
    pub fn add(&mut self, name: &'static str, entry: T) -> Result<()> {
        match self.present.insert(name, entry) {
            None => Ok(()),
            Some(_) => Err(Fault::internal(format!("Two of the {} are named {name}.", self.what))),
        }
    }

    /// Adds a name that is known and not compiled in, with what to do about it.
    pub fn add_absent(&mut self, name: &'static str, what_to_do: &'static str) {
        self.absent.insert(name, what_to_do);
    }

    /// The implementation of a name.
    ///
    /// # Errors
    /// `BackendMissing` with the nearest name, the list, or what to do.
    pub fn get(&self, name: &str) -> Result<&T> {
        if let Some(entry) = self.present.get(name) {
            return Ok(entry);
        }
        let shown: String = name.chars().take(60).collect();
        if let Some(what_to_do) = self.absent.get(name) {
            let message = format!("{shown:?} is not compiled into this binary.");
            return Err(Fault::new(Code::BackendMissing, message).hint(*what_to_do));
        }
        let fault = Fault::new(Code::BackendMissing, format!("There is no {shown:?} among the {}.", self.what));
        Err(match nearest(name, self.present.keys().copied()) {
            Some(near) => fault.hint(format!("Did you mean {near:?}?")),
            None => fault.hint(format!("There is: {}.", self.names().collect::<Vec<_>>().join(", "))),
        })
    }

    /// The names that can be used, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.present.keys().copied()
    }

    /// Everything in it, by name.
    #[must_use]
    pub fn into_map(self) -> BTreeMap<&'static str, T> {
        self.present
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_say_what_to_do() {
        let mut registry = Registry::new("targets");
        registry.add("local", 1).unwrap();
        registry.add_absent("kubernetes", "Build with --features kubernetes.");
        assert_eq!(registry.get("local").unwrap(), &1);
        let near = registry.get("locall").unwrap_err();
        assert_eq!((near.code(), near.hints()), (Code::BackendMissing, &["Did you mean \"local\"?".to_owned()][..]));
        assert!(registry.get("kubernetes").unwrap_err().hints()[0].contains("--features"));
        assert!(registry.get("mars").unwrap_err().hints()[0].contains("local"));
    }

    #[test]
    fn two_of_one_name_are_a_bug() {
        let mut registry = Registry::new("targets");
        registry.add("local", 1).unwrap();
        assert_eq!(registry.add("local", 2).unwrap_err().code(), Code::Internal);
    }
}
