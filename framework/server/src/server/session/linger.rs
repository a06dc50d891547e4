//! Ends a connection so that what was written last arrives.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::server::poll::at_once;
use crate::server::stream::Stream;

/// The longest time for which input of the peer is read and discarded.
const TIME_MAX: Duration = Duration::from_secs(1);
/// The most bytes of input that are discarded.
const BYTES_MAX: usize = 4 << 20;

/// Shuts down the writing side, and discards what the peer still sends: a system that has unread bytes when a
/// socket is closed resets the connection, and drops what was on its way to the peer.
///
/// With `waits`, until the peer has closed, within [`TIME_MAX`] and [`BYTES_MAX`]; else only what is there
/// already.
pub(crate) async fn linger(stream: &mut Stream, waits: bool) {
    let mut rest = Box::pin(async {
        stream.shutdown().await?;
        let mut buffer = vec![0; 16 * 1024];
        let mut bytes = 0;
        while bytes < BYTES_MAX {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => bytes += count,
            }
        }
        std::io::Result::Ok(())
    });
    // Best effort: a peer that is gone needs no close.
    if waits {
        let _ = timeout(TIME_MAX, rest).await;
    } else {
        let _ = at_once(&mut rest).await;
    }
}
