// SPDX-License-Identifier: GPL-2.0-or-later
//
// output.h - one set of rows, printed as an aligned table or as JSON.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace xway {

struct Format {
    bool json = false;
    bool pretty = false; // JSON over several lines
    bool header = true;
};

using Value = std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, std::string,
                           std::vector<std::string>, std::vector<std::uint64_t>>;

// What JSON gets and what a human being reads.
struct Cell {
    Value value;
    std::string text;

    Cell() : value(nullptr), text("-") {}
    Cell(std::string both) : value(both), text(both.empty() ? "-" : std::move(both)) {}
    Cell(const char* both) : Cell(std::string(both)) {}
    template <std::unsigned_integral Number>
    requires(!std::same_as<Number, bool>) Cell(Number number)
        : value(std::uint64_t{number}), text(std::to_string(number)) {}
    Cell(Value exact, std::string shown)
        : value(std::move(exact)), text(shown.empty() ? "-" : std::move(shown)) {}
};

// An array in JSON, words with commas between them in the table.
Cell list_cell(std::vector<std::string> words);

struct Column {
    std::string key;   // in JSON; empty: not there
    std::string title; // in the table; empty: not shown there
    bool right = false;
};

class Table {
public:
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

    void add(std::vector<Cell> row); // as many cells as columns
    bool empty() const { return rows_.empty(); }

    // JSON is an array of objects.
    void print(const Format& format, std::FILE* stream = stdout) const;
    std::string text(const Format& format) const;

private:
    std::vector<Column> columns_;
    std::vector<std::vector<Cell>> rows_;
};

// One line, or several where that is asked for. What is not UTF-8 is replaced.
std::string text_of_json(const nlohmann::ordered_json& json, const Format& format);

// Names and values: two columns, or one JSON object.
std::string text_of_fields(const std::vector<std::pair<std::string, Cell>>& fields,
                           const Format& format);

std::string human_bytes(std::uint64_t bytes);       // 999, 1.2K, 64K, 3.1M
std::string human_time(std::uint64_t milliseconds); // 120ms, 5s, 4m, 2h, 3d

} // namespace xway
