//! Who asks a registry: what `docker login` has left in `~/.docker/config.json` (or in the folder that DOCKER_CONFIG
//! names), or what the credential helper gives that is named there. No other file is looked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use vice_core::app::ProcessEnv;
use vice_core::port::command::{CommandRunner, CommandSpec, EnvValue};
use vice_core::{Code, Context, Fault, Millis, Result, Secret};

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// How long a helper may take; some of them ask the user's key store.
const HELPER_TIMEOUT: Millis = Millis(30_000);
/// What docker calls its own registry here.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";
/// The user's name that says that the password is a token for tokens.
const TOKEN_USER: &str = "<token>";

/// What is shown to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// A user's name and password.
    Basic(String, Secret),
    /// A token for which tokens are given out.
    Identity(Secret),
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    username: String,
    secret: String,
}

/// What is known for a registry; nothing where it is asked by nobody in particular.
///
/// # Errors
/// `Usage` for a file that makes no sense, `Backend` for a helper that fails.
pub(super) async fn of(host: &str, env: &ProcessEnv, runner: Option<&dyn CommandRunner>) -> Result<Option<Login>> {
    let Some(path) = file(env) else { return Ok(None) };
    let Some(config) = read(&path)? else { return Ok(None) };
    let noted = config.auths.iter().find(|(key, _)| means(key, host));
    let helper = match config.cred_helpers.iter().find(|(key, _)| means(key, host)) {
        Some((key, helper)) => Some((helper, key)),
        // A store has what `docker login` has put there, and leaves an empty entry in the file.
        None => config.creds_store.as_ref().zip(noted.map(|(key, _)| key)),
    };
    if let (Some((helper, key)), Some(runner)) = (helper, runner) {
        return ask(helper, key, env, runner).await;
    }
    noted.map_or(Ok(None), |(_, entry)| written(entry, &path))
}

fn file(env: &ProcessEnv) -> Option<PathBuf> {
    let folder = match (env.get("DOCKER_CONFIG"), env.get("HOME")) {
        (Some(folder), _) => env.dir.join(folder),
        (None, Some(home)) => Path::new(home).join(".docker"),
        (None, None) => return None,
    };
    Some(folder.join("config.json"))
}

fn read(path: &Path) -> Result<Option<Config>> {
    let shown = path.display();
    let unread = || format!("{shown} can't be read.");
    let size = match std::fs::metadata(path) {
        Ok(facts) => facts.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::new(Code::Io, unread()).because(error)),
    };
    if size > FILE_BYTES_MAX {
        let message = format!("{shown} has {size} bytes; {FILE_BYTES_MAX} is the limit.");
        return Err(Fault::new(Code::Usage, message).hint("Is it the configuration of docker?"));
    }
    let text = std::fs::read(path).context(Code::Io, unread)?;
    // The parser's own text may quote a password.
    serde_json::from_slice(&text).map(Some).map_err(|_| {
        Fault::new(Code::Usage, format!("{shown} is not a configuration of docker."))
            .hint("`docker login` writes one; DOCKER_CONFIG names another folder.")
    })
}

/// Whether a key of the file is that of a registry: its host, perhaps as an address.
fn means(key: &str, host: &str) -> bool {
    if host == "docker.io" {
        return [DOCKER_KEY, "index.docker.io", "docker.io"].contains(&key);
    }
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    bare.split('/').next() == Some(host)
}

fn written(entry: &Entry, path: &Path) -> Result<Option<Login>> {
    if !entry.identitytoken.is_empty() {
        return Ok(Some(Login::Identity(Secret::new(&entry.identitytoken))));
    }
    if !entry.username.is_empty() {
        return Ok(Some(Login::Basic(entry.username.clone(), Secret::new(&entry.password))));
    }
    if entry.auth.is_empty() {
        return Ok(None);
    }
    let text = STANDARD.decode(&entry.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let both = text.as_deref().and_then(|text| text.split_once(':'));
    let (user, password) = both.ok_or_else(|| {
        Fault::new(Code::Usage, format!("{} has an `auth` that is no name with a password.", path.display()))
            .hint("`docker login` writes it anew.")
    })?;
    Ok(Some(Login::Basic(user.to_owned(), Secret::new(password.trim_end_matches('\0')))))
}

/// Asks a credential helper: `docker-credential-NAME get`, with the registry on its standard input.
async fn ask(helper: &str, key: &str, env: &ProcessEnv, runner: &dyn CommandRunner) -> Result<Option<Login>> {
    // A name with a slash would reach outside of PATH.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if helper.is_empty() || helper.len() > 60 || helper.starts_with(['-', '.']) || !helper.chars().all(plain) {
        let shown: String = helper.chars().take(60).collect();
        return Err(Fault::new(Code::Usage, format!("{shown:?} can't be the name of a credential helper."))
            .hint("Look at `credHelpers` and `credsStore` in the configuration of docker."));
    }
    let program = format!("docker-credential-{helper}");
    let dir = if env.dir.as_os_str().is_empty() { PathBuf::from("/") } else { env.dir.clone() };
    let mut spec = CommandSpec::new(vec![program.clone(), "get".to_owned()], dir, HELPER_TIMEOUT);
    spec.stdin = Some(Secret::new(key));
    // It is the user's own program, and finds its own configuration by the user's variables.
    let own = env.vars.iter().filter(|(name, _)| !name.starts_with("VICE_"));
    spec.env = own.map(|(name, value)| (name.clone(), EnvValue::Secret(Secret::new(value)))).collect();
    let failed = |why: String| {
        Fault::new(Code::Backend, format!("The credential helper {program} gives nothing for {key}."))
            .because(why)
            .hint("`docker login` renews what it has; it has to be on PATH.")
    };
    let output = runner.run(spec).await.map_err(|fault| failed(fault.to_string()))?;
    if !output.ok() {
        // This is how helpers say that nobody has logged in.
        if output.stdout.contains("credentials not found") {
            return Ok(None);
        }
        // Standard output may hold what it was about to give.
        let said = output.stderr.lines().next_back().unwrap_or("it failed").chars().take(200).collect();
        return Err(failed(said));
    }
    let given: Given = serde_json::from_str(&output.stdout).map_err(|_| failed("Its answer is no JSON.".to_owned()))?;
    Ok(Some(match given.username.as_str() {
        TOKEN_USER => Login::Identity(Secret::new(given.secret)),
        _ => Login::Basic(given.username, Secret::new(given.secret)),
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use vice_core::port::command::{CommandOutput, Ended};

    use super::*;

    /// A helper that answers so, and notes how it was asked.
    struct Helper {
        status: i32,
        stdout: &'static str,
        asked: Mutex<Vec<(Vec<String>, String)>>,
    }

    impl Helper {
        fn new(status: i32, stdout: &'static str) -> Self {
            Self { status, stdout, asked: Mutex::default() }
        }
    }

    #[async_trait]
    impl CommandRunner for Helper {
        async fn run(&self, spec: CommandSpec) -> Result<CommandOutput> {
            let input = spec.stdin.as_ref().map(|input| input.reveal().to_owned()).unwrap_or_default();
            self.asked.lock().unwrap().push((spec.argv, input));
            Ok(CommandOutput {
                ended: Ended::Exited(self.status),
                stdout: self.stdout.to_owned(),
                stderr: "it is locked".to_owned(),
                truncated: false,
                took: Millis(1),
            })
        }
    }

    async fn login(host: &str, config: &str, helper: &Helper) -> Result<Option<Login>> {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".docker")).unwrap();
        std::fs::write(home.path().join(".docker/config.json"), config).unwrap();
        let vars = [("HOME".to_owned(), home.path().display().to_string())].into();
        let env = ProcessEnv { vars, ..ProcessEnv::default() };
        of(host, &env, Some(helper)).await
    }

    fn basic(user: &str, password: &str) -> Option<Login> {
        Some(Login::Basic(user.to_owned(), Secret::new(password)))
    }

    #[tokio::test]
    async fn what_docker_login_wrote_is_found_by_the_host() {
        let none = Helper::new(0, "");
        let auth = STANDARD.encode("ada:open:sesame");
        let config = format!(
            "{{\"auths\": {{\"https://index.docker.io/v1/\": {{\"auth\": {auth:?}}}, \"a.example:5000\": \
             {{\"username\": \"ada\", \"password\": \"p\"}}, \"https://b.example/v2/\": {{\"identitytoken\": \"t\"}}, \
             \"c.example\": {{}}}}}}"
        );
        assert_eq!(login("docker.io", &config, &none).await.unwrap(), basic("ada", "open:sesame"));
        assert_eq!(login("a.example:5000", &config, &none).await.unwrap(), basic("ada", "p"));
        assert_eq!(login("b.example", &config, &none).await.unwrap(), Some(Login::Identity(Secret::new("t"))));
        for unknown in ["c.example", "a.example", "example", "a.example:50"] {
            assert_eq!(login(unknown, &config, &none).await.unwrap(), None, "{unknown}");
        }
        assert!(none.asked.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_helper_is_asked_for_its_own_registry_only() {
        let config =
            "{\"credHelpers\": {\"a.example\": \"pass\"}, \"credsStore\": \"desktop\", \"auths\": {\"b.example\": {}}}";
        let helper = Helper::new(0, "{\"Username\": \"ada\", \"Secret\": \"p\"}");
        assert_eq!(login("a.example", config, &helper).await.unwrap(), basic("ada", "p"));
        assert_eq!(login("b.example", config, &helper).await.unwrap(), basic("ada", "p"));
        assert_eq!(login("c.example", config, &helper).await.unwrap(), None);
        let asked = helper.asked.lock().unwrap().clone();
        let asked: Vec<_> = asked.iter().map(|(argv, input)| (argv.join(" "), input.as_str())).collect();
        let wanted = [("docker-credential-pass get", "a.example"), ("docker-credential-desktop get", "b.example")];
        assert_eq!(asked.iter().map(|(argv, input)| (argv.as_str(), *input)).collect::<Vec<_>>(), wanted);
        let token = Helper::new(0, "{\"Username\": \"<token>\", \"Secret\": \"t\"}");
        assert_eq!(login("a.example", config, &token).await.unwrap(), Some(Login::Identity(Secret::new("t"))));
        let absent = Helper::new(1, "credentials not found in native keychain\n");
        assert_eq!(login("a.example", config, &absent).await.unwrap(), None);
    }

    #[tokio::test]
    async fn class_22_no_error_quotes_a_password() {
        for (config, status, said) in [
            ("{\"auths\": {\"a.example\": {\"auth\": \"hunter2\"}}}", 0, "no name with a password"),
            ("{\"auths\": {\"a.example\": \"hunter2\"}}", 0, "not a configuration of docker"),
            ("hunter2", 0, "not a configuration of docker"),
            ("{\"credHelpers\": {\"a.example\": \"pass\"}}", 3, "gives nothing"),
            ("{\"credHelpers\": {\"a.example\": \"pass\"}}", 0, "gives nothing"),
        ] {
            let fault = login("a.example", config, &Helper::new(status, "hunter2")).await.unwrap_err();
            assert!(fault.to_string().contains(said) && !fault.hints().is_empty(), "{fault:?}");
            assert!(!format!("{fault:?} {:?}", fault.chain()).contains("hunter2"), "{fault:?}");
        }
    }

    #[tokio::test]
    async fn class_25_a_helper_is_a_name_and_never_a_path() {
        for name in ["../../bin/sh", "/bin/sh", "a b", "-x", "..", "a;b", ""] {
            let config = format!("{{\"credHelpers\": {{\"a.example\": {name:?}}}}}");
            let helper = Helper::new(0, "");
            let fault = login("a.example", &config, &helper).await.unwrap_err();
            assert_eq!(fault.code(), Code::Usage, "{name}");
            assert!(helper.asked.lock().unwrap().is_empty(), "{name}");
        }
    }
}
