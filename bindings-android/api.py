#!/usr/bin/env python3
"""The API as Java sees it, one class a block, sorted: api.py CLASSES_FOLDER SOURCES_FOLDER…

What `javap -protected` prints, less what Kotlin hides: internal classes, members whose names it mangles, and helpers that
the compiler makes. Constructors that are internal in Kotlin are listed, since class files have no word for that.
"""

import pathlib
import re
import subprocess
import sys

classes, *sources = map(pathlib.Path, sys.argv[1:])
text = "\n".join(p.read_text() for folder in sources for p in sorted(folder.rglob("*.kt")))
if re.search(r"^public (?:[a-z]+ )*(?:fun(?! interface)|val|var) ", text, re.M):
    sys.exit("api.py: a public function outside of a class is not listed: put it into one")
internal = set(re.findall(r"\binternal (?:[a-z]+ )*(?:class|object|interface) (\w+)", text))


def hidden(name: str) -> bool:
    parts = name.split("$")
    return parts[0].endswith("Kt") or any(p in internal or not p or not p[0].isupper() for p in parts)


names = sorted(p.stem for p in (classes / "org/pocketbert").glob("*.class"))
names = [n for n in names if not hidden(n)]
if not names:
    sys.exit(f"api.py: no classes in {classes}")
paths = [str(classes / "org/pocketbert" / f"{n}.class") for n in names]
printed = subprocess.run(["javap", "-protected", *paths], check=True, capture_output=True, text=True).stdout

blocks = []
for head, body in re.findall(r"^(\S[^\n]*) \{\n(.*?)^\}", printed, re.M | re.S):
    if not head.startswith("public "):
        continue
    lines = {line.strip() for line in body.splitlines()}
    dropped = ("$pocketbert_jvm", "$pocketbert_android", "$default", "access$", "DefaultConstructorMarker", "static {}")
    kept = sorted(line for line in lines if line and not any(d in line for d in dropped))
    blocks.append(f"{head} {{\n" + "".join(f"    {line}\n" for line in kept) + "}\n")
api = "\n".join(sorted(blocks))
if "org.pocketbert.internal" in api:
    sys.exit(api + "api.py: a generated class is part of the API")
print(api, end="")
