/* SPDX-License-Identifier: GPL-2.0 */
/*
 * local_memcached.cpp - a load for memcached: text protocol, epoll, one thread.
 *
 * Every connection sends `depth` requests at once, nine of ten a get, and the next lot when all
 * answers are there, as redis-benchmark does. All keys exist, and have one length and values of one
 * size: so the length of each answer is known, and its begin and end are checked.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string_view>

#include "local.h"

namespace xway::local {

namespace {

constexpr unsigned kKeys = 1000;

std::string key_of(unsigned number) {
    char text[24];
    std::snprintf(text, sizeof text, "xway:%06u", number % kKeys);
    return text;
}

class Load {
public:
    explicit Load(const Options& o)
        : value_(o.size, 'v'),
          set_tail_(" 0 0 " + std::to_string(o.size) + "\r\n" + value_ + "\r\n"),
          get_head_(" 0 " + std::to_string(o.size) + "\r\n"),
          depth_(o.depth) {}

    /* Appends a request to `out` and the length of its answer to `expected`. */
    void request(bool set, unsigned key, std::string& out,
                 std::vector<std::size_t>& expected) const {
        std::string name = key_of(key);
        if (set) {
            out += "set " + name + set_tail_;
            expected.push_back(kStored.size());
        } else {
            out += "get " + name + "\r\n";
            expected.push_back(6 + name.size() + get_head_.size() + value_.size() + kEnd.size());
        }
    }

    static void check(std::string_view answer) {
        if (answer.starts_with("VALUE xway:") ? !answer.ends_with(kEnd) : answer != kStored)
            throw Broken(
                "memcached answered: " +
                std::string(answer.substr(0, std::min<std::size_t>(60, answer.find('\r')))));
    }

    [[nodiscard]] unsigned depth() const { return depth_; }

private:
    static constexpr std::string_view kStored = "STORED\r\n", kEnd = "\r\nEND\r\n";
    std::string value_, set_tail_, get_head_;
    unsigned depth_;
};

void store_all(const Options& o, const Load& load) {
    Channel channel(connect_patiently(o.address));
    for (unsigned first = 0; first < kKeys; first += 100) {
        std::string out;
        std::vector<std::size_t> expected;
        for (unsigned i = 0; i < 100; i++)
            load.request(true, first + i, out, expected);
        channel.write(out.data(), out.size());
        for (std::size_t length : expected) {
            std::string answer(length, 0);
            if (!channel.read_all(answer.data(), length))
                throw Broken("memcached closed the connection");
            load.check(answer);
        }
    }
}

class Connection {
public:
    Connection(const Options& o, const Load& load, int epoll, unsigned number)
        : load_(load),
          epoll_(epoll),
          random_(number * 2654435761u + 1),
          fd_(connect_patiently(o.address)) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.ptr = this;
        if (fcntl(fd_, F_SETFL, O_NONBLOCK) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd_, &event) < 0)
            broken("epoll");
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() { ::close(fd_); }

    void begin() {
        out_.clear();
        expected_.clear();
        for (unsigned i = 0; i < load_.depth(); i++) {
            random_ = random_ * 1664525u + 1013904223u;
            load_.request((random_ >> 16) % 10 == 0, random_ >> 8, out_, expected_);
        }
        std::size_t all = 0;
        for (std::size_t length : expected_)
            all += length;
        in_.resize(all);
        sent_ = received_ = 0;
        began_ = now_ns();
        send();
    }

    /* True: all answers are there. */
    bool event(std::uint32_t events) {
        if (events & EPOLLOUT)
            send();
        while (received_ < in_.size()) {
            ssize_t n = ::recv(fd_, in_.data() + received_, in_.size() - received_, 0);
            if (n == 0)
                throw Broken("memcached closed a connection");
            if (n < 0 && errno == EAGAIN)
                return false;
            if (n < 0 && errno != EINTR)
                broken("recv");
            received_ += static_cast<std::size_t>(std::max<ssize_t>(0, n));
        }
        std::string_view all = in_;
        for (std::size_t length : expected_) {
            load_.check(all.substr(0, length));
            all.remove_prefix(length);
        }
        return true;
    }

    [[nodiscard]] std::uint64_t began() const { return began_; }

private:
    void send() {
        bool blocked = false;
        while (sent_ < out_.size() && !blocked) {
            ssize_t n = ::send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
            blocked = n < 0 && errno == EAGAIN;
            if (n < 0 && !blocked && errno != EINTR)
                broken("send");
            sent_ += static_cast<std::size_t>(std::max<ssize_t>(0, n));
        }
        if (blocked == writable_wanted_)
            return;
        epoll_event event{};
        event.events = blocked ? EPOLLIN | EPOLLOUT : EPOLLIN;
        event.data.ptr = this;
        if (epoll_ctl(epoll_, EPOLL_CTL_MOD, fd_, &event) < 0)
            broken("epoll");
        writable_wanted_ = blocked;
    }

    const Load& load_;
    int epoll_;
    std::uint32_t random_;
    int fd_;
    std::string out_, in_;
    std::vector<std::size_t> expected_;
    std::size_t sent_ = 0, received_ = 0;
    std::uint64_t began_ = 0;
    bool writable_wanted_ = false;
};

} // namespace

Json memcached(const Options& o) {
    Load load(o);
    store_all(o, load);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        broken("epoll");
    std::vector<std::unique_ptr<Connection>> connections;
    for (unsigned i = 0; i < o.connections; i++)
        connections.push_back(std::make_unique<Connection>(o, load, epoll, i));
    for (auto& connection : connections)
        connection->begin();
    std::vector<float> samples;
    std::uint64_t count = 0, start = now_ns(), end = start;
    Usage before = own_usage();
    while (static_cast<double>(end - start) < o.seconds * 1e9) {
        epoll_event events[64];
        int n = ::epoll_wait(epoll, events, 64, 5000);
        if (n == 0)
            throw Broken("no answer from memcached for five seconds");
        if (n < 0 && errno != EINTR)
            broken("epoll_wait");
        for (int i = 0; i < n; i++) {
            auto* connection = static_cast<Connection*>(events[i].data.ptr);
            if (!connection->event(events[i].events))
                continue;
            end = now_ns();
            if (samples.size() < (4 << 20))
                samples.push_back(static_cast<float>(end - connection->began()) / 1e3F);
            count += o.depth;
            connection->begin();
        }
        end = now_ns();
    }
    double elapsed = static_cast<double>(end - start) / 1e9;
    Usage client = own_usage() - before;
    connections.clear();
    ::close(epoll);
    Json json;
    json.add("test", std::string("memcached")).add("size", static_cast<std::uint64_t>(o.size));
    json.add("connections", static_cast<std::uint64_t>(o.connections));
    json.add("depth", static_cast<std::uint64_t>(o.depth));
    json.add("value", static_cast<double>(count) / elapsed);
    json.add("unit", std::string("requests/s"));
    json.add("p50_us", percentile(samples, 0.5)).add("p99_us", percentile(samples, 0.99));
    json.add("seconds", elapsed).add("count", count).add("client", client);
    return json;
}

} // namespace xway::local
