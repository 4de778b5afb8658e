use std::os::unix::fs::PermissionsExt;

use vice_core::Secret;
use vice_core::port::command::EnvValue;
use vice_core::port::target::Target;

use crate::support::{Ground, place, proc_file, service};

const TOKEN: &str = "correct-horse-battery";

#[tokio::test]
async fn a_secret_is_in_the_environment_and_the_release_file_only() {
    let (ground, mut one) = (Ground::new(), service("1", &[]));
    one.environment.insert("TOKEN".into(), EnvValue::Secret(Secret::new(TOKEN)));
    ground.place("1", &one).await;
    let mut bad = service("2", &["--leak", "--crash-after-ms", "0"]);
    bad.environment.clone_from(&one.environment);
    bad.health.as_mut().unwrap().path = Some("/health".to_owned());
    let op = place("bad", 1, "1", &bad, Some(&one));
    bad.command.push("--unhealthy".to_owned());
    let fault = ground.target().apply(&op, Some(&bad)).await.unwrap_err();
    let said = format!("{fault:?}");
    assert!(said.contains("token «secret:TOKEN»") && !said.contains(TOKEN), "{said}");

    let (agent, instance) = (ground.agent().unwrap(), ground.instances()[0]);
    assert!(proc_file(instance, "environ").contains(TOKEN));
    for pid in [agent, instance] {
        assert!(!proc_file(pid, "cmdline").contains(TOKEN));
    }
    assert!(!proc_file(agent, "environ").contains(TOKEN));
    assert!(!format!("{:?}", ground.inventory().await).contains(TOKEN));
    for name in ["state.json", "agent.log"] {
        assert!(!std::fs::read_to_string(ground.dir.join(name)).unwrap().contains(TOKEN), "{name}");
    }
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let releases: Vec<_> =
        std::fs::read_dir(ground.dir.join("releases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(releases.len(), 1, "the failed release is kept: {releases:?}");
    assert_eq!(mode(&releases[0]), 0o600);
    assert_eq!((mode(&ground.dir), mode(&ground.dir.join("agent.sock"))), (0o700, 0o600));
    assert_eq!(mode(&ground.dir.join("state.json")), 0o600);
}
