#!/usr/bin/env python3
"""Makes the seeds that need nothing but Python: tokenizer files, manifests and containers with one fault each, so
that every check is reached, and a long text.

    python make_small_seeds.py

writes into corpus/{tokenizer_json,bundle,text,onnx} beside this file.
"""
import copy
import json
import os
import struct
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))


def save(target, name, data):
    with open(f"{HERE}/corpus/{target}/{name}", "wb") as f:
        f.write(data)


def dumps(v):
    return json.dumps(v, ensure_ascii=False, separators=(",", ":")).encode()


def patched(base, path, value):
    """A copy of `base` with `value` at `path`; a value that is a function changes what is there."""
    out = copy.deepcopy(base)
    keys = [int(k) if k.isdigit() else k for k in path.split("/")]
    at = out
    for k in keys[:-1]:
        at = at[k]
    at[keys[-1]] = value
    return out


def tokenizers():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    base = {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": [{"id": i, "content": t, **flags} for i, t in enumerate(special)],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": True, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}},
        },
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 20,
                  "vocab": {**{t: i for i, t in enumerate(special)}, "a": 5, "##b": 6, "hello": 7}},
    }
    bpe = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "Whitespace"},
           "post_processor": None, "model": {"type": "BPE", "unk_token": "a", "vocab": {"a": 0, "b": 1, "ab": 2},
                                             "merges": ["a b"]}}
    nfc = {"type": "NFC"}
    deep = nfc
    for _ in range(6):
        deep = {"type": "Sequence", "normalizers": [deep]}
    grow = {"type": "Replace", "pattern": {"String": "a"}, "content": "aaa"}
    regex = {"Regex": "(a+)+$"}
    level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    split = {"type": "Split", "pattern": {"String": "l"}, "behavior": "Removed", "invert": False}
    metaspace = {"type": "Metaspace", "replacement": "_", "add_prefix_space": True}
    faults = [
        ("whole", "version", "1.0"), ("version", "version", "2.0"), ("list", "normalizer", []), ("no-type", "normalizer", {"a": 1}),
        ("charsmap", "normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        ("normalizer-regex", "normalizer", {"type": "Replace", "pattern": regex, "content": ""}),
        ("deep", "normalizer", deep), ("long", "normalizer", {"type": "Sequence", "normalizers": [nfc] * 40}),
        ("grow", "normalizer", {"type": "Sequence", "normalizers": [grow] * 3}),
        ("no-list", "normalizer", {"type": "Sequence", "normalizers": 3}),
        ("prepend", "normalizer", {"type": "Prepend", "prepend": "x" * 17}),
        ("clean", "normalizer/clean_text", "yes"), ("accents", "normalizer/strip_accents", 1), ("accents-null", "normalizer/strip_accents", None),
        ("lower", "normalizer/lowercase", False), ("cjk", "normalizer/handle_chinese_chars", False),
        ("split-regex", "pre_tokenizer", {**split, "pattern": regex}), ("split", "pre_tokenizer", split),
        ("split-empty", "pre_tokenizer", {**split, "pattern": {"String": ""}}),
        ("split-contiguous", "pre_tokenizer", {**split, "behavior": "Contiguous"}),
        ("behavior", "pre_tokenizer", {"type": "Punctuation", "behavior": "Sometimes"}),
        ("punctuation", "pre_tokenizer", {"type": "Punctuation"}), ("unknown", "pre_tokenizer", {"type": "FixedLength"}),
        ("two-levels", "pre_tokenizer", {"type": "Sequence", "pretokenizers": [level, level]}),
        ("one-level", "pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, level]}),
        ("metaspace", "pre_tokenizer", metaspace), ("metaspace-two", "pre_tokenizer", {**metaspace, "replacement": "ab"}),
        ("metaspace-never", "pre_tokenizer", {**metaspace, "prepend_scheme": "never", "add_prefix_space": False}),
        ("metaspace-old", "pre_tokenizer", {**metaspace, "add_prefix_space": False}),
        ("metaspace-odd", "pre_tokenizer", {**metaspace, "prepend_scheme": "odd"}),
        ("metaspace-always", "pre_tokenizer", {**metaspace, "prepend_scheme": "always"}),
        ("no-single", "post_processor/single", []), ("no-pair", "post_processor/pair", None),
        ("piece", "post_processor/single/0/SpecialToken/id", "[X]"), ("far-id", "post_processor/special_tokens/[CLS]/ids", [99]),
        ("many", "post_processor/special_tokens/[CLS]/ids", [2] * 70), ("processor", "post_processor", {"type": "Mystery"}),
        ("unigram", "model/type", "Unigram"), ("vocab-list", "model/vocab", [["a", -1.0]]), ("vocab-none", "model/vocab", {}),
        ("same-id", "model/vocab/hello", 5), ("negative", "model/vocab/hello", -1), ("huge-id", "model/vocab/hello", 1 << 31),
        ("no-unk", "model/unk_token", "[WHAT]"), ("null-unk", "model/unk_token", None), ("unk-number", "model/unk_token", 3),
        ("word-chars", "model/max_input_chars_per_word", 10 ** 6), ("prefix", "model/continuing_subword_prefix", "#" * 3000),
        ("prefix-number", "model/continuing_subword_prefix", 7), ("content", "added_tokens/0/content", ""),
        ("content-long", "added_tokens/0/content", "x" * 1100), ("added-id", "added_tokens/0/id", 77),
        ("added-far", "added_tokens/0/id", 1 << 30), ("added-number", "added_tokens", 5), ("model-number", "model", 5),
        ("wide-token", "added_tokens/0/lstrip", True), ("config", "model_max_length", 512), ("numbers", "padding", [1.5, -2, True]),
    ]
    for name, path, value in faults:
        save("tokenizer_json", f"fault-{name}", dumps(patched(base, path, value)))
    for name, value in [("merge", ["a c"]), ("merge-one", ["a"]), ("merge-empty", [["", "a"]]), ("merge-three", [["a", "b", "a"]]),
                        ("merge-number", 4), ("merge-pair", [["a", "b"]])]:
        save("tokenizer_json", f"fault-{name}", dumps(patched(bpe, "model/merges", value)))
    save("tokenizer_json", "fault-bpe-prefix", dumps(patched(bpe, "model/continuing_subword_prefix", "bbb")))
    text = dumps(base).decode()
    save("tokenizer_json", "fault-key-twice", text.replace('"padding"', '"version"').encode())
    save("tokenizer_json", "fault-model-key-twice", text.replace('"max_input_chars_per_word"', '"type"').encode())
    save("tokenizer_json", "fault-part-key-twice", text.replace('"clean_text"', '"lowercase"').encode())
    save("tokenizer_json", "fault-token-twice", text.replace('"hello"', '"a"').encode())
    save("tokenizer_json", "fault-no-model", b'{"version":"1.0"}')
    save("tokenizer_json", "fault-array", b"[1]")


def bundles():
    base = {
        "format_version": 1, "features": [], "model": {"name": "tiny", "version": "1"},
        "graph": {"entry": "model.onnx"}, "weights": {"entry": "weights.bin"},
        "tokenizer": {"entry": "tokenizer.json", "max_length": 8}, "default_head": "h",
        "heads": [{"name": "h", "task": "text-classification", "output": "o", "labels": ["a", "b"],
                   "thresholds": {"a": 0.5}, "temperature": 1.0, "max_length": 8,
                   "windowing": {"size": 8, "stride": 4}}],
        "self_test": [{"text": "t", "ids": [1, 2], "outputs": {"h": {"shape": [1, 1], "bits": ["3f800000"]}}}],
    }
    head = base["heads"][0]
    tags = {"name": "h", "task": "token-classification", "output": "o", "labels": ["O", "B-x"], "tagging": "bio"}
    test = base["self_test"][0]
    faults = [
        ("good", "format_version", 1), ("zero", "format_version", 0), ("hash", "constants_sha256", "xyz"),
        ("hash-good", "constants_sha256", "ab" * 32), ("two-roles", "weights/entry", "model.onnx"), ("no-entry", "weights/entry", "w.bin"),
        ("lists-itself", "graph/entry", "manifest.json"), ("no-heads", "heads", []), ("heads-twice", "heads", [head, head]),
        ("many-heads", "heads", [{**head, "name": f"h{i}"} for i in range(70)]), ("default", "default_head", "x"),
        ("label-twice", "heads/0/labels", ["a", "a"]), ("no-labels", "heads/0/labels", []), ("threshold", "heads/0/thresholds", {"x": 0.5}),
        ("threshold-two", "heads/0/thresholds", {"a": 2}), ("temperature", "heads/0/temperature", 0), ("length", "heads/0/max_length", 99),
        ("windows", "heads/0/windowing", {"size": 8, "stride": 9}), ("tags", "heads/0", tags), ("tag", "heads/0", {**tags, "labels": ["O", "Q-x"]}),
        ("ids", "self_test", [{**test, "ids": []}]), ("test-head", "self_test", [{**test, "outputs": {"x": test["outputs"]["h"]}}]),
        ("bits", "self_test", [{**test, "outputs": {"h": {"shape": [3], "bits": ["3f800000"]}}}]),
        ("bits-bad", "self_test", [{**test, "outputs": {"h": {"shape": [1], "bits": ["3F8"]}}}]),
        ("bits-number", "self_test", [{**test, "outputs": {"h": {"shape": [1], "bits": 4}}}]),
        ("bits-numbers", "self_test", [{**test, "outputs": {"h": {"shape": [1], "bits": [4]}}}]),
        ("outputs", "self_test", [{**test, "outputs": 3}]), ("tests", "self_test", [test] * 70),
        ("name", "model/name", ""), ("name-control", "model/name", "a\u0007"), ("name-long", "model/name", "x" * 300),
        ("text-long", "model/description", "x" * 5000), ("tokens", "tokenizer/max_length", 0),
        ("deep", "validation", json.loads("[" * 70 + "]" * 70)), ("escapes", "model/description", 'a"b\\c\n'),
        ("null", "validation", {"a": [None, True, -3, 1.5, "x", {}, []]}), ("recipe", "model/recipe", ["a", {"b": 2}]),
    ]
    for name, path, value in faults:
        save("bundle", f"manifest-{name}", b"\x01" + dumps(patched(base, path, value)))
    save("bundle", "manifest-key-twice", b'\x01{"format_version":1,"model":{"name":"a","name":"b"}}')
    save("bundle", "manifest-map-twice", b"\x01" + dumps(base).replace(b'{"a":0.5}', b'{"a":0.5,"a":0.5}'))

    # Containers: bytes of the sample changed in place, checksums put right by the target.
    with open(f"{HERE}/corpus/bundle/repaired", "rb") as f:
        good = f.read()[1:]
    save("bundle", "file", b"\x03" + good)
    save("bundle", "file-cut", b"\x03" + good[:-5])
    end = good.rindex(b"PK\x05\x06")
    directory = struct.unpack("<I", good[end + 16:end + 20])[0]
    second = good.index(b"PK\x03\x04", 4)

    def change(name, at, data):
        save("bundle", f"container-{name}", b"\x02" + good[:at] + data + good[at + len(data):])

    change("flags", 6, b"\x08")
    change("method", 8, b"\x08")
    change("local-name", 30, b"n")
    change("align", 30 + 13 + 4, b"\x05")
    change("pad", 30 + 13 + 6 + 2, b"\x01")
    change("central-flags", directory + 8, b"\x01")
    change("offset", directory + 42, b"\x02")
    change("name-slash", directory + 46, b"/")
    change("name-bytes", directory + 46, b"\xff")
    change("count", end + 10, b"\x05\0")
    change("no-entries", end + 8, b"\0\0\0\0")
    change("directory-size", end + 12, b"\xff")
    change("comment", end + 20, b"\x01")
    change("second-magic", second, b"XX")
    change("size", 18, struct.pack("<II", 1 << 30, 1 << 30))
    save("bundle", "container-weights", b"\x02" + good.replace(b"ABCDEFGH", b"ABCDEFGX"))
    save("bundle", "container-entry-size", b"\x02" + good.replace(b'"size":8', b'"size":9'))
    save("bundle", "container-not-listed", b"\x02" + good.replace(b'"weights.bin":{', b'"weights.bim":{'))
    save("bundle", "container-twice", b"\x02" + good.replace(b"tokenizer.json", b"manifest.json\0"[:14].replace(b"\0", b"x")))
    save("bundle", "container-crc", b"\x00" + good.replace(b"ABCDEFGH", b"ABCDEFGX"))
    save("bundle", "container-manifest-crc", b"\x00" + good.replace(b'"version":"1"', b'"version":"2"'))
    for n in (2, 20, 40, second + 8, directory + 9, end + 6):
        save("bundle", f"cut-{n}", b"\x00" + good[:n])
    save("bundle", "after-directory", b"\x02" + good[:end] + b"\0\0" + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 4, 4, end - directory + 2,
                                                                                directory, 0))
    for name, data in [("empty", b""), ("gzip", b"\x1f\x8b\x08\0\0\0\0\0"), ("elf", b"\x7fELF\2\1\1\0"), ("json", b'{"a": 1}'),
                       ("zeros", bytes(64)), ("html", b"<!DOCTYPE html><html>"), ("pickle", b"\x80\x02}q\0."), ("text", b"hello there"),
                       ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"), ("hdf5", b"\x89HDF\r\n\x1a\n"),
                       ("tflite", b"\x1c\0\0\0TFL3\0\0"), ("gguf", b"GGUF\3\0\0\0"), ("binary", bytes(range(200, 232)))]:
        save("bundle", f"foreign-{name}", b"\x00" + data)


def texts():
    words = "the man hello, a ab! 中文。été — x-y "
    save("text", "long", b"\x00\x20" + (words * 220).encode())
    save("text", "long-uncased", b"\x01\x08" + (words * 220).encode())
    save("text", "long-cjk", b"\x00\x20" + ("中文" * 1500 + "、x").encode())
    save("text", "long-word", b"\x00\x08" + b"ab" * 3000)
    save("text", "long-bpe", b"\x02\x10" + (words * 40).encode())


def onnx():
    """Protobuf faults, by hand."""
    field = lambda n, data: bytes([n << 3 | 2, len(data)]) + data
    graph = lambda data: b"\x08\x08" + field(7, data)
    tensor = lambda data: graph(field(5, data))
    cases = {
        "empty": b"", "no-graph": b"\x08\x08", "group": b"\x3b", "cut": b"\x3a\x05\x0a", "varint": b"\x80", "fixed": b"\x09\0",
        "function": field(7, b"") + b"\xca\x01\x02" + field(2, b"")[:2], "sparse": graph(b"\x7a\x00"), "no-output": graph(b""),
        "output-missing": graph(field(12, field(1, b"x"))), "input-no-type": graph(field(11, field(1, b"i"))),
        "reads-nothing": graph(field(1, field(1, b"x") + field(2, b"y") + field(4, b"Abs"))),
        "made-twice": graph(2 * field(1, field(2, b"y") + field(4, b"Constant"))),
        "tensor-twice": graph(2 * field(5, b"\x10\x01" + field(8, b"a"))),
        "tensor-type": tensor(b"\x10\x55"), "tensor-rank": tensor(b"\x08\x01" * 9 + b"\x10\x01"),
        "tensor-negative": tensor(b"\x08" + b"\xff" * 9 + b"\x01\x10\x01"), "tensor-large": tensor((b"\x08" + b"\xff" * 4 + b"\x07") * 2 + b"\x10\x01"),
        "tensor-short": tensor(b"\x08\x04\x10\x01" + field(9, b"abc")), "external-no-place": tensor(b"\x08\x04\x10\x01\x70\x01"),
        "external-number": tensor(b"\x08\x04\x10\x01\x70\x01" + field(13, field(1, b"offset") + field(2, b"x"))),
        "external": tensor(b"\x08\x04\x10\x01\x70\x01" + field(13, field(1, b"location") + field(2, b"x"))),
        "attribute-graph": graph(field(1, field(2, b"y") + field(4, b"If") + field(5, field(1, b"g") + field(6, b"") + b"\xa0\x01\x05"))),
        "attribute-strings": graph(field(1, field(2, b"y") + field(4, b"Q") + field(5, field(1, b"s") + field(9, b"t") + b"\xa0\x01\x08")) +
                                   field(12, field(1, b"y"))),
        "attribute-no-tensor": graph(field(1, field(2, b"y") + field(4, b"Constant") + field(5, field(1, b"v") + b"\xa0\x01\x04")) +
                                     field(12, field(1, b"y"))),
        "input-rank": graph(field(11, field(1, b"i") + field(2, field(1, b"\x08\x07" + field(2, field(1, b"\x08\x01") * 9))))),
    }
    for k in (2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 16):
        cases[f"type-{k}"] = tensor(b"\x08\x04\x10" + bytes([k]) + field(9, b"abc"))
    for name, data in cases.items():
        save("onnx", f"fault-{name}", data)


tokenizers()
bundles()
texts()
onnx()
