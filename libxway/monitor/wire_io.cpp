// SPDX-License-Identifier: GPL-2.0-or-later
//
// wire_io.cpp - recvmsg and sendmsg with descriptors.
#include "wire_io.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>

namespace xway {

namespace {

union Control {
    cmsghdr align;
    char bytes[CMSG_SPACE(kWireFdsMax * sizeof(int))];
};

void take_fds(msghdr& header, std::vector<UniqueFd>& fds) {
    for (cmsghdr* part = CMSG_FIRSTHDR(&header); part; part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd;
            std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
            fds.emplace_back(fd);
        }
    }
}

} // namespace

Received receive_packet(int socket, Packet& packet) {
    iovec data{&packet.msg, sizeof(packet.msg)};
    Control control;
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    header.msg_control = &control;
    header.msg_controllen = sizeof(control);
    ssize_t got;
    do {
        got = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN ? Received::nothing : Received::closed;
    take_fds(header, packet.fds);
    // The kernel drops descriptors for want of room in the buffer, or in our table.
    const bool lost = (header.msg_flags & MSG_CTRUNC) != 0;
    packet.short_of_fds = lost && packet.fds.size() < kWireFdsMax;
    if (got == 0 && packet.fds.empty() && !lost)
        return Received::closed;
    if (got != sizeof(packet.msg) || (header.msg_flags & MSG_TRUNC) != 0 ||
        (lost && !packet.short_of_fds))
        return Received::malformed;
    return Received::packet;
}

Sent send_packet(int socket, const WireMsg& msg, const std::vector<SharedFd>& fds) {
    WireMsg copy = msg;
    iovec data{&copy, sizeof(copy)};
    Control control{};
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    if (!fds.empty()) {
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
        cmsghdr* part = CMSG_FIRSTHDR(&header);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
        for (std::size_t i = 0; i < fds.size(); ++i) {
            const int fd = fds[i]->get();
            std::memcpy(CMSG_DATA(part) + i * sizeof(int), &fd, sizeof(int));
        }
    }
    ssize_t sent;
    do {
        sent = sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return Sent::yes;
    if (errno == EAGAIN)
        return Sent::later;
    return errno == ETOOMANYREFS || errno == ENOMEM || errno == ENOBUFS ? Sent::busy : Sent::never;
}

} // namespace xway
