//! `k8s:NAMESPACE/configmap/NAME` and `k8s:NAMESPACE/secret/NAME`: entries of an object of Kubernetes, or with `/ENTRY`
//! a document in one of them. What comes from a Secret is secret.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use vice_core::{Code, Fault, Result};

use super::http::Http;
use super::kubeconfig::cluster;
use super::{Ability, Address, Fetched, Remote, Tools, document, sheet};
use crate::layer::kind_of;

pub(super) fn parse(rest: &str) -> Result<Address, String> {
    let parts: Vec<&str> = rest.split('/').collect();
    let (namespace, kind, name, entry) = match parts.as_slice() {
        [namespace, kind, name] => (*namespace, *kind, *name, None),
        [namespace, kind, name, entry] => (*namespace, *kind, *name, Some(*entry)),
        _ => return Err("has not the form NAMESPACE/configmap/NAME".to_owned()),
    };
    let secret = match kind {
        "configmap" => false,
        "secret" => true,
        _ => return Err("is neither a configmap nor a secret".to_owned()),
    };
    let plain = |text: &str| {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        !text.is_empty() && text.len() <= 253 && text.chars().all(fine) && !text.starts_with('.')
    };
    if !plain(namespace) || !plain(name) {
        return Err("has a name that Kubernetes does not allow".to_owned());
    }
    if let Some(entry) = entry {
        kind_of(entry).map_err(|_| "names an entry that ends in no known format".to_owned())?;
    }
    let entry = entry.map(str::to_owned);
    Ok(Address::K8s { namespace: namespace.to_owned(), secret, name: name.to_owned(), entry })
}

/// Which object.
pub(super) struct Object<'a> {
    pub(super) namespace: &'a str,
    pub(super) secret: bool,
    pub(super) name: &'a str,
    pub(super) entry: Option<&'a str>,
}

/// A layer in Kubernetes.
pub(super) struct K8s {
    tools: Tools,
    name: String,
    path: String,
    secret: bool,
    entry: Option<String>,
}

impl K8s {
    pub(super) fn new(name: &str, object: &Object<'_>, tools: &Tools) -> Self {
        let plural = if object.secret { "secrets" } else { "configmaps" };
        let path = format!("/api/v1/namespaces/{}/{plural}/{}", object.namespace, object.name);
        let entry = object.entry.map(str::to_owned);
        Self { tools: tools.clone(), name: name.to_owned(), path, secret: object.secret, entry }
    }

    /// Finds the cluster and the way in.
    async fn way_in(&self) -> Result<(Http, String)> {
        let mut cluster = cluster(&self.name, &self.tools.process)?;
        if let Some(login) = cluster.login.take() {
            login.log_in(&self.name, &self.tools, &mut cluster).await?;
        }
        let bearer = cluster.token.as_ref().map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        let http = Http::new(&self.name, &cluster.trust, &headers, &self.tools.process)?;
        Ok((http, format!("{}{}", cluster.server, self.path)))
    }

    fn text(&self, http: &Http, entry: &str, value: &Value) -> Result<String> {
        let unknown = || http.fault(Code::Backend, "gave an answer that is not its API's");
        let text = value.as_str().ok_or_else(unknown)?;
        if !self.secret {
            return Ok(text.to_owned());
        }
        let bytes = STANDARD.decode(text).map_err(|_| unknown())?;
        String::from_utf8(bytes).map_err(|_| {
            let message = format!("The entry {entry:?} of the layer {} is not UTF-8 text.", self.name);
            Fault::new(Code::ConfigInvalid, message)
        })
    }
}

#[async_trait]
impl Remote for K8s {
    fn ability(&self) -> Ability {
        Ability { kind: "k8s", secret: self.secret, document: self.entry.is_some() }
    }

    async fn fetch(&self) -> Result<Option<Fetched>> {
        let (http, url) = self.way_in().await?;
        let answer = http.get(&url).await?;
        if !answer.found {
            return Ok(None);
        }
        let found = http.json(&answer.body)?;
        if !found.get("kind").and_then(Value::as_str).is_some_and(|kind| matches!(kind, "ConfigMap" | "Secret")) {
            return Err(http.fault(Code::Backend, "gave an answer that is not its API's"));
        }
        let empty = serde_json::Map::new();
        let data = found.get("data").and_then(Value::as_object).unwrap_or(&empty);
        if let Some(entry) = &self.entry {
            let text = data.get(entry).map(|value| self.text(&http, entry, value)).transpose()?;
            return text.map(|text| document(&self.name, entry, text.into_bytes())).transpose();
        }
        let entries = data.iter().map(|(entry, value)| Ok((entry.clone(), self.text(&http, entry, value)?)));
        sheet(&self.name, entries.collect::<Result<Vec<_>>>()?).map(Some)
    }
}
