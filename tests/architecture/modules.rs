//! The order of the framework's modules, and the flow through the rooms of its server.

use super::source::{Source, imports_below};
use super::tokens::following;

/// The rooms of the server, in the order in which data walks through them.
const ROOMS: [&str; 7] = ["listener", "session", "scheduler", "queue", "worker", "finisher", "notifier"];
/// What the rooms of the server share: words, not rooms.
const VOCABULARY: &[&str] = &[
    "access",
    "audience",
    "connection",
    "door",
    "ending",
    "events",
    "given",
    "handover",
    "outbox",
    "peer",
    "pool",
    "ready",
    "renewal",
    "roster",
    "settings",
    "status",
    "stream",
    "waiters",
    "watched",
    "witnesses",
];
/// What `server.rs` has begun goes on in here: the two alone know all rooms.
const HOUSE: &str = "running";
/// What a callback of a connection may do beyond the words: make a task.
const DOORS: [(&str, &str); 1] = [("connection", "queue")];

/// The modules of the framework import only those that `lib.rs` lists before them.
pub(super) fn reading_order(sources: &[Source]) -> Vec<String> {
    let library = sources.iter().find(|source| source.path == "framework/src/lib.rs");
    let Some(library) = library else { return vec!["framework/src/lib.rs is missing".to_owned()] };
    let order = listed(library);
    let exported: Vec<_> = library.imports().into_iter().filter_map(|mut import| import.path.pop()).collect();
    let macros = macros(sources);
    let place = |name: &str| order.iter().position(|&module| module == name);

    imports_below("framework/src", sources, |source, import| {
        let home = source.module().first().copied().filter(|&home| home != "prelude")?;
        let [name, ..] = import.within(&["crate", "framework"])? else { return None };
        let owner =
            macros.iter().find(|(called, _)| called == name).map_or(name.as_str(), |&(_, owner)| owner);
        let is_earlier = place(owner).is_some_and(|there| Some(there) <= place(home));
        let is_fine = is_earlier || exported.contains(name);
        (!is_fine)
            .then(|| format!("`{home}` imports `{}`, which lib.rs does not list before it", import.name()))
    })
}

/// Every module of the framework is in the list of `lib.rs`, and every one of the server is a room or a word.
pub(super) fn places(sources: &[Source]) -> Vec<String> {
    let library = sources.iter().filter(|source| source.path == "framework/src/lib.rs");
    let order: Vec<_> = library.flat_map(listed).collect();
    let lost = |source: &&Source| match source.module()[..] {
        ["server", home, ..] => home != HOUSE && !ROOMS.contains(&home) && !VOCABULARY.contains(&home),
        [home, ..] => home != "prelude" && !order.contains(&home),
        [] => false,
    };
    let framework = sources.iter().filter(|source| source.is_below("framework/src"));
    framework
        .filter(lost)
        .map(|source| source.says(1, "has no place in the order of modules and rooms"))
        .collect()
}

/// A room imports only later rooms, and what is no room imports none.
pub(super) fn one_way(sources: &[Source]) -> Vec<String> {
    let place = |name: &str| ROOMS.iter().position(|&room| room == name);
    imports_below("framework/src/server", sources, |source, import| {
        let module = source.module();
        let [_, home, ..] = module[..] else { return None };
        let rest = import.within(&["crate", "framework"])?.strip_prefix(&["server".to_owned()])?;
        let name = rest.first().map_or("", String::as_str);
        let is_fine = match (place(home), place(name)) {
            _ if home == HOUSE || name == home || DOORS.contains(&(home, name)) => true,
            (Some(here), Some(there)) => here < there,
            (None, Some(_)) => false,
            // What `server.rs` itself holds or hands on is for those outside.
            (_, None) => VOCABULARY.contains(&name),
        };
        (!is_fine).then(|| format!("`{home}` imports `{}`, against the flow", import.name()))
    })
}

fn listed(library: &Source) -> Vec<&str> {
    let names = following(&library.tokens(), &["pub", "mod"]);
    names.into_iter().map(|name| name.text).filter(|&name| name != "prelude").collect()
}

/// Each exported macro, and the module that it stands in: its path does not tell.
fn macros(sources: &[Source]) -> Vec<(&str, &str)> {
    let exported = ["#", "[", "macro_export", "]", "macro_rules", "!"];
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.is_below("framework/src")) {
        let owner = source.module().first().copied().unwrap_or_default();
        found.extend(following(&source.tokens(), &exported).into_iter().map(|name| (name.text, owner)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::made_up;

    /// What a rule says of a framework with this list and one more file.
    fn in_framework(rule: fn(&[Source]) -> Vec<String>, path: &str, text: &str) -> Vec<String> {
        let list = "pub mod config;\npub mod store;\npub mod server;\npub mod prelude;\npub use anyhow;";
        let section = "#[macro_export]\nmacro_rules! section { () => {} }";
        rule(&[
            made_up("framework/src/lib.rs", list),
            made_up("framework/src/config/section.rs", section),
            made_up(path, text),
        ])
    }

    #[test]
    fn an_import_against_the_reading_order_is_named_with_file_and_line() {
        let broken = |text| in_framework(reading_order, "framework/src/store/memory.rs", text);
        let said = "`store` imports `crate::server::Server`, which lib.rs does not list before it";
        assert_eq!(
            broken("\nuse crate::server::Server;"),
            [format!("framework/src/store/memory.rs:2: {said}")]
        );
        assert_eq!(broken("#[cfg(test)]\nmod tests {\n use crate::{config, server};\n}").len(), 1);
        assert_eq!(broken("use super::super::server;").len(), 1);
        assert_eq!(broken("fn f(_: framework::server::Server) {}").len(), 1);
        assert_eq!(broken("use crate::prelude::*;").len(), 1);
        assert_eq!(broken("use super::super::*;").len(), 1);
        let fine = "use super::Store;\nuse crate::{anyhow, config::Config};\ncrate::section!();";
        assert_eq!(broken(fine), Vec::<String>::new());
    }

    #[test]
    fn a_module_without_a_place_is_found() {
        assert_eq!(in_framework(places, "framework/src/extra.rs", "").len(), 1);
        assert_eq!(in_framework(places, "framework/src/server/attic.rs", "").len(), 1);
        assert_eq!(in_framework(places, "framework/src/server/session/batch.rs", ""), Vec::<String>::new());
    }

    #[test]
    fn a_macro_belongs_to_the_module_that_holds_it() {
        let library = made_up("framework/src/lib.rs", "pub mod config;\npub mod log;");
        let log = made_up("framework/src/log.rs", "#[macro_export]\nmacro_rules! moment { () => {} }");
        let config = made_up("framework/src/config.rs", "fn f() { crate::app_log!() }");
        assert_eq!(reading_order(&[library, log, config]).len(), 1);
    }

    #[test]
    fn an_import_against_the_flow_is_found() {
        let broken =
            |room: &str, text| in_framework(one_way, &format!("framework/src/server/{room}.rs"), text);
        let said = "framework/src/server/queue.rs:1: `queue` imports `crate::server::session::Hall`, against the flow";
        assert_eq!(broken("queue", "use super::session::Hall;"), [said]);
        assert_eq!(broken("session/batch", "use crate::server::listener::Listener;").len(), 1);
        assert_eq!(broken("worker", "use super::Server;").len(), 1);
        assert_eq!(broken("status", "use super::queue::Queue;").len(), 1);
        assert_eq!(broken("session", "use super::queue::Queue;\nuse batch::Batch;"), Vec::<String>::new());
        assert_eq!(broken("connection", "use super::{outbox::Outbox, queue::Queue};"), Vec::<String>::new());
    }
}
