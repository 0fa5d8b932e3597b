/* cost MODEL TEXT [CEILING]: what calls cost in memory, on a thread with 512 KiB of stack. Prints the table of
 * docs/firmware.md. Fails if a warm call from token ids allocates, or one from text more often than CEILING. Allocations are counted by this program's own malloc in front of glibc's, so it is linked with glibc. */
#define _GNU_SOURCE
#include <pocketbert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static atomic_size_t count, bytes;
static void counted(size_t n) { atomic_fetch_add(&count, 1), atomic_fetch_add(&bytes, n); }
void *malloc(size_t n) { return counted(n), __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return counted(n * m), __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return counted(n), __libc_realloc(p, n); }
void *memalign(size_t a, size_t n) { return counted(n), __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { return counted(n), __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n) { return counted(n), *p = __libc_memalign(a, n), *p ? 0 : 12; }
void free(void *p) { __libc_free(p); }

enum { STACK = 512 << 10 };
static unsigned char *stack;
static const char *path, *text;
static size_t ceiling = (size_t)-1;

/* kB of a line of /proc/self/status. */
static long kilobytes(const char *name) {
    char line[256];
    long value = -1;
    FILE *f = fopen("/proc/self/status", "r");
    if (f == NULL) return -1;
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0) value = strtol(line + strlen(name), NULL, 10);
    fclose(f);
    return value;
}

/* Prints a line of the table; how many allocations there were. */
static size_t report(const char *what) {
    size_t untouched = 0, n = atomic_exchange(&count, 0), b = atomic_exchange(&bytes, 0);
    while (untouched < STACK && stack[untouched] == 0xa5) untouched++;
    printf("| %s | %zu | %zu | %zu | %ld | %ld |\n", what, n, b >> 10, (STACK - untouched) >> 10, kilobytes("VmRSS:") >> 10,
           kilobytes("RssAnon:") >> 10);
    fflush(stdout);
    memset(stack, 0xa5, untouched); /* what is below stays painted; what was used counts on */
    atomic_store(&count, 0), atomic_store(&bytes, 0);
    return n;
}

static void *work(void *unused) {
    pocketbert_model *model = NULL;
    pocketbert_classification *answer = NULL;
    pocketbert_tokens *tokens = NULL;
    pocketbert_tokens_view ids;
    float values[4096];
    size_t n = 0, calls = 0;
    int i;
    (void)unused;
    atomic_store(&count, 0), atomic_store(&bytes, 0);
    if (pocketbert_model_open(path, NULL, &model) != POCKETBERT_OK)
        return fprintf(stderr, "%s\n", pocketbert_error_message()), (void *)1;
    report("open");
    for (i = 0; i < 4; i++) {
        if (pocketbert_classify(model, text, POCKETBERT_NUL_TERMINATED, NULL, &answer) != POCKETBERT_OK)
            return fprintf(stderr, "%s\n", pocketbert_error_message()), (void *)1;
        pocketbert_classification_free(answer);
        if (i == 0) report("first classify");
        if (i == 2) report("two more");
    }
    calls = report("one more");
    if (calls > ceiling)
        return fprintf(stderr, "%zu allocations are more than %zu\n", calls, ceiling), (void *)1;
    if (pocketbert_tokenize(model, text, POCKETBERT_NUL_TERMINATED, NULL, 0, NULL, &tokens) != POCKETBERT_OK
        || pocketbert_tokens_get(tokens, &ids) != POCKETBERT_OK)
        return fprintf(stderr, "%s\n", pocketbert_error_message()), (void *)1;
    report("tokenize");
    for (i = 0; i < 2; i++) {
        if (pocketbert_run_ids(model, ids.ids, ids.types, ids.count, &ids.count, 1, 0, NULL, values, 4096, &n) != POCKETBERT_OK)
            return fprintf(stderr, "%s\n", pocketbert_error_message()), (void *)1;
        if (i == 0) report("first run of ids");
    }
    if (report("one more run of ids") != 0) return fprintf(stderr, "a warm run of ids allocates\n"), (void *)1;
    pocketbert_tokens_free(tokens);
    pocketbert_model_close(model);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_attr_t attributes;
    pthread_t thread;
    void *failed;
    if (argc != 3 && argc != 4) return fprintf(stderr, "usage: cost MODEL TEXT [CEILING]\n"), 2;
    if (argc == 4) ceiling = strtoul(argv[3], NULL, 10);
    path = argv[1], text = argv[2];
    stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) return perror("mmap"), 1;
    memset(stack, 0xa5, STACK);
    printf("| call | allocations | KiB allocated | KiB of stack so far | MiB resident | MiB of it private |\n|---|---|---|---|---|---|\n");
    if (pthread_attr_init(&attributes) != 0 || pthread_attr_setstack(&attributes, stack, STACK) != 0
        || pthread_create(&thread, &attributes, work, NULL) != 0 || pthread_join(thread, &failed) != 0)
        return fprintf(stderr, "no thread\n"), 1;
    return failed != NULL;
}
