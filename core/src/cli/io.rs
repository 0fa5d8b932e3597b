//! Lines in, within limits; where they came from for error messages.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// Longest input line.
const MAX_LINE: usize = 64 << 20;

/// Lines of a file or of standard input, one at a time.
pub struct Lines {
    reader: BufReader<Box<dyn Read>>,
    name: String,
    number: u64,
    /// A file never lets anyone wait.
    file: bool,
}

impl Lines {
    /// Of `path`, or of standard input for `None` and `-`.
    pub fn open(path: Option<&Path>) -> Result<Lines> {
        match path {
            Some(p) if p != Path::new("-") => {
                let file = File::open(p).map_err(|e| Error::io(p.display(), &e))?;
                if file.metadata().is_ok_and(|m| m.is_dir()) {
                    return Err(Error::invalid(format!(
                        "`{}` is a folder, not a file of lines",
                        p.display()
                    )));
                }
                let file_like = file.metadata().is_ok_and(|m| m.is_file());
                let mut lines = Lines::of(Box::new(file), &p.display().to_string());
                lines.file = file_like;
                Ok(lines)
            }
            _ => Ok(Lines::of(Box::new(std::io::stdin()), "standard input")),
        }
    }

    fn of(reader: Box<dyn Read>, name: &str) -> Lines {
        let reader = BufReader::with_capacity(1 << 16, reader);
        Lines { reader, name: name.into(), number: 0, file: false }
    }

    /// The next line without its end (`\n` or `\r\n`); `None` after the last.
    pub fn next(&mut self) -> Result<Option<String>> {
        let mut bytes = vec![];
        self.number += 1;
        let limit = MAX_LINE as u64 + 2;
        self.reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut bytes)
            .map_err(|e| Error::io(&self.name, &e))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.len() > MAX_LINE {
            return Err(self.at(Error::exhausted(format!("the line is longer than {MAX_LINE} bytes"))));
        }
        match String::from_utf8(bytes) {
            Ok(s) => Ok(Some(s)),
            Err(e) => Err(self.at(Error::invalid(format!(
                "the line is not UTF-8: byte {} is wrong",
                e.utf8_error().valid_up_to() + 1
            )))),
        }
    }

    /// Whether the next line can be had without waiting for whoever writes it.
    pub fn is_there(&self) -> bool {
        self.file || self.reader.buffer().contains(&b'\n')
    }

    /// The number of the line that `next` gave last.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// `e`, naming the line that `next` gave last.
    pub fn at(&self, e: Error) -> Error {
        self.at_line(self.number, e)
    }

    /// `e`, naming line `number`.
    pub fn at_line(&self, number: u64, e: Error) -> Error {
        e.context(format_args!("{}, line {number}", self.name))
    }
}

/// Text for a terminal: control characters and invisible direction marks are shown, not obeyed.
pub fn visible(s: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    s.chars().flat_map(|c| if hidden(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// A usage error: nothing to read, and a person at the keyboard.
pub fn nothing_to_do(what: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_are_there_without_waiting() {
        let mut lines = Lines::of(Box::new(&b"one\ntwo\nthr"[..]), "x");
        assert!(!lines.is_there());
        for there in [true, false, false] {
            assert!(lines.next().unwrap().is_some());
            assert_eq!(lines.is_there(), there);
        }
    }

    fn all(bytes: &'static [u8]) -> Vec<Result<String>> {
        let mut lines = Lines::of(Box::new(bytes), "x");
        let mut out = vec![];
        while let Some(r) = lines.next().transpose() {
            let stop = r.is_err();
            out.push(r);
            if stop {
                break;
            }
        }
        out
    }

    #[test]
    fn lines_end_in_either_way_and_empty_ones_count() {
        let ok: Vec<_> = all(b"a\r\n\n b\rc \nlast").into_iter().map(|r| r.unwrap_or_default()).collect();
        assert_eq!(ok, ["a", "", " b\rc ", "last"]);
        assert!(all(b"").is_empty());
    }

    #[test]
    fn bad_bytes_name_the_line() {
        let got = all(b"fine\nbr\xffken\nnever");
        assert_eq!(got.len(), 2);
        let e = got[1].as_ref().unwrap_err().to_string();
        assert!(e.contains("x, line 2") && e.contains("byte 3"), "{e}");
    }

    #[test]
    fn terminals_get_no_control_codes() {
        assert_eq!(visible("a\x1b[2Jb\u{202e}ü\n"), "a\\u{1b}[2Jb\\u{202e}ü\\n");
    }
}
