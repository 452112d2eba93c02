/* SPDX-License-Identifier: GPL-2.0 */
/* cases_signal.cpp - calls that a signal or a time limit interrupts, and signals that a socket
 * sends. */
#include <fcntl.h>
#include <poll.h>

#include "side.h"
#include "signals.h"

using namespace xway::test;

namespace {

void set_timeout(int fd, int name, int ms) {
    timeval t{ms / 1000, ms % 1000 * 1000};
    SYS(setsockopt(fd, SOL_SOCKET, name, &t, sizeof t));
}

/* Runs `call` with a time limit of 300 ms on the socket: EAGAIN, not before, and not much later. */
void check_timeout(Side& side, const std::function<ssize_t()>& call) {
    std::int64_t start = now_ms();
    CHECK_ERRNO(call(), EAGAIN);
    CHECK(now_ms() - start >= 280);
    CHECK(now_ms() - start < side.patience_ms());
}

} // namespace

TWO_SIDED(receive_timeout, kPair | kCold)
void receive_timeout::client(Side& side) {
    side.step("timed out");
    side.out().send(100);
    side.settle();
    side.step("read");
}
void receive_timeout::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    set_timeout(fd, SO_RCVTIMEO, 300);
    check_timeout(side, [&] { return in.receive_some(10); });
    check_timeout(side, [&] { return in.receive_some(10, MSG_PEEK); });
    side.step("timed out");
    set_timeout(fd, SO_RCVTIMEO, 0);
    in.receive(60);
    set_timeout(fd, SO_RCVTIMEO, 300);
    /* What has come is given when the rest does not. */
    CHECK_EQ(SYS(in.receive_some(1000, MSG_WAITALL)), 40);
    side.step("read");
}

TWO_SIDED(send_timeout, kPair | kCold)
void send_timeout::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    set_timeout(fd, SO_SNDTIMEO, 300);
    /* First what fits, then nothing. */
    bool timed_out = false;
    for (int i = 0; i < 1000 && !timed_out; i++) {
        ssize_t n = out.send_some(1 << 20);
        if (n < 0)
            CHECK_EQ(errno_text(errno), "EAGAIN");
        timed_out = n < 0;
    }
    CHECK(timed_out);
    out.fill(); /* what room was found since */
    check_timeout(side, [&] { return out.send_some(1); });
    set_timeout(fd, SO_SNDTIMEO, 0);
    side.tell_number(static_cast<long long>(out.position()));
    out.send(100000);
    side.in().receive(1);
}
void send_timeout::server(Side& side) {
    auto sent = static_cast<std::size_t>(side.hear_number());
    side.in().receive(sent + 100000);
    side.out().send(1);
}

TWO_SIDED(accept_timeout_and_signal, 0)
void accept_timeout_and_signal::client(Side& side) {
    auto port = side.hear_port();
    side.step("interrupted");
    UniqueFd fd = side.connect(port);
    side.in(fd.get()).receive(10);
}
void accept_timeout_and_signal::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    set_timeout(listener.get(), SO_RCVTIMEO, 300);
    check_timeout(side, [&] { return ::accept(listener.get(), nullptr, nullptr); });
    set_timeout(listener.get(), SO_RCVTIMEO, 0);
    {
        SignalStorm storm(SIGUSR1, 0);
        CHECK_ERRNO(::accept(listener.get(), nullptr, nullptr), EINTR);
    }
    side.step("interrupted");
    UniqueFd fd = side.accept(listener.get());
    side.out(fd.get()).send(10);
}

TWO_SIDED(signal_interrupts_recv, kPair | kCold)
void signal_interrupts_recv::client(Side& side) {
    side.step("interrupted");
    side.out().send(100);
    side.step("read");
}
void signal_interrupts_recv::server(Side& side) {
    StreamReader in = side.in();
    {
        SignalStorm storm(SIGUSR1, 0);
        for (int i = 0; i < 5; i++) {
            CHECK_ERRNO(in.receive_some(100), EINTR);
            CHECK_ERRNO(in.receive_some(100, MSG_PEEK), EINTR);
            CHECK_ERRNO(in.receive_some(100, MSG_WAITALL), EINTR);
        }
    }
    side.step("interrupted");
    in.receive(100);
    side.step("read");
}

TWO_SIDED(signal_restarts_recv, kPair | kCold)
void signal_restarts_recv::client(Side& side) {
    side.step("waiting");
    side.settle(3);
    side.out().send(100);
    side.step("read");
}
void signal_restarts_recv::server(Side& side) {
    StreamReader in = side.in();
    side.step("waiting");
    {
        SignalStorm storm(SIGUSR1, SA_RESTART);
        CHECK_EQ(SYS(in.receive_some(100, MSG_WAITALL)), 100);
    }
    side.step("read");
}

TWO_SIDED(signal_interrupts_send, kPair | kCold)
void signal_interrupts_send::client(Side& side) {
    StreamWriter out = side.out();
    {
        SignalStorm storm(SIGUSR1, 0);
        bool interrupted = false;
        for (int i = 0; i < 1000 && !interrupted; i++) {
            ssize_t n = out.send_some(1 << 20);
            if (n < 0)
                CHECK_EQ(errno_text(errno), "EINTR");
            interrupted = n < 0;
        }
        CHECK(interrupted);
    }
    side.tell_number(static_cast<long long>(out.position()));
    out.send(100000);
    side.in().receive(1);
}
void signal_interrupts_send::server(Side& side) {
    auto sent = static_cast<std::size_t>(side.hear_number());
    side.in().receive(sent + 100000);
    side.out().send(1);
}

TWO_SIDED(signals_during_a_long_transfer, kPair | kCold)
void signals_during_a_long_transfer::client(Side& side) {
    SignalStorm storm(SIGUSR1, SA_RESTART);
    side.out().send(6 << 20);
    side.in().receive(1);
}
void signals_during_a_long_transfer::server(Side& side) {
    SignalStorm storm(SIGUSR1, SA_RESTART);
    StreamReader in = side.in();
    side.settle(2);
    in.receive(6 << 20);
    side.out().send(1);
}

TWO_SIDED(signal_restarts_connect_and_accept, 0)
void signal_restarts_connect_and_accept::client(Side& side) {
    auto port = side.hear_port();
    SignalStorm storm(SIGUSR1, SA_RESTART);
    for (int i = 0; i < 10; i++) {
        side.settle();
        UniqueFd fd = side.connect(port);
        side.in(fd.get()).receive(10);
    }
}
void signal_restarts_connect_and_accept::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    SignalStorm storm(SIGUSR1, SA_RESTART);
    for (int i = 0; i < 10; i++) {
        UniqueFd fd(SYS(::accept(listener.get(), nullptr, nullptr)));
        side.out(fd.get()).send(10);
    }
}

TWO_SIDED(sigpipe_and_epipe, kPair | kCold)
void sigpipe_and_epipe::client(Side& side) {
    int fd = side.sock.get();
    side.step("closed");
    side.in().expect_end();
    char bytes[100] = {};
    /* The first send goes out and is answered by a reset. */
    side.await_true("the reset has come", [&] {
        ssize_t n = send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
        if (n < 0)
            CHECK(errno == EPIPE || errno == ECONNRESET);
        return n < 0;
    });
    CHECK_ERRNO(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL), EPIPE);
    count_signal(SIGPIPE, 0);
    CHECK_ERRNO(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL), EPIPE);
    CHECK_EQ(signals_seen(), 0);
    CHECK_ERRNO(send(fd, bytes, sizeof bytes, 0), EPIPE);
    CHECK_EQ(signals_seen(), 1);
    CHECK_ERRNO(write(fd, bytes, sizeof bytes), EPIPE);
    CHECK_EQ(signals_seen(), 2);
}
void sigpipe_and_epipe::server(Side& side) {
    side.sock.reset();
    side.step("closed");
}

TWO_SIDED(sigio_tells_of_data, kPair)
void sigio_tells_of_data::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 3; i++) {
        side.step("ready");
        side.settle();
        out.send(100);
    }
    side.step("done");
}
void sigio_tells_of_data::server(Side& side) {
    int fd = side.sock.get();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    SYS(sigprocmask(SIG_BLOCK, &set, nullptr));
    SYS(fcntl(fd, F_SETOWN, getpid()));
    SYS(fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK));
    StreamReader in = side.in();
    for (int i = 0; i < 3; i++) {
        std::uint64_t target = in.position() + 100;
        timespec nothing{};
        while (sigtimedwait(&set, nullptr, &nothing) > 0) {
        }
        side.step("ready");
        while (in.position() < target) {
            timespec patience{side.patience_ms() / 1000, 0};
            CHECK_EQ(SYS(sigtimedwait(&set, nullptr, &patience)), SIGIO);
            while (in.receive_some(100) > 0) {
            }
        }
    }
    side.step("done");
}
