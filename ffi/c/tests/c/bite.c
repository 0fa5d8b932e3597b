/* Reads a result that is freed: a sanitizer that does not end this program is not at work. */
#include "check.h"

int main(int argc, char **argv) {
    pocketbert_model *m = NULL;
    pocketbert_classification *r = NULL;
    pocketbert_classification_item item;
    CHECK(argc == 2);
    OK(pocketbert_model_open(argv[1], NULL, &m));
    OK(pocketbert_classify(m, "play some jazz", POCKETBERT_NUL_TERMINATED, NULL, &r));
    OK(pocketbert_classification_get(r, 0, &item));
    OK(pocketbert_classification_free(r));
    printf("freed, and read: %f\n", (double)item.logits[0]);
    OK(pocketbert_model_close(m));
    return 0;
}
