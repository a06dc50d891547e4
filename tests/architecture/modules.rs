//! Which modules of a crate import which: in reading order, along the server's stages, never in a circle.

use std::collections::BTreeSet;

use super::imports::imports;
use super::source::Source;

/// The stages of the server in the order in which data passes them; those of one rank may import each other.
const STAGES: [&[&str]; 8] = [
    &["listener"],
    &["session", "context", "http", "websocket"],
    &["service", "verbs"],
    &["scheduler"],
    &["intake"],
    &["worker"],
    &["finisher"],
    &["notifier"],
];
/// The modules of the server that start and stop the stages, and therefore know all of them.
const WIRING: [&str; 4] = ["frontend", "handle", "takeover", "testing"];
/// The only import of a stage by a module that is none: a callback's connection makes tasks.
const STAGE_CALLERS: [(&str, &str); 1] = [("connection", "intake")];

/// An import of one file by another file of its crate.
struct Edge<'a> {
    source: &'a Source,
    line: usize,
    from: Vec<String>,
    to: Vec<String>,
}

impl Edge<'_> {
    fn fault(&self, why: &str) -> String {
        self.source.at(self.line, format_args!("imports `{}`, {why}", self.to.join("::")))
    }
}

/// Checks that the modules of a library import only modules that its `lib.rs` lists before them.
pub(super) fn reading_order(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for library in sources.iter().filter(|source| source.path.ends_with("/src/lib.rs")) {
        let modules = library.parse().items.into_iter().filter_map(|item| match item {
            syn::Item::Mod(module) => Some(module.ident.to_string()),
            _ => None,
        });
        let order: Vec<_> = modules.collect();
        let place = |module: &[String]| order.iter().position(|name| module.first() == Some(name));
        let edges = edges(sources, library.crate_root());
        let wrong = edges.iter().filter(|edge| !edge.from.is_empty() && place(&edge.to) > place(&edge.from));
        faults.extend(wrong.map(|edge| edge.fault("which lib.rs lists later")));
    }
    faults
}

/// Checks that a stage of the server imports only later stages, and that what is no stage imports none.
pub(super) fn stages(sources: &[Source]) -> Vec<String> {
    let rank = |name: &str| STAGES.iter().position(|names| names.contains(&name));
    let edges = edges(sources, "framework/server/src");
    let wrong = edges.iter().filter(|edge| {
        let ([_, from, ..], [server, to, ..]) = (&edge.from[..], &edge.to[..]) else { return false };
        let (from, to) = (from.as_str(), to.as_str());
        let is_free = from == to || WIRING.contains(&from) || STAGE_CALLERS.contains(&(from, to));
        let is_backwards = rank(to).is_some_and(|there| rank(from).is_none_or(|here| there < here));
        server == "server" && is_backwards && !is_free
    });
    wrong.map(|edge| edge.fault("against the flow")).collect()
}

/// Checks that no file imports another that imports it, directly or by way of others. Imports between a file
/// and its submodules do not count.
pub(super) fn cycles(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for root in sources.iter().map(Source::crate_root).collect::<BTreeSet<_>>() {
        let mut edges = edges(sources, root);
        edges.retain(|edge| !edge.from.starts_with(&edge.to) && !edge.to.starts_with(&edge.from));
        let in_cycle = edges.iter().filter(|edge| reaches(&edges, &edge.to, &edge.from));
        faults.extend(in_cycle.map(|edge| edge.fault("which leads back here")));
    }
    faults
}

fn reaches(edges: &[Edge], from: &[String], to: &[String]) -> bool {
    let (mut seen, mut left) = (BTreeSet::from([from]), vec![from]);
    while let Some(here) = left.pop() {
        let next = edges.iter().filter(|edge| edge.from == here).map(|edge| edge.to.as_slice());
        left.extend(next.filter(|module| seen.insert(module)));
    }
    seen.contains(to)
}

/// The imports between the files of a crate, as they are written: a path through another module's re-export
/// leads to that module.
fn edges<'a>(sources: &'a [Source], root: &str) -> Vec<Edge<'a>> {
    let files: Vec<_> = sources.iter().filter(|source| source.crate_root() == root).collect();
    let modules: BTreeSet<_> = files.iter().map(|source| source.module()).collect();
    let mut edges = Vec::new();
    for source in files {
        let from = source.module();
        for import in imports(source) {
            let Some(path) = from_root(&from, &import.path) else { continue };
            let is_file = |end: &usize| modules.contains(&path[..*end]);
            let end = (0..=path.len()).rev().find(is_file).unwrap_or(0);
            edges.push(Edge { source, line: import.line, from: from.clone(), to: path[..end].to_vec() });
        }
    }
    edges.retain(|edge| edge.from != edge.to);
    edges.dedup_by(|one, other| (&one.from, one.line, &one.to) == (&other.from, other.line, &other.to));
    edges
}

/// The path from the root of the crate; `None` for a path into another crate or into a submodule.
fn from_root(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let relative = path.iter().take_while(|name| matches!(name.as_str(), "self" | "super")).count();
    let up = path[..relative].iter().filter(|name| *name == "super").count();
    match path[0].as_str() {
        "crate" => Some(path[1..].to_vec()),
        _ if relative > 0 => Some([&module[..module.len().saturating_sub(up)], &path[relative..]].concat()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::faults;

    /// The faults of one more file in a server crate of some modules.
    fn found(rule: fn(&[Source]) -> Vec<String>, file: &str, text: &str) -> Vec<String> {
        let crate_file = |file: &str| format!("framework/server/src/{file}.rs");
        let sources = [
            ("lib", "pub mod store; pub mod server;"),
            ("store", "use index::TaskIndex;"),
            ("store/index", ""),
            ("server", "use session::Session;"),
            ("server/session", "use super::{stream::Stream, intake}; use crate::store;"),
            ("server/intake", ""),
            (file, text),
        ];
        let sources = sources.map(|(file, text)| (crate_file(file), text));
        faults(rule, &sources.each_ref().map(|(path, text)| (path.as_str(), *text)))
    }

    #[test]
    fn reading_order_finds_an_import_of_a_later_module() {
        let found = |text| found(reading_order, "store/memory", text);
        let fault = "framework/server/src/store/memory.rs:2: imports `server`, which lib.rs lists later";
        assert_eq!(found("\nuse crate::server::Server;"), [fault]);
        assert_eq!(found("fn f() { g!(super::super::server::run()) }").len(), 1, "in passing");
        assert_eq!(found("use super::Lease; #[cfg(test)] mod tests { use crate::server; }").len(), 0);
    }

    #[test]
    fn stages_finds_an_import_against_the_flow() {
        let fault = "framework/server/src/server/worker.rs:1: imports `server::session`, against the flow";
        assert_eq!(found(stages, "server/worker", "use super::session::Session;"), [fault]);
        assert_eq!(found(stages, "server/stream", "use super::session;").len(), 1, "no stage");
        assert_eq!(found(stages, "server/connection", "use super::{intake::Intake, stream};").len(), 0);
        assert_eq!(found(stages, "server/handle", "use super::session;").len(), 0);
    }

    #[test]
    fn cycles_finds_every_import_of_a_cycle() {
        let found = |file, text| found(cycles, file, text);
        let there =
            "framework/server/src/server/session.rs:1: imports `server::stream`, which leads back here";
        let back =
            "framework/server/src/server/stream.rs:1: imports `server::session`, which leads back here";
        assert_eq!(found("server/stream", "use super::session::Session;"), [there, back]);
        assert_eq!(found("store/index", "use super::Lease;").len(), 0);
        assert_eq!(found("server/session/auth", "use super::Session;").len(), 0);
    }
}
