/* SPDX-License-Identifier: GPL-2.0 */
/* epoll.h - an epoll descriptor for the cases. */
#pragma once

#include <sys/epoll.h>

#include <cstdint>

#include "fd.h"

namespace xway::test {

class Side;

class Epoll {
public:
    explicit Epoll(const Side& side);
    void add(int fd, std::uint32_t events);
    void modify(int fd, std::uint32_t events);
    void remove(int fd);
    /* The next event's bits; fails when none comes in time. */
    std::uint32_t wait();
    /* The event's bits if there is one now, else 0. */
    std::uint32_t now();
    [[nodiscard]] int fd() const { return fd_.get(); }

private:
    const Side& side_;
    UniqueFd fd_;
};

/*
 * Sends and receives `bytes` each way over side.sock from one loop, non-blocking, by epoll: with
 * EPOLLET by edges alone, with 0 by levels. Ends when both directions have ended.
 */
void pump_both_ways(Side& side, std::uint32_t edge, std::uint64_t bytes);

} // namespace xway::test
