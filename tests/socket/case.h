/* SPDX-License-Identifier: GPL-2.0 */
/*
 * case.h - what a two-sided case is, and the list of all of them.
 *
 *     TWO_SIDED(half_close, kPair | kCold)
 *     void half_close::client(Side& side) { ... }
 *     void half_close::server(Side& side) { ... }
 */
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace xway::test {

class Side;

enum CaseFlags : unsigned {
    kPair = 1,   /* the harness connects side.sock before the two functions run */
    kCold = 2,   /* also run without the warm-up */
    kMapped = 4, /* also run with an IPv6 socket and a v4-mapped address */
    kSlow = 8,   /* three times the usual time limit */
};

struct Case {
    const char* name;
    unsigned flags;
    void (*client)(Side&);
    void (*server)(Side&);
};

/* One way to run a case. Its name is the case's, a slash, and `4`, `6` or `mapped`, then `-cold` or
 * `-swap`. */
struct Variant {
    enum class Family { kV4, kV6, kMapped };
    Family family = Family::kV4;
    bool cold = false;
    bool swap = false; /* the accepting process runs the client function */

    [[nodiscard]] std::string name() const;
    static Variant parse(std::string_view text);
};

struct Registration {
    Registration(const char* name, unsigned flags, void (*client)(Side&), void (*server)(Side&));
};

/* All cases, sorted by name. */
std::vector<Case> all_cases();
const Case* find_case(std::string_view name);

} // namespace xway::test

#define TWO_SIDED(name, flags)                                                                \
    namespace {                                                                               \
    struct name {                                                                             \
        static void client(::xway::test::Side& side);                                         \
        static void server(::xway::test::Side& side);                                         \
    };                                                                                        \
    const ::xway::test::Registration name##_registration{#name, static_cast<unsigned>(flags), \
                                                         &name::client, &name::server};       \
    }
