//! A route: what the router and the OpenAPI document are made of.

use std::fmt;
use std::pin::Pin;

use axum::body::Body;
use axum::http::Response;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use super::asked::Asked;
use super::fault::Fault;
use crate::config::Role;

/// A method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Delete,
}

/// Who answers.
pub(super) type Handle = fn(Asked) -> Answering;

/// An answer on its way.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Fault>> + Send>>;

/// The schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A route.
pub(super) struct Route {
    pub(super) verb: Verb,
    /// With `{name}` for what varies.
    pub(super) path: &'static str,
    /// What somebody must be; `None`: it is for everybody.
    pub(super) needs: Option<Role>,
    /// The group that it belongs to.
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    /// What may come after the `?`: the fields of this type.
    pub(super) query: Option<SchemaOf>,
    pub(super) takes: Option<Takes>,
    pub(super) answers: Vec<Answer>,
    /// The statuses of its own refusals; those of the gate are common to all.
    pub(super) refuses: &'static [u16],
    pub(super) handle: Handle,
}

/// The body of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Takes {
    pub(super) schema: SchemaOf,
    /// Whether there must be one.
    pub(super) is_required: bool,
}

/// A form of the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    /// What it is, where that is a schema.
    pub(super) schema: Option<SchemaOf>,
    pub(super) text: &'static str,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("verb", &self.verb).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Route {
    pub(super) fn new(
        verb: Verb,
        path: &'static str,
        tag: &'static str,
        summary: &'static str,
        handle: Handle,
    ) -> Self {
        let (query, takes, answers) = (None, None, Vec::new());
        Self { verb, path, needs: Some(Role::Viewer), tag, summary, query, takes, answers, refuses: &[], handle }
    }

    /// Only for that role, and those above it.
    #[must_use]
    pub(super) fn needs(self, role: Role) -> Self {
        Self { needs: Some(role), ..self }
    }

    /// For everybody.
    #[must_use]
    pub(super) fn for_all(self) -> Self {
        Self { needs: None, ..self }
    }

    /// The fields of `T` may come after the `?`.
    #[must_use]
    pub(super) fn asks<T: JsonSchema>(self) -> Self {
        Self { query: Some(|generator| generator.root_schema_for::<T>()), ..self }
    }

    /// The body is a `T`; none is one without fields.
    #[must_use]
    pub(super) fn takes<T: JsonSchema + DeserializeOwned>(self) -> Self {
        let is_required = serde_json::from_str::<T>("{}").is_err();
        Self { takes: Some(Takes { schema: |generator| generator.subschema_for::<T>(), is_required }), ..self }
    }

    /// It answers a `T` in JSON.
    #[must_use]
    pub(super) fn answers<T: JsonSchema>(self) -> Self {
        let schema: SchemaOf = |generator| generator.subschema_for::<T>();
        self.answers_with(200, "application/json", Some(schema), "Done.")
    }

    /// It answers pieces of text, one after the other.
    #[must_use]
    pub(super) fn streams(self, kind: &'static str, text: &'static str) -> Self {
        self.answers_with(200, kind, None, text)
    }

    /// It answers this.
    #[must_use]
    pub(super) fn answers_with(
        mut self,
        status: u16,
        kind: &'static str,
        schema: Option<SchemaOf>,
        text: &'static str,
    ) -> Self {
        self.answers.push(Answer { status, kind, schema, text });
        self
    }

    /// It refuses with these statuses.
    #[must_use]
    pub(super) fn refuses(self, refuses: &'static [u16]) -> Self {
        Self { refuses, ..self }
    }
}
