//! One question on a connection of its own, and all that is answered until the connection ends.

use framework_protocol::Reply;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::client::Client;
use crate::connection::Stream;
use crate::error::{ClientError, Result, read_answer};

/// A connection of its own.
pub(crate) struct DedicatedConnection {
    pub(crate) address: String,
    stream: BufReader<Box<dyn Stream>>,
    /// The line that has not come to its end yet, and how long it may be.
    line: Vec<u8>,
    limit: usize,
}

impl Client {
    /// Asks on a connection of its own.
    ///
    /// # Errors
    /// When no server can be reached.
    pub(crate) async fn ask_apart(&self, command: &impl Serialize) -> Result<DedicatedConnection> {
        let connection = self.pool.dedicated().await?;
        let address = self.pool.connector.name(connection.at).to_owned();
        let limit = self.pool.settings.max_reply_length;
        let mut stream = BufReader::new(connection.stream);
        let mut line =
            serde_json::to_vec(command).expect("a vector takes every byte, and commands are plain structs");
        line.push(b'\n');
        let asked = async {
            stream.write_all(&line).await?;
            stream.flush().await
        };
        asked.await.map_err(|error| ClientError::io(&address, error))?;
        Ok(DedicatedConnection { address, stream, line: Vec::new(), limit })
    }
}

impl DedicatedConnection {
    /// The next answer; `None` at the end of the connection. Nothing is lost when this is dropped.
    ///
    /// # Errors
    /// When the connection fails, or what comes is no answer.
    pub(crate) async fn request(&mut self) -> Result<Option<Reply>> {
        let room = (self.limit - self.line.len()) as u64;
        let read = (&mut self.stream).take(room).read_until(b'\n', &mut self.line).await;
        read.map_err(|error| ClientError::io(&self.address, error))?;
        let line = std::mem::take(&mut self.line);
        match line.last() {
            None => Ok(None),
            Some(b'\n') => read_answer(&self.address, &line).map(Some),
            Some(_) if line.len() < self.limit => Err(ClientError::closed(&self.address)),
            Some(_) => Err(ClientError::unexpected_reply(
                &self.address,
                "an answer that is longer than max_reply_length",
            )),
        }
    }

    /// What the next answer holds.
    ///
    /// # Errors
    /// When it is a refusal or something else, or the connection has ended.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<T> {
        let Some(answer) = self.request().await? else { return Err(ClientError::closed(&self.address)) };
        match answer.result.as_ref().and_then(|result| serde_json::from_str(result.get()).ok()) {
            Some(word) => Ok(word),
            None if answer.code.is_some() => Err(ClientError::Refused(answer.refusal())),
            None => Err(ClientError::unexpected_answer(&self.address, &answer)),
        }
    }

    /// Waits for the end of the connection, however it comes.
    pub(crate) async fn end(&mut self) {
        while self.stream.fill_buf().await.is_ok_and(|bytes| !bytes.is_empty()) {
            let length = self.stream.buffer().len();
            self.stream.consume(length);
        }
    }
}
