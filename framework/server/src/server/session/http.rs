//! Answers HTTP: the same requests as on a line, as resources.

mod response;
mod hyper_io;
mod openapi;
mod sse;
mod origin_policy;
mod replies;
mod push_many;
mod push_task;
mod percent;
mod problem;
mod params;
mod matching;
mod routes;
mod schemas;
mod dispatch;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use framework_protocol::views::Protocol;
use futures_util::future::{BoxFuture, FutureExt};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

pub(super) use self::hyper_io::HyperIo;
use self::problem::Problem;
use super::conversation::linger;
use super::{Session, SessionContext};
use crate::server::access::Access;
use crate::server::connections::ConnectionRecord;
use crate::server::listener::policy::ListenerPolicy;
use crate::server::metrics::Limit;
use crate::server::peer::Peer;
use crate::server::poll::raised;
use crate::server::settings::ServerSettings;
use crate::server::stream::Stream;

/// Who asks, and of whom.
#[derive(Clone)]
struct RequestContext {
    context: Arc<SessionContext>,
    policy: Arc<ListenerPolicy>,
    peer: Peer,
    record: Arc<ConnectionRecord>,
    access: Access,
    /// Becomes true when no more tasks are to be read.
    stop: watch::Receiver<bool>,
}

/// One connection that speaks HTTP.
struct HttpConnection {
    caller: RequestContext,
    beside: SideTasks,
}

/// What goes on beside the exchange of one request and one response.
#[derive(Default)]
struct SideTasks {
    /// Tasks that are read in while their answers go out.
    upload: Mutex<Option<BoxFuture<'static, ()>>>,
    /// Where the connection comes from once it is a WebSocket, and what its client may do.
    upgrade: Mutex<Option<(OnUpgrade, Access)>>,
}

impl Session {
    /// Answers the requests of one HTTP connection until it ends, or becomes a WebSocket.
    pub(super) async fn serve_http(&mut self, stream: Stream) -> io::Result<()> {
        self.record.speaks(Protocol::Http);
        let mut reading = self.reading.take();
        let mut stop = self.stop.clone();
        let mut stopped = pin!(raised(&mut stop));
        let exchange = self.exchange();
        let service = service_fn(|request| async { Ok::<_, Infallible>(exchange.answer(request).await) });
        let settings = &self.context.settings;
        let carrier = HyperIo::new(stream, self.context.metrics.limits.clone());
        let mut connection =
            builder(settings).serve_connection(TokioIo::new(carrier), service).with_upgrades();
        let ended = loop {
            tokio::select! {
                biased;
                ended = poll_fn(|context| {
                    let polled = connection.poll_unpin(context);
                    // Afterwards, for what was just called may have left it here.
                    exchange.beside.poll(context);
                    polled
                }) => break ended,
                () = &mut stopped, if reading.is_some() => {
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                    reading = None;
                }
            }
        };
        let parts = connection.into_parts().map(|parts| (parts.io.into_inner(), parts.read_buf));
        let upgrade = exchange.beside.upgraded();
        match (upgrade, parts) {
            (Some((upgrade, access)), None) => {
                (self.reading, self.access) = (reading, access);
                self.converse_websocket(upgrade.await.map_err(io::Error::other)?).await
            }
            (_, Some((carrier, unread))) => {
                let mut stream = carrier.into_stream();
                if ended.as_ref().is_err_and(hyper::Error::is_timeout) {
                    self.context.metrics.limits.hit(Limit::HttpHeaderTimeout);
                    // Who has not begun to ask is not told that it is late.
                    if !unread.is_empty() {
                        let problem = Problem::slow_head(&self.context.settings);
                        stream.write_all(&problem.on_its_own()).await?;
                    }
                }
                linger(&mut stream, true).await;
                ended.map_err(io::Error::other)
            }
            (_, None) => ended.map_err(io::Error::other),
        }
    }

    fn exchange(&self) -> HttpConnection {
        let (context, policy) = (self.context.clone(), self.policy.clone());
        let peer = self.connection.address();
        let (record, stop) = (self.record.clone(), self.stop.clone());
        let caller = RequestContext { context, policy, peer, record, access: self.access, stop };
        HttpConnection { caller, beside: SideTasks::default() }
    }
}

fn builder(settings: &ServerSettings) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(settings.http_header_timeout)
        .max_headers(settings.max_http_headers)
        .max_buf_size(settings.max_http_header);
    builder
}

impl SideTasks {
    fn begin(&self, upload: BoxFuture<'static, ()>) {
        *self.upload.lock().expect("an upload that panics ends its connection") = Some(upload);
    }

    fn become_another(&self, upgrade: OnUpgrade, access: Access) {
        *self.upgrade.lock().expect("no one panics while holding it") = Some((upgrade, access));
    }

    fn upgraded(&self) -> Option<(OnUpgrade, Access)> {
        self.upgrade.lock().expect("no one panics while holding it").take()
    }

    fn poll(&self, context: &mut Context) {
        let mut upload = self.upload.lock().expect("an upload that panics ends its connection");
        if let Some(future) = &mut *upload {
            if let Poll::Ready(()) = future.as_mut().poll(context) {
                *upload = None;
            }
        }
    }
}
