/* SPDX-License-Identifier: GPL-2.0 */
/*
 * check.h - how a case says that something is wrong.
 *
 * A failed check throws: it is the one thing that ends a case from any depth, with all descriptors
 * closed on the way. Only the harness catches it.
 */
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <sstream>
#include <stdexcept>
#include <string>

namespace xway::test {

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/* The thing under test does not exist here; the message names what is missing. */
struct Skip : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/* The other side failed and told us so. */
struct PeerFailure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

[[noreturn]] void fail_at(const char* file, int line, const std::string& what);
std::string errno_text(int error);

template <typename T>
T check_sys(T result, const char* call, const char* file, int line) {
    if (result < 0)
        fail_at(file, line, std::string(call) + ": " + errno_text(errno));
    return result;
}

template <typename T>
void check_errno(T result, int wanted, const char* call, const char* file, int line) {
    if (result >= 0)
        fail_at(file, line,
                std::string(call) + " gave " + std::to_string(result) + ", wanted " +
                    errno_text(wanted));
    if (errno != wanted)
        fail_at(file, line,
                std::string(call) + ": " + errno_text(errno) + ", wanted " + errno_text(wanted));
}

template <typename A, typename B>
void check_eq(const A& a, const B& b, const char* text, const char* file, int line) {
    if (a == b)
        return;
    std::ostringstream out;
    out << text << ": " << a << " is not " << b;
    fail_at(file, line, out.str());
}

} // namespace xway::test

#define FAIL(what) ::xway::test::fail_at(__FILE__, __LINE__, what)
#define CHECK(condition)                 \
    do {                                 \
        if (!(condition))                \
            FAIL("not so: " #condition); \
    } while (0)
#define CHECK_EQ(a, b) ::xway::test::check_eq((a), (b), #a " == " #b, __FILE__, __LINE__)
/* The value of a system call that must not fail. */
#define SYS(call) ::xway::test::check_sys((call), #call, __FILE__, __LINE__)
/* A system call that must fail, and how. */
#define CHECK_ERRNO(call, wanted) \
    ::xway::test::check_errno((call), (wanted), #call, __FILE__, __LINE__)
