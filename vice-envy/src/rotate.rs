//! Encrypting a layer again: for those who may read it now, bound to its place, and under its seal. A layer is replaced in
//! one step, and what is right already is left alone, so that a run that was killed is completed by the next.

use std::collections::{BTreeMap, BTreeSet};

use vice_core::manifest::Project;
use vice_core::{Code, Fault, Result};

use crate::envelope::Binding;
use crate::file;
use crate::layer::{Kind, Layer, LayerSpec, kind_of, specs};
use crate::locked::Lock;
use crate::recipients::{self, Readers};
use crate::seal::{self, Seal, SealKey};
use crate::sealed::{document, each_text, encrypt, is_encrypted};
use crate::sheet::Sheet;
use crate::sops;

/// What is asked for beside new readers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
    /// Values may have been moved to where they stand now.
    pub(crate) moved: bool,
    /// The layer shall have a seal.
    pub(crate) seal: bool,
    /// The seal shall have a new key.
    pub(crate) fresh: bool,
}

/// What became of a layer.
#[derive(Debug, Default)]
pub(crate) struct Rotated {
    pub(crate) layer: String,
    /// The keys that were encrypted again.
    pub(crate) rewritten: Vec<String>,
    /// How many were right already.
    pub(crate) current: usize,
    /// Those who could read before and are no readers any more, with what they could read.
    pub(crate) lost: BTreeMap<String, BTreeSet<String>>,
    pub(crate) sealed: bool,
}

/// The files of a project that can hold secrets, each once.
pub(crate) fn files(project: &Project) -> Result<Vec<LayerSpec>> {
    let mut found: BTreeMap<String, LayerSpec> = BTreeMap::new();
    for env in project.manifest.env.keys() {
        for spec in specs(project, env)? {
            if let Some(path) = spec.file().filter(|_| spec.place.sealable() || spec.is_sealed()) {
                found.insert(path.to_owned(), spec);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Encrypts a layer again; none when the file does not exist or holds nothing that is encrypted.
pub(crate) fn layer(project: &Project, spec: &LayerSpec, lock: &Lock<'_>, wish: Wish) -> Result<Option<Rotated>> {
    let Some(path) = spec.file() else { return Ok(None) };
    let Some(bytes) = file::read(&project.root, path)? else { return Ok(None) };
    if spec.is_sealed() {
        return whole(project, path, &bytes, lock).map(Some);
    }
    let text = file::text_of(bytes, path)?;
    if sops::read(kind_of(path)?.0, &text, path, lock).is_ok_and(|sheet| sheet.is_some()) {
        // Its own program encrypts it again.
        return Ok(None);
    }
    let readers = recipients::of_layer(project, path);
    let Some(readers) =
        readers.map(Some).or_else(|fault| if holds_encrypted(&text) { Err(fault) } else { Ok(None) })?
    else {
        return Ok(None);
    };
    let key = seal_key(project, path, &text, lock, wish)?;
    if !holds_encrypted(&text) && key.is_none() {
        return Ok(None);
    }
    let done = values(project, path, &text, &readers, key.as_ref(), lock, wish)?;
    Ok(Some(done))
}

fn holds_encrypted(text: &str) -> bool {
    text.contains("age:v")
}

fn parsed(path: &str, text: &str) -> Result<Layer> {
    let (kind, _) = kind_of(path)?;
    let sheet: Sheet = kind.read(text).map_err(|flaw| flaw.in_layer(path))?;
    Ok(Layer::plain(path, sheet))
}

/// The key of the layer's seal: the one that it has, when nothing was changed behind it, or a new one when it shall have
/// one.
fn seal_key(project: &Project, path: &str, text: &str, lock: &Lock<'_>, wish: Wish) -> Result<Option<SealKey>> {
    if wish.fresh {
        return SealKey::generate().map(Some);
    }
    let Some(seal) = Seal::load(project, path)? else {
        return if wish.seal { SealKey::generate().map(Some) } else { Ok(None) };
    };
    if !wish.seal
        && let Some(fault) = seal::verify(project, &parsed(path, text)?, lock)?.into_iter().next()
    {
        return Err(fault);
    }
    let key = seal.key(path, lock)?;
    lock.sealed_by(path, key.name());
    Ok(Some(key))
}

fn values(
    project: &Project,
    path: &str,
    text: &str,
    readers: &Readers,
    key: Option<&SealKey>,
    lock: &Lock<'_>,
    wish: Wish,
) -> Result<Rotated> {
    let mut done = Rotated { layer: path.to_owned(), sealed: key.is_some(), ..Rotated::default() };
    let seal = key.map(SealKey::name);
    let after = changed(path, text, &mut |name, text| {
        let Some(opened) = lock.open_unchecked(name, path, text) else { return Ok(None) };
        let opened = opened?;
        let wanted = Binding {
            project: project.name().as_str().to_owned(),
            layer: path.to_owned(),
            key: name.to_owned(),
            readers: readers.names.clone(),
            seal: seal.clone(),
        };
        if let Some(old) = &opened.binding {
            if !wish.moved {
                lock.check_place(old, name, path, wish.seal)?;
            }
            for reader in old.readers.iter().filter(|reader| !readers.names.contains(reader)) {
                done.lost.entry(reader.clone()).or_default().insert(name.to_owned());
            }
            if *old == wanted {
                done.current += 1;
                return Ok(None);
            }
        }
        done.rewritten.push(name.to_owned());
        encrypt(project, path, name, opened.secret.reveal(), readers, seal.clone()).map(Some)
    })?;
    if after != text {
        file::write(&project.root, path, after.as_bytes())?;
    }
    if let Some(key) = key {
        seal::write(project, &parsed(path, &after)?, key, readers, lock)?;
    }
    Ok(done)
}

/// A layer with other texts in place of some of its own, and nothing else changed.
fn changed(path: &str, text: &str, change: &mut dyn FnMut(&str, &str) -> Result<Option<String>>) -> Result<String> {
    if kind_of(path)?.0 == Kind::Toml {
        let mut document = document(text, path)?;
        each_text(&mut document, change)?;
        return Ok(document.to_string());
    }
    // An encrypted value stands nowhere else by chance, so that it can be replaced where it stands.
    let mut after = text.to_owned();
    for (key, found) in parsed(path, text)?.sheet.iter() {
        let Some(before) = found.value.as_str().filter(|before| is_encrypted(before)) else { continue };
        let Some(new) = change(key, before)? else { continue };
        if after.matches(before).count() != 1 {
            let message = format!("The encrypted value of {key} can't be replaced in {path}.");
            return Err(Fault::new(Code::ConfigInvalid, message)
                .hint("Write it on one line, once.")
                .detail("key", key));
        }
        after = after.replace(before, &new);
    }
    Ok(after)
}

/// A file that is encrypted as a whole does not say for whom, so that it is always encrypted again.
fn whole(project: &Project, path: &str, bytes: &[u8], lock: &Lock<'_>) -> Result<Rotated> {
    let readers = recipients::of_layer(project, path)?;
    let plain = lock.open_layer(path, bytes)?;
    file::write(&project.root, path, &readers.recipients.seal(&plain)?)?;
    Ok(Rotated { layer: path.to_owned(), rewritten: vec!["the whole file".to_owned()], ..Rotated::default() })
}

/// Seals a layer that has a seal anew after a command changed it; `before` is what the layer was.
pub(crate) fn reseal(project: &Project, path: &str, before: &str, lock: &Lock<'_>) -> Result<Option<SealKey>> {
    let Some(seal) = Seal::load(project, path)? else { return Ok(None) };
    if let Some(fault) = seal::verify(project, &parsed(path, before)?, lock)?.into_iter().next() {
        return Err(fault);
    }
    seal.key(path, lock).map(Some)
}

/// Writes the seal of a layer after it was changed.
pub(crate) fn write_seal(project: &Project, path: &str, after: &str, key: &SealKey, lock: &Lock<'_>) -> Result<()> {
    let readers = recipients::of_layer(project, path)?;
    seal::write(project, &parsed(path, after)?, key, &readers, lock)
}

/// The layers that are meant: all, or the named one.
pub(crate) fn chosen(project: &Project, named: Option<&str>) -> Result<Vec<LayerSpec>> {
    let all = files(project)?;
    let Some(named) = named else { return Ok(all) };
    let names: Vec<String> = all.iter().filter_map(|spec| spec.file().map(str::to_owned)).collect();
    let found: Vec<LayerSpec> = all.into_iter().filter(|spec| spec.file() == Some(named)).collect();
    if found.is_empty() {
        return Err(Fault::new(Code::UnknownName, format!("{named:?} is not a layer with secrets of its own."))
            .hint(format!("Layers that can have some: {}.", names.join(", "))));
    }
    Ok(found)
}
