/* SPDX-License-Identifier: GPL-2.0 */
/*
 * order.h - what the player asks one side to do, and what that side answers; both are one line of
 * text when the side is the server.
 */
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "step.h"

namespace xway::fuzz {

/* What must have come before the step is made: the other side has caused it already. */
struct Await {
    enum class Kind : char {
        kBytes = 'i',     /* FIONREAD says `amount` */
        kEnd = 'r',       /* poll says RDHUP */
        kReset = 'e',     /* poll says ERR */
        kPending = 'a',   /* poll of a listener says IN */
        kConnected = 'w', /* poll says OUT */
    };
    Kind kind = Kind::kBytes;
    long handle = 0;
    std::uint64_t amount = 0;

    [[nodiscard]] std::string text() const;
};

struct Order {
    enum class What {
        kStep,
        kSettle,   /* only awaits */
        kReceive,  /* the other half of kPump: reads `amount` bytes from handle h */
        kRefill,   /* the end of kFill: waits until h can be written to again */
        kLook,     /* says of every handle what poll, reading to the end, and SO_ERROR say */
        kCloseAll, /* closes all, and `amount` connections that wait at the lasting listener */
    };
    What what = What::kStep;
    Step step;
    std::vector<Await> awaits;
    int port = 0;       /* kConnect: where to; 0: nobody */
    int connection = 0; /* kConnect, kAccept: its number, from which its bytes follow */
    bool block = false; /* the step may block until the other side acts */
    int delay_ms = 0;   /* before the step is made */
    std::uint64_t amount = 0;

    [[nodiscard]] std::string line() const;
    static Order parse(const std::string& line);
};

struct Result {
    long value = 0; /* of the call; of steps of several, the bytes that have been moved */
    int port = 0;   /* kListen: the port */
    unsigned long calls = 0;
    bool lost = false; /* what was awaited has not come; the step was not made */
    std::string text;  /* all that is compared */

    [[nodiscard]] std::string line() const;
    static Result parse(const std::string& line);
};

} // namespace xway::fuzz
