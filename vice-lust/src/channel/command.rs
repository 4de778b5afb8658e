//! A command of the project that gets the message as JSON on standard input.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use vice_core::port::command::{CommandRunner, CommandSpec, Ended, EnvValue};
use vice_core::{Code, Millis, Secret};

use super::{Channel, SendError};
use crate::message::Message;

/// How long the command may take: well below the time after which another process takes the message over.
const COMMAND_TIMEOUT: Millis = Millis::from_secs(30);

pub(crate) struct Command {
    pub(crate) runner: Arc<dyn CommandRunner>,
    pub(crate) argv: Vec<String>,
    pub(crate) dir: PathBuf,
}

#[async_trait]
impl Channel for Command {
    async fn send(&self, message: &Message) -> Result<String, SendError> {
        let json = serde_json::to_string(message).map_err(|error| SendError::permanent(error.to_string()))?;
        let mut spec = CommandSpec::new(self.argv.clone(), self.dir.clone(), COMMAND_TIMEOUT);
        spec.stdin = Some(Secret::new(json));
        spec.env.insert("VICE_NOTICE_KEY".to_owned(), EnvValue::Plain(message.key.clone()));
        let output = self.runner.run(spec).await.map_err(|fault| match fault.code() {
            Code::Usage => SendError::permanent(fault.chain().join(" ")),
            _ => SendError::from(fault),
        })?;
        match output.ended {
            Ended::Exited(0) => Ok(output.stdout.lines().next_back().unwrap_or("exit status 0").to_owned()),
            Ended::Exited(_) => Err(SendError::retry(output.failure())),
            Ended::Signalled(_) | Ended::TimedOut => Err(SendError::uncertain(output.failure())),
        }
    }
}
