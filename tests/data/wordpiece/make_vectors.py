#!/usr/bin/env python3
"""Writes `cased.json.gz`: what the Python package `tokenizers` (0.23.3) answers for tricky strings.

    make_vectors.py TOKENIZER_JSON OUT_FOLDER

TOKENIZER_JSON is the one of bert-base-cased, which is packed beside it as `bert-base-cased.json.gz`. Offsets are
byte offsets here (the package counts characters). Every text is of our own making.
"""
import gzip
import json
import pathlib
import sys

from tokenizers import Tokenizer, __version__

assert __version__ == "0.23.3", __version__
path, out = map(pathlib.Path, sys.argv[1:])
tok = Tokenizer.from_file(str(path))
tok.no_padding()
tok.no_truncation()

TEXTS = [
    "", " ", "\n\t \r\n", "\u3000\u00a0", "a", "Hello, world!", "don't can't I'm", "e-mail: a.b@c.example, 50% off!!!",
    "U.S.A. vs. the U.K.", "1,234.56 or 1.234,56", "ALL CAPS and miXeD", "antidisestablishmentarianism",
    "naïve café résumé", "nai\u0308ve cafe\u0301", "Ångström ÅNGSTRÖM a\u030angstro\u0308m", "straße STRASSE İstanbul ıIi",
    "ΑΣΣ Σίσυφος ΣΊΣΥΦΟΣ", "ﬁne ﬂow ﬀ", "①②③ ½ ¼ x² H₂O", "Привет, мир!", "Ёлка и йод", "Здравствуйте",
    "你好，世界", "我爱北京天安门", "漢字かな交じり文", "カタカナ ｶﾀｶﾅ", "한국어 문장입니다", "\u1112\u1161\u11ab", "豈更車", "𠀀𠀁𪛖",
    "مرحبا بالعالم", "שָׁלוֹם עוֹלָם", "left \u202bright\u202c left", "हिन्दी में", "ภาษาไทยไม่มีช่องว่าง", "தமிழ்", "ไทย ๑๒๓",
    "😀", "I ❤️ you", "👩‍👩‍👧‍👦 family", "🇩🇪🇫🇷 flags", "👍🏽 ok", "a😀b", "e\u0301\u0301\u0301", "\u0301alone", " \u0301 \u0301x",
    "x\u0000y", "\u0000", "\u0001\u0002a\u0003", "a\u200bb\u200dc", "\ufeffbom", "rep\ufffdlace", "\ufffd", "soft\u00adhyphen",
    "\ue000 private \U000e0001", "unassigned \u0378 \U0003fffd", "line\u2028sep\u2029par", "tab\tnew\nret\rend", "a" * 100, "a" * 101,
    "x" * 99 + " " + "y" * 130, "[MASK] [SEP] [CLS]", "the [MASK]ed word [mask] [UNK]", "[PAD][PAD]", "##ing ## ing", "—–‒―", "“quoted” ‘text’ «this»",
    "…wait...", "$100 €200 £300 ¥400 ₹500", "C++ C# F# .NET", "a_b_c snake_case __init__", "http://example.org/path?q=1&r=2#top",
    "\\back\\slash /slash/", "`tick` ^hat ~tilde |pipe|", "a\u0300b\u0301c\u0302", "ﷺ ﷽", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝕏", "ǅ ǆ Ǆ", "K\u212a Å\u212b", "Zürich’s Größe",
    "word " * 40, "中" * 30, "a b c d e f g h i j k l m n o p", "é" * 60,
]
PAIRS = [
    ("What is it?", "It is a test."), ("", ""), ("", "second only"), ("first only", ""), ("short", "long " * 30),
    ("long " * 30, "short"), ("one two three four five six", "a b c d e f"), ("中文 text", "😀 emoji pair é"),
    ("a b c d e f g h i j", "k l m n o p q r s t"), ("[SEP] in text", "[MASK]"),
]


def bytes_before(text):
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return at


def answer(e, texts):
    maps = [bytes_before(t) for t in texts]
    spans = [
        [0, 0] if s is None else [maps[s][a], maps[s][b]] for s, (a, b) in zip(e.sequence_ids, e.offsets)
    ]
    return {
        "ids": e.ids, "types": e.type_ids, "spans": spans, "special": e.special_tokens_mask,
        "words": e.word_ids, "sequences": e.sequence_ids,
    }


cases = []
for t in TEXTS:
    cases.append({"text": t, "max": None, "want": answer(tok.encode(t), [t])})
    cases.append({"text": t, "max": None, "plain": True, "want": answer(tok.encode(t, add_special_tokens=False), [t])})
for a, b in PAIRS:
    cases.append({"text": a, "pair": b, "max": None, "want": answer(tok.encode(a, b), [a, b])})
for direction in ("right", "left"):
    for n in (3, 4, 5, 6, 8, 9, 16, 17, 32):
        tok.enable_truncation(n, strategy="longest_first", direction=direction)
        for t in TEXTS[::6] + TEXTS[-4:]:
            cases.append({"text": t, "max": n, "side": direction, "want": answer(tok.encode(t), [t])})
        for a, b in PAIRS:
            cases.append({"text": a, "pair": b, "max": n, "side": direction, "want": answer(tok.encode(a, b), [a, b])})
tok.no_truncation()
words = ["Hello", "wörld", "", "two words", "😀", "#hashtag", "\u0301", "antidisestablishmentarianism"]
e = tok.encode(words, is_pretokenized=True)
spans = [[0, 0] if w is None else [bytes_before(words[w])[x] for x in o] for w, o in zip(e.word_ids, e.offsets)]
cases.append({"list": words, "max": None, "want": dict(answer(tok.encode(""), [""]), ids=e.ids, types=e.type_ids,
              spans=spans, special=e.special_tokens_mask, words=e.word_ids, sequences=e.sequence_ids)})


def pack(name, value):
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    with open(out / name, "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
        z.write(data)


pack("cased.json.gz", cases)
pack("bert-base-cased.json.gz", json.loads(path.read_text()))
print(len(cases), "cases from", len(TEXTS), "texts and", len(PAIRS), "pairs")
