//! Any bytes as a line on the control socket.
#![no_main]

use enrgdaq::control::parse_line;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    parse_line(bytes).ok();
});
