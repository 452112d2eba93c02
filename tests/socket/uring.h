/* SPDX-License-Identifier: GPL-2.0 */
/*
 * uring.h - an io_uring for the cases. Without one in the kernel the case is skipped: both sides
 * make theirs before anything else happens, so both find out.
 */
#pragma once

#include <liburing.h>

#include <string>

#include "side.h"

namespace xway::test {

class Ring {
public:
    explicit Ring(const Side& side) : side_(side) {
        int error = io_uring_queue_init(64, &ring_, 0);
        if (error < 0)
            throw Skip("io_uring: " + errno_text(-error));
    }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    ~Ring() { io_uring_queue_exit(&ring_); }

    io_uring_sqe* prepare() { return io_uring_get_sqe(&ring_); }
    void submit() { CHECK(io_uring_submit(&ring_) >= 0); }
    io_uring* get() { return &ring_; }
    /* The next result; `data` is its operation's number, `flags` are IORING_CQE_F_*. */
    int wait(std::uint64_t* data = nullptr, unsigned* flags = nullptr) {
        __kernel_timespec limit{side_.patience_ms() / 1000 + 1, 0};
        io_uring_cqe* cqe = nullptr;
        int error;
        do
            error = io_uring_wait_cqe_timeout(&ring_, &cqe, &limit);
        while (error == -EINTR);
        if (error < 0)
            FAIL("io_uring: no completion: " + errno_text(-error));
        int result = cqe->res;
        if (data)
            *data = cqe->user_data;
        if (flags)
            *flags = cqe->flags;
        io_uring_cqe_seen(&ring_, cqe);
        return result;
    }
    bool idle() {
        io_uring_cqe* cqe;
        return io_uring_peek_cqe(&ring_, &cqe) == -EAGAIN;
    }
    int done(const char* what, int result) {
        if (result < 0)
            FAIL(std::string(what) + ": " + errno_text(-result));
        return result;
    }

private:
    const Side& side_;
    io_uring ring_;
};

} // namespace xway::test
