/* SPDX-License-Identifier: GPL-2.0 */
/*
 * side.h - what a case's function is given: its end of the control line and of the connection under
 * test.
 */
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "case.h"
#include "check.h"
#include "control.h"
#include "fd.h"
#include "stream.h"

namespace xway::test {

using std::chrono::milliseconds;

struct Address {
    sockaddr_storage storage{};
    socklen_t length = 0;

    [[nodiscard]] const sockaddr* get() const {
        return reinterpret_cast<const sockaddr*>(&storage);
    }
    [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
    [[nodiscard]] int family() const { return storage.ss_family; }
    [[nodiscard]] std::uint16_t port() const;
    void set_port(std::uint16_t port);
    [[nodiscard]] std::string text() const;
};

/* A numeric address, `fe80::1%eth0` included. Throws Failure if it is none. */
Address parse_address(const std::string& text);
Address local_address(int fd);
Address peer_address(int fd);

/* How long things may take; everything that waits derives from it. */
struct Pace {
    double scale = 1;
    milliseconds timeout{20000}; /* of the case, already scaled */
    milliseconds warm{50};       /* between two messages of the warm-up */
};

class Side {
public:
    Side(Control& line, const Case& the_case, Variant way, Pace tempo, bool connects, Address peer)
        : control(line),
          test(the_case),
          variant(way),
          pace(tempo),
          connector(connects),
          client(connects != way.swap),
          peer_(peer) {}

    Control& control;
    const Case& test;
    const Variant variant;
    const Pace pace;
    const bool connector; /* this process connects, the other listens */
    const bool client;    /* this process runs the client function */

    UniqueFd sock; /* kPair: the connection under test */

    void step(std::string_view name) { control.step(name); }
    void tell(std::string_view text) { control.tell(text); }
    std::string hear() { return control.hear(); }
    void tell_number(long long value) { control.tell(std::to_string(value)); }
    std::uint16_t hear_port() { return static_cast<std::uint16_t>(hear_number()); }
    long long hear_number() { return std::stoll(control.hear()); }

    /* AF_INET or AF_INET6, as the variant says. */
    [[nodiscard]] int family() const;
    /* A socket of this family, unconnected. */
    [[nodiscard]] UniqueFd socket(int flags = 0) const;
    /* The other side's address with this port; only for the connecting side. */
    [[nodiscard]] Address peer(std::uint16_t port) const;
    /* A listening socket on a free port (or `port`). `prepare` runs before bind. */
    [[nodiscard]] UniqueFd listen(int backlog = 64, int flags = 0, std::uint16_t port = 0,
                                  const std::function<void(int)>& prepare = {}) const;
    /* Listens and tells the other side the port; the other side calls hear_port(). */
    [[nodiscard]] UniqueFd listen_and_tell(int backlog = 64, int flags = 0);
    [[nodiscard]] UniqueFd connect(std::uint16_t port,
                                   const std::function<void(int)>& prepare = {}) const;
    [[nodiscard]] UniqueFd accept(int listener, int flags = 0) const;

    /* Connects side.sock, `prepare` before; both sides call it. kPair does it by itself. */
    void make_pair(const std::function<void(int)>& prepare = {});
    /* The same, where libxway is in direct mode, with a connection that was made in advance if one
     * comes. With XWAY_CASES_PARKED in the environment make_pair() calls it. */
    void make_parked_pair();
    /* A few small messages to and fro with pauses: after it a connection has settled. Both sides
     * call it. */
    void warm(int fd);
    void warm_up(int fd) {
        if (!variant.cold)
            warm(fd);
    }

    /* This side's outgoing and incoming stream over a connection. */
    [[nodiscard]] StreamWriter out(int fd, std::uint64_t number = 0) const {
        return {fd, seed(client, number)};
    }
    [[nodiscard]] StreamReader in(int fd, std::uint64_t number = 0) const {
        return {fd, seed(!client, number)};
    }
    [[nodiscard]] StreamWriter out() const { return out(sock.get()); }
    /* This side's own stream, as the other side sends it back. */
    [[nodiscard]] StreamReader echo(int fd) const { return {fd, seed(client, 0)}; }
    [[nodiscard]] StreamReader echo() const { return echo(sock.get()); }
    [[nodiscard]] StreamReader in() const { return in(sock.get()); }

    /* A pause that lets the other side block, or a message arrive. Nothing may depend on it. */
    void settle(int times = 1) const;
    [[nodiscard]] int patience_ms() const;
    /* Polls until one of `events` is there and returns all that are; fails after the patience. */
    short await(int fd, short events) const;
    void await_true(const char* what, const std::function<bool()>& holds) const;

private:
    static std::uint64_t seed(bool from_client, std::uint64_t number) {
        return number * 2 + (from_client ? 1 : 0);
    }
    Address peer_;
    UniqueFd parked_from_; /* make_parked_pair()'s listener */
};

/* poll() for one descriptor: the events that are there after at most `timeout_ms`. */
short poll_now(int fd, short events, int timeout_ms = 0);
/* Bytes that could be received now (FIONREAD). */
int waiting(int fd);
void set_nonblocking(int fd, bool on = true);
void set_option(int fd, int level, int name, int value);
int get_option(int fd, int level, int name);
/* SO_LINGER of no time: the close, whenever it comes, is a reset. */
void reset_at_close(int fd);
void close_hard(UniqueFd& fd);
void sleep_ms(int ms);
std::int64_t now_ms();

} // namespace xway::test
