// SPDX-License-Identifier: GPL-2.0-or-later
#include "rights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#include "endpoint.h"
#include "inherit.h"
#include "process.h"
#include "real.h"
#include "table.h"

namespace xway {

namespace {

constexpr char kName[] = "xway-left-"; // of a file; then its connection's place in the message
constexpr std::size_t kControl = 4096; // bytes of control data that are looked into

int count_of(const cmsghdr* control) {
    return control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS &&
                   control->cmsg_len >= CMSG_LEN(0)
               ? static_cast<int>((control->cmsg_len - CMSG_LEN(0)) / sizeof(int))
               : 0;
}

int fd_at(const cmsghdr* control, int index) {
    int fd;
    memcpy(&fd, CMSG_DATA(control) + static_cast<std::size_t>(index) * sizeof(int), sizeof(fd));
    return fd;
}

// Does the process that would receive from `fd` run the library?
bool reaches_library(int fd) {
    ucred peer{};
    socklen_t length = sizeof(peer);
    if (real.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
        return false;
    char path[64], line[512];
    snprintf(path, sizeof(path), "/proc/%d/maps", static_cast<int>(peer.pid));
    FILE* maps = fopen(path, "re");
    bool found = false;
    while (maps && !found && fgets(line, sizeof(line), maps))
        found = strstr(line, "libxway") != nullptr;
    if (maps)
        fclose(maps);
    return found;
}

// The place of the connection that `fd` is the left bytes of; -1: it is a descriptor as any other.
int place_of(int fd) {
    char path[32], target[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(path, target, sizeof(target) - 1);
    if (length < 0)
        return -1;
    target[length] = 0;
    int place;
    return sscanf(target, "/memfd:xway-left-%d", &place) == 1 ? place : -1;
}

// Takes the files out of `control`, which was received.
void take_files(cmsghdr* control) {
    const int count = count_of(control);
    int kept = 0;
    for (int i = 0; i < count; i++) {
        const int fd = fd_at(control, i);
        const int place = i > 0 ? place_of(fd) : -1;
        if (place >= 0 && place < kept) {
            const int connection = fd_at(control, place);
            if (!left_unpack(connection, fd))
                left_lost(connection);
            continue;
        }
        table_set(fd, Entry());
        memcpy(CMSG_DATA(control) + static_cast<std::size_t>(kept) * sizeof(int), &fd, sizeof(fd));
        kept++;
    }
    control->cmsg_len = CMSG_LEN(static_cast<std::size_t>(kept) * sizeof(int));
}

// Copies `control` to where the program has room from `used` on; what does not fit is closed.
std::size_t give(const cmsghdr* control, char* to, std::size_t used, std::size_t room,
                 int* message_flags) {
    std::size_t length = control->cmsg_len;
    if (used + length > room) {
        *message_flags |= MSG_CTRUNC;
        const int count = count_of(control);
        const std::size_t space = room > used + CMSG_LEN(0) ? room - used - CMSG_LEN(0) : 0;
        const int fit = std::min(count, static_cast<int>(space / sizeof(int)));
        for (int i = fit; i < count; i++)
            real.close(fd_at(control, i));
        length = count > 0 ? (fit > 0 ? CMSG_LEN(static_cast<std::size_t>(fit) * sizeof(int)) : 0)
                           : room - std::min(room, used);
        if (length < sizeof(cmsghdr))
            return used;
    }
    memcpy(to + used, control, length);
    reinterpret_cast<cmsghdr*>(to + used)->cmsg_len = length;
    return std::min(room, used + CMSG_ALIGN(length));
}

} // namespace

RightsOut::RightsOut(const msghdr& message) : message_(message) {
    const KeepErrno keep;
    // Any number of descriptors travels in one control message; nobody sends two.
    cmsghdr* control = CMSG_FIRSTHDR(&message);
    const int count = control ? count_of(control) : 0;
    for (int i = 0; i < count; i++)
        prepare(fd_at(control, i), i);
}

void RightsOut::prepare(int fd, int index) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep)
        return;
    endpoint_to_tcp(ep, XWAY_WHY_PEER_REFUSED);
    if (endpoint_left_over(ep, fd) == 0 || !left_is_ours(ep, fd))
        return;
    char name[32];
    snprintf(name, sizeof(name), "%s%d", kName, index);
    const int file = files_ < kFiles ? left_pack(ep, fd, name) : -1;
    if (file < 0)
        return left_lost(fd);
    connection_[files_] = fd;
    file_[files_++] = file;
}

// The files after the program's own descriptors, in a copy of its control data.
bool RightsOut::append() {
    const std::size_t more = static_cast<std::size_t>(files_) * sizeof(int);
    const auto* first = static_cast<const cmsghdr*>(message_.msg_control);
    const std::size_t length = first->cmsg_len;
    if (message_.msg_controllen > CMSG_ALIGN(length) || length + more > sizeof(control_))
        return false;
    memcpy(control_, first, length);
    memcpy(control_ + length, file_, more);
    reinterpret_cast<cmsghdr*>(control_)->cmsg_len = length + more;
    message_.msg_control = control_;
    message_.msg_controllen = CMSG_ALIGN(length + more);
    return true;
}

const msghdr* RightsOut::message(int fd) {
    const KeepErrno keep;
    if (files_ > 0 && !(reaches_library(fd) && append())) {
        for (int i = 0; i < files_; i++)
            left_lost(connection_[i]);
    }
    return &message_;
}

void RightsOut::take_back() {
    const KeepErrno keep;
    for (int i = 0; i < files_; i++)
        left_take_back(connection_[i], file_[i]);
    files_ = 0;
}

RightsOut::~RightsOut() {
    for (int i = 0; i < files_; i++)
        real.close(file_[i]);
}

ssize_t rights_receive(int fd, msghdr* message, int flags) {
    alignas(cmsghdr) char space[kControl];
    char* const program = static_cast<char*>(message->msg_control);
    const std::size_t room = message->msg_controllen;
    if (room < CMSG_LEN(sizeof(int)) || room > kControl / 2)
        return real.recvmsg(fd, message, flags);
    message->msg_control = space;
    message->msg_controllen = room + kControl / 2;
    const ssize_t got = real.recvmsg(fd, message, flags);
    if (got < 0) {
        message->msg_control = program;
        message->msg_controllen = room;
        return got;
    }
    const KeepErrno keep;
    std::size_t used = 0;
    for (cmsghdr* control = CMSG_FIRSTHDR(message); control;
         control = CMSG_NXTHDR(message, control)) {
        const std::size_t length = control->cmsg_len; // CMSG_NXTHDR() needs it as it was
        take_files(control);
        used = give(control, program, used, room, &message->msg_flags);
        control->cmsg_len = length;
    }
    message->msg_control = program;
    message->msg_controllen = used;
    return got;
}

} // namespace xway
