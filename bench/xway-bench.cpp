/* SPDX-License-Identifier: GPL-2.0 */
/*
 * xway-bench.cpp - three measurements over any of three paths, the same code for each.
 *
 * Paths: TCP (to any address: whether xway, netfront or loopback carries it is not known here), a
 * UNIX socket, and a libxenvchan channel. Measurements: `rr`, a message there and one back;
 * `stream`, bytes one way by writes of one size; `crr`, connect, request, response, close; `cc`,
 * connect and close.
 *
 * Beside them: `null`, writes to /dev/null, which is what a system call and the program itself
 * cost; `idle`, the kernel memory of connections that rest.
 *
 * A client sends a Command and then the bytes that it announces; the server obeys until the channel
 * ends. Every buffer is written before it is sent and read after it was received.
 *
 * Limits: several connections at a time for streams and idle only; crr over vchan is not offered,
 * as a vchan is made by xenstore, not by connect.
 */
#include "channel.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <string_view>
#include <thread>
#include <vector>

namespace xway::bench {

namespace {

constexpr std::uint64_t kMagic = 0x3168636e65627778;
constexpr std::size_t kReadSize = 64 << 10;
constexpr std::size_t kMaxSize = 16 << 20;

struct Command {
    enum Kind : std::uint64_t { kRoundTrips = 1, kStream = 2, kOnce = 3 };
    std::uint64_t magic, kind, size, count;
};

/* Writes and reads of buffers, cheap enough not to be what is measured, real enough not to be left
 * out. */
class Buffers {
public:
    explicit Buffers(std::size_t size) : out(size), in(std::max(size, kReadSize)) {
        for (std::size_t i = 0; i < size; i++)
            out[i] = static_cast<std::byte>(i * 131 + 7);
    }
    void touch_out(std::size_t n) {
        stamp_++;
        for (std::size_t i = 0; i < n; i += 64)
            out[i] = static_cast<std::byte>(stamp_);
    }
    void touch_in(std::size_t n) {
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < n; i += 64)
            sum += static_cast<std::uint64_t>(in[i]);
        sum_ = sum_ + sum;
    }
    std::vector<std::byte> out, in;

private:
    std::uint64_t stamp_ = 0;
    volatile std::uint64_t sum_ = 0; /* so that the reads are not optimised away */
};

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
    return std::as_bytes(std::span(&value, 1));
}
template <typename T>
std::span<std::byte> bytes_into(T& value) {
    return std::as_writable_bytes(std::span(&value, 1));
}

/* ---- the server ---- */

/* Does what `command` says and what follows it, until the channel ends. */
void obey(Channel& channel, Command command) {
    do {
        if (command.magic != kMagic || command.size == 0 || command.size > kMaxSize)
            throw Broken("not a benchmark client");
        Buffers buffers(command.kind == Command::kStream ? kReadSize : command.size);
        if (command.kind == Command::kStream) {
            for (std::uint64_t left = command.count; left > 0;) {
                auto n = channel.read(
                    std::span(buffers.in).first(std::min<std::uint64_t>(left, kReadSize)));
                if (n == 0)
                    throw Broken("the channel ended inside a stream");
                buffers.touch_in(n);
                left -= n;
            }
            channel.write(bytes_of(command.count));
            continue;
        }
        for (std::uint64_t i = 0; i < command.count; i++) {
            if (!channel.read_all(std::span(buffers.in).first(command.size)))
                return;
            buffers.touch_in(command.size);
            buffers.touch_out(command.size);
            channel.write(std::span(buffers.out).first(command.size));
        }
        if (command.kind == Command::kOnce)
            return;
    } while (channel.read_all(bytes_into(command)));
}

void obey_and_report(Channel& channel, const Command& first) {
    try {
        obey(channel, first);
    } catch (const Broken& e) {
        std::fprintf(stderr, "xway-bench: %s\n", e.what());
    }
}

void serve_sockets(const Place& place) {
    SocketAddress a = address_of(place);
    int fd = ::socket(a.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 && a.storage.ss_family == AF_INET6 && place.text.find(':') == place.text.npos) {
        a = tcp_address("0.0.0.0:" + place.text);
        fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a.storage.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (place.kind == Place::Kind::kUnix)
        ::unlink(place.text.c_str());
    if (::bind(fd, reinterpret_cast<sockaddr*>(&a.storage), a.length) < 0 || ::listen(fd, 1024) < 0)
        broken("listen " + place.text);
    std::printf("serving %s %s\n", place.name(), place.text.c_str());
    std::fflush(stdout);
    for (;;) {
        int client = ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
        if (client < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
                std::this_thread::sleep_for(std::chrono::milliseconds(10));
            continue;
        }
        /* A thread for each would be what crr measures: so a single exchange is served here. */
        auto channel = std::make_shared<SocketChannel>(client);
        Command first;
        try {
            if (!channel->read_all(bytes_into(first)))
                continue;
        } catch (const Broken&) {
            continue;
        }
        if (first.kind == Command::kOnce)
            obey_and_report(*channel, first);
        else
            std::thread([channel, first] { obey_and_report(*channel, first); }).detach();
    }
}

void serve_vchan(const Place& place) {
#ifdef XWAY_BENCH_VCHAN
    for (;;) {
        libxenvchan* vchan = libxenvchan_server_init(nullptr, place.domain, place.path.c_str(),
                                                     place.ring, place.ring);
        if (!vchan)
            broken("vchan " + place.path);
        std::printf("serving vchan %d %s\n", place.domain, place.path.c_str());
        std::fflush(stdout);
        VchanChannel channel(vchan);
        Command first;
        if (channel.read_all(bytes_into(first)))
            obey_and_report(channel, first);
    }
#else
    throw Broken("vchan " + place.path + ": built without libxenvchan");
#endif
}

int serve(const std::vector<Place>& places) {
    std::vector<std::thread> threads;
    bool failed = false;
    for (const Place& place : places)
        threads.emplace_back([&failed, place] {
            try {
                place.kind == Place::Kind::kVchan ? serve_vchan(place) : serve_sockets(place);
            } catch (const Broken& e) {
                std::fprintf(stderr, "xway-bench: %s\n", e.what());
                failed = true;
            }
        });
    for (std::thread& t : threads)
        t.join();
    return failed ? 1 : 0;
}

/* ---- the client ---- */

struct Options {
    std::string role, test = "rr", name;
    std::vector<Place> places;
    std::size_t size = 1, connections = 1;
    double seconds = 0;
    std::uint64_t count = 0;
    bool json = false;

    /* The measurement is over after so many, or so long, whichever was asked. */
    [[nodiscard]] bool over(std::uint64_t done, double elapsed) const {
        return count ? done >= count : elapsed >= seconds;
    }
};

struct Result {
    std::uint64_t count = 0;
    double seconds = 0;
    std::vector<float> samples_us;
    double value = 0;
    const char* unit = "us";
};

constexpr std::size_t kMaxSamples = 4 << 20;

void add_sample(Result& result, double seconds) {
    if (result.samples_us.size() < kMaxSamples)
        result.samples_us.push_back(static_cast<float>(seconds * 1e6));
}

double percentile(std::vector<float>& sorted, double p) {
    if (sorted.empty())
        return 0;
    return sorted[std::min(sorted.size() - 1,
                           static_cast<std::size_t>(p * static_cast<double>(sorted.size())))];
}

Result round_trips(const Options& o) {
    std::unique_ptr<Channel> channel = open_patiently(o.places[0]);
    Buffers buffers(o.size);
    Result result;
    auto batch = [&](std::uint64_t n, bool keep) {
        channel->write(bytes_of(Command{kMagic, Command::kRoundTrips, o.size, n}));
        for (std::uint64_t i = 0; i < n; i++) {
            buffers.touch_out(o.size);
            double start = now();
            channel->write(std::span(buffers.out).first(o.size));
            if (!channel->read_all(std::span(buffers.in).first(o.size)))
                throw Broken("the server closed the channel");
            double took = now() - start;
            buffers.touch_in(o.size);
            if (keep)
                add_sample(result, took);
        }
    };
    batch(16, false); /* the connection settles, the pages are there */
    std::uint64_t n = 8;
    double start = now();
    while (!o.over(result.count, result.seconds)) {
        double before = now();
        n = o.count ? std::min<std::uint64_t>(n, o.count - result.count) : n;
        batch(n, true);
        result.count += n;
        result.seconds = now() - start;
        if (now() - before < 0.05)
            n = std::min<std::uint64_t>(n * 2, 4096);
    }
    return result;
}

Result stream(const Options& o) {
    std::unique_ptr<Channel> channel = open_patiently(o.places[0]);
    Buffers buffers(o.size);
    Result result;
    auto batch = [&](std::uint64_t writes) {
        channel->write(bytes_of(Command{kMagic, Command::kStream, o.size, writes * o.size}));
        for (std::uint64_t i = 0; i < writes; i++) {
            buffers.touch_out(o.size);
            channel->write(std::span(buffers.out).first(o.size));
        }
        std::uint64_t arrived = 0;
        if (!channel->read_all(bytes_into(arrived)) || arrived != writes * o.size)
            throw Broken("the server received something else");
    };
    batch(4);
    std::uint64_t writes = std::max<std::uint64_t>(4, (64 << 10) / o.size);
    double start = now();
    while (!o.over(result.count, result.seconds)) {
        double before = now();
        writes = o.count ? std::min<std::uint64_t>(writes, o.count - result.count) : writes;
        batch(writes);
        result.count += writes;
        result.seconds = now() - start;
        double took = now() - before;
        /* Long enough that the answer at the end of a batch does not count, short enough to stop in
         * time. */
        double limit = o.count ? 1 : std::clamp(o.seconds / 4, 0.05, 1.0);
        if (took < limit / 2)
            writes *= 2;
        else if (took > limit * 2)
            writes = std::max<std::uint64_t>(1, writes / 2);
    }
    result.value =
        static_cast<double>(result.count) * static_cast<double>(o.size) * 8 / 1e6 / result.seconds;
    result.unit = "Mbit/s";
    return result;
}

/* As many at once as there are connections; the sum. */
Result streams(const Options& o) {
    std::vector<Result> results(o.connections);
    std::vector<std::string> errors(o.connections);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < o.connections; i++)
        threads.emplace_back([&, i] {
            try {
                results[i] = stream(o);
            } catch (const Broken& e) {
                errors[i] = e.what();
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    Result sum = results[0];
    for (std::size_t i = 0; i < o.connections; i++) {
        if (!errors[i].empty())
            throw Broken(errors[i]);
        if (i == 0)
            continue;
        sum.count += results[i].count;
        sum.seconds = std::max(sum.seconds, results[i].seconds);
        sum.value += results[i].value;
    }
    return sum;
}

Result writes_to_nowhere(const Options& o) {
    const int fd = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        broken("/dev/null");
    Buffers buffers(o.size);
    Result result;
    const double start = now();
    while (!o.over(result.count, result.seconds)) {
        for (int i = 0; i < 1000; i++) {
            buffers.touch_out(o.size);
            if (::write(fd, buffers.out.data(), o.size) != static_cast<ssize_t>(o.size))
                broken("write");
        }
        result.count += 1000;
        result.seconds = now() - start;
    }
    ::close(fd);
    result.value = result.seconds * 1e6 / static_cast<double>(result.count);
    return result;
}

/* `name` of /proc/meminfo, in bytes. */
double memory(const std::string& name) {
    std::ifstream file("/proc/meminfo");
    for (std::string word; file >> word;) {
        double kib = 0;
        if (word == name + ":" && file >> kib)
            return kib * 1024;
    }
    throw Broken("no " + name + " in /proc/meminfo");
}

/* Connections that have been used, then rest, and then work again: kernel memory of this side for
 * each at rest. */
Result idle_connections(const Options& o) {
    const auto used = [] { return memory("Slab") + memory("Percpu"); };
    constexpr std::uint64_t kTrips = 4;
    const auto work = [](Channel& channel) {
        std::byte byte{};
        channel.write(bytes_of(Command{kMagic, Command::kRoundTrips, 1, kTrips}));
        for (std::uint64_t trip = 0; trip < kTrips; trip++) {
            channel.write(std::span(&byte, 1));
            if (!channel.read_all(std::span(&byte, 1)))
                throw Broken("the server closed the channel");
        }
    };
    open_patiently(o.places[0]);
    const double before = used();
    std::vector<std::unique_ptr<Channel>> channels;
    for (std::size_t i = 0; i < o.connections; i++) {
        channels.push_back(open_channel(o.places[0]));
        work(*channels.back());
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(o.seconds));
    Result result;
    result.count = o.connections;
    result.seconds = o.seconds;
    result.value = (used() - before) / static_cast<double>(o.connections);
    result.unit = "B";
    for (const auto& channel : channels)
        work(*channel);
    return result;
}

Result connects(const Options& o) {
    if (o.places[0].kind == Place::Kind::kVchan)
        throw Broken("crr needs connections: not over vchan");
    open_patiently(o.places[0]);
    Buffers buffers(o.size);
    std::vector<std::byte> request(sizeof(Command) + o.size);
    Command command{kMagic, Command::kOnce, o.size, 1};
    Result result;
    double start = now();
    while (!o.over(result.count, result.seconds)) {
        double before = now();
        std::unique_ptr<Channel> channel = open_channel(o.places[0]);
        buffers.touch_out(o.size);
        std::memcpy(request.data(), &command, sizeof command);
        std::memcpy(request.data() + sizeof command, buffers.out.data(), o.size);
        channel->write(request);
        if (!channel->read_all(std::span(buffers.in).first(o.size)))
            throw Broken("the server closed the connection");
        if (channel->read(std::span(buffers.in).first(1)) != 0)
            throw Broken("more came than the response");
        channel.reset();
        buffers.touch_in(o.size);
        add_sample(result, now() - before);
        result.count++;
        result.seconds = now() - start;
    }
    return result;
}

/* Opened and closed, without a byte. */
Result bare_connects(const Options& o) {
    open_patiently(o.places[0]);
    Result result;
    const double start = now();
    while (!o.over(result.count, result.seconds)) {
        const double before = now();
        open_channel(o.places[0]);
        add_sample(result, now() - before);
        result.count++;
        result.seconds = now() - start;
    }
    return result;
}

/* User and system time of this process. */
double cpu_us() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto us = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec);
    };
    return us(usage.ru_utime) + us(usage.ru_stime);
}

Result measure(const Options& o) {
    if (o.test == "rr")
        return round_trips(o);
    if (o.test == "stream")
        return streams(o);
    if (o.test == "idle")
        return idle_connections(o);
    if (o.test == "cc")
        return bare_connects(o);
    return o.test == "crr" ? connects(o) : writes_to_nowhere(o);
}

int run(Options o) {
    if (o.seconds <= 0 && o.count == 0)
        o.seconds = 2;
    const char* path = o.places.empty() ? "null" : o.places[0].name();
    const double cpu = cpu_us();
    Result r = measure(o);
    const double cpu_each =
        (cpu_us() - cpu) / static_cast<double>(std::max<std::uint64_t>(1, r.count));
    std::sort(r.samples_us.begin(), r.samples_us.end());
    bool latency = !r.samples_us.empty();
    if (latency)
        r.value = percentile(r.samples_us, 0.5);
    std::string name = o.name.empty() ? std::string(path) + "-" + o.test : o.name;
    std::string extra;
    if (latency) {
        char text[160];
        std::snprintf(text, sizeof text,
                      "\"median_us\":%.2f,\"p10_us\":%.2f,\"p99_us\":%.2f,\"per_second\":%.1f,",
                      percentile(r.samples_us, 0.5), percentile(r.samples_us, 0.1),
                      percentile(r.samples_us, 0.99), static_cast<double>(r.count) / r.seconds);
        extra = text;
    }
    if (o.json)
        std::printf(
            "{\"name\":\"%s\",\"path\":\"%s\",\"test\":\"%s\",\"size\":%zu,\"count\":%llu,"
            "\"seconds\":%.3f,\"cpu_us\":%.3f,%s"
            "\"value\":%.3f,\"unit\":\"%s\"}\n",
            name.c_str(), path, o.test.c_str(), o.size, static_cast<unsigned long long>(r.count),
            r.seconds, cpu_each, extra.c_str(), r.value, r.unit);
    else
        std::printf("%-16s %8zu B %12.2f %s (%llu in %.2f s)\n", name.c_str(), o.size, r.value,
                    r.unit, static_cast<unsigned long long>(r.count), r.seconds);
    return 0;
}

struct Usage {};

Options parse(int argc, char** argv) {
    Options o;
    o.role = argc > 1 ? argv[1] : "";
    std::size_t ring = 256;
    for (int i = 2; i < argc; i++) {
        std::string name = argv[i];
        auto value = [&]() -> std::string {
            if (++i >= argc)
                throw Usage{};
            return argv[i];
        };
        if (name == "--tcp") {
            o.places.push_back({Place::Kind::kTcp, value(), "", 0});
        } else if (name == "--unix") {
            o.places.push_back({Place::Kind::kUnix, value(), "", 0});
        } else if (name == "--vchan") {
            int domain = std::atoi(value().c_str());
            o.places.push_back({Place::Kind::kVchan, "", value(), domain});
        } else if (name == "--ring-kib") {
            ring = std::strtoul(value().c_str(), nullptr, 10);
        } else if (name == "--test") {
            o.test = value();
        } else if (name == "--name") {
            o.name = value();
        } else if (name == "--size") {
            o.size = std::strtoul(value().c_str(), nullptr, 10);
        } else if (name == "--connections") {
            o.connections = std::strtoul(value().c_str(), nullptr, 10);
        } else if (name == "--seconds") {
            o.seconds = std::atof(value().c_str());
        } else if (name == "--count") {
            o.count = std::strtoull(value().c_str(), nullptr, 10);
        } else if (name == "--json") {
            o.json = true;
        } else {
            throw Usage{};
        }
    }
    for (Place& place : o.places)
        place.ring = ring << 10;
    if (o.places.empty() != (o.test == "null") || o.size == 0 || o.size > kMaxSize)
        throw Usage{};
    if (o.connections == 0 || (o.connections > 1 && o.test != "stream" && o.test != "idle"))
        throw Usage{};
    constexpr std::string_view kTests[] = {"rr", "stream", "crr", "cc", "null", "idle"};
    if (std::find(std::begin(kTests), std::end(kTests), o.test) == std::end(kTests))
        throw Usage{};
    return o;
}

} // namespace

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);
    try {
        Options o = parse(argc, argv);
        if (o.role == "serve")
            return serve(o.places);
        if (o.role == "run" && o.places.size() <= 1)
            return run(o);
    } catch (const Usage&) {
    } catch (const Broken& e) {
        std::fprintf(stderr, "xway-bench: %s\n", e.what());
        return 1;
    }
    std::fputs(
        "usage: xway-bench serve [--tcp PORT] [--unix PATH] [--vchan DOMID PATH] [--ring-kib N]\n"
        "       xway-bench run --tcp ADDR:PORT | --unix PATH | --vchan DOMID PATH\n"
        "           [--test rr|stream|crr|cc] [--size N] [--seconds S | --count N] [--name TEXT] "
        "[--json]\n"
        "           [--connections N] at once, of streams\n"
        "       xway-bench run --test idle --tcp ADDR:PORT --connections N --seconds S\n"
        "       xway-bench run --test null [--size N] ... writes to /dev/null\n"
        "Exit: 0, 1 the measurement failed, 2 usage.\n",
        stderr);
    return 2;
}

} // namespace xway::bench

int main(int argc, char** argv) {
    return xway::bench::main(argc, argv);
}
