//! How the history of a `vice serve` is written: its address. The token stands in no URL and in no argument.

use url::Url;
use vice_core::app::ProcessEnv;
use vice_core::host::is_loopback;
use vice_core::{Code, Context, Fault, Result};

/// The variable with the token, and the one with the file that holds it.
const TOKEN: &str = "VICE_HISTORY_TOKEN";
const TOKEN_FILE: &str = "VICE_HISTORY_TOKEN_FILE";

/// The longest token.
const TOKEN_BYTES_MAX: u64 = 4096;

const FORMS: &str = "Write https://HOST or https://HOST/PREFIX; http:// is for this machine only.";

/// The address of a `vice serve`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotePlace(Url);

impl std::fmt::Display for RemotePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl RemotePlace {
    /// Reads an address.
    ///
    /// # Errors
    /// `Usage`, without repeating what may be a secret.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let usage = |message: &str| Fault::new(Code::Usage, message).hint(FORMS);
        let mut url =
            Url::parse(text).map_err(|error| usage("The address of the history is no URL.").because(error))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(usage("The address of a history has only a host and a prefix.")
                .hint(format!("The token comes from {TOKEN} or from the file that {TOKEN_FILE} names.")));
        }
        if url.scheme() == "http" && !is_local(&url) {
            return Err(usage("A token must not travel unencrypted: http:// is for this machine only."));
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self(url))
    }

    /// Where a question goes.
    pub(super) fn question(&self, name: &str) -> Result<Url> {
        self.0.join(&format!("v1/history/{name}")).context(Code::Internal, || "A question has no address.".to_owned())
    }
}

fn is_local(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback)
}

/// The token from the environment.
///
/// # Errors
/// `Usage` when there is none, or none that can be sent.
pub(super) fn token(env: &ProcessEnv) -> Result<String> {
    let token = match (env.get(TOKEN), env.get(TOKEN_FILE)) {
        (Some(token), _) => token.to_owned(),
        (None, Some(file)) => {
            let path = env.dir.join(file);
            let unreadable = || format!("The file {} that {TOKEN_FILE} names can't be read.", path.display());
            let size = std::fs::metadata(&path).context(Code::Usage, unreadable)?.len();
            if size > TOKEN_BYTES_MAX {
                return Err(Fault::new(Code::Usage, format!("The file {} is too large for a token.", path.display())));
            }
            std::fs::read_to_string(&path).context(Code::Usage, unreadable)?
        }
        (None, None) => {
            return Err(Fault::new(Code::Usage, "The history asks for a token, and there is none.")
                .hint(format!("Set {TOKEN}, or {TOKEN_FILE} to the name of a file with it."))
                .hint("Whoever runs `vice serve` has the tokens."));
        }
    };
    let token = token.trim().to_owned();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Fault::new(Code::Usage, "The token of the history has letters that no token has.")
            .hint(format!("Check {TOKEN} or the file that {TOKEN_FILE} names.")));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let place = RemotePlace::parse("https://vice.example/team").unwrap();
        assert_eq!(place.to_string(), "https://vice.example/team");
        assert_eq!(place.question("head").unwrap().as_str(), "https://vice.example/team/v1/history/head");
        assert!(RemotePlace::parse("http://127.0.0.1:7420").is_ok());
    }

    #[test]
    fn what_could_give_a_token_away_is_refused() {
        for text in
            ["http://vice.example", "https://user:canary@h", "https://h/?token=canary", "https://h/#canary", "https://"]
        {
            let fault = RemotePlace::parse(text).unwrap_err();
            assert_eq!(fault.code(), Code::Usage, "{text}");
            assert!(!format!("{fault:?}").contains("canary"), "{fault:?}");
        }
    }

    #[test]
    fn a_token_is_named_by_variables() {
        let env = |pairs: &[(&str, &str)]| ProcessEnv {
            vars: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..ProcessEnv::default()
        };
        assert_eq!(token(&env(&[(TOKEN, "abc\n")])).unwrap(), "abc");
        assert!(token(&env(&[])).unwrap_err().hints()[0].contains(TOKEN_FILE));
        let fault = token(&env(&[(TOKEN, "can ary")])).unwrap_err();
        assert!(!format!("{fault:?}").contains("can ary"), "{fault:?}");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t"), "from-file\n").unwrap();
        let mut named = env(&[(TOKEN_FILE, "t")]);
        named.dir = dir.path().to_owned();
        assert_eq!(token(&named).unwrap(), "from-file");
    }
}
