/* SPDX-License-Identifier: GPL-2.0 */
/* cases_interrupt.cpp - which calls a signal ends, which go on, and what a handler may do. */
#include <poll.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>

#include <functional>

#include "mirror.h"
#include "signals.h"

using namespace xway::test;

namespace {

void set_limit(int fd, int name, int seconds) {
    timeval t{seconds, 0};
    SYS(setsockopt(fd, SOL_SOCKET, name, &t, sizeof t));
}

/* SIGALRM after `ms`, again after as much, until it is told 0. */
void alarm_every(int ms) {
    const timeval t{ms / 1000, ms % 1000 * 1000};
    const itimerval every{t, t};
    SYS(setitimer(ITIMER_REAL, &every, nullptr));
}

int handler_fd = -1;
sigjmp_buf handler_way_out;

void install(int signal, void (*handler)(int), int flags) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    SYS(sigaction(signal, &action, nullptr));
}

void jump_out(int) {
    siglongjmp(handler_way_out, 1);
}

/* Runs a call that a handler leaves after `ms`. False: it has ended by itself. */
[[gnu::noinline]] bool jumps_out_of(const std::function<void()>& call, int ms) {
    if (sigsetjmp(handler_way_out, 1) == 0) {
        alarm_every(ms);
        call();
        return false;
    }
    alarm_every(0);
    return true;
}

void send_from_handler(int) {
    const int error = errno;
    if (send(handler_fd, "h", 1, MSG_NOSIGNAL) != 1)
        abort();
    errno = error;
}

} // namespace

TWO_SIDED(waits_are_never_restarted, kPair | kCold)
void waits_are_never_restarted::client(Side& side) {
    const int fd = side.sock.get(), limit = side.patience_ms();
    Mirrored talk(side);
    talk.round();
    UniqueFd epoll(SYS(epoll_create1(0)));
    epoll_event e{};
    e.events = EPOLLIN;
    SYS(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &e));
    {
        SignalStorm storm(SIGUSR1, SA_RESTART);
        for (int i = 0; i < 3; i++) {
            pollfd p{fd, POLLIN, 0};
            CHECK_ERRNO(::poll(&p, 1, limit), EINTR);
            fd_set in;
            FD_ZERO(&in);
            FD_SET(fd, &in);
            timeval t{limit / 1000, 0};
            CHECK_ERRNO(::select(fd + 1, &in, nullptr, nullptr, &t), EINTR);
            CHECK_ERRNO(epoll_wait(epoll.get(), &e, 1, limit), EINTR);
        }
    }
    talk.round();
    talk.end();
}
void waits_are_never_restarted::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(time_limits_forbid_a_restart, kPair | kCold)
void time_limits_forbid_a_restart::client(Side& side) {
    const int fd = side.sock.get(), limit = side.patience_ms() / 1000 + 1;
    StreamWriter out = side.out();
    StreamReader in = side.in();
    in.receive(100);
    set_limit(fd, SO_RCVTIMEO, limit);
    set_limit(fd, SO_SNDTIMEO, limit);
    UniqueFd listener = side.listen();
    set_limit(listener.get(), SO_RCVTIMEO, limit);
    const auto send_when_full = [&] {
        ssize_t n;
        do
            n = out.send_some(1 << 20);
        while (n > 0);
        return n;
    };
    {
        SignalStorm storm(SIGUSR1, SA_RESTART);
        for (int i = 0; i < 3; i++) {
            CHECK_ERRNO(in.receive_some(10), EINTR);
            CHECK_ERRNO(in.receive_some(10, MSG_PEEK), EINTR);
            CHECK_ERRNO(send_when_full(), EINTR);
            CHECK_ERRNO(::accept(listener.get(), nullptr, nullptr), EINTR);
        }
    }
    side.tell_number(static_cast<long long>(out.position()));
    in.receive(1);
}
void time_limits_forbid_a_restart::server(Side& side) {
    StreamWriter out = side.out();
    out.send(100);
    side.in().receive(static_cast<std::size_t>(side.hear_number()));
    out.send(1);
}

TWO_SIDED(signal_restarts_send, kPair | kCold)
void signal_restarts_send::client(Side& side) {
    StreamWriter out = side.out();
    while (out.fill() > 0) /* TCP finds room for a little more now and then */
        side.settle();
    side.tell_number(static_cast<long long>(out.position()));
    {
        /* With nothing sent yet the call begins anew, as often as it must. */
        SignalStorm storm(SIGUSR1, SA_RESTART);
        side.step("full");
        CHECK_EQ(SYS(out.send_some(1)), 1);
        CHECK(signals_seen() > 0);
    }
    side.in().receive(1);
}
void signal_restarts_send::server(Side& side) {
    const auto sent = static_cast<std::size_t>(side.hear_number());
    side.step("full");
    side.settle(3);
    side.in().receive(sent + 1);
    side.out().send(1);
}

TWO_SIDED(alarm_ends_a_receive, kPair | kCold)
void alarm_ends_a_receive::client(Side& side) {
    Mirrored talk(side);
    talk.round();
    count_signal(SIGALRM, 0);
    const std::int64_t start = now_ms();
    alarm_every(300);
    CHECK_ERRNO(talk.back().receive_some(10), EINTR);
    alarm_every(0);
    CHECK(now_ms() - start >= 280);
    talk.round();
    talk.end();
}
void alarm_ends_a_receive::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(blocked_signal_waits, kPair | kCold)
void blocked_signal_waits::client(Side& side) {
    side.step("waiting");
    side.settle(4);
    side.out().send(100);
    side.step("read");
}
void blocked_signal_waits::server(Side& side) {
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    SYS(pthread_sigmask(SIG_BLOCK, &set, &old));
    count_signal(SIGALRM, 0);
    side.step("waiting");
    alarm_every(20);
    StreamReader in = side.in();
    in.receive(100);
    CHECK_EQ(signals_seen(), 0);
    alarm_every(0);
    SYS(pthread_sigmask(SIG_SETMASK, &old, nullptr));
    CHECK_EQ(signals_seen(), 1);
    side.step("read");
}

TWO_SIDED(ignored_signal_ends_nothing, kPair | kCold)
void ignored_signal_ends_nothing::client(Side& side) {
    side.step("waiting");
    side.settle(4);
    side.out().send(100);
    side.step("read");
}
void ignored_signal_ends_nothing::server(Side& side) {
    install(SIGALRM, SIG_IGN, 0);
    side.step("waiting");
    alarm_every(20);
    CHECK_EQ(SYS(side.in().receive_some(100, MSG_WAITALL)), 100);
    alarm_every(0);
    side.step("read");
}

TWO_SIDED(jump_out_of_a_call, kPair | kCold)
void jump_out_of_a_call::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round();
    install(SIGALRM, jump_out, 0);
    char byte;
    const std::function<void()> calls[] = {
        [&] { (void)!recv(fd, &byte, 1, 0); },
        [&] {
            pollfd p{fd, POLLIN, 0};
            ::poll(&p, 1, side.patience_ms());
        },
        [&] { (void)!recv(fd, &byte, 1, MSG_PEEK); },
    };
    for (int ms : {50, 57, 64}) {
        for (const auto& call : calls) {
            CHECK(jumps_out_of(call, ms));
            talk.round(1000);
        }
    }
    talk.end();
}
void jump_out_of_a_call::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(handler_sends, kPair | kCold)
void handler_sends::client(Side& side) {
    constexpr int kBytes = 20;
    handler_fd = side.sock.get();
    install(SIGALRM, send_from_handler, SA_RESTART);
    alarm_every(20);
    /* The answers to what the handler has sent, while this waits for them. */
    for (int i = 0; i < kBytes; i++) {
        char byte = 0;
        CHECK_EQ(SYS(recv(handler_fd, &byte, 1, 0)), 1);
        CHECK_EQ(byte, 'h');
    }
    alarm_every(0);
    SYS(shutdown(handler_fd, SHUT_WR));
}
void handler_sends::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(limit_of_no_time, kPair)
void limit_of_no_time::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round();
    /* Less than nothing is not to wait at all. */
    set_limit(fd, SO_RCVTIMEO, -1);
    CHECK_ERRNO(talk.back().receive_some(10), EAGAIN);
    set_limit(fd, SO_RCVTIMEO, 0);
    timeval t{0, 50000};
    SYS(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO_NEW, &t, sizeof t));
    CHECK_ERRNO(talk.back().receive_some(10), EAGAIN);
    set_limit(fd, SO_RCVTIMEO, 0);
    talk.round();
    talk.end();
}
void limit_of_no_time::server(Side& side) {
    mirror(side.sock.get());
}
