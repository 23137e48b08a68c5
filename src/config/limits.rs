//! Limits of numbers: of a schema, and of the machine.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// The longest time that a configuration may name, in seconds: a year. Longer ones could overflow a clock.
const LONGEST_S: i128 = 31_536_000;

/// A number in a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Quantity {
    Integer(i128),
    Float(f64),
}

/// Limits of a number.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits<'s> {
    minimum: Option<&'s Number>,
    maximum: Option<&'s Number>,
    above: Option<&'s Number>,
    below: Option<&'s Number>,
    /// Limits that go without saying, from the format.
    machine: Option<(i128, i128)>,
}

impl<'s> Limits<'s> {
    pub(super) fn of(schema: &'s Value) -> Self {
        let number = |keyword: &str| match schema.get(keyword) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        };
        Self {
            minimum: number("minimum"),
            maximum: number("maximum"),
            above: number("exclusiveMinimum"),
            below: number("exclusiveMaximum"),
            machine: schema.get("format").and_then(Value::as_str).and_then(of_format),
        }
    }

    /// What the number would have to be, if it is outside: `from 0 to 255`.
    pub(super) fn objection(&self, value: Quantity) -> Option<String> {
        if let Some((low, high)) = self.machine {
            let (low, high) = (Number::from_i128(low), Number::from_i128(high));
            if let Some(limit) = high.filter(|limit| value.is(limit, Ordering::is_gt)) {
                return Some(self.range().unwrap_or_else(|| format!("at most {limit}")));
            }
            if let Some(limit) = low.filter(|limit| value.is(limit, Ordering::is_lt)) {
                return Some(self.range().unwrap_or_else(|| format!("at least {limit}")));
            }
        }
        let holds =
            |limit: Option<&Number>, allowed: fn(Ordering) -> bool| limit.is_none_or(|limit| value.is(limit, allowed));
        let hold = holds(self.minimum, Ordering::is_ge)
            && holds(self.maximum, Ordering::is_le)
            && holds(self.above, Ordering::is_gt)
            && holds(self.below, Ordering::is_lt);
        if hold { None } else { self.said() }
    }

    /// The limits in words, as they follow "a number": ` from 0 to 255`, ` above 0`; empty without.
    pub(super) fn words(&self) -> String {
        let words = self.said().unwrap_or_default();
        match words.split_once(' ') {
            None => words,
            Some(("at", _)) => format!(" of {words}"),
            Some(_) => format!(" {words}"),
        }
    }

    /// `from 0 to 255`, where both ends belong to the range and are worth saying.
    fn range(&self) -> Option<String> {
        let small = self.machine.filter(|(_, high)| *high <= u16::MAX.into());
        let low = self.minimum.map(plain).or_else(|| small.map(|(low, _)| low.to_string()));
        let high = self.maximum.map(plain).or_else(|| small.map(|(_, high)| high.to_string()));
        if self.above.is_some() || self.below.is_some() {
            return None;
        }
        Some(format!("from {} to {}", low?, high?))
    }

    /// The limits worth saying.
    fn said(&self) -> Option<String> {
        if let Some(range) = self.range() {
            return Some(range);
        }
        let above = self.above.map(|limit| format!("above {}", plain(limit)));
        let below = self.below.map(|limit| format!("below {}", plain(limit)));
        let lower = above.or(self.minimum.map(|limit| format!("at least {}", plain(limit))));
        let upper = below.or(self.maximum.map(|limit| format!("at most {}", plain(limit))));
        match (lower, upper) {
            (Some(lower), Some(upper)) => Some(format!("{lower} and {upper}")),
            (lower, upper) => lower.or(upper),
        }
    }
}

fn plain(number: &Number) -> String {
    number.to_string().trim_end_matches(".0").to_owned()
}

/// What a format of schemars, or our own `seconds`, can hold.
fn of_format(format: &str) -> Option<(i128, i128)> {
    Some(match format {
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "uint64" | "uint" => (0, u64::MAX.into()),
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "int64" | "int" => (i64::MIN.into(), i64::MAX.into()),
        "seconds" => (-LONGEST_S, LONGEST_S),
        _ => return None,
    })
}

impl Quantity {
    /// Whether it stands to a limit as asked.
    fn is(self, limit: &Number, asked: fn(Ordering) -> bool) -> bool {
        let whole = limit.as_i64().map(i128::from).or_else(|| limit.as_u64().map(i128::from));
        let real = limit.as_f64().unwrap_or(f64::NAN);
        let ordering = match (self, whole) {
            (Self::Integer(value), Some(limit)) => Some(value.cmp(&limit)),
            (Self::Integer(value), None) => (value as f64).partial_cmp(&real),
            (Self::Float(value), _) => value.partial_cmp(&real),
        };
        ordering.is_some_and(asked)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_said_if_they_are_worth_it_and_always_when_they_are_broken() {
        let table = [
            (json!({ "format": "uint8", "minimum": 0, "maximum": 255 }), " from 0 to 255", 256.0, "from 0 to 255"),
            (json!({ "format": "int8" }), " from -128 to 127", -129.0, "from -128 to 127"),
            (json!({ "format": "uint32", "minimum": 0 }), " of at least 0", -1.0, "at least 0"),
            (json!({ "format": "int32" }), "", 1e10, "at most 2147483647"),
            (json!({ "format": "int32" }), "", -1e10, "at least -2147483648"),
            (json!({ "format": "seconds", "exclusiveMinimum": 0 }), " above 0", 0.0, "above 0"),
            (
                json!({ "exclusiveMinimum": 0, "maximum": 1.5 }),
                " above 0 and at most 1.5",
                2.0,
                "above 0 and at most 1.5",
            ),
            (json!({ "exclusiveMaximum": 1 }), " below 1", 1.0, "below 1"),
        ];

        for (schema, words, broken_by, objection) in table {
            let limits = Limits::of(&schema);
            assert_eq!(limits.words(), words, "{schema}");
            assert_eq!(limits.objection(Quantity::Float(broken_by)).as_deref(), Some(objection), "{schema}");
        }
    }

    #[test]
    fn a_limit_of_64_bits_is_exact() {
        let schema = json!({ "format": "int64" });
        let limits = Limits::of(&schema);

        assert_eq!(limits.objection(Quantity::Integer(i64::MAX.into())), None);
        assert!(limits.objection(Quantity::Integer(i128::from(i64::MAX) + 1)).is_some());
    }
}
