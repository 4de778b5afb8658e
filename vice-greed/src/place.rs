//! Where a history lives, as `[history] store` and `vice greed copy` write it, and opening what is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vice_core::app::ProcessEnv;
use vice_core::series::SeriesStore;
use vice_core::store::EventStore;
use vice_core::suggest::nearest;
use vice_core::time::Clock;
use vice_core::{Code, Fault, Result};

use crate::archive::reunited;
use crate::series::SqliteSeries;
use crate::sqlite::{self, SqliteStore};

/// Whom a store tells what it did without being asked, in whole sentences.
pub type Notices = Arc<dyn Fn(&str) + Send + Sync>;

const FORMS: &str = "Write a folder, sqlite:FOLDER, jsonl:FOLDER, git:REMOTE, s3://BUCKET/PREFIX, postgres://USER@HOST/DATABASE, nats://HOST/STREAM https://HOST of a `vice serve`, or NAME:PLACE of a plug-in.";
const SCHEMES: [&str; 9] = ["sqlite", "jsonl", "postgres", "postgresql", "git", "s3", "nats", "https", "http"];

/// A place for a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// SQLite in a state folder.
    Sqlite(PathBuf),
    /// JSON lines in a state folder.
    Jsonl(PathBuf),
    /// A PostgreSQL database, by its URL without a password.
    Postgres(String),
    /// A ref of a git repository.
    #[cfg(feature = "jsonl")]
    Git(crate::git::GitPlace),
    /// A prefix of a bucket, by its URL.
    #[cfg(all(feature = "s3", feature = "jsonl"))]
    S3(url::Url),
    /// A stream of NATS JetStream.
    #[cfg(feature = "nats")]
    Nats(crate::nats::NatsPlace),
    /// The history of a `vice serve`, by its address.
    #[cfg(feature = "remote")]
    Remote(crate::remote::RemotePlace),
    /// A place behind a program `vice-backend-NAME`.
    #[cfg(feature = "jsonl")]
    Plugin(crate::plugin::PluginPlace),
}

/// What opening a history needs.
pub struct Opening {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Variables with credentials.
    pub env: Arc<ProcessEnv>,
    /// Who hears what the store did without being asked.
    pub notices: Notices,
    /// The folder of this machine that goes with a store elsewhere.
    pub state: PathBuf,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("state", &self.state).finish_non_exhaustive()
    }
}

impl std::fmt::Display for StorePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(dir) => write!(f, "sqlite:{}", dir.display()),
            Self::Jsonl(dir) => write!(f, "jsonl:{}", dir.display()),
            Self::Postgres(url) => f.write_str(url),
            #[cfg(feature = "jsonl")]
            Self::Git(place) => place.fmt(f),
            #[cfg(all(feature = "s3", feature = "jsonl"))]
            Self::S3(url) => url.fmt(f),
            #[cfg(feature = "nats")]
            Self::Nats(place) => place.fmt(f),
            #[cfg(feature = "remote")]
            Self::Remote(place) => place.fmt(f),
            #[cfg(feature = "jsonl")]
            Self::Plugin(place) => place.fmt(f),
        }
    }
}

impl StorePlace {
    /// What `text` names; folders are relative to `base`.
    ///
    /// # Errors
    /// `Usage` for what names no place, `Unsupported` for what can't hold a history, `BackendMissing` for what this build
    /// does not have.
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        let Some((scheme, rest)) = scheme(text) else {
            return folder(text, base).map(Self::Sqlite);
        };
        match scheme {
            "sqlite" => folder(rest, base).map(Self::Sqlite),
            "jsonl" if cfg!(feature = "jsonl") => folder(rest, base).map(Self::Jsonl),
            "postgres" | "postgresql" if cfg!(feature = "postgres") => postgres(text),
            #[cfg(feature = "jsonl")]
            "git" => crate::git::GitPlace::parse(rest, base).map(Self::Git),
            #[cfg(all(feature = "s3", feature = "jsonl"))]
            "s3" => crate::s3::parse(text).map(Self::S3),
            #[cfg(feature = "nats")]
            "nats" => crate::nats::NatsPlace::parse(text).map(Self::Nats),
            #[cfg(feature = "remote")]
            "http" | "https" => crate::remote::RemotePlace::parse(text).map(Self::Remote),
            known if SCHEMES.contains(&known) => Err(not_built(known)),
            "kafka" => Err(Fault::new(
                Code::Unsupported,
                "Kafka can't hold the history: it has no append under conditions and no fence.",
            )
            .hint(
                "`vice greed forward --to` sends events to a topic, `vice greed follow --from` takes them in from one.",
            )
            .hint(FORMS)),
            "memory" => {
                Err(Fault::new(Code::Usage, "A history in memory would be forgotten with the command.").hint(FORMS))
            }
            #[cfg(feature = "jsonl")]
            other => crate::plugin::PluginPlace::parse(other, rest, base).map(Self::Plugin),
            #[cfg(not(feature = "jsonl"))]
            other => Err(unknown(other)),
        }
    }

    /// Fails for a kind of store that is neither built in nor a program on `PATH`.
    ///
    /// # Errors
    /// `BackendMissing` with the nearest kind; `Usage` for a program that anybody could replace.
    pub fn require_program(&self, env: &ProcessEnv) -> Result<()> {
        match self {
            #[cfg(feature = "jsonl")]
            Self::Plugin(place) => place.program(env).map(drop),
            _ => Ok(()),
        }
    }

    /// The state folder on this machine that goes with the place; `default` for a place elsewhere.
    #[must_use]
    pub fn state(&self, default: &Path) -> PathBuf {
        match self {
            Self::Sqlite(dir) | Self::Jsonl(dir) => dir.clone(),
            _ => default.to_owned(),
        }
    }

    /// The history there, whatever else is in its folder. Nothing is created before the first append.
    ///
    /// # Errors
    /// What the kind of store opens with.
    pub fn open(&self, opening: &Opening) -> Result<Arc<dyn EventStore>> {
        Ok(reunited(self.open_bare(opening)?, &opening.env, &opening.notices))
    }

    /// The history without its archive.
    fn open_bare(&self, opening: &Opening) -> Result<Arc<dyn EventStore>> {
        match self {
            Self::Sqlite(dir) => Ok(Arc::new(SqliteStore::open(dir, Arc::clone(&opening.clock))?)),
            #[cfg(feature = "jsonl")]
            Self::Jsonl(dir) => Ok(Arc::new(crate::jsonl::JsonlStore::open(dir, Arc::clone(&opening.notices)))),
            #[cfg(not(feature = "jsonl"))]
            Self::Jsonl(_) => Err(Fault::internal("There is no store of JSON lines in this build.")),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => Ok(Arc::new(crate::postgres::PostgresStore::open(url, opening)?)),
            #[cfg(not(feature = "postgres"))]
            Self::Postgres(_) => Err(Fault::internal("There is no PostgreSQL in this build.")),
            #[cfg(feature = "jsonl")]
            Self::Git(place) => Ok(Arc::new(crate::git::open(place, opening))),
            #[cfg(all(feature = "s3", feature = "jsonl"))]
            Self::S3(url) => Ok(Arc::new(crate::s3::open(url, opening)?)),
            #[cfg(feature = "nats")]
            Self::Nats(place) => Ok(Arc::new(crate::nats::open(place, opening))),
            #[cfg(feature = "remote")]
            Self::Remote(place) => Ok(Arc::new(crate::remote::RemoteStore::open(place, opening)?)),
            #[cfg(feature = "jsonl")]
            Self::Plugin(place) => Ok(Arc::new(crate::plugin::open(place, opening)?)),
        }
    }

    /// The observations that go with the history: in its database, or in the state folder.
    ///
    /// # Errors
    /// What the kind of store opens with.
    pub fn open_series(&self, opening: &Opening) -> Result<Arc<dyn SeriesStore>> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => Ok(Arc::new(crate::postgres::PostgresSeries::open(url, opening)?)),
            _ => Ok(Arc::new(SqliteSeries::open(&opening.state)?)),
        }
    }

    /// Fails when the folder holds a history of another kind and none of this: going on would begin a second one.
    ///
    /// # Errors
    /// `Conflict`, with the command that moves the history.
    pub fn require_own_kind(&self) -> Result<()> {
        let (dir, own, other) = match self {
            Self::Sqlite(dir) => (dir, has_sqlite(dir), Self::Jsonl(dir.clone())),
            Self::Jsonl(dir) => (dir, has_jsonl(dir), Self::Sqlite(dir.clone())),
            _ => return Ok(()),
        };
        let found = match other {
            Self::Jsonl(_) => has_jsonl(dir),
            _ => has_sqlite(dir),
        };
        if own || !found {
            return Ok(());
        }
        let message =
            format!("The folder {} holds a history as {}, not as {}.", dir.display(), kind(&other), kind(self));
        Err(Fault::new(Code::Conflict, message)
            .hint(format!("`vice greed copy {other} {self}` brings it over; or correct [history] store in vice.toml.")))
    }
}

const fn kind(place: &StorePlace) -> &'static str {
    match place {
        StorePlace::Sqlite(_) => "sqlite",
        StorePlace::Jsonl(_) => "jsonl",
        StorePlace::Postgres(_) => "postgres",
        #[cfg(feature = "jsonl")]
        StorePlace::Git(_) => "git",
        #[cfg(all(feature = "s3", feature = "jsonl"))]
        StorePlace::S3(_) => "s3",
        #[cfg(feature = "nats")]
        StorePlace::Nats(_) => "nats",
        #[cfg(feature = "remote")]
        StorePlace::Remote(_) => "remote",
        #[cfg(feature = "jsonl")]
        StorePlace::Plugin(_) => vice_plugin::PLUGIN,
    }
}

fn not_built(scheme: &str) -> Fault {
    let features = match scheme {
        "jsonl" | "git" => "jsonl",
        "s3" => "s3 and jsonl",
        "nats" => "nats",
        "http" | "https" => "remote",
        _ => "postgres",
    };
    Fault::new(Code::BackendMissing, format!("This build of vice has no store {scheme}."))
        .hint(format!("Build it with the feature {features}."))
}

fn has_sqlite(dir: &Path) -> bool {
    std::fs::metadata(dir.join(sqlite::DATABASE)).is_ok_and(|found| found.len() > 0)
}

fn has_jsonl(dir: &Path) -> bool {
    dir.join("history").join("00000000000000000001.jsonl").exists()
}

/// The part before the colon, where it reads like the name of a kind. One letter is none.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let letters =
        scheme.len() > 1 && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || b"+-0123456789".contains(&byte));
    letters.then_some((scheme, rest))
}

fn folder(text: &str, base: &Path) -> Result<PathBuf> {
    if text.is_empty() || text.starts_with("//") {
        return Err(Fault::new(Code::Usage, "A history in files needs a folder, not a URL with a host.").hint(FORMS));
    }
    Ok(base.join(text))
}

fn postgres(text: &str) -> Result<StorePlace> {
    let url = url::Url::parse(text).map_err(|error| {
        Fault::new(Code::Usage, "The URL of the PostgreSQL history is none.").because(error).hint(FORMS)
    })?;
    if url.password().is_some() || url.query_pairs().any(|(key, _)| key == "password") {
        return Err(Fault::new(Code::Usage, "The URL of a history must not hold a password.")
            .hint("Leave it out; set PGPASSWORD, or write it into the file that PGPASSFILE names."));
    }
    Ok(StorePlace::Postgres(text.to_owned()))
}

pub(crate) fn unknown(scheme: &str) -> Fault {
    let shown: String = scheme.chars().take(40).collect();
    let fault = Fault::new(Code::BackendMissing, format!("There is no history store {shown:?}."));
    match nearest(scheme, SCHEMES.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean {near}:?")),
        None => fault.hint(FORMS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<StorePlace> {
        StorePlace::parse(text, Path::new("/project"))
    }

    #[test]
    fn folders_are_relative_to_the_file() {
        assert_eq!(parse("state").unwrap(), StorePlace::Sqlite("/project/state".into()));
        assert_eq!(parse("sqlite:../common").unwrap(), StorePlace::Sqlite("/project/../common".into()));
        assert_eq!(parse("/var/lib/x").unwrap().state(Path::new("/other")), Path::new("/var/lib/x"));
    }

    #[test]
    fn what_can_hold_no_history_says_why() {
        let cases = [
            ("kafka://broker/topic", Code::Unsupported, "no append under conditions"),
            ("memory:", Code::Usage, "forgotten"),
            ("sqlite:", Code::Usage, "needs a folder"),
            ("jsonl://host/x", Code::Usage, "needs a folder"),
        ];
        for (text, code, part) in cases {
            let fault = parse(text).unwrap_err();
            assert_eq!(fault.code(), code, "{text}");
            assert!(fault.to_string().contains(part) && !fault.hints().is_empty(), "{text}: {fault:?}");
        }
    }

    #[cfg(feature = "jsonl")]
    #[test]
    fn a_kind_that_is_not_built_in_may_be_a_program() {
        let place = parse("drawer:x/y").unwrap();
        assert_eq!(place.to_string(), "drawer:x/y");
        let (missing, near) = (parse("drawer:x").unwrap(), parse("sqlit:x").unwrap());
        let told = |place: &StorePlace| place.require_program(&ProcessEnv::default()).unwrap_err();
        assert_eq!(told(&missing).code(), Code::BackendMissing);
        assert!(told(&missing).hints().iter().any(|hint| hint.contains("vice-backend-drawer")), "{missing:?}");
        assert_eq!(told(&near).hints()[0], "Did you mean sqlite:?");
        for text in ["drawer://user:canary@h/x", "drawer:a\nb"] {
            let fault = parse(text).unwrap_err();
            assert_eq!(fault.code(), Code::Usage, "{text}");
            assert!(!format!("{fault:?}").contains("canary"), "{fault:?}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn passwords_do_not_stand_in_urls() {
        for text in ["postgres://u:canary@h/d", "postgres://u@h/d?password=canary"] {
            let fault = parse(text).unwrap_err();
            assert_eq!(fault.code(), Code::Usage);
            assert!(!format!("{fault:?}").contains("canary"), "{fault:?}");
        }
        assert!(parse("postgresql://u@h:5432/d?sslmode=require").is_ok());
    }

    #[cfg(feature = "jsonl")]
    #[test]
    fn a_folder_of_another_kind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (StorePlace::Sqlite(dir.path().into()), StorePlace::Jsonl(dir.path().into()));
        one.require_own_kind().unwrap();
        std::fs::write(dir.path().join(sqlite::DATABASE), "x").unwrap();
        one.require_own_kind().unwrap();
        let fault = two.require_own_kind().unwrap_err();
        assert!(fault.hints()[0].contains("vice greed copy sqlite:"), "{fault:?}");
    }
}
