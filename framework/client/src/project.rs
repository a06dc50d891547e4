//! The project whose own server a client is meant for.

use std::path::{Path, PathBuf};

use framework_protocol::views::ProjectInfo;
use framework_protocol::{ErrorCode, Status};
use serde_json::json;

use crate::address::Address;
use crate::connection::Connection;
use crate::dedicated::DedicatedConnection;
use crate::error::{ClientError, Result};
use crate::replies;

/// The project whose own server a client is meant for.
///
/// Whoever can open the control socket is the owner of the server: that connection is neither encrypted nor
/// authenticated. A server at any other address has to belong to the same root, because another project may
/// have the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnProject {
    pub root: PathBuf,
    /// `None`: the server has no control socket.
    pub control_socket: Option<PathBuf>,
}

impl OwnProject {
    /// `true` if the address is that of the control socket.
    pub(crate) fn is_control(&self, address: &Address) -> bool {
        matches!(address, Address::Unix(path) if Some(path) == self.control_socket.as_ref())
    }

    /// Checks that the server at the other end belongs to the project.
    ///
    /// # Errors
    /// [`ClientError::OtherProject`], and when the connection fails.
    pub(crate) async fn check(&self, connection: Connection) -> Result<Connection> {
        let request = json!({ "command": "project", "id": 0 });
        let mut exchange = DedicatedConnection::send(connection, &request);
        let reply = exchange.next_reply().await?;
        let connection = exchange.into_connection();
        let address = connection.address();
        if reply.status == Status::Error && reply.code == Some(ErrorCode::UnknownCommand) {
            return Err(ClientError::other_project(address, "one that it does not name"));
        }
        let ProjectInfo { root } = replies::result(address, reply)?;
        if resolved(Path::new(&root)) == resolved(&self.root) {
            return Ok(connection);
        }
        Err(ClientError::other_project(address, root))
    }
}

/// The path without symbolic links, as far as it exists here.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
