//! What commands that read long texts share.

use std::io::{IsTerminal, Read};
use std::path::Path;

use super::args::positive;
use super::io::nothing_to_do;
use crate::error::{Error, Result};
use crate::tasks::LongOptions;
use crate::text::MAX_TEXT_BYTES;

/// How long texts are read.
#[derive(clap::Args, Debug)]
pub struct Windowed {
    /// All input is one text of any length, read in overlapping windows
    #[arg(long)]
    pub long: bool,
    /// Tokens of a window, special tokens included [default: what the model takes]
    #[arg(long, value_name = "N", requires = "long", value_parser = positive)]
    pub window: Option<usize>,
    /// Tokens from the start of a window to the start of the next [default: half a window]
    #[arg(long, value_name = "N", requires = "long", value_parser = positive)]
    pub stride: Option<usize>,
}

impl Windowed {
    pub fn options(&self) -> LongOptions {
        LongOptions { window: self.window, stride: self.stride, ..LongOptions::default() }
    }
}

/// All of the text: of the command line, of a file, or of standard input.
pub fn whole(text: Option<&str>, file: Option<&Path>) -> Result<String> {
    let (name, reader): (String, Box<dyn Read>) = match (text, file) {
        (Some(t), _) if t != "-" => return Ok(t.to_string()),
        (_, Some(path)) if path != Path::new("-") => {
            let f = std::fs::File::open(path).map_err(|e| Error::io(path.display(), &e))?;
            (path.display().to_string(), Box::new(f))
        }
        (None, None) if std::io::stdin().is_terminal() => {
            let what = "give a text, `-` for standard input, or `--file`; `--help` has examples";
            return Err(nothing_to_do(what));
        }
        _ => ("standard input".into(), Box::new(std::io::stdin())),
    };
    let mut bytes = vec![];
    reader.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|e| Error::io(&name, &e))?;
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(Error::exhausted(format!("`{name}` has more than {MAX_TEXT_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|e| {
        Error::invalid(format!("`{name}` is not UTF-8: byte {} is wrong", e.utf8_error().valid_up_to() + 1))
    })
}

/// The one of `all` that is called `name`.
pub fn by_name<T: Copy>(name: &str, all: &[(&str, T)]) -> std::result::Result<T, String> {
    let found = all.iter().find(|(n, _)| *n == name).map(|(_, t)| *t);
    found.ok_or_else(|| format!("use one of {}", all.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ")))
}
