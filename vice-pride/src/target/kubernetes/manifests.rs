//! From files, kustomize or a command to the objects of a version. It reads and parses; it knows no cluster.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use vice_core::id::Scope;
use vice_core::manifest::TargetSpec;
use vice_core::port::command::{CommandRunner, CommandSpec};
use vice_core::suggest::nearest;
use vice_core::template::{Vars, render};
use vice_core::{Code, Context, Digest, Fault, Millis, Result};

use super::object::{ObjectId, clean, rank};
use super::split;

/// The most bytes of manifests of one version. What is kept of a release has to fit into one object of at most 1 MiB
/// when it is packed; manifests shrink to about a tenth.
const BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The most files in a folder of manifests.
const FILES_MAX: usize = 500;
/// The most objects of one version. Each is a few requests.
const OBJECTS_MAX: usize = 1_000;
/// How deep an object may be nested, beyond any that makes sense but a schema of a custom resource.
const DEPTH_MAX: usize = 64;
/// How long a command may take that prints manifests.
const COMMAND_TIMEOUT: Millis = Millis(2 * 60 * 1000);

/// Stands in the objects for the name of the ConfigMap with the configuration.
pub(super) const CONFIG_MARK: &str = "vice-config-of-this-release";
/// Stands in the objects for the name of the Secret with the configuration's secrets.
pub(super) const SECRET_MARK: &str = "vice-secret-of-this-release";

/// Where manifests come from.
pub(super) struct Source<'a> {
    pub(super) spec: &'a TargetSpec,
    pub(super) root: &'a Path,
    pub(super) scope: &'a Scope,
    pub(super) runner: Option<&'a Arc<dyn CommandRunner>>,
}

impl Source<'_> {
    /// The objects of a version, in the order in which they are written.
    ///
    /// # Errors
    /// `ManifestInvalid` for what is no set of objects, `Io` for files that can't be read, `Backend` for a command
    /// that fails.
    pub(super) async fn objects(&self, version: &str) -> Result<Vec<Value>> {
        let vars = Vars::from([
            ("project".to_owned(), self.scope.project.to_string()),
            ("env".to_owned(), self.scope.env.to_string()),
            ("version".to_owned(), version.to_owned()),
            ("config".to_owned(), CONFIG_MARK.to_owned()),
            ("secret".to_owned(), SECRET_MARK.to_owned()),
        ]);
        let mut objects = Vec::new();
        for (name, text) in self.texts(&vars).await? {
            let text = fill(&text, &vars).map_err(|fault| fault.about(&name))?;
            parse(&name, &text, &mut objects)?;
        }
        check(&objects)?;
        if let Some(how) = &self.spec.traffic {
            split::check(&objects, how)?;
        }
        objects.sort_by_key(|object| rank(object["kind"].as_str().unwrap_or_default()));
        Ok(objects)
    }

    async fn texts(&self, vars: &Vars) -> Result<Vec<(String, String)>> {
        if let Some(path) = &self.spec.manifests {
            return read(&self.root.join(render(path, vars)?));
        }
        if let Some(folder) = &self.spec.kustomize {
            let folder = render(folder, vars)?;
            // A folder is never taken for an option.
            let folder = if folder.starts_with('-') { format!("./{folder}") } else { folder };
            let argv = ["kubectl", "kustomize"].map(str::to_owned).into_iter().chain([folder]);
            return self.run(argv.collect()).await;
        }
        let Some(command) = &self.spec.command else {
            return Err(Fault::internal("A Kubernetes target has no manifests."));
        };
        self.run(command.0.iter().map(|word| argument(word, vars)).collect::<Result<_>>()?).await
    }

    async fn run(&self, argv: Vec<String>) -> Result<Vec<(String, String)>> {
        let name = argv.join(" ").chars().take(200).collect::<String>();
        let runner = self.runner.ok_or_else(|| Fault::internal("Nothing runs commands here."))?;
        let output = runner.run(CommandSpec::new(argv, self.root.to_path_buf(), COMMAND_TIMEOUT)).await?;
        if !output.ok() {
            return Err(Fault::new(Code::Backend, format!("`{name}` printed no manifests.")).because(output.failure()));
        }
        if output.truncated {
            return Err(Fault::new(Code::ManifestInvalid, format!("`{name}` printed more than is read."))
                .hint("Write its output to a file and name that with `manifests`."));
        }
        Ok(vec![(format!("the output of `{name}`"), output.stdout)])
    }
}

/// A word of a command with its names filled in. What is filled in never makes an option of it.
fn argument(word: &str, vars: &Vars) -> Result<String> {
    let made = render(word, vars)?;
    if made.starts_with('-') && !word.starts_with('-') {
        let shown: String = made.chars().take(80).collect();
        return Err(Fault::new(Code::InvalidName, format!("The command would take {shown:?} for an option.")).hint(
            format!(
                "{word:?} stands alone in `command`; write it behind its option, as in \"--set=tag={{{{version}}}}\"."
            ),
        ));
    }
    Ok(made)
}

/// The digest of objects. What Secrets hold is left out, so that it can't be guessed from the digest.
pub(super) fn digest(objects: &[Value]) -> Digest {
    let mut open = objects.to_vec();
    for object in open.iter_mut().filter(|object| object["kind"] == "Secret") {
        for part in ["data", "stringData"] {
            if let Some(values) = object[part].as_object_mut() {
                values.values_mut().for_each(|value| *value = Value::Null);
            }
        }
    }
    Digest::of(Value::Array(open).to_string().as_bytes())
}

/// The texts of a file, or of the manifests of a folder by name.
fn read(path: &Path) -> Result<Vec<(String, String)>> {
    let unread = || format!("The manifests {} can't be read.", path.display());
    let facts = std::fs::metadata(path)
        .context(Code::Io, unread)
        .map_err(|fault| fault.hint("Paths start in the folder of vice.toml."))?;
    let mut files = if facts.is_dir() { in_folder(path).context(Code::Io, unread)? } else { vec![path.to_path_buf()] };
    files.sort();
    if files.is_empty() {
        return Err(Fault::new(Code::ManifestInvalid, format!("The folder {} has no manifests.", path.display()))
            .hint("Manifests end in .yaml, .yml or .json; folders in it are not looked into."));
    }
    if files.len() > FILES_MAX {
        let message = format!("The folder {} has {} manifests; {FILES_MAX} is the limit.", path.display(), files.len());
        return Err(Fault::new(Code::ManifestInvalid, message));
    }
    let mut left = BYTES_MAX;
    let mut texts = Vec::new();
    for file in files {
        let size = std::fs::metadata(&file).context(Code::Io, unread)?.len();
        left = left.checked_sub(size).ok_or_else(|| {
            let message = format!("The manifests {} have more than {BYTES_MAX} bytes.", path.display());
            Fault::new(Code::ManifestInvalid, message)
        })?;
        let text = std::fs::read_to_string(&file).context(Code::Io, || format!("{} can't be read.", file.display()))?;
        texts.push((file.display().to_string(), text));
    }
    Ok(texts)
}

fn in_folder(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let suffix = file.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
        if ["yaml", "yml", "json"].contains(&suffix) && file.is_file() {
            files.push(file);
        }
    }
    Ok(files)
}

/// Replaces the names that vice knows. Braces of others, as alert rules have them, stay; what looks like a name of
/// ours and is none is an error.
fn fill(text: &str, vars: &Vars) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        out.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let name = after.find("}}").map(|end| (after[..end].trim(), &after[end + 2..]));
        match name.and_then(|(name, tail)| vars.get(name).map(|value| (value, tail))) {
            Some((value, tail)) => {
                out.push_str(value);
                rest = tail;
            }
            None => {
                if let Some((name, _)) = name.filter(|(name, _)| is_word(name)) {
                    return Err(unknown(name, vars));
                }
                out.push_str("{{");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

fn unknown(name: &str, vars: &Vars) -> Fault {
    let fault = Fault::new(Code::Template, format!("{{{{{name}}}}} is not known here."));
    match nearest(name, vars.keys().map(String::as_str)) {
        Some(near) => fault.hint(format!("Did you mean {{{{{near}}}}}?")),
        None => fault.hint("Known are {{version}}, {{env}}, {{project}}, {{config}} and {{secret}}."),
    }
}

/// Takes the documents of a text apart; the items of a `List` are objects of their own.
fn parse(name: &str, text: &str, objects: &mut Vec<Value>) -> Result<()> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: 2_000_000,
            max_aliases: 10_000,
            max_anchors: 10_000,
            max_documents: OBJECTS_MAX * 2,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 1_000_000 },
        legacy_octal_numbers: true,
    };
    // The parser's own text may quote the value of a Secret.
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let line = error.location().map_or_else(String::new, |place| format!(", line {}", place.line()));
        let message = format!("{name}{line} is not valid YAML, has a key twice, or is nested or aliased too much.");
        Fault::new(Code::ManifestInvalid, message).hint(
            "`kubectl apply --dry-run=client -f FILE` says more; what is filled in for {{version}} counts as well.",
        )
    })?;
    for document in documents.into_iter().filter(|document| !document.is_null()) {
        let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        match document["items"].as_array().filter(|_| is_list) {
            Some(items) => items.iter().cloned().try_for_each(|item| take(name, item, objects))?,
            None => take(name, document, objects)?,
        }
    }
    Ok(())
}

fn take(name: &str, mut object: Value, objects: &mut Vec<Value>) -> Result<()> {
    if ObjectId::of(&object).is_none() {
        return Err(Fault::new(
            Code::ManifestInvalid,
            format!("{name} has something without `apiVersion`, `kind` and `metadata.name`."),
        )
        .hint("Every object needs the three; `generateName` can't be applied."));
    }
    let id = ObjectId::of(&object);
    if let Some(wrong) = id.as_ref().and_then(ObjectId::unsound) {
        let shown: String = wrong.chars().take(80).collect();
        return Err(Fault::new(Code::ManifestInvalid, format!("{name} has an object with {shown:?} in its identity."))
            .hint("Names, kinds and API versions have letters, digits, and - . : _ in between."));
    }
    if objects.len() >= OBJECTS_MAX {
        return Err(Fault::new(Code::ManifestInvalid, format!("There are more than {OBJECTS_MAX} objects.")));
    }
    clean(&mut object);
    objects.push(object);
    Ok(())
}

fn check(objects: &[Value]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for id in objects.iter().filter_map(ObjectId::of) {
        // Two versions of one group show the same object.
        let group = id.api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
        if !seen.insert((group, id.kind.clone(), id.namespace.clone(), id.name.clone())) {
            return Err(Fault::new(Code::ManifestInvalid, format!("The manifests have {id} twice."))
                .hint("The second would undo the first; keep one of them, or give it another name."));
        }
    }
    if seen.is_empty() {
        return Err(Fault::new(Code::ManifestInvalid, "The manifests have no object at all."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vice_core::id::{EnvName, ProjectName};

    use super::*;

    async fn objects(text: &str) -> Result<Vec<Value>> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), text).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "no manifest").unwrap();
        let spec = TargetSpec { manifests: Some(String::new()), ..TargetSpec::default() };
        let scope = Scope::new(ProjectName::new("shop").unwrap(), EnvName::new("dev").unwrap());
        Source { spec: &spec, root: dir.path(), scope: &scope, runner: None }.objects("1.2").await
    }

    const TWO: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {image: 'shop:{{version}}'}\n\
        ---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: rules}\n  \
        data: {a: '{{ $labels.x }} {{config}}'}\n";

    #[tokio::test]
    async fn documents_and_lists_become_objects_in_order() {
        let objects = objects(TWO).await.unwrap();
        let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["ConfigMap", "Deployment"]);
        assert_eq!(objects[0]["data"]["a"], format!("{{{{ $labels.x }}}} {CONFIG_MARK}"));
        assert_eq!(objects[1]["spec"]["image"], "shop:1.2");
    }

    #[tokio::test]
    async fn what_is_no_set_of_objects_is_refused_with_its_reason() {
        for (text, said) in [
            ("", "no object at all"),
            ("a: [", "line 1"),
            ("kind: Service\nmetadata: {name: a}", "without `apiVersion`"),
            ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: a}", "`metadata.name`"),
            (&format!("{TWO}---\n{TWO}"), "twice"),
            (
                "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\n---\n\
                 apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\n",
                "twice",
            ),
            ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, name: b}\n", "a key twice"),
            ("apiVersion: v1\nkind: Pod\nmetadata: {name: 'a-{{verson}}'}", "{{verson}} is not known"),
        ] {
            let fault = objects(text).await.unwrap_err();
            assert!(fault.to_string().contains(said), "{text}: {fault}");
        }
    }

    #[tokio::test]
    async fn the_digest_tells_versions_apart_and_nothing_of_secrets() {
        let secret = |value: &str| {
            format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\nstringData: {{password: {value}}}")
        };
        let one = digest(&objects(&secret("one")).await.unwrap());
        assert_eq!(one, digest(&objects(&secret("two")).await.unwrap()));
        assert_ne!(one, digest(&objects(TWO).await.unwrap()));
    }
}
