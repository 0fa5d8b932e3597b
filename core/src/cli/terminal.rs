//! What a terminal shows: colours, columns, bars, and how wide text is.

use std::io::IsTerminal;

/// Columns to assume where nobody says.
const COLUMNS: usize = 80;

/// How to draw on standard output.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    /// Escape codes are understood.
    pub colours: bool,
    /// Columns that there are, at least 20.
    pub columns: usize,
}

/// The looks that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Bold,
    Dim,
    Bar,
    Span,
}

impl Paint {
    /// For standard output: colours on a terminal only, and not if `NO_COLOR` is set (no-color.org) or the
    /// terminal is dumb; as many columns as the terminal, or `COLUMNS`, says.
    pub fn stdout() -> Paint {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let terminal = std::io::stdout().is_terminal();
        let said = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        let columns = said.or_else(|| terminal.then(window_columns).flatten()).unwrap_or(COLUMNS);
        Paint { colours: terminal && !set("NO_COLOR") && !dumb, columns: columns.clamp(20, 200) }
    }

    /// `text` in this look, where there are colours.
    pub fn paint(&self, look: Look, text: &str) -> String {
        let code = match look {
            Look::Bold => "1",
            Look::Dim => "2",
            Look::Bar => "36",
            Look::Span => "4;33",
        };
        match self.colours && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }
}

#[cfg(unix)]
fn window_columns() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes a `winsize`, which the pointer is valid for, and keeps nothing.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    (done == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(not(unix))]
fn window_columns() -> Option<usize> {
    None
}

/// A bar of `width` columns, filled to the share `p` (0 to 1) in eighths of a column.
pub fn bar(p: f32, width: usize) -> String {
    let eighths = (f64::from(p.clamp(0.0, 1.0)) * width as f64 * 8.0).round() as usize;
    let mut out = "█".repeat(eighths / 8);
    if let Some(part) = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8) {
        out.push_str(part);
    }
    let filled = eighths.div_ceil(8);
    out.push_str(&" ".repeat(width.saturating_sub(filled)));
    out
}

/// Columns that `text` takes: none for combining marks and joiners, two for East Asian wide characters and emoji.
/// The usual blocks, not the whole of UAX #11.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    match u32::from(c) {
        0..=0x1f | 0x7f..=0x9f => 0,
        0x300..=0x36f | 0x483..=0x489 | 0x591..=0x5bd | 0x610..=0x61a | 0x64b..=0x65f => 0,
        0x93c | 0x941..=0x948 | 0x94d | 0xe31 | 0xe34..=0xe3a | 0xe47..=0xe4e => 0,
        0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x200b..=0x200f | 0x20d0..=0x20ff => 0,
        0xfe00..=0xfe0f | 0xfe20..=0xfe2f | 0x1f3fb..=0x1f3ff | 0xe0100..=0xe01ef => 0,
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
        0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 => 2,
        0x1f300..=0x1f64f | 0x1f680..=0x1f6ff | 0x1f900..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// `text` in at most `columns` columns, its end replaced by `…` where it is cut.
pub fn shorten(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_string();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        if used + char_width(c) + 1 > columns {
            break;
        }
        used += char_width(c);
        out.push(c);
    }
    out.push('…');
    out
}

/// `text` and spaces to `columns` columns.
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_in_eighths_and_keep_their_width() {
        assert_eq!(bar(0.0, 4), "    ");
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.5, 4), "██  ");
        assert_eq!(bar(0.03125, 4), "▏   ");
        assert_eq!(bar(f32::NAN, 2).chars().count(), 2);
        for i in 0..=100 {
            assert_eq!(bar(i as f32 / 100.0, 7).chars().count(), 7);
        }
    }

    #[test]
    fn widths_are_those_of_terminals() {
        for (text, columns) in [("abc", 3), ("日本", 4), ("e\u{301}", 1), ("😀", 2), ("", 0), ("Zürich", 6)]
        {
            assert_eq!(width(text), columns, "{text}");
        }
        assert_eq!(shorten("abcdef", 4), "abc…");
        assert_eq!(shorten("日本語", 4), "日…");
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(pad("日", 4), "日  ");
    }

    #[test]
    fn looks_are_escape_codes_only_with_colours() {
        let with = |colours| Paint { colours, columns: 80 }.paint(Look::Bold, "x");
        assert_eq!((with(false).as_str(), with(true).as_str()), ("x", "\x1b[1mx\x1b[0m"));
    }
}
