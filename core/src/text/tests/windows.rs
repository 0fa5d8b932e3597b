//! Windows against one encoding of the whole text.

use super::*;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// RoBERTa's form with every byte in the vocabulary.
fn all_bytes(prefix_space: bool) -> Value {
    let mut file = bpe();
    let mut letters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    letters.sort_unstable();
    let vocab = file["model"]["vocab"].as_object_mut().unwrap();
    for c in letters {
        let id = vocab.len();
        vocab.entry(c.to_string()).or_insert(id.into());
    }
    file["model"]["dropout"] = Value::Null;
    file["pre_tokenizer"]["add_prefix_space"] = prefix_space.into();
    let mask = json!({"id": 3, "content": "<mask>", "special": true, "lstrip": true, "normalized": false});
    file["added_tokens"].as_array_mut().unwrap().push(mask);
    file
}

fn text(random: &mut Random, bytes: usize) -> String {
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(PIECES[random.below(PIECES.len())]);
        if random.below(9) == 0 {
            text.push_str(
                [" <mask>", "<mask> ", "  ", "[SEP]", " don't", "\u{a0}", "\u{3000}"][random.below(7)],
            );
        }
    }
    text
}

fn whole(tok: &Tokenizer, text: &str) -> (Vec<u32>, Vec<Span>, Vec<u32>) {
    let all = tok.collect(text, Chunks::new(text, Cuts::Never), usize::MAX, Truncation::Head, None).unwrap();
    let (t, _) = all.finish(usize::MAX, Truncation::Head);
    (t.ids, t.spans, t.words)
}

#[test]
fn byte_level_texts_cut_at_lone_spaces_are_the_whole() {
    for prefix_space in [false, true] {
        let tok = open(&all_bytes(prefix_space)).unwrap();
        assert_eq!(tok.cuts(), Cuts::Bytes);
        let mut random = Random(7);
        let mut parts = 0;
        for round in 0..2000 {
            let text = text(&mut random, 60);
            let chunks = || Chunks::sized(&text, tok.cuts(), 1 + round % 5);
            parts += chunks().count();
            let cut = tok.collect(&text, chunks(), usize::MAX, Truncation::Head, None).unwrap();
            let (t, _) = cut.finish(usize::MAX, Truncation::Head);
            assert_eq!((t.ids, t.spans, t.words), whole(&tok, &text), "{text:?}");
        }
        assert!(parts > 4000, "{parts} parts");
    }
    // A vocabulary that lacks bytes drops words, and one token that takes space to its right reaches over a cut.
    assert_eq!(open(&bpe()).unwrap().cuts(), Cuts::Never);
    let mut file = all_bytes(false);
    file["added_tokens"][2]["rstrip"] = true.into();
    assert_eq!(open(&file).unwrap().cuts(), Cuts::Never);
}

#[test]
fn windows_give_each_token_once_as_one_encoding_does() {
    let mut plain = bert();
    plain["normalizer"]["lowercase"] = false.into();
    for file in [bert(), plain, all_bytes(false)] {
        let tok = open(&file).unwrap();
        let mut random = Random(3);
        for round in 0..25 {
            let text = text(&mut random, [0, 40, 900, 9_000, 30_000][round % 5]);
            let (ids, spans, words) = whole(&tok, &text);
            let size = 3 + random.below(60);
            let room = size - 2;
            let stride = 1 + random.below(room);
            let mut next = 0;
            let mut last = false;
            let windows = tok.windows(&text, None, size, Some(stride)).unwrap();
            for (i, w) in windows.map(|w| w.unwrap()).enumerate() {
                assert!(!last && w.index == i && w.first == i * stride && w.encoding.len() <= size);
                let all = w.first..w.first + w.tokens.len();
                assert_eq!(w.encoding.ids[w.tokens.clone()], ids[all.clone()]);
                assert_eq!(w.encoding.offsets[w.tokens.clone()], spans[all.clone()]);
                let numbers: Vec<u32> =
                    w.encoding.word_ids[w.tokens.clone()].iter().flatten().copied().collect();
                assert_eq!(numbers, words[all.clone()]);
                let special = w.encoding.special.iter().filter(|&&s| s).count();
                assert_eq!(special + w.tokens.len(), w.encoding.len());
                assert!(w.own.start >= w.tokens.start && w.own.end <= w.tokens.end);
                assert_eq!(w.first + w.own.start - w.tokens.start, next);
                next += w.own.len();
                last = w.last;
                assert!(last || w.tokens.len() == room);
                assert_eq!(last, all.end == ids.len());
                // Divided between words, if the overlap holds a word's start behind its middle.
                let middle = w.first + stride + (room - stride).div_ceil(2);
                let starts = |i: usize| i > w.first && words[i] != words[i - 1];
                if !last && (middle..w.first + room).any(starts) {
                    assert_ne!(words[next], words[next - 1]);
                }
            }
            assert!(last);
            assert_eq!(next, ids.len());
        }
    }
}

#[test]
fn a_question_stands_before_every_window() {
    let tok = open(&bert()).unwrap();
    let text = "the hello word ".repeat(40);
    let question = "hello word";
    let all: Vec<Window> =
        tok.windows(&text, Some(question), 20, None).unwrap().map(|w| w.unwrap()).collect();
    assert!(all.len() > 5);
    let pair =
        tok.encode(question, Some(&text), &EncodeOptions { max_length: 4096, ..Default::default() }).unwrap();
    let from = pair.sequence_ids.iter().position(|&s| s == Some(1)).unwrap();
    assert_eq!(all[0].tokens.start, from);
    for w in &all {
        assert_eq!(w.encoding.ids[..from], pair.ids[..from]);
        assert_eq!(w.encoding.type_ids[..from], pair.type_ids[..from]);
        assert!(w.encoding.type_ids[w.tokens.clone()].iter().all(|&t| t == 1));
        let at = from + w.first..from + w.first + w.tokens.len();
        assert_eq!(w.encoding.ids[w.tokens.clone()], pair.ids[at]);
    }
    // Short enough: the pair itself.
    let short = tok.windows("the word", Some(question), 20, None).unwrap().next().unwrap().unwrap();
    assert_eq!(short.encoding, tok.encode(question, Some("the word"), &EncodeOptions::default()).unwrap());
}

#[test]
fn words_of_the_caller_in_windows() {
    let tok = open(&bert()).unwrap();
    let words: Vec<&str> = ["hello", "wording", "", "中文", "the"].repeat(20);
    let all = tok.encode_words(&words, &EncodeOptions::default()).unwrap();
    let mut got = vec![];
    for w in tok.word_windows(&words, 12, Some(7)).unwrap() {
        let w = w.unwrap();
        got.extend(w.own.clone().map(|i| (w.encoding.ids[i], w.encoding.offsets[i], w.encoding.word_ids[i])));
    }
    let want: Vec<_> = (1..all.len() - 1).map(|i| (all.ids[i], all.offsets[i], all.word_ids[i])).collect();
    assert_eq!(got, want);
}

#[test]
fn windows_that_cannot_be_are_told() {
    let tok = open(&bert()).unwrap();
    let error = |question: Option<&str>, size: usize, stride: Option<usize>| {
        let e = tok.windows("the text", question, size, stride).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidArgument);
        e.message().to_string()
    };
    assert!(error(None, 2, None).contains("no room"));
    assert!(error(None, 8, Some(0)).contains("gets nowhere"));
    assert!(error(None, 8, Some(7)).contains("use 1 to 6"));
    assert!(error(Some("hello"), 4, None).contains("shorter question"));
    assert!(error(Some(&"hello ".repeat(500)), 40, None).contains("or more"));
    assert!(tok.windows("the text", None, 3, Some(1)).is_ok());
    // One stretch without a place to cut is an error when it is reached, and the last thing.
    let long = "the ".to_string() + &"x".repeat(3 << 20);
    let mut windows = tok.windows(&long, None, 8, None).unwrap();
    assert_eq!(windows.next().unwrap().unwrap_err().kind(), ErrorKind::ResourceExhausted);
    assert!(windows.next().is_none());
}
