/* SPDX-License-Identifier: GPL-2.0 */
/*
 * host.h - one side's sockets, and the calls on them.
 *
 * A host does what it is ordered and knows nothing of the program. What a call gives is put into
 * words that must not differ between TCP and xway: see README.md for what is left out of them.
 */
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "../socket/side.h"
#include "order.h"

namespace xway::fuzz {

/* The two directions of a connection, as one end has them. */
struct Stream {
    std::uint64_t out_seed = 0, in_seed = 0;
    std::uint64_t sent = 0, taken = 0;
};

struct Handle {
    int fd = -1;
    bool timed = false; /* has SO_RCVTIMEO or SO_SNDTIMEO */
    std::shared_ptr<Stream> stream;
};

struct Pace {
    int block_ms = 5;    /* after which a call that blocks is interrupted */
    int await_ms = 3000; /* for what the other side has caused */
};

class Host {
public:
    /* `peer`: where connects go, with any port. */
    Host(char side, const test::Address& peer, Pace pace);
    ~Host();
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;

    /* Does it; calls `will_block` before a step that may block (Order::block) and does. Never
     * throws for what a socket call says. */
    Result run(const Order& order, const std::function<void()>& will_block);
    [[nodiscard]] int lasting_port() const;

private:
    /* host.cpp */
    bool await(const Await& what);
    Result step(const Step& step);
    Result in_child(const Step& step);
    Result look();
    Result close_all(std::uint64_t waiting);
    bool would_block(const Step& step, Result* instead);
    /* What has moved, when another process has moved it. */
    void note(const Step& step, const Result& result);
    Handle* handle(long number);
    int fd(long number);
    Handle* vacant(long number);

    /* host_open.cpp */
    Result open(const Step& step);
    Result listen(const Step& step);
    Result connect(const Step& step);
    Result accept(const Step& step);
    Result dup(const Step& step);
    Result option(const Step& step);
    Result name(const Step& step);

    /* host_io.cpp */
    Result send(const Step& step);
    Result recv(const Step& step);
    Result sendfile(const Step& step);
    Result splice_to(const Step& step);
    Result splice_of(const Step& step);
    Result more(const Step& step);
    Result drain(const Step& step);
    Result inq(const Step& step);
    Result outq(const Step& step);
    std::vector<std::byte> outgoing(long number, long bytes);
    std::string judge(long number, const std::byte* bytes, long count, std::uint64_t ahead = 0);

    /* host_bulk.cpp */
    Result pump(const Step& step);
    Result receive(const Step& step, std::uint64_t amount);
    Result fill(const Step& step);
    Result refill(const Step& step);

    /* host_ready.cpp */
    Result poll(const Step& step);
    Result poll_all(const Step& step);
    Result select();
    Result epoll_control(const Step& step);
    Result epoll_wait(const Step& step);

    /* A result that is a number or an errno. */
    Result say(long value);
    /* One that is only words; nothing has changed. */
    static Result nothing(const char* why) { return {-1, 0, 0, false, why}; }

    char side_;
    test::Address peer_;
    Pace pace_;
    std::array<Handle, kHandles> handles_;
    Handle lasting_;
    std::array<int, kEpolls> epolls_;
    test::UniqueFd nobody_; /* bound, does not listen */
    unsigned long calls_ = 0;
    const Order* order_ = nullptr; /* that is being done */
};

/* Interrupts calls that block, again and again, while it lives. */
class Interrupter {
public:
    explicit Interrupter(int ms);
    ~Interrupter();
};

/* Handlers for SIGALRM and SIGPIPE; how many SIGPIPEs have come since it was last asked. */
void catch_signals();
int take_pipe_signals();

std::string value_text(long value);

} // namespace xway::fuzz
