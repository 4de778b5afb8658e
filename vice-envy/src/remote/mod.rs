//! Layers that lie in other stores. One trait stands before all of them: what a store can, and one question. A question
//! has a longest time and a largest answer, and what goes wrong is told without addresses that could hold secrets. What
//! a store of secrets gives is secret. Nothing here is cached or written.

mod consul;
mod git;
mod http;
mod k8s;
mod kubeconfig;
mod plugin;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "s3")]
mod s3;
mod vault;

#[cfg(test)]
pub(crate) use tests::git as real;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use vice_core::app::ProcessEnv;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::port::command::CommandRunner;
use vice_core::{Code, Fault, Result};

pub(crate) use git::{Repository, check_revision, past};
pub(crate) use plugin::started;

use crate::file::FILE_BYTES_MAX;
use crate::key::{Flaw, join};
use crate::layer::{Kind, LayerSpec, Place, dotenv, kind_of};
use crate::sheet::Sheet;

/// The most stores that are asked for one configuration.
const REMOTES_MAX: usize = 64;

/// What a store gave.
pub(crate) enum Fetched {
    /// A document that is read as a file of that name would be.
    Text { kind: Kind, sealed: bool, bytes: Vec<u8> },
    /// Entries.
    Sheet(Sheet),
}

/// What a store can, declared before it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ability {
    /// The word before the colon.
    pub(crate) kind: &'static str,
    /// Whether all of it is secret.
    pub(crate) secret: bool,
    /// Whether it gives documents with lines; otherwise keys with values.
    pub(crate) document: bool,
}

/// A layer in another store.
#[async_trait]
pub(crate) trait Remote: Send + Sync {
    /// What it can.
    fn ability(&self) -> Ability;

    /// Asks for the layer; none when the store answers that there is no such thing.
    ///
    /// # Errors
    /// `Unreachable` without an answer in time, `Backend` for a refusal or a failure, `ConfigInvalid` for an answer
    /// that can't be a layer, `Usage` where the environment lacks an address or credentials.
    async fn fetch(&self) -> Result<Option<Fetched>>;
}

/// Where a layer lies in another store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// `git:REVISION:PATH`.
    Git { revision: String, path: String },
    /// `s3://BUCKET/KEY`.
    S3 { bucket: String, key: String },
    /// `consul:PREFIX` or `consul:http://HOST:PORT/PREFIX`.
    Consul { base: Option<String>, path: String },
    /// `k8s:NAMESPACE/configmap/NAME` or `…/secret/NAME`, with `/ENTRY` for a document in one entry.
    K8s { namespace: String, secret: bool, name: String, entry: Option<String> },
    /// `postgres:TABLE`, with `/KEY.toml` for a document in one row.
    Postgres { table: String, key: Option<String> },
    /// `plugin:NAME/PATH`: what a program `vice-backend-NAME` has.
    Plugin { program: String, path: String },
    /// `vault:MOUNT/PATH`; `//` ends a mount of several parts.
    Vault { mount: String, path: String },
}

impl Address {
    /// The address that a layer is written as; none when it is no address of a store.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>> {
        let Some((word, rest)) = text.split_once(':') else { return Ok(None) };
        let parsed = match word {
            "git" => git::parse(rest),
            "s3" => s3_address(rest),
            "consul" => consul::parse(rest),
            "k8s" => k8s::parse(rest),
            "postgres" => postgres_address(rest),
            "plugin" => plugin::parse(rest),
            "vault" => vault::parse(rest),
            _ => return Ok(None),
        };
        let hint = match word {
            "git" => "Write git:REVISION:PATH, such as git:origin/config:prod.toml.",
            "s3" => "Write s3://BUCKET/KEY.toml; credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            "consul" => "Write consul:PREFIX (with CONSUL_HTTP_ADDR) or consul:http://HOST:8500/PREFIX.",
            "k8s" => "Write k8s:NAMESPACE/configmap/NAME or k8s:NAMESPACE/secret/NAME.",
            "postgres" => "Write postgres:TABLE or postgres:TABLE/KEY.toml; VICE_CONFIG_POSTGRES has the address.",
            "plugin" => "Write plugin:NAME/PATH for a program vice-backend-NAME on PATH.",
            _ => "Write vault:MOUNT/PATH; the address comes from VAULT_ADDR.",
        };
        // The text may hold a password by mistake, so that it is not repeated.
        parsed.map(Some).map_err(|why| Fault::new(Code::ConfigInvalid, format!("A layer {word}: {why}.")).hint(hint))
    }

    /// Whether everything that lies there is secret.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self, Self::Vault { .. } | Self::K8s { secret: true, .. })
    }
}

fn s3_address(rest: &str) -> Result<Address, String> {
    let (bucket, key) = rest
        .strip_prefix("//")
        .and_then(|rest| rest.split_once('/'))
        .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
        .ok_or("names no bucket or no key")?;
    if bucket.contains(['@', ':', '?']) || key.contains(['?', '#']) {
        return Err("has more than a bucket and a key".to_owned());
    }
    kind_of(key).map_err(|_| "ends in no known format".to_owned())?;
    Ok(Address::S3 { bucket: bucket.to_owned(), key: key.to_owned() })
}

fn postgres_address(rest: &str) -> Result<Address, String> {
    let (table, key) = rest.split_once('/').map_or((rest, None), |(table, key)| (table, Some(key)));
    let fine = |part: &str| {
        let bytes = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        (1..=63).contains(&part.len()) && part.bytes().all(bytes)
    };
    if table.split('.').count() > 2 || !table.split('.').all(fine) {
        return Err("needs a table, or a schema and a table, in lower-case letters, digits and `_`".to_owned());
    }
    if key.is_some_and(|key| key.len() > 256 || kind_of(key).is_err()) {
        return Err("names a row that ends in no known format".to_owned());
    }
    Ok(Address::Postgres { table: table.to_owned(), key: key.map(str::to_owned) })
}

/// What asking a store takes.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) process: Arc<ProcessEnv>,
    pub(crate) root: PathBuf,
    /// Runs git; none in places that start no commands.
    pub(crate) runner: Option<Arc<dyn CommandRunner>>,
}

/// The store of an address. `name` is what people call the layer.
pub(crate) fn connect(name: &str, address: &Address, tools: &Tools) -> Result<Box<dyn Remote>> {
    Ok(match address {
        Address::Git { revision, path } => Box::new(git::Git::new(name, revision, path, tools)?),
        #[cfg(feature = "s3")]
        Address::S3 { bucket, key } => Box::new(s3::S3::new(name, bucket, key, &tools.process)?),
        #[cfg(not(feature = "s3"))]
        Address::S3 { .. } => {
            let message = format!("The layer {name} lies in S3, and this vice was built without S3.");
            return Err(Fault::new(Code::BackendMissing, message)
                .hint("Use a released binary, or build with the feature `s3`."));
        }
        Address::Consul { base, path } => Box::new(consul::Consul::new(name, base.as_deref(), path, &tools.process)?),
        Address::K8s { namespace, secret, name: object, entry } => {
            let object = k8s::Object { namespace, secret: *secret, name: object, entry: entry.as_deref() };
            Box::new(k8s::K8s::new(name, &object, tools))
        }
        #[cfg(feature = "postgres")]
        Address::Postgres { table, key } => {
            Box::new(postgres::Postgres::new(name, table, key.as_deref(), &tools.process)?)
        }
        #[cfg(not(feature = "postgres"))]
        Address::Postgres { .. } => {
            let message = format!("The layer {name} lies in PostgreSQL, and this vice was built without it.");
            return Err(Fault::new(Code::BackendMissing, message).hint("Build with the feature `postgres`."));
        }
        Address::Plugin { program, path } => Box::new(plugin::Program::new(name, program, path, tools)?),
        Address::Vault { mount, path } => Box::new(vault::Vault::new(name, mount, path, &tools.process)?),
    })
}

/// What the stores of a list of layers gave, by position in that list.
pub(crate) type Answers = BTreeMap<usize, Result<Option<Fetched>>>;

/// Asks all stores of a list of layers at once.
pub(crate) async fn fetch_all(specs: &[LayerSpec], scope: (&Arc<Project>, &EnvName), tools: &Tools) -> Result<Answers> {
    let mut asked = tokio::task::JoinSet::new();
    for (index, spec) in specs.iter().enumerate() {
        if let Place::Credential(program) = &spec.place {
            let (program, project, env) = (program.clone(), Arc::clone(scope.0), scope.1.clone());
            let tools = tools.clone();
            asked.spawn(async move {
                let sheet = program.ask((&*project, &env), &tools).await;
                (index, sheet.map(|sheet| Some(Fetched::Sheet(sheet))))
            });
            continue;
        }
        let Place::Remote { address, .. } = &spec.place else { continue };
        if asked.len() >= REMOTES_MAX {
            let message = format!("The configuration has more than {REMOTES_MAX} layers in other stores.");
            return Err(Fault::new(Code::ConfigInvalid, message));
        }
        let (name, address, tools) = (spec.name.clone(), address.clone(), tools.clone());
        asked.spawn(async move {
            let found = match connect(&name, &address, &tools) {
                Ok(remote) => remote.fetch().await,
                Err(fault) => Err(fault),
            };
            (index, found)
        });
    }
    let mut all = Answers::new();
    while let Some(ended) = asked.join_next().await {
        let (index, found) = ended.map_err(|_| Fault::internal("Asking a store ended unexpectedly."))?;
        all.insert(index, found);
    }
    Ok(all)
}

/// Bytes of a document, by the name that tells its format.
fn document(name: &str, path: &str, bytes: Vec<u8>) -> Result<Fetched> {
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(too_large(name));
    }
    let (kind, sealed) = kind_of(path)?;
    Ok(Fetched::Text { kind, sealed, bytes })
}

fn too_large(name: &str) -> Fault {
    Fault::new(Code::ConfigInvalid, format!("The layer {name} has more than {FILE_BYTES_MAX} bytes."))
        .detail("layer", name)
}

/// Entries of names and texts. A name in capitals is a variable (`DB__HOST` is `db.host`), `/` separates tables.
fn sheet(name: &str, entries: impl IntoIterator<Item = (String, String)>) -> Result<Fetched> {
    let add = || -> Result<Sheet, Flaw> {
        let mut sheet = Sheet::default();
        for (entry, text) in entries {
            sheet.add(&key_of(&entry), text.into(), None)?;
        }
        sheet.finish()
    };
    add().map(Fetched::Sheet).map_err(|flaw| flaw.in_layer(name))
}

fn key_of(name: &str) -> String {
    let variable = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if name.chars().all(variable) { dotenv::key_of(name) } else { name.replace('/', ".") }
}

/// Entries of a JSON object, tables flattened.
fn object(name: &str, fields: &Map<String, Value>) -> Result<Fetched> {
    fn add(sheet: &mut Sheet, prefix: &str, fields: &Map<String, Value>, depth: usize) -> Result<(), Flaw> {
        if depth > crate::key::DEPTH_MAX {
            return Err(Flaw::new(None, "it is nested too deep"));
        }
        for (field, value) in fields {
            let key = join(prefix, &if prefix.is_empty() { key_of(field) } else { field.clone() });
            match value {
                Value::Object(inner) => add(sheet, &key, inner, depth + 1)?,
                other => sheet.add(&key, other.clone(), None)?,
            }
        }
        Ok(())
    }
    let mut found = Sheet::default();
    let added = add(&mut found, "", fields, 1).and_then(|()| found.finish());
    added.map(Fetched::Sheet).map_err(|flaw| flaw.in_layer(name))
}
