//! Any line of a job's output as a record of its log.
#![no_main]

use enrgdaq::job::LogLine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // As the supervisor does it.
    LogLine::parse(&String::from_utf8_lossy(bytes));
});
