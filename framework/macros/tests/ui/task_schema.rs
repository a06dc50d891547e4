//! A schema that is said to be that of a type without one.

use framework::prelude::*;
use serde::{Deserialize, Serialize};

struct NoSchema;

#[derive(Serialize, Deserialize, Task)]
#[task(name = "tells_a_type_without_a_schema")]
struct Tells {
    #[schemars(with = "NoSchema")]
    to: String,
}

impl Handle for Tells {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

fn main() {}
