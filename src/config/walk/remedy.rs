//! How to write what was probably meant.

use serde_json::Value;
use toml::de::DeValue;

use super::union::is_of_type;
use crate::config::schema::{Form, quoted};

/// How to write what was probably meant.
pub(super) fn remedy(form: &Form<'_>, actual: &DeValue<'_>, path: &str) -> Option<String> {
    let write = |what: String| Some(format!("write {what}"));
    match (form, actual) {
        (Form::String(_), DeValue::Integer(integer)) => write(format!("it in quotes: \"{integer}\"")),
        (Form::String(_), DeValue::Float(float)) => write(format!("it in quotes: \"{float}\"")),
        (Form::String(_), DeValue::Boolean(boolean)) => write(format!("it in quotes: \"{boolean}\"")),
        (Form::String(_), DeValue::Datetime(date)) => write(format!("it in quotes: \"{date}\"")),
        (Form::Integer(_), DeValue::String(text)) if text.parse::<i64>().is_ok() => {
            write(format!("it without quotes: {text}"))
        }
        (Form::Number(_), DeValue::String(text)) if text.parse::<f64>().is_ok_and(f64::is_finite) => {
            write(format!("it without quotes: {text}"))
        }
        (Form::Integer(_), DeValue::Float(float)) => {
            let whole = float.as_str().strip_suffix(".0")?;
            write(format!("it without a fraction: {whole}"))
        }
        (Form::Boolean, DeValue::String(text)) => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" => write("`true`, without quotes".into()),
            "false" | "no" | "off" => write("`false`, without quotes".into()),
            _ => None,
        },
        (Form::Boolean, DeValue::Integer(integer)) => match integer.as_str() {
            "0" => write("`false`".into()),
            "1" => write("`true`".into()),
            _ => None,
        },
        (Form::List(node), value) if !value.is_array() => {
            let item = node.item(0)?.form();
            is_of_type(&item, value).then(|| "put it in brackets: […]".to_owned())
        }
        (Form::Table(_) | Form::StoreTable(_), _) => write(format!("a table: `[{path}]`, its keys below it")),
        (Form::Union(forms), value) => forms.iter().find_map(|form| remedy(form, value, path)),
        _ => None,
    }
}

/// A number in quotes where the number is a choice, or the other way round.
pub(super) fn remedy_for_choice(values: &[(&Value, Option<&str>)], actual: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let meant = values.iter().find(|(value, _)| text(value) == text(actual))?;
    Some(format!("write {}", quoted(meant.0)))
}
