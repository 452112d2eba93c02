/* SPDX-License-Identifier: GPL-2.0 */
/* option_table.h - tables of socket options, each set and read back under traffic. */
#pragma once

#include <span>
#include <string>

#include "mirror.h"

namespace xway::test {

/* What setsockopt() or getsockopt() said. */
struct Answer {
    int error = 0; /* errno; 0: it worked */
    int value = 0; /* of the option, as it is read back */
    socklen_t length = 0;

    bool operator==(const Answer&) const = default;
    [[nodiscard]] std::string text() const;
};

Answer set_answer(int fd, int level, int name, int value);
Answer get_answer(int fd, int level, int name, socklen_t room = sizeof(int));

/* An option of an int: set to each of two values, it must read back as `seen`. */
struct IntOption {
    const char* text;
    int level, name;
    int value[2], seen[2];
};

/* `value` reads back as it is. */
#define INT_OPTION(level, name, one, two)  \
    ::xway::test::IntOption {              \
#name, level, name, {one, two }, { \
            one, two                       \
        }                                  \
    }

/*
 * Sets and reads every option of the table on the connection, a round there and back after each.
 * One that this kernel, or this user, does not have on a fresh socket must fail on the connection
 * in the same way; most must be there.
 */
void set_and_read(Side& side, Mirrored& talk, std::span<const IntOption> table);

/* An option that cannot be set, or cannot be read, with what it answers. */
struct OddOption {
    const char* text;
    int level, name;
    int set_error, get_error; /* 0: it works, and what it says is not of interest */
};
inline constexpr int kAsFresh = -1; /* what a socket says that was never connected */
#define ODD_OPTION(level, name, set_error, get_error) \
    ::xway::test::OddOption {                         \
#name, level, name, set_error, get_error      \
    }

/* Sets each to 1 and reads it; ENOPROTOOPT is right where a fresh socket says so. */
void check_odd(Side& side, Mirrored& talk, std::span<const OddOption> table);

/* Calls that are wrong in themselves: short lengths, bad addresses, for an option of an int. */
void check_bad_calls(int fd, int level, int name);

} // namespace xway::test
