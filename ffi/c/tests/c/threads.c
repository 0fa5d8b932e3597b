/* Sixteen threads on one model: the same bits throughout, and memory that does not grow. threads MODEL SECONDS */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <pthread.h>
#include <time.h>

enum { THREADS = 16, TEXTS = 8 };
static const char *texts[TEXTS] = {
    "book a table for two in Paris", "play some jazz", "", "will it rain tomorrow", "rate this book five stars",
    "add this song to my playlist", "what time is the film on at the cinema near the old station this evening",
    "WINNER!! Claim your prize now",
};
static uint64_t expected[TEXTS];
static pocketbert_model *model;
static double end;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t ask(int i) {
    pocketbert_classification *r = NULL;
    OK(pocketbert_classify(model, texts[i], POCKETBERT_NUL_TERMINATED, NULL, &r));
    uint64_t h = hash_classification(r);
    OK(pocketbert_classification_free(r));
    return h;
}

static void *work(void *context) {
    size_t calls = 0;
    unsigned at = (unsigned)(uintptr_t)context;
    while (now() < end) {
        int i = (int)((at = at * 1103515245u + 12345u) >> 16) % TEXTS;
        CHECK(ask(i) == expected[i]);
        calls++;
    }
    return (void *)(uintptr_t)calls;
}

static size_t round_of(double seconds) {
    pthread_t threads[THREADS];
    size_t calls = 0;
    end = now() + seconds;
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)(i + 1)) == 0);
    for (int i = 0; i < THREADS; i++) {
        void *n;
        CHECK(pthread_join(threads[i], &n) == 0);
        calls += (size_t)(uintptr_t)n;
    }
    return calls;
}

/* Resident bytes. */
static long resident(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%*s %ld", &pages) == 1);
    fclose(f);
    return pages * 4096;
}

/* The address sanitizer keeps freed memory for a while, so with it growth says nothing. */
#if defined(__SANITIZE_ADDRESS__)
enum { kept_by_the_sanitizer = 1 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { kept_by_the_sanitizer = 1 };
#else
enum { kept_by_the_sanitizer = 0 };
#endif
#else
enum { kept_by_the_sanitizer = 0 };
#endif

int main(int argc, char **argv) {
    CHECK(argc == 3);
    double seconds = atof(argv[2]);
    OK(pocketbert_model_open(argv[1], NULL, &model));
    for (int i = 0; i < TEXTS; i++)
        expected[i] = ask(i);
    /* The first round brings every thread's scratch memory. */
    size_t calls = round_of(seconds / 4);
    long before = resident();
    size_t handles = pocketbert_handle_count();
    calls += round_of(seconds * 3 / 4);
    long grown = resident() - before;
    CHECK(pocketbert_handle_count() == handles && handles == 1);
    CHECK(kept_by_the_sanitizer || grown < (4 << 20));
    CHECK(calls >= 16 * 8);
    OK(pocketbert_model_close(model));
    printf("threads: %zu calls, the same bits; resident memory changed by %ld bytes after the first quarter\n", calls, grown);
    return 0;
}
