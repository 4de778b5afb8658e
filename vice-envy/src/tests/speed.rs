//! Large configurations: correct, and without anything quadratic. Times are printed, never judged.

use tokio::time::Instant;

use super::Bench;

#[tokio::test]
async fn ten_thousand_keys_in_eight_layers() {
    let layers: Vec<String> = (0..8).map(|layer| format!("\"config/{layer}.toml\"")).collect();
    let bench = Bench::new(&format!("[config]\nlayers = [{}]\n", layers.join(", ")));
    for layer in 0..8 {
        let text: String = (0..10_000).map(|key| format!("t{}.key_{key} = \"{layer}-{key}\"\n", key % 100)).collect();
        bench.file(&format!("config/{layer}.toml"), text);
    }
    let start = Instant::now();
    let config = bench.resolve().await.unwrap();
    println!("10,000 keys in 8 layers: {} ms", start.elapsed().as_millis());
    assert_eq!(config.entries.len(), 10_000);
    assert!(config.entries.values().all(|entry| entry.origin.layer == "config/7.toml"));
}
