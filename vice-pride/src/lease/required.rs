//! A shared environment needs a history that everybody who changes it shares: the memory of one folder can't keep two
//! machines apart.

use vice_core::app::App;
use vice_core::id::Scope;
use vice_core::{Code, Fault, Result};
use vice_plugin::PLUGIN;

use crate::backend;

/// Fails for a shared environment whose history is not.
///
/// # Errors
/// `Usage`, with lines for `vice.toml` to choose from.
pub(crate) async fn require_history(app: &App, scope: &Scope) -> Result<()> {
    let history = app.events.describe();
    if history.shared || !is_shared(app, scope).await {
        return Ok(());
    }
    let message = format!("{scope} is shared, but its history is kept in {} on this machine alone.", history.location);
    Err(Fault::new(Code::Usage, message)
        .hint("Choose one for the top of vice.toml:")
        .hint("history = { store = \"git:origin\" }                  with nothing but the git server that you have")
        .hint("history = { store = \"s3://BUCKET/PREFIX\" }          Amazon S3, or what has its conditional put")
        .hint("history = { store = \"postgres://USER@HOST/DATABASE\" }")
        .hint("history = { store = \"nats://HOST/STREAM\" }            a NATS server with JetStream")
        .hint("history = { store = \"https://HOST\" }                  a machine that runs `vice serve`")
        .hint("`vice greed copy sqlite:.vice git:origin` then takes along what happened so far.")
        .hint(format!("If only this machine ever changes it, write `shared = false` into [env.{}].", scope.env))
        .detail(
            "choices",
            vec![
                "git:origin",
                "s3://BUCKET/PREFIX",
                "postgres://USER@HOST/DATABASE",
                "nats://HOST/STREAM",
                "https://HOST",
            ],
        ))
}

/// Whether others may change it from elsewhere: the project says so, or else the target.
async fn is_shared(app: &App, scope: &Scope) -> bool {
    let Ok(project) = app.workspace.project(scope.project.as_str()) else { return false };
    let Ok(spec) = project.env(&scope.env) else { return false };
    if let Some(shared) = spec.shared {
        return shared;
    }
    // A target that can't be connected says so itself, soon after.
    let Ok(backend) = backend::connect(app, &project, scope) else { return false };
    if backend.target.describe().kind == PLUGIN {
        // What a plug-in is, only the plug-in knows; one that fails says why when it is needed.
        drop(backend.target.inventory().await);
    }
    backend.target.describe().shared
}
