// classify MODEL TEXT, in C++17: objects free themselves, a failure is an exception.
#include <cstdio>
#include <exception>
#include <pocketbert.hpp>

int main(int argc, char **argv) try {
    if (argc != 3) return std::fprintf(stderr, "usage: classify MODEL TEXT\n"), 2;
    const auto model = pocketbert::Model::open(argv[1]);
    const auto answer = model.classify(argv[2]);
    std::printf("%s %a\n", answer.labels.at(0).name.c_str(), static_cast<double>(answer.labels.at(0).probability));
} catch (const std::exception &e) {
    return std::fprintf(stderr, "%s\n", e.what()), 1;
}
