//! Stands between a client and a server: an address that stays while servers come and go.

use std::path::Path;
use std::sync::{Arc, Mutex};

use framework::client::{Client, ClientSettings};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;

/// Passes on what comes; without a server behind it, every connection is closed at once.
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

    /// Likewise, on a socket in the file system.
    pub(super) fn at(socket: &Path, server: &str) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let address = format!("unix:{}", socket.display());
        Self::start(address, server, move |connections| async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = connections.send(stream).await;
            }
        })
    }

    /// Passes on the connections that `accept` hands over.
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
                passing.spawn(pass(stream, target));
            }
        });
        Self { address, target, _running: running }
    }

    pub(super) fn turn_to(&self, server: Option<&str>) {
        *self.target.lock().unwrap() = server.map(str::to_owned);
    }

    pub(super) fn client(&self) -> Client {
        Client::new(ClientSettings::for_address(&self.address).unwrap()).unwrap()
    }
}

async fn pass<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, target: Option<String>) {
    let Some(target) = target else { return };
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    // Either side may be killed.
    let _ = copy_bidirectional(&mut stream, &mut server).await;
}
