//! Connections through Unix sockets, with tokens, and within TLS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use framework::client::{Client, ClientError, ClientSettings};
use framework::config::Secret;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

use super::concurrency::later;
use super::relay::Relay;
use crate::harness::server::Server;
use crate::harness::{Ran, installed, project_root};

#[tokio::test]
async fn client_connects_through_a_unix_socket() {
    let server = Server::start();
    let relay = Relay::at(&server.project.path("think.sock"), &server.address);
    relay.client().send(later()).await.unwrap();
    assert_eq!(relay.client().status().await.unwrap().ledger.accepted, 1);
}

#[tokio::test]
async fn token_is_sent_first_on_every_connection() {
    let server = Server::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let relay = Relay::start(address, &server.address, async move |connections| {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let auth: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(auth["command"], "auth");
            if auth["token"] != "open sesame" {
                let refused = "{\"id\":0,\"status\":\"error\",\"code\":\"bad_request\",\"error\":\"Who?\"}\n";
                stream.write_all(refused.as_bytes()).await.unwrap();
                continue;
            }
            stream
                .write_all(b"{\"id\":0,\"status\":\"ok\",\"result\":{\"scopes\":[\"send\"]}}\n")
                .await
                .unwrap();
            let _ = connections.send(stream).await;
        }
    });
    let client = |token: &str| {
        let settings = ClientSettings::for_address(&relay.address).unwrap();
        Client::new(ClientSettings { token: Secret::new(token), ..settings }).unwrap()
    };
    client("open sesame").send(later()).await.unwrap();
    let error = client("hocus pocus").status().await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused(refusal) if refusal.message == "Who?"), "{error:?}");
    assert!(!format!("{:?}", client("open sesame")).contains("sesame"));
}

/// Certificates of one authority, for a server on 127.0.0.1 and for a client.
pub(super) struct Certificates(TempDir);

impl Certificates {
    pub(super) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let script = project_root().join("tests/clients/rust/certificates.py");
        Ran::of(Command::new(installed()).arg(script).arg(directory.path())).exits(0);
        Self(directory)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(chain(&self.file("authority.pem")).remove(0)).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let key = PrivateKeyDer::from_pem_file(self.file("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain(&self.file("server.pem")), key);
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }

    fn settings(&self, relay: &Relay) -> ClientSettings {
        ClientSettings {
            tls: true,
            ca_file: Some(self.file("authority.pem")),
            certificate_file: Some(self.file("client.pem")),
            key_file: Some(self.file("client.key")),
            ..ClientSettings::for_address(&relay.address).unwrap().without_retries()
        }
    }
}

fn chain(file: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect()
}

/// A relay that requires client certificates.
async fn tls_relay(certificates: &Certificates, server: &Server) -> Relay {
    let acceptor = certificates.acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    Relay::start(address, &server.address, async move |connections| {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = connections.send(stream).await;
            }
        }
    })
}

#[tokio::test]
async fn tls_connection_carries_all_requests() {
    let (server, certificates) = (Server::start(), Certificates::new());
    let relay = tls_relay(&certificates, &server).await;
    let client = Client::new(certificates.settings(&relay)).unwrap();
    let requests = vec![later(); 1_000];
    let outcomes = client.send_many(&requests).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok));
    let batch = client.open_batch("encrypted", "noop", None).await.unwrap();
    let mut pipeline = client.pipeline(batch, &later()).await.unwrap();
    for number in 0..100 {
        pipeline.push(number, b"{}").await.unwrap();
    }
    pipeline.finish().await.unwrap();
    assert_eq!(pipeline.accepted(), 100);
    assert_eq!(client.status().await.unwrap().ledger.accepted, 1_100);
}

#[tokio::test]
async fn tls_client_verifies_the_server() {
    let (server, certificates) = (Server::start(), Certificates::new());
    let relay = tls_relay(&certificates, &server).await;
    let error_of = async |settings: ClientSettings| {
        Client::new(settings).unwrap().status().await.unwrap_err().to_string()
    };
    let another = Certificates::new();
    let ca_file = Some(another.file("authority.pem"));
    let stranger = error_of(ClientSettings { ca_file, ..certificates.settings(&relay) }).await;
    assert!(stranger.contains("is not trusted") && stranger.contains("ca_file"), "{stranger}");
    let server_name = Some("example.com".to_owned());
    let another_name = error_of(ClientSettings { server_name, ..certificates.settings(&relay) }).await;
    assert!(another_name.contains("is not trusted"), "{another_name}");
    let plain = error_of(ClientSettings { tls: false, ..certificates.settings(&relay) }).await;
    assert!(plain.contains("set tls = true"), "{plain}");

    let echoing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = echoing.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = echoing.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        stream
            .write_all(b"{\"status\":\"error\",\"code\":\"unknown_protocol\",\"error\":\"No.\"}\n")
            .await
            .unwrap();
    });
    let plain = Some(framework::client::Addresses(vec![address.parse().unwrap()]));
    let error = error_of(ClientSettings { address: plain, ..certificates.settings(&relay) }).await;
    assert!(error.contains("does not speak TLS"), "{error}");
}

#[test]
fn invalid_ca_file_is_named() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("ca.pem");
    for text in [None, Some("nothing of the kind")] {
        text.into_iter().for_each(|text| std::fs::write(&file, text).unwrap());
        let settings = ClientSettings { tls: true, ca_file: Some(file.clone()), ..ClientSettings::default() };
        let told = Client::new(settings).unwrap_err().to_string();
        assert!(told.contains(&format!("ca_file {} cannot be used", file.display())), "{told}");
    }
}
