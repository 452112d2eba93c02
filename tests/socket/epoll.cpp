/* SPDX-License-Identifier: GPL-2.0 */
/* epoll.cpp - an epoll descriptor for the cases. */
#include "epoll.h"

#include "side.h"

namespace xway::test {

Epoll::Epoll(const Side& side) : side_(side), fd_(SYS(epoll_create1(EPOLL_CLOEXEC))) {}

void Epoll::add(int fd, std::uint32_t events) {
    epoll_event e{};
    e.events = events;
    SYS(epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &e));
}

void Epoll::modify(int fd, std::uint32_t events) {
    epoll_event e{};
    e.events = events;
    SYS(epoll_ctl(fd_.get(), EPOLL_CTL_MOD, fd, &e));
}

void Epoll::remove(int fd) {
    SYS(epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, nullptr));
}

std::uint32_t Epoll::wait() {
    epoll_event e{};
    int n;
    do
        n = epoll_wait(fd_.get(), &e, 1, side_.patience_ms());
    while (n < 0 && errno == EINTR);
    SYS(n);
    if (n == 0)
        FAIL("epoll: no event came");
    return e.events;
}

std::uint32_t Epoll::now() {
    epoll_event e{};
    return SYS(epoll_wait(fd_.get(), &e, 1, 0)) == 1 ? e.events : 0;
}

void pump_both_ways(Side& side, std::uint32_t edge, std::uint64_t bytes) {
    int fd = side.sock.get();
    set_nonblocking(fd);
    Epoll epoll(side);
    epoll.add(fd, EPOLLIN | EPOLLOUT | edge);
    StreamWriter out = side.out();
    StreamReader in = side.in();
    bool sent_all = false, ended = false;
    std::size_t turn = 0;
    while (!sent_all || !ended) {
        std::uint32_t events = epoll.wait();
        for (bool more = true; more && (events & EPOLLOUT) && !sent_all;) {
            std::uint64_t left = bytes - out.position();
            ssize_t n = out.send_some(std::min<std::uint64_t>(left, 1 + turn++ * 7919 % 50000));
            if (n < 0)
                CHECK_EQ(errno_text(errno), "EAGAIN");
            more = n > 0 && edge;
            if (out.position() == bytes) {
                sent_all = true;
                SYS(shutdown(fd, SHUT_WR));
                if (!edge)
                    epoll.modify(fd, EPOLLIN);
            }
        }
        for (bool more = true; more && (events & EPOLLIN) && !ended;) {
            ssize_t n = in.receive_some(1 + turn++ * 104729 % 40000);
            if (n < 0)
                CHECK_EQ(errno_text(errno), "EAGAIN");
            ended = n == 0;
            more = n > 0 && edge;
            if (ended && !edge)
                epoll.modify(fd, EPOLLOUT);
        }
    }
    CHECK_EQ(in.position(), bytes);
}

} // namespace xway::test
