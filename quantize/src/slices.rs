//! The same sentences as people type or dictate them on phones: seeded changes, each a slice of its own.

use crate::data::{Example, Rng};

/// A way to change a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// A neighbouring key instead of a letter, in one word of eight.
    Typos,
    /// A letter left out.
    Dropped,
    /// A letter twice.
    Doubled,
    /// Lower case.
    Lower,
    /// Upper case.
    Upper,
    /// No punctuation.
    Unpunctuated,
    /// An emoji at the end.
    Emoji,
    /// A vowel drawn out.
    Elongated,
    /// A word as a hashtag, and a user's name in front.
    Hashtag,
    /// A link at the end.
    Url,
    /// Dictated: lower case, no punctuation, digits as words, fillers.
    Dictated,
    /// The last fifth is missing.
    Cut,
    /// Said four times, to reach past a hundred tokens.
    Long,
}

const ROWS: [&str; 3] = ["qwertyuiop", "asdfghjkl", "zxcvbnm"];
const EMOJI: [&str; 8] = ["😂", "👍", "🙏", "😭", "🔥", "❤️", "🤔", "😅"];
const DIGITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

impl Slice {
    /// All of them.
    pub const ALL: [Slice; 13] = [
        Slice::Typos,
        Slice::Dropped,
        Slice::Doubled,
        Slice::Lower,
        Slice::Upper,
        Slice::Unpunctuated,
        Slice::Emoji,
        Slice::Elongated,
        Slice::Hashtag,
        Slice::Url,
        Slice::Dictated,
        Slice::Cut,
        Slice::Long,
    ];

    /// What reports and commands call it.
    pub fn name(self) -> &'static str {
        match self {
            Slice::Typos => "typos",
            Slice::Dropped => "dropped",
            Slice::Doubled => "doubled",
            Slice::Lower => "lower",
            Slice::Upper => "upper",
            Slice::Unpunctuated => "unpunctuated",
            Slice::Emoji => "emoji",
            Slice::Elongated => "elongated",
            Slice::Hashtag => "hashtag",
            Slice::Url => "url",
            Slice::Dictated => "dictated",
            Slice::Cut => "cut",
            Slice::Long => "long",
        }
    }

    /// The rows changed; what is right stays right. The same seed gives the same texts.
    pub fn apply(self, rows: &[Example], seed: u64) -> Vec<Example> {
        let mut rng = Rng::new(seed ^ (self as u64 + 1).wrapping_mul(0x5851_f42d_4c95_7f2d));
        rows.iter().map(|e| Example { text: self.text(&e.text, &mut rng), ..e.clone() }).collect()
    }

    fn text(self, t: &str, rng: &mut Rng) -> String {
        let squeeze = |t: String| t.split_whitespace().collect::<Vec<_>>().join(" ");
        let bare = |t: &str| -> String {
            t.chars().map(|c| if c.is_ascii_punctuation() && c != '\'' { ' ' } else { c }).collect()
        };
        match self {
            Slice::Typos => edit(t, rng, 0.125, |c, rng| vec![neighbour(c, rng)]),
            Slice::Dropped => edit(t, rng, 0.125, |_, _| vec![]),
            Slice::Doubled => edit(t, rng, 0.125, |c, _| vec![c, c]),
            Slice::Lower => t.to_lowercase(),
            Slice::Upper => t.to_uppercase(),
            Slice::Unpunctuated => squeeze(bare(t)),
            Slice::Emoji => format!("{t} {}", EMOJI[rng.below(EMOJI.len())]),
            Slice::Elongated => {
                let vowels: Vec<usize> =
                    t.char_indices().filter(|(_, c)| "aeiou".contains(*c)).map(|(i, _)| i).collect();
                match vowels.get(rng.below(vowels.len())) {
                    Some(&i) => format!("{}{}{}", &t[..i], t[i..=i].repeat(3), &t[i..]),
                    None => t.to_string(),
                }
            }
            Slice::Hashtag => {
                let mut words: Vec<String> = t.split_whitespace().map(str::to_string).collect();
                let at = rng.below(words.len());
                if let Some(w) = words.get_mut(at) {
                    w.insert(0, '#');
                }
                format!("@user{} {}", rng.below(1000), words.join(" "))
            }
            Slice::Url => format!("{t} https://t.co/{:08x}", rng.next() as u32),
            Slice::Dictated => {
                let mut out = vec![];
                for w in bare(&t.to_lowercase()).split_whitespace() {
                    if rng.chance(0.06) {
                        out.push(["um", "uh", "like"][rng.below(3)].to_string());
                    }
                    if w.bytes().all(|b| b.is_ascii_digit()) {
                        out.extend(w.bytes().map(|b| DIGITS[usize::from(b - b'0') % 10].to_string()));
                    } else {
                        out.push(w.to_string());
                    }
                }
                if out.is_empty() { t.to_string() } else { out.join(" ") }
            }
            Slice::Cut => {
                let keep = (t.chars().count() * 4).div_ceil(5);
                t.chars().take(keep).collect()
            }
            Slice::Long => [t; 4].join(". "),
        }
    }
}

/// `change` on one letter inside some words of four letters or more.
fn edit(t: &str, rng: &mut Rng, share: f64, change: impl Fn(char, &mut Rng) -> Vec<char>) -> String {
    let words: Vec<String> = t
        .split(' ')
        .map(|w| {
            let chars: Vec<char> = w.chars().collect();
            if chars.len() < 4 || !rng.chance(share) {
                return w.to_string();
            }
            let at = 1 + rng.below(chars.len() - 2);
            let mut out: Vec<char> = chars[..at].to_vec();
            out.extend(change(chars[at], rng));
            out.extend(&chars[at + 1..]);
            out.into_iter().collect()
        })
        .collect();
    words.join(" ")
}

fn neighbour(c: char, rng: &mut Rng) -> char {
    for row in ROWS {
        if let Some(i) = row.find(c.to_ascii_lowercase()) {
            let near: Vec<char> = [i.checked_sub(1), Some(i + 1)]
                .into_iter()
                .flatten()
                .filter_map(|i| row.chars().nth(i))
                .collect();
            return near[rng.below(near.len())];
        }
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Gold;

    #[test]
    fn every_slice_changes_something_and_follows_its_seed() {
        let rows: Vec<Example> = (0..40)
            .map(|i| Example {
                text: format!("Wake me at 7, please! It's the third morning number {i}"),
                pair: None,
                words: None,
                gold: Gold::Label(0),
            })
            .collect();
        for s in Slice::ALL {
            let a = s.apply(&rows, 1);
            assert_eq!(a, s.apply(&rows, 1), "{}", s.name());
            assert!(a.iter().zip(&rows).any(|(a, b)| a.text != b.text), "{}", s.name());
            assert!(a.iter().all(|e| !e.text.trim().is_empty()), "{}", s.name());
        }
        assert_ne!(Slice::Typos.apply(&rows, 1), Slice::Typos.apply(&rows, 2));
        let said = Slice::Dictated.apply(&rows[..1], 3);
        assert!(said[0].text.contains("seven") && !said[0].text.contains('!'), "{}", said[0].text);
    }

    #[test]
    fn each_slice_does_what_its_name_says() {
        let text = "Wake me at 7, please! It's the third morning";
        let e = Example { text: text.into(), pair: None, words: None, gold: Gold::Label(0) };
        let rows = vec![e; 60];
        let texts = |s: Slice| s.apply(&rows, 9).into_iter().map(|e| e.text).collect::<Vec<_>>();
        let length = |t: &String| t.chars().count();
        let from = length(&text.to_string());
        for t in texts(Slice::Typos) {
            let other: Vec<(char, char)> =
                t.chars().zip(text.chars()).filter(|(a, b)| !a.eq_ignore_ascii_case(b)).collect();
            assert!(length(&t) == from && other.len() <= 9, "{t}");
            let near = |a: char, b: char| {
                ROWS.iter().any(|r| match (r.find(a), r.find(b)) {
                    (Some(i), Some(j)) => i.abs_diff(j) == 1,
                    _ => false,
                })
            };
            assert!(other.iter().all(|&(a, b)| near(a, b)), "{t}: {other:?}");
        }
        assert!(texts(Slice::Dropped).iter().all(|t| length(t) <= from));
        assert!(texts(Slice::Doubled).iter().all(|t| length(t) >= from));
        assert!(texts(Slice::Lower).iter().all(|t| *t == text.to_lowercase()));
        assert!(texts(Slice::Upper).iter().all(|t| *t == text.to_uppercase()));
        assert!(texts(Slice::Unpunctuated).iter().all(|t| t == "Wake me at 7 please It's the third morning"));
        assert!(texts(Slice::Emoji).iter().all(|t| EMOJI.iter().any(|e| t.ends_with(e))));
        assert!(texts(Slice::Elongated).iter().all(|t| length(t) == from + 3));
        assert!(texts(Slice::Hashtag).iter().all(|t| t.starts_with("@user") && t.contains(" #")));
        assert!(texts(Slice::Url).iter().all(|t| t.starts_with(text) && t.contains(" https://t.co/")));
        let digits = |t: &String| t.chars().any(|c| c.is_ascii_digit() || c.is_uppercase() || c == ',');
        assert!(!texts(Slice::Dictated).iter().any(digits));
        assert!(texts(Slice::Cut).iter().all(|t| text.starts_with(t.as_str()) && length(t) < from));
        assert!(texts(Slice::Long).iter().all(|t| t.matches(text).count() == 4));
    }

    #[test]
    fn texts_without_letters_survive() {
        let odd = ["", "…", "12", "é", "ÄÖÜß"];
        for t in odd {
            let e = Example { text: t.into(), pair: None, words: None, gold: Gold::None };
            for s in Slice::ALL {
                s.apply(std::slice::from_ref(&e), 5);
            }
        }
    }
}
