//! `task:connections`: who is connected to the server.

use framework::client::Client;
use framework::prelude::*;
use framework::views::ConnectionInfo;

use super::server_address::{ServerAddress, exit_error};
use super::watch_option::WatchOption;
use crate::format::format_millis;

/// List the connections of the task server, the oldest first
///
/// This command's own connection is among them. Bytes are those of the socket: of TLS, encrypted.
#[derive(Args, Command)]
#[command(name = "task:connections")]
struct ListConnections {
    /// Only those that came after the connection of this number: for the next page
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// How many
    #[arg(short, long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    again: WatchOption,
    #[command(flatten)]
    server: ServerAddress,
}

/// How many are asked for at a time.
const PAGE: usize = 1_000;

impl Execute for ListConnections {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect(app).await?;
        let limit = self.limit as usize;
        let mut looks = self.again.begin(self.json);
        loop {
            // One more tells whether there are more.
            let mut connections = list(&client, self.after, limit + 1).await?;
            let has_more = connections.len() > limit;
            connections.truncate(limit);
            looks.separate(output);
            match self.json {
                true => output.json(&connections)?,
                false => print(&connections, has_more, output),
            }
            if !looks.next(output).await {
                return Ok(());
            }
        }
    }
}

async fn list(client: &Client, mut after: Option<u64>, limit: usize) -> Result<Vec<ConnectionInfo>> {
    let mut connections: Vec<ConnectionInfo> = Vec::new();
    loop {
        let wanted = (limit - connections.len()).min(PAGE);
        let page = client.connections(after, wanted).await.map_err(exit_error)?;
        let is_last = page.len() < wanted;
        connections.extend(page);
        if is_last || connections.len() == limit {
            return Ok(connections);
        }
        after = connections.last().map(|connection| connection.id);
    }
}

fn print(connections: &[ConnectionInfo], has_more: bool, output: &mut Output) {
    let Some(last) = connections.last() else { return output.note("There are no such connections.") };
    let row = |connection: &ConnectionInfo| {
        [
            connection.id.to_string(),
            connection.peer.clone(),
            protocol(connection),
            connection.bytes_in.to_string(),
            connection.bytes_out.to_string(),
            connection.queued.to_string(),
            connection.in_flight.to_string(),
            format_millis(connection.idle_ms as f64),
            format_millis(connection.connected_ms as f64),
        ]
    };
    let headings =
        ["id", "peer", "protocol", "bytes in", "bytes out", "queued", "in flight", "idle", "connected"];
    output.table(headings, &connections.iter().map(row).collect::<Vec<_>>());
    if has_more {
        output.note(format_args!("There are more: --after {}, or a higher --limit.", last.id));
    }
}

/// `lines`, `http, TLS`; nothing of who has said nothing.
fn protocol(connection: &ConnectionInfo) -> String {
    let tls = connection.tls.then_some("TLS");
    let spoken = connection.protocol.map(|protocol| protocol.name()).into_iter().chain(tls);
    spoken.collect::<Vec<_>>().join(", ")
}
