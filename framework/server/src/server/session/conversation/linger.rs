//! Ends a connection so that what was written last arrives.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::server::poll::at_once;
use crate::server::stream::Stream;

/// How long a peer that still sends is listened to, so that it can read why nobody does.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many bytes of it are thrown away at most.
const BYTES: usize = 4 << 20;

/// Says that nothing more comes, and throws away what the peer still sends: a system that has unread bytes when a
/// socket is closed resets the connection, and drops what was on its way to the peer.
///
/// With `waits`, until the peer has closed, within bounds; else only what is there already.
pub(crate) async fn linger(stream: &mut Stream, waits: bool) {
    let mut rest = Box::pin(async {
        stream.shutdown().await?;
        let mut buffer = vec![0; 16 * 1024];
        let mut bytes = 0;
        while bytes < BYTES {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => bytes += count,
            }
        }
        std::io::Result::Ok(())
    });
    // Whoever does not hear it does not want to: there is nothing left to do.
    match waits {
        true => drop(timeout(PATIENCE, rest).await),
        false => drop(at_once(&mut rest).await),
    }
}
