/* SPDX-License-Identifier: GPL-2.0 */
/* cases_control.cpp - ioctl and fcntl: every request of a socket, and those it does not know. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <atomic>
#include <climits>
#include <csignal>

#include "cliff.h"
#include "side.h"

using namespace xway::test;

namespace {

int number_of(int fd, unsigned long request) {
    int n = -77;
    SYS(ioctl(fd, request, &n));
    return n;
}

/* The signal that came last, and how often one came. */
std::atomic<int> io_signals = 0, io_fd = -1, io_code = 0;
std::atomic<long> io_band = 0;

void on_io(int, siginfo_t* info, void*) {
    io_fd = info->si_fd;
    io_code = info->si_code;
    io_band = info->si_band;
    io_signals++;
}

void watch_signal(int signal) {
    struct sigaction action {};
    action.sa_sigaction = on_io;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    SYS(sigaction(signal, &action, nullptr));
}

} // namespace

TWO_SIDED(counts_by_each_ioctl, kPair | kCold)
void counts_by_each_ioctl::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    out.send(1000);
    side.step("counted");
    side.await_true("all is acknowledged", [&] { return number_of(fd, SIOCOUTQ) == 0; });
    std::size_t sent = out.fill();
    /* What the other side has not taken: of these, what has not even been sent. */
    for (unsigned long request : {SIOCOUTQ, static_cast<int>(TIOCOUTQ)}) {
        int queued = number_of(fd, request);
        CHECK(queued > 0 && static_cast<std::size_t>(queued) <= sent);
    }
    int unsent = number_of(fd, SIOCOUTQNSD);
    CHECK(unsent >= 0 && static_cast<std::size_t>(unsent) <= sent);
    CHECK_EQ(number_of(fd, SIOCINQ), 0);
    side.tell_number(static_cast<long long>(sent));
    side.step("read");
    side.await_true("nothing is unsent", [&] {
        return number_of(fd, SIOCOUTQ) == 0 && number_of(fd, SIOCOUTQNSD) == 0;
    });
}
void counts_by_each_ioctl::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    for (int taken : {0, 1, 400}) {
        in.receive(static_cast<std::size_t>(taken));
        for (unsigned long request : {FIONREAD, SIOCINQ, static_cast<int>(TIOCINQ)})
            side.await_true("all is counted", [&] {
                return number_of(fd, request) == 1000 - static_cast<int>(in.position());
            });
    }
    CHECK_EQ(number_of(fd, SIOCATMARK), 0);
    CHECK_EQ(number_of(fd, SIOCOUTQ), 0);
    in.receive(1000 - in.position());
    side.step("counted");
    in.receive(static_cast<std::size_t>(side.hear_number()));
    side.step("read");
}

TWO_SIDED(ioctl_refuses, kPair | kCold)
void ioctl_refuses::client(Side& side) {
    int fd = side.sock.get();
    side.out().send(10);
    int n = 0;
    for (unsigned long request : {0x5401ul /* TCGETS */, 0x5413ul /* TIOCGWINSZ */, 0xdeadbeeful,
                                  static_cast<unsigned long>(FIOQSIZE)})
        CHECK_ERRNO(ioctl(fd, request, &n), ENOTTY);
    for (unsigned long request : {FIONREAD, SIOCOUTQ, SIOCOUTQNSD, FIONBIO, FIOASYNC, SIOCATMARK})
        CHECK_ERRNO(ioctl(fd, request, nowhere<int>()), EFAULT);
    timeval stamp;
    CHECK_ERRNO(ioctl(fd, SIOCGSTAMP, &stamp), ENOENT);
    UniqueFd listener = side.listen();
    CHECK_ERRNO(ioctl(listener.get(), FIONREAD, &n), EINVAL);
    CHECK_ERRNO(ioctl(listener.get(), SIOCOUTQ, &n), EINVAL);
    CHECK_ERRNO(ioctl(listener.get(), SIOCOUTQNSD, &n), EINVAL);
    UniqueFd lonely = side.socket();
    CHECK_EQ(number_of(lonely.get(), FIONREAD), 0);
    CHECK_EQ(number_of(lonely.get(), SIOCOUTQ), 0);
    int gone = SYS(dup(fd));
    close(gone);
    CHECK_ERRNO(ioctl(gone, FIONREAD, &n), EBADF);
    side.in().receive(10);
}
void ioctl_refuses::server(Side& side) {
    side.in().receive(10);
    side.out().send(10);
}

TWO_SIDED(blocking_is_the_descriptions, kPair | kCold)
void blocking_is_the_descriptions::client(Side& side) {
    side.step("all ways");
    side.settle();
    side.out().send(10);
    side.step("read");
}
void blocking_is_the_descriptions::server(Side& side) {
    int fd = side.sock.get();
    UniqueFd copy(SYS(dup(fd)));
    char byte;
    auto expect = [&](bool nonblocking) {
        for (int each : {fd, copy.get()})
            CHECK_EQ((SYS(fcntl(each, F_GETFL)) & O_NONBLOCK) != 0, nonblocking);
        if (nonblocking)
            for (int each : {fd, copy.get()})
                CHECK_ERRNO(recv(each, &byte, 1, 0), EAGAIN);
    };
    expect(false);
    int on = 1, off = 0;
    SYS(ioctl(fd, FIONBIO, &on));
    expect(true);
    SYS(ioctl(copy.get(), FIONBIO, &off));
    expect(false);
    /* Set by a duplicate, and by another process, it is set for all. */
    set_nonblocking(copy.get());
    expect(true);
    set_nonblocking(fd, false);
    expect(false);
    pid_t child = SYS(fork());
    if (child == 0) {
        fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
        _exit(0);
    }
    SYS(waitpid(child, nullptr, 0));
    expect(true);
    set_nonblocking(copy.get(), false);
    expect(false);
    side.step("all ways");
    /* And so this one waits. */
    side.in(copy.get()).receive(10);
    side.step("read");
}

TWO_SIDED(flags_of_a_descriptor, kPair | kCold)
void flags_of_a_descriptor::client(Side& side) {
    int fd = side.sock.get();
    CHECK_EQ(SYS(fcntl(fd, F_GETFL)) & (O_ACCMODE | O_APPEND | O_ASYNC), O_RDWR);
    SYS(fcntl(fd, F_SETFL, O_RDWR | O_APPEND));
    CHECK_EQ(SYS(fcntl(fd, F_GETFL)) & (O_ACCMODE | O_APPEND), O_RDWR | O_APPEND);
    SYS(fcntl(fd, F_SETFL, O_RDWR));
    SYS(fcntl(fd, F_SETFD, FD_CLOEXEC));
    CHECK_EQ(SYS(fcntl(fd, F_GETFD)), FD_CLOEXEC);
    SYS(ioctl(fd, FIONCLEX));
    CHECK_EQ(SYS(fcntl(fd, F_GETFD)), 0);
    SYS(ioctl(fd, FIOCLEX));
    CHECK_EQ(SYS(fcntl(fd, F_GETFD)), FD_CLOEXEC);
    UniqueFd low(SYS(fcntl(fd, F_DUPFD, 100))), high(SYS(fcntl(fd, F_DUPFD_CLOEXEC, 200)));
    CHECK_EQ(low.get(), 100);
    CHECK_EQ(high.get(), 200);
    CHECK_EQ(SYS(fcntl(low.get(), F_GETFD)), 0);
    CHECK_EQ(SYS(fcntl(high.get(), F_GETFD)), FD_CLOEXEC);
    CHECK_ERRNO(fcntl(fd, F_DUPFD, -1), EINVAL);
    CHECK_ERRNO(fcntl(fd, F_DUPFD, 1 << 30), EINVAL);
    CHECK_ERRNO(fcntl(fd, 7777), EINVAL);
    CHECK_ERRNO(fcntl(fd, F_GETPIPE_SZ), EBADF);
    CHECK_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), EINVAL);
    CHECK_ERRNO(fcntl(fd, F_SETFL, O_RDWR | O_DIRECT), EINVAL);
    side.sock.reset();
    side.out(low.get()).send(100);
    low.reset();
    StreamWriter rest = side.out(high.get());
    rest.advance(100);
    rest.send(100);
    side.in(high.get()).receive(1);
}
void flags_of_a_descriptor::server(Side& side) {
    side.in().receive(200);
    side.out().send(1);
}

TWO_SIDED(what_a_socket_is_not, kPair | kCold)
void what_a_socket_is_not::client(Side& side) {
    int fd = side.sock.get();
    side.out().send(10);
    struct stat st {};
    SYS(fstat(fd, &st));
    CHECK(S_ISSOCK(st.st_mode));
    CHECK_EQ(st.st_size, 0);
    CHECK_EQ(st.st_nlink, 1u);
    char link[64] = {};
    std::string name = "/proc/self/fd/" + std::to_string(fd);
    SYS(readlink(name.c_str(), link, sizeof link - 1));
    CHECK_EQ(std::string(link), "socket:[" + std::to_string(st.st_ino) + "]");
    CHECK_ERRNO(open(name.c_str(), O_RDWR), ENXIO);
    CHECK_ERRNO(ftruncate(fd, 0), EINVAL);
    CHECK_ERRNO(fsync(fd), EINVAL);
    CHECK_ERRNO(fdatasync(fd), EINVAL);
    CHECK_ERRNO(fallocate(fd, 0, 0, 10), ENODEV);
    CHECK_ERRNO(fchdir(fd), ENOTDIR);
    CHECK_EQ(isatty(fd), 0);
    CHECK_EQ(errno_text(errno), "ENOTTY");
    side.in().receive(10);
}
void what_a_socket_is_not::server(Side& side) {
    side.in().receive(10);
    side.out().send(10);
}

TWO_SIDED(owner_of_a_socket, kPair | kCold)
void owner_of_a_socket::client(Side& side) {
    int fd = side.sock.get();
    side.out().send(10);
    CHECK_EQ(SYS(fcntl(fd, F_GETOWN)), 0);
    SYS(fcntl(fd, F_SETOWN, getpid()));
    CHECK_EQ(SYS(fcntl(fd, F_GETOWN)), getpid());
    CHECK_EQ(number_of(fd, SIOCGPGRP), getpid());
    CHECK_EQ(number_of(fd, FIOGETOWN), getpid());
    int group = -getpgrp();
    SYS(ioctl(fd, FIOSETOWN, &group));
    CHECK_EQ(number_of(fd, SIOCGPGRP), group);
    int nobody = 0;
    SYS(ioctl(fd, SIOCSPGRP, &nobody));
    CHECK_EQ(SYS(fcntl(fd, F_GETOWN)), 0);
    f_owner_ex owner{F_OWNER_TID, gettid()}, said{};
    SYS(fcntl(fd, F_SETOWN_EX, &owner));
    SYS(fcntl(fd, F_GETOWN_EX, &said));
    CHECK_EQ(said.type, F_OWNER_TID);
    CHECK_EQ(said.pid, gettid());
    CHECK_EQ(SYS(fcntl(fd, F_GETSIG)), 0);
    SYS(fcntl(fd, F_SETSIG, SIGRTMIN + 3));
    CHECK_EQ(SYS(fcntl(fd, F_GETSIG)), SIGRTMIN + 3);
    CHECK_ERRNO(fcntl(fd, F_SETSIG, 1000), EINVAL);
    CHECK_ERRNO(fcntl(fd, F_SETOWN, INT_MAX), ESRCH);
    int on = 1, off = 0;
    SYS(ioctl(fd, FIOASYNC, &on));
    CHECK_EQ(SYS(fcntl(fd, F_GETFL)) & O_ASYNC, O_ASYNC);
    SYS(ioctl(fd, FIOASYNC, &off));
    CHECK_EQ(SYS(fcntl(fd, F_GETFL)) & O_ASYNC, 0);
    side.in().receive(10);
}
void owner_of_a_socket::server(Side& side) {
    side.in().receive(10);
    side.out().send(10);
}

TWO_SIDED(a_signal_of_ones_own_tells_of_data, kPair | kCold)
void a_signal_of_ones_own_tells_of_data::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 3; i++) {
        side.step("armed");
        out.send(100);
        side.step("told");
    }
    side.step("off");
    out.send(100);
    side.step("quiet");
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("end");
}
void a_signal_of_ones_own_tells_of_data::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    const int signal = SIGRTMIN + 2;
    watch_signal(signal);
    f_owner_ex owner{F_OWNER_TID, gettid()};
    SYS(fcntl(fd, F_SETOWN_EX, &owner));
    SYS(fcntl(fd, F_SETSIG, signal));
    SYS(fcntl(fd, F_SETFL, SYS(fcntl(fd, F_GETFL)) | O_ASYNC));
    for (int i = 0; i < 3; i++) {
        int before = io_signals;
        side.step("armed");
        side.await_true("the signal", [&] { return io_signals > before; });
        CHECK_EQ(io_fd.load(), fd);
        side.await_true("it is about input", [&] { return (io_band & POLLIN) != 0; });
        CHECK_EQ(io_code.load(), POLL_IN);
        in.receive(100);
        side.step("told");
    }
    SYS(fcntl(fd, F_SETFL, SYS(fcntl(fd, F_GETFL)) & ~O_ASYNC));
    int before = io_signals;
    side.step("off");
    in.receive(100);
    CHECK_EQ(io_signals.load(), before);
    SYS(fcntl(fd, F_SETFL, SYS(fcntl(fd, F_GETFL)) | O_ASYNC));
    side.step("quiet");
    side.await_true("the end is told, too", [&] { return io_signals > before; });
    in.expect_end();
    side.step("end");
}
