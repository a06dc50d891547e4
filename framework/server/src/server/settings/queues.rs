//! The settings of queues: their worker groups, and the options of the store.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use framework_console::config::{Config, did_you_mean};
use framework_protocol::Durability;
use framework_protocol::task::Handlers;

use super::ServerSettings;
use crate::store::sqlite::SqliteOptions;
use crate::store::{Clock, Memory, Sqlite, Store, StoreOptions, WorkerGroup};

/// The name in `task_queues` of the group that serves all queues without a group of their own.
const OTHERS: &str = "*";

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
            return Ok(Arc::new(Memory::new(self.policy(), handlers, Clock::machine())));
        }
        let opening =
            SqliteOptions { durability: self.durability, ..SqliteOptions::at(self.queue_path(config)) };
        Ok(Arc::new(Sqlite::open(opening, self.policy(), handlers)?))
    }

    /// The absolute path of the queue's file.
    pub fn queue_path(&self, config: &Config) -> PathBuf {
        config.root().join(&self.queue_file)
    }

    /// The options of the store.
    pub fn policy(&self) -> StoreOptions {
        let waiting = match self.durability {
            Durability::Memory => WAITING_IN_MEMORY,
            Durability::Async | Durability::Fsync => WAITING_ON_DISK,
        };
        StoreOptions {
            limit: self.max_queue_length.unwrap_or(waiting),
            max_memory: self.max_memory,
            groups: self.worker_groups().into_iter().map(|(group, _)| group).collect(),
            weights: self.queue_weights.clone(),
            rates: self.queue_rates.iter().map(|(queue, rate)| (queue.clone(), rate.0)).collect(),
            idempotency_window: self.idempotency_window,
            retention_time: self.retention_time,
            retention_count: self.retention_count,
            ..StoreOptions::default()
        }
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

    /// Checks that every queue has workers, and that every queue named by the settings exists.
    ///
    /// # Errors
    /// A queue without workers, with what to add; or an unknown name, with the similar one.
    pub(crate) fn check_queues(&self, handlers: &Handlers) -> Result<()> {
        let known: BTreeSet<_> = handlers.queues().collect();
        let named = [
            ("task_queues", self.task_queues.keys().collect::<Vec<_>>()),
            ("queue_weights", self.queue_weights.keys().collect()),
            ("queue_rates", self.queue_rates.keys().collect()),
        ];
        for (setting, names) in named {
            let unknown = |name: &&String| *name != OTHERS && !known.contains(name.as_str());
            if let Some(name) = names.into_iter().find(unknown) {
                let near = did_you_mean(name, known.iter().copied());
                let near = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
                bail!("{setting} names the queue \"{name}\", and no handler has such a queue{near}");
            }
        }
        if self.task_queues.is_empty() || self.task_queues.contains_key(OTHERS) {
            return Ok(());
        }
        match known.into_iter().find(|queue| !self.task_queues.contains_key(*queue)) {
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
