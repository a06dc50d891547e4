//! What listens at the other end and is no task server, or one that does not do what it should.

use std::error::Error;
use std::time::Duration;

use framework::client::{Client, ClientError, ClientSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::callers::later;

/// Answers whatever comes first with these bytes, and says no more.
struct Stranger {
    address: String,
    _running: JoinSet<()>,
}

impl Stranger {
    async fn saying(words: &'static [u8]) -> Self {
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
async fn who_answers_something_else_is_told_from_a_task_server() {
    for (words, told) in [
        (&b"220 mail.example.com ESMTP\r\n"[..], "no task server says: \"220 mail.example.com ESMTP\""),
        (b"{\"hello\":1}\n", "no task server says"),
        (b"nothing that ends a line", "no task server says"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "an HTTP server"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "speaks TLS: set tls = true"),
    ] {
        let stranger = Stranger::saying(words).await;
        let client = stranger.client(|_| {});
        for error in [client.status().await.map(drop), client.send(later()).await.map(drop)] {
            let error = error.unwrap_err();
            assert!(
                error.to_string().contains(told) && error.to_string().contains(&stranger.address),
                "{error}"
            );
        }
        assert_eq!(client.pending(), 0);
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_not_waited_for_for_ever() {
    let mute = Stranger::saying(b"").await;
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
async fn a_server_that_never_answers_is_left_for_the_next_address() {
    let (mute, server) = (Stranger::saying(b"").await, crate::harness::server::Server::start());
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
    assert_eq!(asking.status().await.unwrap().ledger.accepted, 0, "who asks may ask anybody");
    assert_eq!(asking.address(), server.address);
    let error = client(false).send(later()).await.unwrap_err();
    let ClientError::Unknown { source } = &error else { panic!("{error:?}") };
    assert!(matches!(**source, ClientError::WrongServer { .. }), "the first server may have accepted it");
    client(true).send(later()).await.expect("the key says that it is the first one again");
}

#[tokio::test]
async fn a_token_that_nobody_takes_notice_of_is_not_waited_for_for_ever() {
    let mute = Stranger::saying(b"").await;
    let client = mute.client(|settings| {
        settings.connect_timeout = Duration::from_millis(20);
        settings.retry_time = Duration::ZERO;
        settings.token = framework::config::Secret::new("secret");
    });
    let error = client.status().await.unwrap_err();
    assert!(error.source().unwrap().to_string().contains("connect_timeout"), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_is_too_long_ends_the_connection() {
    let endless = Stranger::saying(&[b'{'; 5000]).await;
    let client = endless.client(|settings| settings.max_reply_length = 1_024);
    let error = client.status().await.unwrap_err();
    assert!(error.to_string().contains("longer than max_reply_length"), "{error}");
}

#[test]
fn settings_that_make_no_sense_are_told_before_anything_is_sent() {
    let settings = ClientSettings { connections: 0, ..ClientSettings::default() };
    let told = Client::new(settings).unwrap_err().to_string();
    assert!(told.contains("`connections` must be from 1 to"), "{told}");
    assert!(matches!(ClientSettings::for_address("localhost"), Err(ClientError::Settings(_))));
}
