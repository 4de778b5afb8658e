//! What stands in for opening SOPS files in a binary that was built without encryption.

use serde_json::{Map, Value};
use vice_core::{Code, Fault, Result};

use super::Sealed;

/// Can't open a file.
pub(super) fn open(_sealed: &Sealed, _key: &[u8], _name: &str) -> Result<Map<String, Value>> {
    Err(Fault::new(Code::BackendMissing, "This vice was built without encryption (the feature `secrets`)."))
}
