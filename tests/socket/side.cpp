/* SPDX-License-Identifier: GPL-2.0 */
/* side.cpp - addresses, connections and waiting, for the cases. */
#include "side.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>
#include <thread>

namespace xway::test {

std::uint16_t Address::port() const {
    if (family() == AF_INET6)
        return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
    return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

void Address::set_port(std::uint16_t port) {
    if (family() == AF_INET6)
        reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port = htons(port);
    else
        reinterpret_cast<sockaddr_in*>(&storage)->sin_port = htons(port);
}

std::string Address::text() const {
    char host[INET6_ADDRSTRLEN] = "?";
    if (family() == AF_INET6)
        inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr, host,
                  sizeof host);
    else if (family() == AF_INET)
        inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr, host,
                  sizeof host);
    return std::string(host) + " " + std::to_string(port());
}

Address parse_address(const std::string& text) {
    Address a;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&a.storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&a.storage);
    std::string host = text.substr(0, text.find('%'));
    if (inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        a.length = sizeof *v4;
    } else if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        if (host.size() < text.size())
            v6->sin6_scope_id = if_nametoindex(text.c_str() + host.size() + 1);
        a.length = sizeof *v6;
    } else {
        throw Failure("not a numeric address: " + text);
    }
    return a;
}

Address local_address(int fd) {
    Address a;
    a.length = sizeof a.storage;
    SYS(getsockname(fd, a.get(), &a.length));
    return a;
}

Address peer_address(int fd) {
    Address a;
    a.length = sizeof a.storage;
    SYS(getpeername(fd, a.get(), &a.length));
    return a;
}

int Side::family() const {
    return variant.family == Variant::Family::kV4 ? AF_INET : AF_INET6;
}

UniqueFd Side::socket(int flags) const {
    return UniqueFd(SYS(::socket(family(), SOCK_STREAM | flags, 0)));
}

Address Side::peer(std::uint16_t port) const {
    CHECK(connector);
    Address a = peer_;
    if (variant.family == Variant::Family::kMapped) {
        char host[INET_ADDRSTRLEN];
        inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&peer_.storage)->sin_addr, host,
                  sizeof host);
        a = parse_address("::ffff:" + std::string(host));
    }
    a.set_port(port);
    return a;
}

UniqueFd Side::listen(int backlog, int flags, std::uint16_t port,
                      const std::function<void(int)>& prepare) const {
    UniqueFd fd = socket(flags);
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (variant.family == Variant::Family::kV6)
        set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (variant.family == Variant::Family::kMapped)
        set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (prepare)
        prepare(fd.get());
    Address any = parse_address(family() == AF_INET ? "0.0.0.0" : "::");
    any.set_port(port);
    SYS(::bind(fd.get(), any.get(), any.length));
    SYS(::listen(fd.get(), backlog));
    return fd;
}

UniqueFd Side::listen_and_tell(int backlog, int flags) {
    UniqueFd fd = listen(backlog, flags);
    tell_number(local_address(fd.get()).port());
    return fd;
}

UniqueFd Side::connect(std::uint16_t port, const std::function<void(int)>& prepare) const {
    UniqueFd fd = socket();
    if (prepare)
        prepare(fd.get());
    Address to = peer(port);
    SYS(::connect(fd.get(), to.get(), to.length));
    return fd;
}

UniqueFd Side::accept(int listener, int flags) const {
    await(listener, POLLIN);
    return UniqueFd(SYS(::accept4(listener, nullptr, nullptr, flags)));
}

namespace {

std::uint64_t cookie_of(int fd) {
    std::uint64_t cookie = 0;
    socklen_t length = sizeof cookie;
    SYS(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length));
    return cookie;
}

} // namespace

/* In direct mode connect() puts another socket in the place of the program's, once a connection has
 * been made in advance; the first attempts only ask for that. */
void Side::make_parked_pair() {
    constexpr int kTries = 100, kApartMs = 5;
    if (!connector) {
        /* Kept: a connection whose listener is gone is closed by the kernel. */
        parked_from_ = listen_and_tell(8, 0);
        for (;;) {
            sock = accept(parked_from_.get());
            if (hear_number() != 0)
                return;
            sock.reset();
        }
    }
    const std::uint16_t port = hear_port();
    for (int tries = 1;; tries++) {
        sock = socket();
        const std::uint64_t before = cookie_of(sock.get());
        Address to = peer(port);
        SYS(::connect(sock.get(), to.get(), to.length));
        const bool done = cookie_of(sock.get()) != before || tries == kTries;
        tell_number(done);
        if (done)
            return;
        /* Asks for a stock, and learns that it was accepted: none is opened directly before that.
         */
        in(sock.get()).expect_end();
        sleep_ms(kApartMs);
    }
}

void Side::make_pair(const std::function<void(int)>& prepare) {
    if (std::getenv("XWAY_CASES_PARKED") && !prepare &&
        variant.family != Variant::Family::kMapped) {
        make_parked_pair();
    } else if (connector) {
        sock = connect(hear_port(), prepare);
    } else {
        UniqueFd listener = listen(8, 0, 0, prepare);
        tell_number(local_address(listener.get()).port());
        sock = accept(listener.get());
    }
    warm_up(sock.get());
}

void Side::warm(int fd) {
    constexpr std::size_t kSize = 24;
    constexpr int kRounds = 4;
    for (int round = 0; round < kRounds; round++) {
        StreamWriter writer(fd, 0x77 + static_cast<unsigned>(round));
        StreamReader reader(fd, 0x77 + static_cast<unsigned>(round));
        if (connector) {
            writer.send(kSize);
            reader.receive(kSize);
            std::this_thread::sleep_for(pace.warm);
        } else {
            reader.receive(kSize);
            writer.send(kSize);
        }
    }
    step("warm");
}

void Side::settle(int times) const {
    double ms = 60 * times * std::min(pace.scale, 6.0);
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(ms));
}

int Side::patience_ms() const {
    return static_cast<int>(pace.timeout.count() * 7 / 10);
}

short Side::await(int fd, short events) const {
    pollfd p{fd, events, 0};
    std::int64_t end = now_ms() + patience_ms();
    for (;;) {
        int n = ::poll(&p, 1, static_cast<int>(std::max<std::int64_t>(end - now_ms(), 0)));
        if (n < 0 && errno == EINTR)
            continue;
        SYS(n);
        if (n == 0)
            FAIL("poll: events " + std::to_string(events) + " never came");
        return p.revents;
    }
}

void Side::await_true(const char* what, const std::function<bool()>& holds) const {
    std::int64_t end = now_ms() + patience_ms();
    while (!holds()) {
        if (now_ms() > end)
            FAIL("never came true: " + std::string(what));
        sleep_ms(5);
    }
}

short poll_now(int fd, short events, int timeout_ms) {
    pollfd p{fd, events, 0};
    SYS(::poll(&p, 1, timeout_ms));
    return p.revents;
}

int waiting(int fd) {
    int bytes = -1;
    SYS(ioctl(fd, FIONREAD, &bytes));
    return bytes;
}

void set_nonblocking(int fd, bool on) {
    int flags = SYS(fcntl(fd, F_GETFL));
    SYS(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

void reset_at_close(int fd) {
    linger hard{1, 0};
    SYS(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
}

void close_hard(UniqueFd& fd) {
    reset_at_close(fd.get());
    fd.reset();
}

void set_option(int fd, int level, int name, int value) {
    if (setsockopt(fd, level, name, &value, sizeof value) < 0)
        FAIL("setsockopt(" + std::to_string(level) + ", " + std::to_string(name) +
             "): " + errno_text(errno));
}

int get_option(int fd, int level, int name) {
    int value = 0;
    socklen_t length = sizeof value;
    SYS(getsockopt(fd, level, name, &value, &length));
    return value;
}

void sleep_ms(int ms) {
    std::this_thread::sleep_for(milliseconds(ms));
}

std::int64_t now_ms() {
    auto t = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<milliseconds>(t).count();
}

} // namespace xway::test
