/* SPDX-License-Identifier: GPL-2.0 */
/* host_ready.cpp - poll, select, epoll. */
#include <sys/epoll.h>
#include <sys/select.h>

#include <poll.h>

#include <algorithm>

#include "host.h"

namespace xway::fuzz {

Result Host::poll(const Step& step) {
    pollfd p{fd(step.h), static_cast<short>(step.flags), 0};
    Result result = say(::poll(&p, 1, static_cast<int>(step.a)));
    if (result.value > 0)
        result.text = flags_text(FlagKind::kPoll, static_cast<unsigned short>(p.revents));
    return result;
}

Result Host::poll_all(const Step& step) {
    std::array<pollfd, kHandles> list;
    for (long h = 0; h < kHandles; h++)
        list[static_cast<std::size_t>(h)] = {fd(h), static_cast<short>(step.flags), 0};
    Result result = say(::poll(list.data(), list.size(), 0));
    for (std::size_t h = 0; h < list.size(); h++)
        if (list[h].revents != 0)
            result.text +=
                " " + std::to_string(h) + ":" +
                flags_text(FlagKind::kPoll, static_cast<unsigned short>(list[h].revents));
    return result;
}

Result Host::select() {
    fd_set in, out, other;
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&other);
    int last = -1;
    for (const Handle& h : handles_) {
        if (h.fd < 0 || h.fd >= FD_SETSIZE)
            continue;
        FD_SET(h.fd, &in);
        FD_SET(h.fd, &out);
        FD_SET(h.fd, &other);
        last = std::max(last, h.fd);
    }
    timeval now{};
    Result result = say(::select(last + 1, &in, &out, &other, &now));
    for (std::size_t h = 0; result.value > 0 && h < handles_.size(); h++) {
        const int fd = handles_[h].fd;
        if (fd < 0 || fd >= FD_SETSIZE)
            continue;
        result.text += " " + std::to_string(h) + ":" + (FD_ISSET(fd, &in) ? "r" : "") +
                       (FD_ISSET(fd, &out) ? "w" : "") + (FD_ISSET(fd, &other) ? "e" : "");
    }
    return result;
}

Result Host::epoll_control(const Step& step) {
    if (step.h < 0 || step.h >= kEpolls)
        return nothing("none");
    int& set = epolls_[static_cast<std::size_t>(step.h)];
    if (step.op == Op::kEpoll) {
        if (set >= 0)
            return nothing("in use");
        set = epoll_create1(EPOLL_CLOEXEC);
        return nothing(set >= 0 ? "open" : "closed");
    }
    if (step.op == Op::kEclose)
        return say(::close(std::exchange(set, -1)));
    const int op = step.op == Op::kEadd   ? EPOLL_CTL_ADD
                   : step.op == Op::kEmod ? EPOLL_CTL_MOD
                                          : EPOLL_CTL_DEL;
    epoll_event event{};
    event.events = step.flags;
    event.data.u64 = static_cast<std::uint64_t>(step.a);
    return say(epoll_ctl(set, op, fd(step.a), &event));
}

/* In which order different sockets are told of is not said. */
Result Host::epoll_wait(const Step& step) {
    const int set =
        step.h >= 0 && step.h < kEpolls ? epolls_[static_cast<std::size_t>(step.h)] : -1;
    std::array<epoll_event, kHandles * 2> events;
    Result result = say(::epoll_wait(set, events.data(), events.size(), static_cast<int>(step.a)));
    if (result.value <= 0)
        return result;
    std::vector<std::string> told;
    for (long i = 0; i < result.value; i++) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        told.push_back(" " + std::to_string(static_cast<std::int64_t>(event.data.u64)) + ":" +
                       flags_text(FlagKind::kEpoll, event.events));
    }
    std::sort(told.begin(), told.end());
    for (const std::string& one : told)
        result.text += one;
    return result;
}

} // namespace xway::fuzz
