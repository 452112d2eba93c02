/* SPDX-License-Identifier: GPL-2.0 */
/*
 * local.h - what the parts of xway-local-bench share.
 *
 * An unmodified POSIX program: it knows TCP and UNIX sockets and nothing else. Whatever carries the
 * bytes is put under it from outside.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace xway::local {

constexpr std::size_t kReadSize = 64 << 10;
constexpr std::size_t kMaxSize = 16 << 20;

/* What went wrong; it ends the measurement. */
struct Broken : std::runtime_error {
    using std::runtime_error::runtime_error;
};
[[noreturn]] void broken(const std::string& what); /* with the text of errno */

/* How a side waits before it reads. */
enum class Wait : std::uint32_t { kBlock, kSpin, kPoll, kEpoll };

struct Options {
    std::string test, address;
    std::size_t size = 8, read_size = kReadSize;
    double seconds = 1;
    Wait wait = Wait::kBlock;
    int cpu = -1, server_cpu = -1;
    double think_us = 0;
    bool exact = false;
    unsigned processes = 1, idle = 0;      /* of cc and crr */
    unsigned connections = 50, depth = 16; /* of memcached */
};

/* ---- the machine ---- */

std::uint64_t now_ns();
void pin(int cpu); /* -1: wherever the process could run at its start */
void busy_for(std::uint64_t ns);
std::vector<int> allowed_cpus();

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/* What a process has used so far; these counts do not depend on the clock, or not on its speed. */
struct Usage {
    std::uint64_t user_us = 0, system_us = 0, voluntary = 0, involuntary = 0;

    Usage& operator+=(const Usage& other);
    Usage operator-(const Usage& other) const;
};
Usage own_usage();
Usage usage_with_children(); /* those that have been waited for */

/* ---- sockets ---- */

/* Both take `tcp:ADDR:PORT` or `unix:PATH`. Port 0 is any; listen_at() tells which in `address`. */
int listen_at(std::string& address);
int connect_to(const std::string& address);
/* The first connection may come before the server does. */
int connect_patiently(const std::string& address);

/* A connected socket with one way of waiting. */
class Channel {
public:
    explicit Channel(int fd);
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;
    ~Channel();

    void wait_by(Wait wait);
    void write(const void* data, std::size_t size);
    /* At least one byte; 0 at the end. */
    std::size_t read(void* data, std::size_t size);
    /* False: the end came before the first byte. */
    bool read_all(void* data, std::size_t size);

    [[nodiscard]] std::uint64_t bytes() const { return bytes_; } /* read and written */
    /* Of these, the ones that the kernel's TCP has carried; -1 if it cannot say. */
    [[nodiscard]] std::int64_t kernel_bytes() const;

private:
    int fd_, epoll_ = -1;
    Wait wait_ = Wait::kBlock;
    std::uint64_t bytes_ = 0;
};

/* ---- what client and server say to each other ---- */

constexpr std::uint64_t kMagic = 0x316c636c79617778;

struct Command {
    enum Kind : std::uint32_t { kRoundTrips = 1, kStream, kConnects, kHold };
    std::uint64_t magic = kMagic;
    std::uint32_t kind = 0;
    Wait wait = Wait::kBlock;
    std::uint64_t size = 0;  /* of a message; of kConnects: of request and response, or 0 */
    std::uint64_t count = 0; /* messages; connections */
    std::uint64_t read_size = 0, think_ns = 0;
    std::int64_t cpu = -1;
};

/* The end of every command. */
struct Report {
    std::uint64_t bytes = 0, sum = 0;
    Usage usage; /* of the server since it began */
};

/* A buffer that is rewritten before every send, and the sum of its 64-bit words. */
class Source {
public:
    explicit Source(std::size_t size);
    /* Writes one word of every cache line; a tail of less than a word is left as it is. */
    void renew();
    [[nodiscard]] const std::byte* data() const { return bytes_.data(); }
    [[nodiscard]] std::size_t size() const { return size_; }
    /* Of all that renew() has announced, as 64-bit words of one stream; exact when size() is a
     * multiple of eight. */
    [[nodiscard]] std::uint64_t sum() const { return sum_; }

private:
    std::size_t size_;
    std::vector<std::byte> bytes_;
    std::uint64_t stamp_ = 0, sum_ = 0, base_ = 0, lines_ = 0;
};

/* Adds up the 64-bit words of a stream that comes in pieces of any length. */
class Sink {
public:
    explicit Sink(std::size_t read_size) : bytes_(read_size + 16) {}
    /* Where the next piece goes. */
    [[nodiscard]] std::byte* place() { return bytes_.data() + at_ % 8; }
    void took(std::size_t n); /* n bytes are at place() */
    [[nodiscard]] std::uint64_t sum() const { return sum_; }

private:
    std::vector<std::byte> bytes_;
    std::uint64_t at_ = 0, sum_ = 0;
};

/* ---- results ---- */

/* One line of JSON. */
class Json {
public:
    Json& add(const char* name, double value);
    Json& add(const char* name, std::uint64_t value);
    Json& add(const char* name, std::int64_t value);
    Json& add(const char* name, const std::string& value);
    /* `client` and `server` and what they used. */
    Json& add(const char* name, const Usage& usage);
    void print() const;

private:
    void key(const char* name);
    std::string text_;
};

/* The value that a part p of all is below; changes their order. */
double percentile(std::vector<float>& values, double p);

/* ---- the measurements ---- */

int serve(std::string address, int cpu);
Json round_trips(const Options& options);
Json stream(const Options& options); /* also messages */
Json connects(const Options& options);
Json memcached(const Options& options);
Json floor(const Options& options);

/* The server's part of connects(): of `size` bytes there and back, or none; the server closes. */
void serve_connects(int listener, std::uint64_t size, std::uint64_t count);

} // namespace xway::local
