//! A bare echo server, as the baseline of this machine.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use framework::files;
use memchr::memchr_iter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A reply of the size of an acknowledgement.
pub(super) const ANSWER: &[u8] = b"{\"task_id\":1234567,\"status\":\"queued\",\"durability\":\"fsync\"}\n";

/// Answers every line with [`ANSWER`], on the current runtime, until that ends. With a file, lines are
/// written to it and synced first.
pub(super) async fn listen(file: Option<Arc<File>>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, file.clone()));
        }
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream, file: Option<Arc<File>>) -> Result<()> {
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
        if let Some(file) = &file {
            tokio::task::block_in_place(|| {
                (&**file).write_all(&buffer[..count])?;
                file.sync_data()
            })?;
        }
        stream.write_all(&answers).await?;
    }
}

/// A file for the bare server, already unlinked: it is gone with the server.
pub(super) fn file(folder: &Path) -> Result<Arc<File>> {
    let path = folder.join("bench.tmp");
    let create = || {
        files::create_folder(folder)?;
        let file = files::private().write(true).truncate(true).open(&path)?;
        std::fs::remove_file(&path).map(|()| file)
    };
    create().map(Arc::new).with_context(|| format!("writing {}", path.display()))
}
