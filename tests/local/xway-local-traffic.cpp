/* SPDX-License-Identifier: GPL-2.0 */
/*
 * xway-local-traffic.cpp - checked traffic without end, for processes that are killed in the middle
 * of it.
 *
 *   xway-local-traffic serve     says `port N`, then answers connections
 *   xway-local-traffic run       `connect PORT` on its standard input begins, see kWorkers
 *
 * Both answer `status` with a line of counters; run takes `finish`: each connection comes to its
 * proper end. The end of the standard input ends the program.
 *
 * Every byte is a function of its position (tests/socket/pattern.h). A connection that ends where
 * it should not is cut, and counted; a byte that is wrong, missing or too many is said in a line
 * `wrong ...` and ends the program with status 3.
 *
 * Up, to the server: frames of a head and so many bytes; the head says how many are wanted back.
 * Down: chunks of a length and so many bytes; a length of 0 ends, with the number of bytes that
 * have come up.
 */
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../socket/pattern.h"

namespace {

using namespace xway::test;

constexpr std::size_t kMost = 150000;               /* bytes of a frame or a chunk */
constexpr std::uint64_t kDown = 0x5555555555555555; /* makes the other direction another stream */

enum Kind : std::uint32_t { kRequests, kUp, kDownload, kBoth };

/* What each thread of `run` does, one connection after the other; the first of a kind never ends
 * its connection. */
constexpr Kind kWorkers[] = {kRequests, kUp, kDownload, kBoth, kRequests,
                             kRequests, kUp, kDownload, kBoth};
constexpr unsigned kLongOnes = 4;

struct Hello {
    std::uint64_t seed;
    std::uint32_t kind;
    std::uint32_t pad;
};

struct Head {
    std::uint32_t bytes, wanted;
};

struct Cut {};

struct Counters {
    std::atomic<std::uint64_t> begun{0}, live{0}, ended{0}, cut{0}, bytes{0};
} counters;

std::atomic<bool> finishing{false};

[[noreturn]] void wrong(const std::string& what) {
    std::printf("wrong %s\n", what.c_str());
    std::fflush(stdout);
    _exit(3);
}

/* Ends with the thing that it counts. */
struct Live {
    Live() { counters.live++, counters.begun++; }
    ~Live() { counters.live--; }
    Live(const Live&) = delete;
    Live& operator=(const Live&) = delete;
};

/* One direction of a connection, in one thread: calls of all kinds, in sizes of all kinds. */
class Line {
public:
    Line(int fd, std::uint64_t seed, const char* name)
        : fd_(fd), seed_(seed), name_(name), random_(std::random_device{}()) {}

    std::size_t below(std::size_t most) { return random_() % most; }

    /* Small ones are as frequent as large ones. */
    std::size_t size() { return 1 + below(std::size_t{1} << (1 + below(17))); }

    void rest() {
        if (below(4) == 0)
            usleep(static_cast<useconds_t>(below(2000)));
    }

    void send_plain(const void* data, std::size_t n) {
        send_all(static_cast<const std::byte*>(data), n);
    }

    void send_pattern(std::size_t n) {
        buffer_.resize(n);
        pattern_fill(seed_, position, buffer_);
        send_all(buffer_.data(), n);
        position += n;
        counters.bytes += n;
    }

    /* False: the stream has ended before the first byte. */
    bool receive_plain(void* data, std::size_t n) {
        auto* to = static_cast<std::byte*>(data);
        for (std::size_t done = 0; done < n;) {
            const std::size_t got = receive_some(to + done, n - done);
            if (got == 0 && done == 0)
                return false;
            if (got == 0)
                throw Cut{};
            done += got;
        }
        return true;
    }

    void receive_pattern(std::size_t n) {
        buffer_.resize(kMost);
        while (n > 0) {
            const std::size_t got = receive_some(buffer_.data(), std::min(n, size()));
            if (got == 0)
                throw Cut{};
            check(std::span(buffer_.data(), got));
            position += got;
            counters.bytes += got;
            n -= got;
        }
    }

    std::uint64_t position = 0;

private:
    void check(std::span<const std::byte> seen) {
        if (auto at = pattern_mismatch(seed_, position, seen))
            wrong(std::string(name_) + ": " +
                  pattern_diagnose(seed_, position + *at, seen.subspan(*at)));
    }

    void fail(const char* call) {
        if (errno != ECONNRESET && errno != EPIPE)
            wrong(std::string(name_) + ": " + call + ": " + strerrorname_np(errno));
        throw Cut{};
    }

    void send_all(const std::byte* data, std::size_t n) {
        while (n > 0) {
            const std::size_t now = std::min(n, size());
            iovec parts[2] = {{const_cast<std::byte*>(data), now / 2},
                              {const_cast<std::byte*>(data) + now / 2, now - now / 2}};
            const std::size_t how = below(3);
            const ssize_t sent = how == 0   ? ::send(fd_, data, now, MSG_NOSIGNAL)
                                 : how == 1 ? ::write(fd_, data, now)
                                            : ::writev(fd_, parts, 2);
            if (sent < 0)
                fail("send");
            data += sent;
            n -= static_cast<std::size_t>(sent);
        }
    }

    std::size_t receive_some(std::byte* data, std::size_t n) {
        iovec parts[2] = {{data, n / 2}, {data + n / 2, n - n / 2}};
        const std::size_t how = below(5);
        pollfd ready{fd_, POLLIN, 0};
        if (how == 0)
            ::poll(&ready, 1, -1);
        const ssize_t got = how == 1   ? ::readv(fd_, parts, 2)
                            : how == 2 ? ::read(fd_, data, n)
                                       : ::recv(fd_, data, n, how == 3 ? MSG_WAITALL : 0);
        if (got < 0)
            fail("receive");
        return static_cast<std::size_t>(got);
    }

    int fd_;
    std::uint64_t seed_;
    const char* name_;
    std::minstd_rand random_;
    std::vector<std::byte> buffer_;
};

/* ---- the server's side ---- */

void send_chunk(Line& down, std::size_t bytes) {
    const auto length = static_cast<std::uint32_t>(bytes);
    down.send_plain(&length, sizeof length);
    down.send_pattern(bytes);
}

/* Takes frames until the client has shut down. */
void take_frames(Line& up, Line& down) {
    Head head;
    while (up.receive_plain(&head, sizeof head)) {
        if (head.bytes > kMost || head.wanted > kMost)
            wrong("server: no frame begins here");
        up.receive_pattern(head.bytes);
        if (head.wanted > 0)
            send_chunk(down, head.wanted);
        up.rest();
    }
}

void answer(int fd) {
    const Live live;
    Hello hello{};
    Line first(fd, 0, "hello");
    if (!first.receive_plain(&hello, sizeof hello))
        throw Cut{};
    Line up(fd, hello.seed, "up"), down(fd, hello.seed ^ kDown, "down");
    std::atomic<bool> over{false}, is_cut{false};
    std::thread sender;
    if (hello.kind == kDownload || hello.kind == kBoth)
        sender = std::thread([&] {
            try {
                while (!over) {
                    send_chunk(down, down.size());
                    down.rest();
                }
            } catch (const Cut&) {
                is_cut = true;
            }
        });
    try {
        take_frames(up, down);
    } catch (const Cut&) {
        is_cut = true;
    }
    over = true;
    if (sender.joinable())
        sender.join();
    if (is_cut)
        throw Cut{};
    const std::uint32_t end = 0;
    down.send_plain(&end, sizeof end);
    down.send_plain(&up.position, sizeof up.position);
    counters.ended++;
}

void guarded(void (*work)(int), int fd) {
    try {
        work(fd);
    } catch (const Cut&) {
        counters.cut++;
    }
    close(fd);
}

void accept_all(int listener) {
    for (;;) {
        const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0)
            std::thread(guarded, answer, fd).detach();
    }
}

/* ---- the client's side ---- */

/* False: it was the last. */
bool receive_chunk(Line& down, std::uint64_t* received_up) {
    std::uint32_t length;
    if (!down.receive_plain(&length, sizeof length))
        throw Cut{};
    if (length > kMost)
        wrong("client: no chunk begins here");
    if (length == 0 && !down.receive_plain(received_up, sizeof *received_up))
        throw Cut{};
    down.receive_pattern(length);
    return length != 0;
}

void receive_chunks(Line& down, std::uint64_t* received_up) {
    while (receive_chunk(down, received_up))
        down.rest();
}

void ask(int fd, Kind kind, bool is_long) {
    const Live live;
    Hello hello{std::random_device{}(), kind, 0};
    Line up(fd, hello.seed, "up"), down(fd, hello.seed ^ kDown, "down");
    up.send_plain(&hello, sizeof hello);

    std::uint64_t received_up = ~0ull;
    std::atomic<bool> is_cut{false};
    std::thread receiver;
    if (kind == kDownload || kind == kBoth)
        receiver = std::thread([&] {
            try {
                receive_chunks(down, &received_up);
            } catch (const Cut&) {
                is_cut = true;
            }
        });
    const std::size_t turns = 1 + up.below(40);
    try {
        for (std::size_t i = 0; (is_long || i < turns) && !finishing && !is_cut; i++) {
            const auto bytes = static_cast<std::uint32_t>(kind == kDownload ? 0 : up.size());
            const Head head{bytes, kind == kRequests ? static_cast<std::uint32_t>(up.size()) : 0};
            if (kind == kDownload) {
                usleep(1000);
                continue;
            }
            up.send_plain(&head, sizeof head);
            up.send_pattern(bytes);
            if (kind == kRequests && !receive_chunk(down, &received_up))
                wrong("client: the server ends first");
            up.rest();
        }
    } catch (const Cut&) {
        is_cut = true;
    }
    shutdown(fd, SHUT_WR);
    try {
        if (receiver.joinable())
            receiver.join();
        else if (!is_cut)
            receive_chunks(down, &received_up);
        char more;
        if (!is_cut && down.receive_plain(&more, 1))
            wrong("client: bytes come after the end");
    } catch (const Cut&) {
        is_cut = true;
    }
    if (is_cut)
        throw Cut{};
    if (received_up != up.position)
        wrong("client: " + std::to_string(up.position) + " bytes were sent, " +
              std::to_string(received_up) + " were received");
    counters.ended++;
}

void work(std::uint16_t port, Kind kind, bool is_long) {
    while (!finishing) {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(port);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) < 0) {
            close(fd);
            return; /* the server is gone */
        }
        try {
            ask(fd, kind, is_long);
        } catch (const Cut&) {
            counters.cut++;
            close(fd);
            return;
        }
        close(fd);
    }
}

/* ---- both ---- */

std::atomic<unsigned> workers{0};

void start_workers(std::uint16_t port) {
    finishing = false;
    for (unsigned i = 0; i < std::size(kWorkers); i++) {
        workers++;
        std::thread([port, i] {
            work(port, kWorkers[i], i < kLongOnes);
            workers--;
        }).detach();
    }
}

void obey() {
    for (std::string word; std::cin >> word;) {
        if (word == "connect") {
            std::uint16_t port = 0;
            std::cin >> port;
            start_workers(port);
        } else if (word == "finish") {
            finishing = true;
        }
        std::printf("begun=%lu live=%lu ended=%lu cut=%lu bytes=%lu workers=%u\n",
                    counters.begun.load(), counters.live.load(), counters.ended.load(),
                    counters.cut.load(), counters.bytes.load(), workers.load());
        std::fflush(stdout);
    }
}

void serve() {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof here;
    if (bind(listener, reinterpret_cast<sockaddr*>(&here), size) < 0 || listen(listener, 64) < 0 ||
        getsockname(listener, reinterpret_cast<sockaddr*>(&here), &size) < 0)
        wrong("server: cannot listen");
    std::printf("port %u\n", ntohs(here.sin_port));
    std::fflush(stdout);
    std::thread(accept_all, listener).detach();
}

} // namespace

int main(int argc, char** argv) {
    const std::string role = argc == 2 ? argv[1] : "";
    if (role != "serve" && role != "run") {
        std::fputs("usage: xway-local-traffic serve|run\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (role == "serve")
        serve();
    obey();
    _exit(0);
}
