//! Reading the text files that a command line names: plain files, pipes and the like, never more than a limit.
//!
//! The size that a file system tells is no limit: a device or a pipe says 0.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use vice_core::fault::{Code, Context, Fault, Result};

/// The text of `path`, which the user knows as `name`.
///
/// # Errors
/// `Io` when it can't be read or is not UTF-8, `Usage` when there are more than `bytes_max` bytes.
pub(crate) fn read(path: &Path, name: &str, bytes_max: u64) -> Result<String> {
    let unreadable = || format!("{name} can't be read.");
    let mut bytes = Vec::new();
    let file = File::open(path).context(Code::Io, unreadable)?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).context(Code::Io, unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(Fault::new(Code::Usage, format!("{name} has more than {bytes_max} bytes, which is the limit.")));
    }
    String::from_utf8(bytes).context(Code::Io, unreadable)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use vice_core::fault::Code;

    use super::read;

    #[test]
    fn what_has_no_size_has_a_limit_all_the_same() {
        let fault = read(Path::new("/dev/zero"), "zero", 4096).unwrap_err();
        assert_eq!((fault.code(), fault.to_string().contains("4096 bytes")), (Code::Usage, true), "{fault:?}");
        assert_eq!(read(Path::new("/dev/null"), "null", 4096).unwrap(), "");
    }
}
