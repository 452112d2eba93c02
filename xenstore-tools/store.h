// SPDX-License-Identifier: GPL-2.0-or-later
//
// store.h - Xenstore: nodes, transactions, watches.
//
// A store has at most one transaction open; while it is, every operation belongs to it.
#pragma once

#include <concepts>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "result.h"

struct xs_handle;

namespace xway {

// The owner may do everything, the readers may read, the others nothing.
struct Permissions {
    unsigned owner = 0;
    std::vector<unsigned> readers;

    bool operator==(const Permissions&) const = default;
};

class Store {
public:
    Store() = default;
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;
    virtual ~Store() = default;

    // Nothing and an empty list stand for a node that is not there.
    virtual Result<std::optional<std::string>> read(const std::string& path) = 0;
    virtual Result<std::vector<std::string>> list(const std::string& path) = 0;

    virtual Result<void> write(const std::string& path, const std::string& value) = 0;
    virtual Result<void> make(const std::string& path) = 0;
    virtual Result<void> permit(const std::string& path, const Permissions& permissions) = 0;
    virtual Result<void> remove(const std::string& path) = 0; // a node not there is no error

    virtual Result<void> begin() = 0;
    virtual Result<bool> commit() = 0; // false: somebody else was faster, nothing was changed
    virtual void abort() = 0;

    virtual void pause(int attempt) = 0; // before the transaction is tried again
};

// The store of the machine that we run on.
class XenStore final : public Store {
public:
    static Result<std::unique_ptr<XenStore>> open();
    ~XenStore() override;

    Result<std::optional<std::string>> read(const std::string& path) override;
    Result<std::vector<std::string>> list(const std::string& path) override;
    Result<void> write(const std::string& path, const std::string& value) override;
    Result<void> make(const std::string& path) override;
    Result<void> permit(const std::string& path, const Permissions& permissions) override;
    Result<void> remove(const std::string& path) override;
    Result<void> begin() override;
    Result<bool> commit() override;
    void abort() override;
    void pause(int attempt) override;

    // Watches: the descriptor is readable when next_event() has something to say. An event is the
    // path.
    Result<void> watch(const std::string& path);
    Result<void> unwatch(const std::string& path);
    std::optional<std::string> next_event();
    int fd() const;

private:
    explicit XenStore(xs_handle* handle) : handle_(handle) {}

    xs_handle* handle_;
    unsigned transaction_ = 0;
};

// Runs the body in a transaction, again for as long as others interfere. The body must be
// repeatable.
template <std::invocable Body>
Result<void> transact(Store& store, Body body) {
    constexpr int kAttempts = 25;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        if (attempt > 0)
            store.pause(attempt);
        if (auto begun = store.begin(); !begun)
            return begun;
        if (Result<void> done = body(); !done) {
            store.abort();
            return done;
        }
        auto committed = store.commit();
        if (!committed)
            return committed.error();
        if (*committed)
            return {};
    }
    return Error{"xenstore is too busy: other writers interfered each time", "try again", EAGAIN};
}

// A run of operations: after one has failed the others do nothing, and the first error is kept.
class Batch {
public:
    explicit Batch(Store& store) : store_(store) {}

    std::string read(const std::string& path) { return find(path).value_or(std::string()); }

    std::optional<std::string> find(const std::string& path) {
        if (error_)
            return std::nullopt;
        auto value = store_.read(path);
        return note(value) ? std::move(*value) : std::nullopt;
    }

    std::vector<std::string> list(const std::string& path) {
        if (error_)
            return {};
        auto children = store_.list(path);
        return note(children) ? std::move(*children) : std::vector<std::string>();
    }

    void write(const std::string& path, const std::string& value) {
        if (!error_)
            note(store_.write(path, value));
    }

    void make(const std::string& path) {
        if (!error_)
            note(store_.make(path));
    }

    void permit(const std::string& path, const Permissions& permissions) {
        if (!error_)
            note(store_.permit(path, permissions));
    }

    void remove(const std::string& path) {
        if (!error_)
            note(store_.remove(path));
    }

    Result<void> done() const { return error_ ? Result<void>(*error_) : Result<void>(); }

private:
    template <typename T>
    bool note(const Result<T>& result) {
        if (!result)
            error_ = result.error();
        return result.has_value();
    }

    Store& store_;
    std::optional<Error> error_;
};

} // namespace xway
