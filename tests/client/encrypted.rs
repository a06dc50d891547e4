//! Ways to a server that not everybody may go: sockets in the file system, tokens, TLS.

use framework::client::ClientSettings;

use super::callers::later;
use super::relay::Relay;
use crate::harness::server::Server;

#[tokio::test]
async fn a_server_is_reached_through_a_socket_in_the_file_system() {
    let server = Server::start();
    let relay = Relay::at(&server.project.path("think.sock"), &server.address);
    relay.client().send(&later()).await.unwrap();
    assert_eq!(relay.client().status().await.unwrap().ledger.accepted, 1);
    assert!(ClientSettings::to(&relay.address).is_ok());
}
