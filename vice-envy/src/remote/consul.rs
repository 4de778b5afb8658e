//! `consul:PREFIX`: keys below a prefix of Consul's KV store, or one key that holds a document. The address, the token
//! and the certificate authority come from Consul's own variables.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use url::Url;
use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault, Result};

use super::http::{Http, Trust, given, small_file};
use super::{Ability, Address, Fetched, Remote, document, sheet};
use crate::layer::kind_of;

pub(super) fn parse(rest: &str) -> Result<Address, String> {
    let (base, path) = if rest.starts_with("http://") || rest.starts_with("https://") {
        let url = Url::parse(rest).map_err(|_| "has an address that is none")?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(
                "has more in its address than a host and a prefix; a token comes from CONSUL_HTTP_TOKEN".to_owned()
            );
        }
        (Some(url.origin().ascii_serialization()), url.path().to_owned())
    } else {
        (None, rest.to_owned())
    };
    let path = path.trim_matches('/').to_owned();
    let fine = |c: char| c.is_ascii_alphanumeric() || "/_.-".contains(c);
    if path.is_empty() || !path.chars().all(fine) || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("needs a prefix of letters, digits, `_`, `.`, `-` and `/`".to_owned());
    }
    Ok(Address::Consul { base, path })
}

/// A layer in Consul.
pub(super) struct Consul {
    http: Http,
    name: String,
    base: String,
    path: String,
    query: String,
}

impl Consul {
    pub(super) fn new(name: &str, base: Option<&str>, path: &str, env: &ProcessEnv) -> Result<Self> {
        let base = match base {
            Some(base) => base.to_owned(),
            None => address(name, env)?,
        };
        let token = given(env, "CONSUL_HTTP_TOKEN")?;
        let headers: Vec<_> = token.iter().map(|token| ("x-consul-token", token.as_str())).collect();
        let ca = env.get("CONSUL_CACERT").map(|path| small_file(&env.dir.join(path))).transpose()?;
        let http = Http::new(name, &Trust { ca, identity: None }, &headers, env)?;
        let query = env.get("CONSUL_DATACENTER").map_or_else(String::new, |dc| format!("&dc={dc}"));
        Ok(Self { http, name: name.to_owned(), base, path: path.to_owned(), query })
    }
}

fn address(name: &str, env: &ProcessEnv) -> Result<String> {
    let Some(text) = env.get("CONSUL_HTTP_ADDR") else {
        let message = format!("The layer {name} needs the address of Consul, and CONSUL_HTTP_ADDR is not set.");
        return Err(Fault::new(Code::Usage, message).hint("Set it, or write consul:http://HOST:8500/PREFIX."));
    };
    let secure = env.get("CONSUL_HTTP_SSL").is_some_and(|text| matches!(text, "1" | "true"));
    let scheme = if secure { "https" } else { "http" };
    let url = if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") };
    Ok(url.trim_end_matches('/').to_owned())
}

#[async_trait]
impl Remote for Consul {
    fn ability(&self) -> Ability {
        Ability { kind: "consul", secret: false, document: kind_of(&self.path).is_ok() }
    }

    async fn fetch(&self) -> Result<Option<Fetched>> {
        let whole = self.ability().document;
        let how = if whole { "raw=true" } else { "recurse=true" };
        let slash = if whole { "" } else { "/" };
        let url = format!("{}/v1/kv/{}{slash}?{how}{}", self.base, self.path, self.query);
        let answer = self.http.get(&url).await?;
        if !answer.found {
            return Ok(None);
        }
        if whole {
            return document(&self.name, &self.path, answer.body).map(Some);
        }
        let found = self.http.json(&answer.body)?;
        let unknown = || self.http.fault(Code::Backend, "gave an answer that is not its API's");
        let mut entries = Vec::new();
        for entry in found.as_array().ok_or_else(unknown)? {
            let key = entry.get("Key").and_then(Value::as_str).ok_or_else(unknown)?;
            let Some(rest) = key.strip_prefix(&self.path).map(|rest| rest.trim_start_matches('/')) else { continue };
            // A key that ends in a slash is a folder.
            if rest.is_empty() || rest.ends_with('/') {
                continue;
            }
            let coded = entry.get("Value").and_then(Value::as_str).unwrap_or_default();
            let bytes = STANDARD.decode(coded).map_err(|_| unknown())?;
            let text = String::from_utf8(bytes).map_err(|_| {
                Fault::new(Code::ConfigInvalid, format!("A value of the layer {} is not UTF-8 text.", self.name))
            })?;
            entries.push((rest.to_owned(), text));
        }
        sheet(&self.name, entries).map(Some)
    }
}
