//! One CSV file that rows are appended to.
//!
//! Invariants: the header stands once, at the beginning; the file holds whole rows: what a crash or a full disk cut
//! short is cut off; with zstd the file is a row of whole frames, one a flush, and what a crash left of a frame is cut off.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Rows that wait in memory at the most, in bytes, before they are written.
const BUFFER: usize = 1 << 20;

/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// An open file.
#[derive(Debug)]
pub(super) struct Sheet {
    file: File,
    /// Up to here the file is whole.
    len: u64,
    rows: Vec<u8>,
    is_compressed: bool,
}

/// A file as it was found.
#[derive(Debug)]
pub(super) enum Found {
    /// Rows with these columns may be appended.
    Fitting(Sheet),
    /// Its columns are others.
    OtherColumns,
}

impl Sheet {
    /// Takes a file, mends its end, and compares its header, which is written if the file is empty.
    pub(super) fn open(mut file: File, header: &[u8], is_compressed: bool) -> io::Result<Found> {
        let (len, first_line) = if is_compressed { whole_frames(&mut file)? } else { whole_lines(&mut file)? };
        let mut sheet = Self { file, len, rows: Vec::new(), is_compressed };
        if len == 0 {
            sheet.rows.extend_from_slice(header);
        } else if first_line != header {
            return Ok(Found::OtherColumns);
        }
        sheet.cut()?;
        Ok(Found::Fitting(sheet))
    }

    /// Takes rows; the file is touched when enough have come, or at a flush.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.rows.extend_from_slice(lines);
        if self.rows.len() >= BUFFER { self.write() } else { Ok(()) }
    }

    /// Writes what waits, and has it put onto the disk. After an error nothing is lost: the rows wait on.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.write()?;
        self.file.sync_data()
    }

    fn write(&mut self) -> io::Result<()> {
        let frame = match self.is_compressed {
            true => Some(zstd::bulk::compress(&self.rows, ZSTD_LEVEL)?),
            false => None,
        };
        let bytes = frame.as_deref().unwrap_or(&self.rows);
        if let Err(error) = self.file.write_all(bytes) {
            self.cut()?;
            return Err(error);
        }
        self.len += bytes.len() as u64;
        self.rows.clear();
        Ok(())
    }

    /// Back to the last whole row.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.len)?;
        self.file.seek(SeekFrom::Start(self.len)).map(drop)
    }
}

/// Up to where a file consists of whole lines, and its first line.
fn whole_lines(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut chunk = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..usize::try_from(end - start).expect("a chunk is small")];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|&byte| byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok((end, first_record(&mut file.take(end))?))
}

/// The header with its line end; a line end inside quotes does not end it.
fn first_record(text: &mut impl Read) -> io::Result<Vec<u8>> {
    let (mut record, mut is_quoted) = (Vec::new(), false);
    for byte in io::BufReader::new(text).bytes() {
        let byte = byte?;
        record.push(byte);
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\n' if !is_quoted => break,
            _ => {}
        }
    }
    Ok(record)
}

/// Up to where a file consists of whole zstd frames, and the first line of what they hold.
fn whole_frames(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let mut whole = 0;
    while let Ok(len) = zstd::zstd_safe::find_frame_compressed_size(&bytes[whole..]) {
        if len == 0 || len > bytes.len() - whole {
            break;
        }
        whole += len;
    }
    let first_line = match whole {
        0 => Vec::new(),
        _ => first_record(&mut zstd::stream::read::Decoder::new(&bytes[..whole])?)?,
    };
    Ok((whole as u64, first_line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopened(dir: &tempfile::TempDir, is_compressed: bool) -> Sheet {
        let path = dir.path().join("a.csv");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        match Sheet::open(file, b"a,b\n", is_compressed).unwrap() {
            Found::Fitting(sheet) => sheet,
            Found::OtherColumns => panic!("the columns are the same"),
        }
    }

    fn contents(dir: &tempfile::TempDir, is_compressed: bool) -> String {
        let bytes = std::fs::read(dir.path().join("a.csv")).unwrap();
        let bytes = if is_compressed { zstd::stream::decode_all(bytes.as_slice()).unwrap() } else { bytes };
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_header_stands_once_and_a_cut_row_is_cut_off() {
        for is_compressed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut sheet = reopened(&dir, is_compressed);
            sheet.append(b"1,2\n").unwrap();
            sheet.flush().unwrap();
            let path = dir.path().join("a.csv");
            let torn: &[u8] = if is_compressed { b"\x28\xb5\x2f\xfd\x04" } else { b"3,4\n5," };
            File::options().append(true).open(&path).unwrap().write_all(torn).unwrap();

            let mut sheet = reopened(&dir, is_compressed);
            sheet.append(b"7,8\n").unwrap();
            sheet.flush().unwrap();

            let expected = if is_compressed { "a,b\n1,2\n7,8\n" } else { "a,b\n1,2\n3,4\n7,8\n" };
            assert_eq!(contents(&dir, is_compressed), expected);
        }
    }

    #[test]
    fn other_columns_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let mut sheet = reopened(&dir, false);
        sheet.append(b"1,2\n").unwrap();
        sheet.flush().unwrap();
        let file = File::options().read(true).write(true).open(dir.path().join("a.csv")).unwrap();

        assert!(matches!(Sheet::open(file, b"a,c\n", false).unwrap(), Found::OtherColumns));
        assert_eq!(contents(&dir, false), "a,b\n1,2\n");
    }
}
