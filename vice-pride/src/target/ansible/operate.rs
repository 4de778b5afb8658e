//! Carrying out operations and questions by runs of Ansible: which playbook, which variables, and what each host's report
//! means. Where a playbook fails on a host that had a release, that one's playbook runs there before anybody is told.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use vice_core::port::command::EnvValue;
use vice_core::port::target::{Change, Inventory, Observed, Op, Workload};
use vice_core::secret::{Masker, Secret};
use vice_core::template::{Vars as TemplateVars, render};
use vice_core::{Code, Fault, Result};

use super::super::hosts::Host;
use super::super::local::masker;
use super::super::naming::{op_key, quoted, release_id};
use super::batch::{Job, Kind};
use super::event::{HostReport, Said};
use super::play::{self, Vars, Way};
use super::run::{self, Folder, Ran, Request, Setting};
use super::trouble::{self, status};
use super::{AnsibleOptions, QUESTION, report};

/// So many releases are known that were placed by this process, to bring them back.
const KNOWN_MAX: usize = 8;

/// Carries out operations.
pub(super) struct Operator {
    options: AnsibleOptions,
    setting: Setting,
    known: Mutex<Vec<Arc<Workload>>>,
}

/// One change of hosts by one run.
struct Errand<'a> {
    way: Way,
    jobs: Vec<&'a Job>,
    /// What the playbook is told of; none when the hosts shall have nothing.
    workload: Option<&'a Workload>,
    playbook: Option<&'a Path>,
    vault: Option<Secret>,
    masker: Masker,
}

/// What a host's report comes to.
enum Verdict {
    Done,
    /// It failed before anything of the playbook was done there.
    Untouched(Fault),
    /// It failed when the playbook may have changed something.
    Touched(Fault),
    /// It failed, and nobody can or may do anything there now.
    Over(Fault),
}

impl Operator {
    pub(super) fn new(options: AnsibleOptions) -> Self {
        let setting = Setting {
            dir: options.root.clone(),
            config: options.config.clone(),
            inventory: options.inventory.clone(),
            forks: options.forks,
            work: options.work.clone(),
            env: Arc::clone(&options.env),
        };
        Self { options, setting, known: Mutex::default() }
    }

    pub(super) const fn options(&self) -> &AnsibleOptions {
        &self.options
    }

    pub(super) fn host(&self, name: &str) -> Option<&Host> {
        self.options.hosts.iter().find(|host| host.name == name)
    }

    fn all(&self) -> Vec<String> {
        self.options.hosts.iter().map(|host| host.name.clone()).collect()
    }

    /// The release that a unit had before an operation: what the caller has of it, else what this process has placed.
    pub(super) fn earlier(&self, op: &Op, given: Option<&Workload>) -> Option<Arc<Workload>> {
        let before = op.before.as_ref()?;
        if let Some(given) = given.filter(|given| given.release == *before) {
            return Some(Arc::new(given.clone()));
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|workload| workload.release == *before).cloned()
    }

    fn remember(&self, workload: &Arc<Workload>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|other| other.release != workload.release);
        known.push(Arc::clone(workload));
        let above = known.len().saturating_sub(KNOWN_MAX);
        known.drain(..above);
    }

    // --- questions ---------------------------------------------------------------------------------------------------

    /// Calls the script, or another command, on hosts.
    async fn ask(&self, calls: &BTreeMap<String, String>, script: bool) -> Result<Ran> {
        let folder = Folder::new(&self.setting)?;
        let mut vars = Vars::default();
        if script {
            vars.script();
        } else {
            vars.text("vice__script", "");
        }
        vars.each("vice__ask", calls);
        let request = Request {
            hosts: calls.keys().cloned().collect(),
            plays: play::asking(self.options.become_root),
            playbook: None,
            check: false,
            limit: QUESTION,
            vault: None,
            masker: Masker::default(),
        };
        run::run(&self.setting, &folder, &vars.finish(), &request).await
    }

    /// What the script said on a host that was asked.
    fn answer<'r>(ran: &'r Ran, host: &str) -> Result<&'r Said> {
        match ran.report.hosts.get(host) {
            Some(HostReport { unreachable: Some(why), .. }) => Err(trouble::unreachable(host, why, false)),
            Some(HostReport { ask: Some(said), .. }) => Ok(said),
            _ if ran.late => {
                let message = format!("The host {host} did not answer within {} s.", QUESTION.as_secs());
                Err(Fault::new(Code::Unreachable, message).detail("host", host).detail("sent", false))
            }
            _ => Err(trouble::silent(ran, Some(host), None)),
        }
    }

    fn call(&self, words: &[&str]) -> String {
        let (command, rest) = words.split_first().unwrap_or((&"list", &[]));
        let words = [*command, self.options.path.as_str()].into_iter().chain(rest.iter().copied());
        words.map(quoted).collect::<Vec<_>>().join(" ")
    }

    pub(super) async fn inventory(&self) -> Result<Inventory> {
        let calls = self.all().into_iter().map(|host| (host, self.call(&["list"]))).collect();
        let ran = self.ask(&calls, true).await?;
        let (mut inventory, mut lost, mut answered) = (Inventory::default(), None, false);
        for host in &self.options.hosts {
            match Self::answer(&ran, &host.name) {
                Ok(said) if said.status == 0 => {
                    answered = true;
                    let (epoch, unit) = report::parse(host, &said.out, self.url(host))?;
                    inventory.epoch = inventory.epoch.max(epoch);
                    inventory.units.extend(unit);
                }
                Ok(said) => return Err(trouble::refused(&host.name, 0, said)),
                Err(fault) if fault.code() == Code::Unreachable => {
                    inventory.units.push(report::unreachable(host, &fault.chain().join(" ")));
                    lost = lost.or(Some(fault));
                }
                Err(fault) => return Err(fault),
            }
        }
        inventory.url = inventory.units.iter().find_map(|unit| unit.url.clone());
        match lost {
            Some(fault) if !answered => Err(fault),
            _ => Ok(inventory),
        }
    }

    fn url(&self, host: &Host) -> Option<String> {
        let (port, address) = (self.options.port?, &host.address.host);
        Some(if address.contains(':') {
            format!("http://[{address}]:{port}")
        } else {
            format!("http://{address}:{port}")
        })
    }

    pub(super) async fn fence(&self, epoch: u64) -> Result<()> {
        let call = self.call(&["fence", &epoch.to_string()]);
        let calls = self.all().into_iter().map(|host| (host, call.clone())).collect();
        let ran = self.ask(&calls, true).await?;
        let told = self.options.hosts.iter().map(|host| match Self::answer(&ran, &host.name) {
            Ok(said) if said.status == 0 => Ok(()),
            Ok(said) => Err(trouble::refused(&host.name, epoch, said)),
            Err(fault) => Err(fault),
        });
        let told: Vec<Result<()>> = told.collect();
        let answered = told.iter().any(Result::is_ok);
        let silent = |fault: &Fault| fault.code() == Code::Unreachable && answered;
        told.into_iter().filter(|one| !one.as_ref().is_err_and(silent)).collect()
    }

    async fn observe(&self, jobs: &[Job]) -> Vec<Result<Observed>> {
        let call = |op: &Op| self.call(&["observe", &op.epoch.to_string(), &op.unit, &op_key(&op.id)]);
        let calls = jobs.iter().map(|job| (job.op.unit.clone(), call(&job.op))).collect();
        let ran = match self.ask(&calls, true).await {
            Ok(ran) => ran,
            Err(fault) => return copies(&fault, jobs.len()),
        };
        jobs.iter().map(|job| self.observed(&ran, &job.op)).collect()
    }

    fn observed(&self, ran: &Ran, op: &Op) -> Result<Observed> {
        let said = Self::answer(ran, &op.unit)?;
        match (said.status, said.out.trim()) {
            (0, "applied") => Ok(Observed::Applied),
            (0, "not-applied") => Ok(Observed::NotApplied),
            // Whoever wrote the playbook says that it can begin again.
            (0, "half-done") if self.options.again => Ok(Observed::NotApplied),
            (0, "half-done") => Ok(Observed::Unknown {
                reason: format!(
                    "The playbook broke off on {}. Whether it may run there again is known to whoever wrote it: \
                     `again = true` of the target says so.",
                    op.unit
                ),
            }),
            (status::BUSY, why) => Ok(Observed::Unknown { reason: format!("{why} on {}.", op.unit) }),
            _ => Err(trouble::refused(&op.unit, op.epoch, said)),
        }
    }

    /// The output of units, by the command of `vice.toml`.
    pub(super) async fn logs(&self, unit: Option<&str>, lines: usize) -> Result<Vec<(String, String)>> {
        let hosts = self.all().into_iter().filter(|host| unit.is_none_or(|unit| unit == host));
        let mut calls = BTreeMap::new();
        for host in hosts {
            let vars: TemplateVars =
                [("lines".to_owned(), lines.to_string()), ("unit".to_owned(), host.clone())].into();
            let words = self.options.logs.iter().map(|word| render(word, &vars).map(|word| quoted(&word)));
            calls.insert(host, words.collect::<Result<Vec<_>>>()?.join(" "));
        }
        let ran = self.ask(&calls, false).await?;
        let each = calls.keys().map(|host| match Self::answer(&ran, host)? {
            said if said.status == 0 => Ok((host.clone(), said.out.clone())),
            said => {
                let why = said.out.lines().last().unwrap_or_default().to_owned();
                Err(Fault::new(Code::Backend, format!("The command of `logs` failed on {host}.")).because(why))
            }
        });
        each.collect()
    }

    /// What the playbook says that it would change.
    pub(super) async fn preview(&self, workload: &Workload) -> Result<Vec<String>> {
        let folder = Folder::new(&self.setting)?;
        let vars = self.vars(&folder, Some(workload), &[])?;
        let playbook = &self.options.playbook;
        let request = Request {
            hosts: self.all(),
            plays: play::playbook(playbook)?,
            playbook: Some(playbook),
            check: true,
            limit: self.options.timeout.as_duration(),
            vault: self.vault(workload)?,
            masker: masker(workload),
        };
        let ran = run::run(&self.setting, &folder, &vars.finish(), &request).await?;
        if !ran.report.whole {
            return Err(trouble::silent(&ran, None, Some(playbook)));
        }
        let host = |name: &String| match ran.report.hosts.get(name) {
            None => vec![format!("{name}: the playbook has no task for it")],
            Some(HostReport { unreachable: Some(why), .. }) => {
                vec![format!("{name}: can't be reached: {}", super::event::one_line(why))]
            }
            Some(report) if report.lines.is_empty() => vec![format!("{name}: no change")],
            Some(report) => report.lines.iter().map(|line| format!("{name}: {line}")).collect(),
        };
        Ok(request.hosts.iter().flat_map(host).collect())
    }

    // --- changes -----------------------------------------------------------------------------------------------------

    /// Carries out jobs that go together, and answers each.
    pub(super) async fn carry_out(&self, jobs: &[Job]) -> Vec<Result<Observed>> {
        let Some(first) = jobs.first() else { return Vec::new() };
        if first.kind == Kind::Observe {
            return self.observe(jobs).await;
        }
        let (way, playbook) = self.playbook(first);
        let errand = match self.errand(way, jobs.iter().collect(), first.workload.as_deref(), playbook) {
            Ok(errand) => errand,
            Err(fault) => return copies(&fault, jobs.len()),
        };
        let verdicts = self.change(&errand).await;
        let failed = |touched: bool| {
            let both = jobs.iter().zip(&verdicts);
            both.filter(move |(_, verdict)| match verdict {
                Verdict::Touched(_) => touched,
                Verdict::Untouched(_) => !touched,
                _ => false,
            })
            .map(|(job, _)| job)
            .collect::<Vec<_>>()
        };
        let back = if way == Way::Apply { self.bring_back(failed(true), failed(false)).await } else { BTreeMap::new() };
        if let Some(workload) = &first.workload {
            self.remember(workload);
        }
        jobs.iter().zip(verdicts).map(|(job, verdict)| settled(job, verdict, &back)).collect()
    }

    fn playbook(&self, job: &Job) -> (Way, Option<&Path>) {
        let options = &self.options;
        let playbook = match (job.kind, &job.workload) {
            (_, None) => options.remove.as_deref(),
            (Kind::Undo, Some(_)) => options.rollback.as_deref().or(Some(&options.playbook)),
            (_, Some(_)) => Some(options.playbook.as_path()),
        };
        (if job.kind == Kind::Undo { Way::Undo } else { Way::Apply }, playbook)
    }

    fn errand<'a>(
        &self,
        way: Way,
        jobs: Vec<&'a Job>,
        workload: Option<&'a Workload>,
        playbook: Option<&'a Path>,
    ) -> Result<Errand<'a>> {
        let vault = workload.map(|workload| self.vault(workload)).transpose()?.flatten();
        let mut hides = workload.map(masker).unwrap_or_default();
        for job in &jobs {
            job.workload.iter().chain(&job.earlier).for_each(|workload| hides.merge(&masker(workload)));
        }
        Ok(Errand { way, jobs, workload, playbook, vault, masker: hides })
    }

    /// What failed on hosts is cleared away; the answer says for each host why that did not work.
    async fn bring_back(&self, touched: Vec<&Job>, untouched: Vec<&Job>) -> BTreeMap<String, Option<String>> {
        let mut told = BTreeMap::new();
        let Some(first) = touched.first().or(untouched.first()).copied() else { return told };
        let earlier = first.earlier.as_deref();
        let playbook = match earlier {
            Some(_) => self.options.rollback.as_deref().or(Some(&self.options.playbook)),
            None => self.options.remove.as_deref(),
        };
        let (lost, touched): (Vec<&Job>, Vec<&Job>) =
            touched.into_iter().partition(|job| job.op.before.is_some() && job.earlier.is_none());
        let unknown = "the release that it had is not known here";
        told.extend(lost.into_iter().map(|job| (job.op.unit.clone(), Some(unknown.to_owned()))));
        for (jobs, playbook) in [(touched, playbook), (untouched, None)] {
            if !jobs.is_empty() {
                told.extend(self.clear(jobs, earlier, playbook).await);
            }
        }
        told
    }

    async fn clear(
        &self,
        jobs: Vec<&Job>,
        earlier: Option<&Workload>,
        playbook: Option<&Path>,
    ) -> BTreeMap<String, Option<String>> {
        let names: Vec<String> = jobs.iter().map(|job| job.op.unit.clone()).collect();
        let verdicts = match self.errand(Way::Restore, jobs, earlier, playbook) {
            Ok(errand) => self.change(&errand).await,
            Err(fault) => names.iter().map(|_| Verdict::Over(copy(&fault))).collect(),
        };
        let why = |verdict: Verdict| match verdict {
            Verdict::Done => None,
            Verdict::Untouched(fault) | Verdict::Touched(fault) | Verdict::Over(fault) => {
                Some(fault.chain().join(" ").trim_end_matches('.').to_owned())
            }
        };
        names.into_iter().zip(verdicts.into_iter().map(why)).collect()
    }

    /// One run with vice's own plays around the playbook.
    async fn change(&self, errand: &Errand<'_>) -> Vec<Verdict> {
        match self.attempt(errand).await {
            Ok(ran) => errand.jobs.iter().map(|job| self.judge(errand, job, &ran)).collect(),
            // Nothing was sent.
            Err(fault) => errand.jobs.iter().map(|_| Verdict::Over(copy(&fault))).collect(),
        }
    }

    async fn attempt(&self, errand: &Errand<'_>) -> Result<Ran> {
        let folder = Folder::new(&self.setting)?;
        let mut vars = self.vars(&folder, errand.workload, &errand.jobs)?;
        vars.script();
        let each = |command: &str| -> BTreeMap<String, String> {
            let run = folder.name();
            errand.jobs.iter().map(|job| (job.op.unit.clone(), self.mark(command, errand.way, job, &run))).collect()
        };
        vars.each("vice__begin", &each("begin"));
        vars.each("vice__finish", &each("finish"));
        let request = Request {
            hosts: errand.jobs.iter().map(|job| job.op.unit.clone()).collect(),
            plays: play::around(errand.playbook, self.options.become_root)?,
            playbook: errand.playbook,
            check: false,
            limit: self.options.timeout.as_duration(),
            vault: errand.vault.clone(),
            masker: errand.masker.clone(),
        };
        run::run(&self.setting, &folder, &vars.finish(), &request).await
    }

    fn mark(&self, command: &str, way: Way, job: &Job, run: &str) -> String {
        let op = &job.op;
        let release = match (way, &op.change) {
            (Way::Undo, _) => op.before.as_ref(),
            (_, Change::Place(release)) => Some(release),
            _ => None,
        };
        let id = release.map_or_else(|| "-".to_owned(), release_id);
        let text = release.and_then(|release| serde_json::to_string(release).ok()).unwrap_or_else(|| "-".to_owned());
        let (epoch, key) = (op.epoch.to_string(), op_key(&op.id));
        self.call(&[command, &epoch, &op.unit, &key, way.word(), run, &id, &text])
    }

    fn judge(&self, errand: &Errand<'_>, job: &Job, ran: &Ran) -> Verdict {
        let (op, name) = (&job.op, job.op.unit.as_str());
        let Some(report) = ran.report.hosts.get(name) else {
            return self.silent(errand, name, ran);
        };
        let version = errand.workload.map_or("none", |workload| workload.release.version.as_str());
        match (&report.begin, &report.unreachable, &report.finish) {
            (None, Some(why), _) => Verdict::Over(trouble::unreachable(name, why, false)),
            (None, None, _) => self.silent(errand, name, ran),
            (Some(said), ..) if said.status == status::ALREADY => Verdict::Done,
            (Some(said), ..) if said.status != 0 => Verdict::Over(trouble::refused(name, op.epoch, said)),
            (Some(_), _, Some(said)) if said.status == 0 => Verdict::Done,
            (Some(_), _, Some(said)) => Verdict::Over(trouble::refused(name, op.epoch, said)),
            (Some(_), Some(why), None) => Verdict::Over(trouble::unreachable(name, why, true)),
            (Some(_), None, None) => self.unfinished(name, version, report, ran),
        }
    }

    /// Nothing is known of a host. When time was up it may have noted the operation; the playbook was not begun there.
    fn silent(&self, errand: &Errand<'_>, name: &str, ran: &Ran) -> Verdict {
        if ran.late {
            return Verdict::Untouched(trouble::late(name, self.options.timeout.as_duration().as_secs()));
        }
        Verdict::Over(trouble::silent(ran, Some(name), errand.playbook))
    }

    fn unfinished(&self, name: &str, version: &str, report: &HostReport, ran: &Ran) -> Verdict {
        if ran.late {
            return Verdict::Touched(trouble::late(name, self.options.timeout.as_duration().as_secs()));
        }
        match (report.touched, &report.failed) {
            (false, None) if ran.report.whole && ran.status == Some(0) => Verdict::Untouched(trouble::left_out(name)),
            (false, _) => Verdict::Untouched(trouble::failed(name, version, report)),
            (true, _) => Verdict::Touched(trouble::failed(name, version, report)),
        }
    }

    // --- what a playbook is told -------------------------------------------------------------------------------------

    /// The password of encrypted files, from the configuration of a release.
    fn vault(&self, workload: &Workload) -> Result<Option<Secret>> {
        let Some(key) = &self.options.vault else { return Ok(None) };
        match workload.environment.get(key) {
            Some(EnvValue::Secret(secret)) => Ok(Some(secret.clone())),
            Some(EnvValue::Plain(_)) => {
                Err(Fault::new(Code::ConfigInvalid, format!("{key} is the password of the vault, and no secret."))
                    .hint("Store it encrypted: vice envy set --secret."))
            }
            None => Err(Fault::new(
                Code::ConfigInvalid,
                format!("The configuration has no {key}, which `vault` of the target names."),
            )
            .hint("Store the password of the vault there: vice envy set --secret.")),
        }
    }

    fn vars(&self, folder: &Folder, workload: Option<&Workload>, jobs: &[&Job]) -> Result<Vars> {
        let mut vars = Vars::default();
        let scope = &self.options.scope;
        vars.text("vice_project", scope.project.as_str());
        vars.text("vice_env", scope.env.as_str());
        vars.text("vice_state", if workload.is_some() { "present" } else { "absent" });
        vars.text("vice__folder", &folder.path("").display().to_string());
        vars.number("vice_epoch", jobs.first().map_or(0, |job| job.op.epoch));
        vars.each("vice_ops", &jobs.iter().map(|job| (job.op.unit.clone(), op_key(&job.op.id))).collect());
        vars.template("vice_op", "{{ (vice_ops or {})[inventory_hostname] | default('') }}");
        if let Some(port) = self.options.port {
            vars.number("vice_port", u64::from(port));
        }
        let Some(workload) = workload else { return Ok(vars) };
        let release = &workload.release;
        vars.text("vice_version", &release.version);
        vars.text("vice_release", &release_id(release));
        vars.text("vice_artifact", &workload.files.as_ref().map(|path| path.display().to_string()).unwrap_or_default());
        vars.text("vice_artifact_digest", &release.artifact.map(|digest| digest.to_string()).unwrap_or_default());
        let config: BTreeMap<&str, &str> =
            workload.environment.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
        let config = serde_json::to_string_pretty(&config)
            .map_err(|error| Fault::internal("The configuration is no JSON.").because(error))?;
        folder.write("config.json", &config)?;
        vars.text("vice_config_file", &folder.path("config.json").display().to_string());
        Ok(vars)
    }
}

fn settled(job: &Job, verdict: Verdict, back: &BTreeMap<String, Option<String>>) -> Result<Observed> {
    match verdict {
        Verdict::Done => Ok(Observed::Applied),
        Verdict::Over(fault) => Err(fault),
        Verdict::Untouched(fault) | Verdict::Touched(fault) => match back.get(&job.op.unit) {
            Some(Some(why)) => Err(trouble::not_restored(&job.op.unit, &fault, why)),
            _ => Err(fault),
        },
    }
}

/// The same fault for several operations.
fn copies(fault: &Fault, count: usize) -> Vec<Result<Observed>> {
    (0..count).map(|_| Err(copy(fault))).collect()
}

fn copy(fault: &Fault) -> Fault {
    let mut copy = Fault::new(fault.code(), fault.to_string());
    for hint in fault.hints() {
        copy = copy.hint(hint.clone());
    }
    for (key, value) in fault.details() {
        copy = copy.detail(key, value.clone());
    }
    match fault.chain().get(1..) {
        Some(rest) if !rest.is_empty() => copy.because(rest.join(" ")),
        _ => copy,
    }
}
