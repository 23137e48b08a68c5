//! Any bytes as a table and as a pack of records.
//!
//! arrow's decoder panics on some corrupt streams; `decode_table` catches such a panic and gives an error. libfuzzer-sys
//! sets a panic hook that aborts before anything can be caught, so this target replaces it, after libfuzzer-sys has set
//! it, by one that keeps the panic's text and returns. A panic that nobody catches still ends the fuzzer, with that text.
#![no_main]

use std::cell::RefCell;
use std::panic::{catch_unwind, set_hook};

use enrgdaq::message::{RecordPack, decode_table, records, table_in_place};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fuzz_target!(
    init: set_hook(Box::new(|panic| LAST_PANIC.with_borrow_mut(|text| *text = panic.to_string()))),
    |bytes: &[u8]| {
        if catch_unwind(|| read(bytes)).is_err() {
            eprintln!("a panic got out: {}", LAST_PANIC.take());
            std::process::abort();
        }
    }
);

fn read(bytes: &[u8]) {
    let copied = decode_table(bytes).ok();
    let in_place = table_in_place(bytes.to_vec().into()).ok();
    // Touches every value: a table that was accepted can be shown.
    assert_eq!(format!("{copied:?}"), format!("{in_place:?}"), "both ways of reading have one verdict");
    if let Ok(records) = records(bytes) {
        let mut pack = RecordPack::new();
        records.for_each(|record| pack.push(record).expect("what was unpacked can be packed"));
        assert_eq!(pack.to_vec(), bytes, "a pack has one form");
    }
}
