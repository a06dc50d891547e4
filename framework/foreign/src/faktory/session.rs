//! One connection: the server speaks first, and then answers each command in its order.

use std::io;

use bytes::BytesMut;
use framework_server::server::{ForeignConnection, Input};

use super::command::{FaktoryCommand, Hello};
use super::lines::{LineReader, LineTooLong};
use super::replies;
use super::state::FaktorySession;
use super::{fetch, pushes, queues};
use crate::flow::Flow;

/// The first message.
const HI: &[u8] = b"+HI {\"v\":2}\r\n";
/// The longest first command, in bytes.
const HELLO_MAX: usize = 4_096;
/// The longest name of a worker, in bytes.
const WID_MAX: usize = 256;

/// Serves a connection until it ends.
pub(super) async fn serve(mut connection: ForeignConnection<'_>) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let hello = match greet(&mut connection, &mut buffer).await? {
        Some(Ok(hello)) => hello,
        Some(Err(error)) => {
            let mut output = Vec::new();
            replies::error(&mut output, &error);
            connection.write(&mut output).await?;
            connection.close().await;
            return Ok(());
        }
        None => return Ok(()),
    };
    let wid = hello.wid.as_deref().filter(|wid| !wid.is_empty());
    let mut session = FaktorySession::new(connection, wid, buffer);
    session.ok();
    let mut lines = LineReader::new(session.connection.max_length());
    let flow = loop {
        match lines.next(&mut session.buffer) {
            Ok(Some(line)) => {
                if carry_out(&mut session, &line).await? == Flow::Close {
                    break Flow::Close;
                }
                continue;
            }
            Ok(None) => {}
            Err(LineTooLong) => {
                session.connection.note_too_long();
                session.error("The command is too long (package_max_length)");
                break Flow::Close;
            }
        }
        session.flush().await?;
        // Whoever holds nothing while the server stops has nothing left to do here.
        if session.is_stopping && session.tasks().held_by().0 == 0 {
            break Flow::Close;
        }
        match session.connection.read(&mut session.buffer).await? {
            Input::Bytes => {}
            Input::Stopping => session.is_stopping = true,
            Input::Closed => break Flow::Continue,
        }
    };
    session.flush().await?;
    if flow == Flow::Close {
        session.connection.close().await;
    }
    Ok(())
}

/// Speaks first, and reads the first command; `None` when the client is gone, or says nothing in time.
async fn greet(
    connection: &mut ForeignConnection<'_>,
    buffer: &mut BytesMut,
) -> io::Result<Option<Result<Hello, String>>> {
    connection.write(&mut HI.to_vec()).await?;
    let mut lines = LineReader::new(HELLO_MAX);
    let limit = connection.auth_timeout();
    let read = async {
        loop {
            match lines.next(buffer) {
                Ok(Some(line)) => return Ok(Some(Hello::parse(&line))),
                Ok(None) => {}
                Err(LineTooLong) => return Ok(Some(Err("The first command is too long".to_owned()))),
            }
            if connection.read(buffer).await? != Input::Bytes {
                return Ok(None);
            }
        }
    };
    let hello: io::Result<_> = tokio::time::timeout(limit, read).await.unwrap_or(Ok(None));
    let hello: Option<Result<Hello, String>> = hello?;
    let is_long = |hello: &Hello| hello.wid.as_ref().is_some_and(|wid| wid.len() > WID_MAX);
    Ok(hello.map(|hello| {
        hello
            .and_then(|hello| if is_long(&hello) { Err("\"wid\" is too long".to_owned()) } else { Ok(hello) })
    }))
}

async fn carry_out(session: &mut FaktorySession<'_>, line: &[u8]) -> io::Result<Flow> {
    session.shared.count_command();
    match FaktoryCommand::parse(line) {
        Ok(FaktoryCommand::Push(job)) => pushes::push(session, job).await,
        Ok(FaktoryCommand::PushMany(jobs)) => pushes::push_many(session, jobs).await,
        Ok(FaktoryCommand::Fetch(names)) => return fetch::fetch(session, &names).await,
        Ok(FaktoryCommand::Ack(job)) => fetch::ack(session, &job.jid).await,
        Ok(FaktoryCommand::Fail(failure)) => fetch::fail(session, failure).await,
        Ok(FaktoryCommand::Beat) if session.is_stopping => {
            replies::bulk(&mut session.output, b"{\"state\":\"terminate\"}");
        }
        Ok(FaktoryCommand::Beat) => session.ok(),
        Ok(FaktoryCommand::Queue(command)) => queues::queue(session, command).await,
        Ok(FaktoryCommand::Info) => queues::info(session).await,
        Ok(FaktoryCommand::Flush) => queues::flush(session).await,
        Ok(FaktoryCommand::End) => return Ok(Flow::Close),
        Err(error) => session.error(&error),
    }
    Ok(Flow::Continue)
}
