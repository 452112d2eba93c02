/* SPDX-License-Identifier: GPL-2.0 */
/* step.cpp - the text of steps, and the options that are tried. */
#include "step.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <sstream>

namespace xway::fuzz {

namespace {

constexpr std::array<const char*, static_cast<std::size_t>(Op::kOps)> kNames = {
    "socket",   "bind",     "listen",   "connect", "accept",   "close",  "dup",    "dup2",
    "shutdown", "nonblock", "send",     "recv",    "sendfile", "splice", "unpipe", "more",
    "cork",     "drain",    "poll",     "pollall", "select",   "epoll",  "eadd",   "emod",
    "edel",     "ewait",    "eclose",   "inq",     "outq",     "mark",   "setopt", "getopt",
    "sockname", "peername", "so_error", "pump",    "fill",     "pause"};

struct Flag {
    const char* name;
    unsigned bit;
};

const std::vector<Flag>& flags_of(FlagKind kind) {
    static const std::vector<Flag> none;
    static const std::vector<Flag> message = {
        {"OOB", MSG_OOB},           {"PEEK", MSG_PEEK},           {"TRUNC", MSG_TRUNC},
        {"DONTWAIT", MSG_DONTWAIT}, {"WAITALL", MSG_WAITALL},     {"NOSIGNAL", MSG_NOSIGNAL},
        {"MORE", MSG_MORE},         {"DONTROUTE", MSG_DONTROUTE}, {"EOR", MSG_EOR},
        {"ERRQUEUE", MSG_ERRQUEUE}, {"CTRUNC", MSG_CTRUNC}};
    static const std::vector<Flag> poll = {
        {"IN", POLLIN},         {"PRI", POLLPRI},       {"OUT", POLLOUT},
        {"ERR", POLLERR},       {"HUP", POLLHUP},       {"NVAL", POLLNVAL},
        {"RDNORM", POLLRDNORM}, {"RDBAND", POLLRDBAND}, {"WRNORM", POLLWRNORM},
        {"WRBAND", POLLWRBAND}, {"RDHUP", POLLRDHUP}};
    static const std::vector<Flag> epoll = {
        {"IN", EPOLLIN},         {"PRI", EPOLLPRI},       {"OUT", EPOLLOUT},
        {"ERR", EPOLLERR},       {"HUP", EPOLLHUP},       {"RDNORM", EPOLLRDNORM},
        {"RDBAND", EPOLLRDBAND}, {"WRNORM", EPOLLWRNORM}, {"WRBAND", EPOLLWRBAND},
        {"RDHUP", EPOLLRDHUP},   {"ET", EPOLLET},         {"ONESHOT", EPOLLONESHOT}};
    switch (kind) {
    case FlagKind::kMessage: return message;
    case FlagKind::kPoll: return poll;
    case FlagKind::kEpoll: return epoll;
    case FlagKind::kNone: return none;
    }
    return none;
}

std::optional<unsigned> parse_flags(FlagKind kind, const std::string& text) {
    unsigned flags = 0;
    std::istringstream in(text);
    for (std::string name; std::getline(in, name, '|');) {
        bool known = name == "0";
        for (const Flag& flag : flags_of(kind))
            if (name == flag.name)
                flags |= flag.bit, known = true;
        if (!known)
            return std::nullopt;
    }
    return flags;
}

} // namespace

FlagKind flag_kind(Op op) {
    switch (op) {
    case Op::kSend:
    case Op::kRecv: return FlagKind::kMessage;
    case Op::kPoll:
    case Op::kPollAll: return FlagKind::kPoll;
    case Op::kEadd:
    case Op::kEmod: return FlagKind::kEpoll;
    default: return FlagKind::kNone;
    }
}

std::string flags_text(FlagKind kind, unsigned flags) {
    std::string text;
    for (const Flag& flag : flags_of(kind)) {
        if (!(flags & flag.bit))
            continue;
        text += (text.empty() ? "" : "|") + std::string(flag.name);
        flags &= ~flag.bit;
    }
    if (flags != 0)
        text += (text.empty() ? "" : "|") + std::to_string(flags);
    return text.empty() ? "0" : text;
}

std::string Step::text() const {
    std::ostringstream out;
    out << side << (waits ? "+" : "") << (child ? "f" : "") << ' '
        << kNames[static_cast<std::size_t>(op)] << ' ' << h;
    if (a != 0 || b != 0 || flags != 0)
        out << ' ' << a;
    if (b != 0 || flags != 0)
        out << ' ' << b;
    if (flags != 0)
        out << ' ' << flags_text(flag_kind(op), flags);
    return out.str();
}

std::optional<Step> Step::parse(std::string_view line) {
    std::istringstream in{std::string(line)};
    std::string who, name, flags;
    Step step;
    if (!(in >> who >> name >> step.h) || (who[0] != 'c' && who[0] != 's'))
        return std::nullopt;
    step.side = who[0];
    for (std::size_t i = 1; i < who.size(); i++) {
        step.waits |= who[i] == '+';
        step.child |= who[i] == 'f';
    }
    bool known = false;
    for (std::size_t i = 0; i < kNames.size(); i++)
        if (name == kNames[i])
            step.op = static_cast<Op>(i), known = true;
    in >> step.a >> step.b >> flags;
    const auto bits = parse_flags(flag_kind(step.op), flags);
    if (!known || !bits)
        return std::nullopt;
    step.flags = *bits;
    return step;
}

const std::vector<Option>& options_table() {
    using T = Option::Type;
    static const std::vector<Option> table = {
        {"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, T::kInt, true, {1, 1, 0}},
        {"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, T::kInt, true, {0, 1}},
        {"SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT, T::kInt, true, {0, 1, 1, 2, 7, 100, 1000}},
        {"SO_RCVTIMEO", SOL_SOCKET, SO_RCVTIMEO, T::kTime, true, {0, 4}},
        {"SO_SNDTIMEO", SOL_SOCKET, SO_SNDTIMEO, T::kTime, true, {0, 4}},
        {"SO_LINGER", SOL_SOCKET, SO_LINGER, T::kLinger, true, {-1, 0, 0, 1}},
        {"SO_OOBINLINE", SOL_SOCKET, SO_OOBINLINE, T::kInt, true, {0, 1}},
        {"SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, T::kInt, true, {0, 1}},
        {"TCP_QUICKACK", IPPROTO_TCP, TCP_QUICKACK, T::kInt, false, {1}},
        {"TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, T::kInt, true, {60, 7200}},
        {"TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT, T::kInt, true, {0, 20000}},
        {"SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, T::kInt, false, {262144, 400000}},
        {"SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, T::kInt, false, {262144, 400000}},
        {"SO_TYPE", SOL_SOCKET, SO_TYPE, T::kInt, true, {}},
        {"SO_ACCEPTCONN", SOL_SOCKET, SO_ACCEPTCONN, T::kInt, true, {}},
        {"SO_DOMAIN", SOL_SOCKET, SO_DOMAIN, T::kInt, true, {}},
        {"SO_PROTOCOL", SOL_SOCKET, SO_PROTOCOL, T::kInt, true, {}},
        {"TCP_CORK", IPPROTO_TCP, TCP_CORK, T::kInt, true, {}},
        {"TCP_DEFER_ACCEPT", IPPROTO_TCP, TCP_DEFER_ACCEPT, T::kInt, true, {}},
        {"SO_PRIORITY", SOL_SOCKET, SO_PRIORITY, T::kInt, true, {0, 3}},
        {"IP_TOS", IPPROTO_IP, IP_TOS, T::kInt, true, {0, 16}},
    };
    return table;
}

} // namespace xway::fuzz
