//! A record of vice's own in a ConfigMap, which is replaced only by whoever has read its latest version. What stands in
//! it is the business of others; it holds no secrets.

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vice_core::{Code, Fault, Result};

use super::cluster::{Answer, Cluster, backend};
use super::object::OWNER;

/// The form of the records. A newer one is refused.
const FORMAT: u32 = 1;

/// Where a record is, with the version that may be replaced.
pub(super) struct Sheet {
    name: String,
    key: &'static str,
    folder: String,
    version: Option<String>,
}

impl Sheet {
    /// Reads a record; an absent one is empty.
    ///
    /// # Errors
    /// `Decode` for a damaged one, `HistoryNewer` for one of a newer vice.
    pub(super) async fn read<T: DeserializeOwned + Default>(
        cluster: &Cluster,
        name: String,
        key: &'static str,
    ) -> Result<(T, Self)> {
        let folder = format!("/api/v1/namespaces/{}/configmaps", cluster.namespace);
        let object = cluster.get(&format!("{folder}/{name}")).await?;
        let Some(object) = object else { return Ok((T::default(), Self { name, key, folder, version: None })) };
        let broken = || {
            Fault::new(Code::Decode, format!("The ConfigMap {name} in {} is damaged.", cluster.namespace))
                .hint("It is vice's record of what runs there; restore it from a backup of the cluster.")
        };
        let text = object["data"][key].as_str().unwrap_or_default();
        let value: Value = serde_json::from_str(text).map_err(|_| broken())?;
        if value["format"].as_u64().is_none_or(|format| format > u64::from(FORMAT)) {
            return Err(Fault::new(Code::HistoryNewer, format!("The ConfigMap {name} was written by a newer vice."))
                .hint("Update vice."));
        }
        let content = serde_json::from_value(value).map_err(|_| broken())?;
        let version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        Ok((content, Self { name, key, folder, version }))
    }

    /// Writes it, if nobody else has since it was read.
    ///
    /// # Errors
    /// `Conflict` when somebody has.
    pub(super) async fn write<T: Serialize + Sync>(
        &mut self,
        cluster: &Cluster,
        owner: &str,
        content: &T,
    ) -> Result<()> {
        let encoded = |_| Fault::internal("A record can't be encoded.");
        let mut value = serde_json::to_value(content).map_err(encoded)?;
        value["format"] = json!(FORMAT);
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name, "annotations": {OWNER: owner}},
            "data": {self.key: value.to_string()},
        });
        let (method, path) = match &self.version {
            Some(version) => {
                object["metadata"]["resourceVersion"] = json!(version);
                (Method::PUT, format!("{}/{}", self.folder, self.name))
            }
            None => (Method::POST, self.folder.clone()),
        };
        match cluster.ask(method, &format!("{path}?fieldManager=vice"), Some(&object)).await? {
            Answer::Done(object) => {
                self.version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
                Ok(())
            }
            Answer::Missing if self.version.is_none() => Err(no_namespace(&cluster.namespace)),
            Answer::Missing => Err(Fault::new(Code::Conflict, "The record of what runs was removed meanwhile.")),
            Answer::Conflict(status) => {
                Err(Fault::new(Code::Conflict, "Something else works on the same project and environment.")
                    .because(backend("the record", &status)))
            }
        }
    }
}

/// There is nowhere to put it.
pub(super) fn no_namespace(namespace: &str) -> Fault {
    Fault::new(Code::Backend, format!("The cluster has no namespace {namespace:?}."))
        .hint(format!("Make it first: kubectl create namespace {namespace}."))
}
