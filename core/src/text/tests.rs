//! Cuts, spans and truncation, on small tokenizers of our own.

use serde_json::{Value, json};

use super::chunk::{Chunks, Cuts};
use super::encoding::longest_first;
use super::*;
use crate::ErrorKind;

mod hostile;
mod windows;

/// A small BERT file; tests change it and look at what happens.
fn bert() -> Value {
    let mut vocab = serde_json::Map::new();
    for special in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] {
        vocab.insert(special.into(), vocab.len().into());
    }
    let letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?-é中文😀ßσς".chars();
    for c in letters {
        vocab.insert(c.to_string(), vocab.len().into());
        vocab.insert(format!("##{c}"), vocab.len().into());
    }
    for word in ["the", "##ing", "word", "##ed", "hello"] {
        vocab.insert(word.into(), vocab.len().into());
    }
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let special = |name: &str, type_id: u32| json!({"SpecialToken": {"id": name, "type_id": type_id}});
    let sequence = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 7, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [added(0, "[PAD]"), added(1, "[UNK]"), added(2, "[CLS]"), added(3, "[SEP]"), added(4, "[MASK]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0)],
            "pair": [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0), sequence("B", 1), special("[SEP]", 1)],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                               "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}
        },
        "decoder": {"type": "SomethingUnknown"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab}
    })
}

/// A byte-level BPE file in RoBERTa's form, with one merge.
fn bpe() -> Value {
    let mut vocab = serde_json::Map::new();
    for t in ["<s>", "</s>", "<unk>", "<mask>", "Ġ", "a", "b", "ab", "Ġab", "Ã", "©", "Ċ"] {
        vocab.insert(t.into(), vocab.len().into());
    }
    json!({
        "version": "1.0",
        "added_tokens": [{"id": 0, "content": "<s>", "special": true}, {"id": 1, "content": "</s>", "special": true}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0],
                           "trim_offsets": true, "add_prefix_space": false},
        "model": {"type": "BPE", "dropout": 0.1, "unk_token": "<unk>", "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": false, "vocab": vocab, "merges": ["a b", ["Ġ", "ab"]]}
    })
}

/// All ASCII punctuation but the brackets, which the special tokens have.
const MARKS: u128 = 0x7800_0001_D000_0001_FC00_FFFE_0000_0000;

fn open(v: &Value) -> crate::Result<Tokenizer> {
    Tokenizer::from_bytes(v.to_string().as_bytes())
}

fn plain(max_length: usize, truncation: Truncation) -> EncodeOptions {
    EncodeOptions { max_length, truncation, add_special_tokens: false }
}

/// Random numbers by SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

const PIECES: [&str; 40] = [
    " ",
    " ",
    " ",
    "\n",
    "\t",
    "\r",
    "a",
    "the",
    "words",
    "Hello",
    "É",
    "e\u{301}",
    "\u{301}",
    "\u{345}\u{301}\u{323}",
    "中",
    "文",
    "豈",
    "\u{2F800}",
    "😀",
    "👩‍👩‍👧",
    "\u{0}",
    "\u{1}",
    "\u{200B}",
    "\u{FFFD}",
    "\u{3000}",
    "\u{2028}",
    "!",
    "-",
    "ß",
    "ΑΣ",
    "\u{1112}\u{1161}\u{11AB}",
    "[MASK]",
    "[",
    "שָׁ",
    "。",
    "！",
    "<",
    "=\u{338}",
    "[SEP]",
    "'",
];

fn random_text(r: &mut Random, pieces: usize) -> String {
    (0..pieces).map(|_| PIECES[r.below(PIECES.len())]).collect()
}

#[test]
fn cutting_a_text_changes_nothing() {
    for lowercase in [true, false] {
        let mut file = bert();
        file["normalizer"]["lowercase"] = lowercase.into();
        let tok = open(&file).unwrap();
        assert_eq!(tok.cuts(), Cuts::Bert { cjk: true, marks: MARKS });
        let mut r = Random(7);
        for round in 0..400 {
            let pieces = 1 + r.below(40);
            let text = random_text(&mut r, pieces);
            let run = |chunks| {
                let all = tok.collect(&text, chunks, usize::MAX, Truncation::Head, None).unwrap();
                let (tokens, _) = all.finish(usize::MAX, Truncation::Head);
                (tokens.ids, tokens.spans, tokens.words)
            };
            let whole = run(Chunks::new(&text, Cuts::Never));
            let cut = run(Chunks::sized(&text, tok.cuts(), 1 + round % 5));
            assert_eq!(cut, whole, "{text:?}");
        }
    }
}

/// The comparison above can tell: cutting before ideographs where nothing puts spaces around them shows.
#[test]
fn a_wrong_cut_shows() {
    let mut file = bert();
    file["normalizer"]["handle_chinese_chars"] = false.into();
    let tok = open(&file).unwrap();
    assert_eq!(tok.cuts(), Cuts::Bert { cjk: false, marks: MARKS });
    let ids = |cuts| {
        let all = tok.collect("a中文b", Chunks::sized("a中文b", cuts, 1), 9, Truncation::Head, None).unwrap();
        all.finish(9, Truncation::Head).0.ids
    };
    assert_ne!(ids(Cuts::Bert { cjk: true, marks: MARKS }), ids(tok.cuts()));
    assert_eq!(ids(Cuts::Never), ids(tok.cuts()));
}

#[test]
fn cuts_are_made() {
    let parts = |text, cjk| {
        Chunks::sized(text, Cuts::Bert { cjk, marks: 1 << b'!' }, 2).map(|c| c.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(parts("abc de中文", true), [(0, "abc"), (3, " de"), (6, "中"), (9, "文")]);
    assert_eq!(parts("abc de中文", false), [(0, "abc"), (3, " de中文")]);
    assert_eq!(parts("ab!,?!x。a", true), [(0, "ab"), (2, "!,?"), (5, "!x"), (7, "。a")]);
    assert_eq!(parts("", true), []);
}

#[test]
fn files_that_may_not_be_cut_are_not() {
    let cases: [(&str, Value); 6] = [
        ("/added_tokens/4/lstrip", true.into()),
        ("/added_tokens/4/content", "hello word".into()),
        (
            "/normalizer",
            json!({"type": "Sequence", "normalizers": [{"type": "Strip", "strip_left": true, "strip_right": true}]}),
        ),
        ("/normalizer", json!({"type": "Replace", "pattern": {"String": " "}, "content": "_"})),
        ("/pre_tokenizer", Value::Null),
        (
            "/pre_tokenizer",
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
        ),
    ];
    for (at, value) in cases {
        let mut file = bert();
        *file.pointer_mut(at).unwrap() = value.clone();
        if at.ends_with("content") {
            let id = file["model"]["vocab"].as_object().unwrap().len();
            file["added_tokens"][4]["id"] = id.into();
        }
        assert_eq!(open(&file).unwrap().cuts(), Cuts::Never, "{at} {value}");
    }
}

#[test]
fn spans_are_between_characters_and_inside() {
    for file in [bert(), bpe()] {
        let tok = open(&file).unwrap();
        let mut r = Random(11);
        for _ in 0..500 {
            let pieces = r.below(30);
            let text = random_text(&mut r, pieces);
            let e = tok.encode(&text, None, &EncodeOptions::default()).unwrap();
            for (span, special) in e.offsets.iter().zip(&e.special) {
                assert!(span.of(&text).is_some(), "{span:?} in {text:?}");
                assert!(*special == (*span == Span::default()) || !special, "{span:?} in {text:?}");
            }
            let map = SpanMapper::new(&text);
            for span in e.offsets {
                let before = &text[..span.start];
                let inside = span.of(&text).unwrap();
                let chars =
                    Span::new(before.chars().count(), before.chars().count() + inside.chars().count());
                assert_eq!(map.chars(span), chars);
                let start = before.encode_utf16().count();
                assert_eq!(map.utf16(span), Span::new(start, start + inside.encode_utf16().count()));
            }
        }
    }
}

#[test]
fn span_mapper_over_many_marks() {
    let text = "aé中😀\u{301}".repeat(500);
    let map = SpanMapper::new(&text);
    for start in 0..text.len() {
        // A start inside a character counts as that character's start, an end as its end.
        let got = map.utf16(Span::new(start, (start + 5).min(text.len())));
        let from = text.floor_char_boundary(start);
        let to = text.ceil_char_boundary((start + 5).min(text.len()));
        let units = |at: usize| text[..at].encode_utf16().count();
        assert_eq!(got, Span::new(units(from), units(to)));
    }
    assert_eq!(map.chars(Span::new(0, usize::MAX)), Span::new(0, 2500));
    assert_eq!(SpanMapper::new("").utf16(Span::new(3, 1)), Span::new(0, 0));
    assert_eq!(SpanMapper::new("abc").utf16(Span::new(1, 2)), Span::new(1, 2));
}

#[test]
fn empty_texts_have_a_defined_answer() {
    let tok = open(&bert()).unwrap();
    for text in ["", " ", "\n\t\r ", "\u{0}", "\u{0}\u{1}\u{200B}\u{FFFD}", "\u{3000}", "\u{301}"] {
        let e = tok.encode(text, None, &EncodeOptions::default()).unwrap();
        assert_eq!(e.ids, [2, 3], "{text:?}");
        assert_eq!((e.special, e.truncated, e.unknown), (vec![true, true], None, 0));
        assert!(tok.encode(text, None, &plain(4, Truncation::Head)).unwrap().is_empty());
    }
    assert_eq!(tok.encode("", Some(""), &EncodeOptions::default()).unwrap().ids, [2, 3, 3]);
    assert_eq!(tok.encode_words(&[], &EncodeOptions::default()).unwrap().ids, [2, 3]);
    assert_eq!(tok.encode_words(&["", " "], &EncodeOptions::default()).unwrap().ids, [2, 3]);
}

#[test]
fn truncation_says_what_it_left_out() {
    let tok = open(&bert()).unwrap();
    let text = "a b c d e f g h";
    let words = |e: &Encoding| e.offsets.iter().map(|s| s.of(text).unwrap()).collect::<String>();
    let cases = [
        (Truncation::Head, "abc", Span::new(5, 15)),
        (Truncation::Tail, "fgh", Span::new(0, 10)),
        (Truncation::HeadTail, "abh", Span::new(3, 14)),
    ];
    for (truncation, kept, gap) in cases {
        let e = tok.encode(text, None, &plain(3, truncation)).unwrap();
        assert_eq!(words(&e), kept);
        let t = e.truncated.unwrap();
        assert_eq!((t.dropped_tokens, t.exact, t.cuts), (5, true, vec![Cut { sequence: 0, bytes: gap }]));
        assert_eq!(tok.encode(text, None, &plain(8, truncation)).unwrap().truncated, None);
        let none = tok.encode(text, None, &plain(0, truncation)).unwrap();
        assert_eq!((none.len(), none.truncated.unwrap().dropped_tokens), (0, 8));
    }
    let refused = tok.encode(text, None, &plain(7, Truncation::Refuse)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OutOfRange);
    assert_eq!(tok.encode(text, None, &plain(8, Truncation::Refuse)).unwrap().len(), 8);
    // Special tokens are never cut.
    let opts = EncodeOptions { max_length: 2, ..Default::default() };
    assert_eq!(tok.encode(text, None, &opts).unwrap().ids, [2, 3]);
    assert_eq!(tok.encode(text, Some(text), &opts).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let opts = EncodeOptions { max_length: 1, ..Default::default() };
    assert_eq!(tok.encode("", None, &opts).unwrap_err().kind(), ErrorKind::InvalidArgument);
    // By words, the gap is counted in words.
    let e = tok.encode_words(&["a", "hellos", "b", "c"], &plain(3, Truncation::HeadTail)).unwrap();
    assert_eq!(e.word_ids, [Some(0), Some(1), Some(3)]);
    assert_eq!(e.truncated.unwrap().cuts, [Cut { sequence: 0, bytes: Span::new(2, 3) }]);
}

#[test]
fn a_long_text_is_read_as_far_as_needed() {
    let tok = open(&bert()).unwrap();
    let text = "a b c ".repeat(20_000);
    let head = tok.encode(&text, None, &plain(10, Truncation::Head)).unwrap().truncated.unwrap();
    assert!(!head.exact && head.dropped_tokens > 0 && head.dropped_tokens < 59_990);
    assert_eq!(head.cuts[0].bytes, Span::new(19, text.len()));
    let tail = tok.encode(&text, None, &plain(10, Truncation::Tail)).unwrap().truncated.unwrap();
    assert_eq!((tail.exact, tail.dropped_tokens), (true, 59_990));
}

/// `tokenizers` 0.23.2, `utils/truncation.rs`, written out once more from its comments.
#[test]
fn longest_first_as_hugging_face() {
    for a in 0..14usize {
        for b in 0..14usize {
            for room in 0..30usize {
                let got = longest_first(a, b, room);
                if a + b <= room {
                    assert_eq!(got, (a, b));
                    continue;
                }
                let (mut n1, swap) = if a > b { (b, true) } else { (a, false) };
                let mut n2 = if n1 > room { n1 } else { n1.max(room - n1) };
                if n1 + n2 > room {
                    n1 = room / 2;
                    n2 = n1 + room % 2;
                }
                let want = if swap { (n2, n1) } else { (n1, n2) };
                assert_eq!(got, want, "{a} {b} {room}");
                assert_eq!(got.0 + got.1, room);
            }
        }
    }
}

#[test]
fn facts_come_from_the_file() {
    let tok = open(&bert()).unwrap();
    assert_eq!(
        [tok.unk_id(), tok.cls_id(), tok.sep_id(), tok.pad_id(), tok.mask_id()],
        [1, 2, 3, 0, 4].map(Some)
    );
    assert_eq!((tok.file_max_length(), tok.model_kind()), (Some(7), "WordPiece"));
    assert_eq!(tok.token(tok.token_id("##ing").unwrap()).as_deref(), Some("##ing"));
    assert_eq!(tok.token(tok.vocab_size() as u32 - 1).as_deref(), Some("hello"));
    assert_eq!((tok.token(tok.vocab_size() as u32), tok.token_id("nowhere")), (None, None));
    // An added token may stand above a gap: the embedding table must reach that far.
    let mut file = bert();
    file["model"]["vocab"]["far"] = 5000.into();
    assert_eq!(open(&file).unwrap().vocab_size(), 5001);

    // The crate gives an added token back as the normalizer changed it, here in small letters.
    let mut file = bert();
    let id = file["model"]["vocab"].as_object().unwrap().len() as u32;
    file["model"]["vocab"]["HELLO"] = id.into();
    file["added_tokens"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": id, "content": "HELLO", "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": true, "special": false}));
    assert_eq!(open(&file).unwrap().token(id).as_deref(), Some("HELLO"));

    assert_eq!(model_max_length(br#"{"model_max_length": 512, "x": [1]}"#), Ok(Some(512)));
    assert_eq!(model_max_length(br#"{"model_max_length": 1000000000000000019884624838656}"#), Ok(None));
    assert_eq!(model_max_length(b"{}"), Ok(None));
    assert_eq!(model_max_length(b"[").unwrap_err().kind(), ErrorKind::DataLoss);
}

#[test]
fn byte_level_bpe() {
    let tok = open(&bpe()).unwrap();
    let e = tok.encode("ab ab é", None, &EncodeOptions::default()).unwrap();
    let tokens: Vec<_> = e.ids.iter().map(|&i| tok.token(i).unwrap()).collect();
    assert_eq!(tokens, ["<s>", "ab", "Ġab", "Ġ", "Ã", "©", "</s>"]);
    let s = Span::new;
    // Both bytes of the é stand for the whole character, and the space is trimmed.
    assert_eq!(e.offsets, [s(0, 0), s(0, 2), s(3, 5), s(6, 6), s(6, 8), s(6, 8), s(0, 0)]);
    // Of white space only the space is trimmed, as in Hugging Face.
    let lines = tok.encode("a\nb", None, &EncodeOptions::default()).unwrap();
    assert_eq!(lines.offsets[1..4], [s(0, 1), s(1, 2), s(2, 3)]);
    let pair = tok.encode("a", Some("b"), &EncodeOptions::default()).unwrap();
    assert_eq!((pair.ids, pair.type_ids), (vec![0, 5, 1, 1, 6, 1], vec![0; 6]));
    assert_eq!(tok.max_type_id(), 0);
    // White space without end is one word for the fixed expression; it must neither fail nor take for ever.
    let spaces = " ".repeat(1 << 20);
    let all = plain(usize::MAX, Truncation::Head);
    assert_eq!(tok.encode(&spaces, None, &all).unwrap().len(), 1 << 20);
    assert_eq!(tok.encode(&format!("{spaces}a"), None, &all).unwrap().len(), (1 << 20) + 1);
    let word = "ab".repeat(1 << 19);
    assert_eq!(tok.encode(&word, None, &all).unwrap().len(), 1 << 19);
}

#[test]
fn post_processors_agree() {
    let mut file = bert();
    let template = open(&file).unwrap();
    file["post_processor"] = json!({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]});
    let bert = open(&file).unwrap();
    file["post_processor"] = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}, file["post_processor"].clone()]});
    let sequence = open(&file).unwrap();
    for pair in [None, Some("b c")] {
        let want = template.encode("a the", pair, &EncodeOptions::default());
        assert_eq!(bert.encode("a the", pair, &EncodeOptions::default()), want);
        assert_eq!(sequence.encode("a the", pair, &EncodeOptions::default()), want);
    }
    file["post_processor"] = Value::Null;
    let bare = open(&file).unwrap();
    let e = bare.encode("a", Some("b"), &EncodeOptions::default()).unwrap();
    assert_eq!((e.len(), e.type_ids), (2, vec![0, 1]));
}

#[test]
fn tokenizers_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Tokenizer>();
}
