/* SPDX-License-Identifier: GPL-2.0 */
/*
 * local_channel.cpp - addresses, sockets, ways to wait, processors, usage, JSON.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "local.h"

namespace xway::local {

void broken(const std::string& what) {
    throw Broken(what + ": " + std::strerror(errno));
}

/* ---- the machine ---- */

std::uint64_t now_ns() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1000000000u +
           static_cast<std::uint64_t>(t.tv_nsec);
}

namespace {

cpu_set_t first_mask() {
    static const cpu_set_t mask = [] {
        cpu_set_t set;
        CPU_ZERO(&set);
        sched_getaffinity(0, sizeof set, &set);
        return set;
    }();
    return mask;
}

} // namespace

void pin(int cpu) {
    cpu_set_t set = first_mask();
    if (cpu >= 0) {
        CPU_ZERO(&set);
        CPU_SET(static_cast<unsigned>(cpu), &set);
    }
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        broken("CPU " + std::to_string(cpu));
}

std::vector<int> allowed_cpus() {
    cpu_set_t set = first_mask();
    std::vector<int> cpus;
    for (unsigned i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set))
            cpus.push_back(static_cast<int>(i));
    return cpus;
}

void busy_for(std::uint64_t ns) {
    for (std::uint64_t end = now_ns() + ns; now_ns() < end;)
        relax();
}

Usage& Usage::operator+=(const Usage& other) {
    user_us += other.user_us;
    system_us += other.system_us;
    voluntary += other.voluntary;
    involuntary += other.involuntary;
    return *this;
}

Usage Usage::operator-(const Usage& other) const {
    return {user_us - other.user_us, system_us - other.system_us, voluntary - other.voluntary,
            involuntary - other.involuntary};
}

namespace {

std::uint64_t micros(const timeval& t) {
    return static_cast<std::uint64_t>(t.tv_sec) * 1000000u + static_cast<std::uint64_t>(t.tv_usec);
}

Usage usage_of(int who) {
    rusage r{};
    getrusage(who, &r);
    return {micros(r.ru_utime), micros(r.ru_stime), static_cast<std::uint64_t>(r.ru_nvcsw),
            static_cast<std::uint64_t>(r.ru_nivcsw)};
}

} // namespace

Usage own_usage() {
    return usage_of(RUSAGE_SELF);
}

Usage usage_with_children() {
    Usage usage = own_usage();
    return usage += usage_of(RUSAGE_CHILDREN);
}

/* ---- sockets ---- */

namespace {

struct Address {
    sockaddr_storage storage{};
    socklen_t length = 0;
    [[nodiscard]] const sockaddr* get() const {
        return reinterpret_cast<const sockaddr*>(&storage);
    }
};

Address parse_address(const std::string& text) {
    Address a;
    if (text.starts_with("unix:")) {
        std::string path = text.substr(5);
        auto* un = reinterpret_cast<sockaddr_un*>(&a.storage);
        un->sun_family = AF_UNIX;
        if (path.empty() || path.size() >= sizeof un->sun_path)
            throw Broken("not a path for a socket: " + text);
        std::memcpy(un->sun_path, path.c_str(), path.size() + 1);
        a.length = sizeof *un;
        return a;
    }
    std::size_t colon = text.rfind(':');
    if (!text.starts_with("tcp:") || colon <= 4)
        throw Broken("not tcp:ADDR:PORT or unix:PATH: " + text);
    auto* in = reinterpret_cast<sockaddr_in*>(&a.storage);
    in->sin_family = AF_INET;
    in->sin_port = htons(static_cast<std::uint16_t>(std::atoi(text.c_str() + colon + 1)));
    if (inet_pton(AF_INET, text.substr(4, colon - 4).c_str(), &in->sin_addr) != 1)
        throw Broken("not an address: " + text);
    a.length = sizeof *in;
    return a;
}

int new_socket(const Address& a) {
    int fd = ::socket(a.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        broken("socket");
    return fd;
}

} // namespace

int listen_at(std::string& address) {
    Address a = parse_address(address);
    int fd = new_socket(a), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a.storage.ss_family == AF_UNIX)
        ::unlink(address.c_str() + 5);
    if (::bind(fd, a.get(), a.length) < 0 || ::listen(fd, 4096) < 0)
        broken("listen at " + address);
    if (a.storage.ss_family == AF_INET) {
        sockaddr_in name{};
        socklen_t length = sizeof name;
        getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length);
        address = address.substr(0, address.rfind(':') + 1) + std::to_string(ntohs(name.sin_port));
    }
    return fd;
}

int connect_to(const std::string& address) {
    Address a = parse_address(address);
    int fd = new_socket(a);
    if (::connect(fd, a.get(), a.length) < 0) {
        int error = errno;
        ::close(fd);
        errno = error;
        broken("connect to " + address);
    }
    return fd;
}

int connect_patiently(const std::string& address) {
    for (std::uint64_t end = now_ns() + 5000000000u;;) {
        try {
            return connect_to(address);
        } catch (const Broken&) {
            if (now_ns() > end)
                throw;
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
    }
}

Channel::Channel(int fd) : fd_(fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* not for UNIX sockets */
}

Channel::~Channel() {
    if (epoll_ >= 0)
        ::close(epoll_);
    ::close(fd_);
}

void Channel::wait_by(Wait wait) {
    if (wait_ == wait)
        return;
    int flags = fcntl(fd_, F_GETFL);
    flags = wait == Wait::kSpin ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    if (fcntl(fd_, F_SETFL, flags) < 0)
        broken("fcntl");
    if (wait == Wait::kEpoll && epoll_ < 0) {
        epoll_event event{};
        event.events = EPOLLIN;
        epoll_ = epoll_create1(EPOLL_CLOEXEC);
        if (epoll_ < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, fd_, &event) < 0)
            broken("epoll");
    }
    wait_ = wait;
}

void Channel::write(const void* data, std::size_t size) {
    const auto* from = static_cast<const std::byte*>(data);
    bytes_ += size;
    while (size > 0) {
        ssize_t n = ::send(fd_, from, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            relax();
        else if (n < 0 && errno != EINTR)
            broken("send");
        if (n > 0) {
            from += n;
            size -= static_cast<std::size_t>(n);
        }
    }
}

std::size_t Channel::read(void* data, std::size_t size) {
    for (;;) {
        if (wait_ == Wait::kPoll) {
            pollfd entry{fd_, POLLIN, 0};
            if (::poll(&entry, 1, -1) < 0 && errno != EINTR)
                broken("poll");
        } else if (wait_ == Wait::kEpoll) {
            epoll_event event{};
            if (::epoll_wait(epoll_, &event, 1, -1) < 0 && errno != EINTR)
                broken("epoll_wait");
        }
        ssize_t n = ::recv(fd_, data, size, 0);
        if (n >= 0) {
            bytes_ += static_cast<std::size_t>(n);
            return static_cast<std::size_t>(n);
        }
        if (errno == EAGAIN)
            relax();
        else if (errno != EINTR)
            broken("recv");
    }
}

bool Channel::read_all(void* data, std::size_t size) {
    for (std::size_t done = 0; done < size;) {
        std::size_t n = read(static_cast<std::byte*>(data) + done, size - done);
        if (n == 0 && done == 0)
            return false;
        if (n == 0)
            throw Broken("the connection ended inside a message");
        done += n;
    }
    return true;
}

std::int64_t Channel::kernel_bytes() const {
    tcp_info info{};
    socklen_t length = sizeof info;
    if (getsockopt(fd_, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 ||
        length < offsetof(tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received)
        return -1;
    return static_cast<std::int64_t>(info.tcpi_bytes_acked + info.tcpi_bytes_received);
}

/* ---- buffers ---- */

Source::Source(std::size_t size) : size_(size), bytes_((size + 7) / 8 * 8) {
    for (std::size_t i = 0; i < size; i++)
        bytes_[i] = static_cast<std::byte>(i * 131 + 7);
    lines_ = size / 64 + (size % 64 >= 8 ? 1 : 0);
    for (std::size_t i = 0; i < size; i += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, &bytes_[i], 8);
        if (i % 64 != 0 || i / 64 >= lines_)
            base_ += word;
    }
}

void Source::renew() {
    stamp_ += 0x9e3779b97f4a7c15u;
    for (std::size_t i = 0; i < lines_; i++)
        std::memcpy(&bytes_[i * 64], &stamp_, 8);
    sum_ += base_ + lines_ * stamp_;
}

void Sink::took(std::size_t n) {
    /* The words of the stream lie aligned at the buffer's begin. What lies outside of the piece is
     * zero, and so a word that comes in two pieces counts as their sum. */
    std::byte* first = bytes_.data();
    std::size_t end = at_ % 8 + n;
    std::memset(first, 0, at_ % 8);
    std::memset(first + end, 0, 7);
    std::uint64_t a = 0, b = 0, c = 0, d = 0;
    auto word = [first](std::size_t at) {
        std::uint64_t value = 0;
        std::memcpy(&value, first + at, 8);
        return value;
    };
    std::size_t i = 0;
    for (; i + 32 <= end; i += 32) {
        a += word(i);
        b += word(i + 8);
        c += word(i + 16);
        d += word(i + 24);
    }
    for (; i < end; i += 8)
        a += word(i);
    sum_ += a + b + c + d;
    at_ += n;
}

/* ---- results ---- */

void Json::key(const char* name) {
    text_ += (text_.empty() ? "\"" : ", \"") + std::string(name) + "\": ";
}

Json& Json::add(const char* name, double value) {
    key(name);
    char text[40];
    std::snprintf(text, sizeof text, "%.6g", std::isfinite(value) ? value : 0.0);
    text_ += text;
    return *this;
}

Json& Json::add(const char* name, std::uint64_t value) {
    key(name);
    text_ += std::to_string(value);
    return *this;
}

Json& Json::add(const char* name, std::int64_t value) {
    key(name);
    text_ += std::to_string(value);
    return *this;
}

Json& Json::add(const char* name, const std::string& value) {
    key(name);
    text_ += '"';
    for (char c : value) {
        if (c == '"' || c == '\\')
            text_ += '\\';
        text_ += c;
    }
    text_ += '"';
    return *this;
}

Json& Json::add(const char* name, const Usage& usage) {
    Json part;
    part.add("user_s", static_cast<double>(usage.user_us) / 1e6)
        .add("system_s", static_cast<double>(usage.system_us) / 1e6)
        .add("voluntary", usage.voluntary)
        .add("involuntary", usage.involuntary);
    key(name);
    text_ += "{" + part.text_ + "}";
    return *this;
}

void Json::print() const {
    std::printf("{%s}\n", text_.c_str());
}

double percentile(std::vector<float>& values, double p) {
    if (values.empty())
        return 0;
    auto at = std::min(values.size() - 1,
                       static_cast<std::size_t>(p * static_cast<double>(values.size())));
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at),
                     values.end());
    return values[at];
}

} // namespace xway::local
