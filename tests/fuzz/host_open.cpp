/* SPDX-License-Identifier: GPL-2.0 */
/* host_open.cpp - opening, accepting, duplicating, options, names. */
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "host.h"

namespace xway::fuzz {

namespace {

std::shared_ptr<Stream> new_stream(int connection, bool connector) {
    auto stream = std::make_shared<Stream>();
    stream->out_seed = static_cast<std::uint64_t>(connection) * 2 + (connector ? 1 : 0);
    stream->in_seed = static_cast<std::uint64_t>(connection) * 2 + (connector ? 0 : 1);
    return stream;
}

} // namespace

Result Host::open(const Step& step) {
    Handle* h = vacant(step.h);
    if (!h)
        return nothing("in use");
    const int flags = SOCK_STREAM | SOCK_CLOEXEC | (step.b != 0 ? SOCK_NONBLOCK : 0);
    h->fd = ::socket(peer_.family(), flags, 0);
    Result result = say(h->fd);
    if (h->fd >= 0)
        result.text = "open";
    return result;
}

Result Host::listen(const Step& step) {
    Result result = say(::listen(fd(step.h), static_cast<int>(step.a)));
    if (result.value == 0)
        result.port = test::local_address(fd(step.h)).port();
    return result;
}

Result Host::connect(const Step& step) {
    test::Address to = peer_;
    to.set_port(order_->port != 0 ? static_cast<std::uint16_t>(order_->port)
                                  : test::local_address(nobody_.get()).port());
    if (order_->port == 0 && peer_.family() == AF_INET)
        reinterpret_cast<sockaddr_in*>(to.get())->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else if (order_->port == 0)
        reinterpret_cast<sockaddr_in6*>(to.get())->sin6_addr = in6addr_loopback;
    const Result result = say(::connect(fd(step.h), to.get(), to.length));
    Handle* h = handle(step.h);
    const bool begun = result.value == 0 || result.text == "EINPROGRESS";
    if (h && begun && order_->port != 0 && !h->stream)
        h->stream = new_stream(order_->connection, true);
    return result;
}

Result Host::accept(const Step& step) {
    Handle* h = vacant(step.a);
    if (!h)
        return nothing("in use");
    test::Address from;
    from.length = sizeof from.storage;
    const int flags = step.b != 0 ? SOCK_NONBLOCK : 0;
    const int fd = step.b == 2 ? ::accept(this->fd(step.h), nullptr, nullptr)
                               : ::accept4(this->fd(step.h), from.get(), &from.length, flags);
    Result result = say(fd);
    if (fd < 0)
        return result;
    h->fd = fd;
    h->stream = new_stream(order_->connection, false);
    result.text = "accepted";
    if (step.b == 2)
        return result;
    test::Address peer;
    peer.length = sizeof peer.storage;
    const bool agrees = getpeername(fd, peer.get(), &peer.length) < 0 || peer.text() == from.text();
    result.text += " family " + std::to_string(from.family()) + " length " +
                   std::to_string(from.length) + (agrees ? "" : " of another peer");
    return result;
}

Result Host::dup(const Step& step) {
    Handle* from = handle(step.h);
    Handle* to = step.op == Op::kDup ? vacant(step.a) : handle(step.a);
    if (!from || !to || step.h == kLasting || step.a == kLasting)
        return nothing("none");
    const int fd = step.op == Op::kDup ? ::dup(from->fd) : ::dup2(from->fd, to->fd);
    Result result = say(fd);
    if (fd < 0)
        return result;
    *to = *from;
    to->fd = fd;
    result.text = "dup";
    return result;
}

Result Host::option(const Step& step) {
    const Option& option = options_table()[static_cast<std::size_t>(step.a)];
    const int fd = this->fd(step.h);
    union {
        int number;
        timeval time;
        linger wait;
    } value{};
    socklen_t size = option.type == Option::Type::kInt    ? sizeof value.number
                     : option.type == Option::Type::kTime ? sizeof value.time
                                                          : sizeof value.wait;
    if (step.op == Op::kSetopt) {
        if (option.type == Option::Type::kInt)
            value.number = static_cast<int>(step.b);
        else if (option.type == Option::Type::kTime)
            value.time = {0, step.b * 1000};
        else
            value.wait = {step.b >= 0, static_cast<int>(std::max(step.b, 0l))};
        const Result result = say(setsockopt(fd, option.level, option.number, &value, size));
        if (Handle* h = handle(step.h); h && option.type == Option::Type::kTime && step.b != 0)
            h->timed = true;
        return result;
    }
    Result result = say(getsockopt(fd, option.level, option.number, &value, &size));
    if (result.value < 0 || !option.readable)
        return result;
    result.text = std::to_string(size) + ": ";
    if (option.type == Option::Type::kInt)
        result.text += std::to_string(value.number);
    else if (option.type == Option::Type::kTime)
        result.text += std::to_string(value.time.tv_sec) + "." + std::to_string(value.time.tv_usec);
    else
        result.text +=
            std::to_string(value.wait.l_onoff) + " " + std::to_string(value.wait.l_linger);
    return result;
}

/* Ports are the kernel's choice: only whether there is one is said. */
Result Host::name(const Step& step) {
    test::Address a;
    a.length = sizeof a.storage;
    const int fd = this->fd(step.h);
    Result result = say(step.op == Op::kSockname ? getsockname(fd, a.get(), &a.length)
                                                 : getpeername(fd, a.get(), &a.length));
    if (result.value < 0)
        return result;
    const int port = a.port();
    a.set_port(0);
    result.text = a.text() + (port != 0 ? " with a port" : "");
    return result;
}

} // namespace xway::fuzz
