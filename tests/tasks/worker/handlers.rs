//! Handlers that are controlled by tests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use framework::prelude::*;
use framework::task::no_retry;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::harness::eventually::{PATIENCE, in_time, wait_until};

/// A gate in a handler: the test sees that a handler has reached it, and opens it.
#[derive(Clone)]
pub(crate) struct Gate {
    number: u64,
    reached: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

static GATES: LazyLock<Mutex<HashMap<u64, Gate>>> = LazyLock::new(Mutex::default);

impl Gate {
    pub(crate) fn new() -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let gate = Self { number, reached: watch::Sender::new(false), open: watch::Sender::new(false) };
        GATES.lock().unwrap().insert(number, gate.clone());
        gate
    }

    /// The arguments by which a task finds this gate.
    pub(crate) fn name(&self) -> serde_json::Value {
        self.number.into()
    }

    pub(crate) fn find(number: u64) -> Self {
        GATES.lock().unwrap()[&number].clone()
    }

    /// Waits until a handler has reached the gate.
    pub(crate) async fn reached(&self) {
        let mut reached = self.reached.subscribe();
        in_time("a handler reaches its gate", reached.wait_for(|reached| *reached)).await.unwrap();
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Reports that a handler has reached the gate.
    pub(crate) fn reach(&self) {
        self.reached.send_replace(true);
    }

    /// Waits at the gate until it opens.
    pub(crate) async fn pass(&self) {
        self.reach();
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_gate")]
struct Waits(u64);

impl Handle for Waits {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Gate::find(self.0).pass().await;
        Ok(())
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_spin")]
struct Spins(u64);

impl Handle for Spins {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        let gate = Gate::find(self.0);
        gate.reached.send_replace(true);
        // A test that fails does not open its gate.
        let begun = Instant::now();
        while !*gate.open.borrow() && begun.elapsed() < PATIENCE {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_shout")]
struct Shout(String);

impl Handle for Shout {
    type Output = String;

    async fn handle(self, _attempt: &Attempt) -> Result<String> {
        Ok(self.0.to_uppercase())
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_panic")]
struct Panics(String);

impl Handle for Panics {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        panic!("{}", self.0);
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_blocking_panic", blocking)]
struct BlockingPanics(String);

impl HandleBlocking for BlockingPanics {
    type Output = ();

    fn handle(self, _attempt: &Attempt) -> Result<()> {
        panic!("{}", self.0);
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_third_time", attempts = 5, backoff = "1ms")]
struct ThirdTime;

impl Handle for ThirdTime {
    type Output = u32;

    async fn handle(self, attempt: &Attempt) -> Result<u32> {
        ensure!(attempt.number() == 3, "not yet");
        Ok(attempt.number())
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_never", attempts = 3, backoff = "1ms")]
struct Never {
    retry: bool,
}

impl Handle for Never {
    type Output = ();

    async fn handle(self, attempt: &Attempt) -> Result<()> {
        let error = anyhow!("out of luck").context(format!("attempt {}", attempt.number()));
        Err(if self.retry { error } else { no_retry(error) })
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_forever", timeout = "20ms")]
struct Forever;

impl Handle for Forever {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        std::future::pending().await
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_blocking_until_cancelled", timeout = "20ms", blocking)]
struct UntilCancelled;

impl HandleBlocking for UntilCancelled {
    type Output = ();

    fn handle(self, attempt: &Attempt) -> Result<()> {
        wait_until("the attempt is cancelled", || attempt.is_cancelled());
        Ok(())
    }
}
