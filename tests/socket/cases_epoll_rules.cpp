/* SPDX-License-Identifier: GPL-2.0 */
/* cases_epoll_rules.cpp - epoll: what it refuses, and what becomes of events that are changed,
 * shared, duplicated, closed or waited for by several. */
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/select.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include "cliff.h"
#include "epoll.h"
#include "side.h"
#include "signals.h"

using namespace xway::test;

namespace {

epoll_event event_of(std::uint32_t events, std::uint64_t data = 0) {
    epoll_event e{};
    e.events = events;
    e.data.u64 = data;
    return e;
}

int change(const Epoll& epoll, int operation, int fd, std::uint32_t events,
           std::uint64_t data = 0) {
    epoll_event e = event_of(events, data);
    return epoll_ctl(epoll.fd(), operation, fd, &e);
}

/* Edges until one tells all of `wanted`; none may tell anything else. */
void await_edge(Epoll& epoll, std::uint32_t wanted) {
    for (std::uint32_t seen = 0; seen != wanted;) {
        seen = epoll.wait();
        CHECK_EQ(seen & ~wanted, 0u);
    }
}

/* No level, which would be told for ever; an edge may be told twice. */
void await_quiet(const Side& side, Epoll& epoll) {
    side.await_true("nothing more is told", [&] { return epoll.now() == 0; });
}

/* `count` connections, warmed up. */
std::vector<UniqueFd> several(Side& side, int count) {
    std::vector<UniqueFd> all;
    UniqueFd listener;
    std::uint16_t port = 0;
    if (side.connector)
        port = side.hear_port();
    else
        listener = side.listen_and_tell();
    for (int i = 0; i < count; i++) {
        all.push_back(side.connector ? side.connect(port) : side.accept(listener.get()));
        side.warm(all.back().get());
    }
    return all;
}

} // namespace

TWO_SIDED(epoll_refuses, kPair | kCold)
void epoll_refuses::client(Side& side) {
    int fd = side.sock.get();
    Epoll epoll(side), other(side);
    CHECK_ERRNO(change(epoll, EPOLL_CTL_MOD, fd, EPOLLIN), ENOENT);
    CHECK_ERRNO(change(epoll, EPOLL_CTL_DEL, fd, 0), ENOENT);
    SYS(change(epoll, EPOLL_CTL_ADD, fd, EPOLLIN));
    CHECK_ERRNO(change(epoll, EPOLL_CTL_ADD, fd, EPOLLIN), EEXIST);
    SYS(epoll_ctl(epoll.fd(), EPOLL_CTL_DEL, fd, nullptr));
    CHECK_ERRNO(change(epoll, EPOLL_CTL_DEL, fd, 0), ENOENT);
    CHECK_ERRNO(change(epoll, 77, fd, EPOLLIN), EINVAL);
    CHECK_ERRNO(change(epoll, EPOLL_CTL_ADD, epoll.fd(), EPOLLIN), EINVAL);
    CHECK_ERRNO(epoll_ctl(epoll.fd(), EPOLL_CTL_ADD, fd, nullptr), EFAULT);
    CHECK_ERRNO(epoll_ctl(epoll.fd(), EPOLL_CTL_ADD, fd, nowhere<epoll_event>()), EFAULT);
    epoll_event e = event_of(EPOLLIN);
    CHECK_ERRNO(epoll_ctl(fd, EPOLL_CTL_ADD, epoll.fd(), &e), EINVAL);
    UniqueFd file(SYS(memfd_create("file", 0)));
    CHECK_ERRNO(change(epoll, EPOLL_CTL_ADD, file.get(), EPOLLIN), EPERM);
    int gone = SYS(dup(fd));
    close(gone);
    CHECK_ERRNO(change(epoll, EPOLL_CTL_ADD, gone, EPOLLIN), EBADF);
    CHECK_ERRNO(epoll_ctl(gone, EPOLL_CTL_ADD, fd, &e), EBADF);
    SYS(change(epoll, EPOLL_CTL_ADD, other.fd(), EPOLLIN));
    CHECK_ERRNO(change(other, EPOLL_CTL_ADD, epoll.fd(), EPOLLIN), ELOOP);
    CHECK_ERRNO(epoll_wait(epoll.fd(), &e, 0, 0), EINVAL);
    volatile int less_than_none = -1;
    CHECK_ERRNO(epoll_wait(epoll.fd(), &e, less_than_none, 0), EINVAL);
    CHECK_ERRNO(epoll_wait(fd, &e, 1, 0), EINVAL);
    CHECK_ERRNO(epoll_wait(gone, &e, 1, 0), EBADF);
    SYS(change(epoll, EPOLL_CTL_ADD, fd, EPOLLOUT));
    CHECK_ERRNO(epoll_wait(epoll.fd(), nowhere<epoll_event>(), 1, 0), EFAULT);
    CHECK_ERRNO(epoll_create(0), EINVAL);
    CHECK_ERRNO(epoll_create1(77), EINVAL);
    CHECK_EQ(epoll.wait(), EPOLLOUT);
    side.out().send(1);
}
void epoll_refuses::server(Side& side) {
    side.in().receive(1);
}

TWO_SIDED(epoll_exclusive_refuses, kPair)
void epoll_exclusive_refuses::client(Side& side) {
    int fd = side.sock.get();
    Epoll epoll(side), inner(side);
    CHECK_ERRNO(change(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT), EINVAL);
    CHECK_ERRNO(change(epoll, EPOLL_CTL_ADD, fd, EPOLLRDHUP | EPOLLEXCLUSIVE), EINVAL);
    CHECK_ERRNO(change(epoll, EPOLL_CTL_ADD, inner.fd(), EPOLLIN | EPOLLEXCLUSIVE), EINVAL);
    SYS(change(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | EPOLLET | EPOLLEXCLUSIVE));
    CHECK_EQ(epoll.wait(), EPOLLOUT);
    CHECK_ERRNO(change(epoll, EPOLL_CTL_MOD, fd, EPOLLIN), EINVAL);
    SYS(change(epoll, EPOLL_CTL_DEL, fd, 0));
    SYS(change(epoll, EPOLL_CTL_ADD, fd, EPOLLOUT));
    CHECK_ERRNO(change(epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLEXCLUSIVE), EINVAL);
    CHECK_EQ(epoll.wait(), EPOLLOUT);
    side.out().send(1);
}
void epoll_exclusive_refuses::server(Side& side) {
    side.in().receive(1);
}

TWO_SIDED(epoll_change_is_a_new_edge, kPair | kCold)
void epoll_change_is_a_new_edge::client(Side& side) {
    StreamWriter out = side.out();
    out.send(100);
    side.step("sent");
    side.step("partly read");
    out.send(100);
    side.step("more");
    side.in().receive(1);
}
void epoll_change_is_a_new_edge::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    Epoll epoll(side);
    side.step("sent");
    side.await(fd, POLLIN);
    epoll.add(fd, EPOLLIN | EPOLLET);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(epoll.wait(), EPOLLIN);
        await_quiet(side, epoll);
        /* Armed again, it is told again, whether or not anything was read. */
        epoll.modify(fd, EPOLLIN | EPOLLET);
    }
    CHECK_EQ(epoll.wait(), EPOLLIN);
    in.receive(50);
    await_quiet(side, epoll);
    side.settle();
    await_quiet(side, epoll);
    side.step("partly read");
    side.step("more");
    /* What comes behind bytes that are still unread is an edge, too. */
    CHECK_EQ(epoll.wait(), EPOLLIN);
    epoll.modify(fd, EPOLLIN);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(epoll.wait(), EPOLLIN);
    in.receive(150);
    CHECK_EQ(epoll.now(), 0u);
    epoll.modify(fd, EPOLLOUT | EPOLLET);
    CHECK_EQ(epoll.wait(), EPOLLOUT);
    await_quiet(side, epoll);
    epoll.modify(fd, EPOLLIN | EPOLLOUT | EPOLLET);
    CHECK_EQ(epoll.wait(), EPOLLOUT);
    epoll.modify(fd, 0);
    CHECK_EQ(epoll.now(), 0u);
    epoll.remove(fd);
    epoll.add(fd, EPOLLOUT | EPOLLET);
    CHECK_EQ(epoll.wait(), EPOLLOUT);
    side.out().send(1);
}

TWO_SIDED(epoll_edge_tells_all_that_is_so, kPair | kCold)
void epoll_edge_tells_all_that_is_so::client(Side& side) {
    side.step("watched");
    side.out().send(10);
    side.step("sent");
    side.step("seen");
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("shut");
    side.in().receive(1);
}
void epoll_edge_tells_all_that_is_so::server(Side& side) {
    int fd = side.sock.get();
    Epoll epoll(side);
    epoll.add(fd, EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLRDNORM | EPOLLWRNORM |
                      EPOLLWAKEUP | EPOLLET);
    CHECK_EQ(epoll.wait(), EPOLLOUT | EPOLLWRNORM);
    side.step("watched");
    side.step("sent");
    await_edge(epoll, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM);
    side.in().receive(10);
    side.step("seen");
    side.step("shut");
    await_edge(epoll, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLRDHUP);
    side.in().expect_end();
    side.out().send(1);
}

TWO_SIDED(epoll_one_shot_and_the_end, kPair | kCold)
void epoll_one_shot_and_the_end::client(Side& side) {
    side.out().send(10);
    side.step("sent");
    reset_at_close(side.sock.get());
    side.step("seen");
    side.sock.reset();
    side.step("reset");
}
void epoll_one_shot_and_the_end::server(Side& side) {
    int fd = side.sock.get();
    Epoll epoll(side);
    epoll.add(fd, EPOLLIN | EPOLLONESHOT | EPOLLET);
    CHECK_EQ(epoll.wait(), EPOLLIN);
    side.step("sent");
    side.in().receive(10);
    side.step("seen");
    side.step("reset");
    side.await(fd, POLLHUP);
    /* Not even an error, which nobody asks for, is told by one that has fired. */
    CHECK_EQ(epoll.now(), 0u);
    epoll.modify(fd, EPOLLONESHOT);
    CHECK_EQ(epoll.wait(), EPOLLERR | EPOLLHUP);
    CHECK_EQ(epoll.now(), 0u);
    epoll.modify(fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT);
    CHECK_EQ(epoll.wait(), EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP);
}

TWO_SIDED(epoll_outlives_one_of_two_descriptors, kPair)
void epoll_outlives_one_of_two_descriptors::client(Side& side) {
    StreamWriter out = side.out();
    out.send(100);
    side.step("first");
    side.step("closed");
    out.send(100);
    side.step("second");
    side.step("gone");
}
void epoll_outlives_one_of_two_descriptors::server(Side& side) {
    Epoll epoll(side);
    int first = side.sock.release();
    UniqueFd second(SYS(dup(first)));
    SYS(change(epoll, EPOLL_CTL_ADD, first, EPOLLIN, 111));
    side.step("first");
    CHECK_EQ(epoll.wait(), EPOLLIN);
    StreamReader in = side.in(second.get());
    in.receive(100);
    close(first);
    /* What stands in the set is the connection: it goes with its last descriptor. */
    CHECK_ERRNO(change(epoll, EPOLL_CTL_MOD, first, EPOLLIN), EBADF);
    side.step("closed");
    side.step("second");
    epoll_event e{};
    CHECK_EQ(SYS(epoll_wait(epoll.fd(), &e, 1, side.patience_ms())), 1);
    CHECK_EQ(e.events, EPOLLIN);
    CHECK_EQ(e.data.u64, 111u);
    in.receive(100);
    SYS(change(epoll, EPOLL_CTL_ADD, second.get(), EPOLLOUT, 222));
    CHECK_EQ(SYS(epoll_wait(epoll.fd(), &e, 1, side.patience_ms())), 1);
    CHECK_EQ(e.data.u64, 222u);
    second.reset();
    CHECK_EQ(epoll.now(), 0u);
    side.step("gone");
}

TWO_SIDED(epoll_of_a_descriptor_and_its_duplicate, kPair | kCold)
void epoll_of_a_descriptor_and_its_duplicate::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 3; i++) {
        out.send(100);
        side.step("read");
    }
}
void epoll_of_a_descriptor_and_its_duplicate::server(Side& side) {
    Epoll epoll(side);
    UniqueFd copy(SYS(dup(side.sock.get())));
    SYS(change(epoll, EPOLL_CTL_ADD, side.sock.get(), EPOLLIN, 1));
    SYS(change(epoll, EPOLL_CTL_ADD, copy.get(), EPOLLIN | EPOLLOUT, 2));
    StreamReader in = side.in();
    for (int i = 0; i < 3; i++) {
        side.await(copy.get(), POLLIN);
        std::uint32_t seen[3] = {};
        side.await_true("both are told", [&] {
            epoll_event events[4];
            int n = SYS(epoll_wait(epoll.fd(), events, 4, side.patience_ms()));
            CHECK(n <= 2);
            for (int k = 0; k < n; k++)
                seen[events[k].data.u64] = events[k].events;
            return seen[1] == EPOLLIN && seen[2] == (EPOLLIN | EPOLLOUT);
        });
        in.receive(100);
        CHECK_EQ(epoll.now(), EPOLLOUT);
        side.step("read");
    }
}

TWO_SIDED(epoll_takes_turns, 0)
void epoll_takes_turns::client(Side& side) {
    auto all = several(side, 4);
    for (UniqueFd& fd : all)
        side.out(fd.get()).send(100);
    side.step("sent");
    side.step("read");
}
void epoll_takes_turns::server(Side& side) {
    auto all = several(side, 4);
    Epoll epoll(side);
    for (std::size_t i = 0; i < 4; i++)
        SYS(change(epoll, EPOLL_CTL_ADD, all[i].get(), EPOLLIN, 1 << i));
    side.step("sent");
    for (UniqueFd& fd : all)
        side.await(fd.get(), POLLIN);
    /* One at a time: everybody has a turn, whoever else would like another. */
    std::uint64_t seen = 0;
    for (int i = 0; i < 64 && seen != 15; i++) {
        epoll_event e{};
        CHECK_EQ(SYS(epoll_wait(epoll.fd(), &e, 1, side.patience_ms())), 1);
        CHECK_EQ(e.events, EPOLLIN);
        seen |= e.data.u64;
    }
    CHECK_EQ(seen, 15u);
    epoll_event events[9];
    side.await_true("all four in one call", [&] {
        return SYS(epoll_wait(epoll.fd(), events, 9, side.patience_ms())) == 4;
    });
    SYS(change(epoll, EPOLL_CTL_MOD, all[2].get(), EPOLLIN, 4096));
    for (UniqueFd& fd : all)
        if (fd.get() != all[2].get())
            side.in(fd.get()).receive(100);
    CHECK_EQ(SYS(epoll_wait(epoll.fd(), events, 9, side.patience_ms())), 1);
    CHECK_EQ(events[0].data.u64, 4096u);
    side.in(all[2].get()).receive(100);
    CHECK_EQ(epoll.now(), 0u);
    side.step("read");
}

/* What is ready is told together, whatever it is that is ready. */
TWO_SIDED(epoll_tells_all_at_once, kPair | kCold)
void epoll_tells_all_at_once::client(Side& side) {
    const UniqueFd fresh(SYS(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    Epoll epoll(side);
    epoll.add(side.sock.get(), EPOLLIN);
    epoll.add(fresh.get(), EPOLLIN);
    side.step("sent");
    side.await_true("it has come", [&] { return poll_now(side.sock.get(), POLLIN) == POLLIN; });
    epoll_event events[4];
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(epoll_wait(epoll.fd(), events, 4, 0), 2);
        side.settle(i % 3);
    }
    epoll.modify(fresh.get(), EPOLLIN | EPOLLET);
    CHECK_EQ(epoll_wait(epoll.fd(), events, 4, 0), 2);
    CHECK_EQ(epoll_wait(epoll.fd(), events, 4, 0), 1);
    side.in().receive(10);
    CHECK_EQ(epoll_wait(epoll.fd(), events, 4, 0), 0);
}
void epoll_tells_all_at_once::server(Side& side) {
    side.out().send(10);
    side.step("sent");
}

TWO_SIDED(epoll_within_epoll_within_poll, kPair | kCold)
void epoll_within_epoll_within_poll::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 4; i++) {
        side.settle();
        out.send(100);
        side.step("read");
    }
}
void epoll_within_epoll_within_poll::server(Side& side) {
    Epoll outer(side), middle(side), inner(side);
    inner.add(side.sock.get(), EPOLLIN);
    middle.add(inner.fd(), EPOLLIN);
    outer.add(middle.fd(), EPOLLIN | EPOLLET);
    StreamReader in = side.in();
    for (int i = 0; i < 4; i++) {
        if (i % 2) {
            CHECK_EQ(side.await(outer.fd(), POLLIN), POLLIN);
        } else {
            fd_set set;
            FD_ZERO(&set);
            FD_SET(middle.fd(), &set);
            timeval limit{side.patience_ms() / 1000 + 1, 0};
            CHECK_EQ(SYS(select(middle.fd() + 1, &set, nullptr, nullptr, &limit)), 1);
        }
        CHECK_EQ(outer.wait(), EPOLLIN);
        CHECK_EQ(middle.wait(), EPOLLIN);
        CHECK_EQ(inner.wait(), EPOLLIN);
        CHECK_EQ(poll_now(inner.fd(), POLLIN | POLLRDNORM), POLLIN | POLLRDNORM);
        CHECK_EQ(poll_now(inner.fd(), POLLRDNORM), POLLRDNORM);
        in.receive(100);
        CHECK_EQ(inner.now(), 0u);
        CHECK_EQ(middle.now(), 0u);
        CHECK_EQ(poll_now(inner.fd(), POLLIN | POLLOUT), 0);
        side.step("read");
    }
}

TWO_SIDED(epoll_changed_while_others_wait, kPair | kCold)
void epoll_changed_while_others_wait::client(Side& side) {
    side.out().send(100);
    side.step("sent");
    side.step("read");
}
void epoll_changed_while_others_wait::server(Side& side) {
    int fd = side.sock.get();
    Epoll epoll(side);
    side.step("sent");
    side.await(fd, POLLIN);
    auto woken_by = [&](const std::function<void()>& what) {
        std::atomic<std::uint32_t> events = 0;
        std::thread waiter([&] {
            epoll_event e{};
            if (epoll_wait(epoll.fd(), &e, 1, side.patience_ms()) == 1)
                events = e.events;
        });
        side.settle();
        what();
        waiter.join();
        return events.load();
    };
    CHECK_EQ(woken_by([&] { epoll.add(fd, EPOLLIN | EPOLLONESHOT); }), EPOLLIN);
    CHECK_EQ(woken_by([&] { epoll.modify(fd, EPOLLIN | EPOLLONESHOT); }), EPOLLIN);
    side.in().receive(100);
    CHECK_EQ(woken_by([&] { epoll.modify(fd, EPOLLOUT | EPOLLONESHOT); }), EPOLLOUT);
    CHECK_EQ(woken_by([&] {
                 epoll.remove(fd);
                 epoll.add(fd, EPOLLOUT);
             }),
             EPOLLOUT);
    side.step("read");
}

TWO_SIDED(epoll_one_shot_among_threads, kPair | kCold)
void epoll_one_shot_among_threads::client(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (int i = 0; i < 60; i++) {
        out.send(100);
        in.receive(1);
    }
    SYS(shutdown(side.sock.get(), SHUT_WR));
    in.expect_end();
}
void epoll_one_shot_among_threads::server(Side& side) {
    int fd = side.sock.get();
    Epoll epoll(side);
    set_nonblocking(fd);
    StreamReader in = side.in();
    StreamWriter out = side.out();
    std::atomic<int> inside = 0, together = 0;
    std::atomic<bool> over = false;
    std::string failure;
    auto work = [&] {
        while (!over) {
            epoll_event e{};
            int n = epoll_wait(epoll.fd(), &e, 1, 50);
            if (n <= 0)
                continue;
            /* Who got it has it alone until it is armed again. */
            if (inside++ != 0)
                together++;
            try {
                ssize_t got;
                while ((got = in.receive_some(1000)) > 0) {
                }
                while (out.position() < in.position() / 100)
                    out.send(1);
                over = over || got == 0;
            } catch (const Failure& f) {
                failure = f.what();
                over = true;
            }
            inside--;
            if (!over)
                epoll.modify(fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT);
        }
    };
    epoll.add(fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT);
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; i++)
        threads.emplace_back(work);
    for (std::thread& t : threads)
        t.join();
    CHECK_EQ(failure, "");
    CHECK_EQ(together.load(), 0);
    CHECK_EQ(in.position(), 6000u);
    side.sock.reset();
}

TWO_SIDED(epoll_edge_goes_to_one_thread, kPair | kCold)
void epoll_edge_goes_to_one_thread::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 10; i++) {
        side.step("waiting");
        side.settle();
        out.send(1);
        side.step("told");
    }
}
void epoll_edge_goes_to_one_thread::server(Side& side) {
    int fd = side.sock.get();
    Epoll epoll(side);
    StreamReader in = side.in();
    epoll.add(fd, EPOLLIN | EPOLLET);
    int all_told = 0;
    for (int i = 0; i < 10; i++) {
        std::atomic<int> told = 0, waiting = 0;
        std::vector<std::thread> threads;
        for (int k = 0; k < 3; k++)
            threads.emplace_back([&] {
                epoll_event e{};
                waiting++;
                /* The others give up when they see that one was told. */
                std::int64_t end = now_ms() + side.patience_ms();
                while (told == 0 && now_ms() < end)
                    told += epoll_wait(epoll.fd(), &e, 1, 40) == 1;
            });
        side.await_true("all wait", [&] { return waiting == 3; });
        side.step("waiting");
        for (std::thread& t : threads)
            t.join();
        CHECK(told >= 1);
        all_told += told;
        in.receive(1);
        side.step("told");
    }
    /* One edge may now and then be told as two, but not to all of them. */
    CHECK(all_told < 20);
}

TWO_SIDED(epoll_with_a_signal_mask, kPair | kCold)
void epoll_with_a_signal_mask::client(Side& side) {
    side.step("interrupted");
    side.settle();
    side.out().send(10);
    side.step("seen");
}
void epoll_with_a_signal_mask::server(Side& side) {
    Epoll epoll(side);
    epoll.add(side.sock.get(), EPOLLIN);
    epoll_event e{};
    sigset_t none, blocked;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    count_signal(SIGUSR1, SA_RESTART);
    SYS(sigprocmask(SIG_BLOCK, &blocked, nullptr));
    raise(SIGUSR1);
    CHECK_ERRNO(epoll_pwait(epoll.fd(), &e, 1, -1, &none), EINTR);
    CHECK_EQ(signals_seen(), 1);
    raise(SIGUSR1);
    timespec patience{side.patience_ms() / 1000 + 1, 0};
    int n = epoll_pwait2(epoll.fd(), &e, 1, &patience, &none);
    const bool has_2 = n >= 0 || errno != ENOSYS;
    if (has_2) {
        CHECK_EQ(n, -1);
        CHECK_EQ(errno_text(errno), "EINTR");
        CHECK_EQ(signals_seen(), 2);
        raise(SIGUSR1);
        timespec wrong{0, 1000000000};
        CHECK_ERRNO(epoll_pwait2(epoll.fd(), &e, 1, &wrong, nullptr), EINVAL);
        timespec little{0, 20000000};
        std::int64_t start = now_ms();
        CHECK_EQ(SYS(epoll_pwait2(epoll.fd(), &e, 1, &little, &blocked)), 0);
        CHECK(now_ms() - start >= 19);
    }
    CHECK_EQ(SYS(epoll_pwait(epoll.fd(), &e, 1, 20, &blocked)), 0);
    side.step("interrupted");
    CHECK_EQ(SYS(epoll_pwait(epoll.fd(), &e, 1, side.patience_ms(), &blocked)), 1);
    CHECK_EQ(e.events, EPOLLIN);
    if (has_2)
        CHECK_EQ(SYS(epoll_pwait2(epoll.fd(), &e, 1, nullptr, &blocked)), 1);
    CHECK_EQ(signals_seen(), has_2 ? 2 : 1);
    side.in().receive(10);
    side.step("seen");
}

TWO_SIDED(epoll_number_used_again, 0)
void epoll_number_used_again::client(Side& side) {
    auto all = several(side, 2);
    side.out(all[0].get()).send(100);
    side.step("sent");
    side.step("moved");
    side.out(all[1].get()).send(50);
    side.step("read");
}
void epoll_number_used_again::server(Side& side) {
    auto all = several(side, 2);
    Epoll epoll(side);
    SYS(change(epoll, EPOLL_CTL_ADD, all[0].get(), EPOLLIN, 1));
    side.step("sent");
    CHECK_EQ(epoll.wait(), EPOLLIN);
    /* Another connection under its number is not in the set. */
    int number = all[0].get();
    SYS(dup2(all[1].get(), number));
    CHECK_EQ(epoll.now(), 0u);
    CHECK_ERRNO(change(epoll, EPOLL_CTL_MOD, number, EPOLLIN), ENOENT);
    SYS(change(epoll, EPOLL_CTL_ADD, number, EPOLLIN, 2));
    CHECK_EQ(epoll.now(), 0u);
    side.step("moved");
    epoll_event e{};
    CHECK_EQ(SYS(epoll_wait(epoll.fd(), &e, 1, side.patience_ms())), 1);
    CHECK_EQ(e.data.u64, 2u);
    side.in(number).receive(50);
    CHECK_EQ(epoll.now(), 0u);
    side.step("read");
}
