// SPDX-License-Identifier: GPL-2.0-or-later
//
// result.h - a value, or the sentence that says why there is none.
#pragma once

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace xway {

// What is wrong, and what to do about it. The code is an errno where there is one, else 0.
struct Error {
    std::string what;
    std::string remedy = {};
    int code = 0;

    std::string text() const { return remedy.empty() ? what : what + "; " + remedy; }

    static Error from_errno(const std::string& doing, int code, std::string remedy = {}) {
        return {doing + ": " + std::strerror(code), std::move(remedy), code};
    }
};

// Behaves as std::expected<T, Error> does.
template <typename T>
class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const { return state_.index() == 0; }
    explicit operator bool() const { return has_value(); }

    T& operator*() { return *std::get_if<0>(&state_); }
    const T& operator*() const { return *std::get_if<0>(&state_); }
    T* operator->() { return std::get_if<0>(&state_); }
    const T* operator->() const { return std::get_if<0>(&state_); }

    const Error& error() const { return *std::get_if<1>(&state_); }

private:
    std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
public:
    Result() = default;
    Result(Error error) : error_(std::move(error)) {}

    bool has_value() const { return !error_; }
    explicit operator bool() const { return has_value(); }
    const Error& error() const { return *error_; }

private:
    std::optional<Error> error_;
};

} // namespace xway
