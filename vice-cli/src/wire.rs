//! The composition root: which implementation stands behind which port. Nothing else knows more than one of the seven.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use vice_core::app::{App, ProcessEnv, StopSignal, Workspace};
use vice_core::id::Ids;
use vice_core::port::action::Action;
use vice_core::port::command::CommandRunner;
use vice_core::port::config::ConfigSource;
use vice_core::port::notifier::Severity;
use vice_core::registry::Registry;
use vice_core::rng::Streams;
use vice_core::series::SeriesStore;
use vice_core::store::EventStore;
use vice_core::time::{Clock, ManualClock, SystemClock};
use vice_core::ui::Ui;
use vice_core::{Code, Context, Millis, Result};
use vice_envy::Envy;
use vice_gluttony::Gluttony;
use vice_greed::{Opening, StorePlace};
use vice_lust::{Lust, LustParts};
use vice_pride::locator::PrideLocator;
use vice_wrath::Wrath;

use crate::crash_point::{CrashPoint, CrashingStore};
use crate::runner::ProcessRunner;
use crate::ui::Terminal;
use crate::{actor, workspace};

/// Everything that commands are given, and the few implementations that their own commands look into.
pub(crate) struct Wired {
    pub(crate) app: App,
    pub(crate) envy: Arc<Envy>,
}

/// Makes ring the one TLS provider. Clients panic without one, so this comes first wherever a client may be made.
pub(crate) fn install_tls() {
    // A second call says that one is installed, which is what is wanted.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// The client for everything that speaks HTTP, except checks, which bring their own.
fn http_client() -> Result<reqwest::Client> {
    static MADE: OnceLock<reqwest::Client> = OnceLock::new();
    if let Some(client) = MADE.get() {
        return Ok(client.clone());
    }
    let client = vice_pride::artifact::configure(reqwest::Client::builder())
        .user_agent(concat!("vice/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(std::time::Duration::from_secs(10))
        .build()
        .context(Code::Internal, || "The HTTP client can't be made.".to_owned())?;
    Ok(MADE.get_or_init(|| client).clone())
}

/// The clock and the seed: the machine's, unless a test sets them.
fn time_and_chance(env: &ProcessEnv) -> Result<(Arc<dyn Clock>, Streams)> {
    let clock: Arc<dyn Clock> = match env.get("VICE_TEST_NOW") {
        Some(at) => {
            let at = at.parse().context(Code::Usage, || "VICE_TEST_NOW is not a time.".to_owned())?;
            Arc::new(ManualClock::new(at, Millis(1)))
        }
        None => Arc::new(SystemClock),
    };
    let seed = match env.get("VICE_TEST_SEED") {
        Some(seed) => seed.parse().context(Code::Usage, || "VICE_TEST_SEED is not a number.".to_owned())?,
        None => random_seed()?,
    };
    Ok((clock, Streams::new(seed)))
}

/// Eight bytes from the operating system.
fn random_seed() -> Result<u64> {
    use std::io::Read;
    let mut bytes = [0_u8; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context(Code::Io, || "The operating system gives no random numbers.".to_owned())?;
    Ok(u64::from_le_bytes(bytes))
}

/// The history that the workspace names, behind a crash point when a test asks for one, and the observations beside it.
fn history(
    env: &Arc<ProcessEnv>,
    workspace: &Workspace,
    clock: &Arc<dyn Clock>,
    ui: &Arc<dyn Ui>,
) -> Result<(Arc<dyn EventStore>, Arc<dyn SeriesStore>)> {
    let place = match &workspace.history {
        Some(store) => StorePlace::parse(store, &workspace.root)?,
        None => StorePlace::Sqlite(workspace.state.clone()),
    };
    let said = Arc::clone(ui);
    let opening = Opening {
        clock: Arc::clone(clock),
        env: Arc::clone(env),
        notices: Arc::new(move |text: &str| said.say(Severity::Warning, text)),
        state: workspace.state.clone(),
    };
    let (store, series) = (vice_greed::configured(&place, &opening)?, place.open_series(&opening)?);
    Ok(match env.get("VICE_TEST_CRASH") {
        Some(point) => {
            let point = CrashPoint::parse(point)?;
            (Arc::new(CrashingStore { inner: store, point, seen: AtomicU64::new(0) }), series)
        }
        None => (store, series),
    })
}

/// Puts everything together.
pub(crate) fn wire(
    env: &Arc<ProcessEnv>,
    terminal: &Arc<Terminal>,
    stop: Arc<StopSignal>,
    named: Option<&str>,
) -> Result<Wired> {
    let actor = actor::find(env, named)?;
    let workspace = Arc::new(workspace::load(env)?);
    let (clock, streams) = time_and_chance(env)?;
    let ids = Arc::new(Ids::new(&streams));
    let ui: Arc<dyn Ui> = terminal.clone();
    let runner: Arc<dyn CommandRunner> = Arc::new(ProcessRunner::new(Arc::clone(env)));
    let (events, series) = history(env, &workspace, &clock, &ui)?;
    install_tls();
    let envy = Envy::new(workspace.state.clone(), Arc::clone(env), Arc::clone(&clock));
    let envy = envy.knowing_units(Arc::new(vice_pride::topology::unit_facts));
    let envy = Arc::new(envy.with_runner(Arc::clone(&runner)).telling(terminal.known().clone()));
    let config: Arc<dyn ConfigSource> = envy.clone();
    let lust = Arc::new(Lust::new(LustParts {
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        actor: actor.clone(),
        ui: Arc::clone(&ui),
        env: Arc::clone(env),
        workspace: Arc::clone(&workspace),
        events: Arc::clone(&events),
        runner: Arc::clone(&runner),
        config: Arc::clone(&config),
        http: http_client,
    }));
    let locator =
        Arc::new(PrideLocator { workspace: Arc::clone(&workspace), env: Arc::clone(env), clock: Arc::clone(&clock) });
    let wrath = Arc::new(
        Wrath::new(Arc::clone(&clock), Arc::clone(&runner))
            .with_ui(Arc::clone(&ui))
            .with_series(series.clone())
            .with_stop(Arc::clone(&stop)),
    );
    let mut app = App {
        clock,
        ids,
        ui,
        env: Arc::clone(env),
        actor,
        workspace,
        events,
        series,
        runner,
        config,
        verifier: wrath.clone(),
        prober: wrath,
        locator,
        notifier: lust,
        painter: Arc::new(Gluttony),
        actions: Arc::default(),
        stop,
        http: Arc::new(http_client as fn() -> Result<reqwest::Client>),
    };
    app.actions = Arc::new(actions(&app)?);
    Ok(Wired { app, envy })
}

/// The state folder is for its owner only, and never part of a repository. Whoever made it first may not have said so.
pub(crate) fn protect(state: &Path) -> Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let Ok(metadata) = std::fs::metadata(state) else { return Ok(()) };
    let ignore = state.join(".gitignore");
    let fail = || format!("The state folder {} can't be made private.", state.display());
    // Somebody else who may read it has nothing to protect here.
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if own && metadata.is_dir() && metadata.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(state, std::fs::Permissions::from_mode(0o700)).context(Code::StateUnwritable, fail)?;
        if !ignore.exists() {
            std::fs::write(&ignore, "*\n").context(Code::StateUnwritable, fail)?;
        }
    }
    Ok(())
}

/// The actions of all crates by name.
fn actions(app: &App) -> Result<BTreeMap<&'static str, Arc<dyn Action>>> {
    let all = [
        vice_pride::actions(app),
        vice_envy::actions(app),
        vice_wrath::actions(app),
        vice_greed::cmd::actions(app),
        vice_lust::actions(app),
        vice_gluttony::actions(app),
    ];
    let mut named = Registry::new("actions");
    for action in all.into_iter().flatten() {
        named.add(action.describe().name, action)?;
    }
    Ok(named.into_map())
}
