// Each method of pocketbert.hpp once, with the tiny model: wrapper MODEL.
#include <pocketbert.hpp>

#include <iostream>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            std::cerr << __LINE__ << ": " #condition "\n";                                                   \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

int second_unit();

int main(int argc, char **argv) {
    CHECK(argc == 2 && second_unit() == 7);
    {
        auto model = pocketbert::Model::open(argv[1]);
        const std::string text = "book a table for two in Paris";
        auto answer = model.classify(text);
        CHECK(answer.labels.front().name == "BookRestaurant" && answer.logits.size() == answer.labels.size());
        pocketbert::ClassifyOptions options;
        options.top_k = 1;
        options.deny = {"BookRestaurant"};
        options.window = pocketbert::Window{};
        size_t windows = 0;
        options.window->progress = [&](const pocketbert_progress &p) { windows = p.windows; };
        auto other = model.classify(text, options);
        CHECK(other.labels.size() == 1 && other.labels[0].name != "BookRestaurant" && windows == 1);
        auto both = model.classify(std::vector<std::string_view>{"play some jazz", text});
        CHECK(both.size() == 2 && both[1].logits == answer.logits);
        CHECK(model.classify(std::vector<std::string_view>{}).empty());

        auto tagged = model.tag(text);
        bool found = false;
        for (const auto &e : tagged.entities)
            found |= e.label == "city" && text.substr(e.place.bytes.start, e.place.bytes.end - e.place.bytes.start) == "Paris";
        CHECK(found);
        CHECK(!model.tag_words({"book", "a", "table", "in", "Paris"}).entities.empty());

        auto vectors = model.embed(std::vector<std::string_view>{"is it cold outside", "will it rain today", "add this song"});
        CHECK(vectors.size() == 3 && vectors.cosine(0, vectors, 1) > vectors.cosine(0, vectors, 2));
        CHECK(vectors.values(0).size() == vectors[0].dims);
        auto narrow = vectors.convert(16, POCKETBERT_I8);
        auto bytes = narrow.store(0);
        CHECK(pocketbert::Vectors::load(bytes.data(), bytes.size(), 1).values(0) == narrow.values(0));
        CHECK(vectors.nearest(0, vectors, 1).front().index == 0);

        CHECK(model.rerank("is it going to rain today", {"add this song to my playlist", "will it rain in Paris"}).front().index == 1);
        CHECK(model.fill_mask("will it " + model.mask_token() + " in Paris").masks.front().candidates.size() == 5);
        CHECK(model.zero_shot("will it rain tomorrow", {"get weather", "play music"}).labels.front().name == "get weather");
        CHECK(model.summarize("It rains in Rome. It rains a lot in Rome. My cat sleeps.").of == 3);
        auto analysis = model.analyze(text);
        bool intent = false;
        for (const auto &h : analysis.heads)
            intent |= h.labels && h.labels->logits == answer.logits;
        CHECK(intent);
        CHECK(model.tokenize("book a table").size() == 5);
        CHECK(model.state() == POCKETBERT_PREWARMED && model.facts().heads > 0);
        CHECK(model.metrics().find("token-classification") != std::string::npos && !model.diagnostics().empty());
        model.self_test();
        model.trim();

        pocketbert::CancelToken token;
        pocketbert::ClassifyOptions stopped;
        stopped.call.cancel = &token;
        token.trip();
        try {
            model.classify(text, stopped);
            return 1;
        } catch (const pocketbert::Error &e) {
            CHECK(e.status() == POCKETBERT_CANCELLED && e.stack().size() == 2);
        }
        try {
            model.answer("Who?", "Ada.");
            return 1;
        } catch (const pocketbert::Error &e) {
            CHECK(e.status() == POCKETBERT_FAILED_PRECONDITION);
        }
        auto moved = std::move(model);
        CHECK(moved.classify(text).logits == answer.logits);
    }
    CHECK(pocketbert_handle_count() == 0);
    std::cout << "wrapper: good\n";
    return 0;
}
