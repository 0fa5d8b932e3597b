#!/usr/bin/env python3
"""The public API as text, a line per declaration: api.py SYMBOLGRAPH.json > api.txt

The symbol graph comes from `swift package dump-symbol-graph --minimum-access-level public`.
"""

import json
import sys

graph = json.load(open(sys.argv[1]))
lines = set()
for s in graph["symbols"]:
    # What the compiler derives (==, hash, !=) says nothing about the API.
    if "::SYNTHESIZED::" in s["identifier"]["precise"]:
        continue
    declaration = " ".join("".join(f["spelling"] for f in s["declarationFragments"]).split())
    lines.add(f"{'.'.join(s['pathComponents'])}\t{declaration}")
conforms = {
    (r["source"], r.get("targetFallback", r["target"]))
    for r in graph["relationships"]
    if r["kind"] == "conformsTo"
}
names = {s["identifier"]["precise"]: ".".join(s["pathComponents"]) for s in graph["symbols"]}
for source, target in conforms:
    if source in names:
        lines.add(f"{names[source]}\tconforms to {names.get(target, target)}")
print("\n".join(sorted(lines)))
