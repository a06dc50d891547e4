//! Tasks that cannot be decoded, or that nothing runs.

use framework::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Task)]
#[task(name = "undecodable")]
struct Undecodable;

impl Handle for Undecodable {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "unhandled")]
struct Unhandled;

#[derive(Serialize, Deserialize, Task)]
#[task(name = "blocks", blocking)]
struct Blocks;

impl Handle for Blocks {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

fn main() {}
