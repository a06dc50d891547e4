//! Handlers that return something else, hold across an await what cannot move, or mix `blocking` with `async`.

use std::rc::Rc;

use framework::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Task)]
#[task(name = "number")]
struct Number;

impl Handle for Number {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> u32 {
        7
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "shared")]
struct Shared;

impl Handle for Shared {
    type Output = usize;

    async fn handle(self, _attempt: &Attempt) -> Result<usize> {
        let text = Rc::new("Hello");
        std::future::ready(()).await;
        Ok(text.len())
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "blocks", blocking)]
struct Blocks;

impl HandleBlocking for Blocks {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

fn main() {}
