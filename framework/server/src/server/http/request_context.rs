//! The state that the requests of one HTTP connection share.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use framework_protocol::views::Protocol;
use framework_protocol::{ErrorCode, RequestError};
use futures_util::future::BoxFuture;
use hyper::upgrade::OnUpgrade;
use tokio::sync::watch;

use super::io::PeerCheck;
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
    pub(super) peer_check: Arc<PeerCheck>,
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
    pub(super) async fn authenticate(
        &self,
        side_tasks: &SideTasks,
        token: Option<&str>,
    ) -> Result<Access, RequestError> {
        let access = match token {
            Some(token) => {
                let known = *side_tasks.access.borrow();
                self.policy.authenticate_again(&self.peer, token, known).await?
            }
            None => self.access,
        };
        side_tasks.access.send_replace(access);
        Ok(access)
    }
}

/// Work beside the exchange of one request and one response.
pub(super) struct SideTasks {
    /// The rights of the last request that has shown a token.
    access: watch::Sender<Access>,
    /// The body of `POST /tasks`, which is read while the replies go out.
    upload: Mutex<Option<BoxFuture<'static, ()>>>,
    /// The connection once it is a WebSocket, and the rights of its client.
    upgrade: Mutex<Option<(OnUpgrade, Access)>>,
}

impl SideTasks {
    /// None yet, for a client with these rights.
    pub(super) fn new(access: Access) -> Self {
        Self { access: watch::Sender::new(access), upload: Mutex::default(), upgrade: Mutex::default() }
    }

    /// Waits until the token of the last request is not valid any more.
    pub(super) async fn revoked(&self, policy: &ListenerPolicy) {
        let mut access = self.access.subscribe();
        loop {
            let current = *access.borrow_and_update();
            tokio::select! {
                () = policy.revoked(current) => return,
                _ = access.changed() => {}
            }
        }
    }

    /// Notes the rights of a request that has shown a token in another way.
    pub(super) fn set_access(&self, access: Access) {
        self.access.send_replace(access);
    }

    pub(super) fn set_upload(&self, upload: BoxFuture<'static, ()>) {
        *self.upload.lock().expect("an upload that panics ends its connection") = Some(upload);
    }

    /// True once the client has shown a valid token, or where none is required.
    pub(super) fn has_access(&self) -> bool {
        !self.access.borrow().is_unknown()
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
