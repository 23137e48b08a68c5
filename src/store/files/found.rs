//! What a file that is there already holds, and up to where it is whole.
//!
//! Invariants: a file is ours only if it begins with our header, or with a beginning of it that a crash left; of a file
//! that is ours only what a crash can have left at its end is ever cut off. Files are read piece by piece: the memory
//! does not grow with them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;

use super::batch::Form;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

/// How much of a file is in memory at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// The longest end that a crash can have torn, in bytes. A longer one is somebody else's doing, and stays.
const MAX_TORN: u64 = 64 << 20;

/// The first bytes of a zstd frame.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Frames that need a larger window to be read are not ours: 2 to the power of this, in bytes.
const MAX_WINDOW_LOG: u32 = 24;

/// A file as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It has these columns, and up to here it is whole; 0 if it has no header yet.
    Ours(u64),
    /// It holds something else, or what a crash does not leave behind.
    Foreign,
}

/// Looks at a file, which is not changed.
pub(super) fn look(file: &File, form: &Form) -> io::Result<Found> {
    let len = file.metadata()?.len();
    let whole = match form {
        Form { is_compressed: true, header, .. } => whole_frames(file, header)?,
        Form { has_records: true, header, .. } => whole_records(file, header)?,
        // Of other bytes nobody can tell where one message ends.
        Form { header, .. } => begins_with(file, header)?.then_some(len),
    };
    Ok(match whole {
        Some(whole) if len.saturating_sub(whole) <= MAX_TORN => Found::Ours(whole),
        _ => Found::Foreign,
    })
}

/// Whether a file that is known to be whole is of this form, by its beginning.
pub(super) fn begins(file: &File, form: &Form) -> io::Result<bool> {
    if form.header.is_empty() && !form.is_compressed || file.metadata()?.len() == 0 {
        return Ok(true);
    }
    if !form.is_compressed {
        return begins_with(file, &form.header);
    }
    let mut frames = Frames::new(file, form.header.len())?;
    Ok(matches!(frames.next(0)?, Frame::Whole(_)) && frames.start == form.header)
}

fn begins_with(file: &File, header: &[u8]) -> io::Result<bool> {
    let mut start = vec![0; header.len()];
    match file.read_exact_at(&mut start, 0) {
        Ok(()) => Ok(start == header),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Up to where a file with this header consists of whole records. A header is a record, so whatever begins with it has
/// it as its first.
fn whole_records(file: &File, header: &[u8]) -> io::Result<Option<u64>> {
    let mut text = BufReader::with_capacity(CHUNK, file);
    let mut start = Vec::new();
    text.by_ref().take(header.len() as u64).read_to_end(&mut start)?;
    if start.len() < header.len() {
        return Ok(header.starts_with(&start).then_some(0));
    }
    if start != header {
        return Ok(None);
    }
    let mut place = Place::FieldStart;
    let mut at = header.len() as u64;
    let mut whole = at;
    loop {
        let chunk = text.fill_buf()?;
        let len = chunk.len();
        for &byte in chunk {
            at += 1;
            place = place.after(byte);
            if byte == b'\n' && place == Place::FieldStart {
                whole = at;
            }
        }
        if len == 0 {
            return Ok(Some(whole));
        }
        text.consume(len);
    }
}

/// Where in a record a byte stands. A quote in the middle of a cell that has none before it is a letter like others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    FieldStart,
    Plain,
    Quoted,
    /// After a quote in a quoted cell: its end, or the first of two that mean one.
    Quote,
}

impl Place {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::Quote,
            (Self::Quoted, _) | (Self::FieldStart | Self::Quote, b'"') => Self::Quoted,
            (_, b',' | b'\n') => Self::FieldStart,
            _ => Self::Plain,
        }
    }
}

/// Up to where a file consists of whole zstd frames, of which the first begins with the header.
fn whole_frames(file: &File, header: &[u8]) -> io::Result<Option<u64>> {
    let mut frames = Frames::new(file, header.len())?;
    let mut whole = 0;
    loop {
        match frames.next(whole)? {
            Frame::Whole(_) if whole == 0 && frames.start != header => return Ok(None),
            Frame::Whole(len) => whole += len,
            // An empty file, or one that ends as it should.
            Frame::End => return Ok(Some(whole)),
            Frame::Torn => return Ok((whole > 0).then_some(whole)),
            Frame::Foreign => return Ok(None),
        }
    }
}

/// What comes next in a file of zstd frames.
enum Frame {
    Whole(u64),
    Torn,
    Foreign,
    End,
}

/// Reads frame after frame, and keeps the first bytes of what they hold.
struct Frames<'a> {
    file: &'a File,
    bytes: BufReader<&'a File>,
    decoder: DCtx<'static>,
    text: Vec<u8>,
    start: Vec<u8>,
    start_len: usize,
}

impl<'a> Frames<'a> {
    fn new(file: &'a File, start_len: usize) -> io::Result<Self> {
        let mut decoder = DCtx::create();
        let limited = decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG));
        limited.map_err(|_| io::Error::other("zstd does not take its parameters"))?;
        let bytes = BufReader::with_capacity(CHUNK, file);
        Ok(Self { file, bytes, decoder, text: vec![0; CHUNK], start: Vec::new(), start_len })
    }

    /// The frame at this offset, which is where the one before has ended.
    fn next(&mut self, offset: u64) -> io::Result<Frame> {
        let mut magic = [0; 4];
        let there = self.file.read_at(&mut magic, offset)?;
        match there {
            0 => return Ok(Frame::End),
            _ if magic[..there] != MAGIC[..there] => return Ok(Frame::Foreign),
            _ => {}
        }
        let (mut len, mut is_full) = (0, false);
        loop {
            let chunk = self.bytes.fill_buf()?;
            if chunk.is_empty() && !is_full {
                return Ok(Frame::Torn);
            }
            let (mut input, mut output) = (InBuffer::around(chunk), OutBuffer::around(&mut self.text[..]));
            let Ok(hint) = self.decoder.decompress_stream(&mut output, &mut input) else { return Ok(Frame::Foreign) };
            let (read, made) = (input.pos, output.pos());
            let missing = self.start_len - self.start.len();
            self.start.extend_from_slice(&self.text[..made.min(missing)]);
            self.bytes.consume(read);
            len += read as u64;
            is_full = made == self.text.len();
            if hint == 0 {
                return Ok(Frame::Whole(len));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    const HEADER: &[u8] = b"a,b\n";

    fn found(contents: &[u8], is_compressed: bool) -> Found {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(contents).unwrap();
        file.rewind().unwrap();
        look(&file, &Form { header: HEADER.into(), is_compressed, has_records: true }).unwrap()
    }

    fn frame(text: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(text, 3).unwrap()
    }

    #[test]
    fn only_what_a_crash_left_of_our_rows_is_not_whole() {
        let table: [(&[u8], Found); 12] = [
            (b"", Found::Ours(0)),
            (b"a,", Found::Ours(0)),
            (b"a,b\n", Found::Ours(4)),
            (b"a,b\n1,2\n3", Found::Ours(8)),
            (b"a,b\n1,\"x\ny\"\n3,\"z\n", Found::Ours(12)),
            (b"a,b\n1,\"x\"\"\ny", Found::Ours(4)),
            (b"a,b\n1,5\" tape\n2,3\n4", Found::Ours(18)),
            (b"a,b\n1,2\n\0\0\0", Found::Ours(8)),
            (b"a,c\n1,2\n3", Found::Foreign),
            (b"my notes, without a line end", Found::Foreign),
            (b"b", Found::Foreign),
            (b"a,b\r\n", Found::Foreign),
        ];
        for (contents, expected) in table {
            assert_eq!(found(contents, false), expected, "{}", contents.escape_ascii());
        }
    }

    #[test]
    fn only_what_a_crash_left_of_our_frames_is_not_whole() {
        let (first, second) = (frame(b"a,b\n1,2\n"), frame(&b"3,4\n".repeat(100_000)));
        let whole = first.len() as u64;
        let both = [first.as_slice(), &second].concat();
        let broken = {
            let mut broken = second.clone();
            broken[4..12].fill(0xff);
            broken
        };
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7];
        let table: [(&str, Vec<u8>, Found); 11] = [
            ("empty", vec![], Found::Ours(0)),
            ("one", first.clone(), Found::Ours(whole)),
            ("two", both.clone(), Found::Ours(both.len() as u64)),
            ("torn", both[..both.len() - 1].to_vec(), Found::Ours(whole)),
            ("torn in its magic", both[..first.len() + 2].to_vec(), Found::Ours(whole)),
            ("no whole frame", first[..first.len() - 1].to_vec(), Found::Foreign),
            ("plain text", b"a,b\n1,2\n".to_vec(), Found::Foreign),
            ("other columns", frame(b"a,c\n"), Found::Foreign),
            ("plain text behind", [first.as_slice(), b"notes"].concat(), Found::Foreign),
            ("a broken frame", [first.as_slice(), &broken, &first].concat(), Found::Foreign),
            ("a skippable frame", [first.as_slice(), &skippable].concat(), Found::Foreign),
        ];
        for (name, contents, expected) in table {
            assert_eq!(found(&contents, true), expected, "{name}");
        }
    }
}
