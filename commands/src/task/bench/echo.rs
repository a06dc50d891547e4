//! A bare line server: what this machine allows, for every other figure to be a share of.

use std::net::SocketAddr;

use anyhow::Result;
use framework::memchr::memchr_iter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// As long as an acknowledgement.
pub(super) const ANSWER: &[u8] = b"{\"task_id\":1234567,\"status\":\"queued\"}\n";

/// Answers every line with [`ANSWER`], on the current runtime, until that ends.
pub(super) async fn listen() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut answers = Vec::new();
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        answers.clear();
        for _ in memchr_iter(b'\n', &buffer[..count]) {
            answers.extend_from_slice(ANSWER);
        }
        stream.write_all(&answers).await?;
    }
}
