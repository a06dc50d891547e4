//! Reads through one buffer a thread, so that an idle connection holds none.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::protocol::{Lines, Page};

/// The most that one read brings, in bytes.
pub(super) const SIZE: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into_boxed_slice());
}

/// One read, cut into lines; `None` when the peer has closed. Loses nothing when it is cancelled.
pub(super) async fn read<R: AsyncRead + Unpin>(
    reader: &mut R,
    lines: &mut Lines,
) -> io::Result<Option<Page>> {
    poll_fn(|context| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *reader).poll_read(context, &mut buffer))?;
            Poll::Ready(Ok(match buffer.filled() {
                [] => None,
                chunk => Some(lines.feed(chunk)),
            }))
        })
    })
    .await
}
