/* What the test programs share. */
#ifndef CHECK_H
#define CHECK_H

#include <pocketbert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program with where and why. */
#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n  last error: %s\n", __FILE__, __LINE__, #condition,                 \
                    pocketbert_error_message());                                                             \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

#define OK(call) CHECK((call) == POCKETBERT_OK)

/* FNV-1a over bytes: to compare answers bit for bit. */
static inline uint64_t hash_bytes(uint64_t h, const void *bytes, size_t n) {
    const unsigned char *b = (const unsigned char *)bytes;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 1099511628211u;
    return h;
}

/* The bits of all answers of a classification. */
static inline uint64_t hash_classification(const pocketbert_classification *r) {
    uint64_t h = 14695981039346656037u;
    size_t count;
    OK(pocketbert_classification_count(r, &count));
    for (size_t i = 0; i < count; i++) {
        pocketbert_classification_item item;
        OK(pocketbert_classification_get(r, i, &item));
        h = hash_bytes(h, item.logits, item.logit_count * sizeof(float));
        for (size_t k = 0; k < item.labels; k++) {
            pocketbert_label label;
            OK(pocketbert_classification_label(r, i, k, &label));
            h = hash_bytes(h, label.name, strlen(label.name));
            h = hash_bytes(h, &label.probability, sizeof label.probability);
        }
    }
    return h;
}

#endif
