/* classify MODEL TEXT: the ten lines of C that give a label. */
#include <pocketbert.h>
#include <stdio.h>

int main(int argc, char **argv) {
    pocketbert_model *model = NULL;
    pocketbert_classification *answer = NULL;
    pocketbert_label best;
    if (argc != 3 || pocketbert_model_open(argv[1], NULL, &model) != POCKETBERT_OK
        || pocketbert_classify(model, argv[2], POCKETBERT_NUL_TERMINATED, NULL, &answer) != POCKETBERT_OK
        || pocketbert_classification_label(answer, 0, 0, &best) != POCKETBERT_OK)
        return fprintf(stderr, "%s\n", pocketbert_error_message()), 1;
    printf("%s %a\n", best.name, (double)best.probability); /* %a: every bit, to compare machines by */
    pocketbert_classification_free(answer);
    pocketbert_model_close(model);
    return 0;
}
