//! The state that the requests of one HTTP connection share.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use framework_protocol::views::Protocol;
use framework_protocol::{ErrorCode, RequestError};
use futures_util::future::BoxFuture;
use hyper::upgrade::OnUpgrade;
use tokio::sync::watch;

use crate::server::access::Access;
use crate::server::access::policy::ListenerPolicy;
use crate::server::connections::ConnectionRecord;
use crate::server::context::SessionContext;
use crate::server::outbox::Outbox;
use crate::server::peer::Peer;
use crate::server::service::{Caller, Service};

/// A client and the server that it talks to.
#[derive(Clone)]
pub(super) struct RequestContext {
    pub(super) session: Arc<SessionContext>,
    pub(super) policy: Arc<ListenerPolicy>,
    pub(super) peer: Peer,
    pub(super) record: Arc<ConnectionRecord>,
    pub(super) access: Access,
    /// Becomes true when no more requests are to be read.
    pub(super) stop: watch::Receiver<bool>,
}

impl RequestContext {
    pub(super) fn service(&self) -> &Service {
        &self.session.service
    }

    /// The client, as the service sees it.
    pub(super) fn caller<'a>(&'a self, outbox: &'a Arc<Outbox>) -> Caller<'a> {
        let Self { policy, peer, access, stop, .. } = self;
        Caller { access: *access, policy, peer: *peer, outbox, stop }
    }

    /// # Errors
    /// When the listener accepts only the other one of HTTP and WebSocket.
    pub(super) fn check_protocol(&self, protocol: Protocol) -> Result<(), RequestError> {
        if self.policy.allows(protocol) {
            return Ok(());
        }
        let message = format!("{} does not speak {} here.", self.policy.address, protocol.name());
        Err(RequestError::new(ErrorCode::UnknownProtocol, message))
    }

    /// The rights of a client that shows this token, or none.
    ///
    /// # Errors
    /// `unauthorized`.
    pub(super) async fn authenticate(&self, token: Option<&str>) -> Result<Access, RequestError> {
        match token {
            Some(token) => self.policy.authenticate(&self.peer, token).await,
            None => Ok(self.access),
        }
    }
}

/// Work beside the exchange of one request and one response.
#[derive(Default)]
pub(super) struct SideTasks {
    /// The body of `POST /tasks`, which is read while the replies go out.
    upload: Mutex<Option<BoxFuture<'static, ()>>>,
    /// The connection once it is a WebSocket, and the rights of its client.
    upgrade: Mutex<Option<(OnUpgrade, Access)>>,
}

impl SideTasks {
    pub(super) fn set_upload(&self, upload: BoxFuture<'static, ()>) {
        *self.upload.lock().expect("an upload that panics ends its connection") = Some(upload);
    }

    pub(super) fn set_upgrade(&self, upgrade: OnUpgrade, access: Access) {
        *self.upgrade.lock().expect("no one panics while holding it") = Some((upgrade, access));
    }

    pub(super) fn take_upgrade(&self) -> Option<(OnUpgrade, Access)> {
        self.upgrade.lock().expect("no one panics while holding it").take()
    }

    pub(super) fn poll_upload(&self, context: &mut Context) {
        let mut upload = self.upload.lock().expect("an upload that panics ends its connection");
        if let Some(future) = &mut *upload {
            if let Poll::Ready(()) = future.as_mut().poll(context) {
                *upload = None;
            }
        }
    }
}
