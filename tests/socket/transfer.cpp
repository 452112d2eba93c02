/* SPDX-License-Identifier: GPL-2.0 */
/* transfer.cpp - what a connection of xway-transfer sends and receives. */
#include "transfer.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstdio>
#include <cstring>

namespace xway::transfer {

namespace {

using test::pattern_diagnose;
using test::pattern_fill;
using test::pattern_mismatch;

/* The buffers that all connections share: there is one thread. */
std::vector<std::byte> send_buffer(kMaxChunk);
std::vector<std::byte> receive_buffer(kMaxChunk);
std::vector<std::byte> peek_buffer(kMaxChunk);

} // namespace

void Connection::work() {
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

void Connection::fail(const std::string& why) {
    if (finished_)
        return;
    totals_.failed++;
    std::string text = "connection " + std::to_string(hello_.number) + ": " + why + " (sent " +
                       std::to_string(sent_) + ", received " + std::to_string(received_) + " of " +
                       std::to_string(hello_.bytes) + ")";
    std::fprintf(stderr, "%s\n", text.c_str());
    if (totals_.errors.size() < 8)
        totals_.errors.push_back(text);
    finish();
}

void Connection::begin() {
    begun_ = true;
    writable_ = true;
    last_progress_ = begun_at_ = now();
    edge_ = random_.chance(50); /* so that the ends of a connection may differ */
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

void Connection::finish() {
    finished_ = true;
    fd_.reset();
    totals_.done++;
}

std::size_t Connection::pick_size() {
    std::uint64_t kind = random_.below(100), top;
    if (kind < 20)
        top = 16;
    else if (kind < 40)
        top = 1500;
    else if (kind < 75)
        top = 32768;
    else
        top = hello_.max_chunk;
    return static_cast<std::size_t>(1 +
                                    random_.below(std::min<std::uint64_t>(top, hello_.max_chunk)));
}

std::vector<iovec> Connection::cut(std::byte* data, std::size_t n) {
    std::vector<iovec> pieces;
    while (n > 0 && pieces.size() < 12) {
        std::size_t take = random_.chance(15) ? 0 : random_.chance(20) ? 1 : 1 + random_.below(n);
        pieces.push_back({data, take});
        data += take, n -= take;
    }
    if (n > 0)
        pieces.push_back({data, n});
    return pieces;
}

void Connection::write_once() {
    if (out_stage_ == Stage::kData && sent_ == hello_.bytes) {
        set_pending(sent_digest_.value());
        out_stage_ = Stage::kTrailer;
    }
    if (out_stage_ == Stage::kData)
        write_data();
    else
        write_record();
}

void Connection::write_data() {
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

void Connection::write_record() {
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

bool Connection::sent_some(ssize_t r) {
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

void Connection::read_once() {
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

void Connection::check_poll() {
    int waiting = 0;
    if (ioctl(fd_.get(), FIONREAD, &waiting) < 0)
        return fail("FIONREAD: " + std::string(strerrorname_np(errno)));
    pollfd p{fd_.get(), POLLIN, 0};
    ::poll(&p, 1, 0);
    if (waiting > 0 && !(p.revents & POLLIN))
        fail("FIONREAD says " + std::to_string(waiting) + ", poll says nothing");
}

std::size_t Connection::record_size() const {
    if (!begun_)
        return sizeof(Hello);
    if (in_stage_ == Stage::kEnd)
        return record_.size() + 1;
    return in_stage_ == Stage::kTrailer ? sizeof(Trailer) : sizeof(Verdict);
}

void Connection::on_bytes(std::span<const std::byte> bytes) {
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

void Connection::on_record(const std::vector<std::byte>& record) {
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

void Connection::on_end() {
    if (in_stage_ != Stage::kEnd || !begun_)
        return fail("end of file too early");
    in_ended_ = true;
    readable_ = false;
    maybe_finish();
}

void Connection::maybe_finish() {
    if (in_ended_ && out_stage_ == Stage::kEnd)
        finish();
}

} // namespace xway::transfer
