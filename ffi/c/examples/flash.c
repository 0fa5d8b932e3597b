/* flash TEXT: the model is linked into the program (flash.S) and never copied. */
#include <pocketbert.h>
#include <stdio.h>

extern const unsigned char model_start[], model_end[];

int main(int argc, char **argv) {
    pocketbert_model *model = NULL;
    pocketbert_classification *answer = NULL;
    pocketbert_label best;
    size_t length = (size_t)(model_end - model_start);
    if (argc != 2 || pocketbert_model_open_borrowed(model_start, length, NULL, NULL, NULL, &model) != POCKETBERT_OK
        || pocketbert_classify(model, argv[1], POCKETBERT_NUL_TERMINATED, NULL, &answer) != POCKETBERT_OK
        || pocketbert_classification_label(answer, 0, 0, &best) != POCKETBERT_OK)
        return fprintf(stderr, "%s\n", pocketbert_error_message()), 1;
    printf("%s %a\n", best.name, (double)best.probability);
    pocketbert_classification_free(answer);
    pocketbert_model_close(model);
    return 0;
}
