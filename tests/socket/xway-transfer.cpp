/* SPDX-License-Identifier: GPL-2.0 */
/*
 * xway-transfer.cpp - many connections at once, both directions of each at full speed, every byte
 * checked.
 *
 * One thread, one epoll. What a connection does is in transfer.cpp.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "transfer.h"

using namespace xway::transfer;

namespace {

/* The connections of this process, and the one loop that drives them. */
class Engine {
public:
    explicit Engine(double idle_limit)
        : epoll_(epoll_create1(EPOLL_CLOEXEC)), idle_limit_(idle_limit) {}

    void add(UniqueFd fd, bool client, const Hello& hello) {
        slots_.push_back(std::make_unique<Slot>(std::move(fd), client, hello, totals));
        totals.opened++;
        if (!held_)
            begin(*slots_.back());
    }

    /* Connections are opened and do nothing, until they are released. */
    void hold() { held_ = true; }
    void release() {
        if (!std::exchange(held_, false))
            return;
        for (const auto& slot : slots_)
            begin(*slot);
    }

    void watch_listener(int fd) {
        epoll_event e{};
        e.events = EPOLLIN;
        epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e);
        listener_ = fd;
    }

    /* One round: wait, then let each connection that can do something do a little. */
    void turn() {
        epoll_event events[256];
        int timeout = !queue_.empty() ? 0 : held_ ? 1 : sleepers_ ? 5 : 500;
        int n = epoll_wait(epoll_.get(), events, 256, timeout);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr) {
                accept_all();
                continue;
            }
            auto* slot = static_cast<Slot*>(events[i].data.ptr);
            slot->connection.on_events(events[i].events);
            enqueue(slot);
        }
        for (std::size_t left = queue_.size(); left > 0; left--) {
            Slot* slot = queue_.front();
            queue_.pop_front();
            slot->queued = false;
            step(*slot);
        }
        if (now() - last_sweep_ > 0.005)
            sweep();
    }

    [[nodiscard]] std::size_t active() const { return slots_.size(); }
    Totals totals;

private:
    struct Slot {
        Slot(UniqueFd fd, bool client, const Hello& hello, Totals& t)
            : connection(std::move(fd), client, hello, t) {}
        Connection connection;
        std::uint32_t events = 0;
        bool queued = false;
    };

    static epoll_event wanted(Slot& slot) {
        epoll_event e{};
        Connection& c = slot.connection;
        if (c.edge())
            e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        else
            e.events =
                (c.wants_input() ? EPOLLIN | EPOLLRDHUP : 0u) | (c.wants_output() ? EPOLLOUT : 0u);
        e.data.ptr = &slot;
        return e;
    }

    void begin(Slot& slot) {
        epoll_event e = wanted(slot);
        slot.events = e.events;
        epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, slot.connection.fd(), &e);
        enqueue(&slot);
    }

    void enqueue(Slot* slot) {
        if (!slot->queued)
            queue_.push_back(slot);
        slot->queued = true;
    }

    void step(Slot& slot) {
        Connection& c = slot.connection;
        if (c.finished())
            return;
        c.work();
        if (c.finished())
            return;
        epoll_event e = wanted(slot);
        if (e.events != slot.events) {
            slot.events = e.events;
            epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, c.fd(), &e);
        }
        if (c.ready())
            enqueue(&slot);
    }

    void accept_all() {
        for (;;) {
            UniqueFd fd(accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (!fd.valid())
                return;
            add(std::move(fd), false, Hello{});
        }
    }

    /* Wakes those that dawdled, fails those that are stuck, forgets those that are done. */
    void sweep() {
        last_sweep_ = now();
        sleepers_ = false;
        for (auto& slot : slots_) {
            Connection& c = slot->connection;
            if (!c.finished() && last_sweep_ - c.last_progress() > idle_limit_)
                c.fail("no progress for " + std::to_string(static_cast<int>(idle_limit_)) + " s");
            sleepers_ = sleepers_ || c.sleeping() || c.paced();
            if (c.ready() || c.paced())
                enqueue(slot.get());
        }
        std::erase_if(
            slots_, [](const auto& slot) { return slot->connection.finished() && !slot->queued; });
    }

    UniqueFd epoll_;
    double idle_limit_;
    int listener_ = -1;
    std::vector<std::unique_ptr<Slot>> slots_;
    std::deque<Slot*> queue_;
    bool held_ = false, sleepers_ = false;
    double last_sweep_ = 0;
};

class Progress {
public:
    void tell(const Engine& engine) {
        double t = now();
        if (t - last_ < 5)
            return;
        const Totals& n = engine.totals;
        if (n.sent + n.received != last_bytes_)
            std::fprintf(stderr,
                         "transfer: %zu connections, %llu done, %llu failed, sent %.1f MiB, "
                         "received %.1f MiB\n",
                         engine.active(), static_cast<unsigned long long>(n.done),
                         static_cast<unsigned long long>(n.failed),
                         static_cast<double>(n.sent) / 1048576,
                         static_cast<double>(n.received) / 1048576);
        last_ = t;
        last_bytes_ = n.sent + n.received;
    }

private:
    double last_ = now();
    std::uint64_t last_bytes_ = 0;
};

struct Options {
    std::string role, peer;
    std::uint16_t port = 7711;
    std::uint64_t connections = 1, bytes = 1 << 20, seed = 1, max_chunk = 128 << 10, rate = 0;
    double idle = 120;
    double rest =
        -1; /* seconds for which all are open before the first byte; < 0: they need not be */
};

struct Usage {};

std::uint64_t parse_size(const std::string& text) {
    char* end = nullptr;
    std::uint64_t n = std::strtoull(text.c_str(), &end, 10);
    switch (*end) {
    case 'G': n <<= 10; [[fallthrough]];
    case 'M': n <<= 10; [[fallthrough]];
    case 'K':
        n <<= 10;
        end++;
        break;
    default: break;
    }
    if (*end || end == text.c_str())
        throw Usage{};
    return n;
}

Options parse(int argc, char** argv) {
    Options o;
    if (argc < 2)
        throw Usage{};
    o.role = argv[1];
    for (int i = 2; i < argc; i += 2) {
        std::string name = argv[i];
        if (i + 1 >= argc)
            throw Usage{};
        std::string value = argv[i + 1];
        if (name == "--peer")
            o.peer = value;
        else if (name == "--port")
            o.port = static_cast<std::uint16_t>(parse_size(value));
        else if (name == "--connections")
            o.connections = parse_size(value);
        else if (name == "--bytes")
            o.bytes = parse_size(value);
        else if (name == "--seed")
            o.seed = parse_size(value);
        else if (name == "--max-chunk")
            o.max_chunk = std::clamp<std::uint64_t>(parse_size(value), 1, kMaxChunk);
        else if (name == "--rate")
            o.rate = parse_size(value);
        else if (name == "--idle")
            o.idle = static_cast<double>(parse_size(value));
        else if (name == "--rest")
            o.rest = static_cast<double>(parse_size(value));
        else
            throw Usage{};
    }
    return o;
}

int serve(const Options& o) {
    UniqueFd fd(::socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    bool v6 = fd.valid();
    if (!v6)
        fd.reset(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    int on = 1, off = 0;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(o.port);
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_port = htons(o.port);
    if (v6)
        setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    int bound = v6 ? ::bind(fd.get(), reinterpret_cast<sockaddr*>(&six), sizeof six)
                   : ::bind(fd.get(), reinterpret_cast<sockaddr*>(&four), sizeof four);
    if (bound < 0 || ::listen(fd.get(), 4096) < 0) {
        std::perror("xway-transfer: listen");
        return 1;
    }
    Engine engine(o.idle * 3);
    engine.watch_listener(fd.get());
    std::printf("serving on port %u\n", o.port);
    std::fflush(stdout);
    Progress progress;
    for (;;) {
        engine.turn();
        progress.tell(engine);
    }
}

bool open_connection(const Options& o, std::uint64_t number, Engine& engine) {
    sockaddr_in four{};
    sockaddr_in6 six{};
    four.sin_family = AF_INET;
    six.sin6_family = AF_INET6;
    four.sin_port = six.sin6_port = htons(o.port);
    bool v4 = inet_pton(AF_INET, o.peer.c_str(), &four.sin_addr) == 1;
    if (!v4 && inet_pton(AF_INET6, o.peer.c_str(), &six.sin6_addr) != 1)
        throw Usage{};
    UniqueFd fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    int r = v4 ? ::connect(fd.get(), reinterpret_cast<sockaddr*>(&four), sizeof four)
               : ::connect(fd.get(), reinterpret_cast<sockaddr*>(&six), sizeof six);
    if (r < 0 && errno != EINPROGRESS) {
        std::perror("xway-transfer: connect");
        return false;
    }
    Hello hello{kMagic, o.seed * 100003 + number, number, o.bytes, o.max_chunk, o.rate};
    engine.add(std::move(fd), true, hello);
    return true;
}

std::string json_string(const std::string& text) {
    std::string out = "\"";
    for (char c : text)
        out += c == '"' || c == '\\' || static_cast<unsigned char>(c) < 32 ? '\'' : c;
    return out + "\"";
}

int run(const Options& o) {
    if (o.peer.empty() || o.connections == 0)
        throw Usage{};
    Engine engine(o.idle);
    Progress progress;
    double start = now();
    bool opened_all = true;
    std::uint64_t opened = 0;
    double rested = now();
    if (o.rest >= 0)
        engine.hold();
    while (engine.totals.done < opened || opened < o.connections) {
        /* Not all at once: a queue of SYNs that overflows only measures TCP's retries. */
        for (int burst = 0; burst < 16 && opened < o.connections && opened_all; burst++)
            if (open_connection(o, opened, engine))
                opened++;
            else
                opened_all = false;
        if (!opened_all && engine.totals.done == opened)
            break;
        if (opened < o.connections && opened_all)
            rested = now() + o.rest;
        else if (now() >= rested)
            engine.release();
        engine.turn(); /* held, it waits a little: the other side accepts meanwhile */
        progress.tell(engine);
    }
    const Totals& n = engine.totals;
    std::uint64_t expected = o.connections * o.bytes;
    bool ok = opened_all && n.failed == 0 && n.done == o.connections && n.sent == expected &&
              n.received == expected;
    double seconds = now() - start;
    std::string errors;
    for (const std::string& e : n.errors)
        errors += (errors.empty() ? "" : ",") + json_string(e);
    auto u = [](std::uint64_t v) { return static_cast<unsigned long long>(v); };
    std::printf(
        "{\"connections\":%llu,\"bytes\":%llu,\"ok\":%s,\"failed\":%llu,\"sent\":%llu,\"received\":"
        "%llu,"
        "\"send_calls\":%llu,\"receive_calls\":%llu,\"seconds\":%.3f,\"mbit_per_s\":%.1f,"
        "\"errors\":[%s]}\n",
        u(o.connections), u(o.bytes), ok ? "true" : "false", u(n.failed), u(n.sent), u(n.received),
        u(n.send_calls), u(n.receive_calls), seconds,
        static_cast<double>(n.sent + n.received) * 8 / 1e6 / seconds, errors.c_str());
    return ok ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);
    rlimit files{};
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    try {
        Options o = parse(argc, argv);
        if (o.role == "serve")
            return serve(o);
        if (o.role == "run")
            return run(o);
    } catch (const Usage&) {
    }
    std::fputs(
        "usage: xway-transfer serve [--port N] [--idle S]\n"
        "       xway-transfer run --peer ADDR [--port N] [--connections C] [--bytes B] [--seed S]\n"
        "           [--max-chunk N] [--rate N] [--idle S] [--rest S]\n"
        "B bytes go each way over each of C connections, N a second on average; rest: none "
        "before all have been open for S seconds. "
        "Sizes take K, M or G. Exit: 0, 1 failed, 2 usage.\n",
        stderr);
    return 2;
}
