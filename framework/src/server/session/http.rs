//! Answers HTTP: the same requests as on a line, as resources.

mod guard;

use std::convert::Infallible;
use std::io;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use self::guard::Guard;
use super::{Session, websocket};
use crate::protocol::{Code, Refusal, Reply};
use crate::server::stream::Stream;

impl Session {
    /// Answers the requests of one HTTP connection until it ends.
    pub(super) async fn serve_http(&mut self, stream: Stream) -> io::Result<()> {
        let mut upgrade = None;
        let slot = &mut upgrade;
        let (to, mut from) = tokio::sync::mpsc::unbounded_channel();
        let guard = Guard::new(&self.door, &self.hall.settings);
        let service = service_fn(|mut request: Request<Incoming>| {
            let answer = (|| {
                guard.check(&request)?;
                if !websocket::is_wanted(&request) {
                    return Err(Refusal::new(Code::UnknownProtocol, "Not yet."));
                }
                let response = websocket::accept(&request)?;
                drop(to.send(hyper::upgrade::on(&mut request)));
                Ok(response.map(|()| Full::new(Bytes::new())))
            })();
            let response = answer.unwrap_or_else(|refusal| {
                let mut body = Vec::new();
                Reply::new(&mut body).refused(None, &refusal);
                let mut response = Response::new(Full::new(body.into()));
                *response.status_mut() = match refusal.code {
                    Code::Forbidden => StatusCode::FORBIDDEN,
                    Code::BadRequest => StatusCode::BAD_REQUEST,
                    _ => StatusCode::NOT_IMPLEMENTED,
                };
                response
            });
            async move { Ok::<_, Infallible>(response) }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connection.with_upgrades().await.map_err(io::Error::other)?;
        *slot = from.try_recv().ok();
        match upgrade {
            Some(upgrade) => self.converse_websocket(upgrade.await.map_err(io::Error::other)?).await,
            None => Ok(()),
        }
    }
}
