//! Answers HTTP: the same requests as on a line, as resources.

mod answer;
mod document;
mod feed;
mod guard;
mod mailbox;
mod many;
mod one;
mod percent;
mod problem;
mod query;
mod route;
mod routes;
mod schemas;
mod service;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, FutureExt};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use self::problem::Problem;
use super::{Hall, Session};
use crate::server::access::Access;
use crate::server::door::Door;
use crate::server::ready::raised;
use crate::server::settings::ServerSettings;
use crate::server::stream::Stream;

/// Who asks, and of whom.
#[derive(Clone)]
struct Caller {
    hall: Arc<Hall>,
    door: Arc<Door>,
    access: Access,
    /// Becomes true when no more tasks are to be read.
    stop: watch::Receiver<bool>,
}

/// One connection that speaks HTTP.
struct Exchange {
    caller: Caller,
    beside: Beside,
}

/// What goes on beside the exchange of one request and one response.
#[derive(Default)]
struct Beside {
    /// Tasks that are read in while their answers go out.
    upload: Mutex<Option<BoxFuture<'static, ()>>>,
    /// Where the connection comes from once it speaks something else.
    upgrade: Mutex<Option<OnUpgrade>>,
}

impl Session {
    /// Answers the requests of one HTTP connection until it ends, or becomes a WebSocket.
    pub(super) async fn serve_http(&mut self, stream: Stream) -> io::Result<()> {
        let mut reading = self.reading.take();
        let mut stop = self.stop.clone();
        let mut stopped = pin!(raised(&mut stop));
        let exchange = self.exchange();
        let service = service_fn(|request| async { Ok::<_, Infallible>(exchange.answer(request).await) });
        let settings = &self.hall.settings;
        let mut connection =
            builder(settings).serve_connection(TokioIo::new(stream), service).with_upgrades();
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
        match ended {
            Err(error) if error.is_timeout() => {
                // Who has not begun to ask is not told that it is late.
                if let Some(parts) = connection.into_parts().filter(|parts| !parts.read_buf.is_empty()) {
                    refuse(parts.io.into_inner(), &Problem::slow_head(settings)).await?;
                }
                return Ok(());
            }
            ended => ended.map_err(io::Error::other)?,
        }
        drop(connection);
        let upgrade = exchange.beside.upgraded();
        drop(exchange);
        self.reading = reading;
        match upgrade {
            Some(upgrade) => self.converse_websocket(upgrade.await.map_err(io::Error::other)?).await,
            None => Ok(()),
        }
    }

    fn exchange(&self) -> Exchange {
        let (hall, door) = (self.hall.clone(), self.door.clone());
        let caller = Caller { hall, door, access: self.access, stop: self.stop.clone() };
        Exchange { caller, beside: Beside::default() }
    }
}

fn builder(settings: &ServerSettings) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(settings.http_header_timeout)
        .max_headers(settings.http_header_count)
        .max_buf_size(settings.http_header_max);
    builder
}

/// The last word on a connection that hyper has given up.
async fn refuse(mut stream: Stream, problem: &Problem) -> io::Result<()> {
    stream.write_all(&problem.on_its_own()).await?;
    stream.shutdown().await
}

impl Beside {
    fn begin(&self, upload: BoxFuture<'static, ()>) {
        *self.upload.lock().expect("an upload that panics ends its connection") = Some(upload);
    }

    fn become_another(&self, upgrade: OnUpgrade) {
        *self.upgrade.lock().expect("no one panics while holding it") = Some(upgrade);
    }

    fn upgraded(&self) -> Option<OnUpgrade> {
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
