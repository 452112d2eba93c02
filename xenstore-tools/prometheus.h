// SPDX-License-Identifier: GPL-2.0-or-later
//
// prometheus.h - metrics in Prometheus' text format, version 0.0.4.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace xway {

// Metrics are described once and all their samples follow, as the format demands.
class Metrics {
public:
    enum class Type { kCounter, kGauge, kUntyped };
    using Labels = std::vector<std::pair<std::string_view, std::string>>;

    // The metric that the next samples are of. Of `name` only what a metric's name may have is
    // kept, the rest becomes '_'; a counter's ends with _total, which is added.
    void describe(std::string_view name, Type type, std::string_view help);
    void sample(const Labels& labels, std::uint64_t value);

    const std::string& text() const { return text_; }

private:
    std::string text_;
    std::string name_;
};

// A label's value between its quotes: whatever bytes it has, the line stays one line of UTF-8.
std::string escape_label(std::string_view value);

} // namespace xway
