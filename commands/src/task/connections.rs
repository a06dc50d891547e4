//! `task:connections`: the connections of the server.

use framework::client::Client;
use framework::prelude::*;
use framework::views::ConnectionInfo;

use crate::format::format_millis;
use crate::options::server_address::{ServerAddress, exit_error};
use crate::options::watch::WatchOption;

/// List the connections of the task server, oldest first
///
/// Includes the connection of this command. Byte counts are those of the socket: with TLS, of the encrypted
/// data.
#[derive(Args, Command)]
#[command(name = "task:connections")]
struct ListConnections {
    /// Start after the connection with this id, for the next page
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// Maximum number of connections
    #[arg(short, long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    watch: WatchOption,
    #[command(flatten)]
    server: ServerAddress,
}

/// The number of connections in one request.
const PAGE: usize = 1_000;

impl Execute for ListConnections {
    const BLOCK: Option<&'static str> = Some("server");

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect(app).await?;
        let limit = self.limit as usize;
        let mut refresh = self.watch.begin(self.json);
        loop {
            // One more than shown, to know whether there are more.
            let mut connections = list(&client, self.after, limit + 1).await?;
            let has_more = connections.len() > limit;
            connections.truncate(limit);
            refresh.separate(output);
            if self.json {
                output.json(&connections)?;
            } else {
                print(&connections, has_more, output);
            }
            if !refresh.next(output).await {
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
    let Some(last) = connections.last() else { return output.note("No connections.") };
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
        output.note(format_args!("There are more; for the next page: --after {}", last.id));
    }
}

/// The protocol, such as `lines` or `http, TLS`; empty before the first byte.
fn protocol(connection: &ConnectionInfo) -> String {
    let tls = connection.tls.then_some("TLS");
    let names = connection.protocol.map(|protocol| protocol.name()).into_iter().chain(tls);
    names.collect::<Vec<_>>().join(", ")
}
