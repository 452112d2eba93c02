/* SPDX-License-Identifier: GPL-2.0 */
/*
 * channel.cpp - addresses, and what is opened there.
 */
#include "channel.h"

#include <arpa/inet.h>
#include <sys/un.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <thread>

namespace xway::bench {

double now() {
    auto t = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(t).count();
}

SocketAddress tcp_address(const std::string& text) {
    SocketAddress a;
    std::size_t colon = text.rfind(':');
    std::string host = colon == text.npos ? "" : text.substr(0, colon);
    std::string port_text = colon == text.npos ? text : text.substr(colon + 1);
    auto port = htons(static_cast<std::uint16_t>(std::atoi(port_text.c_str())));
    if (host.size() > 2 && host.front() == '[')
        host = host.substr(1, host.size() - 2);
    auto* four = reinterpret_cast<sockaddr_in*>(&a.storage);
    auto* six = reinterpret_cast<sockaddr_in6*>(&a.storage);
    if (inet_pton(AF_INET, host.c_str(), &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = port;
        a.length = sizeof *four;
    } else if (host.empty() || inet_pton(AF_INET6, host.c_str(), &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = port;
        a.length = sizeof *six;
    } else {
        throw Broken("not an address: " + text);
    }
    return a;
}

namespace {

SocketAddress unix_address(const std::string& path) {
    SocketAddress a;
    auto* un = reinterpret_cast<sockaddr_un*>(&a.storage);
    un->sun_family = AF_UNIX;
    if (path.size() >= sizeof un->sun_path)
        throw Broken("path too long: " + path);
    std::memcpy(un->sun_path, path.c_str(), path.size() + 1);
    a.length = sizeof *un;
    return a;
}

} // namespace

SocketAddress address_of(const Place& place) {
    return place.kind == Place::Kind::kTcp ? tcp_address(place.text) : unix_address(place.text);
}

std::unique_ptr<Channel> open_channel(const Place& place) {
#ifdef XWAY_BENCH_VCHAN
    if (place.kind == Place::Kind::kVchan) {
        libxenvchan* vchan = libxenvchan_client_init(nullptr, place.domain, place.path.c_str());
        if (!vchan)
            broken("vchan " + place.path);
        return std::make_unique<VchanChannel>(vchan);
    }
#endif
    SocketAddress a = address_of(place);
    int fd = ::socket(a.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&a.storage), a.length) < 0) {
        int error = errno;
        if (fd >= 0)
            ::close(fd);
        errno = error;
        broken("connect " + place.text);
    }
    return std::make_unique<SocketChannel>(fd);
}

std::unique_ptr<Channel> open_patiently(const Place& place) {
    for (double end = now() + 20;;) {
        try {
            return open_channel(place);
        } catch (const Broken&) {
            if (now() > end)
                throw;
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
        }
    }
}

} // namespace xway::bench
