// SPDX-License-Identifier: GPL-2.0-or-later
//
// inspect.h - will a program load the library, and does it make its calls where that can see them?
//
// Only reads files. Whatever is in them, the answer is one of those below, after bounded work.
#pragma once

#include <optional>
#include <string>

#include <sys/types.h>

#include "result.h"

namespace xway {

struct Program {
    std::string file;    // what the kernel would run in the end: of a script, its interpreter
    bool fits = false;   // its TCP connections can be moved to rings
    std::string why_not; // "it is linked statically"; empty if it fits
};

// Whose rights matter: a program that changes them ignores LD_PRELOAD.
struct Runner {
    uid_t uid;
    gid_t gid;
};

// As execvp() would find it: a name with a slash is a path, others are looked for in `path`.
std::optional<std::string> find_program(const std::string& name, const char* path);

// Fails if the file cannot be read.
Result<Program> inspect_program(const std::string& file, const Runner& runner, const char* path);

} // namespace xway
