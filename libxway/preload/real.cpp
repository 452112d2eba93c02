// SPDX-License-Identifier: GPL-2.0-or-later
#include "real.h"

#include <dlfcn.h>
#include <stdlib.h>

namespace xway {

namespace {

// Each pointer begins as a function that finds the next one of its name, puts it in its own place,
// and calls it. A libc that lacks one is a libc this library was not built for.
template <typename Function>
Function find(const char* name) {
    void* found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    return reinterpret_cast<Function>(found);
}

#define CALL(result, name, parameters, arguments)     \
    result first_##name parameters {                  \
        real.name = find<decltype(real.name)>(#name); \
        return real.name arguments;                   \
    }
#define ALIAS(name, alias)
#include "calls.def"
#undef ALIAS
#undef CALL

} // namespace

constinit Real real = {
#define CALL(result, name, parameters, arguments) first_##name,
#define ALIAS(name, alias)
#include "calls.def"
#undef ALIAS
#undef CALL
};

} // namespace xway
