//! The settings of queues: their worker groups, and the options of the store.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use framework_console::config::{Config, did_you_mean};
use framework_protocol::Durability;
use framework_protocol::task::{Handler, Handlers};

use super::ServerSettings;
use crate::rules::RetryLimits;
use crate::store::sqlite::SqliteOptions;
use crate::store::{Clock, Memory, Sqlite, Store, StoreLocation, StoreOptions, WorkerGroup, store_kind};

/// The name in `task_queues` of the group that serves all queues without a group of their own.
const OTHERS: &str = "*";
/// The `store` in the file of the queue.
const SQLITE: &str = "sqlite";

/// The defaults of `max_queue_length`.
const WAITING_IN_MEMORY: usize = 1_000_000;
const WAITING_ON_DISK: usize = 100_000_000;

impl ServerSettings {
    /// Opens the store that the settings name; every task that had not ended waits again.
    ///
    /// # Errors
    /// The queue's file cannot be used, with the reason and what to do; another process has it open.
    pub fn open_store(&self, config: &Config, handlers: Arc<Handlers>) -> Result<Arc<dyn Store>> {
        if self.durability == Durability::Memory {
            return Ok(Arc::new(Memory::new(self.options(&handlers), handlers, Clock::machine())));
        }
        if let Some(location) = self.store_location(config)? {
            return store_kind(&location.address)?.open(location, self.options(&handlers), handlers);
        }
        let opening =
            SqliteOptions { durability: self.durability, ..SqliteOptions::at(self.queue_path(config)) };
        Ok(Arc::new(Sqlite::open(opening, self.options(&handlers), handlers)?))
    }

    /// Where the database of the queue is; `None` when the queue is in a file, or in memory.
    ///
    /// # Errors
    /// The address is none, or the file with the password cannot be read.
    pub fn store_location(&self, config: &Config) -> Result<Option<StoreLocation>> {
        if self.store == SQLITE || self.durability == Durability::Memory {
            return Ok(None);
        }
        let password = match &self.store_password_file {
            None => Some(self.store_password.reveal().to_owned()).filter(|password| !password.is_empty()),
            Some(file) => {
                let context = || format!("reading {} (store_password_file)", file.display());
                let text = std::fs::read_to_string(config.path(file)).with_context(context)?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        };
        let mut marks = self.queue_path(config).into_os_string();
        marks.push(".database");
        let location = StoreLocation {
            address: self.store.clone(),
            schema: self.store_schema.clone(),
            password,
            durability: self.durability,
            timeout: self.store_timeout,
            marks: marks.into(),
        };
        let context = || "config/server.toml: store".to_owned();
        store_kind(&location.address).and_then(|kind| kind.check(&location)).with_context(context)?;
        Ok(Some(location))
    }

    /// The absolute path of the queue's file, or a path that stands for its database; `None` when the queue
    /// is in memory.
    pub fn queue_place(&self, config: &Config) -> Option<PathBuf> {
        if self.durability == Durability::Memory {
            return None;
        }
        let in_file = self.store == SQLITE;
        Some(if in_file {
            self.queue_path(config)
        } else {
            PathBuf::from(&self.store).join(&self.store_schema)
        })
    }

    /// An empty store in memory with this clock, for tests.
    pub(crate) fn memory_store(&self, handlers: Arc<Handlers>, clock: Clock) -> Memory {
        Memory::new(self.options(&handlers), handlers, clock)
    }

    /// The absolute path of the queue's file.
    pub fn queue_path(&self, config: &Config) -> PathBuf {
        config.path(&self.queue_file)
    }

    /// The options of the store, with those of the functions.
    fn options(&self, handlers: &Handlers) -> StoreOptions {
        let own =
            handlers.iter().filter_map(|handler| Some((handler.name.to_owned(), handler.options.retention?)));
        let set = self.function_retention.iter().map(|(function, time)| (function.clone(), time.0));
        StoreOptions {
            function_retention: own.chain(set).collect(),
            local_functions: Some(self.local_functions(handlers)),
            ..self.policy()
        }
    }

    /// The bounds of retries.
    pub(crate) fn retry_limits(&self) -> RetryLimits {
        RetryLimits {
            attempts: self.max_attempts,
            min_pause: self.min_retry_pause,
            max_backoff: self.max_backoff,
        }
    }

    /// The options of the store, without those of functions.
    pub fn policy(&self) -> StoreOptions {
        let waiting = match self.durability {
            Durability::Memory => WAITING_IN_MEMORY,
            Durability::Async | Durability::Fsync => WAITING_ON_DISK,
        };
        StoreOptions {
            limit: self.max_queue_length.unwrap_or(waiting),
            // Other systems count their jobs from 1, and some of their clients take 0 for none.
            first_id: u64::from(!self.foreign_protocols().is_empty()),
            max_memory: self.max_memory,
            groups: self.worker_groups().into_iter().map(|(group, _)| group).collect(),
            weights: self.queue_weights.clone(),
            rates: self.queue_rates.iter().map(|(queue, rate)| (queue.clone(), rate.0)).collect(),
            lease: self.lease_time,
            max_open_batches: self.max_open_batches,
            batch_idle_time: self.batch_idle_time,
            batch_retention_count: self.batch_retention_count,
            oldest_first_every: self.oldest_first_every,
            idempotency_window: self.idempotency_window,
            retention_time: self.retention_time,
            retention_count: self.retention_count,
            failed_retention_time: self.failed_retention_time,
            failed_retention_count: self.failed_retention_count,
            ..StoreOptions::default()
        }
    }

    /// Whether tasks run in this process, and not only on workers elsewhere.
    pub fn runs_tasks(&self) -> bool {
        !self.task_queues.is_empty() || self.task_worker_num > 0
    }

    /// The worker groups and their numbers of workers; at least one group.
    pub(crate) fn worker_groups(&self) -> Vec<(WorkerGroup, usize)> {
        if self.task_queues.is_empty() {
            return vec![(WorkerGroup::Others, self.task_worker_num)];
        }
        let group = |queue: &String| match queue.as_str() {
            OTHERS => WorkerGroup::Others,
            _ => WorkerGroup::Queue(queue.clone()),
        };
        self.task_queues.iter().map(|(queue, workers)| (group(queue), *workers)).collect()
    }

    /// Checks that every function named by the settings exists, or may be one that a worker is to register,
    /// and that none asks for more than they allow. Returns a sentence for each name that nobody knows yet.
    ///
    /// # Errors
    /// An unknown name that is similar to a known one; or the place of the function.
    pub(crate) fn check_functions(&self, handlers: &Handlers) -> Result<Vec<String>> {
        let mut unknown = Vec::new();
        let retained = self.function_retention.keys().map(|name| ("function_retention", name));
        let default = self.default_function.iter().map(|name| ("default_function", name));
        for (setting, name) in default.chain(retained) {
            match handlers.function(name) {
                Ok(_) => {}
                Err(error) if error.suggestion.is_some() => return Err(error).context(setting),
                Err(_) => unknown.push(format!(
                    "{setting} names the function \"{name}\", which this program does not contain and no worker has \
                     registered yet"
                )),
            }
        }
        let max = self.max_attempts;
        match handlers.iter().find(|handler| handler.options.attempts > max) {
            Some(Handler { name, file, line, options, .. }) => bail!(
                "the function \"{name}\" ({file}:{line}) has attempts = {}, and max_attempts is {max}",
                options.attempts
            ),
            None => Ok(unknown),
        }
    }

    /// Checks that every queue has workers, and that every queue named by the settings exists, or may be that
    /// of a function that a worker is to register. Returns a sentence for each name that nobody knows yet.
    ///
    /// # Errors
    /// A queue without workers, with what to add; an unknown name that is similar to a known one; or workers
    /// for a queue whose tasks run elsewhere.
    pub(crate) fn check_queues(&self, handlers: &Handlers) -> Result<Vec<String>> {
        self.check_groups(handlers)?;
        let known = handlers.all_queues();
        let weights = self.queue_weights.keys().map(|name| ("queue_weights", name));
        let rates = self.queue_rates.keys().map(|name| ("queue_rates", name));
        let mut unknown = Vec::new();
        for (setting, name) in weights.chain(rates).filter(|(_, name)| !known.contains(name.as_str())) {
            let sentence = format!("{setting} names the queue \"{name}\", and no handler has such a queue");
            match did_you_mean(name, known.iter().map(|queue| &**queue)) {
                Some(near) => bail!("{sentence}; did you mean \"{near}\"?"),
                None => {
                    unknown.push(format!("{sentence}, nor has a worker registered a function with it yet"))
                }
            }
        }
        Ok(unknown)
    }

    /// Checks the worker groups.
    fn check_groups(&self, handlers: &Handlers) -> Result<()> {
        let known: BTreeSet<_> = handlers.queues().collect();
        let all = handlers.all_queues();
        let unknown = |name: &&String| **name != OTHERS && !known.contains(name.as_str());
        if let Some(name) = self.task_queues.keys().find(unknown) {
            if all.contains(name.as_str()) {
                bail!(
                    "task_queues names the queue \"{name}\", whose tasks run on workers outside of the server"
                );
            }
            let near = did_you_mean(name, known.iter().copied());
            let near = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
            bail!("task_queues names the queue \"{name}\", and no handler has such a queue{near}");
        }
        if self.task_queues.is_empty() || self.task_queues.contains_key(OTHERS) {
            return Ok(());
        }
        let is_missing =
            |queue: &&str| !self.task_queues.contains_key(*queue) && !self.is_isolated_queue(queue, handlers);
        match known.into_iter().find(is_missing) {
            Some(queue) => bail!(
                "no worker takes from the queue \"{queue}\": add {queue:?} = 4 or \"*\" = 4 to task_queues"
            ),
            None => Ok(()),
        }
    }
}

/// The name of a worker group, as the settings and the status write it.
pub(crate) fn name(group: &WorkerGroup) -> &str {
    match group {
        WorkerGroup::Queue(queue) => queue,
        WorkerGroup::Others => OTHERS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_queues(queues: &[(&str, usize)]) -> ServerSettings {
        let task_queues = queues.iter().map(|(queue, workers)| ((*queue).to_owned(), *workers)).collect();
        ServerSettings { task_queues, task_worker_num: 7, ..ServerSettings::default() }
    }

    #[test]
    fn worker_groups_default_to_one_for_all_queues() {
        assert_eq!(with_queues(&[]).worker_groups(), [(WorkerGroup::Others, 7)]);
        let groups = with_queues(&[("mail", 8), ("*", 4)]).worker_groups();
        assert_eq!(groups, [(WorkerGroup::Others, 4), (WorkerGroup::Queue("mail".into()), 8)]);
        assert_eq!(groups.iter().map(|(group, _)| name(group)).collect::<Vec<_>>(), ["*", "mail"]);
    }

    #[test]
    fn check_queues_suggests_the_similar_name() {
        let problem = |queues: &[_]| {
            with_queues(queues).check_queues(&Handlers::default()).err().map(|error| error.to_string())
        };
        assert_eq!(problem(&[]), None);
        assert_eq!(problem(&[("default", 1)]), None);
        assert_eq!(problem(&[("*", 1)]), None);
        assert!(problem(&[("defualt", 1), ("*", 1)]).unwrap().contains("did you mean \"default\"?"));
    }

    #[test]
    fn queue_limit_is_higher_on_disk_than_in_memory() {
        let limit = |durability, max_queue_length| {
            ServerSettings { durability, max_queue_length, ..ServerSettings::default() }.policy().limit
        };
        assert_eq!(limit(Durability::Memory, None), 1_000_000);
        assert_eq!(limit(Durability::Fsync, None), 100_000_000);
        assert_eq!(limit(Durability::Async, Some(5)), 5);
    }
}
