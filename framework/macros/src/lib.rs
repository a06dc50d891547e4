//! `#[derive(Command)]` and `#[derive(Task)]`.

mod input;
mod command;
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
#[proc_macro_derive(Command, attributes(command))]
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
/// `blocking`, `concurrency` (how many tasks of one concurrency key run at once); `cron`
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
