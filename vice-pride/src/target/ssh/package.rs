//! What goes over to a host: the artifact as one archive, made once for all hosts, and the few files that say how a
//! release is run there. Values of secrets stand in `env` only, which the host keeps with mode 0600.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use vice_core::id::Scope;
use vice_core::manifest::{HealthAt, RunBy};
use vice_core::port::target::Workload;
use vice_core::template::{Vars, render};
use vice_core::{Code, Context, Digest, Fault, Millis, Result};

use super::super::naming::{quoted, release_id};

/// How deep folders of an artifact may be nested; the artifact store allows less.
const DEPTH_MAX: usize = 128;

/// An artifact as an archive.
pub(super) struct Bundle {
    pub(super) file: NamedTempFile,
    pub(super) sums: Sums,
}

/// What is known of an archive's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    /// In hexadecimal digits.
    pub(super) sha256: String,
    /// What the program `cksum` says (POSIX: CRC-32 of the content and its length).
    pub(super) cksum: u32,
    /// Its length.
    pub(super) bytes: u64,
}

/// CRC-32 as POSIX has it, for `cksum`.
const CKSUM: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_CKSUM);

/// Packs a folder. Order, times and owners are always the same.
///
/// # Errors
/// `Io` when something can't be read or written.
pub(super) fn bundle(files: &Path, work: &Path) -> Result<Bundle> {
    let unpacked = || format!("The artifact {} can't be packed.", files.display());
    fs::create_dir_all(work).context(Code::StateUnwritable, unpacked)?;
    let file = NamedTempFile::new_in(work).context(Code::StateUnwritable, unpacked)?;
    let sums = pack(files, file.as_file()).context(Code::Io, unpacked)?;
    Ok(Bundle { file, sums })
}

/// Writes the archive and says what it sums up to.
fn pack(files: &Path, out: &fs::File) -> std::io::Result<Sums> {
    let buffered = std::io::BufWriter::with_capacity(256 * 1024, out);
    let mut tar = tar::Builder::new(Hashing { inner: buffered, hash: Sha256::new(), cksum: CKSUM.digest(), bytes: 0 });
    if files.is_file() {
        let name = files.file_name().map(PathBuf::from).unwrap_or_default();
        add(&mut tar, files, &name)?;
    } else {
        add_folder(&mut tar, files, Path::new(""), 0)?;
    }
    let mut hashing = tar.into_inner()?;
    hashing.flush()?;
    let sha256 = Digest(hashing.hash.finalize().into()).to_string();
    Ok(Sums { sha256, cksum: with_length(hashing.cksum, hashing.bytes), bytes: hashing.bytes })
}

/// POSIX has the length after the content, least significant byte first, without the zero bytes at its end.
fn with_length(mut cksum: crc::Digest<'_, u32, crc::Table<16>>, bytes: u64) -> u32 {
    let length = bytes.to_le_bytes();
    let used = length.len() - bytes.leading_zeros() as usize / 8;
    cksum.update(&length[..used]);
    cksum.finalize()
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
    cksum: crc::Digest<'static, u32, crc::Table<16>>,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.cksum.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn add_folder<W: Write>(tar: &mut tar::Builder<W>, from: &Path, to: &Path, depth: usize) -> std::io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(std::io::Error::other("folders are nested too deep"));
    }
    let mut entries: Vec<_> = fs::read_dir(from)?.collect::<std::io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            let mut header = header(tar::EntryType::Directory, 0o755, 0);
            tar.append_data(&mut header, &name, std::io::empty())?;
            add_folder(tar, &path, &name, depth + 1)?;
        } else {
            add(tar, &path, &name)?;
        }
    }
    Ok(())
}

fn add<W: Write>(tar: &mut tar::Builder<W>, path: &Path, name: &Path) -> std::io::Result<()> {
    let facts = fs::symlink_metadata(path)?;
    if facts.is_symlink() {
        return tar.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), name, fs::read_link(path)?);
    }
    let mode = if facts.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
    tar.append_data(&mut header(tar::EntryType::Regular, mode, facts.len()), name, fs::File::open(path)?)
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// How a unit is run on its host.
#[derive(Debug, Clone)]
pub(super) struct Manner<'a> {
    pub(super) scope: &'a Scope,
    pub(super) unit: &'a str,
    /// The port of this instance.
    pub(super) port: Option<u16>,
    pub(super) run: RunBy,
    /// The folder that a supervisor scans.
    pub(super) services: &'a str,
    pub(super) health_at: HealthAt,
    pub(super) files: Files,
}

/// Where an instance finds its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Files {
    /// It has none.
    None,
    /// In the release folder of that name.
    Artifact(String),
    /// In the folder that was adopted.
    Adopted,
}

/// The files of a placed release as an archive.
///
/// # Errors
/// `Usage` for a variable that no shell can hold, or a command that needs a port where there is none.
pub(super) fn request(workload: &Workload, manner: &Manner<'_>) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |name: &str, text: &str| {
        tar.append_data(&mut header(tar::EntryType::Regular, 0o600, text.len() as u64), name, text.as_bytes())
            .context(Code::Internal, || format!("{name} can't be packed."))
    };
    put("id", &format!("{}\n", release_id(&workload.release)))?;
    let release = serde_json::to_string(&workload.release);
    put("release.json", &release.context(Code::Internal, || "A release can't be encoded.".to_owned())?)?;
    put("conf", &conf(workload, manner))?;
    put("env", &environment(workload, manner)?)?;
    put("run", &run(workload, manner)?)?;
    if let Files::Artifact(artifact) = &manner.files {
        put("artifact", &format!("{artifact}\n"))?;
    }
    if manner.run == RunBy::Systemd {
        put("service", &service(workload, manner))?;
    }
    tar.into_inner().context(Code::Internal, || "A release can't be packed.".to_owned())
}

/// Whole seconds, at least one: shells count no finer.
fn seconds(time: Millis) -> u64 {
    time.0.div_ceil(1_000).max(1)
}

/// The name of the service for a supervisor.
fn service_name(manner: &Manner<'_>) -> String {
    let suffix = if manner.run == RunBy::Systemd { ".service" } else { "" };
    format!("vice-{}-{}-{}{suffix}", manner.scope.project, manner.scope.env, manner.unit)
}

fn conf(workload: &Workload, manner: &Manner<'_>) -> String {
    let probe = workload.health.as_ref();
    let health = probe.and_then(|probe| probe.path.as_deref()).unwrap_or_default();
    let pairs = [
        ("mode", manner.run.word().to_owned()),
        ("port", manner.port.map(|port| port.to_string()).unwrap_or_default()),
        ("health", health.to_owned()),
        ("at", if manner.health_at == HealthAt::Address { "address" } else { "loopback" }.to_owned()),
        ("ready_s", seconds(workload.ready_timeout).to_string()),
        ("stop_s", seconds(workload.stop_timeout).to_string()),
        ("timeout_s", seconds(probe.map_or(Millis(2_000), |probe| probe.timeout)).to_string()),
        ("healthy_after", probe.map_or(1, |probe| probe.healthy_after.max(1)).to_string()),
        ("service", service_name(manner)),
        ("services", manner.services.to_owned()),
        ("version", workload.release.version.clone()),
    ];
    pairs.iter().map(|(key, value)| format!("{key}={}\n", quoted(value))).collect()
}

fn environment(workload: &Workload, manner: &Manner<'_>) -> Result<String> {
    let mut text = String::new();
    let mut say = |name: &str, value: &str| text.push_str(&format!("{name}={}\n", quoted(value)));
    for (name, value) in &workload.environment {
        check_variable(name)?;
        say(name, value.reveal());
    }
    if let Some(port) = manner.port {
        say("PORT", &port.to_string());
    }
    say("VICE_PROJECT", manner.scope.project.as_str());
    say("VICE_ENV", manner.scope.env.as_str());
    say("VICE_VERSION", &workload.release.version);
    say("VICE_UNIT", manner.unit);
    Ok(text)
}

fn check_variable(name: &str) -> Result<()> {
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if starts && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(());
    }
    Err(Fault::new(Code::Usage, format!("The configuration key {name:?} can't be a variable of a process on a host."))
        .hint("Variables have letters, digits and _, and begin with a letter."))
}

/// The program that runs an instance: the environment, the folder, and then the command in its place.
fn run(workload: &Workload, manner: &Manner<'_>) -> Result<String> {
    let mut vars: Vars = [("unit".to_owned(), manner.unit.to_owned())].into();
    if let Some(port) = manner.port {
        vars.insert("port".to_owned(), port.to_string());
    }
    let needs_port = |text: &str| text.contains("{{port}}");
    let asks = workload.health.as_ref().is_some_and(|probe| probe.path.is_some());
    if manner.port.is_none() && (asks || workload.command.iter().any(|word| needs_port(word))) {
        let scope = manner.scope;
        return Err(Fault::new(Code::Usage, format!("The instances of {scope} need a port, and none is set."))
            .hint(format!("Add `port = 8080` to [env.{}]: instances on hosts listen there.", scope.env)));
    }
    let words = workload.command.iter().map(|word| render(word, &vars).map(|word| quoted(&word)));
    let words = words.collect::<Result<Vec<_>>>()?;
    if words.is_empty() {
        return Err(Fault::new(Code::Usage, "The release has no command.").hint("Set `command` in vice.toml."));
    }
    let folder = if manner.files == Files::None { "\"$here\"" } else { "\"$here/files\"" };
    Ok(format!(
        "#!/bin/sh\nunset SSH_CLIENT SSH_CONNECTION SSH_TTY SSH_AUTH_SOCK SSH_ORIGINAL_COMMAND LC_ALL\numask 022\n\
         here=${{0%/*}}\nset -a\nread -r VICE_ADDRESS <\"$here/address\"\n. \"$here/env\"\nset +a\ncd -P {folder} || exit 111\nexec {}\n",
        words.join(" ")
    ))
}

/// The unit file of systemd. `@UNIT@` stands for the unit's folder, which only the host knows in full.
fn service(workload: &Workload, manner: &Manner<'_>) -> String {
    let Manner { scope, unit, .. } = manner;
    format!(
        "# Written by vice for {scope}, unit {unit}; it is written anew with each deploy.\n[Unit]\n\
         Description={scope} unit {unit}\nAfter=network-online.target\nWants=network-online.target\n\
         StartLimitIntervalSec=0\n\n[Service]\nExecStart=/bin/sh @UNIT@/current/run\nRestart=always\nRestartSec=1\n\
         TimeoutStopSec={}\n\n[Install]\nWantedBy=@WANTED@\n",
        seconds(workload.stop_timeout),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::process::Command;
    use vice_core::Secret;
    use vice_core::id::{EnvName, ProjectName};
    use vice_core::port::command::EnvValue;
    use vice_core::testkit::target_fixtures;

    fn scope() -> Scope {
        Scope::new(ProjectName::new("shop").unwrap(), EnvName::new("prod").unwrap())
    }

    fn manner(scope: &Scope, run: RunBy) -> Manner<'_> {
        Manner {
            scope,
            unit: "web1",
            port: Some(8080),
            run,
            services: "/run/service",
            health_at: HealthAt::Loopback,
            files: Files::None,
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test is whether a shell reads what was written")]
    fn a_shell_reads_back_what_was_written() {
        let scope = scope();
        let hostile = "a'b\"c $(id) `id` \\ \n x";
        let mut workload = target_fixtures::workload("1");
        workload.command = vec!["printf".to_owned(), "%s|%s|%s".to_owned(), hostile.to_owned(), "{{port}}".to_owned()];
        workload.environment = BTreeMap::from([("TOKEN".to_owned(), EnvValue::Secret(Secret::new(hostile)))]);
        workload.command.push("{{unit}}".to_owned());
        let dir = tempfile::tempdir().unwrap();
        let packed = request(&workload, &manner(&scope, RunBy::Process)).unwrap();
        tar::Archive::new(packed.as_slice()).unpack(dir.path()).unwrap();
        fs::write(dir.path().join("address"), "127.0.0.1\n").unwrap();
        let ran = Command::new("sh").arg(dir.path().join("run")).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ran.stdout), format!("{hostile}|8080|web1"));
        let env = dir.path().join("env");
        assert_eq!(fs::metadata(&env).unwrap().permissions().mode() & 0o777, 0o600);
        let asked = format!(". '{}'; printf %s \"$TOKEN\"", env.display());
        let ran = Command::new("sh").args(["-c", &asked]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ran.stdout), hostile);
        assert!(!fs::read_to_string(dir.path().join("run")).unwrap().contains("TOKEN"));
    }

    #[test]
    fn what_no_host_could_run_is_refused() {
        let scope = scope();
        let mut workload = target_fixtures::workload("1");
        workload.environment = BTreeMap::from([("a-b".to_owned(), EnvValue::Plain(String::new()))]);
        assert!(request(&workload, &manner(&scope, RunBy::Process)).unwrap_err().to_string().contains("a-b"));
        let mut workload = target_fixtures::workload("1");
        workload.command = vec!["./shop".to_owned(), "--port={{port}}".to_owned()];
        let without = Manner { port: None, ..manner(&scope, RunBy::Process) };
        assert!(request(&workload, &without).unwrap_err().hints()[0].contains("port = 8080"));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test is whether hosts get the same sum")]
    fn a_bundle_is_the_same_for_the_same_files() {
        let dir = tempfile::tempdir().unwrap();
        let (files, work) = (dir.path().join("files"), dir.path().join("work"));
        fs::create_dir_all(files.join("sub")).unwrap();
        fs::write(files.join("sub/app"), "x".repeat(100_000)).unwrap();
        fs::set_permissions(files.join("sub/app"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("sub/app", files.join("link")).unwrap();
        let (one, two) = (bundle(&files, &work).unwrap(), bundle(&files, &work).unwrap());
        assert_eq!(one.sums, two.sums);
        let content = fs::read(one.file.path()).unwrap();
        assert_eq!(Digest::of(&content).to_string(), one.sums.sha256);
        let ran = Command::new("cksum").stdin(fs::File::open(one.file.path()).unwrap()).output().unwrap();
        let said = format!("{} {}\n", one.sums.cksum, one.sums.bytes);
        assert_eq!(String::from_utf8_lossy(&ran.stdout), said);
        let out = dir.path().join("out");
        tar::Archive::new(fs::File::open(two.file.path()).unwrap()).unpack(&out).unwrap();
        assert_eq!(fs::read_link(out.join("link")).unwrap(), Path::new("sub/app"));
        assert_eq!(fs::metadata(out.join("sub/app")).unwrap().permissions().mode() & 0o777, 0o755);
    }

    /// `systemd-analyze verify` reads unit files without a running systemd.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test is whether systemd's own check finds the unit file good")]
    fn systemd_understands_the_unit_file() {
        let scope = scope();
        let text = service(&target_fixtures::workload("1"), &manner(&scope, RunBy::Systemd));
        assert!(text.contains("ExecStart=/bin/sh @UNIT@/current/run"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vice-shop-prod-web1.service");
        fs::write(
            &path,
            text.replace("@UNIT@", "/srv/vice/shop/prod/units/web1").replace("@WANTED@", "multi-user.target"),
        )
        .unwrap();
        let Ok(ran) = Command::new("systemd-analyze").arg("verify").arg(&path).output() else {
            assert!(!Path::new("/usr/bin/systemd-analyze").exists(), "systemd-analyze can't be run");
            return;
        };
        let said = String::from_utf8_lossy(&ran.stderr);
        let about = said.lines().filter(|line| line.contains("vice-shop-prod-web1")).collect::<Vec<_>>();
        assert!(about.is_empty() && ran.status.success(), "{said}");
    }
}
