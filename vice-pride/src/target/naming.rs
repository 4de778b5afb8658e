//! What operations and releases are called on hosts, and words in shell scripts. All of it is safe to be part of a path or
//! an argument there.

use vice_core::Digest;
use vice_core::payload::ReleaseRef;

/// What a release is called on a host: all that it is made of, as one word.
pub(super) fn release_id(release: &ReleaseRef) -> String {
    short(&serde_json::to_string(release).unwrap_or_default())
}

/// What an operation is called on a host.
pub(super) fn op_key(id: &str) -> String {
    short(id)
}

fn short(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string().chars().take(32).collect()
}

/// One word for a shell.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
