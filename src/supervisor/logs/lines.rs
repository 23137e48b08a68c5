//! Cuts a stream of bytes into lines.

/// The longest line, in bytes.
pub(super) const MAX_LINE: usize = 16 << 10;

/// What has come of a line whose end has not.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Takes bytes, and gives the lines that are whole with them, each with its end; an overlong one in pieces.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let ends = memchr::memchr_iter(b'\n', bytes);
        let mut text = Vec::new();
        let mut from = 0;
        for end in ends {
            if text.capacity() == 0 {
                text.reserve_exact(self.begun.len() + bytes.len());
            }
            self.cut(&bytes[from..end], &mut text);
            text.append(&mut self.begun);
            text.push(b'\n');
            from = end + 1;
        }
        self.cut(&bytes[from..], &mut text);
        text
    }

    /// Adds to what has begun; what is too long for one line goes out.
    fn cut(&mut self, mut bytes: &[u8], text: &mut Vec<u8>) {
        while self.begun.len() + bytes.len() > MAX_LINE {
            let (piece, rest) = bytes.split_at(MAX_LINE - self.begun.len());
            text.append(&mut self.begun);
            text.extend_from_slice(piece);
            text.push(b'\n');
            bytes = rest;
        }
        self.begun.extend_from_slice(bytes);
    }

    /// What stands after the last line's end, as a line.
    pub(super) fn end(&mut self) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.begun);
        if !text.is_empty() {
            text.push(b'\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_of(chunks: &[&[u8]]) -> Vec<u8> {
        let mut lines = Lines::default();
        let mut text: Vec<u8> = chunks.iter().flat_map(|chunk| lines.take(chunk)).collect();
        text.extend(lines.end());
        text
    }

    #[test]
    fn a_line_may_come_in_pieces_and_the_last_without_its_end() {
        assert_eq!(text_of(&[b"ab", b"c\n\nde", b"f"]), b"abc\n\ndef\n");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let long = vec![b'x'; 3 * MAX_LINE + 5];

        let text = text_of(&[&long]);

        let lengths: Vec<_> = text.split(|&byte| byte == b'\n').map(<[u8]>::len).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, MAX_LINE, 5, 0]);
    }

    #[test]
    fn only_whole_lines_come_out() {
        let mut lines = Lines::default();

        assert_eq!(lines.take(b"ab\ncd"), b"ab\n");
        assert_eq!(lines.take(b"e"), b"");
        assert_eq!(lines.end(), b"cde\n");
    }

    proptest! {
        #[test]
        fn no_byte_is_lost(chunks in proptest::collection::vec(any::<Vec<u8>>(), 0..10)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let mut all = chunks.concat();
            if !all.is_empty() && all.last() != Some(&b'\n') {
                all.push(b'\n');
            }
            prop_assert_eq!(text_of(&chunks), all);
        }
    }
}
