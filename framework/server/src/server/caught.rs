//! A future of a user's code, none of whose panics gets out: neither of a poll, nor of a drop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use framework_console::log::{PanicReport, take_panic};
use futures_util::future::BoxFuture;

/// Ends with the output of a future, or with the report of its panic. The future is dropped as soon as it has
/// ended; a panic of that drop counts, too.
///
/// A panic while another one unwinds ends the process, as everywhere in Rust.
pub(super) struct Caught<'a, T>(Option<BoxFuture<'a, T>>);

impl<'a, T> Caught<'a, T> {
    pub(super) fn new(future: BoxFuture<'a, T>) -> Self {
        Self(Some(future))
    }

    /// Drops what is left of the future.
    ///
    /// # Errors
    /// The report of a panic meanwhile.
    pub(super) fn discard(&mut self) -> Result<(), PanicReport> {
        let future = self.0.take();
        catch_unwind(AssertUnwindSafe(|| drop(future))).map_err(take_panic)
    }
}

impl<T> Future for Caught<'_, T> {
    type Output = Result<T, PanicReport>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let output = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => Err(take_panic(payload)),
        };
        let discarded = self.discard();
        Poll::Ready(output.and_then(|output| discarded.map(|()| output)))
    }
}

impl<T> Drop for Caught<'_, T> {
    fn drop(&mut self) {
        // The panic hook has logged it.
        let _ = self.discard();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn caught_future_that_is_dropped_half_way_panics_inside() {
        let half_way = async {
            let _value = PanicsOnDrop;
            std::future::pending::<()>().await;
        };
        let mut caught = Caught::new(half_way.boxed());
        assert!((&mut caught).now_or_never().is_none());
        assert_eq!(caught.discard().unwrap_err().message, "dropped");
    }

    #[test]
    fn caught_payload_that_panics_when_dropped_is_a_report() {
        let panicking = async { std::panic::panic_any(PanicsOnDrop) };
        let report = Caught::<()>::new(panicking.boxed()).now_or_never().unwrap().unwrap_err();
        assert_eq!(report.message, "no message");
    }
}
