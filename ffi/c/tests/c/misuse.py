#!/usr/bin/env python3
"""Writes a C program that misuses every function of the header: misuse.py ../../include/pocketbert.h > misuse.c

For each function that returns a status: a handle that is NULL, stale, of another kind or no handle at all, and each
output left out, must be POCKETBERT_INVALID_ARGUMENT and write nothing; a panic in its body must be POCKETBERT_INTERNAL.
The program is linked against a build with the feature `dangerous-test-hooks`.
"""
import re
import sys

header = open(sys.argv[1]).read()
header = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
functions = re.findall(r"pocketbert_status\s+(pocketbert_\w+)\(([^;]*)\);", header)
# What frees it, and how one is made with the stand-in model `m`.
MAKE = {
    "model": ("model_close", "pocketbert_test_model(&h)"),
    "cancel": ("cancel_free", "pocketbert_cancel_new(&h)"),
    "string": ("string_free", "pocketbert_diagnostics(&h)"),
    "classification": ("classification_free", "pocketbert_classify(m, T, N, NULL, &h)"),
    "tags": ("tags_free", "pocketbert_tag(m, T, N, NULL, &h)"),
    "answers": ("answers_free", "pocketbert_answer(m, T, N, T, N, NULL, &h)"),
    "summary": ("summary_free", "pocketbert_summarize(m, T, N, NULL, &h)"),
    "vectors": ("vectors_free", "pocketbert_embed(m, T, N, NULL, &h)"),
    "ranking": ("ranking_free", "pocketbert_rerank(m, T, N, &text, 1, NULL, &h)"),
    "mask_fill": ("mask_fill_free", "pocketbert_fill_mask(m, T, N, NULL, &h)"),
    "zero_shot_labels": ("zero_shot_labels_free", "pocketbert_zero_shot(m, T, N, &text, 1, NULL, &h)"),
    "analysis": ("analysis_free", "pocketbert_analyze(m, T, N, NULL, &h)"),
    "tokens": ("tokens_free", "pocketbert_tokenize(m, T, N, NULL, 0, NULL, &h)"),
}
HANDLE = re.compile(r"(?:const )?(?:struct )?pocketbert_(%s) \*\w+$" % "|".join(MAKE))


def parse(parameters):
    for p in re.sub(r"\s+", " ", parameters).strip().split(", "):
        kind = HANDLE.match(p)
        if p == "void":
            continue
        if kind:
            yield "handle", kind.group(1)
        elif "**" not in p and (p.startswith("const ") or "_fn " in p or p.startswith("void *")):
            yield "in", "T" if p.startswith("const char *") else "&text" if "pocketbert_text" in p else "NULL"
        elif "*" in p:
            # A buffer's capacity stands behind it; both are left out together.
            yield "out", re.sub(r"\w+$", "", p).strip()
        else:
            yield "in", {"length": "N", "question_length": "N", "context_length": "N", "query_length": "N",
                         "count": "1", "label_count": "1", "fd": "-1"}.get(p.split()[-1].lstrip("*"), "0")


print(f"""/* Made by misuse.py. */
#include "check.h"
void pocketbert_test_fault(const char *function);
pocketbert_status pocketbert_test_model(pocketbert_model **model);
#define T "text"
#define N POCKETBERT_NUL_TERMINATED
static unsigned calls;
static unsigned char out[4096], before[4096];
static void expect(int32_t got, int32_t wanted, const char *call) {{
    calls++;
    if (got != wanted || memcmp(out, before, sizeof out) != 0) {{
        fprintf(stderr, "%s: %s instead of %s, or an output was written\\n", call, pocketbert_status_name(got),
                pocketbert_status_name(wanted));
        exit(1);
    }}
}}
int main(void) {{
    pocketbert_model *m = NULL;
    pocketbert_text text = {{T, 4}};
    memset(out, 0xA5, sizeof out);
    memcpy(before, out, sizeof out);
    OK(pocketbert_test_model(&m));""")
for kind, (free, make) in MAKE.items():
    print(f"""    pocketbert_{kind} *good_{kind} = NULL, *stale_{kind} = NULL;
    {{ pocketbert_{kind} *h = NULL; OK({make}); good_{kind} = h; OK({make}); stale_{kind} = h; }}
    OK(pocketbert_{free}(stale_{kind}));""")
kinds = list(MAKE)
for name, parameters in functions:
    if name in ("pocketbert_error_status", "pocketbert_set_log"):
        continue
    parameters = list(parse(parameters))

    def call(bad=None, value=None):
        words = []
        for i, (role, what) in enumerate(parameters):
            if i == bad:
                words.append(value)
            elif role == "handle":
                words.append(f"good_{what}")
            elif role == "out":
                words.append(f"({what})(void *)out")
            else:
                words.append(what)
        return f"{name}({', '.join(words)})"

    for i, (role, what) in enumerate(parameters):
        if role == "handle":
            other = kinds[(kinds.index(what) + 1) % len(kinds)]
            values = ["NULL", f"stale_{what}", f"(pocketbert_{what} *)(void *)good_{other}",
                      f"(pocketbert_{what} *)(void *)out", f"(pocketbert_{what} *)(uintptr_t)1"]
        elif role == "out" and name not in ("pocketbert_vectors_store", "pocketbert_run_ids"):
            values = ["NULL"]
        else:
            continue
        for value in values:
            c = call(i, value)
            print(f'    expect({c}, POCKETBERT_INVALID_ARGUMENT, "{name}, argument {i}");')
    if name not in ("pocketbert_cancel_trip", "pocketbert_cancel_reset"):
        print(f'    pocketbert_test_fault("{name}");')
        print(f'    expect({call()}, POCKETBERT_INTERNAL, "{name}, with a fault");')
        print("    pocketbert_test_fault(NULL);")
for kind, (free, _) in MAKE.items():
    print(f"    OK(pocketbert_{free}(good_{kind}));")
print("""    OK(pocketbert_model_close(m));
    CHECK(pocketbert_handle_count() == 0);
    printf("misuse: %u calls refused\\n", calls);
    return 0;
}""")
