//! TLS as a cluster has it: a certificate authority of its own, and clients known by certificate.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// A certificate for a name with its key, both as DER.
    fn issue(&self, name: &str) -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.der().to_vec(), key.serialize_der())
    }

    /// A server that lets in only clients with a certificate of this authority, and answers with a ConfigMap.
    async fn server(&self) -> u16 {
        tls();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let (certificate, key) = self.issue("127.0.0.1");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        let config = rustls::ServerConfig::builder()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.into()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut buffer = [0_u8; 4096];
                let body = r#"{"kind":"ConfigMap","data":{"a":"1"}}"#;
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                if matches!(stream.read(&mut buffer).await, Ok(count) if count > 0) {
                    drop(stream.write_all(format!("{head}{body}").as_bytes()).await);
                    drop(stream.shutdown().await);
                }
            }
        });
        port
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let coded = STANDARD.encode(der);
    let lines: Vec<&str> = coded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The layer as a kubeconfig with these parts gives it.
async fn asked(port: u16, ca: &str, client: Option<&(Vec<u8>, Vec<u8>)>) -> Result<Option<Fetched>> {
    let dir = tempfile::tempdir().unwrap();
    let user = client.map_or_else(String::new, |(certificate, key)| {
        let (certificate, key) = (pem("CERTIFICATE", certificate), pem("PRIVATE KEY", key));
        format!("client-certificate-data: {}, client-key-data: {}", STANDARD.encode(certificate), STANDARD.encode(key))
    });
    let text = format!(
        "current-context: c\ncontexts: [{{ name: c, context: {{ cluster: k, user: u }} }}]\n\
         clusters: [{{ name: k, cluster: {{ server: \"https://127.0.0.1:{port}\", certificate-authority-data: {} }} }}]\n\
         users: [{{ name: u, user: {{ {user} }} }}]\n",
        STANDARD.encode(ca)
    );
    let path = dir.path().join("config");
    std::fs::write(&path, text).unwrap();
    ask("k8s:shop/configmap/app", env(&[("KUBECONFIG", path.to_str().unwrap())])).await
}

#[tokio::test]
async fn the_authority_and_the_client_certificate_of_a_kubeconfig_count() {
    let (ours, other) = (Authority::new(), Authority::new());
    let port = ours.server().await;
    let client = ours.issue("vice");
    let found = asked(port, &ours.pem(), Some(&client)).await.unwrap().unwrap();
    assert_eq!(flat(found), [("a".to_owned(), json!("1"))]);
    for (ca, client) in [(other.pem(), Some(client)), (ours.pem(), None), (ours.pem(), Some(other.issue("vice")))] {
        let fault = asked(port, &ca, client.as_ref()).await.err().unwrap();
        assert_eq!(fault.code(), Code::Unreachable, "{fault:?}");
    }
}
