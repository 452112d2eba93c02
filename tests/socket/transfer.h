/* SPDX-License-Identifier: GPL-2.0 */
/*
 * transfer.h - one connection of xway-transfer.
 *
 * The client sends a Hello; then each side sends `bytes` patterned bytes, a Trailer with their
 * digest, and, once it has received and checked the other's, a Verdict; then it ends its direction.
 * Sizes and kinds of calls are random, half of the connections are edge-triggered, some readers
 * dawdle.
 */
#pragma once

#include <sys/epoll.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <bit>
#include <chrono>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "fd.h"
#include "pattern.h"

namespace xway::transfer {

using test::pattern_word;
using test::UniqueFd;

constexpr std::uint64_t kMagic = 0x31726566736e7274;
constexpr std::size_t kMaxChunk = 1u << 20;

struct Hello {
    std::uint64_t magic, seed, number, bytes, max_chunk;
    std::uint64_t rate; /* bytes a second that each side sends on average; 0: as fast as it can */
};
struct Trailer {
    std::uint64_t low, high;
};
struct Verdict {
    std::uint64_t ok, checked;
};

inline double now() {
    auto t = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(t).count();
}

class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed * 2 + 1) {}
    std::uint64_t next() { return pattern_word(0x5eed, state_++); }
    std::uint64_t below(std::uint64_t n) { return (next() >> 20) % n; }
    bool chance(unsigned percent) { return below(100) < percent; }

private:
    std::uint64_t state_;
};

/* A digest of 128 bits over a stream of bytes, the same however the stream is cut. */
class Digest {
public:
    void add(std::span<const std::byte> bytes) {
        const std::byte* p = bytes.data();
        std::size_t n = bytes.size();
        length_ += n;
        while (n > 0 && held_ != 0)
            add_byte(*p++), n--;
        for (; n >= 8; p += 8, n -= 8) {
            std::uint64_t word;
            std::memcpy(&word, p, 8);
            mix(word);
        }
        while (n > 0)
            add_byte(*p++), n--;
    }
    [[nodiscard]] Trailer value() const {
        Digest end = *this;
        end.mix(end.partial_);
        end.mix(length_);
        return {end.low_, end.high_};
    }

private:
    void add_byte(std::byte b) {
        partial_ |= static_cast<std::uint64_t>(b) << (held_ * 8);
        if (++held_ == 8) {
            mix(partial_);
            partial_ = 0, held_ = 0;
        }
    }
    void mix(std::uint64_t word) {
        low_ = std::rotl(low_ ^ word, 27) * 0x9e3779b97f4a7c15u;
        high_ = std::rotl(high_ + word, 31) * 0xc2b2ae3d27d4eb4fu;
    }
    std::uint64_t low_ = 1, high_ = 2, partial_ = 0, length_ = 0;
    unsigned held_ = 0;
};

/* What the whole process counts. */
struct Totals {
    std::uint64_t sent = 0, received = 0, done = 0, failed = 0, opened = 0;
    std::uint64_t send_calls = 0, receive_calls = 0;
    std::vector<std::string> errors;
};

class Connection {
public:
    Connection(UniqueFd fd, bool client, Hello hello, Totals& totals)
        : fd_(std::move(fd)),
          client_(client),
          hello_(hello),
          totals_(totals),
          random_(hello.seed ^ client) {
        if (client)
            begin();
    }

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] bool finished() const { return finished_; }
    [[nodiscard]] bool edge() const { return edge_; }
    [[nodiscard]] double last_progress() const { return last_progress_; }
    [[nodiscard]] bool wants_output() const {
        return begun_ && out_stage_ < Stage::kEnd && !output_waits() && !ahead();
    }
    [[nodiscard]] bool wants_input() const { return !in_ended_; }
    /* It will read again when its pause is over. */
    [[nodiscard]] bool sleeping() const { return !finished_ && readable_ && dawdling(); }
    /* It sends by the clock: nobody else says when it may go on. */
    [[nodiscard]] bool paced() const {
        return begun_ && !finished_ && hello_.rate != 0 && out_stage_ == Stage::kData;
    }
    /* More can be done without a new event. */
    [[nodiscard]] bool ready() const {
        return !finished_ && ((readable_ && !dawdling()) || (writable_ && wants_output()));
    }

    void on_events(std::uint32_t events) {
        if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            readable_ = true;
        if (events & (EPOLLOUT | EPOLLERR))
            writable_ = true;
    }

    /* A few calls in each direction, so that no connection keeps the others waiting. */
    void work();
    void fail(const std::string& why);

private:
    enum class Stage { kHello, kData, kTrailer, kVerdict, kEnd };

    [[nodiscard]] std::uint64_t out_seed() const { return hello_.seed * 4 + (client_ ? 0 : 1); }
    [[nodiscard]] std::uint64_t in_seed() const { return hello_.seed * 4 + (client_ ? 1 : 0); }
    /* The verdict cannot be sent before the other's data has been checked. */
    [[nodiscard]] bool output_waits() const {
        return out_stage_ == Stage::kVerdict && pending_.empty() && in_stage_ < Stage::kVerdict;
    }
    /* Of its rate. */
    [[nodiscard]] bool ahead() const {
        return paced() &&
               static_cast<double>(sent_) > static_cast<double>(hello_.rate) * (now() - begun_at_);
    }
    [[nodiscard]] bool dawdling() const {
        return edge_ && dawdle_until_ > 0 && now() < dawdle_until_;
    }

    template <typename T>
    void set_pending(const T& record) {
        const auto* p = reinterpret_cast<const std::byte*>(&record);
        pending_.assign(p, p + sizeof record);
    }

    void begin();
    void finish();
    [[nodiscard]] std::size_t pick_size();
    /* Cuts a buffer into pieces for readv and writev, with empty and one-byte ones among them. */
    std::vector<iovec> cut(std::byte* data, std::size_t n);
    void write_once();
    void write_data();
    void write_record();
    bool sent_some(ssize_t r);
    void read_once();
    /* If bytes are said to wait, poll must say so too. */
    void check_poll();
    [[nodiscard]] std::size_t record_size() const;
    void on_bytes(std::span<const std::byte> bytes);
    void on_record(const std::vector<std::byte>& record);
    void on_end();
    void maybe_finish();

    UniqueFd fd_;
    const bool client_;
    Hello hello_;
    Totals& totals_;
    Random random_;
    bool begun_ = false, edge_ = false, readable_ = false, writable_ = false, finished_ = false;
    bool in_ended_ = false;
    Stage out_stage_ = Stage::kHello;
    Stage in_stage_ = Stage::kData;
    std::uint64_t sent_ = 0, received_ = 0;
    Digest sent_digest_, received_digest_;
    std::vector<std::byte> pending_, record_;
    double last_progress_ = now();
    double dawdle_until_ = 0;
    double begun_at_ = 0;
};

} // namespace xway::transfer
