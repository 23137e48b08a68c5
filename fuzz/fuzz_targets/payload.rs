//! Any bytes as a table and as a pack of records.
//!
//! arrow's decoder panics on some corrupt streams; `decode_table` catches such a panic and gives an error. libfuzzer-sys
//! sets a panic hook that aborts before anything can be caught, so this target replaces it, after libfuzzer-sys has set
//! it, by one that keeps the panic's text and returns. A panic that nobody catches still ends the fuzzer, with that text.
#![no_main]

use std::cell::RefCell;
use std::panic::{catch_unwind, set_hook};

use enrgdaq::message::{decode_table, pack_records, unpack_records};
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
    if let Ok(table) = decode_table(bytes) {
        // Touches every value: a table that was accepted can be shown.
        let _text = format!("{table:?}");
    }
    if let Ok(records) = unpack_records(bytes) {
        let packed = pack_records(records).expect("what was unpacked can be packed");
        assert_eq!(packed.bytes, bytes, "a pack has one form");
    }
}
