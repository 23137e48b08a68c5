//! Any bytes as the first frame of a link.
#![no_main]

use enrgdaq::federation::is_link_frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    is_link_frame(bytes);
});
