// SPDX-License-Identifier: GPL-2.0-or-later
//
// store.cpp - Xenstore by libxenstore.
#include "store.h"

#include <csignal>
#include <cstdlib>

#include <time.h>
#include <unistd.h>

extern "C" { // the header does not say so itself
#include <xenstore.h>
}

namespace xway {

namespace {

// What libxenstore allocates is freed by free().
struct Free {
    void operator()(void* memory) const { std::free(memory); }
};

constexpr unsigned kAnswerTimeout = 5; // seconds

void no_answer(int) {
    constexpr char kText[] = "xway: xenstored does not answer; see whether it runs\n";
    if (write(STDERR_FILENO, kText, sizeof(kText) - 1) < 0)
        _exit(2);
    _exit(1);
}

Error failed(const char* verb, const std::string& path, int code) {
    std::string remedy;
    if (code == EACCES || code == EPERM)
        remedy = "run this in dom0, as root";
    else if (code == EBADF || code == EPIPE || code == ECONNRESET)
        remedy = "the connection to xenstored is lost";
    return Error::from_errno(std::string("xenstore: cannot ") + verb + ' ' + path, code, remedy);
}

} // namespace

Result<std::unique_ptr<XenStore>> XenStore::open() {
    // Where xenstored has no socket the kernel carries the requests, and keeps them for ever while
    // there is no xenstored at all.
    struct sigaction give_up {
    }, before{};
    give_up.sa_handler = no_answer;
    sigaction(SIGALRM, &give_up, &before);
    alarm(kAnswerTimeout);
    xs_handle* handle = xs_open(0);
    unsigned length;
    if (handle)
        std::unique_ptr<void, Free>(xs_read(handle, XBT_NULL, "domid", &length)).reset();
    const int error = errno;
    alarm(0);
    sigaction(SIGALRM, &before, nullptr);
    errno = error;
    if (handle)
        return std::unique_ptr<XenStore>(new XenStore(handle));
    if (errno == EACCES || errno == EPERM)
        return Error::from_errno("cannot open xenstore", errno, "run this as root");
    return Error::from_errno("cannot reach xenstore", errno,
                             "run this on Xen, in dom0 with xenstored started");
}

XenStore::~XenStore() {
    xs_close(handle_);
}

Result<std::optional<std::string>> XenStore::read(const std::string& path) {
    unsigned length = 0;
    std::unique_ptr<char, Free> value(
        static_cast<char*>(xs_read(handle_, transaction_, path.c_str(), &length)));
    if (value)
        return std::optional<std::string>(std::string(value.get(), length));
    if (errno == ENOENT)
        return std::optional<std::string>();
    return failed("read", path, errno);
}

Result<std::vector<std::string>> XenStore::list(const std::string& path) {
    unsigned count = 0;
    std::unique_ptr<char*, Free> names(xs_directory(handle_, transaction_, path.c_str(), &count));
    if (names)
        return std::vector<std::string>(names.get(), names.get() + count);
    if (errno == ENOENT)
        return std::vector<std::string>();
    return failed("list", path, errno);
}

Result<void> XenStore::write(const std::string& path, const std::string& value) {
    if (xs_write(handle_, transaction_, path.c_str(), value.data(),
                 static_cast<unsigned>(value.size())))
        return {};
    return failed("write", path, errno);
}

Result<void> XenStore::make(const std::string& path) {
    if (xs_mkdir(handle_, transaction_, path.c_str()))
        return {};
    return failed("make", path, errno);
}

Result<void> XenStore::permit(const std::string& path, const Permissions& permissions) {
    std::vector<xs_permissions> entries{{permissions.owner, XS_PERM_NONE}};
    for (unsigned reader : permissions.readers)
        entries.push_back({reader, XS_PERM_READ});
    if (xs_set_permissions(handle_, transaction_, path.c_str(), entries.data(),
                           static_cast<unsigned>(entries.size())))
        return {};
    return failed("set the permissions of", path, errno);
}

Result<void> XenStore::remove(const std::string& path) {
    if (xs_rm(handle_, transaction_, path.c_str()) || errno == ENOENT)
        return {};
    return failed("remove", path, errno);
}

Result<void> XenStore::begin() {
    transaction_ = xs_transaction_start(handle_);
    if (transaction_ != XBT_NULL)
        return {};
    return Error::from_errno("xenstore: cannot start a transaction", errno);
}

Result<bool> XenStore::commit() {
    if (xs_transaction_end(handle_, std::exchange(transaction_, XBT_NULL), false))
        return true;
    if (errno == EAGAIN)
        return false;
    return Error::from_errno("xenstore: cannot commit", errno);
}

void XenStore::abort() {
    if (transaction_ != XBT_NULL)
        xs_transaction_end(handle_, std::exchange(transaction_, XBT_NULL), true);
}

void XenStore::pause(int attempt) {
    const timespec time{0, attempt * 4'000'000L};
    nanosleep(&time, nullptr);
}

Result<void> XenStore::watch(const std::string& path) {
    if (xs_watch(handle_, path.c_str(), path.c_str()))
        return {};
    return failed("watch", path, errno);
}

Result<void> XenStore::unwatch(const std::string& path) {
    if (xs_unwatch(handle_, path.c_str(), path.c_str()))
        return {};
    return failed("unwatch", path, errno);
}

std::optional<std::string> XenStore::next_event() {
    std::unique_ptr<char*, Free> event(xs_check_watch(handle_));
    if (!event)
        return std::nullopt;
    return std::string(event.get()[XS_WATCH_PATH]);
}

int XenStore::fd() const {
    return xs_fileno(handle_);
}

} // namespace xway
