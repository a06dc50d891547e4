//! Mistakes in what stands above a command.

use framework::prelude::*;

#[derive(Command)]
struct Nameless;

#[derive(Command)]
#[command(name = "Demo:Hello_World")]
struct BadName;

#[derive(Command)]
#[command(name = demo)]
struct Unquoted;

#[derive(Command)]
#[command(name = "demo:enum")]
enum Choice {}

#[derive(Command)]
#[command(name = "demo:generic")]
struct Generic<T>(T);

fn main() {}
