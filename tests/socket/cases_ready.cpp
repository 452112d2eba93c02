/* SPDX-License-Identifier: GPL-2.0 */
/* cases_ready.cpp - poll and select: each event, odd descriptors, signals, time. */
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/select.h>

#include <csignal>
#include <thread>
#include <vector>

#include "cliff.h"
#include "epoll.h"
#include "side.h"
#include "signals.h"

using namespace xway::test;

namespace {

constexpr short kEach = POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLRDBAND |
                        POLLWRNORM | POLLWRBAND | POLLMSG;
constexpr short kRoom = POLLOUT | POLLWRNORM;
constexpr short kBytes = POLLIN | POLLRDNORM;

/* A descriptor with a high number that leads to `fd`. */
UniqueFd far_away(int fd, int number) {
    rlimit limit;
    SYS(getrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_max <= static_cast<rlim_t>(number) + 100)
        throw Skip("RLIMIT_NOFILE");
    limit.rlim_cur = std::max<rlim_t>(limit.rlim_cur, static_cast<rlim_t>(number) + 100);
    SYS(setrlimit(RLIMIT_NOFILE, &limit));
    return UniqueFd(SYS(fcntl(fd, F_DUPFD_CLOEXEC, number)));
}

/* A set of descriptors of any size: the kernel does not know of FD_SETSIZE. */
class BigSet {
public:
    explicit BigSet(int top) : words_(static_cast<std::size_t>(top) / 64 + 1) {}
    void add(int fd) { word(fd) |= bit(fd); }
    [[nodiscard]] bool has(int fd) { return (word(fd) & bit(fd)) != 0; }
    fd_set* get() { return reinterpret_cast<fd_set*>(words_.data()); }

private:
    std::uint64_t& word(int fd) { return words_[static_cast<std::size_t>(fd) / 64]; }
    static std::uint64_t bit(int fd) { return std::uint64_t{1} << (fd % 64); }
    std::vector<std::uint64_t> words_;
};

sigset_t only(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return set;
}

sigset_t all_but(int signal) {
    sigset_t set;
    sigfillset(&set);
    sigdelset(&set, signal);
    return set;
}

/* SIGUSR1 is blocked and waits. */
void pend() {
    count_signal(SIGUSR1, SA_RESTART);
    sigset_t set = only(SIGUSR1);
    SYS(sigprocmask(SIG_BLOCK, &set, nullptr));
    raise(SIGUSR1);
}

} // namespace

TWO_SIDED(poll_knows_each_event, kPair | kCold | kMapped)
void poll_knows_each_event::client(Side& side) {
    int fd = side.sock.get();
    CHECK_EQ(poll_now(fd, kEach), kRoom);
    CHECK_EQ(poll_now(fd, 0), 0);
    side.step("idle");
    side.out().send(10);
    side.step("sent");
    side.step("seen");
    SYS(shutdown(fd, SHUT_WR));
    /* A direction that is shut is said to have room: the next call fails at once. */
    CHECK_EQ(poll_now(fd, kEach), kRoom);
    side.step("half closed");
    side.await(fd, POLLHUP);
    CHECK_EQ(poll_now(fd, kEach), kRoom | kBytes | POLLRDHUP | POLLHUP);
    CHECK_EQ(poll_now(fd, 0), POLLHUP);
    side.step("closed");
}
void poll_knows_each_event::server(Side& side) {
    int fd = side.sock.get();
    side.step("idle");
    side.step("sent");
    side.await(fd, POLLIN);
    CHECK_EQ(poll_now(fd, kEach), kRoom | kBytes);
    for (short one : {POLLIN, POLLRDNORM, POLLOUT, POLLWRNORM})
        CHECK_EQ(poll_now(fd, one), one);
    CHECK_EQ(poll_now(fd, POLLPRI | POLLRDBAND | POLLWRBAND | POLLMSG | POLLRDHUP), 0);
    side.step("seen");
    side.step("half closed");
    side.await(fd, POLLRDHUP);
    CHECK_EQ(poll_now(fd, kEach), kRoom | kBytes | POLLRDHUP);
    side.in().receive(10);
    CHECK_EQ(poll_now(fd, kEach), kRoom | kBytes | POLLRDHUP);
    CHECK_EQ(poll_now(fd, 0), 0);
    SYS(shutdown(fd, SHUT_WR));
    side.await(fd, POLLHUP);
    CHECK_EQ(poll_now(fd, kEach), kRoom | kBytes | POLLRDHUP | POLLHUP);
    side.step("closed");
}

TWO_SIDED(poll_over_odd_descriptors, kPair | kCold)
void poll_over_odd_descriptors::client(Side& side) {
    side.out().send(10);
    side.step("sent");
    side.step("seen");
}
void poll_over_odd_descriptors::server(Side& side) {
    int fd = side.sock.get();
    side.step("sent");
    side.await(fd, POLLIN);
    UniqueFd copy(SYS(dup(fd)));
    UniqueFd file(SYS(memfd_create("file", 0)));
    int gone = SYS(dup(fd));
    close(gone);
    pollfd fds[7] = {{fd, POLLIN, 77},         {-1, POLLIN, 77},
                     {gone, POLLIN, 77},       {fd, POLLOUT, 77},
                     {copy.get(), POLLIN, 77}, {file.get(), POLLIN | POLLOUT, 77},
                     {fd, POLLPRI, 77}};
    CHECK_EQ(SYS(poll(fds, 7, side.patience_ms())), 5);
    const short wanted[7] = {POLLIN, 0, POLLNVAL, POLLOUT, POLLIN, POLLIN | POLLOUT, 0};
    for (int i = 0; i < 7; i++)
        CHECK_EQ(fds[i].revents, wanted[i]);
    CHECK_ERRNO(poll(nowhere<pollfd>(), 1, 0), EFAULT);
    volatile nfds_t too_many = 1u << 30;
    CHECK_ERRNO(poll(fds, too_many, 0), EINVAL);
    timespec wrong{0, 1000000000};
    CHECK_ERRNO(ppoll(fds, 1, &wrong, nullptr), EINVAL);
    wrong = {-1, 0};
    CHECK_ERRNO(ppoll(fds, 1, &wrong, nullptr), EINVAL);
    side.in().receive(10);
    side.step("seen");
}

TWO_SIDED(poll_with_a_signal_mask, kPair | kCold)
void poll_with_a_signal_mask::client(Side& side) {
    side.step("blocked");
    side.settle();
    side.out().send(10);
    side.step("sent");
    side.step("seen");
}
void poll_with_a_signal_mask::server(Side& side) {
    pollfd p{side.sock.get(), POLLIN, 0};
    timespec long_time{side.patience_ms() / 1000 + 1, 0};
    sigset_t none, let_it_in = all_but(SIGUSR1), keep_it_out = only(SIGUSR1);
    sigemptyset(&none);
    pend();
    CHECK_ERRNO(ppoll(&p, 1, nullptr, &none), EINTR);
    CHECK_EQ(signals_seen(), 1);
    raise(SIGUSR1);
    CHECK_ERRNO(ppoll(&p, 1, &long_time, &let_it_in), EINTR);
    CHECK_EQ(signals_seen(), 2);
    raise(SIGUSR1);
    timespec short_time{0, 30000000};
    CHECK_EQ(SYS(ppoll(&p, 1, &short_time, &keep_it_out)), 0);
    CHECK_EQ(SYS(ppoll(&p, 1, &short_time, nullptr)), 0);
    side.step("blocked");
    CHECK_EQ(SYS(ppoll(&p, 1, &long_time, &keep_it_out)), 1);
    side.step("sent");
    side.await(side.sock.get(), POLLIN);
    /* What is ready comes first: the signal goes on waiting. */
    CHECK_EQ(SYS(ppoll(&p, 1, &long_time, nullptr)), 1);
    CHECK_EQ(signals_seen(), 2);
    sigset_t now;
    SYS(sigprocmask(SIG_SETMASK, nullptr, &now));
    CHECK_EQ(sigismember(&now, SIGUSR1), 1);
    CHECK_EQ(sigismember(&now, SIGUSR2), 0);
    side.in().receive(10);
    side.step("seen");
}

TWO_SIDED(select_with_a_signal_mask, kPair | kCold)
void select_with_a_signal_mask::client(Side& side) {
    side.step("interrupted");
    side.out().send(10);
    side.step("seen");
}
void select_with_a_signal_mask::server(Side& side) {
    int fd = side.sock.get();
    fd_set in;
    FD_ZERO(&in);
    FD_SET(fd, &in);
    sigset_t none;
    sigemptyset(&none);
    pend();
    timespec long_time{side.patience_ms() / 1000 + 1, 0};
    const timespec before = long_time;
    CHECK_ERRNO(pselect(fd + 1, &in, nullptr, nullptr, &long_time, &none), EINTR);
    CHECK_EQ(signals_seen(), 1);
    CHECK(FD_ISSET(fd, &in));
    side.step("interrupted");
    CHECK_EQ(SYS(pselect(fd + 1, &in, nullptr, nullptr, &long_time, nullptr)), 1);
    CHECK(FD_ISSET(fd, &in));
    /* pselect leaves the time alone, select takes off what has passed. */
    CHECK_EQ(long_time.tv_sec, before.tv_sec);
    side.in().receive(10);
    timeval short_time{0, 50000};
    CHECK_EQ(SYS(select(fd + 1, &in, nullptr, nullptr, &short_time)), 0);
    CHECK(!FD_ISSET(fd, &in));
    CHECK_EQ(short_time.tv_sec, 0);
    CHECK_EQ(short_time.tv_usec, 0);
    side.step("seen");
}

TWO_SIDED(select_over_all_three_sets, kPair | kCold)
void select_over_all_three_sets::client(Side& side) {
    side.out().send(10);
    side.step("sent");
    side.step("read");
    close_hard(side.sock);
    side.step("reset");
}
void select_over_all_three_sets::server(Side& side) {
    int fd = side.sock.get();
    fd_set in, out, odd;
    auto ask = [&] {
        for (fd_set* set : {&in, &out, &odd}) {
            FD_ZERO(set);
            FD_SET(fd, set);
        }
        timeval limit{side.patience_ms() / 1000 + 1, 0};
        return SYS(select(fd + 1, &in, &out, &odd, &limit));
    };
    side.step("sent");
    side.await(fd, POLLIN);
    CHECK_EQ(ask(), 2);
    CHECK(FD_ISSET(fd, &in) && FD_ISSET(fd, &out) && !FD_ISSET(fd, &odd));
    side.in().receive(10);
    CHECK_EQ(ask(), 1);
    CHECK(!FD_ISSET(fd, &in) && FD_ISSET(fd, &out) && !FD_ISSET(fd, &odd));
    side.step("read");
    side.step("reset");
    side.await(fd, POLLHUP);
    CHECK_EQ(ask(), 2);
    CHECK(FD_ISSET(fd, &in) && FD_ISSET(fd, &out) && !FD_ISSET(fd, &odd));
    timeval wrong{0, -1};
    CHECK_ERRNO(select(fd + 1, &in, nullptr, nullptr, &wrong), EINVAL);
    timeval at_once{0, 0};
    CHECK_ERRNO(select(-1, &in, nullptr, nullptr, &at_once), EINVAL);
    CHECK_EQ(SYS(select(fd + 1, nullptr, nullptr, nullptr, &at_once)), 0);
    CHECK_ERRNO(select(fd + 1, nowhere<fd_set>(), nullptr, nullptr, &at_once), EFAULT);
    int gone = SYS(dup(fd));
    close(gone);
    FD_SET(gone, &in);
    CHECK_ERRNO(select(gone + 1, &in, nullptr, nullptr, &at_once), EBADF);
}

TWO_SIDED(descriptor_above_a_thousand, kPair | kCold)
void descriptor_above_a_thousand::client(Side& side) {
    UniqueFd far = far_away(side.sock.get(), 1500);
    side.sock.reset();
    StreamWriter out = side.out(far.get());
    StreamReader in = side.in(far.get());
    for (std::size_t i = 0; i < 20; i++) {
        out.send(1 + i * 300);
        in.receive(1 + i * 300);
    }
}
void descriptor_above_a_thousand::server(Side& side) {
    UniqueFd far = far_away(side.sock.get(), 5000);
    int fd = far.get();
    side.sock.reset();
    StreamWriter out = side.out(fd);
    StreamReader in = side.in(fd);
    Epoll epoll(side);
    epoll.add(fd, EPOLLIN);
    for (std::size_t i = 0; i < 20; i++) {
        std::size_t left = 1 + i * 300;
        while (left > 0) {
            if (i % 3 == 0) {
                CHECK_EQ(epoll.wait(), EPOLLIN);
            } else if (i % 3 == 1) {
                CHECK_EQ(side.await(fd, POLLIN), POLLIN);
            } else {
                BigSet set(fd + 1);
                set.add(fd);
                timeval limit{side.patience_ms() / 1000 + 1, 0};
                CHECK_EQ(SYS(select(fd + 1, set.get(), nullptr, nullptr, &limit)), 1);
                CHECK(set.has(fd));
            }
            ssize_t n = SYS(in.receive_some(left));
            CHECK(n > 0);
            left -= static_cast<std::size_t>(n);
        }
        BigSet set(fd + 1);
        set.add(fd);
        timeval at_once{0, 0};
        CHECK_EQ(SYS(select(fd + 1, set.get(), nullptr, nullptr, &at_once)), 0);
        CHECK(!set.has(fd));
        CHECK_EQ(epoll.now(), 0u);
        out.send(1 + i * 300);
    }
}

TWO_SIDED(poll_over_many_descriptors, kPair)
void poll_over_many_descriptors::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 5; i++) {
        side.settle();
        out.send(100);
        side.step("seen");
    }
}
void poll_over_many_descriptors::server(Side& side) {
    /* The socket among a thousand others that are never ready. */
    int ends[2];
    SYS(pipe2(ends, O_CLOEXEC));
    UniqueFd reads(ends[0]), writes(ends[1]);
    constexpr std::size_t kAll = 1000, kAt = 701;
    StreamReader in = side.in();
    for (int i = 0; i < 5; i++) {
        std::vector<pollfd> fds(kAll, pollfd{reads.get(), POLLIN, 0});
        fds[kAt] = {side.sock.get(), POLLIN, 0};
        CHECK_EQ(SYS(poll(fds.data(), fds.size(), side.patience_ms())), 1);
        CHECK_EQ(fds[kAt].revents, POLLIN);
        CHECK_EQ(fds[0].revents, 0);
        in.receive(100);
        side.step("seen");
    }
}

TWO_SIDED(poll_is_interrupted, kPair | kCold)
void poll_is_interrupted::client(Side& side) {
    side.step("interrupted");
    side.out().send(1);
}
void poll_is_interrupted::server(Side& side) {
    int fd = side.sock.get();
    {
        /* Even with SA_RESTART: these are never restarted. */
        SignalStorm storm(SIGUSR1, SA_RESTART);
        pollfd p{fd, POLLIN, 0};
        CHECK_ERRNO(poll(&p, 1, side.patience_ms()), EINTR);
        fd_set in;
        FD_ZERO(&in);
        FD_SET(fd, &in);
        timeval limit{side.patience_ms() / 1000 + 1, 0};
        CHECK_ERRNO(select(fd + 1, &in, nullptr, nullptr, &limit), EINTR);
        Epoll epoll(side);
        epoll.add(fd, EPOLLIN);
        epoll_event event;
        CHECK_ERRNO(epoll_wait(epoll.fd(), &event, 1, side.patience_ms()), EINTR);
    }
    side.step("interrupted");
    side.in().receive(1);
}
