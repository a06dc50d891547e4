//! Serves the connections of the server's own child processes.

use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Admission;
use super::limits::ConnectionLimiter;
use crate::server::access::policy::ListenerPolicy;
use crate::server::context::SessionContext;
use crate::server::peer::Peer;
use crate::server::poll::raised;
use crate::server::session::{self, Session};
use crate::server::stream::Stream;
use crate::server::worker::isolated::ChildConnection;

/// Serves connections as they come until the stop flag is raised or no more can come, and waits for their
/// sessions.
pub(super) async fn serve(
    context: Arc<SessionContext>,
    limiter: Arc<ConnectionLimiter>,
    admission: Admission,
    mut connections: mpsc::Receiver<ChildConnection>,
) {
    let Admission { stop, reading } = admission;
    let policy = Arc::new(ListenerPolicy::of_children());
    let mut sessions = JoinSet::new();
    let mut stopped = stop.clone();
    loop {
        tokio::select! {
            connection = connections.recv() => {
                let Some(ChildConnection { number, process, socket }) = connection else { break };
                let Ok(stream) = socket.set_nonblocking(true).and_then(|()| UnixStream::from_std(socket)) else { continue };
                let (stream, peer) = (Stream::from(stream), Peer::Child { number, process });
                // They are few, and none is refused.
                let place = limiter.take_place(&policy);
                let Ok(permit) = place.and_then(|place| place.register(&stream, peer)) else { continue };
                let record = permit.record.clone();
                let session = Session::new(context.clone(), record, policy.clone(), stop.clone(), reading.clone());
                sessions.spawn(async move {
                    session::run(session, stream).await;
                    drop(permit);
                });
            }
            _ = sessions.join_next(), if !sessions.is_empty() => {}
            () = raised(&mut stopped) => break,
        }
    }
    drop(reading);
    while sessions.join_next().await.is_some() {}
}
