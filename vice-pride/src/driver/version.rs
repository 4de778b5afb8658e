//! What can be a version. Whatever names one, on a command line or in `vice.toml`, is checked here.

use vice_core::{Code, Fault, Result};

/// The longest version that is accepted, in bytes: versions become parts of file names.
const VERSION_BYTES_MAX: usize = 128;

/// Versions become parts of paths, arguments and labels, so that only harmless characters are let in.
pub(crate) fn check_version(version: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '/');
    let bad = version.is_empty()
        || version.len() > VERSION_BYTES_MAX
        || !version.chars().all(fine)
        || version.starts_with(['-', '.', '/'])
        || version.contains("..");
    if bad {
        let shown: String = version.chars().take(80).collect();
        return Err(Fault::new(Code::InvalidName, format!("{shown:?} can't be a version."))
            .hint("Versions have letters, digits, and . - _ + / in between, such as 1.4.2."));
    }
    Ok(())
}
