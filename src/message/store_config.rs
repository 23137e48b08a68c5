//! `store_config`: which stores a producer's messages are for, and how each is to write them.
//!
//! In TOML one table a backend, `[store_config.csv] file_path = "a.csv"`; in the envelope the same as a map. This
//! module knows no backend: which keys exist, and what stands in each table, the job types say that serve them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Where a message is to be stored: a table a backend.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreConfig {
    /// Only stores of this supervisor take the message; those of other nodes do not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub target_local_supervisor: bool,
    /// Backend key (`csv`, `memory`, …) → the backend's own table.
    #[serde(flatten)]
    pub backends: BTreeMap<String, serde_json::Value>,
}

impl StoreConfig {
    /// The table of one backend, decoded; `None` where the message is not for that backend.
    ///
    /// # Errors
    /// What serde says of a table that does not fit the backend's type.
    pub fn target<T: DeserializeOwned>(&self, backend: &str) -> Option<Result<T, serde_json::Error>> {
        self.backends.get(backend).map(T::deserialize)
    }
}

impl JsonSchema for StoreConfig {
    fn schema_name() -> Cow<'static, str> {
        "DAQJobStoreConfig".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "Which stores keep what the job produces: one table a backend.",
            "properties": {
                "target_local_supervisor": {
                    "type": "boolean",
                    "default": false,
                    "description": "Only stores of this supervisor take the messages."
                }
            },
            "additionalProperties": true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_table_comes_back_as_its_type() {
        #[derive(Debug, Deserialize, PartialEq)]
        struct Csv {
            file_path: String,
        }
        let config: StoreConfig = toml::from_str("[csv]\nfile_path = \"a.csv\"").unwrap();

        let csv = config.target::<Csv>("csv").unwrap().unwrap();

        assert_eq!(csv, Csv { file_path: "a.csv".into() });
        assert!(config.target::<Csv>("memory").is_none());
    }
}
