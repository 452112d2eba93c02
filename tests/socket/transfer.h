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

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "fd.h"
#include "pattern.h"

namespace xway::transfer {

using test::pattern_diagnose;
using test::pattern_fill;
using test::pattern_mismatch;
using test::pattern_word;
using test::UniqueFd;

constexpr std::uint64_t kMagic = 0x31726566736e7274;
constexpr std::size_t kMaxChunk = 1u << 20;

struct Hello {
    std::uint64_t magic, seed, number, bytes, max_chunk;
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

/* The buffers that all connections share: there is one thread. */
inline std::vector<std::byte> send_buffer(kMaxChunk);
inline std::vector<std::byte> receive_buffer(kMaxChunk);
inline std::vector<std::byte> peek_buffer(kMaxChunk);

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
        return begun_ && out_stage_ < Stage::kEnd && !output_waits();
    }
    [[nodiscard]] bool wants_input() const { return !in_ended_; }
    /* It will read again when its pause is over. */
    [[nodiscard]] bool sleeping() const { return !finished_ && readable_ && dawdling(); }
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
    void work() {
        unsigned turns = 1 + static_cast<unsigned>(random_.below(6));
        for (unsigned i = 0; i < turns && !finished_; i++) {
            if (writable_ && wants_output())
                write_once();
            if (readable_ && !finished_ && !dawdling())
                read_once();
        }
        /* A level-triggered descriptor says again what is left. */
        if (!edge_)
            readable_ = writable_ = false;
    }

    void fail(const std::string& why) {
        if (finished_)
            return;
        totals_.failed++;
        std::string text = "connection " + std::to_string(hello_.number) + ": " + why + " (sent " +
                           std::to_string(sent_) + ", received " + std::to_string(received_) +
                           " of " + std::to_string(hello_.bytes) + ")";
        std::fprintf(stderr, "%s\n", text.c_str());
        if (totals_.errors.size() < 8)
            totals_.errors.push_back(text);
        finish();
    }

    /* Decided at the Hello, so that both ends of a connection may differ. */
    void choose_trigger() { edge_ = random_.chance(50); }

private:
    enum class Stage { kHello, kData, kTrailer, kVerdict, kEnd };

    [[nodiscard]] std::uint64_t out_seed() const { return hello_.seed * 4 + (client_ ? 0 : 1); }
    [[nodiscard]] std::uint64_t in_seed() const { return hello_.seed * 4 + (client_ ? 1 : 0); }
    /* The verdict cannot be sent before the other's data has been checked. */
    [[nodiscard]] bool output_waits() const {
        return out_stage_ == Stage::kVerdict && pending_.empty() && in_stage_ < Stage::kVerdict;
    }
    [[nodiscard]] bool dawdling() const {
        return edge_ && dawdle_until_ > 0 && now() < dawdle_until_;
    }

    void begin() {
        begun_ = true;
        writable_ = true;
        last_progress_ = now();
        choose_trigger();
        if (client_)
            set_pending(hello_);
        else
            out_stage_ = Stage::kData;
        if (hello_.bytes == 0)
            in_stage_ = Stage::kTrailer;
        if (random_.chance(30)) {
            int one = 1;
            setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        }
    }

    template <typename T>
    void set_pending(const T& record) {
        const auto* p = reinterpret_cast<const std::byte*>(&record);
        pending_.assign(p, p + sizeof record);
    }

    void finish() {
        finished_ = true;
        fd_.reset();
        totals_.done++;
    }

    [[nodiscard]] std::size_t pick_size() {
        std::uint64_t kind = random_.below(100), top;
        if (kind < 20)
            top = 16;
        else if (kind < 40)
            top = 1500;
        else if (kind < 75)
            top = 32768;
        else
            top = hello_.max_chunk;
        return static_cast<std::size_t>(
            1 + random_.below(std::min<std::uint64_t>(top, hello_.max_chunk)));
    }

    /* Cuts a buffer into pieces for readv and writev, with empty and one-byte ones among them. */
    std::vector<iovec> cut(std::byte* data, std::size_t n) {
        std::vector<iovec> pieces;
        while (n > 0 && pieces.size() < 12) {
            std::size_t take = random_.chance(15)   ? 0
                               : random_.chance(20) ? 1
                                                    : 1 + random_.below(n);
            pieces.push_back({data, take});
            data += take, n -= take;
        }
        if (n > 0)
            pieces.push_back({data, n});
        return pieces;
    }

    void write_once() {
        if (out_stage_ == Stage::kData && sent_ == hello_.bytes) {
            set_pending(sent_digest_.value());
            out_stage_ = Stage::kTrailer;
        }
        if (out_stage_ == Stage::kData)
            write_data();
        else
            write_record();
    }

    void write_data() {
        std::size_t n =
            static_cast<std::size_t>(std::min<std::uint64_t>(pick_size(), hello_.bytes - sent_));
        std::span<std::byte> bytes = std::span(send_buffer).first(n);
        pattern_fill(out_seed(), sent_, bytes);
        std::uint64_t kind = random_.below(100);
        ssize_t r;
        totals_.send_calls++;
        if (kind < 60) {
            r = ::send(fd_.get(), bytes.data(), n, MSG_NOSIGNAL);
        } else if (kind < 75) {
            r = ::send(fd_.get(), bytes.data(), n, MSG_NOSIGNAL | MSG_MORE);
        } else if (kind < 90) {
            auto pieces = cut(bytes.data(), n);
            r = ::writev(fd_.get(), pieces.data(), static_cast<int>(pieces.size()));
        } else {
            auto pieces = cut(bytes.data(), n);
            msghdr m{};
            m.msg_iov = pieces.data();
            m.msg_iovlen = pieces.size();
            r = ::sendmsg(fd_.get(), &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        if (!sent_some(r))
            return;
        sent_digest_.add(bytes.first(static_cast<std::size_t>(r)));
        sent_ += static_cast<std::uint64_t>(r);
        totals_.sent += static_cast<std::uint64_t>(r);
    }

    void write_record() {
        if (pending_.empty()) {
            if (in_stage_ < Stage::kVerdict)
                return;
            set_pending(Verdict{1, received_});
        }
        ssize_t r = ::send(fd_.get(), pending_.data(), pending_.size(), MSG_NOSIGNAL);
        if (!sent_some(r))
            return;
        pending_.erase(pending_.begin(), pending_.begin() + r);
        if (!pending_.empty())
            return;
        if (out_stage_ == Stage::kHello) {
            out_stage_ = Stage::kData;
        } else if (out_stage_ == Stage::kTrailer) {
            out_stage_ = Stage::kVerdict;
        } else if (out_stage_ == Stage::kVerdict) {
            out_stage_ = Stage::kEnd;
            ::shutdown(fd_.get(), SHUT_WR);
            maybe_finish();
        }
    }

    bool sent_some(ssize_t r) {
        if (r > 0) {
            last_progress_ = now();
            return true;
        }
        if (r < 0 && errno == EAGAIN)
            writable_ = false;
        else if (r < 0 && errno != EINTR)
            fail("send: " + std::string(strerrorname_np(errno)));
        return false;
    }

    void read_once() {
        std::byte* data = receive_buffer.data();
        std::size_t n = record_size() - record_.size();
        if (begun_ && in_stage_ == Stage::kData)
            n = static_cast<std::size_t>(
                std::min<std::uint64_t>(pick_size(), hello_.bytes - received_));
        std::uint64_t kind = random_.below(100);
        totals_.receive_calls++;
        ssize_t peeked = -1, r;
        if (kind < 15)
            peeked = ::recv(fd_.get(), peek_buffer.data(), n, MSG_PEEK | MSG_DONTWAIT);
        else if (kind < 20)
            check_poll();
        if (kind < 60 || n == 0) {
            r = ::recv(fd_.get(), data, n, 0);
        } else if (kind < 80) {
            auto pieces = cut(data, n);
            r = ::readv(fd_.get(), pieces.data(), static_cast<int>(pieces.size()));
        } else {
            r = ::read(fd_.get(), data, n);
        }
        if (finished_)
            return;
        if (r < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (peeked > 0)
                return fail("peek saw bytes that recv did not get");
            readable_ = errno == EINTR;
            return;
        }
        if (r < 0)
            return fail("recv: " + std::string(strerrorname_np(errno)));
        last_progress_ = now();
        if (r == 0)
            return on_end();
        std::span<const std::byte> bytes(data, static_cast<std::size_t>(r));
        if (peeked > r || (peeked > 0 && std::memcmp(peek_buffer.data(), data,
                                                     static_cast<std::size_t>(peeked)) != 0))
            return fail("peek saw other bytes than recv at offset " + std::to_string(received_));
        on_bytes(bytes);
        if (random_.below(400) == 0)
            dawdle_until_ = now() + 0.001 * static_cast<double>(random_.below(40));
    }

    /* If bytes are said to wait, poll must say so too. */
    void check_poll() {
        int waiting = 0;
        if (ioctl(fd_.get(), FIONREAD, &waiting) < 0)
            return fail("FIONREAD: " + std::string(strerrorname_np(errno)));
        pollfd p{fd_.get(), POLLIN, 0};
        ::poll(&p, 1, 0);
        if (waiting > 0 && !(p.revents & POLLIN))
            fail("FIONREAD says " + std::to_string(waiting) + ", poll says nothing");
    }

    [[nodiscard]] std::size_t record_size() const {
        if (!begun_)
            return sizeof(Hello);
        if (in_stage_ == Stage::kEnd)
            return record_.size() + 1;
        return in_stage_ == Stage::kTrailer ? sizeof(Trailer) : sizeof(Verdict);
    }

    void on_bytes(std::span<const std::byte> bytes) {
        if (begun_ && in_stage_ == Stage::kData) {
            if (auto bad = pattern_mismatch(in_seed(), received_, bytes))
                return fail(pattern_diagnose(in_seed(), received_ + *bad, bytes.subspan(*bad)));
            received_digest_.add(bytes);
            received_ += bytes.size();
            totals_.received += bytes.size();
            if (received_ == hello_.bytes)
                in_stage_ = Stage::kTrailer;
            return;
        }
        if (in_stage_ == Stage::kEnd)
            return fail("bytes after the end");
        record_.insert(record_.end(), bytes.begin(), bytes.end());
        if (record_.size() < record_size())
            return;
        std::vector<std::byte> record;
        record.swap(record_);
        on_record(record);
    }

    void on_record(const std::vector<std::byte>& record) {
        if (!begun_) {
            std::memcpy(&hello_, record.data(), sizeof hello_);
            if (hello_.magic != kMagic || hello_.max_chunk == 0 || hello_.max_chunk > kMaxChunk)
                return fail("not a transfer client");
            random_ = Random(hello_.seed ^ 0xabcdef);
            begin();
        } else if (in_stage_ == Stage::kTrailer) {
            Trailer theirs, ours = received_digest_.value();
            std::memcpy(&theirs, record.data(), sizeof theirs);
            if (theirs.low != ours.low || theirs.high != ours.high)
                return fail("the digests differ");
            in_stage_ = Stage::kVerdict;
        } else {
            Verdict theirs;
            std::memcpy(&theirs, record.data(), sizeof theirs);
            if (theirs.ok != 1 || theirs.checked != hello_.bytes)
                return fail("the other side is not content");
            in_stage_ = Stage::kEnd;
        }
    }

    void on_end() {
        if (in_stage_ != Stage::kEnd || !begun_)
            return fail("end of file too early");
        in_ended_ = true;
        readable_ = false;
        maybe_finish();
    }

    void maybe_finish() {
        if (in_ended_ && out_stage_ == Stage::kEnd)
            finish();
    }

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
};

} // namespace xway::transfer
