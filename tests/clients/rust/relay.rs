//! A relay between client and server: an address that stays while servers are replaced.

use std::path::Path;
use std::sync::{Arc, Mutex};

use framework::client::{Client, ClientSettings};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;

/// Forwards connections; without a server behind it, each is closed at once.
pub(super) struct Relay {
    pub(super) address: String,
    target: Arc<Mutex<Option<String>>>,
    /// Ends with its owner.
    _running: JoinSet<()>,
}

impl Relay {
    pub(super) async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self::start(address, server, move |connections| async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = connections.send(stream).await;
            }
        })
    }

    /// Likewise, on a Unix socket.
    pub(super) fn at(socket: &Path, server: &str) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let address = format!("unix:{}", socket.display());
        Self::start(address, server, move |connections| async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = connections.send(stream).await;
            }
        })
    }

    /// Forwards the connections that `accept` sends.
    pub(super) fn start<S, F>(address: String, server: &str, accept: impl FnOnce(Sender<S>) -> F) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let target = Arc::new(Mutex::new(Some(server.to_owned())));
        let (sender, mut connections) = channel(1);
        let mut running = JoinSet::new();
        running.spawn(accept(sender));
        let aim = target.clone();
        running.spawn(async move {
            // These go with this task.
            let mut passing = JoinSet::new();
            while let Some(stream) = connections.recv().await {
                let target = aim.lock().unwrap().clone();
                passing.spawn(forward(stream, target));
            }
        });
        Self { address, target, _running: running }
    }

    pub(super) fn set_target(&self, server: Option<&str>) {
        *self.target.lock().unwrap() = server.map(str::to_owned);
    }

    pub(super) fn client(&self) -> Client {
        Client::new(ClientSettings::for_address(&self.address).unwrap()).unwrap()
    }
}

async fn forward<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, target: Option<String>) {
    let Some(target) = target else { return };
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    // Either side may be killed.
    let _ = copy_bidirectional(&mut stream, &mut server).await;
}
