/*
 * PocketBERT: labels, spans, answers and vectors of texts, on the device, without a network. C99 and later, C++11 and
 * later; C++17 has a comfortable wrapper in pocketbert.hpp.
 *
 *     #include <pocketbert.h>
 *     #include <stdio.h>
 *     int main(void) {
 *         pocketbert_model *model = NULL;
 *         pocketbert_classification *answer = NULL;
 *         pocketbert_label best;
 *         const char *text = "book a table for two in Paris";
 *         if (pocketbert_model_open("tiny.pbert", NULL, &model) != POCKETBERT_OK
 *             || pocketbert_classify(model, text, POCKETBERT_NUL_TERMINATED, NULL, &answer) != POCKETBERT_OK
 *             || pocketbert_classification_label(answer, 0, 0, &best) != POCKETBERT_OK)
 *             return fprintf(stderr, "%s\n", pocketbert_error_message()), 1;
 *         printf("%s %.3f\n", best.name, best.probability);
 *         pocketbert_classification_free(answer);
 *         pocketbert_model_close(model);
 *         return 0;
 *     }
 *
 * RULES
 *
 * Order. Arguments are: the object, inputs, options, outputs. There are no arguments that go in and come out.
 *
 * Outputs. An output is written if and only if the function returns POCKETBERT_OK. There is no partial success: a batch
 * answers all of its texts or none. An output must not be NULL.
 *
 * Handles. A pocketbert_model *, a result and so on are handles: numbers in the shape of pointers. Never dereference
 * one. NULL, a handle that was freed, one of another kind and a stray pointer are POCKETBERT_INVALID_ARGUMENT, in every
 * function, and touch no memory. (A place in the table is used again with another handle; a handle that is stale for
 * 2^24 uses of its place, 2^14 on 32-bit systems, may be taken for the new one.)
 *
 * Who frees what. Whoever asked for a handle frees it, with the one function for its kind, once. All that an accessor
 * points to (names, arrays, strings) belongs to the object it was read from and is good until that is freed. Inputs
 * stay the caller's; nothing of them is kept after the call, except where a function says so (borrowed bytes,
 * callbacks). Results outlive their model.
 *
 * Threads. const means that threads may share it: every function may be called from any number of threads at once, with
 * the same handles. What must not happen at once is reading from a result and freeing it. Freeing or closing a handle
 * while another thread's call uses it is defined: that call ends as if nothing had happened, and what comes after is
 * POCKETBERT_INVALID_ARGUMENT. The library starts no thread but for calls that ask for several, and for opening an
 * .onnx file; none outlives the call.
 *
 * Texts are UTF-8 and may hold NUL. They come as a pointer and a number of bytes, for which POCKETBERT_NUL_TERMINATED
 * may stand; names and paths end in NUL. What is not UTF-8 is POCKETBERT_INVALID_ARGUMENT. Text goes nowhere: not into
 * messages, logs or metrics.
 *
 * Options. NULL means the defaults. Else fill a struct with its _default function, then change it; the first field is
 * its size, by which programs built with an older header go on working. Structs that functions write never grow: what
 * is new gets a new function.
 *
 * Errors. Every function that can fail returns a pocketbert_status, and compilers warn if it is not looked at (but for
 * freeing and tripping). pocketbert_error_message says more, on the thread that failed.
 *
 * Float mode. Answers have the same bits on every CPU, whatever rounding and flushing the caller has set; the caller's
 * mode is back when a function returns (x86-64, 64-bit ARM). Callbacks run in the standard mode.
 *
 * Signals. pocketbert_cancel_trip, _reset, _is_tripped and pocketbert_status_name are safe in a signal handler; nothing
 * else is. After fork the child may use what the parent opened, if no other thread was inside the library at the fork.
 *
 * Never. No function opens a socket, writes to a file, reads an environment variable, or ends the process on purpose.
 * Rust's standard library ends the process if memory runs out where the library cannot refuse, and if a callback
 * unwinds.
 */


#ifndef POCKETBERT_H
#define POCKETBERT_H

/* Made by cbindgen from ffi/c/src: do not edit; run the test `header` with POCKETBERT_BLESS=1. */

#include <stddef.h>
#include <stdint.h>
/* Where the compiler can, a status that is not looked at is a warning. */
#if defined(__GNUC__) || defined(__clang__)
#define POCKETBERT_MUST_USE __attribute__((warn_unused_result))
#else
#define POCKETBERT_MUST_USE
#endif

/* The length of a text that ends in NUL. */
#define POCKETBERT_NUL_TERMINATED SIZE_MAX



/*
 The header's version; compare with `pocketbert_version_number` if header and library may differ.
 */
#define POCKETBERT_VERSION_MAJOR 0

/*
 The second part.
 */
#define POCKETBERT_VERSION_MINOR 1

/*
 The third part.
 */
#define POCKETBERT_VERSION_PATCH 0

/*
 `major * 1000000 + minor * 1000 + patch`.
 */
#define POCKETBERT_VERSION_NUMBER 1000

/*
 How a call ended. The numbers are those of `absl::StatusCode` and gRPC; a number never changes its meaning.
 Treat a number that you do not know as a failure.
 */
enum pocketbert_status
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     It worked; outputs are written.
     */
    POCKETBERT_OK = 0,
    /*
     A cancel token was tripped.
     */
    POCKETBERT_CANCELLED = 1,
    /*
     NULL, a stale handle, text that is not UTF-8, an option out of range, a name the model does not know.
     */
    POCKETBERT_INVALID_ARGUMENT = 3,
    /*
     `timeout_ms` passed.
     */
    POCKETBERT_DEADLINE_EXCEEDED = 4,
    /*
     A file, head or index does not exist.
     */
    POCKETBERT_NOT_FOUND = 5,
    /*
     The operating system refused access to a file.
     */
    POCKETBERT_PERMISSION_DENIED = 7,
    /*
     A limit on memory, size or handles was reached.
     */
    POCKETBERT_RESOURCE_EXHAUSTED = 8,
    /*
     The model is not in the state that the call needs, or lacks a head or tokenizer for it.
     */
    POCKETBERT_FAILED_PRECONDITION = 9,
    /*
     A text is too long where cutting it was forbidden, or a number outside what the format holds.
     */
    POCKETBERT_OUT_OF_RANGE = 11,
    /*
     The model, or the call, needs something that this version does not have.
     */
    POCKETBERT_UNIMPLEMENTED = 12,
    /*
     A defect of this library. The process and all handles stay usable.
     */
    POCKETBERT_INTERNAL = 13,
    /*
     A file is damaged, cut short or was altered.
     */
    POCKETBERT_DATA_LOSS = 15,
};
#ifndef __cplusplus
typedef int32_t pocketbert_status;
#endif // __cplusplus

/*
 Yes, no, or what the bundle says.
 */
enum pocketbert_choice
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     As the bundle says for the head.
     */
    POCKETBERT_AS_BUNDLE = 0,
    /*
     Yes.
     */
    POCKETBERT_YES = 1,
    /*
     No.
     */
    POCKETBERT_NO = 2,
};
#ifndef __cplusplus
typedef int32_t pocketbert_choice;
#endif // __cplusplus

/*
 What is kept of a text that is too long for the model.
 */
enum pocketbert_truncation
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     Its start.
     */
    POCKETBERT_TRUNCATE_HEAD = 0,
    /*
     Its end.
     */
    POCKETBERT_TRUNCATE_TAIL = 1,
    /*
     Half of the tokens from its start, the rest from its end.
     */
    POCKETBERT_TRUNCATE_HEAD_TAIL = 2,
    /*
     Nothing: such a text is `POCKETBERT_OUT_OF_RANGE`.
     */
    POCKETBERT_TRUNCATE_REFUSE = 3,
};
#ifndef __cplusplus
typedef int32_t pocketbert_truncation;
#endif // __cplusplus

/*
 Sets of kernels. All give the same bits; they differ in speed.
 */
enum pocketbert_kernel
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     The fastest that this CPU runs.
     */
    POCKETBERT_KERNEL_BEST = 0,
    /*
     For any CPU.
     */
    POCKETBERT_KERNEL_GENERIC = 1,
    /*
     x86-64 with AVX2.
     */
    POCKETBERT_KERNEL_AVX2 = 2,
    /*
     x86-64 with AVX2 and AVX-VNNI.
     */
    POCKETBERT_KERNEL_AVXVNNI = 3,
    /*
     x86-64 with AVX-512 and VNNI.
     */
    POCKETBERT_KERNEL_AVX512VNNI = 4,
    /*
     32-bit ARM with NEON.
     */
    POCKETBERT_KERNEL_ARMV7_NEON = 5,
    /*
     64-bit ARM.
     */
    POCKETBERT_KERNEL_NEON = 6,
    /*
     64-bit ARM with the dot-product extension.
     */
    POCKETBERT_KERNEL_NEON_DOTPROD = 7,
    /*
     64-bit ARM with the int8 matrix extension.
     */
    POCKETBERT_KERNEL_NEON_I8MM = 8,
};
#ifndef __cplusplus
typedef int32_t pocketbert_kernel;
#endif // __cplusplus

/*
 How windows of a long text become one answer.
 */
enum pocketbert_merge
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     The mean, each window weighing as many tokens as belong to it.
     */
    POCKETBERT_MERGE_WEIGHTED = 0,
    /*
     The mean over the windows.
     */
    POCKETBERT_MERGE_MEAN = 1,
    /*
     Of each label the largest value.
     */
    POCKETBERT_MERGE_MAX = 2,
    /*
     The share of windows in which the label wins. Not for vectors.
     */
    POCKETBERT_MERGE_VOTE = 3,
};
#ifndef __cplusplus
typedef int32_t pocketbert_merge;
#endif // __cplusplus

/*
 Tasks, for what is kept per task and head.
 */
enum pocketbert_task
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     Labels of texts.
     */
    POCKETBERT_TASK_CLASSIFY = 0,
    /*
     Labelled spans.
     */
    POCKETBERT_TASK_TAG = 1,
    /*
     Answers to questions.
     */
    POCKETBERT_TASK_ANSWER = 2,
    /*
     Main sentences.
     */
    POCKETBERT_TASK_SUMMARIZE = 3,
    /*
     Vectors.
     */
    POCKETBERT_TASK_EMBED = 4,
    /*
     Documents by a query.
     */
    POCKETBERT_TASK_RERANK = 5,
    /*
     Tokens for gaps.
     */
    POCKETBERT_TASK_FILL_MASK = 6,
    /*
     Labels that come with the call; as the task of a head: entailment.
     */
    POCKETBERT_TASK_ZERO_SHOT = 7,
    /*
     Several heads at once.
     */
    POCKETBERT_TASK_ANALYZE = 8,
};
#ifndef __cplusplus
typedef int32_t pocketbert_task;
#endif // __cplusplus

/*
 How far a model is from answering at full speed.
 */
enum pocketbert_load_state
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     Not open yet; the first call opens it.
     */
    POCKETBERT_UNLOADED = 0,
    /*
     A thread is opening it.
     */
    POCKETBERT_LOADING = 1,
    /*
     Open; weights may not be in memory yet, so the first call is slower.
     */
    POCKETBERT_LOADED = 2,
    /*
     It has answered.
     */
    POCKETBERT_PREWARMED = 3,
};
#ifndef __cplusplus
typedef int32_t pocketbert_load_state;
#endif // __cplusplus

/*
 How important a line is.
 */
enum pocketbert_log_level
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     A call failed by a defect of this library.
     */
    POCKETBERT_LOG_ERROR = 1,
    /*
     Something to look at: the input drifts, a self-test failed.
     */
    POCKETBERT_LOG_WARN = 2,
    /*
     Models opened and closed.
     */
    POCKETBERT_LOG_INFO = 3,
};
#ifndef __cplusplus
typedef int32_t pocketbert_log_level;
#endif // __cplusplus

/*
 How metrics are written.
 */
enum pocketbert_metrics_format
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     A JSON array of one object per task and head; times in nanoseconds.
     */
    POCKETBERT_METRICS_JSON = 0,
    /*
     The Prometheus text exposition format, version 0.0.4; times in seconds.
     */
    POCKETBERT_METRICS_PROMETHEUS = 1,
};
#ifndef __cplusplus
typedef int32_t pocketbert_metrics_format;
#endif // __cplusplus

/*
 How labels of tokens become labels of spans.
 */
enum pocketbert_aggregation
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     A word has the label of its first token.
     */
    POCKETBERT_AGGREGATE_FIRST = 0,
    /*
     Every token that is not outside, with its full label.
     */
    POCKETBERT_AGGREGATE_NONE = 1,
    /*
     Neighbouring tokens of one kind are joined; a span may begin or end inside a word.
     */
    POCKETBERT_AGGREGATE_SIMPLE = 2,
    /*
     A word has the label that is most probable on average over its tokens.
     */
    POCKETBERT_AGGREGATE_AVERAGE = 3,
    /*
     A word has the label of its surest token.
     */
    POCKETBERT_AGGREGATE_MAX = 4,
};
#ifndef __cplusplus
typedef int32_t pocketbert_aggregation;
#endif // __cplusplus

/*
 What the first letters of labels mean.
 */
enum pocketbert_tag_scheme
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     As the bundle says, else what the labels look like.
     */
    POCKETBERT_SCHEME_AS_BUNDLE = 0,
    /*
     `B-` begins a span, `I-` goes on or begins one.
     */
    POCKETBERT_SCHEME_BIO = 1,
    /*
     The same, strictly: an `I-` that goes on with nothing is outside.
     */
    POCKETBERT_SCHEME_IOB2 = 2,
    /*
     `B-` begins, `I-` goes on, `L-` ends, `U-` is a span of one.
     */
    POCKETBERT_SCHEME_BILOU = 3,
    /*
     Labels stand for themselves.
     */
    POCKETBERT_SCHEME_NONE = 4,
};
#ifndef __cplusplus
typedef int32_t pocketbert_tag_scheme;
#endif // __cplusplus

/*
 How sentences are chosen.
 */
enum pocketbert_centrality
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     Those nearest to the mean of all sentence vectors.
     */
    POCKETBERT_CENTROID = 0,
    /*
     Those that a random walk over similar sentences visits most often.
     */
    POCKETBERT_LEXRANK = 1,
    /*
     The first ones. Runs no model.
     */
    POCKETBERT_LEAD = 2,
};
#ifndef __cplusplus
typedef int32_t pocketbert_centrality;
#endif // __cplusplus

/*
 How the numbers of a vector are kept.
 */
enum pocketbert_vector_format
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     Four bytes each.
     */
    POCKETBERT_F32 = 0,
    /*
     Two bytes each.
     */
    POCKETBERT_F16 = 1,
    /*
     One byte each, and one scale per vector.
     */
    POCKETBERT_I8 = 2,
};
#ifndef __cplusplus
typedef int32_t pocketbert_vector_format;
#endif // __cplusplus

/*
 How rows of tokens become one vector.
 */
enum pocketbert_pooling
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     As the bundle says, else the mean.
     */
    POCKETBERT_POOL_AS_BUNDLE = 0,
    /*
     The first token's row.
     */
    POCKETBERT_POOL_CLS = 1,
    /*
     The mean over the tokens.
     */
    POCKETBERT_POOL_MEAN = 2,
    /*
     The largest value of each dimension.
     */
    POCKETBERT_POOL_MAX = 3,
};
#ifndef __cplusplus
typedef int32_t pocketbert_pooling;
#endif // __cplusplus

/*
 What a text is; some models want other words put in front of a query than of what is searched.
 */
enum pocketbert_role
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
    /*
     Nothing is put in front.
     */
    POCKETBERT_ROLE_TEXT = 0,
    /*
     The bundle's prefix of a query.
     */
    POCKETBERT_ROLE_QUERY = 1,
    /*
     The bundle's prefix of a document.
     */
    POCKETBERT_ROLE_DOCUMENT = 2,
};
#ifndef __cplusplus
typedef int32_t pocketbert_role;
#endif // __cplusplus

/*
 Answers of `pocketbert_analyze`: per text and head.
 */
typedef struct pocketbert_analysis pocketbert_analysis;

/*
 What `pocketbert_answer` found, one item per question.
 */
typedef struct pocketbert_answers pocketbert_answers;

/*
 A switch that stops calls.

 1. A token is not tripped when it is made.
 2. Every call that was given a tripped token, or is given one, returns `POCKETBERT_CANCELLED` at its next check:
    between operators (about a sixth of a layer), texts and windows; its outputs are not written.
 3. A call that has already passed its last check returns as if nothing had happened.
 4. Tripping with no call under way does nothing but stay tripped: later calls with the token are cancelled.
 5. Tripping twice is the same as once.
 6. One token may be given to any number of calls on any threads; a trip stops them all.
 7. A token stays tripped until `pocketbert_cancel_reset`; calls that saw it tripped still end.
 8. `pocketbert_cancel_trip` may be called from any thread and from a signal handler, also while the interrupted
    thread is inside this library; it takes no lock, allocates nothing and leaves errno and the last error alone.
 9. Freeing a token while calls use it is allowed: they go on and can no longer be stopped by it.
 10. A trip that runs at the same time as the free of the same token does nothing, or stops a token that was
     made after it; take the handler away before you free its token.
 */
typedef struct pocketbert_cancel pocketbert_cancel;

/*
 Answers of `pocketbert_classify`, one per text.
 */
typedef struct pocketbert_classification pocketbert_classification;

/*
 Answers of `pocketbert_fill_mask`, one per text.
 */
typedef struct pocketbert_mask_fill pocketbert_mask_fill;

/*
 A model: weights, tokenizer, and what its tasks keep between calls. One serves any number of threads at a time.
 */
typedef struct pocketbert_model pocketbert_model;

/*
 Documents, or vectors, in their order.
 */
typedef struct pocketbert_ranking pocketbert_ranking;

/*
 A text that the library made, such as metrics.
 */
typedef struct pocketbert_string pocketbert_string;

/*
 Summaries, one per text.
 */
typedef struct pocketbert_summary pocketbert_summary;

/*
 Answers of `pocketbert_tag`, one per text.
 */
typedef struct pocketbert_tags pocketbert_tags;

/*
 The tokens of a text, or of a pair.
 */
typedef struct pocketbert_tokens pocketbert_tokens;

/*
 Vectors, which know what model made them: those of different models cannot be compared.
 */
typedef struct pocketbert_vectors pocketbert_vectors;

/*
 Answers of `pocketbert_zero_shot`, one per text.
 */
typedef struct pocketbert_zero_shot_labels pocketbert_zero_shot_labels;

/*
 How far a long text is read.
 */
typedef struct pocketbert_progress {
    /*
     Windows answered.
     */
    size_t windows;
    /*
     Bytes of the text up to the end of the last of them.
     */
    size_t done;
    /*
     Bytes of the text.
     */
    size_t total;
} pocketbert_progress;

/*
 Told how far a long text is read: on the thread of the call, after each window. To stop the call, trip its
 cancel token. It must not unwind (no C++ exception, no longjmp).
 */
typedef void (*pocketbert_progress_fn)(void *context, const struct pocketbert_progress *progress);

/*
 How a text longer than the model is read: in windows that overlap, whose answers are merged. Where a task's
 options have no window options, a text that is too long is cut. Fill it with `pocketbert_window_options_default`.
 */
typedef struct pocketbert_window_options {
    /*
     `sizeof(pocketbert_window_options)`.
     */
    uint32_t struct_size;
    /*
     Tokens of one window, special tokens included; 0: as the bundle says, else the longest the head takes.
     */
    uint32_t window;
    /*
     Tokens of the text from the start of one window to the start of the next; 0: as the bundle says, else half of
     what a window holds.
     */
    uint32_t stride;
    /*
     A `pocketbert_merge`, for labels and vectors. Spans compete and are never merged.
     */
    int32_t merge;
    /*
     Told after each window; NULL for none.
     */
    pocketbert_progress_fn progress;
    /*
     Given to `progress`.
     */
    void *progress_context;
} pocketbert_window_options;

/*
 How a call runs. None of it changes an answer. Fill it with `pocketbert_call_options_default`.
 */
typedef struct pocketbert_call_options {
    /*
     `sizeof(pocketbert_call_options)`.
     */
    uint32_t struct_size;
    /*
     Threads of one run, 1 to 256; they end with the call. Default 1: no thread is started.
     */
    uint32_t threads;
    /*
     A `pocketbert_kernel`. Default `POCKETBERT_KERNEL_BEST`.
     */
    int32_t kernel;
    /*
     Zero.
     */
    uint32_t reserved;
    /*
     The call ends with `POCKETBERT_DEADLINE_EXCEEDED` after so many milliseconds; 0 for never. Checked between
     operators, about a sixth of a layer.
     */
    uint64_t timeout_ms;
    /*
     Stops the call from another thread or a signal handler; NULL for none.
     */
    const struct pocketbert_cancel *cancel;
} pocketbert_call_options;

/*
 How to analyze. Fill it with `pocketbert_analyze_options_default`.
 */
typedef struct pocketbert_analyze_options {
    /*
     `sizeof(pocketbert_analyze_options)`.
     */
    uint32_t struct_size;
    /*
     Keep at most this many labels of a classification; 0, the default, for all.
     */
    uint32_t top_k;
    /*
     A `pocketbert_truncation`.
     */
    int32_t truncation;
    /*
     The most tokens of a text, special tokens included; 0, the default: the model's.
     */
    uint32_t max_length;
    /*
     Ask these heads only: `head_count` names.
     */
    const char *const *heads;
    /*
     How many; 0, the default, for all that can answer.
     */
    size_t head_count;
    /*
     Ask this of the texts, too, with the heads that answer questions; NULL for no question.
     */
    const char *question;
    /*
     Read texts in windows, of any length; NULL, the default, to cut what is too long.
     */
    const struct pocketbert_window_options *window;
    /*
     Threads, kernels, stopping; NULL for the defaults.
     */
    const struct pocketbert_call_options *call;
} pocketbert_analyze_options;

/*
 A text: `length` bytes of UTF-8, which may hold NUL. A `length` of `POCKETBERT_NUL_TERMINATED` stands for "up to
 the first NUL". As an output, `data` also ends in NUL, which `length` does not count.
 */
typedef struct pocketbert_text {
    /*
     The bytes. May be NULL if `length` is 0.
     */
    const char *data;
    /*
     How many.
     */
    size_t length;
} pocketbert_text;

/*
 The answers for one text.
 */
typedef struct pocketbert_analysis_item {
    /*
     Heads that answered.
     */
    size_t heads;
    /*
     Tokens that the model saw, special tokens included.
     */
    size_t tokens;
    /*
     Not 0: the text was cut to fit.
     */
    int32_t truncated;
    /*
     Zero.
     */
    int32_t reserved;
} pocketbert_analysis_item;

/*
 How to answer. Fill it with `pocketbert_answer_options_default`.
 */
typedef struct pocketbert_answer_options {
    /*
     `sizeof(pocketbert_answer_options)`.
     */
    uint32_t struct_size;
    /*
     At most this many answers that do not overlap, 1 to 100. Default 1.
     */
    uint32_t top_k;
    /*
     The longest answer in tokens, before it is widened to whole words. Default 30.
     */
    uint32_t max_tokens;
    /*
     Not 0, the default: widen answers to whole words. 0 for languages without spaces.
     */
    uint32_t whole_words;
    /*
     There is no answer if the null answer's score is above the best one's by more than this. NaN, the default: as
     the bundle says.
     */
    float no_answer;
    /*
     Zero.
     */
    uint32_t reserved;
    /*
     The head's name; NULL for the bundle's choice.
     */
    const char *head;
    /*
     How contexts are read that do not fit beside the question; NULL for the defaults.
     */
    const struct pocketbert_window_options *window;
    /*
     Threads, kernels, stopping; NULL for the defaults.
     */
    const struct pocketbert_call_options *call;
} pocketbert_answer_options;

/*
 What was found for one question.
 */
typedef struct pocketbert_answers_item {
    /*
     Answers, for `pocketbert_answers_span`; also where `no_answer` says not to trust them.
     */
    size_t answers;
    /*
     Windows in which the context was read.
     */
    size_t windows;
    /*
     Not 0: the context does not answer the question, by the threshold.
     */
    int32_t no_answer;
    /*
     The null answer's logits less the best answer's: what the threshold is compared with.
     */
    float null_margin;
    /*
     The null answer's score, the least over all windows.
     */
    float null_score;
    /*
     Zero.
     */
    int32_t reserved;
} pocketbert_answers_item;

/*
 A half-open range in a text.
 */
typedef struct pocketbert_span {
    /*
     The first unit inside.
     */
    size_t start;
    /*
     The first unit after.
     */
    size_t end;
} pocketbert_span;

/*
 One place in three units.
 */
typedef struct pocketbert_place {
    /*
     In bytes: what C slices by.
     */
    struct pocketbert_span bytes;
    /*
     In characters (code points): Python.
     */
    struct pocketbert_span chars;
    /*
     In UTF-16 code units: Java, Kotlin, JavaScript, NSString, Qt.
     */
    struct pocketbert_span utf16;
} pocketbert_place;

/*
 A stretch of the context that may answer the question.
 */
typedef struct pocketbert_answer_span {
    /*
     Where it is in the context.
     */
    struct pocketbert_place place;
    /*
     Probability of its start times that of its end, 0 to 1.
     */
    float score;
    /*
     The logits of start and end, added. Answers are ranked by it.
     */
    float logit;
} pocketbert_answer_span;

/*
 How to classify. Fill it with `pocketbert_classify_options_default`.
 */
typedef struct pocketbert_classify_options {
    /*
     `sizeof(pocketbert_classify_options)`.
     */
    uint32_t struct_size;
    /*
     Keep at most this many labels, the most probable; 0, the default, for all.
     */
    uint32_t top_k;
    /*
     Leave out labels that are less probable than this, 0 to 1 (any number for a regression). NaN, the default: the
     bundle's threshold of each label, where it has one. 0: none.
     */
    float threshold;
    /*
     A `pocketbert_choice`: judge every label by itself instead of all against each other.
     */
    int32_t multi_label;
    /*
     A `pocketbert_truncation`.
     */
    int32_t truncation;
    /*
     The most tokens of a text, special tokens included; 0, the default: the model's.
     */
    uint32_t max_length;
    /*
     The head's name; NULL for the bundle's choice.
     */
    const char *head;
    /*
     Only these labels: `allow_count` names. Not together with `deny`.
     */
    const char *const *allow;
    /*
     How many.
     */
    size_t allow_count;
    /*
     All labels but these: `deny_count` names.
     */
    const char *const *deny;
    /*
     How many.
     */
    size_t deny_count;
    /*
     Read texts of any length in windows; NULL: a text that is too long is cut. Not for pairs.
     */
    const struct pocketbert_window_options *window;
    /*
     Threads, kernels, stopping; NULL for the defaults.
     */
    const struct pocketbert_call_options *call;
} pocketbert_classify_options;

/*
 The answer for one text.
 */
typedef struct pocketbert_classification_item {
    /*
     Labels that passed the options, for `pocketbert_classification_label`.
     */
    size_t labels;
    /*
     The logits of all labels by index, good until the result is freed.
     */
    const float *logits;
    /*
     How many.
     */
    size_t logit_count;
    /*
     Tokens that the model saw, special tokens included.
     */
    size_t tokens;
    /*
     Not 0: the text was cut to fit.
     */
    int32_t truncated;
    /*
     Zero.
     */
    int32_t reserved;
} pocketbert_classification_item;

/*
 A label and how probable it is.
 */
typedef struct pocketbert_label {
    /*
     The label, good until the result is freed.
     */
    const char *name;
    /*
     Its number in the head.
     */
    size_t index;
    /*
     0 to 1, calibrated if the bundle has a temperature. Of a regression the value itself.
     */
    float probability;
    /*
     What the model gave, before temperature and softmax.
     */
    float logit;
} pocketbert_label;

/*
 How to fill masks. Fill it with `pocketbert_fill_mask_options_default`.
 */
typedef struct pocketbert_fill_mask_options {
    /*
     `sizeof(pocketbert_fill_mask_options)`.
     */
    uint32_t struct_size;
    /*
     Candidates per mask, at least 1. Default 5.
     */
    uint32_t top_k;
    /*
     A `pocketbert_truncation`.
     */
    int32_t truncation;
    /*
     The most tokens of a text, special tokens included; 0, the default: the model's.
     */
    uint32_t max_length;
    /*
     Only these tokens, spelled as in the vocabulary: `target_count` names.
     */
    const char *const *targets;
    /*
     How many; 0, the default, for the whole vocabulary.
     */
    size_t target_count;
    /*
     The head's name; NULL for the bundle's choice.
     */
    const char *head;
    /*
     Read texts of any length in windows; NULL: a text that is too long is cut.
     */
    const struct pocketbert_window_options *window;
    /*
     Threads, kernels, stopping; NULL for the defaults.
     */
    const struct pocketbert_call_options *call;
} pocketbert_fill_mask_options;

/*
 The answer for one text.
 */
typedef struct pocketbert_mask_fill_item {
    /*
     Masks, in the order of the text.
     */
    size_t masks;
    /*
     Tokens that the model saw, special tokens included.
     */
    size_t tokens;
    /*
     Not 0: the text was cut to fit; masks in what was cut off are not among `masks`.
     */
    int32_t truncated;
    /*
     Zero.
     */
    int32_t reserved;
} pocketbert_mask_fill_item;

/*
 A token that may stand where the mask is. Strings are good until the result is freed.
 */
typedef struct pocketbert_candidate {
    /*
     The token as the vocabulary spells it.
     */
    const char *token;
    /*
     The text with this mask replaced; other masks stay.
     */
    struct pocketbert_text filled;
    /*
     The token's id.
     */
    uint32_t id;
    /*
     0 to 1, over the whole vocabulary.
     */
    float probability;
    /*
     What the model gave.
     */
    float logit;
    /*
     Zero.
     */
    int32_t reserved;
} pocketbert_candidate;

/*
 Gets a line: UTF-8 that ends in NUL, good until it returns. Never holds the text given to a model, nor a part of it.
 Called on the thread that the event happened on, several at a time. It must not unwind and not set the log function.
 */
typedef void (*pocketbert_log_fn)(void *context, int32_t level, const char *message);

/*
 A window of texts differs from the bundle's baseline.
 */
typedef struct pocketbert_drift {
    /*
     Number of the window, from 1.
     */
    uint64_t window;
    /*
     Texts in it.
     */
    uint64_t texts;
    /*
     The largest score of an axis, in parts of its limit: above 1 is drift.
     */
    double score;
    /*
     All of it in words: a string that is good until the function returns.
     */
    const char *summary;
} pocketbert_drift;

/*
 Told of drift: on the thread whose text ended the window, after its answer is there. It must not unwind.
 */
typedef void (*pocketbert_drift_fn)(void *context, const struct pocketbert_drift *drift);

/*
 How to open a model. Fill it with `pocketbert_open_options_default`.
 */
typedef struct pocketbert_open_options {
    /*
     `sizeof(pocketbert_open_options)`.
     */
    uint32_t struct_size;
    /*
     Not 0: read the file into memory instead of mapping it, for files that may be changed in place, cut short or
     become unreadable while the model is open. Default 0.
     */
    uint32_t copy;
    /*
     Not 0: do not check the weights' hash now (`pocketbert_model_verify` does). Everything else is always checked.
     Default 0.
     */
    uint32_t defer_hash;
    /*
     Not 0: open at the first call, at `pocketbert_model_load` or `_prewarm`; `pocketbert_model_open` then returns at
     once, and they report what is wrong. Only of a path. Default 0.
     */
    uint32_t defer_open;
    /*
     The most bytes that the model may hold: what would take more is `POCKETBERT_RESOURCE_EXHAUSTED` before it
     allocates, and the model answers on. Counted are a file that is copied into memory, what opening copies out of
     it, and for each run its values and working memory, which is kept for the next run. Not counted are mapped and
     borrowed bytes, graph and vocabulary (some megabytes), working memory of further threads of a call, texts,
     and results. 0, the default: no limit of ours.
     */
    uint64_t memory_limit;
} pocketbert_open_options;

/*
 Reads a model from wherever the program keeps it: an archive, encrypted storage, an external flash chip.
 */
typedef struct pocketbert_loader {
    /*
     `sizeof(pocketbert_loader)`.
     */
    uint32_t struct_size;
    /*
     Zero.
     */
    uint32_t reserved;
    /*
     Bytes of the bundle.
     */
    uint64_t size;
    /*
     Given to the functions.
     */
    void *context;
    /*
     Puts up to `length` bytes from `offset` on into `buffer` and gives their number; 0 or less is a failure. Called
     on the opening thread, `offset` growing, until all bytes are there. It must not unwind.
     */
    int64_t (*read)(void *context, uint64_t offset, void *buffer, size_t length);
    /*
     Called once after the last read, whether opening works or not (but not if an argument is refused before any
     read); NULL for none. It must not unwind.
     */
    void (*close)(void *context);
} pocketbert_loader;

/*
 Told that the library no longer reads memory that it borrowed.
 */
typedef void (*pocketbert_release_fn)(void *context);

/*
 Facts of a model. Strings live until the model is closed; they are never NULL.
 */
typedef struct pocketbert_model_facts {
    /*
     Its name.
     */
    const char *name;
    /*
     Its version; empty where it has none.
     */
    const char *version;
    /*
     64 hexadecimal digits that name these weights.
     */
    const char *fingerprint;
    /*
     The most tokens of one text, special tokens included.
     */
    size_t max_length;
    /*
     Entries of the vocabulary.
     */
    size_t vocabulary;
    /*
     Heads, for `pocketbert_model_head`; 0 if it is no bundle.
     */
    size_t heads;
    /*
     Outputs, for `pocketbert_model_output`.
     */
    size_t outputs;
} pocketbert_model_facts;

/*
 A head of a bundle. Strings live until the model is closed.
 */
typedef struct pocketbert_head {
    /*
     Its name.
     */
    const char *name;
    /*
     What it does, for people; may be empty.
     */
    const char *description;
    /*
     A `pocketbert_task`.
     */
    int32_t task;
    /*
     Not 0 for the head that is used when none is named.
     */
    int32_t is_default;
    /*
     Labels, for `pocketbert_model_label`.
     */
    size_t labels;
} pocketbert_head;

/*
 An output of the graph, for `pocketbert_run_ids`. The string lives until the model is closed.
 */
typedef struct pocketbert_model_output {
    /*
     Its name.
     */
    const char *name;
    /*
     Values per row.
     */
    size_t channels;
    /*
     Not 0: a row per token; else a row per sequence.
     */
    int32_t per_token;
    /*
     Zero.
     */
    int32_t reserved;
} pocketbert_model_output;

/*
 How to rank. Fill it with `pocketbert_rerank_options_default`.
 */
typedef struct pocketbert_rerank_options {
    /*
     `sizeof(pocketbert_rerank_options)`.
     */
    uint32_t struct_size;
    /*
     At most this many documents, the best; 0, the default, for all.
     */
    uint32_t top_k;
    /*
     A `pocketbert_truncation`.
     */
    int32_t truncation;
    /*
     The most tokens of a text (of query and document together, where the model reads them so); 0, the default: the
     model's.
     */
    uint32_t max_length;
    /*
     The head's name: one that makes vectors, tells entailment or gives one value; NULL for the bundle's choice.
     */
    const char *head;
    /*
     Read documents in windows, of any length, and merge their scores, usually by `POCKETBERT_MERGE_MAX`; NULL, the
     default, to cut what is too long. Progress counts the bytes of all documents.
     */
    const struct pocketbert_window_options *window;
    /*
     Threads, kernels, stopping; NULL for the defaults.
     */
    const struct pocketbert_call_options *call;
} pocketbert_rerank_options;

/*
 How to summarize. Fill it with `pocketbert_summary_options_default`.
 */
typedef struct pocketbert_summary_options {
    /*
     `sizeof(pocketbert_summary_options)`.
     */
    uint32_t struct_size;
    /*
     How many sentences to keep, at least 1. Default 3.
     */
    uint32_t sentences;
    /*
     A `pocketbert_centrality`.
     */
    int32_t centrality;
    /*
     Zero.
     */
    uint32_t reserved;
    /*
     The embedding head's name; NULL for the bundle's choice.
     */
    const char *head;
    /*
     Threads, kernels, stopping; NULL for the defaults.
     */
    const struct pocketbert_call_options *call;
} pocketbert_summary_options;

/*
 A sentence of a summary.
 */
typedef struct pocketbert_sentence {
    /*
     Its number in the text, from 0.
     */
    size_t index;
    /*
     Where it is.
     */
    struct pocketbert_place place;
    /*
     How central it is; comparable within one text only.
     */
    float score;
    /*
     Zero.
     */
    int32_t reserved;
} pocketbert_sentence;

/*
 How to tag. Fill it with `pocketbert_tag_options_default`.
 */
typedef struct pocketbert_tag_options {
    /*
     `sizeof(pocketbert_tag_options)`.
     */
    uint32_t struct_size;
    /*
     A `pocketbert_aggregation`.
     */
    int32_t aggregation;
    /*
     A `pocketbert_tag_scheme`.
     */
    int32_t scheme;
    /*
     Leave out spans with a smaller score than this, 0 to 1. NaN, the default: none.
     */
    float threshold;
    /*
     A `pocketbert_truncation`.
     */
    int32_t truncation;
    /*
     The most tokens of a text, special tokens included; 0, the default: the model's.
     */
    uint32_t max_length;
    /*
     The head's name; NULL for the bundle's choice.
     */
    const char *head;
    /*
     Labels that make no span: `ignore_count` names. NULL, the default: `O` alone.
     */
    const char *const *ignore;
    /*
     How many.
     */
    size_t ignore_count;
    /*
     Read texts of any length in windows; NULL: a text that is too long is cut.
     */
    const struct pocketbert_window_options *window;
    /*
     Threads, kernels, stopping; NULL for the defaults.
     */
    const struct pocketbert_call_options *call;
} pocketbert_tag_options;

/*
 The answer for one text.
 */
typedef struct pocketbert_tags_item {
    /*
     Spans, for `pocketbert_tags_entity`.
     */
    size_t entities;
    /*
     Tokens that the model saw, special tokens included.
     */
    size_t tokens;
    /*
     Not 0: the text was cut to fit.
     */
    int32_t truncated;
    /*
     Zero.
     */
    int32_t reserved;
} pocketbert_tags_item;

/*
 A labelled stretch of a text. There is no word in it: take the slice of your text.
 */
typedef struct pocketbert_entity {
    /*
     The kind, such as `city`; good until the result is freed.
     */
    const char *label;
    /*
     Where it is. After `pocketbert_tag_words`: in the words joined by one space.
     */
    struct pocketbert_place place;
    /*
     After `pocketbert_tag_words`: which of the words; else 0 to 0.
     */
    struct pocketbert_span words;
    /*
     The mean probability of its words (with `POCKETBERT_AGGREGATE_SIMPLE` of its tokens).
     */
    float score;
    /*
     Zero.
     */
    int32_t reserved;
} pocketbert_entity;

/*
 How to tokenise. Fill it with `pocketbert_tokenize_options_default`.
 */
typedef struct pocketbert_tokenize_options {
    /*
     `sizeof(pocketbert_tokenize_options)`.
     */
    uint32_t struct_size;
    /*
     A `pocketbert_truncation`.
     */
    int32_t truncation;
    /*
     The most tokens, special tokens included; 0, the default: the model's.
     */
    uint32_t max_length;
    /*
     Not 0: leave the special tokens out.
     */
    uint32_t no_special_tokens;
} pocketbert_tokenize_options;

/*
 All tokens. Arrays have `count` entries and are good until the tokens are freed.
 */
typedef struct pocketbert_tokens_view {
    /*
     How many.
     */
    size_t count;
    /*
     Their ids.
     */
    const uint32_t *ids;
    /*
     Their type ids.
     */
    const uint32_t *types;
    /*
     Where each comes from, in bytes of its text; 0 to 0 for special tokens.
     */
    const struct pocketbert_span *spans;
    /*
     How many of them are the unknown token.
     */
    size_t unknown;
    /*
     Not 0: the text was cut to fit.
     */
    int32_t truncated;
    /*
     Zero.
     */
    int32_t reserved;
} pocketbert_tokens_view;

/*
 How to embed. Fill it with `pocketbert_embed_options_default`.
 */
typedef struct pocketbert_embed_options {
    /*
     `sizeof(pocketbert_embed_options)`.
     */
    uint32_t struct_size;
    /*
     A `pocketbert_pooling`.
     */
    int32_t pooling;
    /*
     A `pocketbert_choice`: divide the vector by its length.
     */
    int32_t normalize;
    /*
     Keep this many dimensions, the first; 0, the default, for all.
     */
    uint32_t dims;
    /*
     A `pocketbert_vector_format`.
     */
    int32_t format;
    /*
     A `pocketbert_role`.
     */
    int32_t role;
    /*
     A `pocketbert_truncation`.
     */
    int32_t truncation;
    /*
     The most tokens of a text, special tokens included; 0, the default: the model's.
     */
    uint32_t max_length;
    /*
     Put in front of the text instead of the role's prefix; NULL for that.
     */
    const char *prefix;
    /*
     The head's name; NULL for the bundle's choice.
     */
    const char *head;
    /*
     Read texts of any length in windows; NULL: a text that is too long is cut.
     */
    const struct pocketbert_window_options *window;
    /*
     Threads, kernels, stopping; NULL for the defaults.
     */
    const struct pocketbert_call_options *call;
} pocketbert_embed_options;

/*
 A vector.
 */
typedef struct pocketbert_vector {
    /*
     Dimensions.
     */
    size_t dims;
    /*
     A `pocketbert_vector_format`.
     */
    int32_t format;
    /*
     Not 0: it was divided by its length.
     */
    int32_t unit;
    /*
     Of `POCKETBERT_I8` the steps, good until the vectors are freed; else NULL.
     */
    const int8_t *steps;
    /*
     The size of a step; else 1.
     */
    float scale;
    /*
     Zero.
     */
    int32_t reserved;
} pocketbert_vector;

/*
 How to classify by labels of the call. Fill it with `pocketbert_zero_shot_options_default`.
 */
typedef struct pocketbert_zero_shot_options {
    /*
     `sizeof(pocketbert_zero_shot_options)`.
     */
    uint32_t struct_size;
    /*
     Keep at most this many labels, the most probable; 0, the default, for all.
     */
    uint32_t top_k;
    /*
     Leave out labels that are less probable than this, 0 to 1. NaN, the default: none.
     */
    float threshold;
    /*
     Not 0: judge every label by itself instead of all against each other. Default 0.
     */
    uint32_t multi_label;
    /*
     A `pocketbert_truncation`.
     */
    int32_t truncation;
    /*
     The most tokens of a text with its sentence; 0, the default: the model's.
     */
    uint32_t max_length;
    /*
     The sentence that a label makes; `{}`, once, is where the label goes. NULL: "This text is about {}."
     */
    const char *sentence;
    /*
     The head's name; NULL for the bundle's choice.
     */
    const char *head;
    /*
     Read texts of any length in windows; NULL: a text that is too long is cut.
     */
    const struct pocketbert_window_options *window;
    /*
     Threads, kernels, stopping; NULL for the defaults.
     */
    const struct pocketbert_call_options *call;
} pocketbert_zero_shot_options;

/*
 A label and how probable it is.
 */
typedef struct pocketbert_zero_shot_label {
    /*
     The label as it was given, good until the result is freed.
     */
    const char *name;
    /*
     Its index among the labels that were given.
     */
    size_t index;
    /*
     0 to 1; over all labels they sum to 1, unless every label was judged by itself.
     */
    float probability;
    /*
     The score of entailment.
     */
    float entailment;
    /*
     The score of the opposite.
     */
    float contradiction;
    /*
     Zero.
     */
    int32_t reserved;
} pocketbert_zero_shot_label;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Fills in the defaults: every head, no question.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_analyze_options_default(struct pocketbert_analyze_options *options);

/*
 Asks heads about one text: `*result`, to be freed with `pocketbert_analysis_free`. `options` may be NULL.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_analyze(const struct pocketbert_model *model,
                                     const char *text,
                                     size_t length,
                                     const struct pocketbert_analyze_options *options,
                                     struct pocketbert_analysis **result);

/*
 Asks heads about `count` texts; each answer is, bit for bit, the one that the text gets alone.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_analyze_batch(const struct pocketbert_model *model,
                                           const struct pocketbert_text *texts,
                                           size_t count,
                                           const struct pocketbert_analyze_options *options,
                                           struct pocketbert_analysis **result);

/*
 Writes how many answers there are.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_analysis_count(const struct pocketbert_analysis *result,
                                            size_t *count);

/*
 Writes answer `item`.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_analysis_get(const struct pocketbert_analysis *result,
                                          size_t item,
                                          struct pocketbert_analysis_item *answer);

/*
 Writes the name of head `head` in answer `item` (good until the result is freed) and its task (a `pocketbert_task`),
 which says which of the next functions gives its answer.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_analysis_head(const struct pocketbert_analysis *result,
                                           size_t item,
                                           size_t head,
                                           const char **name,
                                           int32_t *task);

/*
 Makes a result of one item of a head that classifies: `*answer`, to be freed like any other.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_analysis_classification(const struct pocketbert_analysis *result,
                                                     size_t item,
                                                     size_t head,
                                                     struct pocketbert_classification **answer);

/*
 The same of a head that tags.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_analysis_tags(const struct pocketbert_analysis *result,
                                           size_t item,
                                           size_t head,
                                           struct pocketbert_tags **answer);

/*
 The same of a head that makes vectors.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_analysis_vectors(const struct pocketbert_analysis *result,
                                              size_t item,
                                              size_t head,
                                              struct pocketbert_vectors **answer);

/*
 The same of a head that answers questions.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_analysis_answers(const struct pocketbert_analysis *result,
                                              size_t item,
                                              size_t head,
                                              struct pocketbert_answers **answer);

/*
 Frees a result. What was made of its heads stays.
 */
pocketbert_status pocketbert_analysis_free(struct pocketbert_analysis *result);

/*
 Fills in the defaults: one answer of at most 30 tokens, in whole words.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_answer_options_default(struct pocketbert_answer_options *options);

/*
 Answers one question from a context of any length: `*result`, to be freed with `pocketbert_answers_free`. `options`
 may be NULL.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_answer(const struct pocketbert_model *model,
                                    const char *question,
                                    size_t question_length,
                                    const char *context,
                                    size_t context_length,
                                    const struct pocketbert_answer_options *options,
                                    struct pocketbert_answers **result);

/*
 Answers `count` questions, each from its own context.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_answer_batch(const struct pocketbert_model *model,
                                          const struct pocketbert_text *questions,
                                          const struct pocketbert_text *contexts,
                                          size_t count,
                                          const struct pocketbert_answer_options *options,
                                          struct pocketbert_answers **result);

/*
 Writes how many items there are.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_answers_count(const struct pocketbert_answers *result,
                                           size_t *count);

/*
 Writes what was found for question `item`.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_answers_get(const struct pocketbert_answers *result,
                                         size_t item,
                                         struct pocketbert_answers_item *found);

/*
 Writes answer number `rank` to question `item`; 0 is the best.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_answers_span(const struct pocketbert_answers *result,
                                          size_t item,
                                          size_t rank,
                                          struct pocketbert_answer_span *span);

/*
 Frees a result.
 */
pocketbert_status pocketbert_answers_free(struct pocketbert_answers *result);

/*
 Fills in the defaults: one thread, the fastest kernels, never stopped.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_call_options_default(struct pocketbert_call_options *options);

/*
 Fills in the defaults.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_window_options_default(struct pocketbert_window_options *options);

/*
 Makes a token: `*token`, to be freed with `pocketbert_cancel_free`. At most 256 exist at a time.
 */
POCKETBERT_MUST_USE pocketbert_status pocketbert_cancel_new(struct pocketbert_cancel **token);

/*
 Trips the token. Safe in a signal handler and from any thread; unlike other functions it leaves the last error
 alone also where it fails (`POCKETBERT_INVALID_ARGUMENT` for a handle that is no token).
 */
pocketbert_status pocketbert_cancel_trip(const struct pocketbert_cancel *token);

/*
 Makes a tripped token usable again. Safe like `pocketbert_cancel_trip`.
 */
pocketbert_status pocketbert_cancel_reset(const struct pocketbert_cancel *token);

/*
 1 if the token is tripped, 0 if not, -1 if it is no token. Safe like `pocketbert_cancel_trip`.
 */
int32_t pocketbert_cancel_is_tripped(const struct pocketbert_cancel *token);

/*
 Frees a token. Not in a signal handler.
 */
pocketbert_status pocketbert_cancel_free(struct pocketbert_cancel *token);

/*
 Fills in the defaults: all labels, as the bundle says.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_classify_options_default(struct pocketbert_classify_options *options);

/*
 Classifies one text: `*result`, to be freed with `pocketbert_classification_free`. Empty text has an answer like any
 other. `options` may be NULL.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_classify(const struct pocketbert_model *model,
                                      const char *text,
                                      size_t length,
                                      const struct pocketbert_classify_options *options,
                                      struct pocketbert_classification **result);

/*
 Classifies `count` texts, or with `pairs` (which may be NULL) as many pairs of texts that the model reads together;
 each answer is, bit for bit, the one that the text gets alone. With no text the result has no answer.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_classify_batch(const struct pocketbert_model *model,
                                            const struct pocketbert_text *texts,
                                            const struct pocketbert_text *pairs,
                                            size_t count,
                                            const struct pocketbert_classify_options *options,
                                            struct pocketbert_classification **result);

/*
 Writes how many answers there are.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_classification_count(const struct pocketbert_classification *result,
                                                  size_t *count);

/*
 Writes answer `item`.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_classification_get(const struct pocketbert_classification *result,
                                                size_t item,
                                                struct pocketbert_classification_item *answer);

/*
 Writes label number `rank` of answer `item`; 0 is the most probable.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_classification_label(const struct pocketbert_classification *result,
                                                  size_t item,
                                                  size_t rank,
                                                  struct pocketbert_label *label);

/*
 Frees a result, and all that was read from it.
 */
pocketbert_status pocketbert_classification_free(struct pocketbert_classification *result);

/*
 How many handles exist: models, tokens, results, strings. A program that frees all it gets reads 0 at its end.
 */
size_t pocketbert_handle_count(void);

/*
 The `pocketbert_kernel` that `POCKETBERT_KERNEL_BEST` stands for on this CPU.
 */
int32_t pocketbert_kernel_best(void);

/*
 1 if this CPU runs the `pocketbert_kernel`, else 0.
 */
int32_t pocketbert_kernel_available(int32_t kernel);

/*
 The name of a `pocketbert_kernel`, such as `neon-dotprod`; NULL for a number that is none. A static string.
 */
const char *pocketbert_kernel_name(int32_t kernel);

/*
 Writes facts of the library, the CPU and the process as JSON: version, kernels, memory, handles. `*text`, to be freed
 with `pocketbert_string_free`.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_diagnostics(struct pocketbert_string **text);

/*
 Writes facts of a model as JSON: what it is, its heads and outputs, and which kernels really ran in each operator of
 one run on one token. `*text`, to be freed with `pocketbert_string_free`.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_diagnostics(const struct pocketbert_model *model,
                                               struct pocketbert_string **text);

/*
 Writes how a mask is spelled in texts for `pocketbert_fill_mask`, such as `[MASK]`: `*text`, to be freed with
 `pocketbert_string_free`.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_mask_token(const struct pocketbert_model *model,
                                        struct pocketbert_string **text);

/*
 The status of the last call on this thread that failed; `POCKETBERT_OK` if none did. A call that succeeds leaves
 it as it was, so cleaning up does not lose it.
 */
pocketbert_status pocketbert_error_status(void);

/*
 What the last call on this thread that failed has to say: one line of UTF-8 that names the function, what was
 wrong and what to do. It may quote names from a model file and options, never the text given to a model.
 Never NULL; empty if no call failed. Valid until the next failure on this thread; do not free it.
 */
const char *pocketbert_error_message(void);

/*
 How many entries `pocketbert_error_frame` has; 0 if no call failed.
 */
size_t pocketbert_error_depth(void);

/*
 The error stack, for a support ticket: entry 0 is the function that was called, the last one the cause. NULL past
 the end. Valid as long as `pocketbert_error_message`.
 */
const char *pocketbert_error_frame(size_t index);

/*
 Forgets this thread's last error.
 */
void pocketbert_error_clear(void);

/*
 Fills in the defaults: five candidates from the whole vocabulary.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_fill_mask_options_default(struct pocketbert_fill_mask_options *options);

/*
 Fills the masks of one text, each for itself: `*result`, to be freed with `pocketbert_mask_fill_free`. What a mask is
 spelled like, `pocketbert_mask_token` says. `options` may be NULL.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_fill_mask(const struct pocketbert_model *model,
                                       const char *text,
                                       size_t length,
                                       const struct pocketbert_fill_mask_options *options,
                                       struct pocketbert_mask_fill **result);

/*
 Fills the masks of `count` texts; each answer is, bit for bit, the one that the text gets alone.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_fill_mask_batch(const struct pocketbert_model *model,
                                             const struct pocketbert_text *texts,
                                             size_t count,
                                             const struct pocketbert_fill_mask_options *options,
                                             struct pocketbert_mask_fill **result);

/*
 Writes how many answers there are.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_mask_fill_count(const struct pocketbert_mask_fill *result,
                                             size_t *count);

/*
 Writes answer `item`.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_mask_fill_get(const struct pocketbert_mask_fill *result,
                                           size_t item,
                                           struct pocketbert_mask_fill_item *answer);

/*
 Writes the bytes of mask `mask` of text `item`, and how many candidates it has.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_mask_fill_mask(const struct pocketbert_mask_fill *result,
                                            size_t item,
                                            size_t mask,
                                            struct pocketbert_span *span,
                                            size_t *candidates);

/*
 Writes candidate number `rank` for mask `mask` of text `item`; 0 is the most probable.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_mask_fill_candidate(const struct pocketbert_mask_fill *result,
                                                 size_t item,
                                                 size_t mask,
                                                 size_t rank,
                                                 struct pocketbert_candidate *candidate);

/*
 Frees a result, and all that was read from it.
 */
pocketbert_status pocketbert_mask_fill_free(struct pocketbert_mask_fill *result);

/*
 Runs output `output` (an index for `pocketbert_model_get_output`) on `sequences` sequences of token ids, one after
 another in `ids`; sequence `i` has `lengths[i]` of them. `types` has a type id per token, or is NULL for zeros.
 Writes the output's rows, one per token or one per sequence, to `values`, and how many numbers that are to `*count`.
 If `capacity` is less, nothing is written and the status is `POCKETBERT_INVALID_ARGUMENT`; the message says what is
 needed. `call_options` may be NULL.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_run_ids(const struct pocketbert_model *model,
                                     const uint32_t *ids,
                                     const uint32_t *types,
                                     size_t id_count,
                                     const size_t *lengths,
                                     size_t sequences,
                                     size_t output,
                                     const struct pocketbert_call_options *call_options,
                                     float *values,
                                     size_t capacity,
                                     size_t *count);

/*
 Sends lines up to `level` (a `pocketbert_log_level`) to `log`, for the whole process; NULL, as at first, sends them
 nowhere. When it returns, the function that was set before is running nowhere and never runs again, so its context
 may be freed. `POCKETBERT_FAILED_PRECONDITION` from inside a log function.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_set_log(int32_t level,
                                     pocketbert_log_fn log,
                                     void *context);

/*
 Writes the numbers of all tasks of a model that were asked so far, in `format` (a `pocketbert_metrics_format`):
 `*text`, to be freed with `pocketbert_string_free`.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_metrics(const struct pocketbert_model *model,
                                           int32_t format,
                                           struct pocketbert_string **text);

/*
 Begins (`enabled` not 0, as at first) or stops counting for `task` and `head` (NULL for the bundle's choice), and sets
 below which probability an answer counts as one of low confidence (0 to 1; at first 0.5).
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_count(const struct pocketbert_model *model,
                                         int32_t task,
                                         const char *head,
                                         int32_t enabled,
                                         float low_confidence);

/*
 Compares what comes in with the bundle's baseline for `task` and `head` (NULL for the bundle's choice), in windows of
 `window` texts (0 for the default), and calls `on_drift` for each that differs. Once per task and head;
 `POCKETBERT_FAILED_PRECONDITION` after that, `POCKETBERT_NOT_FOUND` if the bundle has no baseline for it.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_watch_drift(const struct pocketbert_model *model,
                                               int32_t task,
                                               const char *head,
                                               uint64_t window,
                                               pocketbert_drift_fn on_drift,
                                               void *context);

/*
 Fills in the defaults: mapped, checked, opened at once, no limit.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_open_options_default(struct pocketbert_open_options *options);

/*
 Fills in the size, and zero elsewhere.
 */
POCKETBERT_MUST_USE pocketbert_status pocketbert_loader_default(struct pocketbert_loader *loader);

/*
 Opens the model at `path` (UTF-8 or the system's bytes; a `.pbert` bundle, an `.onnx` file, or a folder with both
 `model*.onnx` and `tokenizer.json`): `*model`, to be closed with `pocketbert_model_close`. `options` may be NULL.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_open(const char *path,
                                        const struct pocketbert_open_options *options,
                                        struct pocketbert_model **model);

/*
 Opens a bundle from memory, which is copied.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_open_bytes(const uint8_t *bytes,
                                              size_t length,
                                              const struct pocketbert_open_options *options,
                                              struct pocketbert_model **model);

/*
 Opens a bundle from memory, which is used where it is: a model in flash that is linked into the program or mapped by
 it. The bytes must stay readable and unchanged until `release` (NULL for memory that always stays) is called with
 `context`: once, when the model is closed and its last call is over, on the thread that does the last of it. If
 opening fails, `release` is called before this function returns, unless an argument is refused.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_open_borrowed(const uint8_t *bytes,
                                                 size_t length,
                                                 pocketbert_release_fn release,
                                                 void *context,
                                                 const struct pocketbert_open_options *options,
                                                 struct pocketbert_model **model);

/*
 Opens the bundle in `length` bytes at `offset` of an open regular file, such as an uncompressed asset of an Android
 package. The file position is neither used nor moved; the descriptor stays the caller's and may be closed
 afterwards. `POCKETBERT_UNIMPLEMENTED` on systems without descriptors (Windows).
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_open_fd(int32_t fd,
                                           uint64_t offset,
                                           uint64_t length,
                                           const struct pocketbert_open_options *options,
                                           struct pocketbert_model **model);

/*
 Opens a bundle that `loader` reads into memory.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_open_loader(const struct pocketbert_loader *loader,
                                               const struct pocketbert_open_options *options,
                                               struct pocketbert_model **model);

/*
 Closes a model. Its handle is no handle from now on, on every thread; calls that are under way end as if nothing had
 happened, and the last of them (or this function, if there is none) frees the memory. Results and vectors outlive it.
 */
pocketbert_status pocketbert_model_close(struct pocketbert_model *model);

/*
 Writes a `pocketbert_load_state` to `*state`. Does not wait for a thread that opens the model.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_state(const struct pocketbert_model *model,
                                         int32_t *state);

/*
 Opens a model that was to be opened later; other calls wait. Does nothing if it is open.
 */
POCKETBERT_MUST_USE pocketbert_status pocketbert_model_load(const struct pocketbert_model *model);

/*
 Answers something short with `task` (a `pocketbert_task`) and its head `head` (NULL for the bundle's choice), so that
 the next call is a warm one.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_prewarm(const struct pocketbert_model *model,
                                           int32_t task,
                                           const char *head);

/*
 Writes the model's facts; opens it if need be.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_get_facts(const struct pocketbert_model *model,
                                             struct pocketbert_model_facts *facts);

/*
 Writes the facts of head `index` of a bundle.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_get_head(const struct pocketbert_model *model,
                                            size_t index,
                                            struct pocketbert_head *head);

/*
 Writes label `index` of head `head`: a string that lives until the model is closed.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_get_label(const struct pocketbert_model *model,
                                             size_t head,
                                             size_t index,
                                             const char **label);

/*
 Writes the facts of output `index` of the graph.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_get_output(const struct pocketbert_model *model,
                                              size_t index,
                                              struct pocketbert_model_output *output);

/*
 Checks the weights' hash of a bundle that was opened with `defer_hash`; `POCKETBERT_DATA_LOSS` if it is wrong.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_verify(const struct pocketbert_model *model);

/*
 Runs the bundle's recorded cases on every kernel that this CPU has and compares all bits; `POCKETBERT_DATA_LOSS` at the
 first that differs, `POCKETBERT_FAILED_PRECONDITION` if there are no cases.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_self_test(const struct pocketbert_model *model);

/*
 Gives back the scratch memory that finished calls keep for the next ones; a later call takes it anew. Call it when the
 program is put in the background or memory is short.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_model_trim(const struct pocketbert_model *model);

/*
 Fills in the defaults: all documents.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_rerank_options_default(struct pocketbert_rerank_options *options);

/*
 Ranks `count` documents by a query, the best first, of equals the earlier one: `*result`, to be freed with
 `pocketbert_ranking_free`. `options` may be NULL.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_rerank(const struct pocketbert_model *model,
                                    const char *query,
                                    size_t query_length,
                                    const struct pocketbert_text *documents,
                                    size_t count,
                                    const struct pocketbert_rerank_options *options,
                                    struct pocketbert_ranking **result);

/*
 Writes how many there are.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_ranking_count(const struct pocketbert_ranking *ranking,
                                           size_t *count);

/*
 Writes the index, among what was given, of number `rank`, and its score: a cosine, a probability that the query
 entails the document, or the value of the model's head. 0 is the best.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_ranking_get(const struct pocketbert_ranking *ranking,
                                         size_t rank,
                                         size_t *index,
                                         float *score);

/*
 Frees a ranking.
 */
pocketbert_status pocketbert_ranking_free(struct pocketbert_ranking *ranking);

/*
 The name of a status as absl spells it, such as `NOT_FOUND`; `UNKNOWN` for a number that is none. A static
 string. Safe in a signal handler.
 */
const char *pocketbert_status_name(int32_t status);

/*
 Writes where the text is. It ends in NUL, and is good until the string is freed.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_string_get(const struct pocketbert_string *string,
                                        struct pocketbert_text *text);

/*
 Frees a string.
 */
pocketbert_status pocketbert_string_free(struct pocketbert_string *string);

/*
 Fills in the defaults: three sentences.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_summary_options_default(struct pocketbert_summary_options *options);

/*
 Picks the main sentences of one text: `*result`, to be freed with `pocketbert_summary_free`. `options` may be NULL.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_summarize(const struct pocketbert_model *model,
                                       const char *text,
                                       size_t length,
                                       const struct pocketbert_summary_options *options,
                                       struct pocketbert_summary **result);

/*
 Picks the main sentences of each of `count` texts.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_summarize_batch(const struct pocketbert_model *model,
                                             const struct pocketbert_text *texts,
                                             size_t count,
                                             const struct pocketbert_summary_options *options,
                                             struct pocketbert_summary **result);

/*
 Writes how many summaries there are.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_summary_count(const struct pocketbert_summary *result,
                                           size_t *count);

/*
 Writes how many sentences summary `item` has, and of how many in the text.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_summary_get(const struct pocketbert_summary *result,
                                         size_t item,
                                         size_t *sentences,
                                         size_t *of_sentences);

/*
 Writes sentence `index` of summary `item`; they are in the order of the text.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_summary_sentence(const struct pocketbert_summary *result,
                                              size_t item,
                                              size_t index,
                                              struct pocketbert_sentence *sentence);

/*
 Frees a result.
 */
pocketbert_status pocketbert_summary_free(struct pocketbert_summary *result);

/*
 Fills in the defaults: words by their first token, `O` left out.
 */
POCKETBERT_MUST_USE pocketbert_status pocketbert_tag_options_default(struct pocketbert_tag_options *options);

/*
 Tags one text: `*result`, to be freed with `pocketbert_tags_free`. `options` may be NULL.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_tag(const struct pocketbert_model *model,
                                 const char *text,
                                 size_t length,
                                 const struct pocketbert_tag_options *options,
                                 struct pocketbert_tags **result);

/*
 Tags `count` texts; each answer is, bit for bit, the one that the text gets alone.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_tag_batch(const struct pocketbert_model *model,
                                       const struct pocketbert_text *texts,
                                       size_t count,
                                       const struct pocketbert_tag_options *options,
                                       struct pocketbert_tags **result);

/*
 Tags one text that is split into `count` words already; each entity says which words it has.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_tag_words(const struct pocketbert_model *model,
                                       const struct pocketbert_text *words,
                                       size_t count,
                                       const struct pocketbert_tag_options *options,
                                       struct pocketbert_tags **result);

/*
 Writes how many answers there are.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_tags_count(const struct pocketbert_tags *result,
                                        size_t *count);

/*
 Writes answer `item`.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_tags_get(const struct pocketbert_tags *result,
                                      size_t item,
                                      struct pocketbert_tags_item *answer);

/*
 Writes span `index` of answer `item`; they are in the order of the text and do not overlap.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_tags_entity(const struct pocketbert_tags *result,
                                         size_t item,
                                         size_t index,
                                         struct pocketbert_entity *entity);

/*
 Frees a result, and all that was read from it.
 */
pocketbert_status pocketbert_tags_free(struct pocketbert_tags *result);

/*
 Fills in the defaults: what a task gives to the model.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_tokenize_options_default(struct pocketbert_tokenize_options *options);

/*
 Tokenises a text, or with `pair` not NULL a pair: `*tokens`, to be freed with `pocketbert_tokens_free`. `options` may be
 NULL.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_tokenize(const struct pocketbert_model *model,
                                      const char *text,
                                      size_t length,
                                      const char *pair,
                                      size_t pair_length,
                                      const struct pocketbert_tokenize_options *options,
                                      struct pocketbert_tokens **tokens);

/*
 Writes where all tokens are.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_tokens_get(const struct pocketbert_tokens *tokens,
                                        struct pocketbert_tokens_view *view);

/*
 Writes token `index` as the vocabulary spells it: a string that is good until the tokens are freed.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_tokens_spelling(const struct pocketbert_tokens *tokens,
                                             size_t index,
                                             const char **spelling);

/*
 Frees tokens, and all that was read from them.
 */
pocketbert_status pocketbert_tokens_free(struct pocketbert_tokens *tokens);

/*
 Fills in the defaults: all dimensions in f32, as the bundle says.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_embed_options_default(struct pocketbert_embed_options *options);

/*
 Makes the vector of one text: `*result`, to be freed with `pocketbert_vectors_free`. `options` may be NULL.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_embed(const struct pocketbert_model *model,
                                   const char *text,
                                   size_t length,
                                   const struct pocketbert_embed_options *options,
                                   struct pocketbert_vectors **result);

/*
 Makes the vectors of `count` texts; each is, bit for bit, the one that the text gets alone.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_embed_batch(const struct pocketbert_model *model,
                                         const struct pocketbert_text *texts,
                                         size_t count,
                                         const struct pocketbert_embed_options *options,
                                         struct pocketbert_vectors **result);

/*
 Writes how many vectors there are.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_vectors_count(const struct pocketbert_vectors *vectors,
                                           size_t *count);

/*
 Writes what vector `index` is.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_vectors_get(const struct pocketbert_vectors *vectors,
                                         size_t index,
                                         struct pocketbert_vector *vector);

/*
 Writes the numbers of vector `index` as floats to `values`, which has room for `capacity`. Too little room is
 `POCKETBERT_INVALID_ARGUMENT`.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_vectors_values(const struct pocketbert_vectors *vectors,
                                            size_t index,
                                            float *values,
                                            size_t capacity);

/*
 Writes to `*size` how many bytes vector `index` takes when it is stored, and with `bytes` not NULL the bytes
 (little-endian, the same on every CPU). If `capacity` is less than that, nothing is written and the status is
 `POCKETBERT_INVALID_ARGUMENT`; so ask with `bytes` of NULL first.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_vectors_store(const struct pocketbert_vectors *vectors,
                                           size_t index,
                                           uint8_t *bytes,
                                           size_t capacity,
                                           size_t *size);

/*
 Reads `count` stored vectors, one after another in `length` bytes, which are checked: `*vectors`, to be freed with
 `pocketbert_vectors_free`. All must have the same size.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_vectors_load(const uint8_t *bytes,
                                          size_t length,
                                          size_t count,
                                          struct pocketbert_vectors **vectors);

/*
 Makes the same vectors with their first `dims` dimensions (0: all) in `format` (a `pocketbert_vector_format`):
 `*result`, to be freed with `pocketbert_vectors_free`.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_vectors_convert(const struct pocketbert_vectors *vectors,
                                             size_t dims,
                                             int32_t format,
                                             struct pocketbert_vectors **result);

/*
 Writes the cosine of the angle between vector `a_index` of `a` and vector `b_index` of `b`, -1 to 1.
 `POCKETBERT_INVALID_ARGUMENT` for vectors of different models or dimensions.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_vectors_cosine(const struct pocketbert_vectors *a,
                                            size_t a_index,
                                            const struct pocketbert_vectors *b,
                                            size_t b_index,
                                            float *cosine);

/*
 Writes the scalar product, otherwise as `pocketbert_vectors_cosine`.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_vectors_dot(const struct pocketbert_vectors *a,
                                         size_t a_index,
                                         const struct pocketbert_vectors *b,
                                         size_t b_index,
                                         float *dot);

/*
 Ranks `candidates` by their cosine with vector `index` of `query`, at most `top_k` of them (0: all): `*ranking`, to be
 freed with `pocketbert_ranking_free`.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_vectors_nearest(const struct pocketbert_vectors *query,
                                             size_t index,
                                             const struct pocketbert_vectors *candidates,
                                             size_t top_k,
                                             struct pocketbert_ranking **ranking);

/*
 Frees vectors.
 */
pocketbert_status pocketbert_vectors_free(struct pocketbert_vectors *vectors);

/*
 The library's version, such as `0.1.0`: a static string, never freed.
 */
const char *pocketbert_version(void);

/*
 The library's `POCKETBERT_VERSION_NUMBER`.
 */
uint32_t pocketbert_version_number(void);

/*
 How the library was built, as JSON: version, target, compiler, optimisation, instruction sets. A static string.
 */
const char *pocketbert_build_info(void);

/*
 Fills in the defaults: one label holds, all are listed.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_zero_shot_options_default(struct pocketbert_zero_shot_options *options);

/*
 Says which of `label_count` labels fit one text: `*result`, to be freed with `pocketbert_zero_shot_labels_free`.
 `options` may be NULL.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_zero_shot(const struct pocketbert_model *model,
                                       const char *text,
                                       size_t length,
                                       const struct pocketbert_text *labels,
                                       size_t label_count,
                                       const struct pocketbert_zero_shot_options *options,
                                       struct pocketbert_zero_shot_labels **result);

/*
 Says which of the labels fit each of `count` texts; each answer is, bit for bit, the one that the text gets alone.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_zero_shot_batch(const struct pocketbert_model *model,
                                             const struct pocketbert_text *texts,
                                             size_t count,
                                             const struct pocketbert_text *labels,
                                             size_t label_count,
                                             const struct pocketbert_zero_shot_options *options,
                                             struct pocketbert_zero_shot_labels **result);

/*
 Writes how many answers there are.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_zero_shot_labels_count(const struct pocketbert_zero_shot_labels *result,
                                                    size_t *count);

/*
 Writes how many labels answer `item` has, and whether the text was cut for at least one of them (not 0).
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_zero_shot_labels_get(const struct pocketbert_zero_shot_labels *result,
                                                  size_t item,
                                                  size_t *labels,
                                                  int32_t *truncated);

/*
 Writes label number `rank` of answer `item`; 0 is the most probable.
 */
POCKETBERT_MUST_USE
pocketbert_status pocketbert_zero_shot_labels_label(const struct pocketbert_zero_shot_labels *result,
                                                    size_t item,
                                                    size_t rank,
                                                    struct pocketbert_zero_shot_label *label);

/*
 Frees a result, and all that was read from it.
 */
pocketbert_status pocketbert_zero_shot_labels_free(struct pocketbert_zero_shot_labels *result);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* POCKETBERT_H */
