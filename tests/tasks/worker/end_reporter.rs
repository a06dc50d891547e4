//! Events that report the end of every task to a test.

use framework::prelude::*;
use framework::views::State;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::handlers::Gate;
use crate::harness::eventually::in_time;

/// Reports every end to a test, after passing a gate if there is one.
pub(super) struct EndReporter {
    pub(super) ends: UnboundedSender<(u64, State)>,
    pub(super) gate: Option<Gate>,
}

pub(super) type Ends = UnboundedReceiver<(u64, State)>;

/// The two sides of the ends that an [`EndReporter`] reports.
pub(super) fn ends() -> (UnboundedSender<(u64, State)>, Ends) {
    unbounded_channel()
}

/// The next end that was reported.
pub(super) async fn next_end(ends: &mut Ends) -> (u64, State) {
    in_time("the end of a task", ends.recv()).await.expect("the server reports ends")
}

impl Events for EndReporter {
    async fn on_finish(&self, finished: &Finished) {
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
        self.ends.send((finished.id(), finished.state())).unwrap();
    }
}
