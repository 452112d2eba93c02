/* SPDX-License-Identifier: GPL-2.0 */
/* case.cpp - the registry of cases, and the names of their variants. */
#include "case.h"

#include <algorithm>
#include <cstring>

#include "check.h"

namespace xway::test {

namespace {

std::vector<Case>& registry() {
    static std::vector<Case> cases;
    return cases;
}

} // namespace

std::string Variant::name() const {
    std::string text = family == Family::kV4 ? "4" : family == Family::kV6 ? "6" : "mapped";
    if (cold)
        text += "-cold";
    if (swap)
        text += "-swap";
    return text;
}

Variant Variant::parse(std::string_view text) {
    Variant v;
    v.family = text.starts_with('6')   ? Family::kV6
               : text.starts_with('m') ? Family::kMapped
                                       : Family::kV4;
    v.cold = text.find("-cold") != text.npos;
    v.swap = text.find("-swap") != text.npos;
    return v;
}

Registration::Registration(const char* name, unsigned flags, void (*client)(Side&),
                           void (*server)(Side&)) {
    registry().push_back({name, flags, client, server});
}

std::vector<Case> all_cases() {
    std::vector<Case> cases = registry();
    std::sort(cases.begin(), cases.end(),
              [](const Case& a, const Case& b) { return std::strcmp(a.name, b.name) < 0; });
    return cases;
}

const Case* find_case(std::string_view name) {
    for (const Case& c : registry())
        if (name == c.name)
            return &c;
    return nullptr;
}

void fail_at(const char* file, int line, const std::string& what) {
    const char* base = std::strrchr(file, '/');
    throw Failure(std::string(base ? base + 1 : file) + ":" + std::to_string(line) + ": " + what);
}

std::string errno_text(int error) {
    const char* name = strerrorname_np(error);
    return name ? name : "errno " + std::to_string(error);
}

} // namespace xway::test
