#!/usr/bin/env python3
"""Calibration, dev and test sets of the default bundle, in the forms that pocketbert-quantize reads.

    python data.py --data DATA --tokenizer TOKENIZER.json --out OUT

DATA is the folder of public data sets (not in this repository; models/README.md names them). Writes one file per set
and sets.json, which names them with their heads and roles. The splits are those that the checkpoint was trained and
judged with. `calibrate` rows come from training parts alone; `fit` rows (temperatures, thresholds) from dev parts.

Needs Python alone.
"""
import argparse
import csv
import json
import os
import random
import re


def tsv(path):
    return [l.rstrip("\n").rsplit("\t", 1) for l in open(path, encoding="utf8")]


def conll(path):
    out, words, tags = [], [], []
    for l in open(path, encoding="utf8"):
        p = l.rstrip("\n").split("\t")
        if len(p) < 2 or not p[0].strip():
            if words:
                out.append((words, tags))
            words, tags = [], []
        else:
            words.append(p[0])
            tags.append(p[1].strip() or "O")
    return out + ([(words, tags)] if words else [])


def snips(folder, prefix):
    out = []
    for intent in ("AddToPlaylist", "BookRestaurant", "GetWeather", "PlayMusic", "RateBook", "SearchCreativeWork",
                   "SearchScreeningEvent"):
        name = f"{folder}/{prefix}_{intent}{'_full' if prefix == 'train' else ''}.json"
        for r in json.load(open(name, encoding="latin-1"))[intent]:
            words, tags = [], []
            for seg in r["data"]:
                for k, w in enumerate(seg["text"].split()):
                    words.append(w)
                    tags.append("O" if "entity" not in seg else ("B-" if k == 0 else "I-") + seg["entity"])
            if words:
                out.append((words, tags))
    return out


class Writer:
    def __init__(s, out):
        s.out, s.sets = out, []
        os.makedirs(out, exist_ok=True)

    def add(s, head, name, role, ext, lines, max_length=128, description=""):
        file = name.lower().replace(" ", "-").replace("+", "-") + "." + ext
        with open(os.path.join(s.out, file), "w", encoding="utf8", newline="\n") as f:
            f.writelines(lines)
        s.sets.append({"head": head, "name": name, "role": role, "file": file, "max_length": max_length})

    def labelled(s, head, name, role, rows):
        s.add(head, name, role, "jsonl", [json.dumps({"text": t, "label": y}, ensure_ascii=False) + "\n" for t, y in rows])

    def tagged(s, head, name, role, rows):
        s.add(head, name, role, "conll", ["".join(f"{w}\t{t}\n" for w, t in zip(ws, ts)) + "\n" for ws, ts in rows])


def short_messages(w, d):
    """Real short messages: tweets with a mood, and what other people type and say to heads that never saw it."""
    p = d + "tweeteval/sentiment/"
    mood = {"0": "negative", "2": "positive"}
    rows = [(t.strip(), mood[y.strip()]) for t, y in zip(open(p + "test_text.txt", encoding="utf8"), open(p + "test_labels.txt"))
            if y.strip() in mood]
    w.labelled("sentiment", "Tweets", "test", random.Random(11).sample(rows, 1000))
    voice = [" ".join(ws) for ws, _ in snips(d + "snips", "validate")]
    w.add("intent", "Voice commands", "test", "jsonl", [json.dumps({"text": t}) + "\n" for t in voice])
    sms = [l.rstrip("\n").split("\t", 1)[1] for l in open(d + "sms_spam/sms.tsv", encoding="utf8") if "\t" in l]
    random.Random(3).shuffle(sms)
    w.add("sentiment", "SMS", "test", "jsonl", [json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in sms[:500]])


def entailed(w, d):
    """Requests with sentences about labels that `entail` never saw: the right one and two others each."""
    rng, out = random.Random(21), []
    clinc = json.load(open(d + "clinc150/data_full.json"))
    banking = lambda part: [(r["text"], r["category"]) for r in csv.DictReader(open(d + f"banking77/{part}.csv"))]
    words = lambda label: label.replace("_", " ").replace("?", "").strip().lower()
    # The labels that heads/train_entail.py holds out: the same draws.
    for train, test, n in ((clinc["train"], clinc["test"], 30), (banking("train"), banking("test"), 17)):
        labels = sorted({y for _, y in train})
        rng.shuffle(labels)
        held, pick = sorted(labels[:n]), random.Random(12)
        for y in held:
            for t in [t for t, own in test if own == y][:8]:
                for l in [y, *pick.sample([l for l in held if l != y], 2)]:
                    row = {"text": t, "pair": f"This text is about {words(l)}.", "label": "entailed" if l == y else "not_entailed"}
                    out.append(json.dumps(row) + "\n")
    w.add("entail", "Labels never seen", "test", "jsonl", out)


def masked(w, d, tokenizer):
    """Held-out texts, in each one token of the vocabulary masked: a whole word of three letters or more."""
    vocabulary = json.load(open(tokenizer, encoding="utf8"))["model"]["vocab"]
    rng, out = random.Random(13), []
    clinc = [t for t, _ in json.load(open(d + "clinc150/data_full.json"))["test"]]
    sst2 = [t for t, _ in tsv(d + "sst2/test.tsv")]
    for text in random.Random(14).sample(clinc, 400) + random.Random(15).sample(sst2, 400):
        places = [m for m in re.finditer(r"(?<!\S)[A-Za-z]{3,}(?!\S)", text) if m.group() in vocabulary]
        if len(text.split()) < 5 or not places:
            continue
        m = rng.choice(places)
        row = {"text": f"{text[:m.start()]}[MASK]{text[m.end():]}", "answers": [m.group()]}
        out.append(json.dumps(row, ensure_ascii=False) + "\n")
    w.add("fill_mask", "Held-out words", "test", "jsonl", out)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--tokenizer", required=True, help="tokenizer.json of bert-base-cased")
    a = ap.parse_args()
    d, w, train = a.data.rstrip("/") + "/", Writer(a.out), {}
    names = ["negative", "positive"]
    rows = {p: [(t, names[int(y)]) for t, y in tsv(f"{d}sst2/{p}.tsv")] for p in ("train", "dev", "test")}
    train["sentiment"] = [{"text": t} for t, _ in rows["train"]]
    w.labelled("sentiment", "SST-2 dev", "dev", rows["dev"])
    w.labelled("sentiment", "SST-2 test", "test", rows["test"])
    c = json.load(open(d + "clinc150/data_full.json"))
    train["intent"] = [{"text": t} for k in ("train", "oos_train") for t, _ in c[k]]
    for name, role, keys in (("CLINC val", "dev", ("val", "oos_val")), ("CLINC test", "test", ("test", "oos_test"))):
        part = [tuple(r) for k in keys for r in c[k]]
        random.Random(0).shuffle(part)
        w.labelled("intent", name, role, part)
    sms = [l.rstrip("\n").split("\t", 1) for l in open(d + "sms_spam/sms.tsv", encoding="utf8") if "\t" in l]
    random.Random(3).shuffle(sms)
    sms = [(t, y) for y, t in sms]
    train["spam"] = [{"text": t} for t, _ in sms[1000:]]
    w.labelled("spam", "SMS dev", "dev", sms[:500])
    w.labelled("spam", "SMS test", "test", sms[500:1000])
    names = ["hate_speech", "offensive_language", "neither"]
    dv = [(r["tweet"], names[int(r["class"])])
          for r in csv.DictReader(open(d + "davidson/labeled_data.csv", encoding="utf8"))]
    random.Random(4).shuffle(dv)
    train["moderation"] = [{"text": t} for t, _ in dv[3000:15000]]
    w.labelled("moderation", "Davidson dev", "dev", dv[:1500])
    w.labelled("moderation", "Davidson test", "test", dv[1500:3000])
    train["entities"] = [{"text": " ".join(ws)} for ws, _ in conll(d + "wnut17/wnut17train.conll")]
    w.tagged("entities", "WNUT-17 dev", "dev", conll(d + "wnut17/emerging.dev.conll"))
    w.tagged("entities", "WNUT-17 test", "test", conll(d + "wnut17/emerging.test.annotated"))
    tr = snips(d + "snips", "train")
    random.Random(5).shuffle(tr)
    train["slots"] = [{"text": " ".join(ws)} for ws, _ in tr[700:]]
    w.tagged("slots", "SNIPS dev", "dev", tr[:700])
    w.tagged("slots", "SNIPS test", "test", snips(d + "snips", "validate"))
    arts = json.load(open(d + "xquad/xquad.en.json"))["data"]
    random.Random(6).shuffle(arts)
    arts += json.load(open(d + "squad/train-part.json", encoding="utf8"))["data"]
    for name, role, part in (("XQuAD dev", "dev", arts[7:10]), ("XQuAD test", "test", arts[:7])):
        rows = [{"question": q["question"], "context": p["context"], "answers": [x["text"] for x in q["answers"]]}
                for x in part for p in x["paragraphs"] for q in p["qas"]]
        w.add("answer", name, role, "jsonl", [json.dumps(r, ensure_ascii=False) + "\n" for r in rows], 320)
    train["answer"] = [{"text": q["question"], "pair": p["context"]}
                       for x in arts[10:] for p in x["paragraphs"] for q in p["qas"]]
    for part, role in (("dev", "dev"), ("test", "test")):
        rows = [l.rstrip("\n").split("\t") for l in open(f"{d}stsb/sts-{part}.csv", encoding="utf8")]
        w.add("embed", f"STS-B {part}", role, "jsonl",
              [json.dumps({"text": p[5], "pair": p[6], "score": float(p[4])}, ensure_ascii=False) + "\n" for p in rows])
    train["embed"] = [{"text": l.split("\t")[5]} for l in open(f"{d}stsb/sts-train.csv", encoding="utf8")]
    short_messages(w, d)
    entailed(w, d)
    masked(w, d, a.tokenizer)
    # As many rows of every head, shuffled once: a prefix or a seeded sample of any length is a fair mix. One part in
    # eight are questions with their paragraphs, which are ten times as long.
    mixed = []
    for rows in train.values():
        mixed += random.Random(9).sample(rows, 200)
    random.Random(10).shuffle(mixed)
    w.add("", "calibration", "calibrate", "jsonl", [json.dumps(r, ensure_ascii=False) + "\n" for r in mixed], 320)
    with open(os.path.join(a.out, "sets.json"), "w") as f:
        json.dump({"sets": w.sets}, f, indent=1)


if __name__ == "__main__":
    main()
