//! Accepts connections within the limits, and owns their sessions.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::connection::Connection;
use super::door::Door;
use super::outbox::Outbox;
use super::peer::Peer;
use super::ready::raised;
use super::session::{Hall, Session};
use super::status::ConnectionCounts;
use crate::protocol::{Code, Refusal, Reply};

/// How long to wait when the system gives no more sockets.
const PAUSE: Duration = Duration::from_millis(100);

/// The first room: the socket, and the sessions of all who came through it.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) hall: Arc<Hall>,
    pub(super) door: Arc<Door>,
    /// Becomes true when nobody is let in any more and the sessions are to stop reading.
    pub(super) stop: watch::Receiver<bool>,
    /// Every session holds one until no request can come from it any more.
    pub(super) reading: mpsc::Sender<()>,
}

impl Listener {
    /// Lets clients in until it is told to stop, then waits for its sessions.
    pub(super) async fn run(self) {
        let Self { socket, hall, door, mut stop, reading } = self;
        let house = House { counts: hall.board.connections.clone(), by_address: Arc::default() };
        let mut sessions = JoinSet::new();
        let mut reading = Some(reading);
        while let Some(guard) = &reading {
            tokio::select! {
                accepted = socket.accept() => match accepted {
                    Ok((stream, address)) => {
                        if let Some((seat, stream)) = house.admit(&hall, stream, address) {
                            sessions.spawn(serve(hall.clone(), door.clone(), seat, stream, stop.clone(), guard.clone()));
                        }
                    }
                    Err(error) => pause(&error).await,
                },
                _ = sessions.join_next(), if !sessions.is_empty() => {}
                () = raised(&mut stop) => reading = None,
            }
        }
        drop(socket);
        while sessions.join_next().await.is_some() {}
    }
}

async fn serve(
    hall: Arc<Hall>,
    door: Arc<Door>,
    seat: Seat,
    stream: TcpStream,
    stop: watch::Receiver<bool>,
    reading: mpsc::Sender<()>,
) {
    let outbox = Arc::new(Outbox::new(hall.settings.output_buffer_max));
    let connection =
        Connection::new(seat.number, Peer::Tcp(seat.address), hall.queue.clone(), outbox.clone());
    let access = door.access();
    let session = Session { hall, door, access, connection, outbox, stop, reading: Some(reading) };
    session.run(stream.into()).await;
    drop(seat);
}

/// A connection that broke off before it was accepted is nothing; a lack of file descriptors passes.
async fn pause(error: &io::Error) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::error!("cannot accept connections: {error}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Who is in.
struct House {
    counts: Arc<ConnectionCounts>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// The place of one connection; free again when dropped.
struct Seat {
    number: u64,
    address: SocketAddr,
    counts: Arc<ConnectionCounts>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl House {
    /// Gives a connection its number, or turns it away with the reason.
    fn admit(&self, hall: &Hall, stream: TcpStream, address: SocketAddr) -> Option<(Seat, TcpStream)> {
        let settings = &hall.settings;
        let here = self.counts.current.load(Ordering::Relaxed);
        let mut by_address = self.by_address.lock().expect("no one panics while holding the addresses");
        let of_address = by_address.entry(address.ip()).or_default();
        let limit = match () {
            () if here >= settings.max_connection => Some(("max_connection", settings.max_connection)),
            () if *of_address >= settings.max_connection_per_address => {
                Some(("max_connection_per_address", settings.max_connection_per_address))
            }
            () => None,
        };
        if let Some((name, limit)) = limit {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            turn_away(stream, name, limit);
            return None;
        }
        *of_address += 1;
        drop(by_address);
        self.counts.current.fetch_add(1, Ordering::Relaxed);
        let number = self.counts.total.fetch_add(1, Ordering::Relaxed) + 1;
        prepare(&stream, settings.open_tcp_keepalive);
        let seat = Seat { number, address, counts: self.counts.clone(), by_address: self.by_address.clone() };
        Some((seat, stream))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.counts.current.fetch_sub(1, Ordering::Relaxed);
        let mut by_address = self.by_address.lock().expect("no one panics while holding the addresses");
        if let Some(count) = by_address.get_mut(&self.address.ip()) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address.ip());
            }
        }
    }
}

/// Says why, as far as the socket takes it at once: a client that is turned away is not waited for.
fn turn_away(stream: TcpStream, name: &str, limit: usize) {
    let message = format!("The server has its {limit} connections ({name}).");
    let refusal = Refusal { retry_after_ms: Some(1000), ..Refusal::new(Code::TooManyConnections, message) };
    let mut line = Vec::new();
    Reply::new(&mut line).refused(None, &refusal);
    let told = stream.into_std().and_then(|mut stream| stream.write_all(&line));
    if let Err(error) = told {
        tracing::debug!("turning a connection away: {error}");
    }
}

fn prepare(stream: &TcpStream, keepalive: bool) {
    let socket = socket2::SockRef::from(stream);
    // Answers leave in one write a batch already; waiting for more would only add delay.
    let nodelay = socket.set_tcp_nodelay(true);
    let alive = match keepalive {
        true => socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(Duration::from_secs(60))),
        false => Ok(()),
    };
    if let Err(error) = nodelay.and(alive) {
        tracing::debug!("setting socket options: {error}");
    }
}
