//! Clients with tokens and certificates.

use framework::client::{Client, ClientError, ClientSettings};
use framework::config::Secret;
use framework::protocol::ErrorCode;

use super::concurrency::later;
use super::encrypted::Certificates;
use crate::harness::server::Server;
use crate::harness::{Project, Ran};

fn code(error: &ClientError) -> Option<ErrorCode> {
    match error {
        ClientError::Refused(refusal) => Some(refusal.code),
        _ => None,
    }
}

#[tokio::test]
async fn token_allows_what_its_scopes_name() {
    let tokens = [("THINK_SERVER_TOKENS", "open-sesame-and-let-me-in:send")];
    let server = Server::with_environment(Project::new(), "", &tokens);
    let client = |token: &str| {
        let settings = ClientSettings::for_address(&server.address).unwrap();
        Client::new(ClientSettings { token: Secret::new(token), ..settings }).unwrap()
    };
    let sender = client("open-sesame-and-let-me-in");
    let mut sent = sender.send(later()).awaited().await.unwrap();
    assert_eq!(code(&sender.cancel(sent.id()).await.unwrap_err()), Some(ErrorCode::Forbidden));
    assert_eq!(code(&sender.follow(sent.id()).await.unwrap_err()), Some(ErrorCode::Forbidden));
    for stranger in [client("hocus pocus"), client("")] {
        let error = stranger.send(later()).await.unwrap_err();
        assert_eq!(code(&error), Some(ErrorCode::Unauthorized), "{error:?}");
    }
    tokio::select! {
        biased;
        ended = sent.ended() => panic!("{ended:?}"),
        again = sender.send(later()) => assert_eq!(again.unwrap().id(), 1),
    }
}

#[test]
fn commands_read_the_token_from_the_environment() {
    let tokens = [("THINK_SERVER_TOKENS", "open-sesame-and-let-me-in:send")];
    let server = Server::with_environment(Project::new(), "", &tokens);
    let send = |token: &str| {
        let mut command = server.project.command();
        command.args(["task:send", "noop", "{}", "--address", &server.address]);
        Ran::of(command.env("THINK_CLIENT_TOKEN", token))
    };
    assert_eq!(send("open-sesame-and-let-me-in").exits(0).stdout, "0\n");
    let refused = send("hocus pocus").exits(5);
    assert!(!refused.stderr.contains("hocus") && refused.stdout.is_empty(), "{refused:?}");
    send("").exits(5);
}

#[test]
fn commands_in_the_project_need_no_token() {
    let project = Project::new();
    project.write("config/server.toml", "tokens = \"open-sesame-and-let-me-in:send\"\n");
    let server = Server::with(project, "");
    let here = |command: &str| server.project.think(command);
    assert_eq!(here("task:send noop {} --delay 1h").exits(0).stdout, "0\n");
    assert_eq!(here("task:cancel 0").exits(0).stdout, "task 0: cancelled\n");
    let ran = here(&format!("task:status --address {}", server.address)).exits(5);
    assert!(ran.stderr.contains("token"), "{ran:?}");
}

#[test]
fn commands_use_tls_as_config_client_toml_says() {
    let certificates = Certificates::new();
    let text = |file: &str| format!("{:?}", certificates.file(file));
    let project = Project::new();
    let server = format!(
        "ssl_cert_file = {}\nssl_key_file = {}\nssl_client_cert_file = {}\n",
        text("server.pem"),
        text("server.key"),
        text("authority.pem")
    );
    project.write("config/server.toml", &server);
    let client = format!(
        "tls = true\nca_file = {}\ncertificate_file = {}\nkey_file = {}\n",
        text("authority.pem"),
        text("client.pem"),
        text("client.key")
    );
    project.write("config/client.toml", &client);
    let server = Server::with(project, "");
    server.think(&["task:send", "echo", "\"x\"", "--wait"]).exits(0);
    assert_eq!(server.status()["ledger"]["done"], 1);
    let plain = |variables: &[(&str, &str)]| {
        let mut command = server.project.command();
        command.args(["task:status", "--address", &server.address]).envs(variables.iter().copied());
        Ran::of(&mut command)
    };
    let ran = plain(&[("THINK_CLIENT_TLS", "false")]).exits(5);
    assert!(ran.stderr.contains("TLS"), "{ran:?}");
    std::fs::remove_file(server.project.path("config/client.toml")).unwrap();
    let ca_file = certificates.file("authority.pem");
    let anonymous = [("THINK_CLIENT_TLS", "true"), ("THINK_CLIENT_CA_FILE", ca_file.to_str().unwrap())];
    plain(&anonymous).exits(1);
}
