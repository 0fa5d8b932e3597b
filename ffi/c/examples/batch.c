/* batch MODEL: many texts in one call, with options; each has the bits that it would have alone. */
#include <pocketbert.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, pocketbert_error_message());
    return 1;
}

int main(int argc, char **argv) {
    static const char *const lines[] = {"play some jazz", "book a table for two in Paris", "will it rain tomorrow?", ""};
    enum { COUNT = sizeof lines / sizeof *lines };
    pocketbert_text texts[COUNT];
    pocketbert_model *model = NULL;
    pocketbert_classification *all = NULL, *alone = NULL;
    pocketbert_classify_options options;
    int different = 0;
    size_t i;

    if (argc != 2) return fprintf(stderr, "usage: batch MODEL\n"), 2;
    if (pocketbert_model_open(argv[1], NULL, &model) != POCKETBERT_OK) return failed("open");
    if (pocketbert_classify_options_default(&options) != POCKETBERT_OK) return failed("options");
    options.top_k = 2;
    for (i = 0; i < COUNT; i++) {
        texts[i].data = lines[i];
        texts[i].length = strlen(lines[i]);
    }
    if (pocketbert_classify_batch(model, texts, NULL, COUNT, &options, &all) != POCKETBERT_OK) return failed("batch");
    for (i = 0; i < COUNT; i++) {
        pocketbert_classification_item item, single;
        pocketbert_label label;
        if (pocketbert_classification_get(all, i, &item) != POCKETBERT_OK
            || pocketbert_classification_label(all, i, 0, &label) != POCKETBERT_OK)
            return failed("answer");
        if (item.labels > 2) return fprintf(stderr, "top_k is not obeyed\n"), 1;
        printf("%-16s %a  %s\n", label.name, (double)label.probability, lines[i]);
        if (pocketbert_classify(model, lines[i], POCKETBERT_NUL_TERMINATED, &options, &alone) != POCKETBERT_OK
            || pocketbert_classification_get(alone, 0, &single) != POCKETBERT_OK)
            return failed("alone");
        different |= single.logit_count != item.logit_count
                     || memcmp(single.logits, item.logits, item.logit_count * sizeof *item.logits) != 0;
        pocketbert_classification_free(alone);
    }
    pocketbert_classification_free(all);
    pocketbert_model_close(model);
    if (different) return fprintf(stderr, "a text has other bits in a batch\n"), 1;
    return 0;
}
