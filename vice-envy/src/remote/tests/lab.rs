//! Real servers: a Consul agent and the S3 of the lab.

use serde_json::json;

use super::*;

fn given(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "the address of a lab server comes from the test's environment")]
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run this with scripts/test or scripts/lab/run COMMAND"))
}

#[tokio::test]
async fn lab_consul_gives_keys_and_documents() {
    tls();
    let base = given("VICE_LAB_CONSUL");
    let client = reqwest::Client::builder().build().unwrap();
    let prefix = format!("vice-envy-{}", std::process::id());
    for (key, value) in [("db/host", "x"), ("PORT", "1"), ("app.toml", "a = [1, 2]\n"), ("empty", "")] {
        let url = format!("{base}/v1/kv/{prefix}/{key}");
        assert!(client.put(url).body(value).send().await.unwrap().status().is_success());
    }
    let addr = [("CONSUL_HTTP_ADDR", base.as_str())];
    let found = flat(ask(&format!("consul:{prefix}"), env(&addr)).await.unwrap().unwrap());
    let keys: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap())).collect();
    assert_eq!(keys, [("app.toml", "a = [1, 2]\n"), ("db.host", "x"), ("empty", ""), ("port", "1")]);
    let document = flat(ask(&format!("consul:{base}/{prefix}/app.toml"), env(&[])).await.unwrap().unwrap());
    assert_eq!(document, [("a".to_owned(), json!([1, 2]))]);
    assert!(ask(&format!("consul:{prefix}-gone"), env(&addr)).await.unwrap().is_none());
    assert!(ask(&format!("consul:{prefix}/gone.toml"), env(&addr)).await.unwrap().is_none());
    let elsewhere = [addr[0], ("CONSUL_DATACENTER", "nowhere")];
    assert_eq!(ask(&format!("consul:{prefix}"), env(&elsewhere)).await.err().unwrap().code(), Code::Backend);
}

#[cfg(feature = "s3")]
#[tokio::test]
async fn lab_s3_gives_documents_and_refuses_wrong_keys() {
    use object_store::ObjectStoreExt as _;
    tls();
    let (endpoint, bucket) = (given("VICE_LAB_S3_ENDPOINT"), given("VICE_LAB_S3_BUCKET"));
    let (key, secret) = (given("VICE_LAB_S3_ACCESS_KEY"), given("VICE_LAB_S3_SECRET_KEY"));
    let store = object_store::aws::AmazonS3Builder::new()
        .with_bucket_name(&bucket)
        .with_region("us-east-1")
        .with_endpoint(&endpoint)
        .with_allow_http(true)
        .with_access_key_id(&key)
        .with_secret_access_key(&secret)
        .build()
        .unwrap();
    let name = format!("vice-envy-{}/prod.toml", std::process::id());
    store.put(&name.as_str().into(), "a = 1\n".into()).await.unwrap();
    let vars = |secret: &str| {
        env(&[("AWS_ENDPOINT_URL", &endpoint), ("AWS_ACCESS_KEY_ID", &key), ("AWS_SECRET_ACCESS_KEY", secret)])
    };
    let found = ask(&format!("s3://{bucket}/{name}"), vars(&secret)).await.unwrap().unwrap();
    assert_eq!(flat(found), [("a".to_owned(), json!(1))]);
    assert!(ask(&format!("s3://{bucket}/gone.toml"), vars(&secret)).await.unwrap().is_none());
    let fault = ask(&format!("s3://{bucket}/{name}"), vars("wrong")).await.err().unwrap();
    assert!(fault.to_string().contains("let us in"), "{fault:?}");
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn lab_postgres_gives_rows_and_documents_and_changes_nothing() {
    let url = given("VICE_LAB_POSTGRES");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(async move { connection.await.is_ok() });
    let table = format!("vice_envy_{}", std::process::id());
    let sql = format!(
        "CREATE TABLE {table} (key text PRIMARY KEY, value text);
         INSERT INTO {table} VALUES ('db/host', 'x'), ('DB__PORT', '5432'), ('empty', '');
         CREATE TABLE {table}_documents (key text, value text);
         INSERT INTO {table}_documents VALUES ('prod.toml', E'a = [1, 2]\n'), ('gone', NULL);
         CREATE TABLE {table}_other (name text);
         DROP ROLE IF EXISTS {table}_nobody; CREATE ROLE {table}_nobody LOGIN PASSWORD 'canary-password';"
    );
    client.batch_execute(&sql).await.unwrap();
    let vars = [("VICE_CONFIG_POSTGRES", url.as_str())];
    let rows = flat(ask(&format!("postgres:{table}"), env(&vars)).await.unwrap().unwrap());
    let rows: Vec<_> = rows.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap())).collect();
    assert_eq!(rows, [("db.host", "x"), ("db.port", "5432"), ("empty", "")]);
    let found = ask(&format!("postgres:public.{table}_documents/prod.toml"), env(&vars)).await.unwrap().unwrap();
    assert_eq!(flat(found), [("a".to_owned(), json!([1, 2]))]);
    assert!(ask(&format!("postgres:{table}_documents/dev.toml"), env(&vars)).await.unwrap().is_none());
    assert!(ask(&format!("postgres:{table}_gone"), env(&vars)).await.unwrap().is_none());

    let fails =
        async |layer: String, url: &str| ask(&layer, env(&[("VICE_CONFIG_POSTGRES", url)])).await.err().unwrap();
    let fault = fails(format!("postgres:{table}_other"), &url).await;
    assert!(fault.to_string().contains("without the columns"), "{fault:?}");
    let fault = fails(format!("postgres:{table}_documents"), &url).await;
    assert!(fault.to_string().contains("NULL"), "{fault:?}");
    let mut nobody = url::Url::parse(&url).unwrap();
    nobody.set_username(&format!("{table}_nobody")).unwrap();
    nobody.set_password(Some("canary-password")).unwrap();
    let fault = fails(format!("postgres:{table}"), nobody.as_str()).await;
    assert!(fault.to_string().contains("does not let us read"), "{fault:?}");
    assert!(!format!("{fault:?}").contains("canary-password"));
    let sql = format!("DROP TABLE {table}, {table}_documents, {table}_other; DROP ROLE {table}_nobody");
    client.batch_execute(&sql).await.unwrap();
    driver.abort();
}
