//! One place among the child processes: starts one, and another when that ends or has its last task.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::super::program_status::{PAUSES, STEADY_TIME, stopped};
use super::super::remote::child_session::ChildOrder;
use super::child::{Child, ChildExit};
use super::{ChildPool, NAME};

/// One place among the child processes.
pub(super) struct ChildSlot {
    pool: Arc<ChildPool>,
    /// The name of its processes in the log and as workers.
    name: String,
}

/// Why another process is to be started.
enum Next {
    /// The one of this number has its last task.
    Replaces(u64),
    Follows(ChildExit),
    /// None is: the server stops.
    None,
}

impl ChildSlot {
    pub(super) fn new(pool: Arc<ChildPool>, number: usize) -> Self {
        Self { pool, name: format!("{NAME}#{number}") }
    }

    /// Has a process serve until all are to end. Those that end although nobody wanted it are followed by
    /// another after a pause, which grows as long as they do so without having run a task.
    pub(super) async fn run(self, mut stop: watch::Receiver<Option<Instant>>) {
        let (first, longest) = PAUSES;
        let mut pause = first;
        let mut running = JoinSet::new();
        let mut before = None;
        while stop.borrow().is_none() {
            let exit = match Child::start(&self.pool, &self.name, before.take()) {
                Ok(child) => match self.serve(child, &mut running, &mut stop).await {
                    Next::Replaces(number) => {
                        before = Some(number);
                        continue;
                    }
                    Next::Follows(exit) => Some(exit),
                    Next::None => break,
                },
                Err(error) => {
                    self.fail(&error);
                    None
                }
            };
            if exit.as_ref().is_some_and(|exit| exit.has_worked || exit.ran >= STEADY_TIME) {
                pause = first;
            }
            if let Some(exit) = exit {
                if exit.is_wanted {
                    continue;
                }
                let pause = humantime::format_duration(pause);
                let end = exit.end;
                tracing::warn!(
                    target: NAME,
                    worker = self.name,
                    "the process of isolated functions has ended ({end}); the next one is started in {pause}"
                );
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = stopped(&mut stop) => break,
            }
            pause = (pause * 2).min(longest);
            self.pool.status.restarts();
        }
        while running.join_next().await.is_some() {}
    }

    /// Runs a process among those of the slot, until another one is to be started.
    async fn serve(
        &self,
        child: Child,
        running: &mut JoinSet<ChildExit>,
        stop: &mut watch::Receiver<Option<Instant>>,
    ) -> Next {
        let (number, mut orders) = (child.number, child.process.orders());
        running.spawn(child.run(stop.clone()));
        loop {
            tokio::select! {
                biased;
                _ = stopped(stop) => return Next::None,
                Some(Ok(exit)) = running.join_next() => {
                    if exit.number == number {
                        return Next::Follows(exit);
                    }
                }
                Ok(_) = orders.wait_for(|order| *order == ChildOrder::Replace) => return Next::Replaces(number),
            }
        }
    }

    /// Says once that no process can be started.
    fn fail(&self, error: &io::Error) {
        if self.pool.status.failed(error.to_string()) {
            tracing::error!(
                target: NAME,
                worker = self.name,
                "no process of isolated functions can be started, which is tried again and again: {error}"
            );
        }
    }
}
