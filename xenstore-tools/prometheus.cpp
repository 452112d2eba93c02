// SPDX-License-Identifier: GPL-2.0-or-later
//
// prometheus.cpp - lines of metrics.
#include "prometheus.h"

#include <algorithm>

#include <fmt/format.h>

namespace xway {

namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd"; // U+FFFD

// The length of the UTF-8 sequence at the beginning of the text, 0 if there is none.
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    const std::size_t length = first < 0x80                     ? 1
                               : first >= 0xc2 && first <= 0xdf ? 2
                               : first >= 0xe0 && first <= 0xef ? 3
                               : first >= 0xf0 && first <= 0xf4 ? 4
                                                                : 0;
    if (length == 0 || length > text.size())
        return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80)
            return 0;
    }
    // Longer than need be, surrogates, beyond U+10FFFF.
    if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) ||
        (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f))
        return 0;
    return length;
}

std::string escape(std::string_view text, bool quotes) {
    std::string result;
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        if (length == 0)
            result += kReplacement;
        else if (text[0] == '\\')
            result += "\\\\";
        else if (text[0] == '\n')
            result += "\\n";
        else if (text[0] == '"' && quotes)
            result += "\\\"";
        else if (text[0] == '\r' || text[0] == '\0')
            result += kReplacement; // no reader is told how to take them
        else
            result += text.substr(0, length);
        text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return result;
}

std::string metric_name(std::string_view text) {
    std::string name(text);
    for (char& character : name) {
        const bool fits = (character >= 'a' && character <= 'z') ||
                          (character >= 'A' && character <= 'Z') ||
                          (character >= '0' && character <= '9') || character == '_';
        if (!fits)
            character = '_';
    }
    if (name.empty() || (name[0] >= '0' && name[0] <= '9'))
        name.insert(name.begin(), '_');
    return name;
}

} // namespace

std::string escape_label(std::string_view value) {
    return escape(value, true);
}

void Metrics::describe(std::string_view name, Type type, std::string_view help) {
    constexpr std::string_view kTotal = "_total";
    name_ = metric_name(name);
    if (type == Type::kCounter && !name_.ends_with(kTotal))
        name_ += kTotal;
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name_, escape(help, false), name_,
                         type == Type::kCounter ? "counter"
                         : type == Type::kGauge ? "gauge"
                                                : "untyped");
}

void Metrics::sample(const Labels& labels, std::uint64_t value) {
    text_ += name_;
    char before = '{';
    for (const auto& [name, content] : labels) {
        text_ += fmt::format("{}{}=\"{}\"", before, name, escape_label(content));
        before = ',';
    }
    text_ += fmt::format("{} {}\n", labels.empty() ? "" : "}", value);
}

} // namespace xway
