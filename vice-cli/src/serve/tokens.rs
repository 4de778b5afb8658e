//! Who may ask a `vice serve`: tokens from a file that only its owner can read, each with a name, a permission, and the
//! projects that it is bound to, if it is to any. Without such a file nothing is served.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use vice_core::id::ProjectName;
use vice_core::{Code, Context, Digest, Fault, Result};
use vice_greed::service::Bounds;

/// The largest file, and the shortest token: 24 letters of 6 bits each can't be guessed.
const BYTES_MAX: u64 = 256 * 1024;
const TOKEN_BYTES_MIN: usize = 24;

const FORM: &str = "Each line is NAME send|read|write TOKEN, with at least 24 letters, or sha256:HEX of the token. `openssl rand -hex 32` makes one. To read or send for some projects only is written as read:shop,cart.";

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Send events in, and nothing else.
    Send,
    /// Look at the history.
    Read,
    /// All of that, and add to the history.
    Write,
}

impl Permission {
    /// As it stands in the file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// Whether who has this may do what needs that.
    pub(crate) fn includes(self, need: Self) -> bool {
        self == Self::Write || self == need
    }
}

#[derive(Debug)]
struct Token {
    name: String,
    permission: Permission,
    bounds: Option<Bounds>,
    digest: Digest,
}

/// What somebody who showed a token is let do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Admitted<'a> {
    pub(crate) name: &'a str,
    pub(crate) permission: Permission,
    /// The projects that it is bound to; none for all.
    pub(crate) bounds: Option<&'a Bounds>,
}

/// The known tokens, by their digests.
#[derive(Debug)]
pub(crate) struct Tokens(Vec<Token>);

impl Tokens {
    /// Reads the file.
    ///
    /// # Errors
    /// `Usage` for a file that is missing, empty, open to others or not of this form; never with a token in it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let metadata = std::fs::metadata(path)
            .context(Code::Usage, || format!("The file of tokens {shown} can't be read."))
            .map_err(|fault| fault.hint("Nothing is served without tokens.").hint(FORM))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(Fault::new(Code::Usage, format!("The file of tokens {shown} is open to others."))
                .hint(format!("chmod 600 {shown}")));
        }
        if metadata.len() > BYTES_MAX {
            return Err(Fault::new(Code::Usage, format!("The file of tokens {shown} is too large.")));
        }
        let text =
            std::fs::read_to_string(path).context(Code::Usage, || format!("The file of tokens {shown} is no text."))?;
        Self::parse(&text).map_err(|(line, odd)| {
            Fault::new(Code::Usage, format!("Line {line} of the file of tokens {shown} {odd}.")).hint(FORM)
        })
    }

    fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut tokens: Vec<Token> = Vec::new();
        let lines = (1..).zip(text.lines()).map(|(number, line)| (number, line.trim()));
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let token = one(line).map_err(|odd| (number, odd))?;
            if tokens.iter().any(|known| known.digest == token.digest) {
                return Err((number, "repeats a token"));
            }
            tokens.push(token);
        }
        if tokens.is_empty() { Err((1, "names no token")) } else { Ok(Self(tokens)) }
    }

    /// Whose token it is, and what it is good for. Digests are compared, so that the time it takes tells nothing.
    pub(crate) fn find(&self, presented: &str) -> Option<Admitted<'_>> {
        let digest = Digest::of(presented.as_bytes());
        let found = self.0.iter().find(|token| token.digest == digest)?;
        Some(Admitted { name: &found.name, permission: found.permission, bounds: found.bounds.as_ref() })
    }
}

fn one(line: &str) -> Result<Token, &'static str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, permission, token] = words[..] else { return Err("has not three parts") };
    let (permission, projects) =
        permission.split_once(':').map_or((permission, None), |(permission, projects)| (permission, Some(projects)));
    let permission =
        [Permission::Send, Permission::Read, Permission::Write].into_iter().find(|known| known.name() == permission);
    let projects = projects.map(|names| names.split(',').map(ProjectName::new).collect::<Result<Vec<_>>>()).transpose();
    let bounds = projects.map_err(|_| "is bound to a project that can have no such name")?.map(Bounds::of);
    let digest = match token.strip_prefix("sha256:") {
        Some(hex) => hex.parse().map_err(|_| "has a digest that is none")?,
        None if token.len() < TOKEN_BYTES_MIN => return Err("has a token that could be guessed"),
        None => Digest::of(token.as_bytes()),
    };
    let permission = permission.ok_or("has a permission that there is not")?;
    // Rules, messages and leases of all projects rest on the one history: whoever adds to it at will gets at all of them.
    if bounds.is_some() && permission == Permission::Write {
        return Err("binds a permission to write, which is one to all projects");
    }
    Ok(Token { name: name.to_owned(), permission, bounds, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "0123456789abcdef01234567";

    #[test]
    fn tokens_have_a_name_and_a_permission() {
        let digest = Digest::of(b"another");
        let tokens = Tokens::parse(&format!("# team\n\nci write {GOOD}\n eyes  read sha256:{digest}\n")).unwrap();
        let admitted = |name, permission| Some(Admitted { name, permission, bounds: None });
        assert_eq!(tokens.find(GOOD), admitted("ci", Permission::Write));
        assert_eq!(tokens.find("another"), admitted("eyes", Permission::Read));
        assert_eq!(tokens.find(""), None);
        assert_eq!(tokens.find(&GOOD[1..]), None);
    }

    #[test]
    fn a_token_can_be_bound_to_projects() {
        let digest = Digest::of(b"another");
        let tokens = Tokens::parse(&format!("ci send:shop,cart {GOOD}\neyes read:shop sha256:{digest}\n")).unwrap();
        let ci = tokens.find(GOOD).unwrap();
        assert_eq!(ci.permission, Permission::Send);
        let bounds = ci.bounds.unwrap();
        assert!(bounds.has("shop") && bounds.has("cart") && !bounds.has("till") && !bounds.has("shop,cart"));
        assert!(!tokens.find("another").unwrap().bounds.unwrap().has("cart"));
    }

    #[test]
    fn who_sends_may_not_look_and_who_looks_may_not_send() {
        use Permission::{Read, Send, Write};
        for (has, may) in [(Send, [true, false, false]), (Read, [false, true, false]), (Write, [true; 3])] {
            assert_eq!([Send, Read, Write].map(|need| has.includes(need)), may, "{has:?}");
        }
    }

    #[test]
    fn odd_files_are_refused_by_line_and_without_the_token() {
        for (text, line, said) in [
            ("", 1, "names no token"),
            ("# only\n", 1, "names no token"),
            ("ci write canary", 1, "guessed"),
            (&format!("\nci admin {GOOD}"), 2, "permission"),
            (&format!("ci {GOOD}"), 1, "three parts"),
            (&format!("ci write:shop {GOOD}"), 1, "binds a permission to write"),
            (&format!("ci read:shop, {GOOD}"), 1, "no such name"),
            (&format!("ci read: {GOOD}"), 1, "no such name"),
            (&format!("ci read:Shop/1 {GOOD}"), 1, "no such name"),
            (&format!("ci all:shop {GOOD}"), 1, "permission"),
            (&format!("ci read:shop cart {GOOD}"), 1, "three parts"),
            ("ci read sha256:canary", 1, "digest"),
            (&format!("a read {GOOD}\nb write {GOOD}"), 2, "repeats"),
        ] {
            let (at, odd) = Tokens::parse(text).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(odd.contains(said), "{text}: {odd}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, format!("ci write {GOOD}")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Tokens::read(&path).unwrap_err().to_string().contains("open to others"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Tokens::read(&path).is_ok());
        assert!(Tokens::read(&dir.path().join("none")).is_err());
    }
}
