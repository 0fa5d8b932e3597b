"""Labelled spans of BIO tags."""


def spans(tags):
    """{(first, past the last, label)} of a list of tags like `B-city`, `I-city` and `O`."""
    found, start = set(), None
    for i, t in enumerate(tags + ["O"]):
        if start is not None and (t == "O" or t.startswith("B-") or t[2:] != tags[start][2:]):
            found.add((start, i, tags[start][2:]))
            start = None
        if t != "O" and start is None:
            start = i
    return found
