//! Units that differ: which has what, what is bound, and what comes back.

use std::sync::Arc;

use vice_core::Code;
use vice_core::id::{EnvName, Scope};
use vice_core::port::command::EnvValue;
use vice_core::port::config::{ConfigSource, ResolvedConfig, UnitFacts};

use super::Bench;
use crate::Envy;

const LAYERS: &str = r#"
[env.dev.target.eu]
kind = "local"
[env.dev.target.us]
kind = "local"
[config]
layers = ["config/a.toml", "config/{{target}}.toml?", { from = "config/big.toml", when = { label.size = "big" } }]
secrets = ["pw"]
"#;

fn unit(target: &str, number: u32, size: &str) -> UnitFacts {
    let labels = [("size".to_owned(), size.to_owned())].into();
    UnitFacts { name: format!("{target}.{number}"), target: Some(target.to_owned()), host: None, labels }
}

fn envy(bench: &Bench, units: Vec<UnitFacts>) -> Envy {
    bench.envy().knowing_units(Arc::new(move |_, _| Ok(units.clone())))
}

fn bench() -> Bench {
    let bench = Bench::new(LAYERS);
    bench.file("config/a.toml", "all = 1\nplace = \"none\"\nsize = \"small\"\npw = \"hunter22-all\"\n");
    bench.file("config/eu.toml", "place = \"eu\"\npw = \"hunter22-eu\"\n");
    bench.file("config/big.toml", "size = \"big\"\n");
    bench
}

async fn resolved(bench: &Bench, units: Vec<UnitFacts>) -> ResolvedConfig {
    envy(bench, units).resolve(&bench.project(), &dev()).await.unwrap()
}

fn dev() -> EnvName {
    EnvName::new("dev").unwrap()
}

fn seen(config: &ResolvedConfig, unit: &str, name: &str) -> String {
    match config.environment_of(unit).get(name) {
        Some(EnvValue::Plain(text)) => text.clone(),
        Some(EnvValue::Secret(secret)) => secret.reveal().to_owned(),
        None => "-".to_owned(),
    }
}

fn fleet() -> Vec<UnitFacts> {
    vec![unit("eu", 1, "small"), unit("eu", 2, "big"), unit("us", 1, "small"), unit("us", 2, "small")]
}

#[tokio::test]
async fn each_unit_has_its_own_and_what_all_have_is_common() {
    let bench = bench();
    let config = resolved(&bench, fleet()).await;
    let names: Vec<&str> = config.variants.iter().map(|variant| variant.name.as_str()).collect();
    assert_eq!(names, ["config/eu.toml", "config/eu.toml + config/big.toml", "config/us.toml"]);
    assert_eq!(config.entries.keys().collect::<Vec<_>>(), ["all"]);
    let of = |unit: &str| ["ALL", "PLACE", "SIZE", "PW"].map(|name| seen(&config, unit, name));
    assert_eq!(of("eu.1"), ["1", "eu", "small", "hunter22-eu"]);
    assert_eq!(of("eu.2"), ["1", "eu", "big", "hunter22-eu"]);
    assert_eq!(of("us.2"), ["1", "none", "small", "hunter22-all"]);
    assert_eq!(of("asia.1"), ["1", "-", "-", "-"]);
    assert!(config.masker().mask("x hunter22-eu y hunter22-all").matches("«secret:pw»").count() == 2);
}

#[tokio::test]
async fn the_digest_covers_every_part_and_no_number_of_units() {
    let bench = bench();
    let first = resolved(&bench, fleet()).await;
    let mut more = fleet();
    more.push(unit("us", 3, "small"));
    assert_eq!(resolved(&bench, more).await.digest, first.digest, "one more of a kind changes nothing");
    bench.file("config/big.toml", "size = \"huge\"\n");
    assert_ne!(resolved(&bench, fleet()).await.digest, first.digest);
    bench.file("config/big.toml", "size = \"big\"\n");
    assert_eq!(resolved(&bench, fleet()).await.digest, first.digest);
    // Units to which the same layers apply have one configuration, as if nobody had asked.
    let alike = resolved(&bench, vec![unit("us", 1, "small"), unit("us", 2, "small")]).await;
    assert!(alike.variants.is_empty());
    assert_eq!(alike.entries.len(), 4);
}

#[tokio::test]
async fn what_was_recorded_comes_back_with_the_secrets_of_now() {
    let bench = bench();
    let (envy, scope) = (envy(&bench, fleet()), Scope::new(bench.project().name().clone(), dev()));
    let first = envy.resolve(&bench.project(), &dev()).await.unwrap();
    let recorded = envy.record(&scope, &first);
    assert!(!serde_json::to_string(&recorded).unwrap().contains("hunter22"));
    assert_eq!(envy.restore(&bench.project(), &recorded).await.unwrap(), first);
    bench.file("config/eu.toml", "place = \"moved\"\npw = \"hunter22-new\"\n");
    let back = envy.restore(&bench.project(), &recorded).await.unwrap();
    assert_eq!((seen(&back, "eu.1", "PLACE"), seen(&back, "eu.1", "PW")), ("eu".into(), "hunter22-new".into()));
    assert_eq!(seen(&back, "us.1", "PW"), "hunter22-all");
    assert_ne!(back.digest, first.digest);
    let text = serde_json::to_value(&recorded).unwrap();
    assert_eq!(serde_json::from_value::<vice_core::payload::config::ConfigRecorded>(text).unwrap(), recorded);
}

#[tokio::test]
async fn a_layer_that_is_broken_for_one_part_is_found_before_anything_starts() {
    let bench = bench();
    bench.file("config/big.toml", "size = ");
    let fault = envy(&bench, fleet()).resolve(&bench.project(), &dev()).await.unwrap_err();
    assert_eq!(fault.code(), Code::ConfigInvalid);
    assert!(fault.to_string().contains("config/big.toml"), "{fault}");
}
