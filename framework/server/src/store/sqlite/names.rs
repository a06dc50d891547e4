//! The names of functions and queues that are read from the file, shared by all tasks that have them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// Names that no task has any more are dropped when there are more than this.
const NAMES_MAX: usize = 1_024;

/// One copy of each name that was read.
#[derive(Debug, Default)]
pub(super) struct SharedNames(Mutex<HashSet<Arc<str>>>);

impl SharedNames {
    /// The shared copy of a name.
    pub(super) fn get(&self, name: &str) -> Arc<str> {
        let mut names = self.0.lock().expect("no one panics while holding the names");
        if let Some(known) = names.get(name) {
            return known.clone();
        }
        if names.len() >= NAMES_MAX {
            names.retain(|name| Arc::strong_count(name) > 1);
        }
        let name: Arc<str> = name.into();
        names.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn get_shares_a_name_and_drops_those_without_a_task() {
        let names = SharedNames::default();
        let kept = names.get("kept");
        for index in 0..2 * NAMES_MAX {
            names.get(&index.to_string());
        }
        assert!(Arc::ptr_eq(&kept, &names.get("kept")));
        assert!(names.0.lock().unwrap().len() <= NAMES_MAX);
    }
}
