//! What the crates may name of each other, and who may reach outside.

use super::source::{Source, imports_below};
use super::tokens::{Kind, following, without_tests};

/// The only file outside of `config` that reads the environment: `NO_COLOR` says how the mistakes of the
/// configuration itself are printed.
const READS_NO_COLOR: &str = "framework/src/console.rs";
const SOCKETS: [&str; 4] = ["tokio::net::", "std::net::", "std::os::unix::net::", "socket2::"];

/// `app` and `commands` use `framework`; it uses neither, and they do not use each other.
pub(super) fn apart(sources: &[Source]) -> Vec<String> {
    let of_crate = |home: &str| {
        imports_below(home, sources, |source, import| {
            let is_foreign = import.within(&["commands", "think", "framework_macros"]).is_some();
            let is_allowed = match home {
                "app" => source.path == "app/main.rs" && import.is_use && import.name() == "commands",
                "framework" => import.within(&["framework_macros"]).is_some(),
                _ => false,
            };
            (is_foreign && !is_allowed).then(|| format!("`{home}` imports `{}`", import.name()))
        })
    };
    ["app", "commands", "framework"].iter().flat_map(|home| of_crate(home)).collect()
}

/// `use commands as _;` is there, else no command of theirs would be.
pub(super) fn linked(sources: &[Source]) -> Vec<String> {
    let is_linked = sources.iter().filter(|source| source.path == "app/main.rs").any(|main| {
        let tokens = without_tests(&main.tokens());
        following(&tokens, &["use", "commands", "as", "_"]).iter().any(|end| end.is(";"))
    });
    if is_linked { Vec::new() } else { vec!["app/main.rs: `use commands as _;` is missing".to_owned()] }
}

/// Outside of tests, no string of the framework is the name of a command. Names without a group are left out:
/// they are ordinary words (`help` is a flag as well).
pub(super) fn no_command_by_name(sources: &[Source]) -> Vec<String> {
    let named = ["#", "[", "command", "(", "name", "="];
    let declared = sources.iter().filter(|source| source.is_below("commands") || source.is_below("app"));
    let commands = declared.flat_map(|source| following(&source.tokens(), &named));
    let commands: Vec<_> = commands.map(|name| name.text).filter(|name| name.contains(':')).collect();

    let mut broken = Vec::new();
    if commands.is_empty() {
        broken.push("no command was found in commands/ and app/".to_owned());
    }
    for source in sources.iter().filter(|source| source.is_below("framework/src")) {
        let tokens = without_tests(&source.tokens());
        for token in tokens.iter().filter(|token| token.kind == Kind::Text && !source.is_test()) {
            if commands.iter().any(|name| token.is(name)) {
                broken.push(
                    source.says(token.line, format_args!("the framework names the command {}", token.text)),
                );
            }
        }
    }
    broken
}

/// What is in `store` knows no network.
pub(super) fn no_socket_in_a_store(sources: &[Source]) -> Vec<String> {
    imports_below("framework/src/store", sources, |_, import| {
        let name = format!("{}::", import.name());
        let is_socket = SOCKETS.iter().any(|socket| name.starts_with(socket));
        is_socket.then(|| format!("a store imports `{}`", import.name()))
    })
}

/// `.clippy.toml` and the lints say who prints and who reads the environment; here is who is exempt from them.
pub(super) fn exempt_from_lints(sources: &[Source]) -> Vec<String> {
    imports_below("", sources, |source, import| {
        let is_exempt = match import.name().as_str() {
            "clippy::disallowed_methods" => {
                source.is_below("framework/src/config") || source.path == READS_NO_COLOR
            }
            "clippy::print_stdout" | "clippy::print_stderr" => source.is_below("framework/src/output"),
            _ => true,
        };
        (!is_exempt).then(|| format!("is not exempt from `{}`", import.name()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::made_up;

    fn broken_in(rule: fn(&[Source]) -> Vec<String>, path: &str, text: &str) -> Vec<String> {
        rule(&[made_up("app/main.rs", "#[command(name = \"task:start\")]"), made_up(path, text)])
    }

    #[test]
    fn the_application_and_the_commands_are_kept_apart() {
        let broken = |path, text| apart(&[made_up(path, text)]);
        assert_eq!(
            broken("app/task.rs", "use commands::list;"),
            ["app/task.rs:1: `app` imports `commands::list`"]
        );
        assert_eq!(broken("app/main.rs", "use commands as _;"), Vec::<String>::new());
        assert_eq!(broken("app/main.rs", "use commands::list;").len(), 1);
        assert_eq!(broken("commands/src/list.rs", "fn f() { think::run() }").len(), 1);
        assert_eq!(broken("framework/src/app.rs", "use commands as _;").len(), 1);
        assert_eq!(linked(&[made_up("app/main.rs", "// use commands as _;")]).len(), 1);
    }

    #[test]
    fn a_command_is_named_in_the_framework_only_by_its_tests() {
        let broken = |text| broken_in(no_command_by_name, "framework/src/server.rs", text);
        let said = "framework/src/server.rs:1: the framework names the command \"task:start\"";
        assert_eq!(broken("const START: &str = \"task:start\";"), [said]);
        assert_eq!(
            broken("// \"task:start\"\n#[cfg(test)]\nmod tests { f(\"task:start\") }"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_socket_in_a_store_is_found() {
        let broken = |text| broken_in(no_socket_in_a_store, "framework/src/store/redis.rs", text);
        let said = "framework/src/store/redis.rs:1: a store imports `tokio::net::TcpStream`";
        assert_eq!(broken("use tokio::{net::TcpStream, sync};"), [said]);
        assert_eq!(broken("fn f(_: std::net::IpAddr) {}").len(), 1);
    }

    #[test]
    fn an_exemption_from_the_lints_is_found() {
        let text = "#[expect(clippy::disallowed_methods, reason = \"in a hurry\")]";
        let said = "framework/src/server.rs:1: is not exempt from `clippy::disallowed_methods`";
        assert_eq!(broken_in(exempt_from_lints, "framework/src/server.rs", text), [said]);
    }
}
