//! Payloads on the link: as they are, or compressed with zstd.
//!
//! Invariant: what is unpacked has exactly the length that was announced, or is an error.

use std::io;

use super::frame::{Label, Session, parcel_head};
use super::pieces::pieces;
use super::port::Port;
use crate::config::Compress;

/// Smaller payloads are not worth it.
const WORTH_IT: usize = 256;

/// The fastest that saves anything.
const LEVEL: i32 = 1;

/// Packs what is sent.
pub(super) struct Packer {
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Packer {
    pub(super) fn new(compress: Compress) -> Self {
        let zstd = match compress {
            Compress::None => None,
            Compress::Zstd => zstd::bulk::Compressor::new(LEVEL).ok(),
        };
        Self { zstd }
    }

    /// Sends one message of the stream; gives its bytes on the link, or `None` if the socket does not take all of it.
    pub(super) fn send(
        &mut self,
        port: &Port,
        session: &Session,
        number: u64,
        envelope: &[u8],
        payload: &[u8],
    ) -> Option<u64> {
        let packed = self.pack(payload);
        let whole = packed.as_ref().map(|_| payload.len() as u64);
        let label = Label { is_latest: false, number, whole, piece: 0, pieces: 1 };
        send_pieces(port, session, label, (envelope, packed.as_deref().unwrap_or(payload)))
    }

    /// `None`: it goes as it is.
    fn pack(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let zstd = self.zstd.as_mut().filter(|_| payload.len() >= WORTH_IT)?;
        zstd.compress(payload).ok().filter(|packed| packed.len() < payload.len())
    }
}

/// Sends a message, in pieces if it is large; gives its bytes on the link, or `None` if the socket does not take all of it.
pub(super) fn send_pieces(
    port: &Port,
    session: &Session,
    label: Label,
    (envelope, payload): (&[u8], &[u8]),
) -> Option<u64> {
    let mut sent = 0;
    for (piece, pieces, bytes) in pieces(payload) {
        let head = parcel_head(session, Label { piece, pieces, ..label });
        let envelope = if piece == 0 { envelope } else { &[] };
        if !port.carry(&head, envelope, bytes) {
            return None;
        }
        sent += (head.len() + envelope.len() + bytes.len()) as u64;
    }
    Some(sent)
}

/// Unpacks into a place of the announced length.
///
/// # Errors
/// What zstd says, or that the length is another.
pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> io::Result<()> {
    match zstd::bulk::decompress_to_buffer(packed, out)? {
        len if len == out.len() => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_comes_back_and_one_of_another_length_is_an_error() {
        let payload: Vec<u8> = (0..4096u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let packed = Packer::new(Compress::Zstd).pack(&payload).unwrap();

        let mut out = vec![0; payload.len()];
        unpack(&packed, &mut out).unwrap();

        assert_eq!(out, payload);
        assert!(unpack(&packed, &mut vec![0; payload.len() - 1]).is_err());
        assert!(unpack(&packed, &mut vec![0; payload.len() + 1]).is_err());
        assert!(unpack(b"no zstd", &mut out).is_err());
    }

    #[test]
    fn what_gets_no_smaller_goes_as_it_is() {
        let noise: Vec<u8> = (0..1000).map(|_| fastrand::u8(..)).collect();

        assert_eq!(Packer::new(Compress::Zstd).pack(&noise), None);
        assert_eq!(Packer::new(Compress::Zstd).pack(&[0; 100]), None);
        assert_eq!(Packer::new(Compress::None).pack(&[0; 1000]), None);
    }
}
