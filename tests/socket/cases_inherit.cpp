/* SPDX-License-Identifier: GPL-2.0 */
/* cases_inherit.cpp - sockets in children, other programs, and streams of stdio. */
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "mirror.h"
#include "process.h"

using namespace xway::test;

namespace {

constexpr const char* kSelf = "/proc/self/exe";

int exit_status(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The other side of a case whose server is one or more echoing programs. */
void talk_and_end(Side& side) {
    Mirrored talk(side);
    for (std::size_t n : {1u, 100u, 30000u})
        talk.round(n);
    talk.end();
}

/* Opens a descriptor of its own onto another process's. */
int pidfd_getfd(int pidfd, int fd) {
    return static_cast<int>(syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}

} // namespace

TWO_SIDED(spawned_program_has_the_socket, kPair | kCold)
void spawned_program_has_the_socket::client(Side& side) {
    side.step("spawned"); /* nothing may be on the way meanwhile */
    talk_and_end(side);
}
void spawned_program_has_the_socket::server(Side& side) {
    /* By its own number: nobody tells the kernel of it but FD_CLOEXEC, which is not set. */
    std::string number = std::to_string(side.sock.get());
    char name[] = "xway-socket-cases", role[] = "echo-descriptor";
    char* argv[] = {name, role, number.data(), nullptr};
    pid_t pid = 0;
    CHECK_EQ(posix_spawn(&pid, kSelf, nullptr, nullptr, argv, environ), 0);
    side.sock.reset();
    side.step("spawned");
    CHECK_EQ(exit_status(pid), 0);
}

TWO_SIDED(spawned_onto_standard_input, kPair | kCold)
void spawned_onto_standard_input::client(Side& side) {
    side.step("spawned"); /* nothing may be on the way meanwhile */
    talk_and_end(side);
}
void spawned_onto_standard_input::server(Side& side) {
    /* As inetd does it. */
    posix_spawn_file_actions_t actions;
    CHECK_EQ(posix_spawn_file_actions_init(&actions), 0);
    CHECK_EQ(posix_spawn_file_actions_adddup2(&actions, side.sock.get(), 0), 0);
    CHECK_EQ(posix_spawn_file_actions_addclose(&actions, side.sock.get()), 0);
    char name[] = "xway-socket-cases", role[] = "echo-descriptor", number[] = "0";
    char* argv[] = {name, role, number, nullptr};
    pid_t pid = 0;
    CHECK_EQ(posix_spawn(&pid, kSelf, &actions, nullptr, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    side.sock.reset();
    side.step("spawned");
    CHECK_EQ(exit_status(pid), 0);
}

TWO_SIDED(vfork_and_exec, kPair | kCold)
void vfork_and_exec::client(Side& side) {
    talk_and_end(side);
}
void vfork_and_exec::server(Side& side) {
    const std::string number = std::to_string(side.sock.get());
    const pid_t pid = SYS(vfork());
    if (pid == 0) {
        execl(kSelf, "xway-socket-cases", "echo-descriptor", number.c_str(), nullptr);
        _exit(98);
    }
    side.sock.reset();
    CHECK_EQ(exit_status(pid), 0);
}

TWO_SIDED(exec_closes_what_it_should, kPair | kCold)
void exec_closes_what_it_should::client(Side& side) {
    Mirrored talk(side);
    talk.round();
    side.step("programs have run");
    talk.round();
    talk.end();
}
void exec_closes_what_it_should::server(Side& side) {
    StreamReader in(side.sock.get(), 1);
    StreamWriter back(side.sock.get(), 1);
    in.receive(3000);
    back.send(3000);
    SYS(fcntl(side.sock.get(), F_SETFD, FD_CLOEXEC));
    /* None of these gets the socket: it stays what it was. */
    CHECK_EQ(system(":"), 0);
    FILE* pipe = popen("cat >/dev/null", "w");
    CHECK(pipe != nullptr);
    std::fputs("something\n", pipe);
    CHECK_EQ(pclose(pipe), 0);
    Child program([] {
        execl("/bin/sh", "sh", "-c", "exit 5", nullptr);
        return 98;
    });
    CHECK_EQ(program.wait(), 5);
    side.step("programs have run");
    mirror(side.sock.get());
}

TWO_SIDED(system_leaves_the_socket_alone, kPair | kCold)
void system_leaves_the_socket_alone::client(Side& side) {
    Mirrored talk(side);
    talk.round();
    side.step("programs have run");
    talk.round(50000);
    talk.end();
}
void system_leaves_the_socket_alone::server(Side& side) {
    /* These programs have the socket, and do not use it. */
    StreamReader in(side.sock.get(), 1);
    StreamWriter back(side.sock.get(), 1);
    in.receive(3000);
    back.send(3000);
    CHECK_EQ(system("exit 3") >> 8, 3);
    FILE* pipe = popen("echo read", "r");
    CHECK(pipe != nullptr);
    char line[16] = {};
    CHECK(std::fgets(line, sizeof line, pipe) && std::strcmp(line, "read\n") == 0);
    CHECK_EQ(pclose(pipe), 0);
    side.step("programs have run");
    mirror(side.sock.get());
}

TWO_SIDED(daemon_goes_on, kPair | kCold)
void daemon_goes_on::client(Side& side) {
    talk_and_end(side);
}
void daemon_goes_on::server(Side& side) {
    int ends[2];
    SYS(pipe2(ends, O_CLOEXEC));
    UniqueFd done(ends[0]), tell(ends[1]);
    Child parent([&] {
        if (daemon(0, 0) < 0) /* its parent ends here */
            return 97;
        mirror(side.sock.get());
        return write(tell.get(), "", 1) == 1 ? 0 : 96;
    });
    side.sock.reset();
    tell.reset();
    CHECK_EQ(parent.wait(), 0);
    side.await(done.get(), POLLIN);
    char byte = 1;
    CHECK_EQ(SYS(read(done.get(), &byte, 1)), 1);
}

TWO_SIDED(taken_by_pidfd_getfd, kPair | kCold)
void taken_by_pidfd_getfd::client(Side& side) {
    Mirrored talk(side);
    talk.round();
    side.step("taken");
    talk.round(50000);
    talk.end();
}
void taken_by_pidfd_getfd::server(Side& side) {
    /* A descriptor that came from the process itself, unknown to whoever watches its calls. */
    StreamReader in(side.sock.get(), 1);
    StreamWriter back(side.sock.get(), 1);
    in.receive(3000);
    back.send(3000);
    UniqueFd self = open_pidfd(getpid());
    UniqueFd copy(self.valid() ? pidfd_getfd(self.get(), side.sock.get()) : -1);
    if (!copy.valid())
        throw Skip("pidfd_getfd: " + errno_text(errno));
    CHECK_EQ(peer_address(copy.get()).text(), peer_address(side.sock.get()).text());
    copy.reset(); /* one of two: the connection stays */
    side.step("taken");
    mirror(side.sock.get());
}

TWO_SIDED(numbers_are_given_anew, kPair | kCold)
void numbers_are_given_anew::client(Side& side) {
    const std::uint16_t port = side.hear_port();
    for (int i = 0; i < 5; i++) {
        Mirrored talk(side);
        talk.round();
        talk.end();
        side.step("ended");
        const int number = side.sock.get();
        side.sock.reset();
        /* Whatever was behind it: first a file, then another connection. */
        char byte = 0;
        UniqueFd file(SYS(open("/dev/null", O_WRONLY)));
        if (file.get() != number)
            file.reset(SYS(dup2(file.get(), number)));
        CHECK_EQ(SYS(write(number, "x", 1)), 1);
        CHECK_ERRNO(recv(number, &byte, 1, 0), ENOTSOCK);
        UniqueFd other = side.connect(port);
        file.reset();
        side.sock.reset(SYS(dup2(other.get(), number)));
    }
    Mirrored talk(side);
    talk.round();
    talk.end();
}
void numbers_are_given_anew::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    for (int i = 0; i < 5; i++) {
        mirror(side.sock.get());
        side.step("ended");
        side.sock = side.accept(listener.get());
    }
    mirror(side.sock.get());
}

TWO_SIDED(duplicates_and_their_flags, kPair | kCold)
void duplicates_and_their_flags::client(Side& side) {
    const int fd = side.sock.get();
    auto cloexec = [](int number) { return (SYS(fcntl(number, F_GETFD)) & FD_CLOEXEC) != 0; };
    Mirrored talk(side);
    talk.round();
    CHECK_ERRNO(dup3(fd, fd, 0), EINVAL);
    CHECK_ERRNO(dup3(fd, fd + 50, 0x40), EINVAL);
    CHECK_EQ(SYS(dup2(fd, fd)), fd);
    CHECK_ERRNO(dup2(-1, fd), EBADF);
    CHECK_ERRNO(dup2(fd, -1), EBADF);
    talk.round();
    UniqueFd one(SYS(dup3(fd, fd + 50, O_CLOEXEC)));
    CHECK(one.get() == fd + 50 && cloexec(one.get()) && !cloexec(fd));
    UniqueFd two(SYS(fcntl(fd, F_DUPFD, fd + 60)));
    CHECK(two.get() == fd + 60 && !cloexec(two.get()));
    /* O_NONBLOCK belongs to all of them. */
    set_nonblocking(two.get());
    char byte;
    CHECK_ERRNO(recv(fd, &byte, 1, 0), EAGAIN);
    set_nonblocking(fd, false);
    CHECK_EQ(SYS(fcntl(two.get(), F_GETFL)) & O_NONBLOCK, 0);
    Mirrored other(side, two.get());
    other.out().advance(talk.out().position());
    other.back().skip(talk.back().position());
    one.reset();
    side.sock.reset();
    other.round(50000);
    other.end();
}
void duplicates_and_their_flags::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(close_range_spares_the_rest, kPair | kCold)
void close_range_spares_the_rest::client(Side& side) {
    Mirrored talk(side);
    talk.round();
    const int fd = side.sock.get(), from = fd + 1;
    UniqueFd copy(SYS(fcntl(fd, F_DUPFD, fd + 20)));
    SYS(close_range(static_cast<unsigned>(from + 100), ~0u, CLOSE_RANGE_CLOEXEC));
    talk.round();
    SYS(close_range(static_cast<unsigned>(copy.get()), ~0u, 0));
    CHECK_ERRNO(fcntl(copy.get(), F_GETFD), EBADF);
    CHECK_EQ(copy.release(), fd + 20);
    for (int i = 0; i < 10; i++)
        talk.round();
    SYS(shutdown(fd, SHUT_WR));
    talk.back().expect_end();
}
void close_range_spares_the_rest::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(closefrom_ends_it, kPair | kCold)
void closefrom_ends_it::client(Side& side) {
    Child child([&] {
        Mirrored talk(side);
        talk.round();
        closefrom(3);
        return 0;
    });
    side.sock.reset();
    CHECK_EQ(child.wait(), 0);
    side.step("ended");
}
void closefrom_ends_it::server(Side& side) {
    mirror(side.sock.get());
    side.step("ended");
}

TWO_SIDED(stdio_on_the_socket, kPair | kCold)
void stdio_on_the_socket::client(Side& side) {
    /* Lines, in both directions, by streams of their own. */
    UniqueFd copy(SYS(dup(side.sock.get())));
    FILE* out = fdopen(side.sock.release(), "w");
    FILE* in = fdopen(copy.release(), "r");
    CHECK(out && in);
    char line[64];
    for (int i = 0; i < 200; i++) {
        std::fprintf(out, "line %d\n", i);
        CHECK_EQ(std::fflush(out), 0);
        CHECK(std::fgets(line, sizeof line, in) != nullptr);
        CHECK_EQ(std::string(line), "line " + std::to_string(i) + "\n");
    }
    SYS(shutdown(fileno(out), SHUT_WR));
    CHECK(std::fgets(line, sizeof line, in) == nullptr && std::feof(in));
    CHECK_EQ(std::fclose(out), 0);
    CHECK_EQ(std::fclose(in), 0);
}
void stdio_on_the_socket::server(Side& side) {
    FILE* file = fdopen(side.sock.get(), "r+");
    CHECK(file != nullptr);
    char line[64];
    while (std::fgets(line, sizeof line, file)) {
        /* cppcheck-suppress IOWithoutPositioning ; a socket has no position */
        CHECK(std::fputs(line, file) >= 0);
        CHECK_EQ(std::fflush(file), 0);
    }
    CHECK(std::feof(file));
    CHECK_EQ(side.sock.release(), fileno(file));
    CHECK_EQ(std::fclose(file), 0);
}

TWO_SIDED(fork_with_both_talking, kPair | kCold)
void fork_with_both_talking::client(Side& side) {
    /* Parent and child in turn on the same stream, several times over. */
    Mirrored talk(side);
    talk.round(1000);
    for (int i = 0; i < 4; i++) {
        Child child([&] {
            talk.round(2000);
            return 0;
        });
        CHECK_EQ(child.wait(), 0);
        talk.out().advance(2000);
        talk.back().skip(2000);
        talk.round(1500);
    }
    talk.end();
}
void fork_with_both_talking::server(Side& side) {
    mirror(side.sock.get());
}
