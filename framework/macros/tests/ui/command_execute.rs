//! Commands that return something else, or hold across an await what cannot move to another thread.

use std::rc::Rc;

use framework::prelude::*;

#[derive(Args, Command)]
#[command(name = "demo:number")]
struct Number;

impl Execute for Number {
    async fn execute(self, _app: &App, _output: &mut Output) -> u32 {
        7
    }
}

#[derive(Args, Command)]
#[command(name = "demo:shared")]
struct Shared;

impl Execute for Shared {
    async fn execute(self, _app: &App, output: &mut Output) -> Result<()> {
        let text = Rc::new("Hello");
        std::future::ready(()).await;
        output.line(text);
        Ok(())
    }
}

struct Plain;

fn main() {
    let _ = Console::new().command::<Plain>();
}
