#!/usr/bin/env python3
"""WordPiece on mixed scripts: three small vocabularies and the answers of the Python package.

    python make_mixed.py

Counts a vocabulary of about a thousand entries in sentences of our own in 17 scripts, once for each kind of normalizer (cased;
uncased without accents; cased with ideographs left together), with two custom tokens beside the usual ones, and
writes what `tokenizers` answers to 360 lines that mix the sentences with marks, emoji and controls: ids, type ids,
byte spans, words; every third line as a pair. Writes mixed.json.gz, byte for byte the same each time.

Needs tokenizers 0.23.
"""
import gzip
import json
import os
import random
from collections import Counter

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

SENTENCES = """
The quick brown fox jumps over the lazy dog near the river bank
Où est la bibliothèque, s'il vous plaît ? Déjà vu à Orléans
Straße und Übermut: zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich
El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia
Pchnąć w tę łódź jeża lub ośm skrzyń fig
İstanbul'da ılık bir gün, çok güzel şeyler öğrendik
Xin chào, tôi muốn đặt một bàn cho hai người ở Hà Nội
Съешь же ещё этих мягких французских булок, да выпей чаю
Привіт, як справи? Це їжак і ґанок
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία στους δρόμους ΑΣ
שָׁלוֹם עֲלֵיכֶם מה שלומך היום
مرحبا بالعالم كيف حالك اليوم يا صديقي ١٢٣
سلام دنیا، کتاب‌ها کجا هستند؟
नमस्ते दुनिया, आप कैसे हैं क्षत्रिय ज्ञान
আমার সোনার বাংলা আমি তোমায় ভালোবাসি
வணக்கம் உலகம் தமிழ் மொழி
สวัสดีชาวโลก วันนี้อากาศดี
안녕하세요 세계 오늘 날씨가 좋습니다
こんにちは世界。カタカナとひらがなを混ぜる
東京都に住んでいます、ﾊﾝｶｸもある
你好，世界！今天天气很好。我们去北京吧
繁體中文與簡體中文不同，豈𠮷𡃁
გამარჯობა მსოფლიო
Բարեւ աշխարհ
ሰላም ለዓለም
""".strip().splitlines()
ODD = ["😀", "👩‍👩‍👧", "🇩🇪", "e\u0301", "A\u030a\u0323", "\u0345\u0301", "한", "ﬁ", "①", "½", "\u200b", "\u200d",
       "\u00ad", "\ufeff", "\u0000", "\u0007", "\u3000", "\u00a0", "\t", "—", "…", "“x”", "$5.00", "x@y.z", "a_b", "##a",
       "[MASK]", "[SEP]", "<city>", "<CITY>", "[unused7]", "ⅷ", "ǅ", "ß", "İ", "ς", "\u2028", "𝔘𝔫𝔦", "🏽", "\ufffd"]
KINDS = {
    "cased": dict(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False),
    "uncased": dict(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True),
    "together": dict(clean_text=True, handle_chinese_chars=False, strip_accents=True, lowercase=False),
}


def lines():
    r = random.Random(20)
    out = []
    for _ in range(360):
        words = []
        for _ in range(r.randint(1, 4)):
            s = r.choice(SENTENCES)
            a, b = sorted(r.randrange(len(s) + 1) for _ in range(2))
            words.append(s[a:b])
            if r.random() < 0.7:
                words.append(r.choice(ODD))
        out.append(r.choice(["", " ", " "]).join(words))
    return out


def build(kind):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(**KINDS[kind])
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # The package's trainer leaves ties to chance, so pieces are counted here: the letters as they stand in words, then
    # the commonest pieces of 2 to 4 letters.
    letters, pieces = Counter(), Counter()
    for s in SENTENCES:
        for word, _ in t.pre_tokenizer.pre_tokenize_str(t.normalizer.normalize_str(s)):
            for i in range(len(word)):
                letters["##" * (i > 0) + word[i]] += 1
                for n in (2, 3, 4):
                    if i + n <= len(word):
                        pieces["##" * (i > 0) + word[i : i + n]] += 1
    common = sorted(pieces, key=lambda w: (-pieces[w], w))[:400]
    vocab = special + sorted(letters) + sorted(common)
    model = models.WordPiece({w: i for i, w in enumerate(vocab)}, unk_token="[UNK]", max_input_chars_per_word=100)
    out = Tokenizer(model)
    out.normalizer, out.pre_tokenizer = t.normalizer, t.pre_tokenizer
    out.add_special_tokens(special)
    out.add_special_tokens([AddedToken("<city>", special=True)])
    out.add_tokens([AddedToken("[unused7]", normalized=False, single_word=True)])
    ids = {n: out.token_to_id(n) for n in special}
    out.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])])
    return out


def answer(t, text, pair):
    e = t.encode(text, pair)
    spans = []
    for (a, b), which in zip(e.offsets, e.sequence_ids):
        s = pair if which == 1 else text
        spans.append([0, 0] if which is None else [len(s[:a].encode()), len(s[:b].encode())])
    return {"ids": e.ids, "types": e.type_ids, "spans": spans, "words": e.word_ids}


def main():
    texts = lines()
    out = {"texts": texts, "kinds": {}}
    for kind in KINDS:
        t = build(kind)
        answers = [answer(t, s, texts[i - 1] if i % 3 == 2 else None) for i, s in enumerate(texts)]
        out["kinds"][kind] = {"tokenizer": json.loads(t.to_str()), "answers": answers}
        tokens = [i for a in answers for i in a["ids"]]
        print(kind, t.get_vocab_size(), len(tokens), "unknown", tokens.count(t.token_to_id("[UNK]")))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mixed.json.gz")
    with open(path, "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
        z.write(json.dumps(out, ensure_ascii=False, separators=(",", ":")).encode())


if __name__ == "__main__":
    main()
