//! A JSON Schema, read as what it says to a person who writes a TOML file.
//!
//! It understands what schemars makes of a serde type: references, optional fields, enums of names, tagged unions,
//! ranges, lists, tables. What it does not understand it takes for [`Form::Anything`]: the job type's own check
//! stands behind it.

use schemars::Schema;
use serde_json::Value;

use super::limits::Limits;

/// Name of the definition that stands for a table of backends.
const STORE_TABLE: &str = "#/$defs/DAQJobStoreConfig";

/// A place in a schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'s> {
    root: &'s Value,
    here: &'s Value,
}

/// What may stand at a place.
#[derive(Debug, Clone)]
pub(super) enum Form<'s> {
    Anything,
    /// A table of backends, `store_config`; the node has the keys that are none.
    StoreTable(Node<'s>),
    /// One of these values, each with its description.
    Choice(Vec<(&'s Value, Option<&'s str>)>),
    Boolean,
    Integer(Limits<'s>),
    Number(Limits<'s>),
    String(Node<'s>),
    List(Node<'s>),
    Table(Node<'s>),
    Union(Vec<Form<'s>>),
}

/// What a table says of keys that it does not name.
pub(super) enum Others<'s> {
    Refused,
    Anything,
    Each(Node<'s>),
    /// Keys must be whole numbers.
    Numbered(Node<'s>),
}

impl<'s> Node<'s> {
    pub(super) fn root(schema: &'s Schema) -> Self {
        Self { root: schema.as_value(), here: schema.as_value() }
    }

    fn at(self, here: &'s Value) -> Self {
        Self { here, ..self }
    }

    /// What is meant, behind references.
    fn resolved(self) -> Self {
        let mut node = self;
        // Bounded, for a schema that refers to itself in a circle.
        for _ in 0..16 {
            let Some(pointer) = node.here.get("$ref").and_then(Value::as_str) else {
                break;
            };
            let Some(target) = pointer.strip_prefix('#').and_then(|pointer| node.root.pointer(pointer)) else {
                break;
            };
            node = node.at(target);
        }
        node
    }

    /// The description given here, or else that of the type, also of an optional one.
    pub(super) fn description(self) -> Option<&'s str> {
        let of = |node: Self| node.here.get("description").and_then(Value::as_str);
        let optional = || self.parts("anyOf").find(|part| !part.is_null()).and_then(|part| of(part.resolved()));
        of(self).or_else(|| of(self.resolved())).or_else(optional)
    }

    pub(super) fn default(self) -> Option<&'s Value> {
        self.here.get("default").filter(|default| !default.is_null())
    }

    pub(super) fn is_deprecated(self) -> bool {
        self.here.get("deprecated").and_then(Value::as_bool) == Some(true)
    }

    /// The named keys of a table, also those of its variants.
    pub(super) fn properties(self) -> Vec<(&'s str, Node<'s>)> {
        let node = self.resolved();
        let mut found: Vec<(&str, Node<'_>)> = Vec::new();
        if let Some(properties) = node.here.get("properties").and_then(Value::as_object) {
            found.extend(properties.iter().map(|(key, value)| (key.as_str(), node.at(value))));
        }
        for variant in ["oneOf", "anyOf", "allOf"].iter().flat_map(|key| node.parts(key)) {
            for (key, property) in variant.properties() {
                if found.iter().all(|(known, _)| *known != key) {
                    found.push((key, property));
                }
            }
        }
        found
    }

    pub(super) fn required(self) -> Vec<&'s str> {
        let listed = self.resolved().here.get("required").and_then(Value::as_array);
        listed.map(|keys| keys.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    }

    pub(super) fn others(self) -> Others<'s> {
        let node = self.resolved();
        if let Some(patterns) = node.here.get("patternProperties").and_then(Value::as_object)
            && let Some(value) = patterns.values().next()
        {
            let numbered = patterns.keys().all(|pattern| pattern.contains(r"\d"));
            return if numbered { Others::Numbered(node.at(value)) } else { Others::Each(node.at(value)) };
        }
        let refused = |key: &str| node.here.get(key) == Some(&Value::Bool(false));
        match node.here.get("additionalProperties") {
            _ if refused("additionalProperties") || refused("unevaluatedProperties") => Others::Refused,
            Some(each @ Value::Object(_)) => Others::Each(node.at(each)),
            _ => Others::Anything,
        }
    }

    /// Whether a table says that it takes keys that it does not name.
    pub(super) fn takes_others(self) -> bool {
        self.resolved().here.get("additionalProperties") == Some(&Value::Bool(true))
    }

    /// Whether null may stand here.
    pub(super) fn allows_null(self) -> bool {
        let node = self.resolved();
        let is_listed = |key: &str, null: Value| {
            node.here.get(key).and_then(Value::as_array).is_some_and(|listed| listed.contains(&null))
        };
        node.is_null()
            || is_listed("type", "null".into())
            || is_listed("enum", Value::Null)
            || ["anyOf", "oneOf"].iter().flat_map(|key| node.parts(key)).any(Node::allows_null)
    }

    /// What each item of a list must be.
    pub(super) fn item(self, index: usize) -> Option<Node<'s>> {
        let tuple = self.here.get("prefixItems").and_then(|items| items.get(index));
        tuple.or_else(|| self.here.get("items")).map(|item| self.at(item))
    }

    /// A limit on a length: `minItems`, `maxLength` …
    pub(super) fn length(self, keyword: &str) -> Option<usize> {
        self.here.get(keyword).and_then(Value::as_u64).and_then(|length| usize::try_from(length).ok())
    }

    fn parts(self, keyword: &str) -> impl Iterator<Item = Node<'s>> + use<'s> {
        self.here.get(keyword).and_then(Value::as_array).into_iter().flatten().map(move |part| self.at(part))
    }

    /// What may stand here.
    pub(super) fn form(self) -> Form<'s> {
        if self.here.get("$ref").and_then(Value::as_str) == Some(STORE_TABLE) {
            return Form::StoreTable(self);
        }
        let node = self.resolved();
        let described = node.here.get("description").and_then(Value::as_str);
        if let Some(only) = node.here.get("const") {
            return Form::Choice(vec![(only, described)]);
        }
        if let Some(values) = node.here.get("enum").and_then(Value::as_array) {
            return Form::Choice(values.iter().filter(|value| !value.is_null()).map(|value| (value, None)).collect());
        }
        if node.here.get("properties").is_none() {
            let variants: Vec<_> = ["anyOf", "oneOf"].iter().flat_map(|key| node.parts(key)).collect();
            if !variants.is_empty() {
                return united(variants.into_iter().filter(|variant| !variant.is_null()).map(Node::form).collect());
            }
            let mut all = node.parts("allOf");
            if let (Some(only), None) = (all.next(), all.next()) {
                return only.form();
            }
        }
        let names: Vec<&str> = match node.here.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).filter(|n| *n != "null").collect(),
            _ if node.here.get("properties").is_some() => vec!["object"],
            _ => vec![],
        };
        united(names.into_iter().map(|name| node.of_type(name)).collect())
    }

    fn is_null(&self) -> bool {
        self.here.get("type").and_then(Value::as_str) == Some("null") || self.here.get("const") == Some(&Value::Null)
    }

    fn of_type(self, name: &str) -> Form<'s> {
        match name {
            "boolean" => Form::Boolean,
            "integer" => Form::Integer(Limits::of(self.here)),
            "number" => Form::Number(Limits::of(self.here)),
            "string" => Form::String(self),
            "array" => Form::List(self),
            "object" => Form::Table(self),
            _ => Form::Anything,
        }
    }

    /// The value that a key must have in this variant of a tagged union.
    pub(super) fn tag(self, key: &str) -> Option<&'s str> {
        self.resolved().here.get("properties")?.get(key)?.get("const")?.as_str()
    }
}

/// Several forms as one: the only one, one choice of all choices, or a union.
fn united(mut forms: Vec<Form<'_>>) -> Form<'_> {
    if forms.iter().all(|form| matches!(form, Form::Choice(_))) && !forms.is_empty() {
        let values = forms.into_iter().flat_map(|form| match form {
            Form::Choice(values) => values,
            _ => Vec::new(),
        });
        return Form::Choice(values.collect());
    }
    match forms.len() {
        0 => Form::Anything,
        1 => forms.remove(0),
        _ => Form::Union(forms),
    }
}

impl Form<'_> {
    /// What is expected, with its article: `an integer from 0 to 255`.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Anything => "a value".into(),
            Self::StoreTable(_) => "a table of backends".into(),
            Self::Choice(values) if values.len() == 1 => values.iter().map(|(value, _)| quoted(value)).collect(),
            Self::Choice(values) => {
                let values: Vec<_> = values.iter().map(|(value, _)| quoted(value)).collect();
                format!("one of {}", values.join(", "))
            }
            Self::Boolean => "`true` or `false`".into(),
            Self::Integer(limits) => format!("an integer{}", limits.words()),
            Self::Number(limits) => format!("a number{}", limits.words()),
            Self::String(_) => "a string".into(),
            Self::List(node) => match node.item(0).map(Node::form) {
                None | Some(Self::Anything) => "a list".into(),
                Some(item) => format!("a list of {}", item.plural()),
            },
            Self::Table(node) => match node.others() {
                Others::Each(each) | Others::Numbered(each) if node.properties().is_empty() => {
                    format!("a table of {}", each.form().plural())
                }
                _ => "a table".into(),
            },
            Self::Union(forms) => {
                let mut words: Vec<_> = forms.iter().map(Form::words).collect();
                words.dedup();
                words.join(" or ")
            }
        }
    }

    fn plural(&self) -> String {
        match self {
            Self::Anything => "values".into(),
            Self::StoreTable(_) | Self::Table(_) => "tables".into(),
            Self::Choice(values) => values.iter().map(|(value, _)| quoted(value)).collect::<Vec<_>>().join(", "),
            Self::Boolean => "booleans".into(),
            Self::Integer(limits) => format!("integers{}", limits.words()),
            Self::Number(limits) => format!("numbers{}", limits.words()),
            Self::String(_) => "strings".into(),
            Self::List(_) => "lists".into(),
            Self::Union(forms) => forms.iter().map(Form::plural).collect::<Vec<_>>().join(" or "),
        }
    }
}

/// A value as one writes it in TOML.
pub(super) fn quoted(value: &Value) -> String {
    format!("`{value}`")
}

/// The first sentence of a doc comment, in one line, without its full stop.
pub(super) fn first_sentence(doc: &str) -> String {
    let paragraph = doc.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let sentence = paragraph.split(". ").next().unwrap_or_default();
    sentence.trim().trim_end_matches('.').to_owned()
}
