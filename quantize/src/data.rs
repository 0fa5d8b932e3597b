//! Texts with what is right about them: readers for TSV, CSV, JSONL, plain text and CoNLL.

use std::path::{Path, PathBuf};

use pocketbert::bundle::Head;
use pocketbert::bundle::manifest::Task;
use pocketbert::{Error, Result};
use serde::Deserialize;

/// Longest file that is read, and most rows of it.
const MAX_BYTES: u64 = 256 << 20;
const MAX_ROWS: usize = 1_000_000;

/// What is right for a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Gold {
    /// Nobody says.
    None,
    /// Number of the label.
    Label(usize),
    /// Number of the label of every word.
    Tags(Vec<usize>),
    /// Strings of which any is right.
    Answers(Vec<String>),
    /// How alike the two texts are.
    Score(f32),
}

/// A text, or a pair, or a list of words.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The text; the question; the words joined by spaces.
    pub text: String,
    /// The second text.
    pub pair: Option<String>,
    /// The words, where tags are per word.
    pub words: Option<Vec<String>>,
    /// What is right.
    pub gold: Gold,
}

/// What a set is for. Test sets are judged, nothing is chosen by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Ranges and weights are chosen by it.
    Calibrate,
    /// Settings, temperatures and thresholds are chosen by it.
    Dev,
    /// Judged.
    Test,
}

/// An entry of `sets.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct SetEntry {
    /// The head whose answers are judged; empty for calibration.
    pub head: String,
    /// What reports call it.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its file, relative to `sets.json`.
    pub file: PathBuf,
    /// Most tokens.
    #[serde(default = "default_length")]
    pub max_length: usize,
}

fn default_length() -> usize {
    128
}

/// The list of sets in a file, paths made relative to the caller.
pub fn read_sets(path: &Path) -> Result<Vec<SetEntry>> {
    #[derive(Deserialize)]
    struct Sets {
        sets: Vec<SetEntry>,
    }
    let Sets { mut sets } = serde_json::from_slice(&crate::read(path)?)
        .map_err(|e| Error::invalid(format!("`{}`: {e}", path.display())))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    for s in &mut sets {
        s.file = folder.join(&s.file);
    }
    Ok(sets)
}

/// The rows of a file. With a head, its labels are looked up, and an unknown one is an error.
pub fn read_examples(path: &Path, head: Option<&Head>) -> Result<Vec<Example>> {
    let size = std::fs::metadata(path).map_err(|e| Error::io(path.display(), &e))?.len();
    if size > MAX_BYTES {
        return Err(Error::exhausted(format!("`{}` has more than {} MiB", path.display(), MAX_BYTES >> 20)));
    }
    let bytes = crate::read(path)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::invalid(format!("`{}` is no UTF-8: convert it first", path.display())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let kind = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let rows = match kind.as_str() {
        "jsonl" => jsonl(text, head),
        "tsv" => table(text.lines().map(|l| l.split('\t').map(str::to_string).collect()), head),
        "csv" => table(csv(text).into_iter(), head),
        "conll" => conll(text, head),
        "txt" => Ok(text.lines().filter(|l| !l.trim().is_empty()).map(plain).collect()),
        _ => Err(Error::invalid("a data file ends in .jsonl, .tsv, .csv, .conll or .txt")),
    }
    .map_err(|e| e.context(path.display()))?;
    if rows.is_empty() {
        return Err(Error::invalid(format!("`{}` holds no text", path.display())));
    }
    if rows.len() > MAX_ROWS {
        return Err(Error::exhausted(format!("`{}` holds more than {MAX_ROWS} rows", path.display())));
    }
    Ok(rows)
}

fn plain(line: &str) -> Example {
    Example { text: line.to_string(), pair: None, words: None, gold: Gold::None }
}

fn label(head: Option<&Head>, name: &str, line: usize) -> Result<usize> {
    let Some(head) = head else { return Ok(0) };
    match head.labels.iter().position(|l| l == name) {
        Some(i) => Ok(i),
        None => match name.parse::<usize>() {
            Ok(i) if i < head.labels.len() => Ok(i),
            _ => Err(Error::invalid(format!(
                "line {line}: head `{}` has no label `{name}`: give one of its {} labels or their numbers from 0",
                head.name,
                head.labels.len()
            ))),
        },
    }
}

#[derive(Deserialize)]
struct Row {
    #[serde(alias = "question")]
    text: Option<String>,
    #[serde(alias = "context")]
    pair: Option<String>,
    words: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    label: Option<serde_json::Value>,
    answers: Option<Vec<String>>,
    score: Option<f32>,
}

fn jsonl(text: &str, head: Option<&Head>) -> Result<Vec<Example>> {
    let mut out = vec![];
    for (i, l) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let at = i + 1;
        let r: Row = serde_json::from_str(l).map_err(|e| Error::invalid(format!("line {at}: {e}")))?;
        let text = match (r.text, &r.words) {
            (Some(t), _) => t,
            (None, Some(w)) => w.join(" "),
            (None, None) => return Err(Error::invalid(format!("line {at} has neither `text` nor `words`"))),
        };
        let gold = if let Some(tags) = r.tags {
            if r.words.as_ref().map(Vec::len) != Some(tags.len()) {
                return Err(Error::invalid(format!("line {at} does not have one tag for each word")));
            }
            Gold::Tags(tags.iter().map(|t| label(head, t, at)).collect::<Result<_>>()?)
        } else if let Some(l) = r.label {
            let name = l.as_str().map_or_else(|| l.to_string(), str::to_string);
            Gold::Label(label(head, &name, at)?)
        } else if let Some(a) = r.answers {
            Gold::Answers(a)
        } else {
            r.score.map_or(Gold::None, Gold::Score)
        };
        out.push(Example { text, pair: r.pair, words: r.words, gold });
    }
    Ok(out)
}

/// Rows of text and label; three columns are two texts and a score or label. A first row `text, label` is a header.
fn table(rows: impl Iterator<Item = Vec<String>>, head: Option<&Head>) -> Result<Vec<Example>> {
    let mut out = vec![];
    for (i, mut r) in rows.enumerate() {
        if r.iter().all(|c| c.trim().is_empty()) || (i == 0 && r[0].eq_ignore_ascii_case("text")) {
            continue;
        }
        let last = if r.len() > 1 { r.pop() } else { None };
        let pair = if r.len() > 1 { r.pop() } else { None };
        let Some(text) = r.pop() else { continue };
        let scores = head.is_some_and(|h| h.task == Task::Embedding);
        let gold = match last {
            None => Gold::None,
            Some(s) if scores => match s.trim().parse() {
                Ok(x) => Gold::Score(x),
                Err(_) => return Err(Error::invalid(format!("line {}: `{s}` is no score", i + 1))),
            },
            Some(l) => Gold::Label(label(head, l.trim(), i + 1)?),
        };
        out.push(Example { text, pair, words: None, gold });
    }
    Ok(out)
}

/// Words with their tags, a blank line between sentences.
fn conll(text: &str, head: Option<&Head>) -> Result<Vec<Example>> {
    let (mut out, mut words, mut tags) = (vec![], vec![], vec![]);
    for (i, l) in text.lines().chain(std::iter::once("")).enumerate() {
        let mut columns = l.split('\t');
        let word = columns.next().unwrap_or("").trim();
        if word.is_empty() {
            if !words.is_empty() {
                let words: Vec<String> = std::mem::take(&mut words);
                let gold = Gold::Tags(std::mem::take(&mut tags));
                out.push(Example { text: words.join(" "), pair: None, words: Some(words), gold });
            }
            continue;
        }
        words.push(word.to_string());
        let tag = columns.next_back().map(str::trim).filter(|t| !t.is_empty()).unwrap_or("O");
        tags.push(label(head, tag, i + 1)?);
    }
    Ok(out)
}

/// RFC 4180: fields may be quoted, a doubled quote stands for one.
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field, mut quoted) = (vec![], vec![], String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !quoted => {}
            c => field.push(c),
        }
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    rows
}

/// `n` of the rows, drawn with `seed`, in their order.
pub fn sample<T: Clone>(rows: &[T], n: usize, seed: u64) -> Vec<T> {
    let mut rng = Rng::new(seed);
    let mut index: Vec<usize> = (0..rows.len()).collect();
    for i in 0..n.min(rows.len()) {
        let j = i + rng.below(rows.len() - i);
        index.swap(i, j);
    }
    index.truncate(n);
    index.sort_unstable();
    index.into_iter().map(|i| rows[i].clone()).collect()
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Numbers that follow from `seed`.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 for `n` = 0. The bias is below `n` / 2^64.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        ((self.next() >> 11) as f64) < p * (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head::new("h", Task::TextClassification, "h", vec!["no".into(), "yes".into()])
    }

    #[test]
    fn rows_of_every_form() {
        let h = head();
        let rows =
            jsonl("{\"text\":\"a\",\"label\":\"yes\"}\n\n{\"text\":\"b\",\"label\":0}\n", Some(&h)).unwrap();
        assert_eq!(rows.iter().map(|r| r.gold.clone()).collect::<Vec<_>>(), [Gold::Label(1), Gold::Label(0)]);
        let rows = table(csv("text,label\n\"a, \"\"b\"\"\",yes\r\nc,no\n").into_iter(), Some(&h)).unwrap();
        assert_eq!(rows[0].text, "a, \"b\"");
        assert_eq!(rows[1].gold, Gold::Label(0));
        let rows = conll("in\tno\nParis\tyes\n\n\nok\tno", Some(&h)).unwrap();
        assert_eq!(rows[0].gold, Gold::Tags(vec![0, 1]));
        assert_eq!((rows.len(), rows[1].text.as_str()), (2, "ok"));
    }

    #[test]
    fn an_unknown_label_names_its_line() {
        let e = jsonl("{\"text\":\"a\",\"label\":\"maybe\"}", Some(&head())).unwrap_err().to_string();
        assert!(e.contains("line 1") && e.contains("`maybe`"), "{e}");
    }

    #[test]
    fn samples_follow_the_seed() {
        let all: Vec<usize> = (0..100).collect();
        let a = sample(&all, 10, 1);
        assert_eq!(a, sample(&all, 10, 1));
        assert_ne!(a, sample(&all, 10, 2));
        assert!(a.is_sorted() && a.len() == 10);
        assert_eq!(sample(&all, 200, 1), all);
    }
}
