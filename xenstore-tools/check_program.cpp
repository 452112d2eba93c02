// SPDX-License-Identifier: GPL-2.0-or-later
//
// check_program.cpp - what `xway-run` needs of a program.
#include <cstdlib>

#include <fmt/format.h>

#include "checklist.h"
#include "inspect.h"

namespace xway {

void check_program(Checklist& list, const std::string& name) {
    const char* path = std::getenv("PATH");
    const auto file = find_program(name, path);
    if (!file) {
        list.fail("program", fmt::format("there is no '{}' in PATH", name), "write its path");
        return;
    }
    auto program = inspect_program(*file, {getuid(), getgid()}, path);
    if (!program) {
        list.fail("program", program.error().what, "");
        return;
    }
    list.pass("program", program->file);
    if (program->fits)
        list.pass("takes the library", "run it with 'xway-run'");
    else
        list.fail("takes the library", program->why_not,
                  "nothing is to be done: its connections stay on TCP");
}

} // namespace xway
