//! Who may read secrets: files with public keys, one for all environments and one for each that has its own.

use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::{Code, Fault, Result};

use crate::backend::Recipients;
use crate::file;
use crate::layer::specs;

/// The file for all environments, relative to the project.
pub(crate) fn common_path(project: &Project) -> &str {
    project.manifest.config.recipients.as_deref().unwrap_or("config/recipients.txt")
}

/// The file of one environment: `config/recipients.prod.txt` beside `config/recipients.txt`.
pub(crate) fn own_path(project: &Project, env: &EnvName) -> String {
    let common = common_path(project);
    let (folder, name) =
        common.rsplit_once('/').map_or(("", common), |(_, name)| (&common[..common.len() - name.len()], name));
    match name.rsplit_once('.') {
        Some((stem, suffix)) => format!("{folder}{stem}.{env}.{suffix}"),
        None => format!("{folder}{name}.{env}"),
    }
}

/// The file that counts in an environment, and its text if it exists: its own before the common one.
pub(crate) fn of_env(project: &Project, env: &EnvName) -> Result<(String, Option<String>)> {
    let own = own_path(project, env);
    if let Some(text) = file::read_text(&project.root, &own)? {
        return Ok((own, Some(text)));
    }
    let common = common_path(project);
    Ok((common.to_owned(), file::read_text(&project.root, common)?))
}

/// Who may read a layer.
pub(crate) struct Readers {
    pub(crate) recipients: Recipients,
    /// The public keys, sorted.
    pub(crate) names: Vec<String>,
}

/// Everybody who may read in one of the environments that use a layer.
pub(crate) fn of_layer(project: &Project, layer: &str) -> Result<Readers> {
    let mut files: Vec<(String, Option<String>)> = Vec::new();
    for env in project.manifest.env.keys() {
        let uses = specs(project, env)?.iter().any(|spec| spec.file() == Some(layer));
        let listed = of_env(project, env)?;
        if uses && !files.contains(&listed) {
            files.push(listed);
        }
    }
    let text: String = files.iter().filter_map(|(_, text)| text.as_deref()).flat_map(|text| [text, "\n"]).collect();
    let shown = files.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>().join(", ");
    let recipients = Recipients::parse(&text)
        .map_err(|fault| Fault::new(Code::ConfigInvalid, format!("{shown} can't be used.")).because(fault))?;
    let mut names = recipients.public_keys().to_vec();
    names.sort();
    if names.is_empty() {
        return Err(Fault::new(Code::ConfigInvalid, format!("{shown} names nobody to encrypt for."))
            .hint("`vice envy init` makes your key and adds it there."));
    }
    Ok(Readers { recipients, names })
}
