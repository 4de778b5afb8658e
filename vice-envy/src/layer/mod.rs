//! Layers: where entries come from. One file for each format; this module finds out which format a layer has, reads
//! and decrypts it, and hands out a flat sheet. It does not know what other layers say.

pub(crate) mod dotenv;
mod environ;
pub(crate) mod json;
pub(crate) mod toml;
pub(crate) mod yaml;

use vice_core::app::ProcessEnv;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::template::{Vars, render};
use vice_core::{Code, Fault, Result};
use zeroize::Zeroizing;

use crate::credential::Reference;
use crate::file;
use crate::key::{Flaw, Sheet};
use crate::locked::Lock;
use crate::sops;

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Toml,
    Yaml,
    Json,
    Dotenv,
    /// Only as SOPS writes it.
    Ini,
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
    /// Whether all of it is secret.
    pub(crate) sealed: bool,
    pub(crate) sheet: Sheet,
}

/// The layers of a project in an environment, from weak to strong.
pub(crate) fn specs(project: &Project, env: &EnvName) -> Result<Vec<LayerSpec>> {
    let vars: Vars = [("env", env.as_str()), ("project", project.name().as_str())]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let written = project.manifest.config.layers.iter();
    let mut found = written
        .map(|written| {
            let point = |fault: Fault| fault.at(project.place(&["config", "layers"], ""));
            spec(&render(written, &vars).map_err(point)?).map_err(point)
        })
        .collect::<Result<Vec<_>>>()?;
    if !project.env(env)?.config.is_empty() {
        found.push(LayerSpec { name: format!("{} [env.{env}.config]", project.file), place: Place::Inline });
    }
    Ok(found)
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
        _ if parts.first() == Some(&"env") && name.starts_with(".env") => Some(Kind::Dotenv),
        _ => None,
    };
    kind.map(|kind| (kind, !sealed.is_empty())).ok_or_else(|| {
        Fault::new(Code::ConfigInvalid, format!("The format of the layer {path} is not known."))
            .hint("Layers end in .toml, .yaml, .json or .env, with .age before or after it when encrypted; or are env:PREFIX_.")
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

    /// Reads the layer; an absent optional file is an empty layer.
    pub(crate) fn read(
        &self,
        project: &Project,
        env: &EnvName,
        process: &ProcessEnv,
        lock: &Lock<'_>,
    ) -> Result<Layer> {
        let name = self.name.clone();
        let sheet = match &self.place {
            Place::Environ { prefix } => environ::read(prefix, process),
            Place::Credential(reference) => {
                let sheet = reference.read(project, env, process)?;
                return Ok(Layer { name, sealed: true, sheet });
            }
            Place::Inline => toml::read_below(&project.text, &["env", env.as_str(), "config"]),
            Place::File { path, kind, sealed, optional } => match file::read(&project.root, path)? {
                Some(bytes) if *sealed => {
                    let plain = lock.open_layer(&name, &bytes)?;
                    return self.parse(*kind, &plain, true);
                }
                Some(bytes) => {
                    if let Ok(text) = std::str::from_utf8(&bytes)
                        && let Some(sheet) = sops::read(*kind, text, &name, lock)?
                    {
                        return Ok(Layer { name, sealed: true, sheet });
                    }
                    return self.parse(*kind, &Zeroizing::new(bytes), false);
                }
                None if *optional => Ok(Sheet::default()),
                None => return Err(absent(path)),
            },
        };
        let sheet = sheet.map_err(|flaw| flaw.in_layer(&name))?;
        Ok(Layer { name, sealed: false, sheet })
    }

    fn parse(&self, kind: Kind, bytes: &[u8], sealed: bool) -> Result<Layer> {
        let name = self.name.clone();
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Fault::new(Code::ConfigInvalid, format!("The layer {name} is not UTF-8 text.")))?;
        let sheet = match kind {
            Kind::Toml => toml::read(text),
            Kind::Yaml => yaml::read(text),
            Kind::Json => json::read(text),
            Kind::Dotenv => dotenv::read(text),
            Kind::Ini => Err(Flaw::new(None, "INI files are read only when SOPS encrypted them")),
        };
        Ok(Layer { sheet: sheet.map_err(|flaw| flaw.in_layer(&name))?, name, sealed })
    }
}

fn absent(path: &str) -> Fault {
    Fault::new(Code::ConfigInvalid, format!("The layer {path} does not exist."))
        .hint(format!("Make the file, or write {path:?} with a last `?` in [config] layers if it may be absent."))
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
            for read in [toml::read, yaml::read, json::read, dotenv::read] {
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
        "\"canary\"",
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
