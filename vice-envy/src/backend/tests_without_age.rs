//! What a binary without encryption says.

use vice_core::{Code, Fault};

use crate::tests::{Bench, CANARY, all_output};

#[tokio::test]
async fn encrypted_layers_and_values_say_that_encryption_is_missing() {
    let bench = Bench::new("[config]\nlayers = [\"config/a.toml\", \"config/b.age.toml?\"]\nsecrets = [\"token\"]\n");
    bench.file("config/a.toml", format!("token = \"{CANARY}\"\n"));
    let outcome = bench.run(&["--env", "dev"]).await;
    assert!(outcome.0.is_ok(), "declared secrets need no encryption");
    assert!(!all_output(&outcome.0, &outcome.1).contains(CANARY));
    bench.file("config/b.age.toml", "sealed");
    let whole: Fault = bench.resolve().await.unwrap_err();
    std::fs::remove_file(bench.root().join("config/b.age.toml")).unwrap();
    bench.file("config/a.toml", "x = \"age:v1:AAAA\"\n");
    let value = bench.resolve().await.unwrap_err();
    let made = bench.fails(&["init"]).await;
    for fault in [whole, value, made] {
        assert_eq!(fault.code(), Code::BackendMissing, "{fault:?}");
    }
}
