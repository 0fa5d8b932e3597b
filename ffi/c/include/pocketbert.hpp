// PocketBERT for C++17 and later: objects that free themselves over pocketbert.h, in this header alone.
//
//     #include <pocketbert.hpp>
//     #include <iostream>
//     int main() {
//         auto model = pocketbert::Model::open("tiny.pbert");
//         for (const auto &label : model.classify("book a table for two in Paris").labels)
//             std::cout << label.name << ' ' << label.probability << '\n';
//     }
//
// A failure throws pocketbert::Error, which has the status and the error stack. Where exceptions are off
// (-fno-exceptions) a failure calls std::abort; use pocketbert.h there.
//
// Model and CancelToken own a handle: they move and do not copy. Everything else is a plain value that outlives its
// model. A Model may be shared by threads; each method is const. Texts are UTF-8.

#ifndef POCKETBERT_HPP
#define POCKETBERT_HPP

#include "pocketbert.h"

#include <chrono>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pocketbert {

/// Why a call failed.
class Error : public std::runtime_error {
  public:
    Error(pocketbert_status status, const std::string &message, std::vector<std::string> stack)
        : std::runtime_error(message), status_(status), stack_(std::move(stack)) {}
    pocketbert_status status() const noexcept { return status_; }
    /// The function that was called first, the cause last.
    const std::vector<std::string> &stack() const noexcept { return stack_; }

  private:
    pocketbert_status status_;
    std::vector<std::string> stack_;
};

/// A half-open range of bytes, code points or UTF-16 units.
using Span = pocketbert_span;
/// One place in all three units.
using Place = pocketbert_place;

namespace detail {

[[noreturn]] inline void fail(pocketbert_status status) {
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
    std::vector<std::string> stack;
    for (size_t i = 0; i < pocketbert_error_depth(); i++)
        stack.emplace_back(pocketbert_error_frame(i));
    throw Error(status, pocketbert_error_message(), std::move(stack));
#else
    (void)status;
    std::abort();
#endif
}

inline void check(pocketbert_status status) {
    if (status != POCKETBERT_OK)
        fail(status);
}

/// Frees a handle with the function for its kind.
template <auto Free> struct Freer {
    template <class T> void operator()(T *handle) const noexcept { Free(handle); }
};
template <class T, auto Free> using Handle = std::unique_ptr<T, Freer<Free>>;

using Classification = Handle<pocketbert_classification, pocketbert_classification_free>;
using Tags = Handle<pocketbert_tags, pocketbert_tags_free>;
using Answers = Handle<pocketbert_answers, pocketbert_answers_free>;
using Summary = Handle<pocketbert_summary, pocketbert_summary_free>;
using Vectors = Handle<pocketbert_vectors, pocketbert_vectors_free>;
using Ranking = Handle<pocketbert_ranking, pocketbert_ranking_free>;
using MaskFill = Handle<pocketbert_mask_fill, pocketbert_mask_fill_free>;
using ZeroShot = Handle<pocketbert_zero_shot_labels, pocketbert_zero_shot_labels_free>;
using Analysis = Handle<pocketbert_analysis, pocketbert_analysis_free>;
using Tokens = Handle<pocketbert_tokens, pocketbert_tokens_free>;
using String = Handle<pocketbert_string, pocketbert_string_free>;

inline pocketbert_text view(std::string_view s) { return {s.data(), s.size()}; }

template <class Texts> std::vector<pocketbert_text> views(const Texts &texts) {
    std::vector<pocketbert_text> all;
    for (const auto &t : texts)
        all.push_back(view(t));
    return all;
}

/// Pointers to strings that outlive it.
class Names {
  public:
    explicit Names(const std::vector<std::string> &names) {
        for (const auto &n : names)
            pointers_.push_back(n.c_str());
    }
    const char *const *data() const { return pointers_.empty() ? nullptr : pointers_.data(); }
    size_t size() const { return pointers_.size(); }

  private:
    std::vector<const char *> pointers_;
};

inline const char *name(const std::string &s) { return s.empty() ? nullptr : s.c_str(); }

inline std::string take(pocketbert_string *s) {
    String owned(s);
    pocketbert_text t{};
    check(pocketbert_string_get(s, &t));
    return {t.data, t.length};
}

inline int32_t choice(const std::optional<bool> &b) {
    return !b ? POCKETBERT_AS_BUNDLE : *b ? POCKETBERT_YES : POCKETBERT_NO;
}

} // namespace detail

/// Stops calls from another thread, or from a signal handler: see `pocketbert_cancel`.
class CancelToken {
  public:
    CancelToken() {
        pocketbert_cancel *t = nullptr;
        detail::check(pocketbert_cancel_new(&t));
        handle_.reset(t);
    }
    void trip() const noexcept { (void)!pocketbert_cancel_trip(handle_.get()); }
    void reset() const noexcept { (void)!pocketbert_cancel_reset(handle_.get()); }
    bool is_tripped() const noexcept { return pocketbert_cancel_is_tripped(handle_.get()) == 1; }
    const pocketbert_cancel *get() const noexcept { return handle_.get(); }

  private:
    detail::Handle<pocketbert_cancel, pocketbert_cancel_free> handle_;
};

/// How a call runs. None of it changes an answer.
struct Call {
    uint32_t threads = 1;
    pocketbert_kernel kernel = POCKETBERT_KERNEL_BEST;
    std::chrono::milliseconds timeout{0};
    /// Not owned: must outlive the call.
    const CancelToken *cancel = nullptr;
};

/// How a text longer than the model is read.
struct Window {
    uint32_t window = 0, stride = 0;
    pocketbert_merge merge = POCKETBERT_MERGE_WEIGHTED;
    /// Must not throw.
    std::function<void(const pocketbert_progress &)> progress;
};

namespace detail {

/// What options point to while a call runs.
class Running {
  public:
    explicit Running(const Call &c) {
        check(pocketbert_call_options_default(&call_));
        call_.threads = c.threads;
        call_.kernel = c.kernel;
        call_.timeout_ms = static_cast<uint64_t>(c.timeout.count() > 0 ? c.timeout.count() : 0);
        call_.cancel = c.cancel ? c.cancel->get() : nullptr;
    }
    Running(const Call &c, const std::optional<Window> &w) : Running(c) {
        if (!w)
            return;
        check(pocketbert_window_options_default(&window_));
        window_.window = w->window;
        window_.stride = w->stride;
        window_.merge = w->merge;
        if (w->progress) {
            window_.progress = told;
            window_.progress_context = const_cast<std::function<void(const pocketbert_progress &)> *>(&w->progress);
        }
        has_window_ = true;
    }
    const pocketbert_call_options *call() const { return &call_; }
    const pocketbert_window_options *window() const { return has_window_ ? &window_ : nullptr; }

  private:
    static void told(void *context, const pocketbert_progress *p) noexcept {
        (*static_cast<std::function<void(const pocketbert_progress &)> *>(context))(*p);
    }
    pocketbert_call_options call_{};
    pocketbert_window_options window_{};
    bool has_window_ = false;
};

} // namespace detail

struct Label {
    std::string name;
    size_t index = 0;
    float probability = 0, logit = 0;
};

/// Labels of one text, the most probable first.
struct Classification {
    std::vector<Label> labels;
    std::vector<float> logits;
    size_t tokens = 0;
    bool truncated = false;
};

struct ClassifyOptions {
    uint32_t top_k = 0;
    /// None: the bundle's.
    std::optional<float> threshold;
    std::vector<std::string> allow, deny;
    std::optional<bool> multi_label;
    pocketbert_truncation truncation = POCKETBERT_TRUNCATE_HEAD;
    uint32_t max_length = 0;
    /// Empty: the bundle's choice.
    std::string head;
    std::optional<Window> window;
    Call call;
};

struct Entity {
    std::string label;
    Place place{};
    Span words{};
    float score = 0;
};

struct Tagged {
    std::vector<Entity> entities;
    size_t tokens = 0;
    bool truncated = false;
};

struct TagOptions {
    pocketbert_aggregation aggregation = POCKETBERT_AGGREGATE_FIRST;
    pocketbert_tag_scheme scheme = POCKETBERT_SCHEME_AS_BUNDLE;
    std::optional<float> threshold;
    std::vector<std::string> ignore{"O"};
    pocketbert_truncation truncation = POCKETBERT_TRUNCATE_HEAD;
    uint32_t max_length = 0;
    std::string head;
    std::optional<Window> window;
    Call call;
};

struct Answer {
    Place place{};
    float score = 0, logit = 0;
};

struct Answers {
    std::vector<Answer> answers;
    bool no_answer = false;
    float null_margin = 0, null_score = 0;
    size_t windows = 0;
};

struct AnswerOptions {
    uint32_t top_k = 1, max_tokens = 30;
    bool whole_words = true;
    std::optional<float> no_answer;
    std::string head;
    std::optional<Window> window;
    Call call;
};

struct Sentence {
    size_t index = 0;
    Place place{};
    float score = 0;
};

struct Summary {
    std::vector<Sentence> sentences;
    size_t of = 0;
};

struct SummaryOptions {
    uint32_t sentences = 3;
    pocketbert_centrality centrality = POCKETBERT_CENTROID;
    std::string head;
    Call call;
};

struct Ranked {
    size_t index = 0;
    float score = 0;
};

struct RerankOptions {
    uint32_t top_k = 0;
    pocketbert_truncation truncation = POCKETBERT_TRUNCATE_HEAD;
    uint32_t max_length = 0;
    std::string head;
    std::optional<Window> window;
    Call call;
};

struct Candidate {
    std::string token, filled;
    uint32_t id = 0;
    float probability = 0, logit = 0;
};

struct Mask {
    Span bytes{};
    std::vector<Candidate> candidates;
};

struct MaskFill {
    std::vector<Mask> masks;
    size_t tokens = 0;
    bool truncated = false;
};

struct FillMaskOptions {
    uint32_t top_k = 5;
    std::vector<std::string> targets;
    pocketbert_truncation truncation = POCKETBERT_TRUNCATE_HEAD;
    uint32_t max_length = 0;
    std::string head;
    std::optional<Window> window;
    Call call;
};

struct ZeroShotLabel {
    std::string name;
    size_t index = 0;
    float probability = 0, entailment = 0, contradiction = 0;
};

struct ZeroShot {
    std::vector<ZeroShotLabel> labels;
    bool truncated = false;
};

struct ZeroShotOptions {
    /// Empty: "This text is about {}."
    std::string sentence;
    bool multi_label = false;
    uint32_t top_k = 0;
    std::optional<float> threshold;
    pocketbert_truncation truncation = POCKETBERT_TRUNCATE_HEAD;
    uint32_t max_length = 0;
    std::string head;
    std::optional<Window> window;
    Call call;
};

struct EmbedOptions {
    pocketbert_pooling pooling = POCKETBERT_POOL_AS_BUNDLE;
    std::optional<bool> normalize;
    uint32_t dims = 0;
    pocketbert_vector_format format = POCKETBERT_F32;
    pocketbert_role role = POCKETBERT_ROLE_TEXT;
    std::optional<std::string> prefix;
    pocketbert_truncation truncation = POCKETBERT_TRUNCATE_HEAD;
    uint32_t max_length = 0;
    std::string head;
    std::optional<Window> window;
    Call call;
};

namespace detail {

inline float or_nan(const std::optional<float> &x) {
    return x.value_or(std::numeric_limits<float>::quiet_NaN());
}

inline std::vector<pocketbert::Classification> read(const Classification &r) {
    size_t count = 0;
    check(pocketbert_classification_count(r.get(), &count));
    std::vector<pocketbert::Classification> all(count);
    for (size_t i = 0; i < count; i++) {
        pocketbert_classification_item item{};
        check(pocketbert_classification_get(r.get(), i, &item));
        auto &a = all[i];
        a.logits.assign(item.logits, item.logits + item.logit_count);
        a.tokens = item.tokens;
        a.truncated = item.truncated != 0;
        for (size_t k = 0; k < item.labels; k++) {
            pocketbert_label l{};
            check(pocketbert_classification_label(r.get(), i, k, &l));
            a.labels.push_back({l.name, l.index, l.probability, l.logit});
        }
    }
    return all;
}

inline std::vector<Tagged> read(const Tags &r) {
    size_t count = 0;
    check(pocketbert_tags_count(r.get(), &count));
    std::vector<Tagged> all(count);
    for (size_t i = 0; i < count; i++) {
        pocketbert_tags_item item{};
        check(pocketbert_tags_get(r.get(), i, &item));
        all[i].tokens = item.tokens;
        all[i].truncated = item.truncated != 0;
        for (size_t k = 0; k < item.entities; k++) {
            pocketbert_entity e{};
            check(pocketbert_tags_entity(r.get(), i, k, &e));
            all[i].entities.push_back({e.label, e.place, e.words, e.score});
        }
    }
    return all;
}

inline std::vector<pocketbert::Answers> read(const Answers &r) {
    size_t count = 0;
    check(pocketbert_answers_count(r.get(), &count));
    std::vector<pocketbert::Answers> all(count);
    for (size_t i = 0; i < count; i++) {
        pocketbert_answers_item item{};
        check(pocketbert_answers_get(r.get(), i, &item));
        all[i].no_answer = item.no_answer != 0;
        all[i].null_margin = item.null_margin;
        all[i].null_score = item.null_score;
        all[i].windows = item.windows;
        for (size_t k = 0; k < item.answers; k++) {
            pocketbert_answer_span s{};
            check(pocketbert_answers_span(r.get(), i, k, &s));
            all[i].answers.push_back({s.place, s.score, s.logit});
        }
    }
    return all;
}

inline std::vector<Ranked> read(const Ranking &r) {
    size_t count = 0;
    check(pocketbert_ranking_count(r.get(), &count));
    std::vector<Ranked> all(count);
    for (size_t i = 0; i < count; i++)
        check(pocketbert_ranking_get(r.get(), i, &all[i].index, &all[i].score));
    return all;
}

} // namespace detail

/// Vectors of texts. They know what model made them.
class Vectors {
  public:
    explicit Vectors(pocketbert_vectors *handle) : handle_(handle) {}
    /// `count` vectors of one size, stored one after another.
    static Vectors load(const uint8_t *bytes, size_t length, size_t count) {
        pocketbert_vectors *v = nullptr;
        detail::check(pocketbert_vectors_load(bytes, length, count, &v));
        return Vectors(v);
    }
    size_t size() const {
        size_t n = 0;
        detail::check(pocketbert_vectors_count(handle_.get(), &n));
        return n;
    }
    pocketbert_vector operator[](size_t i) const {
        pocketbert_vector v{};
        detail::check(pocketbert_vectors_get(handle_.get(), i, &v));
        return v;
    }
    std::vector<float> values(size_t i) const {
        std::vector<float> all((*this)[i].dims);
        detail::check(pocketbert_vectors_values(handle_.get(), i, all.data(), all.size()));
        return all;
    }
    std::vector<uint8_t> store(size_t i) const {
        size_t size = 0;
        detail::check(pocketbert_vectors_store(handle_.get(), i, nullptr, 0, &size));
        std::vector<uint8_t> bytes(size);
        detail::check(pocketbert_vectors_store(handle_.get(), i, bytes.data(), size, &size));
        return bytes;
    }
    /// The first `dims` dimensions (0: all) in `format`.
    Vectors convert(size_t dims, pocketbert_vector_format format) const {
        pocketbert_vectors *v = nullptr;
        detail::check(pocketbert_vectors_convert(handle_.get(), dims, format, &v));
        return Vectors(v);
    }
    float cosine(size_t i, const Vectors &other, size_t j) const {
        float c = 0;
        detail::check(pocketbert_vectors_cosine(handle_.get(), i, other.handle_.get(), j, &c));
        return c;
    }
    float dot(size_t i, const Vectors &other, size_t j) const {
        float d = 0;
        detail::check(pocketbert_vectors_dot(handle_.get(), i, other.handle_.get(), j, &d));
        return d;
    }
    /// Indices of `candidates` by their cosine with vector `i`, at most `top_k` (0: all).
    std::vector<Ranked> nearest(size_t i, const Vectors &candidates, size_t top_k = 0) const {
        pocketbert_ranking *r = nullptr;
        detail::check(pocketbert_vectors_nearest(handle_.get(), i, candidates.handle_.get(), top_k, &r));
        return detail::read(detail::Ranking(r));
    }
    const pocketbert_vectors *get() const noexcept { return handle_.get(); }

  private:
    detail::Vectors handle_;
};

/// One head's part of an analysis: what its task says decides which of the four is there.
struct HeadAnswer {
    std::string head;
    pocketbert_task task = POCKETBERT_TASK_CLASSIFY;
    std::optional<Classification> labels;
    std::optional<Tagged> tags;
    std::optional<Answers> answers;
    std::optional<std::vector<float>> vector;
};

struct Analysis {
    std::vector<HeadAnswer> heads;
    size_t tokens = 0;
    bool truncated = false;
};

struct AnalyzeOptions {
    std::vector<std::string> heads;
    uint32_t top_k = 0;
    std::string question;
    pocketbert_truncation truncation = POCKETBERT_TRUNCATE_HEAD;
    uint32_t max_length = 0;
    std::optional<Window> window;
    Call call;
};

struct Token {
    uint32_t id = 0, type = 0;
    Span bytes{};
    std::string spelling;
};

struct OpenOptions {
    bool copy = false, defer_hash = false, defer_open = false;
    uint64_t memory_limit = 0;
};

/// An open model. Threads share it.
class Model {
  public:
    /// A handle of pocketbert.h, which is owned from now on.
    explicit Model(pocketbert_model *handle) : handle_(handle) {}

    static Model open(const std::string &path, const OpenOptions &options = {}) {
        auto o = of(options);
        pocketbert_model *m = nullptr;
        detail::check(pocketbert_model_open(path.c_str(), &o, &m));
        return Model(m);
    }
    static Model open_bytes(const void *bytes, size_t length, const OpenOptions &options = {}) {
        auto o = of(options);
        pocketbert_model *m = nullptr;
        detail::check(pocketbert_model_open_bytes(static_cast<const uint8_t *>(bytes), length, &o, &m));
        return Model(m);
    }
    /// Memory that stays as long as the program, such as a model linked into it.
    static Model open_static(const void *bytes, size_t length, const OpenOptions &options = {}) {
        auto o = of(options);
        pocketbert_model *m = nullptr;
        detail::check(pocketbert_model_open_borrowed(static_cast<const uint8_t *>(bytes), length, nullptr, nullptr,
                                                     &o, &m));
        return Model(m);
    }
    static Model open_fd(int fd, uint64_t offset, uint64_t length, const OpenOptions &options = {}) {
        auto o = of(options);
        pocketbert_model *m = nullptr;
        detail::check(pocketbert_model_open_fd(fd, offset, length, &o, &m));
        return Model(m);
    }

    Classification classify(std::string_view text, const ClassifyOptions &o = {}) const {
        return std::move(classify(std::vector<std::string_view>{text}, o).front());
    }
    std::vector<Classification> classify(const std::vector<std::string_view> &texts, const ClassifyOptions &o = {}) const {
        return classify(texts, nullptr, o);
    }
    /// Pairs that the model reads together.
    std::vector<Classification> classify_pairs(const std::vector<std::string_view> &texts,
                                               const std::vector<std::string_view> &pairs,
                                               const ClassifyOptions &o = {}) const {
        same(texts.size(), pairs.size());
        return classify(texts, &pairs, o);
    }

    Tagged tag(std::string_view text, const TagOptions &o = {}) const {
        return std::move(tag(std::vector<std::string_view>{text}, o).front());
    }
    std::vector<Tagged> tag(const std::vector<std::string_view> &texts, const TagOptions &o = {}) const {
        return tag(texts, o, pocketbert_tag_batch);
    }
    Tagged tag_words(const std::vector<std::string_view> &words, const TagOptions &o = {}) const {
        return std::move(tag(words, o, pocketbert_tag_words).front());
    }

    Answers answer(std::string_view question, std::string_view context, const AnswerOptions &o = {}) const {
        return std::move(answer(std::vector<std::string_view>{question}, {context}, o).front());
    }
    std::vector<Answers> answer(const std::vector<std::string_view> &questions,
                                const std::vector<std::string_view> &contexts, const AnswerOptions &o = {}) const {
        same(questions.size(), contexts.size());
        pocketbert_answer_options c{};
        detail::check(pocketbert_answer_options_default(&c));
        detail::Running running(o.call, o.window);
        c.top_k = o.top_k;
        c.max_tokens = o.max_tokens;
        c.whole_words = o.whole_words;
        c.no_answer = detail::or_nan(o.no_answer);
        c.head = detail::name(o.head);
        c.window = running.window();
        c.call = running.call();
        auto q = detail::views(questions), t = detail::views(contexts);
        pocketbert_answers *r = nullptr;
        detail::check(pocketbert_answer_batch(get(), q.data(), t.data(), q.size(), &c, &r));
        return detail::read(detail::Answers(r));
    }

    Summary summarize(std::string_view text, const SummaryOptions &o = {}) const {
        pocketbert_summary_options c{};
        detail::check(pocketbert_summary_options_default(&c));
        detail::Running running(o.call);
        c.sentences = o.sentences;
        c.centrality = o.centrality;
        c.head = detail::name(o.head);
        c.call = running.call();
        pocketbert_summary *r = nullptr;
        detail::check(pocketbert_summarize(get(), text.data(), text.size(), &c, &r));
        detail::Summary owned(r);
        Summary s;
        size_t count = 0;
        detail::check(pocketbert_summary_get(r, 0, &count, &s.of));
        for (size_t i = 0; i < count; i++) {
            pocketbert_sentence one{};
            detail::check(pocketbert_summary_sentence(r, 0, i, &one));
            s.sentences.push_back({one.index, one.place, one.score});
        }
        return s;
    }

    Vectors embed(std::string_view text, const EmbedOptions &o = {}) const {
        return embed(std::vector<std::string_view>{text}, o);
    }
    Vectors embed(const std::vector<std::string_view> &texts, const EmbedOptions &o = {}) const {
        pocketbert_embed_options c{};
        detail::check(pocketbert_embed_options_default(&c));
        detail::Running running(o.call, o.window);
        c.pooling = o.pooling;
        c.normalize = detail::choice(o.normalize);
        c.dims = o.dims;
        c.format = o.format;
        c.role = o.role;
        c.truncation = o.truncation;
        c.max_length = o.max_length;
        c.prefix = o.prefix ? o.prefix->c_str() : nullptr;
        c.head = detail::name(o.head);
        c.window = running.window();
        c.call = running.call();
        auto t = detail::views(texts);
        pocketbert_vectors *r = nullptr;
        detail::check(pocketbert_embed_batch(get(), t.data(), t.size(), &c, &r));
        return Vectors(r);
    }

    /// Documents by how well they fit the query, the best first.
    std::vector<Ranked> rerank(std::string_view query, const std::vector<std::string_view> &documents,
                               const RerankOptions &o = {}) const {
        pocketbert_rerank_options c{};
        detail::check(pocketbert_rerank_options_default(&c));
        detail::Running running(o.call, o.window);
        c.top_k = o.top_k;
        c.truncation = o.truncation;
        c.max_length = o.max_length;
        c.head = detail::name(o.head);
        c.window = running.window();
        c.call = running.call();
        auto d = detail::views(documents);
        pocketbert_ranking *r = nullptr;
        detail::check(pocketbert_rerank(get(), query.data(), query.size(), d.data(), d.size(), &c, &r));
        return detail::read(detail::Ranking(r));
    }

    MaskFill fill_mask(std::string_view text, const FillMaskOptions &o = {}) const {
        return std::move(fill_mask(std::vector<std::string_view>{text}, o).front());
    }
    std::vector<MaskFill> fill_mask(const std::vector<std::string_view> &texts, const FillMaskOptions &o = {}) const {
        pocketbert_fill_mask_options c{};
        detail::check(pocketbert_fill_mask_options_default(&c));
        detail::Running running(o.call, o.window);
        detail::Names targets(o.targets);
        c.top_k = o.top_k;
        c.truncation = o.truncation;
        c.max_length = o.max_length;
        c.targets = targets.data();
        c.target_count = targets.size();
        c.head = detail::name(o.head);
        c.window = running.window();
        c.call = running.call();
        auto t = detail::views(texts);
        pocketbert_mask_fill *r = nullptr;
        detail::check(pocketbert_fill_mask_batch(get(), t.data(), t.size(), &c, &r));
        detail::MaskFill owned(r);
        std::vector<MaskFill> all(texts.size());
        for (size_t i = 0; i < all.size(); i++) {
            pocketbert_mask_fill_item item{};
            detail::check(pocketbert_mask_fill_get(r, i, &item));
            all[i].tokens = item.tokens;
            all[i].truncated = item.truncated != 0;
            for (size_t m = 0; m < item.masks; m++) {
                Mask mask;
                size_t count = 0;
                detail::check(pocketbert_mask_fill_mask(r, i, m, &mask.bytes, &count));
                for (size_t k = 0; k < count; k++) {
                    pocketbert_candidate one{};
                    detail::check(pocketbert_mask_fill_candidate(r, i, m, k, &one));
                    mask.candidates.push_back(
                        {one.token, {one.filled.data, one.filled.length}, one.id, one.probability, one.logit});
                }
                all[i].masks.push_back(std::move(mask));
            }
        }
        return all;
    }
    /// What to write where a token is missing.
    std::string mask_token() const {
        pocketbert_string *s = nullptr;
        detail::check(pocketbert_mask_token(get(), &s));
        return detail::take(s);
    }

    ZeroShot zero_shot(std::string_view text, const std::vector<std::string_view> &labels,
                       const ZeroShotOptions &o = {}) const {
        return std::move(zero_shot(std::vector<std::string_view>{text}, labels, o).front());
    }
    std::vector<ZeroShot> zero_shot(const std::vector<std::string_view> &texts,
                                    const std::vector<std::string_view> &labels, const ZeroShotOptions &o = {}) const {
        pocketbert_zero_shot_options c{};
        detail::check(pocketbert_zero_shot_options_default(&c));
        detail::Running running(o.call, o.window);
        c.top_k = o.top_k;
        c.threshold = detail::or_nan(o.threshold);
        c.multi_label = o.multi_label;
        c.truncation = o.truncation;
        c.max_length = o.max_length;
        c.sentence = detail::name(o.sentence);
        c.head = detail::name(o.head);
        c.window = running.window();
        c.call = running.call();
        auto t = detail::views(texts), l = detail::views(labels);
        pocketbert_zero_shot_labels *r = nullptr;
        detail::check(pocketbert_zero_shot_batch(get(), t.data(), t.size(), l.data(), l.size(), &c, &r));
        detail::ZeroShot owned(r);
        std::vector<ZeroShot> all(texts.size());
        for (size_t i = 0; i < all.size(); i++) {
            size_t count = 0;
            int32_t truncated = 0;
            detail::check(pocketbert_zero_shot_labels_get(r, i, &count, &truncated));
            all[i].truncated = truncated != 0;
            for (size_t k = 0; k < count; k++) {
                pocketbert_zero_shot_label one{};
                detail::check(pocketbert_zero_shot_labels_label(r, i, k, &one));
                all[i].labels.push_back({one.name, one.index, one.probability, one.entailment, one.contradiction});
            }
        }
        return all;
    }

    /// Several heads at once, for one run of the encoder.
    Analysis analyze(std::string_view text, const AnalyzeOptions &o = {}) const {
        return std::move(analyze(std::vector<std::string_view>{text}, o).front());
    }
    std::vector<Analysis> analyze(const std::vector<std::string_view> &texts, const AnalyzeOptions &o = {}) const {
        pocketbert_analyze_options c{};
        detail::check(pocketbert_analyze_options_default(&c));
        detail::Running running(o.call, o.window);
        detail::Names heads(o.heads);
        c.top_k = o.top_k;
        c.truncation = o.truncation;
        c.max_length = o.max_length;
        c.heads = heads.data();
        c.head_count = heads.size();
        c.question = detail::name(o.question);
        c.window = running.window();
        c.call = running.call();
        auto t = detail::views(texts);
        pocketbert_analysis *r = nullptr;
        detail::check(pocketbert_analyze_batch(get(), t.data(), t.size(), &c, &r));
        detail::Analysis owned(r);
        std::vector<Analysis> all(texts.size());
        for (size_t i = 0; i < all.size(); i++) {
            pocketbert_analysis_item item{};
            detail::check(pocketbert_analysis_get(r, i, &item));
            all[i].tokens = item.tokens;
            all[i].truncated = item.truncated != 0;
            for (size_t h = 0; h < item.heads; h++)
                all[i].heads.push_back(head(r, i, h));
        }
        return all;
    }

    std::vector<Token> tokenize(std::string_view text) const {
        pocketbert_tokens *r = nullptr;
        detail::check(pocketbert_tokenize(get(), text.data(), text.size(), nullptr, 0, nullptr, &r));
        detail::Tokens owned(r);
        pocketbert_tokens_view v{};
        detail::check(pocketbert_tokens_get(r, &v));
        std::vector<Token> all;
        for (size_t i = 0; i < v.count; i++) {
            const char *spelling = nullptr;
            detail::check(pocketbert_tokens_spelling(r, i, &spelling));
            all.push_back({v.ids[i], v.types[i], v.spans[i], spelling});
        }
        return all;
    }

    void load() const { detail::check(pocketbert_model_load(get())); }
    void prewarm(pocketbert_task task, const std::string &head = {}) const {
        detail::check(pocketbert_model_prewarm(get(), task, detail::name(head)));
    }
    pocketbert_load_state state() const {
        int32_t s = 0;
        detail::check(pocketbert_model_state(get(), &s));
        return static_cast<pocketbert_load_state>(s);
    }
    void self_test() const { detail::check(pocketbert_model_self_test(get())); }
    void verify() const { detail::check(pocketbert_model_verify(get())); }
    void trim() const { detail::check(pocketbert_model_trim(get())); }
    /// Strings in it live as long as the model.
    pocketbert_model_facts facts() const {
        pocketbert_model_facts f{};
        detail::check(pocketbert_model_get_facts(get(), &f));
        return f;
    }
    std::string metrics(pocketbert_metrics_format format = POCKETBERT_METRICS_JSON) const {
        pocketbert_string *s = nullptr;
        detail::check(pocketbert_model_metrics(get(), format, &s));
        return detail::take(s);
    }
    std::string diagnostics() const {
        pocketbert_string *s = nullptr;
        detail::check(pocketbert_model_diagnostics(get(), &s));
        return detail::take(s);
    }
    const pocketbert_model *get() const noexcept { return handle_.get(); }

  private:
    static pocketbert_open_options of(const OpenOptions &options) {
        pocketbert_open_options o{};
        detail::check(pocketbert_open_options_default(&o));
        o.copy = options.copy;
        o.defer_hash = options.defer_hash;
        o.defer_open = options.defer_open;
        o.memory_limit = options.memory_limit;
        return o;
    }

    static void same(size_t a, size_t b) {
        if (a != b) {
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
            throw Error(POCKETBERT_INVALID_ARGUMENT, "both lists must have the same length", {});
#else
            std::abort();
#endif
        }
    }

    std::vector<Classification> classify(const std::vector<std::string_view> &texts,
                                         const std::vector<std::string_view> *pairs, const ClassifyOptions &o) const {
        pocketbert_classify_options c{};
        detail::check(pocketbert_classify_options_default(&c));
        detail::Running running(o.call, o.window);
        detail::Names allow(o.allow), deny(o.deny);
        c.top_k = o.top_k;
        c.threshold = detail::or_nan(o.threshold);
        c.multi_label = detail::choice(o.multi_label);
        c.truncation = o.truncation;
        c.max_length = o.max_length;
        c.head = detail::name(o.head);
        c.allow = allow.data();
        c.allow_count = allow.size();
        c.deny = deny.data();
        c.deny_count = deny.size();
        c.window = running.window();
        c.call = running.call();
        auto t = detail::views(texts);
        auto p = pairs ? detail::views(*pairs) : std::vector<pocketbert_text>{};
        pocketbert_classification *r = nullptr;
        detail::check(pocketbert_classify_batch(get(), t.data(), pairs ? p.data() : nullptr, t.size(), &c, &r));
        return detail::read(detail::Classification(r));
    }

    template <class Function>
    std::vector<Tagged> tag(const std::vector<std::string_view> &texts, const TagOptions &o, Function function) const {
        static const char *const nothing[] = {nullptr};
        pocketbert_tag_options c{};
        detail::check(pocketbert_tag_options_default(&c));
        detail::Running running(o.call, o.window);
        detail::Names ignore(o.ignore);
        c.aggregation = o.aggregation;
        c.scheme = o.scheme;
        c.threshold = detail::or_nan(o.threshold);
        c.truncation = o.truncation;
        c.max_length = o.max_length;
        c.head = detail::name(o.head);
        /* NULL would be the default; an empty list is none at all. */
        c.ignore = ignore.size() ? ignore.data() : nothing;
        c.ignore_count = ignore.size();
        c.window = running.window();
        c.call = running.call();
        auto t = detail::views(texts);
        pocketbert_tags *r = nullptr;
        detail::check(function(get(), t.data(), t.size(), &c, &r));
        return detail::read(detail::Tags(r));
    }

    static HeadAnswer head(const pocketbert_analysis *r, size_t i, size_t h) {
        HeadAnswer a;
        const char *name = nullptr;
        int32_t task = 0;
        detail::check(pocketbert_analysis_head(r, i, h, &name, &task));
        a.head = name;
        a.task = static_cast<pocketbert_task>(task);
        if (task == POCKETBERT_TASK_CLASSIFY) {
            pocketbert_classification *x = nullptr;
            detail::check(pocketbert_analysis_classification(r, i, h, &x));
            a.labels = std::move(detail::read(detail::Classification(x)).front());
        } else if (task == POCKETBERT_TASK_TAG) {
            pocketbert_tags *x = nullptr;
            detail::check(pocketbert_analysis_tags(r, i, h, &x));
            a.tags = std::move(detail::read(detail::Tags(x)).front());
        } else if (task == POCKETBERT_TASK_ANSWER) {
            pocketbert_answers *x = nullptr;
            detail::check(pocketbert_analysis_answers(r, i, h, &x));
            a.answers = std::move(detail::read(detail::Answers(x)).front());
        } else if (task == POCKETBERT_TASK_EMBED) {
            pocketbert_vectors *x = nullptr;
            detail::check(pocketbert_analysis_vectors(r, i, h, &x));
            a.vector = Vectors(x).values(0);
        }
        return a;
    }

    detail::Handle<pocketbert_model, pocketbert_model_close> handle_;
};

} // namespace pocketbert

#endif
