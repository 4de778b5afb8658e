//! `vault:MOUNT/PATH`: a secret of Vault's or OpenBao's KV version 2. Everything in it is secret. We come in by a token,
//! by AppRole or by a JWT, each from the tools' own variables; what a login gives is kept for this one question.

use async_trait::async_trait;
use serde_json::{Value, json};
use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault, Result};
use zeroize::Zeroizing;

use super::http::{Http, Trust, given, small_file};
use super::{Ability, Address, Fetched, Remote, object};

pub(super) fn parse(rest: &str) -> Result<Address, String> {
    let split = rest.split_once("//").or_else(|| rest.split_once('/'));
    let (mount, path) = split.ok_or("names no mount or no path")?;
    let fine = |c: char| c.is_ascii_alphanumeric() || "/_.-".contains(c);
    for part in [mount, path] {
        let broken = part.split('/').any(|part| matches!(part, "" | "." | ".."));
        if broken || !part.chars().all(fine) {
            return Err("needs a mount and a path of letters, digits, `_`, `.`, `-` and `/`".to_owned());
        }
    }
    Ok(Address::Vault { mount: mount.to_owned(), path: path.to_owned() })
}

/// How we come in.
enum Login {
    Token(Zeroizing<String>),
    /// The path of the login and what is sent there.
    Post(String, Value),
}

/// A layer in Vault.
pub(super) struct Vault {
    name: String,
    base: String,
    url: String,
    login: Login,
    trust: Trust,
    env: ProcessEnv,
}

/// A variable of Vault, or of OpenBao by the same name.
fn either(env: &ProcessEnv, name: &str) -> Result<Option<String>> {
    match given(env, &format!("VAULT_{name}"))? {
        Some(value) => Ok(Some(value)),
        None => given(env, &format!("BAO_{name}")),
    }
}

impl Vault {
    pub(super) fn new(name: &str, mount: &str, path: &str, env: &ProcessEnv) -> Result<Self> {
        let Some(base) = either(env, "ADDR")? else {
            let message = format!("The layer {name} needs the address of Vault, and VAULT_ADDR is not set.");
            return Err(
                Fault::new(Code::Usage, message).hint("Set VAULT_ADDR (or BAO_ADDR), such as https://vault:8200.")
            );
        };
        let base = base.trim_end_matches('/').to_owned();
        let ca = either(env, "CACERT")?.map(|path| small_file(&env.dir.join(path))).transpose()?;
        let url = format!("{base}/v1/{mount}/data/{path}");
        let login = login(name, env)?;
        Ok(Self { name: name.to_owned(), base, url, login, trust: Trust { ca, identity: None }, env: env.clone() })
    }

    fn http(&self) -> Result<Http> {
        let namespace = either(&self.env, "NAMESPACE")?;
        let headers: Vec<_> = namespace.iter().map(|namespace| ("x-vault-namespace", namespace.as_str())).collect();
        Http::new(&self.name, &self.trust, &headers, &self.env)
    }

    async fn token(&self) -> Result<Zeroizing<String>> {
        let (path, body) = match &self.login {
            Login::Token(token) => return Ok(token.clone()),
            Login::Post(path, body) => (path, body),
        };
        let http = self.http()?;
        let answer = http.post(&format!("{}/v1/auth/{path}/login", self.base), body).await?;
        if !answer.found {
            let hint = "VAULT_APPROLE_MOUNT and VAULT_JWT_MOUNT name it where it is not approle or jwt.";
            return Err(http.fault(Code::Backend, &format!("has no login at auth/{path}")).hint(hint));
        }
        let found = http.json(&answer.body)?;
        let token = found.pointer("/auth/client_token").and_then(Value::as_str);
        let token = token.ok_or_else(|| http.fault(Code::Backend, "took the login and gave no token"))?;
        Ok(Zeroizing::new(token.to_owned()))
    }
}

fn login(name: &str, env: &ProcessEnv) -> Result<Login> {
    if let Some(token) = either(env, "TOKEN")? {
        return Ok(Login::Token(Zeroizing::new(token)));
    }
    if let Some(role) = either(env, "ROLE_ID")? {
        let secret = either(env, "SECRET_ID")?.unwrap_or_default();
        let mount = either(env, "APPROLE_MOUNT")?.unwrap_or_else(|| "approle".to_owned());
        return Ok(Login::Post(mount, json!({ "role_id": role, "secret_id": secret })));
    }
    if let Some(jwt) = either(env, "JWT")? {
        let role = either(env, "ROLE")?.unwrap_or_default();
        let mount = either(env, "JWT_MOUNT")?.unwrap_or_else(|| "jwt".to_owned());
        return Ok(Login::Post(mount, json!({ "role": role, "jwt": jwt })));
    }
    // Where `vault login` leaves its token.
    let kept = env.get("HOME").map(|home| std::path::Path::new(home).join(".vault-token")).filter(|path| path.exists());
    if let Some(path) = kept {
        let text = String::from_utf8_lossy(&small_file(&path)?).trim().to_owned();
        return Ok(Login::Token(Zeroizing::new(text)));
    }
    Err(Fault::new(Code::Usage, format!("The layer {name} needs a way into Vault, and there is none."))
        .hint("Set VAULT_TOKEN; or VAULT_ROLE_ID and VAULT_SECRET_ID; or VAULT_JWT and VAULT_ROLE. Each may end in _FILE.")
        .hint("Or run `vault login`."))
}

#[async_trait]
impl Remote for Vault {
    fn ability(&self) -> Ability {
        Ability { kind: "vault", secret: true, document: false }
    }

    async fn fetch(&self) -> Result<Option<Fetched>> {
        let token = self.token().await?;
        let http = self.http()?.with("x-vault-token", &token)?;
        let answer = http.get(&self.url).await?;
        if !answer.found {
            return Ok(None);
        }
        let body = Zeroizing::new(answer.body);
        let found = http.json(&body)?;
        match found.pointer("/data/data") {
            Some(Value::Object(fields)) => object(&self.name, fields).map(Some),
            // The last version was deleted.
            Some(Value::Null) => Ok(None),
            _ => {
                Err(http.fault(Code::Backend, "gave no secret of a KV version 2").hint("Is the mount a KV version 1?"))
            }
        }
    }
}
