//! Message types as somebody outside gives them: a name, the JSON Schema of the fields, and what makes a message of them.
//!
//! A message for the stores carries its `store_config` and `tag` beside its fields, since no job stands behind it that has
//! them.
//!
//! Invariant: JSON of any form gives a message or the field at fault, never a panic. What the schema says beyond the types
//! (limits, unknown fields) is checked before, by whoever knows schemas: [`Catalog::read_message`].
//!
//! [`Catalog::read_message`]: crate::config::Catalog::read_message

use base64::prelude::{BASE64_STANDARD, Engine as _};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;

use super::body::{Body, StoreRaw, StoreTabular};
use super::envelope::{EncodeError, Message};
use super::payload::{Payload, PayloadKind};
use super::store_config::StoreConfig;

/// A message type that can be given as JSON.
#[derive(Debug, Clone)]
pub struct MessageKind {
    name: &'static str,
    schema: Schema,
    read: fn(&Value) -> Result<Message, BadField>,
}

/// Why JSON is no message of a type.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{why}", place(field))]
pub struct BadField {
    /// Dotted path; empty: the message as a whole.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

fn place(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("`{field}`: ") }
}

impl BadField {
    pub(crate) fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}

impl From<EncodeError> for BadField {
    fn from(error: EncodeError) -> Self {
        Self::new("", crate::error_chain(&error))
    }
}

impl MessageKind {
    /// A type whose fields are its body. Limits in its schema are kept, and fields that it does not know are refused.
    #[must_use]
    pub fn of<B: Body + JsonSchema>() -> Self {
        Self { name: B::TYPE, schema: schema_for!(B), read: |fields| Ok(Message::of(&decode::<B>(fields)?)?) }
    }

    /// Rows for the stores that its `store_config` names.
    #[must_use]
    pub fn store_tabular() -> Self {
        Self { name: StoreTabular::TYPE, schema: schema_for!(Tabular), read: read_tabular }
    }

    /// Bytes for the stores that its `store_config` names.
    #[must_use]
    pub fn store_raw() -> Self {
        Self { name: StoreRaw::TYPE, schema: schema_for!(Raw), read: read_raw }
    }

    /// The public name, such as `DAQJobMessageStop`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What its fields may be; its description is that of the type.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// A message of these fields.
    ///
    /// # Errors
    /// The first field that does not fit its type.
    pub fn message(&self, fields: &Value) -> Result<Message, BadField> {
        (self.read)(fields)
    }
}

fn decode<T: DeserializeOwned>(fields: &Value) -> Result<T, BadField> {
    serde_path_to_error::deserialize(fields).map_err(|error| {
        let path = error.path().to_string();
        let why = error.into_inner().to_string();
        BadField::new(if path == "." { String::new() } else { path }, why)
    })
}

/// Rows for stores.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tabular {
    /// Which stores keep the rows, and where.
    store_config: StoreConfig,
    /// Sorts the rows into files or tables of their own.
    #[serde(default)]
    tag: Option<String>,
    /// Names of the columns.
    #[schemars(length(min = 1), example = ["timestamp", "value"])]
    keys: Vec<String>,
    /// Rows, each as long as `keys`.
    #[schemars(example = json!([[1_790_000_000_000_i64, 20.5]]))]
    data: Vec<Vec<Value>>,
}

/// Bytes for stores.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Raw {
    /// Which stores keep the bytes, and where.
    store_config: StoreConfig,
    /// Sorts the bytes into files or keys of their own.
    #[serde(default)]
    tag: Option<String>,
    /// The bytes, in base64.
    #[schemars(extend("contentEncoding" = "base64"), example = &"aGVsbG8=")]
    data: String,
}

fn read_tabular(fields: &Value) -> Result<Message, BadField> {
    let Tabular { store_config, tag, keys, data } = decode(fields)?;
    let columns = keys.len();
    if let Some((row, cells)) = data.iter().enumerate().find(|(_, cells)| cells.len() != columns) {
        let why = format!("a row has as many cells as there are `keys`: {columns}, not {}", cells.len());
        return Err(BadField::new(format!("data[{row}]"), why));
    }
    Ok(for_stores(Message::of(&StoreTabular { keys, data })?, &store_config, tag))
}

fn read_raw(fields: &Value) -> Result<Message, BadField> {
    let Raw { store_config, tag, data } = decode(fields)?;
    let bytes = BASE64_STANDARD.decode(data).map_err(|error| BadField::new("data", format!("no base64: {error}")))?;
    let message = Message::of(&StoreRaw {})?.with_payload(Payload { kind: PayloadKind::Raw, bytes });
    Ok(for_stores(message, &store_config, tag))
}

fn for_stores(message: Message, stores: &StoreConfig, tag: Option<String>) -> Message {
    let message = message.for_stores(stores);
    tag.into_iter().fold(message, Message::with_tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Heartbeat, Stop};

    fn refused(kind: &MessageKind, fields: Value) -> String {
        kind.message(&fields).unwrap_err().to_string()
    }

    #[test]
    fn fields_become_the_body_of_a_message() {
        let stop = MessageKind::of::<Stop>().message(&json!({ "reason": "shift over" })).unwrap();

        assert_eq!(stop, Message::of(&Stop { reason: "shift over".into() }).unwrap());
    }

    #[test]
    fn rows_carry_where_they_are_to_be_stored() {
        let stores = json!({ "csv": { "file_path": "a.csv" }, "target_local_supervisor": true });
        let fields = json!({ "store_config": stores, "tag": "t", "keys": ["a"], "data": [[1], [null]] });

        let rows = MessageKind::store_tabular().message(&fields).unwrap();

        assert_eq!((rows.kind, rows.tag.as_deref(), rows.local), (StoreTabular::TYPE, Some("t"), true));
        assert_eq!(rows.store_config.unwrap().backends["csv"], json!({ "file_path": "a.csv" }));
    }

    #[test]
    fn bytes_come_out_of_base64() {
        let fields = json!({ "store_config": { "raw": { "file_path": "a" } }, "tag": null, "data": "aGVsbG8=" });

        let raw = MessageKind::store_raw().message(&fields).unwrap();

        assert_eq!(raw.payloads, [Payload { kind: PayloadKind::Raw, bytes: b"hello".to_vec() }]);
    }

    #[test]
    fn a_field_that_does_not_fit_is_named() {
        let beat = MessageKind::of::<Heartbeat>();
        let rows = |more: Value| {
            let mut fields = json!({ "store_config": { "csv": {} }, "keys": ["a"], "data": [] });
            fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            refused(&MessageKind::store_tabular(), fields)
        };

        assert_eq!(refused(&beat, json!({ "next_in_ms": 1 })), "missing field `progress`");
        assert!(refused(&beat, json!({ "next_in_ms": -1, "progress": 0 })).starts_with("`next_in_ms`: "));
        assert!(refused(&beat, json!([])).contains("invalid"), "{}", refused(&beat, json!([])));
        assert!(rows(json!({ "keys": [1] })).starts_with("`keys[0]`: "));
        assert_eq!(
            rows(json!({ "data": [[1], [1, 2]] })),
            "`data[1]`: a row has as many cells as there are `keys`: 1, not 2"
        );
        let raw = json!({ "store_config": {}, "data": "no!" });
        assert!(refused(&MessageKind::store_raw(), raw).starts_with("`data`: no base64: "));
    }
}
