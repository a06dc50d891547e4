//! Who writes: one process at a time, for as long as it renews its lease. The epoch tells one owner from the
//! next; a transaction with an old one fails as a whole.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use framework_server::store::StoreInUse;
use framework_server::store::durable::journal::{JournalError, JournalErrorKind};
use tokio::task::AbortHandle;

use crate::error::{CallError, fenced};
use crate::link::{Call, Io, Link};
use crate::options::PostgresOptions;

/// The time for which a lease holds by the database's clock, and for which its holder trusts it by its own,
/// counted from before it was renewed.
const LEASE_MS: i64 = 10_000;
const TRUST: Duration = Duration::from_secs(8);
/// The interval at which it is renewed, and tried again when that fails.
const RENEW: Duration = Duration::from_secs(2);
const RENEW_AGAIN: Duration = Duration::from_millis(500);
/// The interval at which one who waits for it asks.
const ASK: Duration = Duration::from_millis(250);
/// The bounds of the time after which refused clients are to try again.
const RETRY_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// The right to write, as long as it lasts.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) epoch: i64,
    begin: Instant,
    /// The end of the trust, in milliseconds since the begin.
    trusted_ms: AtomicU64,
    is_lost: AtomicBool,
    /// Since when the database does not answer, and why.
    silence: Mutex<Option<(Instant, String)>>,
    renewal: Mutex<Option<AbortHandle>>,
}

/// Takes the queue over, once the lease of another owner has ended.
///
/// # Errors
/// [`StoreInUse`] when another owner goes on renewing its lease.
pub(crate) async fn acquire(link: &Link, name: &str, place: &str) -> Result<i64> {
    let mut seen: Option<f64> = None;
    loop {
        let take = Call::new(
            "UPDATE owner SET epoch = epoch + 1, server = $1, \
             until = clock_timestamp() + $2 * interval '1 millisecond' \
             WHERE server IS NULL OR server = $1 OR until < clock_timestamp() RETURNING epoch",
        );
        let taken = link.query(take.with(name).with(LEASE_MS as f64)).await?;
        if let Some(row) = taken.first() {
            return Ok(row.get(0));
        }
        let look = Call::new("SELECT coalesce(server, ''), extract(epoch FROM until)::float8 FROM owner");
        let Some(row) = link.query(look).await?.pop() else { continue };
        let (server, until): (String, f64) = (row.get(0), row.get(1));
        match seen {
            None => {
                tracing::info!("the queue is another server's ({server}); waiting for the end of its lease")
            }
            Some(before) if until > before => {
                return Err(StoreInUse(format!("another server uses {place}: {server}")).into());
            }
            Some(_) => {}
        }
        seen = Some(until);
        tokio::time::sleep(ASK).await;
    }
}

impl Owner {
    /// Begins to renew the lease of this epoch, which was taken just now.
    pub(crate) fn start(epoch: i64, io: &Io, options: &Arc<PostgresOptions>, taken: Instant) -> Arc<Self> {
        let owner = Arc::new(Self {
            epoch,
            begin: taken,
            trusted_ms: AtomicU64::new(TRUST.as_millis() as u64),
            is_lost: AtomicBool::new(false),
            silence: Mutex::new(None),
            renewal: Mutex::new(None),
        });
        let link = Link::new(io, options.clone());
        let renews = owner.clone();
        let renewal = io.handle().spawn(async move {
            while !renews.is_lost.load(Ordering::Acquire) {
                let pause = if renews.renew(&link).await { RENEW } else { RENEW_AGAIN };
                tokio::time::sleep(pause).await;
            }
        });
        *owner.renewal.lock().expect("no one panics while holding it") = Some(renewal.abort_handle());
        owner
    }

    async fn renew(&self, link: &Link) -> bool {
        let asked = self.begin.elapsed();
        let renew = Call::new(
            "UPDATE owner SET until = clock_timestamp() + $2 * interval '1 millisecond' WHERE epoch = $1",
        );
        match link.execute(renew.with(self.epoch).with(LEASE_MS as f64)).await {
            Ok(0) => {
                self.is_lost.store(true, Ordering::Release);
                tracing::error!("{}", fenced().message);
                false
            }
            Ok(_) => {
                self.trusted_ms.store((asked + TRUST).as_millis() as u64, Ordering::Release);
                if let Some((since, _)) = self.silence().take() {
                    let silent = since.elapsed().as_secs_f64();
                    tracing::info!("the database answers again, after {silent:.1} s");
                }
                true
            }
            Err(error) => {
                self.note_silence(&error);
                false
            }
        }
    }

    fn silence(&self) -> std::sync::MutexGuard<'_, Option<(Instant, String)>> {
        self.silence.lock().expect("no one panics while holding it")
    }

    /// Notes that the database does not answer, until the lease is renewed the next time.
    pub(crate) fn note_silence(&self, error: &CallError) {
        self.silence().get_or_insert_with(|| (Instant::now(), error.to_string()));
    }

    pub(crate) fn note_lost(&self) {
        self.is_lost.store(true, Ordering::Release);
    }

    /// Whether nobody else can have taken the queue over yet.
    pub(crate) fn is_trusted(&self) -> bool {
        let now_ms = self.begin.elapsed().as_millis() as u64;
        now_ms < self.trusted_ms.load(Ordering::Acquire) && !self.is_lost.load(Ordering::Acquire)
    }

    /// # Errors
    /// When the queue is another's, or it is not known whose it is.
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        if self.is_lost.load(Ordering::Acquire) {
            return Err(fenced());
        }
        let silence = self.silence().clone();
        let Some((since, reason)) = silence else {
            let late = "its lease is not renewed in time".to_owned();
            return if self.is_trusted() { Ok(()) } else { Err(silent(RETRY_AFTER[0], &late)) };
        };
        Err(silent(since.elapsed(), &reason))
    }

    pub(crate) fn stop(&self) {
        if let Some(renewal) = self.renewal.lock().expect("no one panics while holding it").take() {
            renewal.abort();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop();
    }
}

fn silent(time: Duration, reason: &str) -> JournalError {
    let message = format!(
        "The database does not answer, and nothing is accepted until it does: {reason}. What runs goes on."
    );
    let retry_after = time.clamp(RETRY_AFTER[0], RETRY_AFTER[1]);
    JournalError::new(JournalErrorKind::Unavailable, message).with_retry_after(retry_after)
}
