//! Names that come from a file and live as long as the process: of queues and of handlers that are gone.

use std::sync::{LazyLock, Mutex};

use framework_protocol::task::Handler;
use rustc_hash::FxHashMap;

static HANDLERS: LazyLock<Mutex<FxHashMap<&'static str, &'static Handler>>> = LazyLock::new(Mutex::default);
static NAMES: LazyLock<Mutex<FxHashMap<&'static str, ()>>> = LazyLock::new(Mutex::default);

/// The one copy of a name. Only for names out of a store's own file, of which there are few.
pub(super) fn intern(name: &str) -> &'static str {
    let mut names = NAMES.lock().expect("no one panics while holding the names");
    if let Some((known, ())) = names.get_key_value(name) {
        return known;
    }
    let name: &'static str = String::leak(name.to_owned());
    names.insert(name, ());
    name
}

/// A stand-in for a handler that the program does not have any more: its tasks fail, and say so.
pub(super) fn missing_handler(name: &str) -> &'static Handler {
    let name = intern(name);
    let mut handlers = HANDLERS.lock().expect("no one panics while holding the handlers");
    handlers.entry(name).or_insert_with(|| Box::leak(Box::new(Handler::missing(name))))
}
