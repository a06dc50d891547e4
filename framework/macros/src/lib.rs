//! `#[derive(Command)]`, `#[derive(Task)]` and `markup!`.

mod input;
mod command;
mod markup;
mod task;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Registers a command. It is derived together with clap's `Args`, and takes the name from the attribute
/// that clap reads too:
///
/// ```text
/// /// Greet somebody
/// #[derive(Args, Command)]
/// #[command(name = "demo:hello", alias = "hi")]
/// struct Hello { .. }
/// ```
///
/// The doc comment is the help; `alias`, `visible_alias`, `hide` and every other option in `#[command(..)]`
/// are clap's.
///
/// `#[ask]` on a field: if this argument is missing, a person at a terminal is asked for it. The question is
/// its help, or the text in `#[ask("Name:")]`; `#[ask("Password:", secret)]` does not show what is typed.
/// Nobody is asked with `-n`, without a terminal, or where `CI` is set: then it is the usual error.
#[proc_macro_derive(Command, attributes(command, ask))]
pub fn command(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    command::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Registers a task type and its handler:
///
/// ```text
/// #[derive(Serialize, Deserialize, Task)]
/// #[task(name = "send_mail", queue = "mail", attempts = 5, timeout = "30s")]
/// struct SendMail { .. }
/// ```
///
/// Options: `name`, `queue`, `priority` (0 to 9), `attempts`, `timeout` and `backoff` (`"30s"`, `"2m"`),
/// `blocking`, `isolated` (attempts run in child processes of the server), `concurrency` (how many tasks of
/// one concurrency key run at once), `retention` (`"7d"`, how long ended ones are kept); `cron`
/// (`"0 9 * * mon-fri"`) with `timezone` (`"Asia/Shanghai"`), `missed` (`"skip"`, `"once"` or `"all"`) and
/// `overlap` (`"allow"` or `"skip"`).
///
/// The fields with their documentation and serde's attributes make the JSON Schema of the arguments;
/// `#[schemars(..)]` on a field takes precedence. A type of your own that only derives serde's traits allows
/// any value there, unless it also has `#[derive(JsonSchema)] #[schemars(crate = "framework::schemars")]`.
#[proc_macro_derive(Task, attributes(task, schemars))]
pub fn task(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    task::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// A text with colours, for `Output::line` and the like: `<info>` (green), `<comment>` (yellow), `<question>`
/// (black on cyan), `<error>` (white on red), `<highlight>` (red) and `<warning>` (black on yellow). Each
/// ends with its own name or with `</>`.
///
/// Tags are read when the program is compiled, and stand in the text alone: an argument is shown as it is,
/// whatever there is in it. `\\<` is a `<` that begins no tag.
///
/// ```text
/// output.line(markup!("<info>{name}</info> has <comment>{}</> tasks", count));
/// ```
#[proc_macro]
pub fn markup(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as markup::Markup);
    markup::expand(input).unwrap_or_else(syn::Error::into_compile_error).into()
}
