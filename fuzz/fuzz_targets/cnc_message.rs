//! Any bytes as a message of CNC.
#![no_main]

use enrgdaq::control::is_cnc_message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    is_cnc_message(bytes);
});
