//! Looking around in folders: what is there, what was probably meant, and which versions a pattern has.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use vice_core::fault::{Code, Context, Fault, Result};

use super::unpack::label_of;

const CANDIDATES_MAX: usize = 5;

/// The names in a folder that are text.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let unreadable = || format!("The folder {} can't be listed.", label_of(folder));
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).context(Code::Io, unreadable)? {
        let entry = entry.context(Code::Io, unreadable)?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// The fault for a path that is not there, with what lies near it, newest first.
pub(super) fn missing(path: &Path) -> Fault {
    let fault = Fault::new(Code::ArtifactMissing, format!("The artifact {} does not exist.", label_of(path)));
    let folder = path.parent().unwrap_or(Path::new(""));
    if !folder.as_os_str().is_empty() && !folder.is_dir() {
        return fault.hint(format!("The folder {} does not exist either; build the project first.", label_of(folder)));
    }
    let near = candidates(path, folder);
    if near.is_empty() {
        return fault.hint("Build the project first, or correct `artifact` in the manifest.");
    }
    fault.hint(format!("In that folder there is: {}.", near.join(", ")))
}

fn candidates(path: &Path, folder: &Path) -> Vec<String> {
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let suffix = super::reference::Format::of(&wanted);
    let stem: String = wanted.chars().take_while(|c| c.is_alphabetic()).collect();
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut near: Vec<(SystemTime, String)> = names(folder)
        .unwrap_or_default()
        .into_iter()
        .filter(|name| {
            suffix.is_some_and(|suffix| super::reference::Format::of(name) == Some(suffix))
                || (!stem.is_empty() && name.starts_with(&stem))
        })
        .map(|name| (modified(&folder.join(&name)), name))
        .collect();
    near.sort_by(|one, two| two.cmp(one));
    near.into_iter().take(CANDIDATES_MAX).map(|(_, name)| label_of(Path::new(&name))).collect()
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The versions that exist for a pattern such as `dist/shop-{{version}}.tar.gz`, newest first: by number (pre-releases
/// before their release), then by the time of the last change. Empty for patterns that are no local path.
#[must_use]
pub fn versions(pattern: &str, root: &Path) -> Vec<String> {
    let plain = spaceless(pattern);
    let is_local = plain.contains(HOLE) && !plain.contains("://") && !plain.replace(HOLE, "").contains("{{");
    if !is_local {
        return Vec::new();
    }
    let mut found = Vec::new();
    let parts: Vec<&str> = plain.split('/').collect();
    let start = if plain.starts_with('/') { PathBuf::from("/") } else { root.to_owned() };
    search(&start, &parts, None, &mut found);
    found.sort_by(|(time, name), (other_time, other)| {
        compare(other, name).then_with(|| other_time.cmp(time)).then_with(|| other.cmp(name))
    });
    found.dedup_by(|one, two| one.1 == two.1);
    found.into_iter().map(|(_, version)| version).collect()
}

/// The first of [`versions`].
#[must_use]
pub fn newest_version(pattern: &str, root: &Path) -> Option<String> {
    versions(pattern, root).into_iter().next()
}

const HOLE: &str = "{{version}}";

fn spaceless(pattern: &str) -> String {
    pattern.replace("{{ version }}", HOLE).replace("{{version }}", HOLE).replace("{{ version}}", HOLE)
}

fn search(folder: &Path, parts: &[&str], version: Option<&str>, found: &mut Vec<(SystemTime, String)>) {
    let Some((part, rest)) = parts.split_first() else {
        if let Some(version) = version.filter(|_| folder.exists()) {
            found.push((modified(folder), version.to_owned()));
        }
        return;
    };
    match version {
        Some(known) => search(&folder.join(part.replace(HOLE, known)), rest, version, found),
        None if !part.contains(HOLE) => search(&folder.join(part), rest, None, found),
        None => {
            for name in names(folder).unwrap_or_default() {
                if let Some(version) = hole_of(part, &name) {
                    search(&folder.join(&name), rest, Some(version), found);
                }
            }
        }
    }
}

/// What stands in `name` where `part` has its holes; the same in each.
fn hole_of<'n>(part: &str, name: &'n str) -> Option<&'n str> {
    let holes = part.matches(HOLE).count();
    let fixed = part.len() - holes * HOLE.len();
    let length = name.len().checked_sub(fixed)? / holes;
    let start = part.find(HOLE)?;
    let version = name.get(start..start + length)?;
    let plain = !version.is_empty() && !version.starts_with(['-', '.']) && !version.chars().any(char::is_control);
    (plain && part.replace(HOLE, version) == name).then_some(version)
}

/// Older to newer. What starts like a number is newer than what does not.
fn compare(one: &str, two: &str) -> Ordering {
    let split = |text: &str| {
        let text = text.strip_prefix('v').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())).unwrap_or(text);
        let text = text.split('+').next().unwrap_or(text).to_owned();
        match text.split_once('-') {
            Some((main, pre)) => (main.to_owned(), Some(pre.to_owned())),
            None => (text, None),
        }
    };
    let ((one, one_pre), (two, two_pre)) = (split(one), split(two));
    let numeric = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    numeric(&one).cmp(&numeric(&two)).then_with(|| natural(&one, &two)).then_with(|| match (one_pre, two_pre) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(one), Some(two)) => natural(&one, &two),
    })
}

fn natural(one: &str, two: &str) -> Ordering {
    let (mut one, mut two) = (one, two);
    while !one.is_empty() && !two.is_empty() {
        let (one_run, one_rest) = run(one);
        let (two_run, two_rest) = run(two);
        let digits = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let order = match (digits(one_run), digits(two_run)) {
            (true, true) => {
                let (one, two) = (one_run.trim_start_matches('0'), two_run.trim_start_matches('0'));
                one.len().cmp(&two.len()).then_with(|| one.cmp(two))
            }
            // As in SemVer, numbers are older than words at the same place.
            (one, two) if one != two => two.cmp(&one),
            _ => one_run.cmp(two_run),
        };
        if order != Ordering::Equal {
            return order;
        }
        (one, two) = (one_rest, two_rest);
    }
    one.len().cmp(&two.len())
}

fn run(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_people_expect() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["1.9.0", "1.10.0", "1.10.0-rc.2", "1.10.0-rc.10", "v2", "0.1", "nightly"] {
            fs::write(folder.path().join(format!("shop-{version}.tar.gz")), b"x").unwrap();
        }
        fs::write(folder.path().join("other-9.tar.gz"), b"x").unwrap();
        let expected = ["v2", "1.10.0", "1.10.0-rc.10", "1.10.0-rc.2", "1.9.0", "0.1", "nightly"];
        assert_eq!(versions("shop-{{version}}.tar.gz", folder.path()), expected);
        assert_eq!(newest_version("shop-{{ version }}.tar.gz", folder.path()).as_deref(), Some("v2"));
        assert!(versions("nothing-{{version}}", folder.path()).is_empty());
        assert!(versions("https://h/{{version}}.zip", folder.path()).is_empty());
        assert!(versions("plain.zip", folder.path()).is_empty());
    }

    #[test]
    fn a_version_may_name_folders_too() {
        let folder = tempfile::tempdir().unwrap();
        for (version, name) in [("1", "shop-1"), ("2", "shop-1"), ("3", "shop-3")] {
            let inner = folder.path().join("out").join(version);
            fs::create_dir_all(&inner).unwrap();
            fs::write(inner.join(name), b"x").unwrap();
        }
        assert_eq!(versions("out/{{version}}/shop-{{version}}", folder.path()), ["3", "1"]);
        assert_eq!(versions("out/{{version}}", folder.path()), ["3", "2", "1"]);
    }

    #[test]
    fn equal_versions_differ_by_time() {
        let folder = tempfile::tempdir().unwrap();
        for (version, seconds) in [("1.0+old", 100), ("1.0+new", 200)] {
            let file = fs::File::create(folder.path().join(format!("a-{version}"))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        }
        assert_eq!(versions("a-{{version}}", folder.path()), ["1.0+new", "1.0+old"]);
    }

    #[test]
    fn a_missing_artifact_names_what_is_near() {
        let folder = tempfile::tempdir().unwrap();
        for (name, seconds) in [("shop-1.tar.gz", 100), ("shop-2.tar.gz", 200), ("notes.txt", 300)] {
            let file = fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        }
        let fault = missing(&folder.path().join("shop-3.tar.gz"));
        assert_eq!(fault.code(), Code::ArtifactMissing);
        assert_eq!(fault.hints(), ["In that folder there is: shop-2.tar.gz, shop-1.tar.gz."]);
        let fault = missing(&folder.path().join("dist/shop-3.tar.gz"));
        assert!(fault.hints()[0].contains("build the project first"), "{fault:?}");
    }
}
