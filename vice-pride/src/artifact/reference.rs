//! What an artifact reference says, decided from its text alone; whether it exists is asked later.
//!
//! The grammar is narrow on purpose: a reference may come out of a template, a chat message or a branch name, and parts
//! of it become arguments of `git`.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;
use vice_core::digest::Digest;
use vice_core::fault::{Code, Context, Fault, Result};

use super::names::quoted;

/// The formats of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.tar.gz`, `.tgz`
    TarGz,
    /// `.tar.zst`, `.tzst`
    TarZst,
    /// `.tar`
    Tar,
    /// `.zip`
    Zip,
}

impl Format {
    /// The format that a file name ends in.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        const SUFFIXES: [(&str, Format); 6] = [
            (".tar.gz", Format::TarGz),
            (".tgz", Format::TarGz),
            (".tar.zst", Format::TarZst),
            (".tzst", Format::TarZst),
            (".tar", Format::Tar),
            (".zip", Format::Zip),
        ];
        let name = name.to_ascii_lowercase();
        SUFFIXES.iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, format)| *format)
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::TarGz => "tar.gz",
            Self::TarZst => "tar.zst",
            Self::Tar => "tar",
            Self::Zip => "zip",
        }
    }
}

/// Where an artifact comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A folder, or a single executable file; which one is seen when it is read.
    Path(PathBuf),
    /// An archive on this machine.
    Archive {
        /// Relative to the project, or absolute.
        path: PathBuf,
        /// By its suffix.
        format: Format,
    },
    /// An archive to download.
    Http {
        /// Without the fragment.
        url: Url,
        /// By the suffix of the URL's path.
        format: Format,
        /// The archive's SHA-256, when the reference pins it.
        sha256: Option<Digest>,
    },
    /// A tree of a git repository.
    Git {
        /// `ssh`, `https` or `file`.
        url: Url,
        /// A branch, tag or commit; `HEAD` when the reference names none.
        rev: String,
        /// A folder inside the repository.
        subdir: Option<String>,
    },
}

impl Reference {
    /// Reads a rendered reference: a path, `https://…/x.tar.gz#sha256=HEX` or `git+ssh://…@REF#FOLDER`.
    ///
    /// # Errors
    /// [`Code::InvalidName`] for hostile text, [`Code::ManifestInvalid`] for text that does not fit together,
    /// [`Code::BackendMissing`] for a scheme that vice does not have.
    pub fn parse(text: &str) -> Result<Self> {
        check_characters(text)?;
        if let Some(rest) = text.strip_prefix("git+") {
            return git(text, rest);
        }
        match scheme(text) {
            Some("http" | "https") => http(text),
            Some("file") => {
                let url = Url::parse(text).context(Code::ManifestInvalid, || invalid(text))?;
                let path = url.to_file_path().map_err(|()| Fault::new(Code::ManifestInvalid, invalid(text)))?;
                Ok(Self::of_path(path))
            }
            Some(scheme) => Err(unknown_scheme(scheme)),
            None => Ok(Self::of_path(PathBuf::from(text))),
        }
    }

    fn of_path(path: PathBuf) -> Self {
        match path.file_name().and_then(|name| Format::of(&name.to_string_lossy())) {
            Some(format) => Self::Archive { path, format },
            None => Self::Path(path),
        }
    }

    /// The same reference with relative paths below `root`.
    #[must_use]
    pub fn below(self, root: &Path) -> Self {
        match self {
            Self::Path(path) => Self::Path(root.join(path)),
            Self::Archive { path, format } => Self::Archive { path: root.join(path), format },
            other => other,
        }
    }
}

impl fmt::Display for Reference {
    /// For messages and events: without query, which may carry a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) | Self::Archive { path, .. } => f.write_str(&super::unpack::label_of(path)),
            Self::Http { url, .. } => f.write_str(&shown(url)),
            Self::Git { url, rev, subdir } => {
                write!(f, "git+{}@{rev}", shown(url))?;
                subdir.iter().try_for_each(|subdir| write!(f, "#{subdir}"))
            }
        }
    }
}

/// A URL without user, password, query and fragment.
pub(super) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or("");
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

fn check_characters(text: &str) -> Result<()> {
    let reason = match text {
        "" => "is empty",
        _ if text.len() > 4096 => "is too long",
        _ if text.starts_with('-') => "starts with `-`, which a tool could take for an option",
        _ if text.chars().any(char::is_control) => "contains a control character",
        _ => return Ok(()),
    };
    Err(Fault::new(Code::InvalidName, format!("The artifact reference {} {reason}.", safe(text)))
        .hint("Write a path, https://…/name.tar.gz#sha256=…, or git+https://…@TAG."))
}

/// The scheme of a URL-like text. `C:…` and a path with a colon further on are paths.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    let is_name = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let is_known = matches!(scheme, "s3" | "oci" | "docker" | "http" | "https" | "file" | "git" | "ssh" | "data");
    (is_name && (rest.starts_with("//") || is_known)).then_some(scheme)
}

fn unknown_scheme(scheme: &str) -> Fault {
    Fault::new(Code::BackendMissing, format!("Artifacts of the kind `{scheme}:` are not supported by this build."))
        .hint("There are: a path, http:// and https:// archives, git+ssh://, git+https:// and git+file://.")
}

fn invalid(text: &str) -> String {
    format!("The artifact reference {} is not valid.", safe(text))
}

/// The text for a message, without what stands before the last `@` of its authority: that may be a password.
fn safe(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return quoted(text.as_bytes()) };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    quoted(format!("{scheme}://{host}{path}").as_bytes())
}

fn checked_url(text: &str, shown_text: &str) -> Result<Url> {
    let url = Url::parse(text).context(Code::ManifestInvalid, || invalid(shown_text))?;
    if url.password().is_some() {
        return Err(Fault::new(Code::ManifestInvalid, "The artifact reference contains a password.")
            .hint("Use a credential helper of git, or a signed URL; a manifest is no place for secrets."));
    }
    if url.username().starts_with('-') || url.host_str().is_some_and(|host| host.starts_with('-')) {
        let message = format!("The artifact reference {} has a user or host that starts with `-`.", safe(shown_text));
        return Err(Fault::new(Code::InvalidName, message));
    }
    Ok(url)
}

fn http(text: &str) -> Result<Reference> {
    let mut url = checked_url(text, text)?;
    let sha256 = match url.fragment() {
        None => None,
        Some(fragment) => {
            let digest = fragment.strip_prefix("sha256=").and_then(|hex| hex.parse().ok());
            let fault = || {
                Fault::new(Code::ManifestInvalid, format!("{} has a fragment that is no digest.", shown(&url)))
                    .hint("Write #sha256= and 64 hexadecimal digits.")
            };
            Some(digest.ok_or_else(fault)?)
        }
    };
    url.set_fragment(None);
    let format = Format::of(url.path()).ok_or_else(|| {
        Fault::new(Code::ManifestInvalid, format!("{} does not end in the suffix of an archive.", shown(&url)))
            .hint("There are: .tar.gz, .tgz, .tar.zst, .tar and .zip.")
    })?;
    Ok(Reference::Http { url, format, sha256 })
}

fn git(text: &str, rest: &str) -> Result<Reference> {
    let (address, subdir) = match rest.split_once('#') {
        Some((address, subdir)) => (address, Some(subdir.trim_end_matches('/').to_owned())),
        None => (rest, None),
    };
    let path_at = address.find("://").and_then(|at| address[at + 3..].find('/').map(|slash| at + 3 + slash));
    let path_at = path_at.ok_or_else(|| Fault::new(Code::ManifestInvalid, invalid(text)))?;
    let (address, rev) = match address[path_at..].rfind('@') {
        Some(at) => (&address[..path_at + at], &address[path_at + at + 1..]),
        None => (address, "HEAD"),
    };
    let url = checked_url(address, text)?;
    if !matches!(url.scheme(), "ssh" | "https" | "file") {
        return Err(unknown_scheme(&format!("git+{}", url.scheme())));
    }
    if url.query().is_some() {
        return Err(Fault::new(Code::ManifestInvalid, invalid(text)));
    }
    check_ref(rev)?;
    if let Some(subdir) = &subdir {
        let parts = super::names::components(subdir.as_bytes(), super::names::Style::Zip, 64);
        if !parts.is_ok_and(|parts| parts.join("/") == *subdir) || subdir.contains([':', '*', '?', '[']) {
            let message = format!("The folder {} of a git artifact is not valid.", quoted(subdir.as_bytes()));
            return Err(Fault::new(Code::InvalidName, message));
        }
    }
    Ok(Reference::Git { url, rev: rev.to_owned(), subdir })
}

/// The letters of branches and tags that nobody can take for an option, a range or a shell word.
fn check_ref(rev: &str) -> Result<()> {
    let letters = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '/' | '-' | '+' | '=' | ',' | '#');
    let good = !rev.is_empty()
        && rev.len() <= 255
        && rev.chars().all(letters)
        && !rev.starts_with(['-', '/', '+', '.'])
        && !rev.ends_with(['/', '.'])
        && !rev.contains("..")
        && !rev.contains("//");
    if good {
        return Ok(());
    }
    Err(Fault::new(
        Code::InvalidName,
        format!("The git revision {} is not a plain branch, tag or commit.", quoted(rev.as_bytes())),
    )
    .hint("Letters, digits and . _ / - + = , are allowed; it can't start with `-`."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_from_suffix_and_scheme() {
        assert_eq!(Reference::parse("dist/app").unwrap(), Reference::Path("dist/app".into()));
        let archive = |path: &str, format| Reference::Archive { path: path.into(), format };
        assert_eq!(Reference::parse("dist/a-1.tgz").unwrap(), archive("dist/a-1.tgz", Format::TarGz));
        assert_eq!(Reference::parse("a.tar.zst").unwrap(), archive("a.tar.zst", Format::TarZst));
        assert_eq!(Reference::parse("file:///srv/a.zip").unwrap(), archive("/srv/a.zip", Format::Zip));
        assert_eq!(Reference::parse("dist/a:b").unwrap(), Reference::Path("dist/a:b".into()));
        let digest = Digest::of(b"x");
        let parsed = Reference::parse(&format!("https://h/p/x.tar.gz?sig=s#sha256={digest}")).unwrap();
        let Reference::Http { format: Format::TarGz, sha256: Some(found), .. } = &parsed else { panic!("{parsed:?}") };
        assert_eq!(*found, digest);
        assert_eq!(parsed.to_string(), "https://h/p/x.tar.gz");
    }

    #[test]
    fn git_references_split_at_the_last_at_sign() {
        let cases = [
            ("git+file:///srv/r@v1.2#sub/dir", "file:///srv/r", "v1.2", Some("sub/dir")),
            ("git+ssh://git@host/r.git@feature/x", "ssh://git@host/r.git", "feature/x", None),
            ("git+https://host/@org/r@main", "https://host/@org/r", "main", None),
            ("git+https://host/r", "https://host/r", "HEAD", None),
        ];
        for (text, url, rev, subdir) in cases {
            let expected = Reference::Git {
                url: Url::parse(url).unwrap(),
                rev: rev.to_owned(),
                subdir: subdir.map(str::to_owned),
            };
            assert_eq!(Reference::parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn hostile_references_are_refused() {
        let revs = ["`touch p`", "$(touch p)", "v1;touch p", "-x", "--upload-pack=x", "a..b", "a b", "a:b", "a^{}", ""];
        for rev in revs {
            let fault = Reference::parse(&format!("git+https://host/r@{rev}")).unwrap_err();
            assert_eq!(fault.code(), Code::InvalidName, "{rev}");
        }
        let refused = [
            ("-oProxyCommand=x", Code::InvalidName),
            ("--config=x", Code::InvalidName),
            ("dist/a\nb", Code::InvalidName),
            ("", Code::InvalidName),
            ("git+ssh://-oProxyCommand=x/r@v1", Code::InvalidName),
            ("git+ssh://-l@host/r@v1", Code::InvalidName),
            ("git+ext://sh/-c@v1", Code::BackendMissing),
            ("git+http://host/r@v1", Code::BackendMissing),
            ("git+file:///srv/r@v1#../x", Code::InvalidName),
            ("s3://bucket/x.tar.gz", Code::BackendMissing),
            ("oci:x", Code::BackendMissing),
            ("https://h/x.rpm", Code::ManifestInvalid),
            ("https://h/x.zip#sha256=abc", Code::ManifestInvalid),
            ("https://user:hunter2@h/x.zip", Code::ManifestInvalid),
            ("git+https://user:hunter2@host", Code::ManifestInvalid),
            ("https://user:hunter2@h/\u{7}", Code::InvalidName),
            ("https://user:hunter2@[/x.zip", Code::ManifestInvalid),
        ];
        for (text, code) in refused {
            let fault = Reference::parse(text).unwrap_err();
            assert_eq!(fault.code(), code, "{text}: {fault:?}");
            assert!(!format!("{fault:?}").contains("hunter2"), "{fault:?}");
        }
    }
}
