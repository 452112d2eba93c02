// SPDX-License-Identifier: GPL-2.0-or-later
//
// output.cpp - tables and JSON.
#include "output.h"

#include <algorithm>
#include <cassert>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace xway {

namespace {

using Json = nlohmann::ordered_json;

Json to_json(const Value& value) {
    return std::visit([](const auto& plain) { return Json(plain); }, value);
}

// Names come from others: they must not move the cursor.
std::string safe(std::string text) {
    for (char& character : text) {
        if (static_cast<unsigned char>(character) < ' ' || character == 0x7f)
            character = '?';
    }
    return text;
}

std::string padded(const std::string& text, std::size_t width, bool right) {
    return right ? fmt::format("{:>{}}", text, width) : fmt::format("{:<{}}", text, width);
}

} // namespace

std::string text_of_json(const Json& json, const Format& format) {
    return json.dump(format.pretty ? 4 : -1, ' ', false, Json::error_handler_t::replace) + '\n';
}

Cell list_cell(std::vector<std::string> words) {
    std::string text = fmt::format("{}", fmt::join(words, ","));
    return {std::move(words), std::move(text)};
}

void Table::add(std::vector<Cell> row) {
    assert(row.size() == columns_.size());
    rows_.push_back(std::move(row));
}

std::string Table::text(const Format& format) const {
    if (format.json) {
        Json array = Json::array();
        for (const auto& row : rows_) {
            Json object = Json::object();
            for (std::size_t i = 0; i < columns_.size(); ++i) {
                if (!columns_[i].key.empty())
                    object[columns_[i].key] = to_json(row[i].value);
            }
            array.push_back(std::move(object));
        }
        return text_of_json(array, format);
    }

    std::vector<std::vector<std::string>> lines;
    if (format.header) {
        lines.emplace_back();
        for (const Column& column : columns_)
            lines.back().push_back(column.title);
    }
    for (const auto& row : rows_) {
        lines.emplace_back();
        for (const Cell& cell : row)
            lines.back().push_back(safe(cell.text));
    }
    std::string result;
    std::vector<std::size_t> widths(columns_.size());
    for (const auto& line : lines) {
        for (std::size_t i = 0; i < line.size(); ++i)
            widths[i] = std::max(widths[i], line[i].size());
    }
    for (const auto& line : lines) {
        std::string shown;
        for (std::size_t i = 0; i < line.size(); ++i) {
            if (!columns_[i].title.empty())
                shown +=
                    (shown.empty() ? "" : "  ") + padded(line[i], widths[i], columns_[i].right);
        }
        shown.erase(shown.find_last_not_of(' ') + 1);
        result += shown + '\n';
    }
    return result;
}

void Table::print(const Format& format, std::FILE* stream) const {
    const std::string output = text(format);
    std::fwrite(output.data(), 1, output.size(), stream);
}

std::string text_of_fields(const std::vector<std::pair<std::string, Cell>>& fields,
                           const Format& format) {
    if (format.json) {
        Json object = Json::object();
        for (const auto& [name, cell] : fields)
            object[name] = to_json(cell.value);
        return text_of_json(object, format);
    }
    std::size_t width = 0;
    for (const auto& field : fields)
        width = std::max(width, field.first.size());
    std::string result;
    for (const auto& [name, cell] : fields)
        result += fmt::format("{:<{}}  {}\n", name, width, safe(cell.text));
    return result;
}

std::string human_bytes(std::uint64_t bytes) {
    if (bytes < 1000)
        return std::to_string(bytes);
    double amount = static_cast<double>(bytes);
    const char* unit = "KMGTPE";
    for (amount /= 1024; amount >= 999.5; amount /= 1024)
        ++unit;
    if (amount < 9.95 && amount != static_cast<double>(static_cast<unsigned>(amount)))
        return fmt::format("{:.1f}{}", amount, *unit);
    return fmt::format("{:.0f}{}", amount, *unit);
}

std::string human_time(std::uint64_t milliseconds) {
    const std::uint64_t seconds = milliseconds / 1000;
    if (milliseconds < 1000)
        return fmt::format("{}ms", milliseconds);
    if (seconds < 120)
        return fmt::format("{}s", seconds);
    if (seconds < 120 * 60)
        return fmt::format("{}m", seconds / 60);
    if (seconds < 48 * 3600)
        return fmt::format("{}h", seconds / 3600);
    return fmt::format("{}d", seconds / 86400);
}

} // namespace xway
