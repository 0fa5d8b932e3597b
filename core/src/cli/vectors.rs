//! What `embed`, `fill-mask` and `zero-shot` share: the texts of the command line.

use std::io::IsTerminal;
use std::path::Path;

use super::io::{Lines, nothing_to_do};
use super::progress::Progress;
use crate::error::{Error, Result};

/// One text from the command line, or the lines of a file or of standard input.
pub enum Texts {
    /// The text, until it is taken.
    One(Option<String>),
    /// Lines.
    Many(Lines, Progress),
}

impl Texts {
    /// # Errors
    /// Where nothing was given and a person sits at the keyboard, and for a file that cannot be read.
    pub fn open(text: Option<&str>, file: Option<&Path>) -> Result<Texts> {
        if text.is_none() && file.is_none() && std::io::stdin().is_terminal() {
            let what = "give a text, `-` for standard input, or `--file`; `--help` has examples";
            return Err(nothing_to_do(what));
        }
        match text.filter(|t| *t != "-") {
            Some(t) => Ok(Texts::One(Some(t.to_string()))),
            None => Ok(Texts::Many(Lines::open(file)?, Progress::beside_answers("texts done:"))),
        }
    }

    /// The next text.
    pub fn next(&mut self) -> Result<Option<String>> {
        match self {
            Texts::One(t) => Ok(t.take()),
            Texts::Many(lines, progress) => {
                let line = lines.next()?;
                progress.add(u64::from(lines.number() > 1));
                Ok(line)
            }
        }
    }

    /// Whether there may be several.
    pub fn many(&self) -> bool {
        matches!(self, Texts::Many(..))
    }

    /// `e`, naming the line that it came from.
    pub fn at(&self, e: Error) -> Error {
        match self {
            Texts::One(_) => e,
            Texts::Many(lines, _) => lines.at(e),
        }
    }
}
