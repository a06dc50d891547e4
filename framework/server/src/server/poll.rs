//! Poll a future once; wait for a flag.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::sync::watch;

/// Polls a future once and returns its output if it was ready.
pub(super) async fn at_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|context| match Pin::new(&mut *future).poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Waits until a flag is true; a flag whose sender was dropped counts as true.
pub(super) async fn raised(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}
