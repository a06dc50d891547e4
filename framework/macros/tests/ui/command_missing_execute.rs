//! A command that does nothing.

use framework::prelude::*;

#[derive(Args, Command)]
#[command(name = "demo:hello")]
struct Hello {
    name: String,
}

fn main() {}
