/* cancel MODEL: a signal stops a long call; the model is good for the next one. */
#define _POSIX_C_SOURCE 200809L
#include <pocketbert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

static pocketbert_cancel *token; /* set before the handler is */

static void on_alarm(int signal) {
    (void)signal;
    (void)pocketbert_cancel_trip(token); /* safe in a handler; few functions are */
}

int main(int argc, char **argv) {
    enum { COUNT = 200000 };
    static const char words[] = "book a table for two in Paris tomorrow evening, and play some jazz on the way there";
    pocketbert_text *texts = malloc(COUNT * sizeof *texts);
    pocketbert_model *model = NULL;
    pocketbert_classification *answer = NULL;
    pocketbert_classify_options options;
    pocketbert_call_options call;
    struct sigaction action;
    struct itimerval soon;
    pocketbert_status status;
    size_t i;

    if (argc != 2 || texts == NULL) return fprintf(stderr, "usage: cancel MODEL\n"), 2;
    if (pocketbert_model_open(argv[1], NULL, &model) != POCKETBERT_OK || pocketbert_cancel_new(&token) != POCKETBERT_OK
        || pocketbert_classify_options_default(&options) != POCKETBERT_OK
        || pocketbert_call_options_default(&call) != POCKETBERT_OK)
        return fprintf(stderr, "%s\n", pocketbert_error_message()), 1;
    call.cancel = token;
    options.call = &call;
    for (i = 0; i < COUNT; i++) {
        texts[i].data = words;
        texts[i].length = sizeof words - 1;
    }
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    memset(&soon, 0, sizeof soon);
    soon.it_value.tv_usec = 50000;
    if (sigaction(SIGALRM, &action, NULL) != 0 || setitimer(ITIMER_REAL, &soon, NULL) != 0) return perror("signal"), 1;

    /* Minutes of work, but for the handler. */
    status = pocketbert_classify_batch(model, texts, NULL, COUNT, &options, &answer);
    if (status != POCKETBERT_CANCELLED || answer != NULL)
        return fprintf(stderr, "the call ended with %s\n", pocketbert_status_name(status)), 1;
    printf("stopped: %s\n", pocketbert_error_message());

    if (pocketbert_cancel_reset(token) != POCKETBERT_OK
        || pocketbert_classify_batch(model, texts, NULL, 2, &options, &answer) != POCKETBERT_OK)
        return fprintf(stderr, "%s\n", pocketbert_error_message()), 1;
    printf("and usable again\n");
    pocketbert_classification_free(answer);
    pocketbert_cancel_free(token);
    pocketbert_model_close(model);
    free(texts);
    return 0;
}
