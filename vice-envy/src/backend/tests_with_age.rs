//! Encryption, and that secrets never come out.

use std::os::unix::fs::PermissionsExt;

use vice_core::id::Scope;
use vice_core::port::config::{ConfigSource, ConfigValue, ResolvedConfig};
use vice_core::ui::Format;
use vice_core::{Class, Code};

use super::{Recipients, generate};
use crate::tests::{Bench, CANARY, all_output};

const SSH_PRIVATE: &str = include_str!("test_keys/ed25519");
const SSH_PUBLIC: &str = include_str!("test_keys/ed25519.pub");
const RSA_PRIVATE: &str = include_str!("test_keys/rsa");
const RSA_PUBLIC: &str = include_str!("test_keys/rsa.pub");
const SSH_PASSPHRASE: &str = include_str!("test_keys/ed25519_passphrase");

/// A project with one plain and one encrypted value, after `init` and `set --secret`.
async fn with_secret(config: &str) -> Bench {
    let layers = "[config]\nlayers = [\"config/default.toml\", \"config/{{env}}.toml?\"]\n";
    let bench = Bench::new(&format!("{layers}{config}"));
    bench.file("config/default.toml", "greeting = \"hi\"\n").file("value.txt", format!("{CANARY}\n"));
    bench.ok(&["init"]).await;
    bench.ok(&["set", "db.password", "--secret", "--from-file", "value.txt", "--env", "dev"]).await;
    std::fs::remove_file(bench.root().join("value.txt")).unwrap();
    bench
}

fn secret<'c>(config: &'c ResolvedConfig, key: &str) -> &'c str {
    match &config.entries[key].value {
        ConfigValue::Secret(secret) => secret.reveal(),
        ConfigValue::Plain(value) => panic!("{key} is plain: {value}"),
    }
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn init_and_set_make_a_value_that_comes_back() {
    let bench = with_secret("").await;
    let file = bench.text("config/dev.toml");
    assert!(file.starts_with("[db]\npassword = \"age:v2:"), "{file}");
    assert!(!file.contains(CANARY));
    let config = bench.resolve().await.unwrap();
    assert_eq!(secret(&config, "db.password"), CANARY);
    assert!(!format!("{config:?}").contains(CANARY));
    let key = bench.dir.path().join("home/.config/vice/keys/shop.txt");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let first = std::fs::read_to_string(&key).unwrap();
    let again = bench.ok(&["init"]).await;
    assert_eq!(std::fs::read_to_string(&key).unwrap(), first, "a key is never replaced");
    let private = first.lines().last().unwrap();
    assert!(private.starts_with("AGE-SECRET-KEY-1"));
    assert!(!all_output(&Ok(again.clone()), "").contains(private));
    assert!(again.text.contains("VICE_AGE_IDENTITY"));
    assert_eq!(again.json["added"], serde_json::json!([]));
}

#[tokio::test]
async fn ssh_keys_of_the_older_kind_read_as_well() {
    let bench = with_secret("").await;
    bench.ok(&["init", "--recipient", RSA_PUBLIC.trim()]).await;
    bench.ok(&["rotate"]).await;
    let other = Bench::new("[config]\nlayers = [\"config/{{env}}.toml\"]\n");
    other.file("config/dev.toml", bench.text("config/dev.toml"));
    let ssh = other.dir.path().join("home/.ssh");
    std::fs::create_dir_all(&ssh).unwrap();
    assert_eq!(other.resolve().await.unwrap_err().code(), Code::SecretLocked);
    std::fs::write(ssh.join("id_rsa"), RSA_PRIVATE).unwrap();
    assert_eq!(secret(&other.resolve().await.unwrap(), "db.password"), CANARY);
    let told = other.ok(&["keys", "--env", "dev"]).await;
    assert!(told.text.contains("ssh-rsa "), "{}", told.text);
}

#[tokio::test]
async fn ssh_recipients_read_with_their_ssh_key() {
    let bench = with_secret("").await;
    bench.file("id.pub", SSH_PUBLIC).file("value.txt", CANARY);
    bench.ok(&["init", "--recipient-file", "id.pub"]).await;
    assert!(bench.text("config/recipients.txt").ends_with(SSH_PUBLIC), "the comment tells whose key it is");
    bench.ok(&["set", "db.password", "--secret", "--from-file", "value.txt", "--env", "dev"]).await;
    let mut other = Bench::new("[config]\nlayers = [\"config/default.toml\", \"config/{{env}}.toml?\"]\n");
    other.file("config/default.toml", "").file("config/dev.toml", bench.text("config/dev.toml"));
    let ssh = other.dir.path().join("home/.ssh");
    std::fs::create_dir_all(&ssh).unwrap();
    std::fs::write(ssh.join("id_ed25519"), SSH_PRIVATE).unwrap();
    assert_eq!(secret(&other.resolve().await.unwrap(), "db.password"), CANARY);
    // The one key for CI, as text and as a file.
    std::fs::remove_file(ssh.join("id_ed25519")).unwrap();
    assert_eq!(other.resolve().await.unwrap_err().code(), Code::SecretLocked);
    let key = bench.dir.path().join("home/.config/vice/keys/shop.txt");
    other.var("VICE_AGE_IDENTITY_FILE", &key.display().to_string());
    assert_eq!(secret(&other.resolve().await.unwrap(), "db.password"), CANARY);
    other.vars.pop();
    other.var("VICE_AGE_IDENTITY", &std::fs::read_to_string(&key).unwrap());
    assert_eq!(secret(&other.resolve().await.unwrap(), "db.password"), CANARY);
}

#[tokio::test]
async fn a_locked_secret_says_which_keys_were_tried_and_what_to_do() {
    let bench = with_secret("").await;
    let mut other = Bench::new("[config]\nlayers = [\"config/{{env}}.toml\"]\n");
    other.file("config/dev.toml", bench.text("config/dev.toml"));
    let none = other.resolve().await.unwrap_err();
    assert_eq!((none.code(), none.class()), (Code::SecretLocked, Class::Usage));
    assert!(none.to_string().contains("db.password (config/dev.toml:2)"), "{none:?}");
    let key = generate().unwrap();
    other.var("VICE_AGE_IDENTITY", key.private.reveal());
    std::fs::create_dir_all(other.dir.path().join("home/.ssh")).unwrap();
    std::fs::write(other.dir.path().join("home/.ssh/id_ed25519"), SSH_PASSPHRASE).unwrap();
    let fault = other.resolve().await.unwrap_err();
    let text = all_output(&Err(fault), "");
    assert!(text.contains(&key.public) && text.contains("protected by a passphrase"), "{text}");
    assert!(!text.contains(key.private.reveal()) && !text.contains("AGE-SECRET-KEY"));
}

#[tokio::test]
async fn whole_layers_are_secret_in_every_format() {
    for (name, text) in [
        ("dev.age.toml", format!("[db]\npassword = \"{CANARY}\"\npin = 7\n")),
        ("dev.yaml.age", format!("db:\n  password: {CANARY}\n  pin: 7\n")),
        ("dev.json.age", format!("{{\"db\": {{\"password\": \"{CANARY}\", \"pin\": 7}}}}")),
        (".env.age", format!("DB__PASSWORD={CANARY}\nDB__PIN=7\n")),
    ] {
        let mut bench = Bench::new(&format!("[config]\nlayers = [\"config/{name}\"]\n"));
        let key = generate().unwrap();
        let sealed = Recipients::parse(&key.public).unwrap().seal(text.as_bytes()).unwrap();
        bench.file(&format!("config/{name}"), &sealed);
        assert_eq!(bench.resolve().await.unwrap_err().code(), Code::SecretLocked);
        bench.var("VICE_AGE_IDENTITY", key.private.reveal());
        let config = bench.resolve().await.unwrap();
        assert_eq!((secret(&config, "db.password"), secret(&config, "db.pin")), (CANARY, "7"), "{name}");
        for broken in [&sealed[..sealed.len() - 3], &sealed[..30], &b"nonsense"[..], &b""[..]] {
            bench.file(&format!("config/{name}"), broken);
            let fault = bench.resolve().await.unwrap_err();
            assert!(matches!(fault.code(), Code::ConfigInvalid | Code::SecretLocked), "{fault:?}");
        }
        let mut flipped = sealed.clone();
        *flipped.last_mut().unwrap() ^= 1;
        bench.file(&format!("config/{name}"), &flipped);
        assert_eq!(bench.resolve().await.unwrap_err().code(), Code::ConfigInvalid);
        // A broken text inside is not quoted either.
        let sealed = Recipients::parse(&key.public).unwrap().seal(format!("= [{CANARY}").as_bytes()).unwrap();
        bench.file(&format!("config/{name}"), &sealed);
        assert!(!all_output(&Err(bench.resolve().await.unwrap_err()), "").contains(CANARY), "{name}");
    }
}

#[tokio::test]
async fn declared_keys_are_secret_wherever_they_come_from() {
    let mut bench =
        Bench::new("[config]\nlayers = [\"config/a.toml\", \"env:SHOP_\"]\nsecrets = [\"token\", \"db.pass*\"]\n");
    bench.file("config/a.toml", format!("token = \"{CANARY}\"\n[db]\npass_port = 5432\nhost = \"x\"\n"));
    let config = bench.resolve().await.unwrap();
    assert_eq!((secret(&config, "token"), secret(&config, "db.pass_port")), (CANARY, "5432"));
    assert!(matches!(config.entries["db.host"].value, ConfigValue::Plain(_)));
    bench.var("SHOP_TOKEN", "from-outside");
    assert_eq!(secret(&bench.resolve().await.unwrap(), "token"), "from-outside");
    let fault = bench.fails(&["set", "token", "plain", "--env", "dev"]).await;
    assert_eq!(fault.code(), Code::Usage);
    assert!(fault.hints()[0].contains("--secret"));
}

#[tokio::test]
async fn broken_encrypted_values_are_told_apart() {
    let bench = with_secret("").await;
    let whole = bench.text("config/dev.toml");
    let cases = [
        whole.replace("age:v2:", "age:v3:"),
        whole.replace("age:v2:", "age:v2:*"),
        whole.trim_end().trim_end_matches('"').to_owned() + "AAAA\"\n",
        "[db]\npassword = \"age:v2:\"\n".to_owned(),
        whole.replace("= \"", "= [\"").replace("\"\n", "\"]\n"),
    ];
    for text in cases {
        bench.file("config/dev.toml", &text);
        let fault = bench.resolve().await.unwrap_err();
        assert_eq!(fault.code(), Code::ConfigInvalid, "{text}");
        assert!(fault.to_string().contains("db.password"), "{fault:?}");
    }
}

#[tokio::test]
async fn a_rollback_takes_secrets_from_now() {
    let bench = with_secret("").await;
    let (envy, project) = (bench.envy(), bench.project());
    let before = bench.resolve().await.unwrap();
    let scope = Scope::new(project.name().clone(), "dev".parse().unwrap());
    let recorded = envy.record(&scope, &before);
    let stored = serde_json::to_string(&recorded).unwrap();
    assert!(!stored.contains(CANARY) && !format!("{recorded:?}").contains(CANARY), "{stored}");
    bench.file("config/default.toml", "greeting = \"other\"\nmore = 1\n");
    assert_eq!(envy.restore(&project, &recorded).await.unwrap(), before, "nothing secret has changed");
    bench.file("new.txt", "another-secret");
    bench.ok(&["set", "db.password", "--secret", "--from-file", "new.txt", "--env", "dev"]).await;
    let restored = envy.restore(&project, &recorded).await.unwrap();
    assert_eq!(secret(&restored, "db.password"), "another-secret");
    assert_eq!(restored.entries["greeting"], before.entries["greeting"]);
    assert!(!restored.entries.contains_key("more"));
    assert_ne!(restored.digest, before.digest);
    std::fs::remove_file(bench.root().join("config/dev.toml")).unwrap();
    let fault = envy.restore(&project, &recorded).await.unwrap_err();
    assert_eq!(fault.code(), Code::ConfigInvalid);
    assert!(fault.to_string().contains("db.password"));
}

/// Every command in every format, over a secret that is encrypted, one that is declared, one of several lines, and
/// one that is plain in another environment.
#[tokio::test]
async fn no_command_lets_a_secret_out() {
    let manifest = "secrets = [\"token\"]\nschema = \"config/schema.json\"\n[env.prod.config]\ndb.password = \"hunter22-canary-value\"\n";
    let mut bench = with_secret(manifest).await;
    let many = format!("first line\n{CANARY}\nlast line");
    bench.file("many.txt", &many).file("config/schema.json", "{\"type\": \"object\"}");
    bench.file(
        "config/default.toml",
        format!("greeting = \"hi\"\ntoken = \"{CANARY}\"\n[db]\npassword = \"{CANARY}-old\"\n"),
    );
    bench.ok(&["set", "key", "--secret", "--from-file", "many.txt", "--env", "dev"]).await;
    let schema = |body: &str| format!("{{\"properties\": {{\"token\": {body}, \"db\": {body}}}}}");
    let schemas = [
        "{\"type\": \"integer\"}",
        "{\"const\": 1}",
        "{\"enum\": [1]}",
        "{\"maxLength\": 3, \"maxProperties\": 0}",
        "{\"pattern\": \"^x$\", \"required\": [\"q\"]}",
        "{\"anyOf\": [{\"type\": \"null\"}]}",
        "{\"oneOf\": [{\"type\": \"null\"}]}",
        "{\"not\": {}}",
        "false",
        "{\"additionalProperties\": false, \"format\": \"uuid\"}",
    ];
    let lines: &[&[&str]] = &[
        &["--env", "dev", "shop"],
        &["explain", "db.password", "--env", "dev"],
        &["explain", "token", "--env", "dev"],
        &["explain", "nope", "--env", "dev"],
        &["diff", "dev", "prod"],
        &["diff", "prod", "dev", "--all"],
        &["keys", "--env", "dev"],
        &["check", "--env", "dev"],
        &["exec", "--env", "dev", "--", "0"],
        &["exec", "--env", "dev", "--", "3"],
        &["init"],
        &["set", "db.password", "--secret", "--from-file", "many.txt", "--env", "dev"],
        &["set", "token", "--secret", "--from-file", "many.txt", "--env", "dev"],
    ];
    let mut seen = 0;
    for format in [Format::Text, Format::Json, Format::Ndjson, Format::Env, Format::Toml, Format::Yaml] {
        bench.format = format;
        for line in lines {
            let (outcome, said) = bench.run(line).await;
            let text = all_output(&outcome, &said);
            assert!(!text.contains(CANARY) && !text.contains(&base64_of(CANARY)), "{line:?} {format:?}: {text}");
            seen += usize::from(text.contains("«secret:"));
        }
    }
    assert!(seen >= 20, "the masks are there: {seen}");
    bench.format = Format::Text;
    for body in schemas {
        bench.file("config/schema.json", schema(body));
        let (outcome, said) = bench.run(&["check", "--env", "dev"]).await;
        assert_eq!(outcome.as_ref().err().map(vice_core::Fault::code), Some(Code::ConfigInvalid), "{body}");
        assert!(!all_output(&outcome, &said).contains(CANARY), "{body}: {said}");
    }
}

#[tokio::test]
async fn keys_tell_who_can_read_and_what_each_own_key_opens() {
    let mut bench = with_secret("").await;
    let stranger = generate().unwrap();
    bench.var("VICE_AGE_IDENTITY", stranger.private.reveal());
    let told = bench.ok(&["keys", "--env", "dev"]).await;
    let own = told.json["own"].as_array().unwrap();
    let opened: Vec<_> =
        own.iter().map(|key| (&key["source"], &key["layers"][0]["opened"], &key["layers"][0]["encrypted"])).collect();
    assert_eq!(own.len(), 2);
    assert_eq!(opened[0], (&"VICE_AGE_IDENTITY".into(), &0.into(), &1.into()));
    assert_eq!((opened[1].1, opened[1].2), (&1.into(), &1.into()));
    assert_eq!(told.json["recipients"][0]["own"], true);
    assert!(!all_output(&Ok(told), "").contains("AGE-SECRET-KEY"));
}

#[tokio::test]
async fn explain_tells_the_origin_of_what_it_cannot_open() {
    let bench = with_secret("").await;
    std::fs::remove_dir_all(bench.dir.path().join("home")).unwrap();
    let told = bench.ok(&["explain", "db.password", "--env", "dev"]).await;
    assert_eq!(told.json["effective"]["line"], 2);
    assert!(told.json["locked"].as_str().unwrap().contains("can't be decrypted"));
    let fault = bench.fails(&["check", "--env", "dev"]).await;
    assert_eq!(fault.details()["problems"][0]["key"], "db.password");
}

#[tokio::test]
async fn armoured_layers_are_read_and_passphrases_are_not_asked() {
    use std::io::Write as _;

    let key = generate().unwrap();
    let recipient: age::x25519::Recipient = key.public.parse().unwrap();
    let armoured = age::encrypt_and_armor(&recipient, b"a = \"armoured\"\n").unwrap();
    let mut bench = Bench::new("[config]\nlayers = [\"config/a.age.toml\"]\n");
    bench.file("config/a.age.toml", armoured);
    bench.var("VICE_AGE_IDENTITY", key.private.reveal());
    assert_eq!(secret(&bench.resolve().await.unwrap(), "a"), "armoured");

    let mut by_words = age::scrypt::Recipient::new("words".to_owned().into());
    by_words.set_work_factor(2);
    let encryptor = age::Encryptor::with_recipients(std::iter::once(&by_words as _)).unwrap();
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(&mut sealed).unwrap();
    writer.write_all(b"a = 1").unwrap();
    writer.finish().unwrap();
    bench.file("config/a.age.toml", sealed);
    let fault = bench.resolve().await.unwrap_err();
    assert_eq!(fault.code(), Code::SecretLocked);
    assert!(fault.to_string().contains("passphrase"));
}
