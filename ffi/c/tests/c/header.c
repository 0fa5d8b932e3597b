/* The header alone, twice, in two translation units (with -DSECOND the other one), in every version of C and C++. */
#include <pocketbert.h>
#include <pocketbert.h>

#ifdef SECOND
int main(void) {
    pocketbert_call_options o;
    return pocketbert_call_options_default(&o) == POCKETBERT_OK && pocketbert_version_number() == POCKETBERT_VERSION_NUMBER ? 0 : 1;
}
#else
int first(void);
int first(void) {
    return POCKETBERT_NOT_FOUND == 5 ? 0 : 1;
}
#endif
