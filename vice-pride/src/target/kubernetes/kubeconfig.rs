//! Finding the kubeconfig, as kubectl does, and reading it. It asks no cluster, and quotes nothing of the file that could
//! be a secret.

use std::path::{Path, PathBuf};

use kube::Config;
use kube::config::{ExecInteractiveMode, KubeConfigOptions, Kubeconfig, KubeconfigError};
use vice_core::app::ProcessEnv;
use vice_core::fault::{causes, root_cause};
use vice_core::manifest::TargetSpec;
use vice_core::{Code, Fault, Result};

/// The configuration of the context that the target names. Asks nothing of a cluster.
///
/// # Errors
/// `Usage` for a file that is missing or makes no sense, `UnknownName` for a context that it has not.
pub(super) async fn read(spec: &TargetSpec, root: &Path, env: &ProcessEnv) -> Result<Config> {
    let files = files(spec, root, env);
    let present: Vec<&PathBuf> = files.iter().filter(|file| spec.kubeconfig.is_some() || file.exists()).collect();
    if present.is_empty() {
        if env.get("KUBERNETES_SERVICE_HOST").is_some() && spec.context.is_none() {
            return Config::incluster_env().map_err(|error| unusable(&error));
        }
        let looked = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(Fault::new(Code::Usage, format!("There is no kubeconfig; looked for {looked}."))
            .hint("Name one with `kubeconfig` in the target, or set KUBECONFIG."));
    }
    let mut all = Kubeconfig::default();
    for file in present {
        let read = Kubeconfig::read_from(file).and_then(|read| all.clone().merge(read));
        all = read.map_err(|error| unusable(&error).detail("file", file.display().to_string()))?;
    }
    for user in all.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        // A plug-in that asks questions would take the terminal from vice, which may have none.
        if let Some(exec) = user.exec.as_mut().filter(|exec| exec.interactive_mode != Some(ExecInteractiveMode::Always))
        {
            exec.interactive_mode = Some(ExecInteractiveMode::Never);
        }
    }
    let known = all.contexts.iter().map(|context| context.name.clone()).collect::<Vec<_>>();
    if let Some(context) = spec.context.as_ref().filter(|context| !known.contains(context)) {
        return Err(Fault::new(Code::UnknownName, format!("The kubeconfig has no context {context:?}."))
            .hint(format!("It has: {}.", known.join(", "))));
    }
    refuse_half_secure(&all, spec.context.as_ref().or(all.current_context.as_ref()))?;
    let options = KubeConfigOptions { context: spec.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(all, &options).await.map_err(|error| unusable(&error))
}

/// Refuses a context that says how TLS is to be made sure of, and has a server without TLS: what stands there would be
/// passed over without a word.
fn refuse_half_secure(all: &Kubeconfig, context: Option<&String>) -> Result<()> {
    let named = |name: &String| all.contexts.iter().find(|context| context.name == *name)?.context.as_ref();
    let Some(context) = context.and_then(named) else { return Ok(()) };
    let cluster = all.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let Some(cluster) = cluster.and_then(|cluster| cluster.cluster.as_ref()) else { return Ok(()) };
    let server = cluster.server.as_deref().unwrap_or_default();
    if !server.to_ascii_lowercase().starts_with("http://") {
        return Ok(());
    }
    let user = all.auth_infos.iter().find(|user| Some(&user.name) == context.user.as_ref());
    let user = user.and_then(|user| user.auth_info.as_ref());
    let said = [
        ("certificate-authority", cluster.certificate_authority.is_some()),
        ("certificate-authority-data", cluster.certificate_authority_data.is_some()),
        ("tls-server-name", cluster.tls_server_name.is_some()),
        ("client-certificate", user.is_some_and(|user| user.client_certificate.is_some())),
        ("client-certificate-data", user.is_some_and(|user| user.client_certificate_data.is_some())),
    ];
    let Some((key, _)) = said.iter().find(|(_, is)| *is) else { return Ok(()) };
    let message = format!("The kubeconfig has `{key}` for a server that is reached without TLS.");
    Err(Fault::new(Code::Usage, message)
        .hint(format!("Let `server` of the cluster {:?} begin with https://, or remove `{key}`.", context.cluster)))
}

fn files(spec: &TargetSpec, root: &Path, env: &ProcessEnv) -> Vec<PathBuf> {
    if let Some(file) = &spec.kubeconfig {
        return vec![root.join(file)];
    }
    if let Some(list) = env.get("KUBECONFIG") {
        return std::env::split_paths(list)
            .filter(|path| !path.as_os_str().is_empty())
            .map(|path| env.dir.join(path))
            .collect();
    }
    vec![Path::new(env.get("HOME").unwrap_or("/")).join(".kube/config")]
}

/// What the kubeconfig says can't be followed. The parser's own text is not kept: it quotes the file, which may hold
/// credentials.
pub(super) fn unusable(error: &(dyn std::error::Error + 'static)) -> Fault {
    let why = match error.downcast_ref::<KubeconfigError>() {
        Some(KubeconfigError::Parse(_)) => "it is not the YAML of a kubeconfig".to_owned(),
        _ => causes(root_cause(error)),
    };
    Fault::new(Code::Usage, "The kubeconfig can't be used.").because(why).hint("`kubectl config view` shows it.")
}
