//! Where a text's sentences begin and end, by rules that one can read.
//!
//! A sentence ends
//! - after `.`, `!`, `?` or `…` (several count as one), with the quotes and brackets that close behind it, if white
//!   space or the end follows; but a full stop does not end one before a small letter (nor does `…`), after a single capital
//!   letter (`J. Smith`), after letters with stops in between (`U.S.`, `e.g.`) unless a capital letter follows that
//!   begins no name (nobody can tell: it goes on), or after an abbreviation of the list below;
//! - after `。`, `！`, `？` or `｡`, whatever follows;
//! - at an empty line.
//!
//! White space around sentences belongs to none of them.

use super::spans::Span;

/// What a full stop does not end: English, and a few others that are no words elsewhere. In small letters.
const ABBREVIATIONS: [&str; 46] = [
    "mr", "mrs", "ms", "dr", "prof", "sr", "jr", "st", "mt", "gen", "col", "sgt", "capt", "lt", "rev", "hon",
    "gov", "sen", "rep", "vs", "etc", "al", "fig", "no", "vol", "pp", "ed", "eds", "inc", "ltd", "co",
    "corp", "dept", "est", "approx", "jan", "feb", "aug", "sept", "oct", "nov", "dec", "bzw", "ca", "nr",
    "usw",
];

/// The sentences of `text`, in order, as spans of bytes without the white space around them.
///
/// ```
/// let text = "Dr. Who came at 4.30 p.m. today. Nobody knew! 「はい。」";
/// let all: Vec<&str> = pocketbert::text::sentences(text).into_iter().filter_map(|s| s.of(text)).collect();
/// assert_eq!(all, ["Dr. Who came at 4.30 p.m. today.", "Nobody knew!", "「はい。」"]);
/// ```
pub fn sentences(text: &str) -> Vec<Span> {
    let mut out = vec![];
    let mut start = 0;
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let mut end = at + c.len_utf8();
        let ends = match c {
            '.' | '!' | '?' | '…' | '。' | '！' | '？' | '｡' => {
                let mut last = c;
                while let Some(&(i, n)) = rest.peek() {
                    let more = matches!(n, '.' | '!' | '?' | '…' | '。' | '！' | '？' | '｡');
                    if !more && !closes(n) {
                        break;
                    }
                    if more {
                        last = n;
                    }
                    end = i + n.len_utf8();
                    rest.next();
                }
                let after = text.get(end..).unwrap_or("");
                let wide = matches!(last, '。' | '！' | '？' | '｡');
                wide || after.is_empty()
                    || (after.starts_with(char::is_whitespace)
                        && !(matches!(last, '.' | '…') && goes_on(text.get(start..at).unwrap_or(""), after)))
            }
            '\n' => text.get(end..).unwrap_or("").trim_start_matches([' ', '\t', '\r']).starts_with('\n'),
            _ => false,
        };
        if ends {
            push(text, start, end, &mut out);
            start = end;
        }
    }
    push(text, start, text.len(), &mut out);
    out
}

fn closes(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»' | '」' | '』' | '）' | '】')
}

/// Whether the full stop behind `before` ends nothing.
fn goes_on(before: &str, after: &str) -> bool {
    if after.trim_start().starts_with(char::is_lowercase) {
        return true;
    }
    let word = before.rsplit(|c: char| c.is_whitespace() || matches!(c, '(' | '"' | '“' | '‘' | '[')).next();
    let word = word.unwrap_or("");
    let mut letters = word.chars();
    let single = letters.next().is_some_and(char::is_uppercase) && letters.next().is_none();
    // `U.S`, `e.g`: letters and stops in turns.
    let dotted = word.contains('.')
        && word.split('.').all(|p| p.chars().count() == 1 && p.chars().all(char::is_alphabetic));
    single || dotted || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

fn push(text: &str, start: usize, end: usize, out: &mut Vec<Span>) {
    let part = text.get(start..end).unwrap_or("");
    let trimmed = part.trim();
    if trimmed.chars().any(char::is_alphanumeric) {
        let from = start + part.len() - part.trim_start().len();
        out.push(Span::new(from, from + trimmed.len()));
    } else if let Some(last) = out.last_mut()
        && !trimmed.is_empty()
    {
        // Stray marks belong to the sentence before them.
        last.end = start + part.trim_end().len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        sentences(text).into_iter().map(|s| s.of(text).unwrap()).collect()
    }

    #[test]
    fn sentences_end_where_people_end_them() {
        for want in [
            &["One.", "Two!", "Three?!", "Four"][..],
            &["Mr. Smith met J. R. Jones of the U.S. Navy.", "He left."],
            &["It cost 3.50 in all.", "\"Really?\"", "(Yes.)"],
            &["He said no. 5 was ill, e.g. with a cold.", "So it was."],
            &["Wait… what now?", "Nothing."],
            &["一つ。", "二つ！", "「三つ。」", "四つ"],
            &["Straße 5 usw. ist lang.", "Ärger!"],
            &["😀 fine.", "E\u{301}t\u{e9}.", "Done"],
        ] {
            let text = if want[0].starts_with('一') { want.concat() } else { want.join(" ") };
            assert_eq!(split(&text), want, "{text}");
        }
        assert_eq!(split("a title\n\nand text\nover lines"), ["a title", "and text\nover lines"]);
        assert_eq!(split("  \n\n \t"), Vec::<&str>::new());
        assert_eq!(split(""), Vec::<&str>::new());
        assert_eq!(split("... ! a. ?!"), ["a. ?!"]);
    }

    #[test]
    fn nothing_visible_is_lost_and_spans_are_in_order() {
        let text = "A b. C d! 中文。字\n\nx (y.) Z... 'q?' e.g. U.S. \u{2003} end";
        let all = sentences(text);
        assert!(all.windows(2).all(|w| w[0].end <= w[1].start));
        let kept: String = split(text).concat().split_whitespace().collect();
        assert_eq!(kept, text.split_whitespace().collect::<String>());
    }
}
