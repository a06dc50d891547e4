//! The handler that does nothing, so that a benchmark measures the server alone.

use framework::prelude::*;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Do nothing
#[derive(Task)]
#[schemars(with = "serde_json::Value")]
#[task(name = "noop")]
struct Noop;

impl<'de> Deserialize<'de> for Noop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Serialize for Noop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl Handle for Noop {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}
