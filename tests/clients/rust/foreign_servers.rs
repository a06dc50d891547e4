//! Servers that are no task servers, or do not behave like one.

use std::error::Error;
use std::time::Duration;

use framework::client::{Client, ClientError, ClientSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::concurrency::later;

/// A server that answers the first bytes of a client with fixed bytes, and sends nothing more.
struct ForeignServer {
    address: String,
    _running: JoinSet<()>,
}

impl ForeignServer {
    async fn sending(words: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if stream.read(&mut [0; 1024]).await.is_ok() {
                    let _ = stream.write_all(words).await;
                }
                open.push(stream);
            }
        });
        Self { address, _running: running }
    }

    fn client(&self, change: impl FnOnce(&mut ClientSettings)) -> Client {
        let mut settings = ClientSettings::for_address(&self.address).unwrap();
        change(&mut settings);
        Client::new(settings).unwrap()
    }
}

#[tokio::test]
async fn foreign_server_is_reported_as_such() {
    for (words, told) in [
        (&b"220 mail.example.com ESMTP\r\n"[..], "no task server says: \"220 mail.example.com ESMTP\""),
        (b"{\"hello\":1}\n", "no task server says"),
        (b"nothing that ends a line", "no task server says"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "an HTTP server"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "speaks TLS: set tls = true"),
    ] {
        let foreign = ForeignServer::sending(words).await;
        let client = foreign.client(|_| {});
        for error in [client.status().await.map(drop), client.send(later()).await.map(drop)] {
            let error = error.unwrap_err();
            assert!(
                error.to_string().contains(told) && error.to_string().contains(&foreign.address),
                "{error}"
            );
        }
        assert_eq!(client.pending(), 0);
    }
}

#[tokio::test]
async fn silent_server_ends_in_answer_timeout() {
    let mute = ForeignServer::sending(b"").await;
    let client = mute.client(|settings| {
        (settings.reply_timeout, settings.retry_time) = (Duration::from_millis(20), Duration::ZERO);
    });
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Io { .. }), "a question can be asked again: {error:?}");
    assert!(error.source().unwrap().to_string().contains("reply_timeout"), "{error:?}");
    let error = client.send(later()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unknown { .. }), "a task may have been accepted: {error:?}");
    assert_eq!(client.pending(), 0);
}

#[tokio::test]
async fn silent_server_is_skipped_for_the_next_address() {
    let (mute, server) = (ForeignServer::sending(b"").await, crate::harness::server::Server::start());
    let addresses = format!("{},{}", mute.address, server.address);
    let client = |shared_store| {
        let settings = ClientSettings {
            reply_timeout: Duration::from_millis(200),
            shared_store,
            ..ClientSettings::for_address(&addresses).unwrap()
        };
        Client::new(settings).unwrap()
    };
    let asking = client(false);
    assert_eq!(asking.status().await.unwrap().ledger.accepted, 0, "a query may go to any server");
    assert_eq!(asking.address(), server.address);
    let error = client(false).send(later()).await.unwrap_err();
    let ClientError::Unknown { source } = &error else { panic!("{error:?}") };
    assert!(matches!(**source, ClientError::WrongServer { .. }), "the first server may have accepted it");
    client(true).send(later()).await.expect("the key says that it is the first one again");
}

#[tokio::test]
async fn silent_server_ends_authentication_in_connect_timeout() {
    let mute = ForeignServer::sending(b"").await;
    let client = mute.client(|settings| {
        settings.connect_timeout = Duration::from_millis(20);
        settings.retry_time = Duration::ZERO;
        settings.token = framework::config::Secret::new("secret");
    });
    let error = client.status().await.unwrap_err();
    assert!(error.source().unwrap().to_string().contains("connect_timeout"), "{error:?}");
}

#[tokio::test]
async fn overlong_reply_ends_the_connection() {
    let endless = ForeignServer::sending(&[b'{'; 5000]).await;
    let client = endless.client(|settings| settings.max_reply_length = 1_024);
    let error = client.status().await.unwrap_err();
    assert!(error.to_string().contains("longer than max_reply_length"), "{error}");
}

#[test]
fn invalid_settings_are_rejected_before_sending() {
    let settings = ClientSettings { connections: 0, ..ClientSettings::default() };
    let told = Client::new(settings).unwrap_err().to_string();
    assert!(told.contains("`connections` must be from 1 to"), "{told}");
    assert!(matches!(ClientSettings::for_address("localhost"), Err(ClientError::Settings(_))));
}
