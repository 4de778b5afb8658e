//! Layers: where entries come from. One file for each format; this module finds out which format a layer has, reads
//! and decrypts it, and hands out a flat sheet. It does not know what other layers say. What comes over the network was
//! fetched before, by `remote`.

pub(crate) mod dotenv;
mod environ;
pub(crate) mod ini;
pub(crate) mod json;
pub(crate) mod properties;
pub(crate) mod toml;
pub(crate) mod yaml;

use std::collections::BTreeMap;
use std::path::Path;

use vice_core::app::ProcessEnv;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::{Code, Fault, Result};
use zeroize::Zeroizing;

use crate::credential::Reference;
use crate::file;
use crate::key::Flaw;
use crate::locked::Lock;
use crate::remote::{Address, Answers, Fetched};
use crate::sheet::Sheet;
use crate::site::{Named, Site, Skipped, Verdict};
use crate::sops;

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Toml,
    Yaml,
    Json,
    Dotenv,
    Ini,
    Properties,
}

impl Kind {
    /// Reads a text.
    pub(crate) fn read(self, text: &str) -> Result<Sheet, Flaw> {
        match self {
            Self::Toml => toml::read(text),
            Self::Yaml => yaml::read(text),
            Self::Json => json::read(text),
            Self::Dotenv => dotenv::read(text),
            Self::Ini => ini::read(text),
            Self::Properties => properties::read(text),
        }
    }
}

/// Where a layer comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file of the project.
    File { path: String, kind: Kind, sealed: bool, optional: bool },
    /// Variables of the calling process that start with a prefix.
    Environ { prefix: String },
    /// What a program on PATH gives.
    Credential(Reference),
    /// The table `[env.NAME.config]` of `vice.toml`.
    Inline,
    /// A store that is asked before layers are read.
    Remote { address: Address, optional: bool },
}

/// A layer that is named and not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerSpec {
    /// The name that people see.
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// A layer that was read.
pub(crate) struct Layer {
    pub(crate) name: String,
    /// Where it came from.
    pub(crate) place: Option<Place>,
    /// Whether all of it is secret.
    pub(crate) sealed: bool,
    /// Whether `${…}` in it is never a reference: it was encrypted, or somebody else's program wrote it.
    pub(crate) literal: bool,
    pub(crate) sheet: Sheet,
}

impl Layer {
    /// A layer that anyone may read.
    pub(crate) fn plain(name: &str, sheet: Sheet) -> Self {
        Self { name: name.to_owned(), place: None, sealed: false, literal: false, sheet }
    }

    /// Whether a seal can be over it; not over what SOPS or age covers already.
    pub(crate) fn sealable(&self) -> bool {
        !self.sealed && self.place.as_ref().is_some_and(Place::sealable)
    }
}

impl Place {
    /// Whether it is a file of a format with types that is not encrypted as a whole: what a seal can be over.
    pub(crate) const fn sealable(&self) -> bool {
        matches!(self, Self::File { kind: Kind::Toml | Kind::Yaml | Kind::Json, sealed: false, .. })
    }
}

/// Where files are read from.
pub(crate) enum Tree<'a> {
    /// A folder.
    Disk(&'a Path),
    /// What an earlier revision had, by path; none for what it did not have.
    Past(BTreeMap<String, Option<Vec<u8>>>),
}

impl Tree<'_> {
    /// The content of a file; none when it does not exist.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Disk(root) => file::read(root, path),
            Self::Past(files) => {
                file::check_relative(path)?;
                Ok(files.get(path).cloned().flatten())
            }
        }
    }

    /// Whether it is what the project's folder has now.
    pub(crate) const fn is_present(&self) -> bool {
        matches!(self, Self::Disk(_))
    }

    /// The content of a file as text.
    pub(crate) fn read_text(&self, path: &str) -> Result<Option<String>> {
        self.read(path)?.map(|bytes| file::text_of(bytes, path)).transpose()
    }
}

/// The layers of a project at a site, before they are read.
pub(crate) struct Scene<'a> {
    pub(crate) project: &'a Project,
    pub(crate) env: &'a EnvName,
    pub(crate) process: &'a ProcessEnv,
    pub(crate) tree: &'a Tree<'a>,
    pub(crate) plan: LayerPlan,
    /// What other stores gave.
    pub(crate) fetched: Answers,
}

/// Which layers apply.
#[derive(Default)]
pub(crate) struct LayerPlan {
    /// From weak to strong.
    pub(crate) specs: Vec<LayerSpec>,
    pub(crate) skipped: Vec<Skipped>,
    /// Why it can't be told of others.
    pub(crate) faults: Vec<Fault>,
}

impl LayerPlan {
    /// The layers of a project at a site.
    pub(crate) fn new(project: &Project, site: &Site) -> Result<Self> {
        let mut plan = Self::default();
        for layer in &project.manifest.config.layers {
            let point = |fault: Fault| fault.at(project.place(&["config", "layers"], ""));
            match site.judge(project, layer).and_then(|verdict| match verdict {
                Verdict::Applies(name) => spec(&name).map(Ok),
                Verdict::Skipped(skipped) => Ok(Err(skipped)),
            }) {
                Ok(Ok(spec)) => plan.specs.push(spec),
                Ok(Err(skipped)) => plan.skipped.push(skipped),
                Err(fault) => plan.faults.push(point(fault)),
            }
        }
        let env = &site.env;
        if !project.env(env)?.config.is_empty() {
            let name = format!("{} [env.{env}.config]", project.file);
            plan.specs.push(LayerSpec { name, place: Place::Inline });
        }
        Ok(plan)
    }
}

/// The layers of a project in an environment that need no further facts, from weak to strong.
pub(crate) fn specs(project: &Project, env: &EnvName) -> Result<Vec<LayerSpec>> {
    let site = Site::new(project, env, &ProcessEnv::default(), Named::default())?;
    Ok(LayerPlan::new(project, &site)?.specs)
}

fn spec(text: &str) -> Result<LayerSpec> {
    if let Some(prefix) = text.strip_prefix("env:") {
        if prefix.is_empty() {
            return Err(Fault::new(Code::ConfigInvalid, "The layer env: has no prefix.")
                .hint("Write a prefix, such as env:SHOP_, so that not all variables become configuration."));
        }
        return Ok(LayerSpec { name: text.to_owned(), place: Place::Environ { prefix: prefix.to_owned() } });
    }
    if let Some(reference) = text.strip_prefix("credential:") {
        return Ok(LayerSpec { name: text.to_owned(), place: Place::Credential(Reference::parse(reference)?) });
    }
    let (path, optional) = text.strip_suffix('?').map_or((text, false), |path| (path, true));
    if let Some(address) = Address::parse(path)? {
        return Ok(LayerSpec { name: path.to_owned(), place: Place::Remote { address, optional } });
    }
    file::check_relative(path)?;
    let (kind, sealed) = kind_of(path)?;
    let place = Place::File { path: path.to_owned(), kind, sealed, optional };
    Ok(LayerSpec { name: path.to_owned(), place })
}

/// The format by the suffix; `.age` anywhere in the file's name means that all of it is encrypted.
pub(crate) fn kind_of(path: &str) -> Result<(Kind, bool)> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (sealed, parts): (Vec<&str>, Vec<&str>) = name.split('.').skip(1).partition(|part| *part == "age");
    let kind = match parts.last().copied() {
        Some("toml") => Some(Kind::Toml),
        Some("yaml" | "yml") => Some(Kind::Yaml),
        Some("json") => Some(Kind::Json),
        Some("env") => Some(Kind::Dotenv),
        Some("ini") => Some(Kind::Ini),
        Some("properties") => Some(Kind::Properties),
        _ if parts.first() == Some(&"env") && name.starts_with(".env") => Some(Kind::Dotenv),
        _ => None,
    };
    kind.map(|kind| (kind, !sealed.is_empty())).ok_or_else(|| {
        Fault::new(Code::ConfigInvalid, format!("The format of the layer {path} is not known."))
            .hint("Layers end in .toml, .yaml, .json, .env, .ini or .properties, with .age before or after it when encrypted.")
            .hint("Others begin with env:, credential:, git:, s3:, consul:, k8s:, postgres: or vault:.")
    })
}

impl LayerSpec {
    /// The path, for a TOML file that is not encrypted as a whole.
    pub(crate) fn editable(&self) -> Option<&str> {
        match &self.place {
            Place::File { path, kind: Kind::Toml, sealed: false, .. } => Some(path),
            _ => None,
        }
    }

    /// Whether it is a file that is encrypted as a whole.
    pub(crate) const fn is_sealed(&self) -> bool {
        matches!(&self.place, Place::File { sealed: true, .. })
    }

    /// The path, for any file of the project.
    pub(crate) fn file(&self) -> Option<&str> {
        match &self.place {
            Place::File { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Takes what the layer is made of: reads and decrypts, and does not parse. An absent optional one is empty.
    fn take(&self, index: usize, scene: &mut Scene<'_>, lock: &Lock<'_>) -> Result<Raw> {
        let name = self.name.as_str();
        let (sheet, literal) = match &self.place {
            Place::Environ { prefix } => (environ::read(prefix, scene.process), true),
            Place::Credential(_) => match scene.fetched.remove(&index).unwrap_or_else(|| Err(not_fetched(name)))? {
                Some(Fetched::Sheet(sheet)) => {
                    return Ok(Raw::Read(Layer { sealed: true, literal: true, ..Layer::plain(name, sheet) }));
                }
                _ => return Err(absent(name)),
            },
            Place::Inline => (toml::read_below(&scene.project.text, &["env", scene.env.as_str(), "config"]), false),
            Place::File { path, kind, sealed, optional } => match scene.tree.read(path)? {
                Some(bytes) => return self.open(*kind, *sealed, bytes, lock),
                None if *optional => (Ok(Sheet::default()), false),
                None => return Err(absent(path)),
            },
            Place::Remote { address, optional } => {
                let secret = address.is_secret();
                match scene.fetched.remove(&index).unwrap_or_else(|| Err(not_fetched(name)))? {
                    Some(Fetched::Text { kind, sealed, bytes }) => return self.open(kind, sealed, bytes, lock),
                    Some(Fetched::Sheet(sheet)) => {
                        return Ok(Raw::Read(Layer { sealed: secret, literal: secret, ..Layer::plain(name, sheet) }));
                    }
                    None if *optional => (Ok(Sheet::default()), false),
                    None => return Err(absent(name)),
                }
            }
        };
        let sheet = sheet.map_err(|flaw| flaw.in_layer(name))?;
        Ok(Raw::Read(Layer { literal, ..Layer::plain(name, sheet) }))
    }

    fn open(&self, kind: Kind, sealed: bool, bytes: Vec<u8>, lock: &Lock<'_>) -> Result<Raw> {
        let bytes = Zeroizing::new(bytes);
        let secret = sealed || matches!(&self.place, Place::Remote { address, .. } if address.is_secret());
        let bytes = if sealed { lock.open_layer(&self.name, &bytes)? } else { bytes };
        if let Ok(text) = std::str::from_utf8(&bytes)
            && let Some(sheet) = sops::read(kind, text, &self.name, lock)?
        {
            return Ok(Raw::Read(Layer { sealed: true, literal: true, ..Layer::plain(&self.name, sheet) }));
        }
        Ok(Raw::Text { kind, secret, bytes })
    }

    fn parse(&self, raw: Raw) -> Result<Layer> {
        let name = &self.name;
        let layer = match raw {
            Raw::Read(layer) => layer,
            Raw::Text { kind, secret, bytes } => {
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| Fault::new(Code::ConfigInvalid, format!("The layer {name} is not UTF-8 text.")))?;
                let sheet = kind.read(text).map_err(|flaw| flaw.in_layer(name))?;
                Layer { sealed: secret, literal: secret || kind == Kind::Dotenv, ..Layer::plain(name, sheet) }
            }
        };
        Ok(Layer { place: Some(self.place.clone()), ..layer })
    }
}

/// A layer before it is parsed.
enum Raw {
    Text { kind: Kind, secret: bool, bytes: Zeroizing<Vec<u8>> },
    Read(Layer),
}

impl Raw {
    fn bytes(&self) -> usize {
        match self {
            Self::Text { bytes, .. } => bytes.len(),
            Self::Read(_) => 0,
        }
    }
}

/// Below this much text, starting threads costs more than it saves.
const PARALLEL_BYTES_MIN: usize = 64 * 1024;

/// Reads layers in order. Files are read and decrypted one after another; large ones are parsed at the same time, which
/// is where the time goes.
pub(crate) fn read_all(specs: &[LayerSpec], scene: &mut Scene<'_>, lock: &Lock<'_>) -> Vec<Result<Layer>> {
    let raws: Vec<Result<Raw>> = specs.iter().enumerate().map(|(index, spec)| spec.take(index, scene, lock)).collect();
    let large = raws.iter().flatten().map(Raw::bytes).sum::<usize>() >= PARALLEL_BYTES_MIN;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut pairs = specs.iter().zip(raws);
    if !large || threads < 2 {
        return pairs.map(|(spec, raw)| spec.parse(raw?)).collect();
    }
    let mut all = Vec::with_capacity(specs.len());
    loop {
        let batch: Vec<_> = pairs.by_ref().take(threads).collect();
        if batch.is_empty() {
            return all;
        }
        std::thread::scope(|scope| {
            let parsed: Vec<_> = batch.into_iter().map(|(spec, raw)| scope.spawn(move || spec.parse(raw?))).collect();
            all.extend(parsed.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Err(Fault::internal("Reading a layer ended unexpectedly.")))
            }));
        });
    }
}

fn absent(path: &str) -> Fault {
    Fault::new(Code::ConfigInvalid, format!("The layer {path} does not exist."))
        .hint(format!("Make it, or write \"{path}?\" in [config] layers if it may be absent."))
        .detail("layer", path)
}

fn not_fetched(name: &str) -> Fault {
    Fault::new(Code::ConfigInvalid, format!("The layer {name} lies in another store, which this command does not ask."))
        .detail("layer", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_format() {
        for (path, kind, sealed) in [
            ("config/dev.toml", Kind::Toml, false),
            ("config/dev.age.toml", Kind::Toml, true),
            ("x.toml.age", Kind::Toml, true),
            ("x.yml", Kind::Yaml, false),
            ("x.yaml", Kind::Yaml, false),
            ("a.b/x.json", Kind::Json, false),
            (".env", Kind::Dotenv, false),
            (".env.dev", Kind::Dotenv, false),
            (".env.age", Kind::Dotenv, true),
            ("dev.env", Kind::Dotenv, false),
        ] {
            assert_eq!(kind_of(path).unwrap(), (kind, sealed), "{path}");
        }
        for bad in ["x", "x.cfg", "age", "x.age", "toml", "x.env.d"] {
            assert!(kind_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn layers_outside_the_project_are_refused_by_name() {
        for bad in ["../x.toml", "/etc/x.toml", "env:", "credential:", "credential:../sh/x", "credential:a b/x"] {
            assert_eq!(spec(bad).unwrap_err().code(), Code::ConfigInvalid, "{bad}");
        }
        let optional = spec("config/x.toml?").unwrap();
        assert_eq!(optional.name, "config/x.toml");
        assert!(matches!(optional.place, Place::File { optional: true, .. }));
    }

    proptest::proptest! {
        /// Texts near the grammar of each format: the reader ends, and does not repeat what it read.
        #[test]
        fn no_reader_fails_badly(parts in proptest::collection::vec(proptest::sample::select(PIECES.to_vec()), 0..24)) {
            let text = parts.concat();
            for read in [toml::read, yaml::read, json::read, dotenv::read, ini::read, properties::read] {
                if let Err(flaw) = read(&text) {
                    proptest::prop_assert!(!flaw.what.contains("canary"), "{}", flaw.what);
                }
            }
        }
    }

    const PIECES: [&str; 31] = [
        "a",
        "b.c",
        "=",
        ":",
        " ",
        "\n",
        "\n  ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\"",
        "'",
        "#",
        "-",
        "\"canary canary\"",
        "'can\u{e9}ary canary'",
        "canary!",
        "\\",
        "\\u0000",
        "&x ",
        "*x",
        "!t ",
        "<<",
        "|",
        "---",
        "1e999",
        "\u{0}",
        "null",
        "export A=",
    ];
}
