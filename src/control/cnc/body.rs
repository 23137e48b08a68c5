//! The bytes of a message: MessagePack, from whoever sends.
//!
//! Invariant: no bytes make it panic, or take more than a small multiple of their own size: how deep they nest and how many
//! values they hold is looked at before anything is made of them.

use serde::Deserialize;
use thiserror::Error;

use super::message::Message;

/// The largest body, in bytes: the picture of a thousand jobs, ten thousand lines of a log. Of each connection libzmq holds a
/// few of them, whoever is at its other end.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// How deep lists and maps may nest.
const MAX_DEPTH: usize = 64;

/// How many values a body may hold; a picture of a thousand jobs has a hundred thousand.
const MAX_VALUES: u64 = 300_000;

/// Why bytes are no message.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    /// Larger than [`MAX_BYTES`].
    #[error("it has {0} bytes, and {MAX_BYTES} is the most")]
    TooLarge(usize),
    /// Not one MessagePack value, from its first byte to its last.
    #[error("it is not MessagePack")]
    NotMessagePack,
    /// Lists in lists, or too many values.
    #[error("it nests too deep, or holds too many values")]
    TooMuch,
    /// MessagePack, but no message that is known.
    #[error("it is no message of CNC: {0}")]
    NoMessage(String),
}

/// The bytes of a message.
///
/// # Errors
/// [`BodyError::TooLarge`].
pub(super) fn encode(message: &Message) -> Result<Vec<u8>, BodyError> {
    let body = rmp_serde::to_vec_named(message).map_err(|error| BodyError::NoMessage(error.to_string()))?;
    if body.len() > MAX_BYTES { Err(BodyError::TooLarge(body.len())) } else { Ok(body) }
}

/// Whether some bytes are a message.
pub(crate) fn is_message(body: &[u8]) -> bool {
    decode(body).is_ok()
}

/// The message in some bytes.
///
/// # Errors
/// [`BodyError`].
pub(super) fn decode(body: &[u8]) -> Result<Message, BodyError> {
    look_over(body)?;
    let mut decoder = rmp_serde::Deserializer::from_read_ref(body);
    decoder.set_max_depth(MAX_DEPTH + 8);
    Message::deserialize(&mut decoder).map_err(|error| {
        let mut why = error.to_string();
        why.truncate(why.floor_char_boundary(200));
        BodyError::NoMessage(why)
    })
}

/// Whether it is one value that is worth reading.
fn look_over(body: &[u8]) -> Result<(), BodyError> {
    if body.len() > MAX_BYTES {
        return Err(BodyError::TooLarge(body.len()));
    }
    let mut at = 0;
    let mut values = 0;
    // How many values are still to come, of each list and map that is open.
    let mut open = vec![1_u64];
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        values += 1;
        let inner = pass_over(body, &mut at).ok_or(BodyError::NotMessagePack)?;
        if inner > 0 {
            open.push(inner);
        }
        if open.len() > MAX_DEPTH || values > MAX_VALUES || inner > MAX_VALUES {
            return Err(BodyError::TooMuch);
        }
    }
    if at == body.len() { Ok(()) } else { Err(BodyError::NotMessagePack) }
}

/// Passes over one value, or over the head of a list or map: how many values are in that. `None`: the bytes end before.
fn pass_over(body: &[u8], at: &mut usize) -> Option<u64> {
    let marker = *body.get(*at)?;
    *at += 1;
    let mut length = |bytes: usize| -> Option<u64> {
        let head = body.get(*at..at.checked_add(bytes)?)?;
        *at += bytes;
        Some(head.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
    };
    let (bytes, inner) = match marker {
        0x80..=0x8f => (0, 2 * u64::from(marker & 0x0f)),
        0x90..=0x9f => (0, u64::from(marker & 0x0f)),
        0xa0..=0xbf => (u64::from(marker & 0x1f), 0),
        // bin and str
        0xc4 | 0xd9 => (length(1)?, 0),
        0xc5 | 0xda => (length(2)?, 0),
        0xc6 | 0xdb => (length(4)?, 0),
        // ext, whose type is a byte more
        0xc7 => (length(1)? + 1, 0),
        0xc8 => (length(2)? + 1, 0),
        0xc9 => (length(4)? + 1, 0),
        0xd4..=0xd8 => ((1 << (marker - 0xd4)) + 1, 0),
        // numbers
        0xcc | 0xd0 => (1, 0),
        0xcd | 0xd1 => (2, 0),
        0xca | 0xce | 0xd2 => (4, 0),
        0xcb | 0xcf | 0xd3 => (8, 0),
        // array and map
        0xdc => (0, length(2)?),
        0xdd => (0, length(4)?),
        0xde => (0, 2 * length(2)?),
        0xdf => (0, 2 * length(4)?),
        // nil, true, false, small numbers; 0xc1 is never used
        0xc1 => return None,
        _ => (0, 0),
    };
    let end = at.checked_add(usize::try_from(bytes).ok()?)?;
    *at = end;
    (end <= body.len()).then_some(inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::config::Role;

    fn pack(value: &serde_json::Value) -> Vec<u8> {
        rmp_serde::to_vec_named(value).unwrap()
    }

    #[test]
    fn a_message_comes_back_from_its_bytes() {
        let command = Message::ReqCommand {
            req_id: Some("1".into()),
            call: json!({"do": "forward", "name": "test", "operation": {"do": "x", "list": [1, -2.5, null, true]}}),
            who: "anna".into(),
            from: "REST".into(),
            role: Role::Viewer,
        };
        for message in [Message::ReqPing { req_id: None }, command] {
            assert_eq!(decode(&encode(&message).unwrap()).unwrap(), message);
        }
    }

    #[test]
    fn a_missing_optional_field_is_as_nil_and_unknown_ones_are_passed_over() {
        let body = pack(&json!({"colour": [{"a": 1}], "type": "CNCMessageReqStopDAQJob", "daq_job_name": "csv"}));

        let message = decode(&body).unwrap();

        let expected = Message::ReqStopDaqJob {
            req_id: None,
            daq_job_name: Some("csv".into()),
            daq_job_unique_id: None,
            remove: false,
        };
        assert_eq!(message, expected);
    }

    #[test]
    fn bombs_are_refused_before_anything_is_made_of_them() {
        let deep = [vec![0x91; 1 << 20], vec![0xc0]].concat();
        let deep_map =
            [b"\x82\xa4type\xb1CNCMessageReqPing\xa1x".to_vec(), [0x81, 0xa1, b'a'].repeat(500), vec![0xc0]].concat();
        let promises = b"\xdd\xff\xff\xff\xff\xc0".to_vec();
        let many = [b"\xdd\x00\x2d\xc6\xc0".to_vec(), vec![0xc0; 3_000_000]].concat();
        for bomb in [deep, deep_map, promises, many] {
            assert!(matches!(decode(&bomb), Err(BodyError::TooMuch)), "{:?}", decode(&bomb));
        }
        assert!(matches!(decode(&vec![0; MAX_BYTES + 1]), Err(BodyError::TooLarge(_))));
    }

    #[test]
    fn bytes_that_are_no_message_are_told_apart() {
        let promised_text = b"\xdb\xff\xff\xff\xff".to_vec();
        for bytes in [Vec::new(), vec![0xc1], promised_text, b"\x81".to_vec(), b"\xc0\xc0".to_vec()] {
            assert!(matches!(decode(&bytes), Err(BodyError::NotMessagePack)), "{bytes:?}");
        }
        let strangers =
            [json!(null), json!({}), json!({"type": "CNCMessageReqExplode"}), json!({"type": 7}), json!([1])];
        for stranger in strangers {
            assert!(matches!(decode(&pack(&stranger)), Err(BodyError::NoMessage(_))), "{stranger}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in any::<Vec<u8>>()) {
            let _either = decode(&body);
        }

        #[test]
        fn a_message_that_was_spoiled_never_panics(at in 0_usize..60, byte in any::<u8>()) {
            let mut body = encode(&Message::ReqPing { req_id: Some("a-request-of-somebody".into()) }).unwrap();
            let at = at % body.len();
            body[at] = byte;
            let _either = decode(&body);
        }

        #[test]
        fn what_is_written_is_looked_over_to_its_end(text in ".{0,400}", number in any::<i64>(), bytes in any::<f64>()) {
            let body = pack(&json!({"a": text, "b": number, "c": bytes, "d": vec![number; 20]}));
            prop_assert!(look_over(&body).is_ok());
        }
    }
}
