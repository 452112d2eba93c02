/* SPDX-License-Identifier: GPL-2.0 */
/*
 * channel.h - bytes to the other side and back, by TCP, a UNIX socket or libxenvchan.
 */
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef XWAY_BENCH_VCHAN
extern "C" {
#include <libxenvchan.h>
}
#endif

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

namespace xway::bench {

/* What went wrong with a channel; it ends the measurement. */
struct Broken : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/* With what errno says. */
[[noreturn]] inline void broken(const std::string& what) {
    throw Broken(what + ": " + std::strerror(errno));
}

/* Seconds, of a clock that only goes on. */
double now();

/* Two bytes streams to the other side, whatever carries them. */
class Channel {
public:
    Channel() = default;
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;
    virtual ~Channel() = default;

    /* Writes all. */
    virtual void write(std::span<const std::byte> bytes) = 0;
    /* Reads at least one byte, at most bytes.size(); 0 at the end. */
    virtual std::size_t read(std::span<std::byte> bytes) = 0;

    /* False: the channel ended before the first byte. */
    bool read_all(std::span<std::byte> bytes) {
        for (std::size_t done = 0; done < bytes.size();) {
            std::size_t n = read(bytes.subspan(done));
            if (n == 0 && done == 0)
                return false;
            if (n == 0)
                throw Broken("the channel ended inside a message");
            done += n;
        }
        return true;
    }
};

class SocketChannel : public Channel {
public:
    explicit SocketChannel(int fd) : fd_(fd) {
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* not for UNIX sockets */
    }
    ~SocketChannel() override { ::close(fd_); }

    void write(std::span<const std::byte> bytes) override {
        while (!bytes.empty()) {
            ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n < 0 && errno != EINTR)
                broken("send");
            bytes = bytes.subspan(static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
        }
    }
    std::size_t read(std::span<std::byte> bytes) override {
        for (;;) {
            ssize_t n = ::recv(fd_, bytes.data(), bytes.size(), 0);
            if (n >= 0)
                return static_cast<std::size_t>(n);
            if (errno != EINTR)
                broken("recv");
        }
    }

private:
    int fd_;
};

#ifdef XWAY_BENCH_VCHAN
class VchanChannel : public Channel {
public:
    explicit VchanChannel(libxenvchan* vchan) : vchan_(vchan) { vchan_->blocking = 1; }
    ~VchanChannel() override { libxenvchan_close(vchan_); }

    void write(std::span<const std::byte> bytes) override {
        while (!bytes.empty()) {
            int n = libxenvchan_write(vchan_, bytes.data(), bytes.size());
            if (n < 0)
                throw Broken("vchan: write failed");
            bytes = bytes.subspan(static_cast<std::size_t>(n));
        }
    }
    std::size_t read(std::span<std::byte> bytes) override {
        int n = libxenvchan_read(vchan_, bytes.data(), bytes.size());
        return n < 0 ? 0 : static_cast<std::size_t>(n);
    }

private:
    libxenvchan* vchan_;
};
#endif

/* Where a channel leads: --tcp ADDR:PORT, --unix PATH or --vchan DOMID PATH. */
struct Place {
    enum class Kind { kNone, kTcp, kUnix, kVchan };
    Kind kind = Kind::kNone;
    std::string text, path;
    int domain = 0;
    std::size_t ring = 256 << 10;

    [[nodiscard]] const char* name() const {
        return kind == Kind::kTcp ? "tcp" : kind == Kind::kUnix ? "unix" : "vchan";
    }
};

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;
};

/* Throws Broken if it is none. */
SocketAddress address_of(const Place& place);
/* TCP at `10.0.0.4:80`, `[fd00::4]:80`, or for a server only `80`. */
SocketAddress tcp_address(const std::string& text);

/* Throws Broken, with errno's words. */
std::unique_ptr<Channel> open_channel(const Place& place);
/* The first connection may come before the server does: tries for 20 s. */
std::unique_ptr<Channel> open_patiently(const Place& place);

} // namespace xway::bench
