#!/usr/bin/env python3
"""The results of ci/methods.sh as Markdown: NAME=PATH, where PATH.json is what `validate --json` wrote, PATH.made holds
CPU seconds and KB of quantizing, and PATH.ran CPU seconds of twice 256 texts. Needs python3 alone."""
import json
import os
import sys


def numbers(path):
    return [float(x) for x in open(path).read().split()] if os.path.exists(path) else []


def power(x):
    mantissa, exponent = f"{x:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def main():
    rows = []
    for arg in sys.argv[1:]:
        name, path = arg.split("=", 1)
        sets = [s for s in json.load(open(path + ".json"))["sets"] if not s["slice"]]
        rows.append((name, sets, numbers(path + ".made"), numbers(path + ".ran")))
    sentiment = [s["name"] for s in rows[0][1] if s["name"].startswith("SST-2")]
    print("| method | " + " | ".join(f"{s}: accuracy, flips, KL" for s in sentiment) +
          " | all texts with labels: flips, KL, accuracy | to quantize: CPU, memory | CPU a text |")
    print("|---|" + "---|" * (len(sentiment) + 3))
    for name, sets, made, ran in rows:
        by = {s["name"]: s for s in sets}
        cells = [f"{s['quality']['model']:.2f}, {s['flips']} ({100 * s['flips'] / s['units']:.2f} %), {power(s['kl_mean'])}"
                 for s in (by[n] for n in sentiment)]
        # Classes of whole texts, each text once.
        texts = [s for s in sets if s["quality"]["measure"] == "accuracy" and s["units"] == s["texts"] and s["kl_mean"] is not None]
        n, flips = sum(s["texts"] for s in texts), sum(s["flips"] for s in texts)
        mean = lambda f: sum(f(s) * s["texts"] for s in texts) / n
        fall = [mean(lambda s: s["quality"][k]) for k in ("reference", "model")]
        cells.append(f"{flips} of {n:,} ({100 * flips / n:.2f} %), {power(mean(lambda s: s['kl_mean']))}, {fall[0]:.2f} → {fall[1]:.2f}")
        cells.append(f"{made[0]:.0f} s, {made[1] / 1e3:.0f} MB" if len(made) > 1 else "")
        cells.append(f"{1e3 * ran[0] / 512:.2f} ms" if ran else "")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\nQuality in int8, and flips, by set:\n")
    print("| set | FP32 | " + " | ".join(r[0] for r in rows) + " |")
    print("|---|---|" + "---|" * len(rows))
    for s in rows[0][1]:
        cells = []
        for _, sets, _, _ in rows:
            o = next((x for x in sets if (x["head"], x["name"]) == (s["head"], s["name"])), None)
            cells.append(f"{o['quality']['model']:.2f}; {100 * o['flips'] / o['units']:.2f} %" if o else "")
        print(f"| `{s['head']}`, {s['name']} ({s['units']:,}), {s['quality']['measure']} | {s['quality']['reference']:.2f} | " + " | ".join(cells) + " |")


main()
