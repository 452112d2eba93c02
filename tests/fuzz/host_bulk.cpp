/* SPDX-License-Identifier: GPL-2.0 */
/* host_bulk.cpp - many bytes, while the other side reads them or does not. */
#include <poll.h>

#include "host.h"

namespace xway::fuzz {

namespace {

/* Sizes and calls of a bulk step: a small generator of its own, so that both sides choose the same
 * in each run. */
class Dice {
public:
    explicit Dice(long seed) : state_(static_cast<std::uint64_t>(seed) * 2654435761u + 1) {}
    long upto(long most) {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<long>((state_ >> 33) % static_cast<std::uint64_t>(most)) + 1;
    }

private:
    std::uint64_t state_;
};

constexpr long kChunk = 20000;
constexpr int kWays = 6;         /* of sending, and of receiving: see Step::b there */
constexpr long kMost = 64 << 20; /* more than any socket takes unread */

} // namespace

Result Host::pump(const Step& step) {
    const std::int64_t end = test::now_ms() + pace_.await_ms;
    Dice dice(step.b);
    Result result;
    Step one = step;
    one.op = Op::kSend;
    while (result.value < step.a) {
        one.a = std::min(dice.upto(kChunk), step.a - result.value);
        one.b = dice.upto(kWays) - 1;
        one.flags = one.b != 2 && one.b != 3 && dice.upto(2) == 1 ? MSG_DONTWAIT : 0;
        const Result part = send(one);
        calls_++;
        if (part.value > 0) {
            result.value += part.value;
            continue;
        }
        const bool again = part.text == "EAGAIN" || part.text == "EINTR";
        if (!again || test::now_ms() > end) {
            result.text = std::to_string(result.value) + " then " + part.text;
            return result;
        }
        pollfd p{fd(step.h), POLLOUT, 0};
        ::poll(&p, 1, pace_.block_ms);
    }
    result.text = std::to_string(result.value);
    return result;
}

Result Host::receive(const Step& step, std::uint64_t amount) {
    const std::int64_t end = test::now_ms() + pace_.await_ms;
    Dice dice(step.b + 1);
    Result result;
    Step one = step;
    one.op = Op::kRecv;
    const Interrupter interrupter(pace_.block_ms);
    std::string bad;
    while (static_cast<std::uint64_t>(result.value) < amount) {
        one.a = std::min(dice.upto(kChunk), static_cast<long>(amount) - result.value);
        one.b = dice.upto(kWays) - 1;
        one.flags = one.b != 2 && one.b != 3 && dice.upto(2) == 1 ? MSG_DONTWAIT : 0;
        const Result part = recv(one);
        calls_++;
        if (part.value > 0) {
            result.value += part.value;
            if (part.text.find(" ok") == part.text.npos)
                bad += " (" + part.text + ")";
            continue;
        }
        const bool again = part.text == "EAGAIN" || part.text == "EINTR";
        if (!again || test::now_ms() > end) {
            result.text = std::to_string(result.value) + bad + " then " + part.text;
            return result;
        }
        pollfd p{fd(step.h), POLLIN, 0};
        ::poll(&p, 1, pace_.block_ms);
    }
    result.text = std::to_string(result.value) + bad;
    return result;
}

Result Host::fill(const Step& step) {
    Result result;
    Step one = step;
    one.op = Op::kSend;
    one.a = 16384;
    one.b = 0;
    one.flags = MSG_DONTWAIT;
    while (result.value < kMost) {
        const Result part = send(one);
        calls_++;
        if (part.value > 0) {
            result.value += part.value;
            continue;
        }
        result.text = "full: " + part.text;
        break;
    }
    return result;
}

Result Host::refill(const Step& step) {
    pollfd p{fd(step.h), POLLOUT, 0};
    const int n = ::poll(&p, 1, pace_.await_ms);
    calls_++;
    return nothing(n == 1
                       ? flags_text(FlagKind::kPoll, static_cast<unsigned short>(p.revents)).c_str()
                       : "never OUT");
}

} // namespace xway::fuzz
