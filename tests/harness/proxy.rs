//! A TCP proxy in front of a server, whose connections a test can cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// Forwards connections from a port of its own to a server, until its process ends.
pub(crate) struct Proxy {
    pub(crate) address: String,
    state: Arc<Mutex<ProxyState>>,
}

#[derive(Default)]
struct ProxyState {
    streams: Vec<TcpStream>,
    /// New connections end at once.
    is_blocked: bool,
}

impl Proxy {
    pub(crate) fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::<Mutex<ProxyState>>::default();
        let (accepted, server) = (state.clone(), server.to_owned());
        thread::spawn(move || {
            for near in listener.incoming() {
                forward(near.unwrap(), &server, &accepted);
            }
        });
        Self { address, state }
    }

    fn state(&self) -> MutexGuard<'_, ProxyState> {
        self.state.lock().unwrap()
    }

    /// Ends all connections; new ones are forwarded.
    pub(crate) fn cut(&self) {
        for stream in self.state().streams.drain(..) {
            // One may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends all connections, and new ones at once, until [`Proxy::unblock`].
    pub(crate) fn block(&self) {
        self.state().is_blocked = true;
        self.cut();
    }

    pub(crate) fn unblock(&self) {
        self.state().is_blocked = false;
    }
}

fn forward(near: TcpStream, server: &str, state: &Mutex<ProxyState>) {
    let mut state = state.lock().unwrap();
    if state.is_blocked {
        return;
    }
    // The server may be away.
    let Ok(far) = TcpStream::connect(server) else { return };
    for (from, to) in [(&near, &far), (&far, &near)] {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        thread::spawn(move || copy(from, to));
    }
    state.streams.extend([near, far]);
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
