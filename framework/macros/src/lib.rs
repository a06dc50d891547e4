//! `#[derive(Command)]` and `#[derive(Task)]`.

use proc_macro::TokenStream;

/// Registers a command.
#[proc_macro_derive(Command, attributes(command))]
pub fn command(_input: TokenStream) -> TokenStream {
    TokenStream::new()
}

/// Registers the handler of a task.
#[proc_macro_derive(Task, attributes(task))]
pub fn task(_input: TokenStream) -> TokenStream {
    TokenStream::new()
}
