//! The OpenAPI 3.1 document, made of the table of routes.
//!
//! Invariant: what a route takes and answers is described by the types that it reads and prints.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::fault::FaultBody;
use super::route::{Route, Verb};

/// What the gate itself may answer, and why.
const COMMON: [(u16, &str); 3] = [
    (400, "The request is no HTTP that can be understood: no host, a path that is no text."),
    (421, "This server does not have the name that the request gives it."),
    (429, "Too many requests of this address; `Retry-After` says how long to wait."),
];

/// What the gate may answer where somebody must be known, and where there is a body.
const OF_TOKENS: (u16, &str) = (401, "There is no token, or none that counts.");
const FORBIDDEN: (u16, &str) = (403, "The role does not allow it, or a web page of another origin asks.");
const OF_BODIES: [(u16, &str); 3] = [
    (408, "The body was not whole in time."),
    (413, "The body is too large."),
    (415, "The body is not `application/json`."),
];

/// What a route's own refusals say.
fn meaning(status: u16) -> &'static str {
    match status {
        404 => "There is no such node or job.",
        409 => "It cannot be done as things are.",
        422 => "What came cannot be used; the text says what is wrong.",
        500 => "A fault of the node; its log says more.",
        503 => "The node is about to end, or has as many streams as it may.",
        504 => "The node did not answer in time.",
        _ => "Refused.",
    }
}

/// The document.
pub(super) fn document(routes: &[Route]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = SchemaGenerator::new(settings);
    let fault = generator.subschema_for::<FaultBody>().to_value();
    let mut paths = Map::new();
    for route in routes {
        let verb = match route.verb {
            Verb::Get => "get",
            Verb::Post => "post",
            Verb::Delete => "delete",
        };
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[verb] = operation(route, verb, &mut generator, &fault);
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "enrgdaq",
            "description": "Asks and commands one node or many. `{id}` is a node's `supervisor_id`, or `self` for the one that answers.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "`enrgdaq token add NAME --role ROLE` makes one."}},
        },
        "security": [{"token": []}],
    })
}

fn operation(route: &Route, verb: &str, generator: &mut SchemaGenerator, fault: &Value) -> Value {
    let mut operation = json!({
        "operationId": operation_id(verb, route.path),
        "tags": [route.tag],
        "summary": route.summary,
        "parameters": parameters(route, generator),
        "responses": responses(route, generator, fault),
    });
    match route.needs {
        Some(role) => operation["x-role"] = role.name().into(),
        None => operation["security"] = json!([]),
    }
    if let Some(takes) = route.takes {
        let schema = (takes.schema)(generator).to_value();
        operation["requestBody"] =
            json!({"required": takes.is_required, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

fn operation_id(verb: &str, path: &str) -> String {
    let words = path.split(['/', '.', '-', '{', '}']).filter(|word| !word.is_empty());
    std::iter::once(verb).chain(words).collect::<Vec<_>>().join("_")
}

fn parameters(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let parts = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parts = parts.map(|name| {
        let text = match name {
            "id" => "A node's `supervisor_id`, or `self`.",
            _ => "A job's name.",
        };
        json!({"name": name, "in": "path", "required": true, "description": text, "schema": {"type": "string", "minLength": 1}})
    });
    let mut all: Vec<_> = parts.collect();
    if let Some(query) = route.query {
        let schema = query(generator).to_value();
        let fields = schema["properties"].as_object().cloned().unwrap_or_default();
        all.extend(fields.into_iter().map(|(name, field)| query_parameter(&name, field)));
    }
    all
}

/// A field of a query; one that may be missing cannot be null there.
fn query_parameter(name: &str, mut field: Value) -> Value {
    let text = field["description"].take();
    if let Some(field) = field.as_object_mut() {
        field.remove("description");
        field.retain(|_, value| !value.is_null());
    }
    let plain = field["type"].as_array().and_then(|kinds| kinds.iter().find(|kind| *kind != "null").cloned());
    if let Some(plain) = plain {
        field["type"] = plain;
    }
    json!({"name": name, "in": "query", "required": false, "description": text, "schema": field})
}

fn responses(route: &Route, generator: &mut SchemaGenerator, fault: &Value) -> Value {
    let id =
        json!({"X-Request-Id": {"description": "The request's id, also in the log.", "schema": {"type": "string"}}});
    let mut responses = Map::new();
    for answer in &route.answers {
        let schema = answer.schema.map_or_else(|| json!({"type": "string"}), |schema| schema(generator).to_value());
        let entry = responses.entry(answer.status.to_string());
        let entry = entry.or_insert_with(|| json!({"description": answer.text, "headers": id, "content": {}}));
        entry["content"][answer.kind] = json!({"schema": schema});
    }
    let of_bodies = OF_BODIES.iter().filter(|_| route.verb != Verb::Get);
    let common = COMMON.iter().chain([&OF_TOKENS, &FORBIDDEN]).chain(of_bodies).copied();
    let own = route.refuses.iter().map(|status| (*status, meaning(*status)));
    for (status, text) in common.chain(own) {
        let refusal = json!({"description": text, "headers": id, "content": {"application/json": {"schema": fault}}});
        responses.entry(status.to_string()).or_insert(refusal);
    }
    responses.into()
}

#[cfg(test)]
mod tests {
    use super::super::routes::routes;
    use super::*;

    #[test]
    fn every_route_and_every_reference_is_in_the_document() {
        let document = document(routes());

        let mut operations = Vec::new();
        for path in document["paths"].as_object().unwrap().values() {
            operations.extend(path.as_object().unwrap().values().map(|operation| operation["operationId"].to_string()));
        }
        assert_eq!(operations.len(), routes().len());
        operations.sort_unstable();
        operations.dedup();
        assert_eq!(operations.len(), routes().len(), "each has an id of its own");
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let name = reference.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{reference}"));
            assert!(schemas.contains_key(name), "{name}");
        }
    }

    #[test]
    fn what_changes_something_needs_more_than_a_look_and_says_so() {
        let document = document(routes());
        for route in routes().iter().filter(|route| route.verb != Verb::Get) {
            let verb = if route.verb == Verb::Post { "post" } else { "delete" };
            let role = &document["paths"][route.path][verb]["x-role"];
            let may_look = ["/clients/{id}/ping", "/api/v1/nodes/{id}/command"].contains(&route.path);
            assert_eq!(role == "viewer", may_look, "{}", route.path);
        }
    }
}
