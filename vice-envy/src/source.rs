//! The [`ConfigSource`] of vice: resolves from files, records secrets by reference, restores what was recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use vice_core::app::ProcessEnv;
use vice_core::id::{EnvName, Scope};
use vice_core::manifest::Project;
use vice_core::payload::config::{ConfigRecorded, RecordedVariant, StoredEntry, StoredValue};
use vice_core::port::command::CommandRunner;
use vice_core::port::config::{ConfigEntry, ConfigSource, ConfigValue, ResolvedConfig, Variant};
use vice_core::secret::{Known, Masker};
use vice_core::{Clock, Code, Context, Fault, Result, Secret};

use crate::interpolate::Resolver;
use crate::keyed::DigestKey;
use crate::layer::{LayerPlan, Place, Scene, Tree};
use crate::locked::Lock;
use crate::remote::{Repository, Tools, check_revision, fetch_all, past};
use crate::site::{Named, Site};
use crate::stack::Stack;
use crate::variants::{Parts, UnitsOf};
use crate::{credential, file};

/// Resolves configurations. Cheap to clone.
#[derive(Clone)]
pub struct Envy {
    pub(crate) state: PathBuf,
    pub(crate) process: Arc<ProcessEnv>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Runs git; none in places that start no commands.
    pub(crate) runner: Option<Arc<dyn CommandRunner>>,
    pub(crate) known: Known,
    /// Which units an environment has; none in places that know no topology.
    pub(crate) units: Option<UnitsOf>,
}

/// Which configuration of a project is meant.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) env: EnvName,
    /// What the user names of the site.
    pub(crate) named: Named,
    /// The revision of the repository; the files as they are now when absent.
    pub(crate) at: Option<String>,
}

/// What was read of a configuration.
pub(crate) struct Reading<'a> {
    pub(crate) project: &'a Project,
    pub(crate) stack: &'a Stack,
    pub(crate) lock: &'a Lock<'a>,
    /// Why some layers can't be read.
    pub(crate) faults: Vec<Fault>,
    pub(crate) tree: &'a Tree<'a>,
}

impl Envy {
    /// A source whose digest key lies in the state folder, and which takes variables and the places of keys from the
    /// given environment.
    #[must_use]
    pub fn new(state: PathBuf, process: Arc<ProcessEnv>, clock: Arc<dyn Clock>) -> Self {
        Self { state, process, clock, runner: None, known: Known::default(), units: None }
    }

    /// The same, able to read layers and revisions from git.
    #[must_use]
    pub fn with_runner(mut self, runner: Arc<dyn CommandRunner>) -> Self {
        self.runner = Some(runner);
        self
    }

    /// The same, able to tell which units an environment has, so that layers may differ among them.
    #[must_use]
    pub fn knowing_units(mut self, units: UnitsOf) -> Self {
        self.units = Some(units);
        self
    }

    /// Tells this list of every secret that is opened, so that it is masked in whatever is printed.
    #[must_use]
    pub fn telling(mut self, known: Known) -> Self {
        self.known = known;
        self
    }

    /// Has a value masked in whatever is printed from now on.
    pub(crate) fn learn(&self, name: &str, secret: &Secret) {
        let mut masker = Masker::default();
        // One that is too short can't be told from innocent text.
        if masker.add(name, secret) {
            self.known.learn(&masker);
        }
    }

    /// Does file work where it does not block other tasks.
    pub(crate) async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let envy = self.clone();
        let ended = tokio::task::spawn_blocking(move || work(&envy)).await;
        ended.context(Code::Internal, || "Reading the configuration ended unexpectedly.".to_owned())?
    }

    /// Reads the layers of a project at a site and works on them, where it does not block other tasks.
    pub(crate) async fn with_stack_of<T: Send + 'static>(
        &self,
        project: &Arc<Project>,
        ask: Ask,
        work: impl FnOnce(&Stack, &Lock<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let work = |reading: Reading<'_>| match reading.faults.into_iter().next() {
            Some(fault) => Err(fault),
            None => work(reading.stack, reading.lock),
        };
        self.with_reading(project, ask, work).await
    }

    /// Asks other stores, reads the layers that can be read, and works on them.
    pub(crate) async fn with_reading<T: Send + 'static>(
        &self,
        project: &Arc<Project>,
        ask: Ask,
        work: impl FnOnce(Reading<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (project, past) = match &ask.at {
            Some(revision) => self.past(project, &ask, revision).await?,
            None => (Arc::clone(project), None),
        };
        let plan = LayerPlan::new(&project, &Site::new(&project, &ask.env, &self.process, ask.named)?)?;
        let tools =
            Tools { process: Arc::clone(&self.process), root: project.root.clone(), runner: self.runner.clone() };
        let env = ask.env;
        let fetched = fetch_all(&plan.specs, (&project, &env), &tools).await?;
        let runtime = tokio::runtime::Handle::current();
        self.off_thread(move |envy| {
            let lock = Lock::new(&envy.process);
            let tree = past.map_or_else(|| Tree::Disk(project.root.as_path()), Tree::Past);
            let mut scene = Scene { project: &project, env: &env, process: &envy.process, tree: &tree, plan, fetched };
            let (mut stack, faults) = Stack::load_scene(&mut scene, &lock)?;
            if stack.credentials().next().is_some() {
                // This thread is one that may wait.
                let given = runtime.block_on(credential::give(&stack, (&*project, &env), &tools));
                stack.take_given(given);
            }
            work(Reading { project: &project, stack: &stack, lock: &lock, faults, tree: &tree })
        })
        .await
    }

    /// The project and the files of its layers as a revision has them.
    async fn past(
        &self,
        project: &Arc<Project>,
        ask: &Ask,
        revision: &str,
    ) -> Result<(Arc<Project>, Option<BTreeMap<String, Option<Vec<u8>>>>)> {
        let repository = self.repository(project)?;
        check_revision(revision).map_err(|why| Fault::new(Code::Usage, format!("--at {why}.")))?;
        let file = project.file.rsplit('/').next().unwrap_or(&project.file).to_owned();
        let Some(manifest) = repository.show(revision, &file).await? else {
            return Err(Fault::new(Code::UnknownName, format!("The revision {revision} has no {file} here.")));
        };
        let text = file::text_of(manifest, &file)?;
        let shown = format!("{revision}:{file}");
        let before = Arc::new(Project::parse(project.root.clone(), shown, text)?);
        let site = Site::new(&before, &ask.env, &self.process, ask.named.clone())?;
        let mut paths: Vec<String> = before.manifest.config.schema.iter().cloned().collect();
        for spec in LayerPlan::new(&before, &site)?.specs {
            if let Place::File { path, .. } = spec.place {
                paths.push(path);
            }
        }
        let files = past(&repository, revision, &paths).await?;
        Ok((before, Some(files)))
    }

    /// The repository that a project lies in.
    pub(crate) fn repository(&self, project: &Project) -> Result<Repository> {
        let runner = self.runner.clone().ok_or_else(|| Fault::unsupported("git", "reading revisions here"))?;
        Ok(Repository::new(runner, &project.root))
    }

    /// The effective configuration of a site.
    pub(crate) async fn resolve_for(&self, project: &Arc<Project>, ask: Ask) -> Result<ResolvedConfig> {
        let common = self.with_stack_of(project, ask, Stack::entries).await?;
        self.off_thread(move |envy| envy.digested(Parts { common, variants: Vec::new() })).await
    }

    pub(crate) fn digested(&self, parts: Parts) -> Result<ResolvedConfig> {
        let key = DigestKey::of_state(&self.state)?;
        let Parts { common: entries, mut variants } = parts;
        for variant in &mut variants {
            variant.digests = key.each(&variant.entries)?;
        }
        let (digest, digests) = (key.digest(&entries, &variants)?, key.each(&entries)?);
        let config = ResolvedConfig { entries, digest, digests, variants };
        self.known.learn(&config.masker());
        Ok(config)
    }

    /// Entries as they were recorded, with the secrets that some units have now.
    async fn restored(
        &self,
        project: &Arc<Project>,
        env: &EnvName,
        entries: &BTreeMap<String, StoredEntry>,
        units: Option<&BTreeSet<String>>,
    ) -> Result<BTreeMap<String, ConfigEntry>> {
        let names: Vec<String> = entries.values().filter_map(secret_name).map(str::to_owned).collect();
        // A configuration without secrets comes back whole even if the files can't be read any more.
        let secrets = if names.is_empty() {
            BTreeMap::new()
        } else {
            let ask = Ask { env: env.clone(), named: self.site_of(project, env, units)?, at: None };
            self.with_stack_of(project, ask, move |stack, lock| current(stack, lock, names)).await?
        };
        entries.iter().map(|(key, entry)| Ok((key.clone(), restored(entry, &secrets)?))).collect()
    }
}

#[async_trait]
impl ConfigSource for Envy {
    async fn resolve(&self, project: &Arc<Project>, env: &EnvName) -> Result<ResolvedConfig> {
        let parts = self.parts(project, env).await?;
        self.off_thread(move |envy| envy.digested(parts)).await
    }

    fn record(&self, scope: &Scope, config: &ResolvedConfig) -> ConfigRecorded {
        let variant = |variant: &Variant| RecordedVariant {
            name: variant.name.clone(),
            units: variant.units.clone(),
            entries: stored(&variant.entries),
            digests: variant.digests.clone(),
        };
        ConfigRecorded {
            scope: scope.clone(),
            digest: config.digest.clone(),
            entries: stored(&config.entries),
            digests: config.digests.clone(),
            variants: config.variants.iter().map(variant).collect(),
        }
    }

    async fn restore(&self, project: &Arc<Project>, recorded: &ConfigRecorded) -> Result<ResolvedConfig> {
        let env = &recorded.scope.env;
        let common = self.restored(project, env, &recorded.entries, None).await?;
        let mut variants = Vec::new();
        for RecordedVariant { name, units, entries, .. } in &recorded.variants {
            let entries = self.restored(project, env, entries, Some(units)).await?;
            variants.push(Variant { name: name.clone(), units: units.clone(), entries, ..Variant::default() });
        }
        self.off_thread(move |envy| envy.digested(Parts { common, variants })).await
    }
}

/// Entries for the log: secrets by name.
fn stored(entries: &BTreeMap<String, ConfigEntry>) -> BTreeMap<String, StoredEntry> {
    let stored = |(key, entry): (&String, &ConfigEntry)| {
        let value = match &entry.value {
            ConfigValue::Plain(value) => StoredValue::Plain(value.clone()),
            ConfigValue::Secret(_) => StoredValue::Secret(key.clone()),
        };
        (key.clone(), StoredEntry { value, origin: entry.origin.clone() })
    };
    entries.iter().map(stored).collect()
}

fn secret_name(entry: &StoredEntry) -> Option<&str> {
    match &entry.value {
        StoredValue::Secret(name) => Some(name),
        StoredValue::Plain(_) => None,
    }
}

/// The secrets of these names as the files have them now.
fn current(stack: &Stack, lock: &Lock<'_>, names: Vec<String>) -> Result<BTreeMap<String, Secret>> {
    let mut resolver = Resolver::new(stack, lock);
    let find = |name: String| {
        if stack.say(&name).is_none() {
            return Err(Fault::new(
                Code::ConfigInvalid,
                format!("The secret {name} of the earlier configuration does not exist any more."),
            )
            .hint(format!("Set it again: vice envy set {name} --secret --from-file -"))
            .detail("key", name));
        }
        let secret = match resolver.entry(&name)?.value {
            ConfigValue::Secret(secret) => secret,
            ConfigValue::Plain(Value::String(text)) => Secret::new(text),
            ConfigValue::Plain(other) => Secret::new(other.to_string()),
        };
        Ok((name, secret))
    };
    names.into_iter().map(find).collect()
}

fn restored(entry: &StoredEntry, secrets: &BTreeMap<String, Secret>) -> Result<ConfigEntry> {
    let value = match &entry.value {
        StoredValue::Plain(value) => ConfigValue::Plain(value.clone()),
        StoredValue::Secret(name) => {
            let secret =
                secrets.get(name).ok_or_else(|| Fault::internal(format!("The secret {name} was not looked up.")))?;
            ConfigValue::Secret(secret.clone())
        }
    };
    Ok(ConfigEntry { value, origin: entry.origin.clone() })
}
