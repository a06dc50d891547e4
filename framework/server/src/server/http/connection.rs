//! One HTTP connection, until it ends or becomes a WebSocket.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::views::Protocol;
use futures_util::future::FutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::dispatch;
use super::io::HyperIo;
use super::problem::Problem;
use super::request_context::{RequestContext, SideTasks};
use crate::server::context::SessionLimits;
use crate::server::metrics::Limit;
use crate::server::poll::raised;
use crate::server::session::linger::linger;
use crate::server::session::state::Session;
use crate::server::stream::Stream;
use crate::server::websocket::Upgraded;

/// The interval between checks that the client is still there.
const PEER_CHECK: Duration = Duration::from_secs(5);

/// Serves the requests of a connection until it ends, or has become the returned WebSocket.
pub(crate) async fn serve(session: &mut Session, stream: Stream) -> io::Result<Option<Upgraded>> {
    session.record.speaks(Protocol::Http);
    let mut reading = session.reading.take();
    let mut stop = session.stop.clone();
    let mut stopped = pin!(raised(&mut stop));
    let (context, side_tasks) = (request_context(session), SideTasks::new(session.access));
    let mut revoked = pin!(side_tasks.revoked(&session.policy));
    let service = service_fn(|request| async {
        Ok::<_, Infallible>(dispatch::respond(&context, &side_tasks, request).await)
    });
    let peer = context.peer_check.clone();
    let io = TokioIo::new(HyperIo::new(stream, session.context.metrics.limits.clone(), peer));
    let mut check = interval(PEER_CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = builder(&session.context.limits).serve_connection(io, service).with_upgrades();
    // What needs no token must not keep others from connecting for ever.
    let mut may_be_unknown = true;
    let mut auth_timeout = pin!(sleep(session.context.limits.auth_timeout));
    let ended = loop {
        tokio::select! {
            biased;
            // The response under way is cut off, as a stream of events may be endless.
            () = &mut revoked => return Ok(None),
            ended = poll_fn(|context| {
                let polled = connection.poll_unpin(context);
                // After the connection, whose request may just have set the upload.
                side_tasks.poll_upload(context);
                polled
            }) => break ended,
            _ = check.tick() => context.peer_check.request(),
            () = &mut auth_timeout, if may_be_unknown => {
                may_be_unknown = false;
                if !side_tasks.has_access() {
                    session.context.metrics.limits.hit(Limit::AuthTimeout);
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
            () = &mut stopped, if reading.is_some() => {
                Pin::new(&mut connection).graceful_shutdown();
                reading = None;
            }
        }
    };
    let parts = connection.into_parts().map(|parts| (parts.io.into_inner(), parts.read_buf));
    match (side_tasks.take_upgrade(), parts) {
        (Some((upgrade, access)), None) => {
            session.reading = reading;
            let upgraded = upgrade.await.map_err(io::Error::other)?;
            let Ok(parts) = upgraded.downcast::<TokioIo<HyperIo>>() else {
                return Err(io::Error::other("the upgraded connection is none of this server's"));
            };
            let stream = parts.io.into_inner().into_stream().again(parts.read_buf);
            return Ok(Some(Upgraded { stream, access }));
        }
        (_, Some((io, unread))) => {
            let is_late = ended.as_ref().is_err_and(hyper::Error::is_timeout);
            close(session, io.into_stream(), is_late, !unread.is_empty()).await?;
        }
        (_, None) => {}
    }
    ended.map(|()| None).map_err(io::Error::other)
}

/// Closes a connection. A client whose request is late is told so, if it has begun one.
async fn close(session: &Session, mut stream: Stream, is_late: bool, has_begun: bool) -> io::Result<()> {
    if is_late {
        session.context.metrics.limits.hit(Limit::HttpHeaderTimeout);
        if has_begun {
            let problem = Problem::header_timeout(session.context.limits.http_header_timeout);
            stream.write_all(&problem.standalone_response()).await?;
        }
    }
    linger(&mut stream, true).await;
    Ok(())
}

fn request_context(session: &Session) -> RequestContext {
    RequestContext {
        session: session.context.clone(),
        policy: session.policy.clone(),
        peer: session.record.peer,
        record: session.record.clone(),
        access: session.access,
        stop: session.stop.clone(),
        peer_check: Arc::default(),
    }
}

fn builder(limits: &SessionLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // A client that has sent its last request still gets the response.
        .half_close(true)
        .header_read_timeout(limits.http_header_timeout)
        .max_headers(limits.max_http_headers)
        .max_buf_size(limits.max_http_header);
    builder
}
