//! The standard CDEvents that vice emits. Their contents are strict; the rollout goes into `customData`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::event::Payload;

/// A reference to an environment by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentRef {
    /// Its name.
    pub id: String,
}

macro_rules! service_event {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $type {
            /// Where.
            pub environment: EnvironmentRef,
            /// The package URL of what runs now.
            pub artifact_id: String,
            /// The service's name.
            #[serde(skip)]
            pub service: String,
            /// The rollout that did it.
            #[serde(skip)]
            pub rollout: String,
        }

        impl Payload for $type {
            const KIND: &'static str = $kind;
            fn subject(&self) -> String {
                self.service.clone()
            }
            fn custom_data(&self) -> Option<Value> {
                Some(json!({ "rollout": self.rollout }))
            }
        }
    };
}

service_event!(
    /// A service was deployed where none ran.
    ServiceDeployed,
    "dev.cdevents.service.deployed.0.3.0"
);
service_event!(
    /// A service was upgraded to another version.
    ServiceUpgraded,
    "dev.cdevents.service.upgraded.0.3.0"
);
service_event!(
    /// A service was rolled back.
    ServiceRolledBack,
    "dev.cdevents.service.rolledback.0.3.0"
);

/// A service was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRemoved {
    /// Where.
    pub environment: EnvironmentRef,
    /// The service's name.
    #[serde(skip)]
    pub service: String,
}

impl Payload for ServiceRemoved {
    const KIND: &'static str = "dev.cdevents.service.removed.0.3.0";
    fn subject(&self) -> String {
        self.service.clone()
    }
}

/// A test suite was run to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestSuiteRunFinished {
    /// Where.
    pub environment: EnvironmentRef,
    /// `success`, `failure`, `cancel` or `error`.
    pub outcome: String,
    /// `low`, `medium`, `high` or `critical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Why, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The run's id.
    #[serde(skip)]
    pub run: String,
}

impl Payload for TestSuiteRunFinished {
    const KIND: &'static str = "dev.cdevents.testsuiterun.finished.0.3.0";
    fn subject(&self) -> String {
        self.run.clone()
    }
}

/// A reference to a service by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRef {
    /// Its name.
    pub id: String,
}

macro_rules! incident_event {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $type {
            /// What is or was wrong, in one sentence.
            pub description: String,
            /// Where.
            pub environment: EnvironmentRef,
            /// Of which service.
            pub service: ServiceRef,
            /// The incident's id; the same for all that is told of it.
            #[serde(skip)]
            pub incident: String,
        }

        impl Payload for $type {
            const KIND: &'static str = $kind;
            fn subject(&self) -> String {
                self.incident.clone()
            }
        }
    };
}

incident_event!(
    /// Something does not work that should.
    IncidentDetected,
    "dev.cdevents.incident.detected.0.3.0"
);
incident_event!(
    /// It works again.
    IncidentResolved,
    "dev.cdevents.incident.resolved.0.3.0"
);

/// The package URL that stands for an artifact: `pkg:generic/<project>@<version>?checksum=sha256:<digest>`.
#[must_use]
pub fn package_url(project: &str, release: &super::ReleaseRef) -> String {
    let version: String = url::form_urlencoded::byte_serialize(release.version.as_bytes()).collect();
    match &release.artifact {
        Some(digest) => format!("pkg:generic/{project}@{version}?checksum=sha256:{digest}"),
        None => format!("pkg:generic/{project}@{version}"),
    }
}
