/* Each part of the API once, with the tiny model: api MODEL. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <fcntl.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static const char *TEXTS[] = {"book a table for two in Paris", "play some jazz", "", "will it rain in Z\xc3\xbcrich tomorrow?"};
enum { TEXT_COUNT = 4 };

static uint64_t answers_of(const pocketbert_model *m) {
    pocketbert_text texts[TEXT_COUNT];
    pocketbert_classification *r = NULL;
    for (int i = 0; i < TEXT_COUNT; i++) {
        texts[i].data = TEXTS[i];
        texts[i].length = POCKETBERT_NUL_TERMINATED;
    }
    OK(pocketbert_classify_batch(m, texts, NULL, TEXT_COUNT, NULL, &r));
    uint64_t h = hash_classification(r);
    OK(pocketbert_classification_free(r));
    return h;
}

static void facts(const pocketbert_model *m) {
    pocketbert_model_facts f;
    pocketbert_head head;
    pocketbert_model_output output;
    const char *label;
    OK(pocketbert_model_get_facts(m, &f));
    CHECK(f.heads >= 4 && strlen(f.fingerprint) == 64 && f.max_length > 0 && strlen(f.name) > 0);
    int defaults = 0;
    for (size_t i = 0; i < f.heads; i++) {
        OK(pocketbert_model_get_head(m, i, &head));
        defaults += head.is_default != 0;
        for (size_t k = 0; k < head.labels; k++)
            OK(pocketbert_model_get_label(m, i, k, &label));
        CHECK(pocketbert_model_get_label(m, i, head.labels, &label) == POCKETBERT_NOT_FOUND);
    }
    CHECK(defaults == 1);
    CHECK(pocketbert_model_get_head(m, f.heads, &head) == POCKETBERT_NOT_FOUND);
    OK(pocketbert_model_get_output(m, f.outputs - 1, &output));
    CHECK(output.channels > 0);
    OK(pocketbert_model_self_test(m));
    OK(pocketbert_model_verify(m));
    OK(pocketbert_model_trim(m));
}

/* The ways to open a model. */
static int released, closed;
static void release(void *context) {
    (void)context;
    released++;
}
struct memory {
    const unsigned char *bytes;
    size_t size;
};
static int64_t read_some(void *context, uint64_t offset, void *buffer, size_t length) {
    const struct memory *m = (const struct memory *)context;
    size_t n = length < 1000003 ? length : 1000003;
    if (offset + n > m->size)
        return -1;
    memcpy(buffer, m->bytes + offset, n);
    return (int64_t)n;
}
static void close_loader(void *context) {
    (void)context;
    closed++;
}

static void open_ways(const char *path, uint64_t expected) {
    pocketbert_model *m = NULL;
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL);
    fseek(f, 0, SEEK_END);
    size_t size = (size_t)ftell(f);
    rewind(f);
    /* One byte too many, to have the bundle at an odd address. */
    unsigned char *bytes = (unsigned char *)malloc(size + 1);
    CHECK(bytes && fread(bytes + 1, 1, size, f) == size);

    OK(pocketbert_model_open_bytes(bytes + 1, size, NULL, &m));
    CHECK(answers_of(m) == expected);
    OK(pocketbert_model_close(m));

    OK(pocketbert_model_open_borrowed(bytes + 1, size, release, NULL, NULL, &m));
    CHECK(answers_of(m) == expected && released == 0);
    OK(pocketbert_model_close(m));
    CHECK(released == 1);
    CHECK(pocketbert_model_open_borrowed(bytes + 1, size / 2, release, NULL, NULL, &m) == POCKETBERT_DATA_LOSS);
    CHECK(released == 2);

    struct memory memory = {bytes + 1, size};
    pocketbert_loader loader;
    OK(pocketbert_loader_default(&loader));
    loader.context = &memory;
    loader.size = size;
    loader.read = read_some;
    loader.close = close_loader;
    OK(pocketbert_model_open_loader(&loader, NULL, &m));
    CHECK(answers_of(m) == expected && closed == 1);
    OK(pocketbert_model_close(m));
    memory.size = size / 2;
    CHECK(pocketbert_model_open_loader(&loader, NULL, &m) == POCKETBERT_DATA_LOSS && closed == 2);
    free(bytes);

    /* Part of a file. */
    char name[] = "/tmp/pocketbert-api-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    FILE *w = fdopen(fd, "wb+");
    CHECK(w && fwrite("junk!", 1, 5, w) == 5);
    rewind(f);
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0;)
        CHECK(fwrite(buffer, 1, n, w) == n);
    CHECK(fwrite("more", 1, 4, w) == 4 && fflush(w) == 0);
    OK(pocketbert_model_open_fd(fileno(w), 5, size, NULL, &m));
    fclose(w);
    unlink(name);
    CHECK(answers_of(m) == expected);
    OK(pocketbert_model_close(m));
    fclose(f);

    /* Later. */
    pocketbert_open_options o;
    int32_t state;
    OK(pocketbert_open_options_default(&o));
    o.defer_open = 1;
    o.defer_hash = 1;
    o.copy = 1;
    OK(pocketbert_model_open(path, &o, &m));
    OK(pocketbert_model_state(m, &state));
    CHECK(state == POCKETBERT_UNLOADED);
    OK(pocketbert_model_load(m));
    OK(pocketbert_model_state(m, &state));
    CHECK(state == POCKETBERT_LOADED);
    OK(pocketbert_model_prewarm(m, POCKETBERT_TASK_TAG, NULL));
    OK(pocketbert_model_state(m, &state));
    CHECK(state == POCKETBERT_PREWARMED && answers_of(m) == expected);
    OK(pocketbert_model_close(m));
    OK(pocketbert_model_open("/nonexistent.pbert", &o, &m));
    CHECK(pocketbert_model_load(m) == POCKETBERT_NOT_FOUND);
    OK(pocketbert_model_close(m));
}

/* A limit on memory refuses and does no harm: with more and more, a model opens, answers what is short, answers all. */
static void limits(const char *path, uint64_t expected) {
    char many[4096];
    pocketbert_open_options o;
    pocketbert_model *m = NULL;
    pocketbert_classification *r = NULL;
    int refused_to_open = 0, refused_the_long = 0;
    for (size_t i = 0; i + 5 < sizeof many; i += 5)
        memcpy(many + i, "jazz ", 6);
    OK(pocketbert_open_options_default(&o));
    for (o.memory_limit = 64 << 10;; o.memory_limit += 64 << 10) {
        CHECK(o.memory_limit < 64 << 20);
        pocketbert_status s = pocketbert_model_open(path, &o, &m);
        if (s != POCKETBERT_OK) {
            CHECK(s == POCKETBERT_RESOURCE_EXHAUSTED && strstr(pocketbert_error_message(), "memory_limit"));
            refused_to_open++;
            continue;
        }
        s = pocketbert_classify(m, many, POCKETBERT_NUL_TERMINATED, NULL, &r);
        if (s == POCKETBERT_OK) {
            OK(pocketbert_classification_free(r));
            CHECK(answers_of(m) == expected);
            OK(pocketbert_model_close(m));
            break;
        }
        CHECK(s == POCKETBERT_RESOURCE_EXHAUSTED && strstr(pocketbert_error_message(), "memory_limit"));
        if (pocketbert_classify(m, TEXTS[0], POCKETBERT_NUL_TERMINATED, NULL, &r) == POCKETBERT_OK) {
            OK(pocketbert_classification_free(r));
            refused_the_long++;
        }
        OK(pocketbert_model_close(m));
    }
    CHECK(refused_the_long > 0);
    CHECK(refused_to_open > 0);
    /* Bytes that are copied count; those that are borrowed do not. */
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL && fseek(f, 0, SEEK_END) == 0);
    size_t size = (size_t)ftell(f);
    unsigned char *bytes = (unsigned char *)malloc(size);
    rewind(f);
    CHECK(bytes && fread(bytes, 1, size, f) == size);
    fclose(f);
    o.memory_limit = size - 1;
    CHECK(pocketbert_model_open_bytes(bytes, size, &o, &m) == POCKETBERT_RESOURCE_EXHAUSTED);
    OK(pocketbert_model_open_borrowed(bytes, size, NULL, NULL, &o, &m));
    OK(pocketbert_model_close(m));
    o.copy = 1;
    CHECK(pocketbert_model_open(path, &o, &m) == POCKETBERT_RESOURCE_EXHAUSTED);
    free(bytes);
}

static void errors(const pocketbert_model *m) {
    pocketbert_classification *r = NULL;
    pocketbert_classify_options o;
    pocketbert_error_clear();
    CHECK(pocketbert_error_status() == POCKETBERT_OK && pocketbert_error_depth() == 0);
    CHECK(strcmp(pocketbert_error_message(), "") == 0 && pocketbert_error_frame(0) == NULL);
    OK(pocketbert_classify_options_default(&o));
    o.head = "no such head";
    CHECK(pocketbert_classify(m, "x", 1, &o, &r) == POCKETBERT_NOT_FOUND && r == NULL);
    CHECK(strstr(pocketbert_error_message(), "pocketbert_classify: ") == pocketbert_error_message());
    CHECK(strstr(pocketbert_error_message(), "no such head") != NULL);
    CHECK(pocketbert_error_depth() == 2 && strcmp(pocketbert_error_frame(0), "pocketbert_classify") == 0);
    /* Text that is not UTF-8 is refused, and not told. */
    CHECK(pocketbert_classify(m, "secret \xff", POCKETBERT_NUL_TERMINATED, NULL, &r) == POCKETBERT_INVALID_ARGUMENT);
    CHECK(strstr(pocketbert_error_message(), "byte 7") && !strstr(pocketbert_error_message(), "secret"));
    pocketbert_text texts[2] = {{"good", 4}, {"\xc3", 1}};
    CHECK(pocketbert_classify_batch(m, texts, NULL, 2, NULL, &r) == POCKETBERT_INVALID_ARGUMENT);
    CHECK(pocketbert_error_depth() == 3 && strcmp(pocketbert_error_frame(1), "element 1") == 0);
    CHECK(pocketbert_classify(m, NULL, 5, NULL, &r) == POCKETBERT_INVALID_ARGUMENT);
    /* NUL inside a text, and a text of no bytes. */
    OK(pocketbert_classify(m, "a\0b", 3, NULL, &r));
    OK(pocketbert_classification_free(r));
    OK(pocketbert_classify(m, NULL, 0, NULL, &r));
    OK(pocketbert_classification_free(r));
    /* Success leaves the last error alone. */
    CHECK(pocketbert_error_status() == POCKETBERT_INVALID_ARGUMENT);
    pocketbert_error_clear();
}

/* The caller's float mode neither changes answers nor is changed. */
static void float_mode(const pocketbert_model *m, uint64_t expected) {
    static const int modes[] = {FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO, FE_TONEAREST};
    for (int i = 0; i < 4; i++) {
        CHECK(fesetround(modes[i]) == 0);
        CHECK(answers_of(m) == expected && fegetround() == modes[i]);
    }
#if defined(__SSE__)
    unsigned csr = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(csr | 0x8040); /* flush to zero, denormals are zero */
    CHECK(answers_of(m) == expected);
    CHECK(getenv("NO_FLUSH_MODES") || (__builtin_ia32_stmxcsr() & 0x8040) == 0x8040);
    __builtin_ia32_ldmxcsr(csr);
#endif
}

static pocketbert_cancel *stop;
static void on_signal(int number) {
    (void)number;
    pocketbert_cancel_trip(stop);
}
static size_t windows_seen;
static void progress(void *context, const pocketbert_progress *p) {
    CHECK(p->done <= p->total && p->windows == ++windows_seen);
    if (context)
        raise(SIGUSR1);
}

static void stopping(const pocketbert_model *m) {
    pocketbert_call_options call;
    pocketbert_window_options window;
    pocketbert_classify_options o;
    pocketbert_classification *r = NULL;
    pocketbert_classification_item item;
    char *book = (char *)malloc(60001);
    CHECK(book);
    for (int i = 0; i < 60000; i++)
        book[i] = "jazz and rain "[i % 14];
    book[60000] = 0;
    OK(pocketbert_call_options_default(&call));
    OK(pocketbert_window_options_default(&window));
    OK(pocketbert_classify_options_default(&o));
    OK(pocketbert_cancel_new(&stop));
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    call.cancel = stop;
    window.window = 64;
    window.progress = progress;
    o.call = &call;
    o.window = &window;
    OK(pocketbert_classify(m, book, 2000, &o, &r));
    OK(pocketbert_classification_get(r, 0, &item));
    CHECK(windows_seen > 3 && item.tokens > 300 && !item.truncated);
    OK(pocketbert_classification_free(r));
    /* A signal in the middle. */
    windows_seen = 0;
    window.progress_context = book;
    r = NULL;
    CHECK(pocketbert_classify(m, book, 60000, &o, &r) == POCKETBERT_CANCELLED && r == NULL && windows_seen == 1);
    CHECK(pocketbert_cancel_is_tripped(stop) == 1);
    CHECK(pocketbert_classify(m, "x", 1, &o, &r) == POCKETBERT_CANCELLED);
    OK(pocketbert_cancel_reset(stop));
    /* A deadline. */
    window.progress = NULL;
    call.timeout_ms = 1;
    CHECK(pocketbert_classify(m, book, 60000, &o, &r) == POCKETBERT_DEADLINE_EXCEEDED);
    call.timeout_ms = 600000;
    call.threads = 2;
    OK(pocketbert_classify(m, "x", 1, &o, &r));
    OK(pocketbert_classification_free(r));
    OK(pocketbert_cancel_free(stop));
    CHECK(pocketbert_classify(m, "x", 1, &o, &r) == POCKETBERT_INVALID_ARGUMENT);
    free(book);
}

static int lines;
static void on_log(void *context, int32_t level, const char *line) {
    CHECK(context == &lines && level >= POCKETBERT_LOG_ERROR && level <= POCKETBERT_LOG_INFO && strlen(line) > 0);
    CHECK(pocketbert_set_log(POCKETBERT_LOG_INFO, NULL, NULL) == POCKETBERT_FAILED_PRECONDITION);
    lines++;
}
static void on_drift(void *context, const pocketbert_drift *d) {
    CHECK(d->texts > 0 && strlen(d->summary) > 0);
    ++*(int *)context;
}

static void telling(const char *path, const pocketbert_model *m) {
    pocketbert_model *other = NULL;
    pocketbert_string *s = NULL;
    pocketbert_text t;
    OK(pocketbert_set_log(POCKETBERT_LOG_INFO, on_log, &lines));
    OK(pocketbert_model_open(path, NULL, &other));
    OK(pocketbert_model_close(other));
    CHECK(lines == 2);
    OK(pocketbert_set_log(POCKETBERT_LOG_INFO, NULL, NULL));
    CHECK(pocketbert_set_log(9, on_log, NULL) == POCKETBERT_INVALID_ARGUMENT);
    for (int format = POCKETBERT_METRICS_JSON; format <= POCKETBERT_METRICS_PROMETHEUS; format++) {
        OK(pocketbert_model_metrics(m, format, &s));
        OK(pocketbert_string_get(s, &t));
        CHECK(strlen(t.data) == t.length && strstr(t.data, "text-classification") && !strstr(t.data, "jazz"));
        OK(pocketbert_string_free(s));
    }
    CHECK(pocketbert_model_metrics(m, 2, &s) == POCKETBERT_INVALID_ARGUMENT);
    OK(pocketbert_model_count(m, POCKETBERT_TASK_CLASSIFY, NULL, 1, 0.75f));
    CHECK(pocketbert_model_count(m, POCKETBERT_TASK_CLASSIFY, NULL, 1, 2.0f) == POCKETBERT_INVALID_ARGUMENT);
    int drifts = 0;
    pocketbert_status watched = pocketbert_model_watch_drift(m, POCKETBERT_TASK_CLASSIFY, NULL, 0, on_drift, &drifts);
    CHECK(watched == POCKETBERT_OK || watched == POCKETBERT_NOT_FOUND);
    OK(pocketbert_diagnostics(&s));
    OK(pocketbert_string_get(s, &t));
    CHECK(strstr(t.data, pocketbert_kernel_name(pocketbert_kernel_best())));
    OK(pocketbert_string_free(s));
    OK(pocketbert_model_diagnostics(m, &s));
    OK(pocketbert_string_get(s, &t));
    CHECK(strstr(t.data, "\"foreign_operators\":0") && strstr(t.data, "linear_i8"));
    OK(pocketbert_string_free(s));
    OK(pocketbert_mask_token(m, &s));
    OK(pocketbert_string_get(s, &t));
    CHECK(strcmp(t.data, "[MASK]") == 0);
    OK(pocketbert_string_free(s));
}

/* Tokens, and an output on their ids: the logits that a classification has. */
static void ids(const pocketbert_model *m) {
    pocketbert_tokens *tokens = NULL;
    pocketbert_tokens_view view;
    pocketbert_classification *r = NULL;
    pocketbert_classification_item item;
    const char *spelling;
    float values[64];
    size_t count, found = 0;
    OK(pocketbert_tokenize(m, TEXTS[0], POCKETBERT_NUL_TERMINATED, NULL, 0, NULL, &tokens));
    OK(pocketbert_tokens_get(tokens, &view));
    CHECK(view.count == 9 && !view.truncated && view.unknown == 0);
    OK(pocketbert_tokens_spelling(tokens, 1, &spelling));
    CHECK(strcmp(spelling, "book") == 0 && view.spans[1].start == 0 && view.spans[1].end == 4);
    OK(pocketbert_classify(m, TEXTS[0], POCKETBERT_NUL_TERMINATED, NULL, &r));
    OK(pocketbert_classification_get(r, 0, &item));
    pocketbert_model_facts f;
    OK(pocketbert_model_get_facts(m, &f));
    for (size_t output = 0; output < f.outputs; output++) {
        pocketbert_model_output o;
        OK(pocketbert_model_get_output(m, output, &o));
        if (o.per_token || o.channels != item.logit_count)
            continue;
        CHECK(pocketbert_run_ids(m, view.ids, view.types, view.count, &view.count, 1, output, NULL, values, 1, &count)
              == POCKETBERT_INVALID_ARGUMENT);
        OK(pocketbert_run_ids(m, view.ids, NULL, view.count, &view.count, 1, output, NULL, values, 64, &count));
        found += count == item.logit_count && memcmp(values, item.logits, count * sizeof(float)) == 0;
    }
    CHECK(found >= 1);
    uint32_t wild = 0xFFFFFFFFu;
    size_t one = 1, two = 2;
    CHECK(pocketbert_run_ids(m, &wild, NULL, 1, &one, 1, 0, NULL, values, 64, &count) != POCKETBERT_OK);
    CHECK(pocketbert_run_ids(m, view.ids, NULL, 1, &two, 1, 0, NULL, values, 64, &count) == POCKETBERT_INVALID_ARGUMENT);
    CHECK(pocketbert_run_ids(m, view.ids, NULL, 1, &one, 1, 99, NULL, values, 64, &count) == POCKETBERT_NOT_FOUND);
    OK(pocketbert_classification_free(r));
    OK(pocketbert_tokens_free(tokens));
}

static void vectors(const pocketbert_model *m) {
    pocketbert_text texts[3] = {{"play some jazz", 14}, {"put on some jazz", 16}, {"will it rain", 12}};
    pocketbert_vectors *v = NULL, *narrow = NULL, *again = NULL;
    pocketbert_ranking *ranking = NULL;
    pocketbert_vector facts8;
    float near_, far_, score, dot;
    size_t size, index;
    OK(pocketbert_embed_batch(m, texts, 3, NULL, &v));
    OK(pocketbert_vectors_cosine(v, 0, v, 1, &near_));
    OK(pocketbert_vectors_cosine(v, 0, v, 2, &far_));
    CHECK(near_ > far_);
    OK(pocketbert_vectors_dot(v, 0, v, 0, &dot));
    CHECK(dot > 0.999f && dot < 1.001f);
    OK(pocketbert_vectors_convert(v, 16, POCKETBERT_I8, &narrow));
    OK(pocketbert_vectors_get(narrow, 2, &facts8));
    CHECK(facts8.dims == 16 && facts8.format == POCKETBERT_I8 && facts8.steps && facts8.scale > 0);
    CHECK(pocketbert_vectors_cosine(v, 0, narrow, 0, &score) == POCKETBERT_INVALID_ARGUMENT);
    OK(pocketbert_vectors_store(narrow, 0, NULL, 0, &size));
    uint8_t *bytes = (uint8_t *)malloc(3 * size);
    CHECK(bytes && size == 48 + 16);
    CHECK(pocketbert_vectors_store(narrow, 0, bytes, size - 1, &size) == POCKETBERT_INVALID_ARGUMENT);
    for (size_t i = 0; i < 3; i++)
        OK(pocketbert_vectors_store(narrow, i, bytes + i * size, size, &size));
    OK(pocketbert_vectors_load(bytes, 3 * size, 3, &again));
    bytes[0] ^= 1;
    pocketbert_vectors *bad = NULL;
    CHECK(pocketbert_vectors_load(bytes, size, 1, &bad) == POCKETBERT_DATA_LOSS && bad == NULL);
    free(bytes);
    OK(pocketbert_vectors_nearest(again, 0, again, 2, &ranking));
    OK(pocketbert_ranking_get(ranking, 0, &index, &score));
    CHECK(index == 0);
    OK(pocketbert_ranking_get(ranking, 1, &index, &score));
    CHECK(index == 1);
    CHECK(pocketbert_ranking_get(ranking, 2, &index, &score) == POCKETBERT_NOT_FOUND);
    OK(pocketbert_ranking_free(ranking));
    OK(pocketbert_vectors_free(again));
    OK(pocketbert_vectors_free(narrow));
    OK(pocketbert_vectors_free(v));
}

/* Closing while other threads run: each call answers rightly, or says that the handle is none. */
static pocketbert_model *shared;
static uint64_t shared_expected;
static void *use_until_closed(void *context) {
    int *answers = (int *)context;
    for (;;) {
        pocketbert_classification *r = NULL;
        pocketbert_status s = pocketbert_classify(shared, TEXTS[0], POCKETBERT_NUL_TERMINATED, NULL, &r);
        if (s == POCKETBERT_INVALID_ARGUMENT)
            return NULL;
        CHECK(s == POCKETBERT_OK && hash_classification(r) == shared_expected);
        OK(pocketbert_classification_free(r));
        __atomic_fetch_add(answers, 1, __ATOMIC_SEQ_CST);
    }
}

static void closing(const char *path) {
    pthread_t threads[4];
    pocketbert_classification *r = NULL;
    int answers = 0;
    OK(pocketbert_model_open(path, NULL, &shared));
    OK(pocketbert_classify(shared, TEXTS[0], POCKETBERT_NUL_TERMINATED, NULL, &r));
    shared_expected = hash_classification(r);
    OK(pocketbert_classification_free(r));
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, use_until_closed, &answers) == 0);
    while (__atomic_load_n(&answers, __ATOMIC_SEQ_CST) < 20)
        sched_yield();
    OK(pocketbert_model_close(shared));
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(pocketbert_model_close(shared) == POCKETBERT_INVALID_ARGUMENT);
}

int main(int argc, char **argv) {
    pocketbert_model *m = NULL;
    CHECK(argc == 2);
    CHECK(pocketbert_version_number() == POCKETBERT_VERSION_NUMBER && strstr(pocketbert_build_info(), pocketbert_version()));
    OK(pocketbert_model_open(argv[1], NULL, &m));
    uint64_t expected = answers_of(m);
    facts(m);
    errors(m);
    float_mode(m, expected);
    stopping(m);
    telling(argv[1], m);
    ids(m);
    vectors(m);
    open_ways(argv[1], expected);
    limits(argv[1], expected);
    closing(argv[1]);
    CHECK(answers_of(m) == expected);
    OK(pocketbert_model_close(m));
    CHECK(pocketbert_handle_count() == 0);
    printf("api: %016llx\n", (unsigned long long)expected);
    return 0;
}
