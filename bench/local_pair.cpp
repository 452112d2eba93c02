/* SPDX-License-Identifier: GPL-2.0 */
/*
 * local_pair.cpp - one connection: round trips, streams and messages, and the server of these.
 *
 * A client sends Commands; the server obeys one at a time and ends each with a Report, until the
 * connection ends; then it accepts the next. Messages are a stream whose writes are small.
 */
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

#include "local.h"

namespace xway::local {

namespace {

/* A connection runs so long before it is measured: pages are there, windows have grown, and whoever
 * moves it to something faster has done so. */
constexpr std::uint64_t kWarmNs = 30000000;

/* Reads one byte of every cache line. */
std::uint64_t look_at(const std::vector<std::byte>& bytes, std::size_t n) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < n; i += 64)
        sum += static_cast<std::uint64_t>(bytes[i]);
    return sum;
}

void write_lines(std::vector<std::byte>& bytes, std::size_t n, std::uint64_t stamp) {
    for (std::size_t i = 0; i < n; i += 64)
        bytes[i] = static_cast<std::byte>(stamp);
}

/* ---- the server ---- */

void answer_round_trips(Channel& channel, const Command& c, Report& report) {
    std::vector<std::byte> in(c.size), out(c.size);
    for (std::uint64_t i = 0; i < c.count; i++) {
        if (!channel.read_all(in.data(), c.size))
            throw Broken("the connection ended between round trips");
        report.sum += look_at(in, c.size);
        if (c.think_ns)
            busy_for(c.think_ns);
        write_lines(out, c.size, static_cast<std::uint64_t>(in[0]) + 1);
        channel.write(out.data(), c.size);
        report.bytes += c.size;
    }
}

void take_stream(Channel& channel, const Command& c, Report& report) {
    Sink sink(c.read_size);
    for (std::uint64_t left = c.size * c.count; left > 0;) {
        std::size_t n = channel.read(sink.place(), std::min<std::uint64_t>(left, c.read_size));
        if (n == 0)
            throw Broken("the connection ended inside a stream");
        sink.took(n);
        left -= n;
        report.bytes += n;
    }
    report.sum = sink.sum();
}

void obey(int listener, Channel& channel) {
    std::vector<std::unique_ptr<Channel>> held;
    Command c;
    while (channel.read_all(&c, sizeof c)) {
        if (c.magic != kMagic || c.size > kMaxSize || c.read_size > kMaxSize)
            throw Broken("not a client of this benchmark");
        if (c.cpu >= 0)
            pin(static_cast<int>(c.cpu));
        channel.wait_by(c.wait);
        Report report;
        switch (c.kind) {
        case Command::kRoundTrips: answer_round_trips(channel, c, report); break;
        case Command::kStream: take_stream(channel, c, report); break;
        case Command::kConnects: serve_connects(listener, c.size, c.count); break;
        case Command::kHold:
            for (std::uint64_t i = 0; i < c.count; i++)
                held.push_back(
                    std::make_unique<Channel>(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC)));
            break;
        default: throw Broken("unknown command");
        }
        report.usage = own_usage();
        channel.write(&report, sizeof report);
    }
}

/* ---- the client ---- */

/* A connection that has been told how to wait and where to run. */
class Session {
public:
    explicit Session(const Options& options)
        : options_(options), channel_(connect_patiently(options.address)) {
        pin(options.cpu);
        channel_.wait_by(options.wait);
    }

    void command(Command::Kind kind, std::uint64_t count) {
        Command c;
        c.kind = kind;
        c.wait = options_.wait;
        c.size = options_.size;
        c.count = count;
        c.read_size = options_.exact ? options_.size : options_.read_size;
        c.think_ns = static_cast<std::uint64_t>(options_.think_us * 1e3);
        c.cpu = options_.server_cpu;
        channel_.write(&c, sizeof c);
    }

    Report report() {
        Report report;
        if (!channel_.read_all(&report, sizeof report))
            throw Broken("the server closed the connection");
        return report;
    }

    /* What was used since the first call. */
    void begin(const Usage& server) {
        server_begin_ = server;
        client_begin_ = own_usage();
        bytes_begin_ = channel_.bytes();
        kernel_begin_ = channel_.kernel_bytes();
    }
    void account(Json& json, const Usage& server, double seconds, std::uint64_t count) {
        Usage client = own_usage() - client_begin_;
        std::int64_t kernel = channel_.kernel_bytes();
        json.add("seconds", seconds)
            .add("count", count)
            .add("bytes", channel_.bytes() - bytes_begin_)
            .add("kernel_bytes",
                 kernel < 0 ? kernel : kernel - std::max<std::int64_t>(0, kernel_begin_))
            .add("client", client)
            .add("server", server - server_begin_);
    }
    Channel& channel() { return channel_; }

private:
    const Options& options_;
    Channel channel_;
    Usage server_begin_, client_begin_;
    std::uint64_t bytes_begin_ = 0;
    std::int64_t kernel_begin_ = 0;
};

struct RoundTripper {
    Session& session;
    const Options& options;
    std::vector<std::byte> out, in;
    std::uint64_t think_ns, stamp = 0, sum = 0;

    void once() {
        write_lines(out, options.size, ++stamp);
        session.channel().write(out.data(), options.size);
        if (!session.channel().read_all(in.data(), options.size))
            throw Broken("the server closed the connection");
        sum += look_at(in, options.size);
        if (in[0] != static_cast<std::byte>(stamp + 1))
            throw Broken("the server answered something else");
    }

    /* n round trips, and one before them that is not counted: the server has then read its command.
     * The time in ns, without what both sides spent thinking. */
    double batch(std::uint64_t n, std::vector<float>* samples, Usage& server) {
        session.command(Command::kRoundTrips, n + 1);
        once();
        std::uint64_t start = now_ns();
        for (std::uint64_t i = 0; i < n; i++) {
            if (think_ns)
                busy_for(think_ns);
            std::uint64_t before = samples ? now_ns() : 0;
            once();
            if (samples && samples->size() < (1 << 22))
                samples->push_back(static_cast<float>(now_ns() - before - think_ns));
        }
        auto took = static_cast<double>(now_ns() - start - 2 * think_ns * n);
        server = session.report().usage;
        return took;
    }
};

} // namespace

int serve(std::string address, int cpu) {
    pin(cpu);
    int listener = listen_at(address);
    std::printf("serving %s\n", address.c_str());
    std::fflush(stdout);
    for (;;) {
        int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EINTR && errno != ECONNABORTED)
                std::this_thread::sleep_for(std::chrono::milliseconds(10));
            continue;
        }
        try {
            Channel channel(fd);
            obey(listener, channel);
        } catch (const Broken& e) {
            std::fprintf(stderr, "xway-local-bench: serve: %s\n", e.what());
        }
        pin(cpu);
    }
}

Json round_trips(const Options& o) {
    Session session(o);
    RoundTripper trips{session, o, std::vector<std::byte>(o.size), std::vector<std::byte>(o.size),
                       static_cast<std::uint64_t>(o.think_us * 1e3)};
    Usage server;
    double warm = 1e6;
    for (std::uint64_t end = now_ns() + kWarmNs; now_ns() < end;)
        warm = trips.batch(8, nullptr, server) / 8 + 2e3 * o.think_us;
    session.begin(server);
    /* Batches of about a millisecond: reading the clock within them would cost a tenth of a fast
     * round trip, and so every second one does without, and these give the figure. */
    auto n = static_cast<std::uint64_t>(std::clamp(1e6 / warm, 2.0, 4096.0));
    std::vector<float> batches, samples;
    std::uint64_t count = 0, start = now_ns();
    auto end = start + static_cast<std::uint64_t>(o.seconds * 1e9);
    while (now_ns() < end || batches.size() < 3) {
        std::uint64_t before = now_ns();
        batches.push_back(
            static_cast<float>(trips.batch(n, nullptr, server) / static_cast<double>(n)));
        auto took = static_cast<double>(now_ns() - before);
        trips.batch(n, &samples, server);
        count += 2 * n;
        if (took < 5e5 && n < 4096)
            n *= 2;
        else if (took > 4e6 && n > 2)
            n /= 2;
    }
    double mean = 0;
    for (float sample : samples)
        mean += static_cast<double>(sample) / static_cast<double>(samples.size());
    Json json;
    json.add("test", "rr").add("size", static_cast<std::uint64_t>(o.size));
    json.add("value", percentile(batches, 0.5)).add("unit", std::string("ns"));
    json.add("p50_ns", percentile(samples, 0.5)).add("mean_ns", mean);
    json.add("p99_ns", percentile(samples, 0.99));
    session.account(json, server, static_cast<double>(now_ns() - start) / 1e9, count);
    return json;
}

Json stream(const Options& o) {
    Session session(o);
    bool messages = o.test == "msgs";
    Usage server;
    std::uint64_t sent = 0;
    auto batch = [&](std::uint64_t writes) {
        Source source(o.size);
        session.command(Command::kStream, writes);
        for (std::uint64_t i = 0; i < writes; i++) {
            source.renew();
            session.channel().write(source.data(), o.size);
        }
        Report report = session.report();
        server = report.usage;
        sent += writes;
        if (report.bytes != writes * o.size)
            throw Broken("the server received another number of bytes");
        if (o.size % 8 == 0 && report.sum != source.sum())
            throw Broken("the server received other bytes");
    };
    std::uint64_t writes = std::max<std::uint64_t>(4, (1 << 20) / o.size);
    for (std::uint64_t end = now_ns() + kWarmNs; now_ns() < end;)
        batch(writes);
    session.begin(server);
    sent = 0;
    double elapsed = 0;
    std::uint64_t start = now_ns();
    /* Batches so long that the answer at the end of each does not count. */
    while (elapsed < o.seconds) {
        std::uint64_t before = now_ns();
        batch(writes);
        std::uint64_t end = now_ns();
        elapsed = static_cast<double>(end - start) / 1e9;
        double took = static_cast<double>(end - before) / 1e9;
        double limit = std::clamp(o.seconds / 4, 0.02, 0.5);
        if (took < limit / 2)
            writes *= 2;
        else if (took > limit * 2)
            writes = std::max<std::uint64_t>(1, writes / 2);
    }
    double rate = static_cast<double>(sent) / elapsed;
    Json json;
    json.add("test", o.test).add("size", static_cast<std::uint64_t>(o.size));
    json.add("value", messages ? rate : rate * static_cast<double>(o.size) / 1e9);
    json.add("unit", std::string(messages ? "messages/s" : "GB/s"));
    session.account(json, server, elapsed, sent);
    return json;
}

} // namespace xway::local
