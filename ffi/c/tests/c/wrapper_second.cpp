// The wrapper in a second translation unit: nothing in it may be defined twice.
#include <pocketbert.hpp>
#include <pocketbert.hpp>
int second_unit();
int second_unit() { return 7; }
