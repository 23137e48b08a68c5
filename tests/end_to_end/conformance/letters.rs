//! What every backend is sent.

use serde_json::{Value, json};

use super::Backend;

/// Texts that have broken others.
const TEXTS: [&str; 24] = [
    "plain",
    "",
    " space ",
    "com,ma",
    "quo\"te",
    "\"quoted\"",
    "it's",
    "new\nline",
    "a\r\nb",
    "\r",
    "\n",
    "tab\t",
    "nul\0l",
    "\0",
    "back\\slash\\",
    "\u{1}\u{1b}\u{7f}",
    "e\u{301} is é",
    "𝄞 👩‍🔬",
    "שלום \u{202e}abc",
    "\u{feff}bom",
    "=1+1",
    "NaN",
    "null",
    "NULL\\N",
];

/// The same for all backends: each type with its limits, empty tables, columns that change, tags, bytes, old-style rows.
pub(super) fn of_all_types<B: Backend>() -> Value {
    let to = |place: &str| B::store_config(place, false);
    let all_bytes: String = (0..=255).map(|byte| format!("{byte:02x}")).collect();
    let values = numbers(&to("numbers"));
    let others = json!([
        {"store": to("texts"), "columns": [["n", {"range": [0, TEXTS.len()]}], ["Wörter [µ]", TEXTS]]},
        {"store": to("texts"), "columns": [["n", {"range": [0, TEXTS.len()]}], ["Wörter [µ]", {"large": TEXTS}]]},
        {"store": to("names"), "columns": [["x, \"y\"", ["cell"]], ["a\nb", ["cell"]]]},
        {"store": to("single"), "columns": [["one", ["", null, "x", ""]]]},
        {"store": to("nulls"), "columns": [["none", {"null": 2}], ["n", {"int": [null, null]}], ["x", {"float": ["1", null]}]]},
        {"store": to("blobs"), "columns": [["n", {"int": [1, 2, 3]}], ["b", {"binary": [{"hex": all_bytes}, "", null]}]]},
        {"store": to("dates"), "columns": [["day", {"date": [0, 20_000]}]]},
        {"store": to("empty"), "columns": [["a", {"int": []}], ["b", []]]},
        {"store": to("filled"), "columns": [["a", {"int": []}], ["b", []]]},
        {"store": to("filled"), "columns": [["a", {"int": [1]}], ["b", ["x"]]]},
        {"store": to("filled"), "columns": [["a", {"int": []}], ["b", []]]},
        {"store": to("nothing"), "columns": []},
        {"store": to("hollow"), "rows": 3},
        {"store": to("no_rows"), "keys": ["a", "b"], "data": []},
        {"store": to("no_keys"), "keys": [], "data": []},
        {"store": to("tags"), "tag": "a", "columns": [["n", {"int": [1, 2]}]]},
        {"store": to("tags"), "tag": "b", "columns": [["n", {"int": [3]}]]},
        {"store": to("tags"), "columns": [["n", {"int": [4]}]]},
        {"store": to("tags"), "tag": "a", "columns": [["n", {"int": [5]}]]},
        {"store": to("raw"), "raw": {"hex": all_bytes}},
        {"store": to("raw"), "tag": "a", "raw": ""},
        {"store": to("records"), "records": ["one", "", {"hex": all_bytes}, "three"]},
        {"store": to("records"), "records": []},
        {"store": to("old"), "keys": ["n", "text", "x", "on", "any"], "data": [
            [1, "ä \"q\", \n", 1, true, [1, "x"]],
            [i64::MIN, null, 2.5, false, {"key": null}],
            [i64::MAX, "", null, null, "text"],
        ]},
        {"store": to("old"), "keys": ["big", "x"], "data": [[u64::MAX, 1e300], [0, -0.5]]},
    ]);
    let all = [values, changes(&to("changes")), others];
    all.iter().flat_map(|part| part.as_array().unwrap()).cloned().collect()
}

fn numbers(store: &Value) -> Value {
    let floats = ["NaN", "inf", "-inf", "-0.0", "0.0", "5e-324", "2.2250738585072014e-308", "1.7976931348623157e308"];
    let small = ["NaN", "inf", "-inf", "-0.0", "0.0", "1e-45", "0.1", "3.4028235e38"];
    json!([
        {"store": store, "columns": [
            ["i", {"int": [i64::MIN, i64::MAX, null, -1, 0, 1, 9_007_199_254_740_993_i64, -42]}],
            ["u", {"uint": [0, u64::MAX, null, 9_223_372_036_854_775_808_u64, i64::MAX, 1, 2, 3]}],
            ["x", {"float": floats}],
            ["f", {"float32": small}],
            ["b", {"bool": [true, false, null, true, false, true, false, null]}],
        ]},
        {"store": store, "columns": [
            ["i", {"int": [7, null]}], ["u", {"uint": [7, null]}], ["x", {"float": ["0.1", null]}],
            ["f", {"float32": ["16777216", null]}], ["b", {"bool": [null, true]}],
        ]},
        {"store": store, "tag": "narrow", "columns": [
            ["i8", {"int8": [i8::MIN, i8::MAX, null]}], ["i16", {"int16": [i16::MIN, i16::MAX, null]}],
            ["i32", {"int32": [i32::MIN, i32::MAX, null]}], ["u8", {"uint8": [0, u8::MAX, null]}],
            ["u16", {"uint16": [0, u16::MAX, null]}], ["u32", {"uint32": [0, u32::MAX, null]}],
        ]},
    ])
}

/// One place, in mid-stream: a column more, one less, another order, another type, and as it was.
fn changes(store: &Value) -> Value {
    json!([
        {"store": store, "columns": [["a", {"int": [1]}], ["b", {"float": ["0.5"]}]]},
        {"store": store, "columns": [["a", {"int": [2]}], ["b", {"float": ["1.5"]}], ["c", ["new"]]]},
        {"store": store, "columns": [["a", {"int": [3, 4]}]]},
        {"store": store, "columns": [["b", {"float": ["2.5"]}], ["a", {"int": [5]}]]},
        {"store": store, "columns": [["a", ["six"]], ["b", {"float": ["3.5"]}]]},
        {"store": store, "columns": [["a", {"float": ["7.5"]}], ["b", {"int": [7]}]]},
        {"store": store, "columns": [["a", {"float": ["8"]}], ["b", {"int": [i64::MAX]}]]},
        {"store": store, "columns": [["a", {"int": [9]}], ["b", {"float": ["4.5"]}]]},
    ])
}

/// A million rows in a thousand messages, then a million in one.
pub(super) fn of_numbers<B: Backend>() -> Value {
    const ROWS: u64 = 1_000_000;
    const EACH: u64 = 1000;
    let letter = |place: &str, first: u64, count: u64| {
        let columns = json!([["n", {"range": [first, count]}], ["x", {"noise": [first, count]}]]);
        json!({"store": B::store_config(place, false), "columns": columns})
    };
    let many = (0..ROWS / EACH).map(|n| letter("many", n * EACH, EACH));
    many.chain([letter("one", 0, ROWS)]).collect()
}

/// Zones, and messages at both sides of their midnights, to the nanosecond; some come after later ones.
pub(super) fn around_midnights<B: Backend>() -> [(&'static str, Value); 2] {
    const S: i64 = 1_000_000_000;
    // Noon in Greenwich is two o'clock of the next day there.
    let kiritimati = 1_767_261_600 * S;
    // There the clocks went back a minute after midnight, to the day before.
    let st_johns = 1_289_097_000 * S;
    let instants = |midnight: i64, more: &[i64]| {
        [0, -1, 1, -3600 * S, 86_399 * S, 86_400 * S - 1, 90_000 * S]
            .iter()
            .chain(more)
            .map(|by| midnight + by)
            .collect()
    };
    let letters = |instants: Vec<i64>| -> Value {
        let letter = |(n, at): (usize, i64)| {
            let store = B::store_config("day", true);
            match n % 3 {
                2 => json!({"store": store, "tag": "raw", "at": at, "records": [at.to_string()]}),
                _ => json!({"store": store, "at": at, "columns": [["at", {"int": [at]}]]}),
            }
        };
        instants.into_iter().enumerate().map(letter).collect()
    };
    [
        ("Pacific/Kiritimati", letters(instants(kiritimati, &[]))),
        ("America/St_Johns", letters(instants(st_johns, &[59 * S, 60 * S, 61 * S, 3659 * S, 3660 * S, 3661 * S]))),
    ]
}
