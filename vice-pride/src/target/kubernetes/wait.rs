//! Waiting until workloads have rolled out, as `kubectl rollout status` does. It writes nothing.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use vice_core::{Code, Fault, Millis, Result};

use super::failing;
use super::object::{ObjectId, Token};
use super::operate::Operator;
use super::rollout::{self, Rollout};
use super::watch::Watch;

impl Operator<'_> {
    /// Waits until every workload has rolled out.
    ///
    /// # Errors
    /// `Unhealthy`, with what the pods wait for; `Fenced` when somebody else has taken over.
    pub(super) async fn wait(&self, objects: &[Value], token: Token, patience: Millis) -> Result<()> {
        let deadline = Instant::now() + Duration::from_millis(patience.0);
        for id in objects.iter().filter_map(ObjectId::of).filter(ObjectId::is_workload) {
            let Some(path) = self.cluster.path(&id).await? else { continue };
            self.wait_for(&id, &path, token, deadline).await?;
        }
        Ok(())
    }

    async fn wait_for(&self, id: &ObjectId, path: &str, token: Token, deadline: Instant) -> Result<()> {
        let mut watch = Watch::new(self.cluster, path);
        let mut missing = "the cluster has not looked at it yet".to_owned();
        while let Ok(seen) = timeout_at(deadline, watch.next()).await {
            match self.look(id, seen?, token).await? {
                None => return Ok(()),
                Some(what) => missing = what,
            }
        }
        let live = self.cluster.get(path).await?.unwrap_or_default();
        Err(failing::explain(self.cluster, id, &live, &missing).await)
    }

    /// What is still missing; nothing when it has rolled out.
    async fn look(&self, id: &ObjectId, live: Option<Value>, token: Token) -> Result<Option<String>> {
        let Some(live) = live else {
            return Err(Fault::new(Code::Unhealthy, format!("{id} was removed by somebody else.")));
        };
        self.check_token(id, &live, token)?;
        match rollout::of(&live) {
            Rollout::Done => Ok(None),
            Rollout::Going(missing) => Ok(Some(missing)),
            Rollout::Failed(why) => Err(failing::explain(self.cluster, id, &live, &why).await),
        }
    }
}
