// SPDX-License-Identifier: GPL-2.0-or-later
//
// caller.cpp - SO_PEERCRED, SO_PEERPIDFD, /proc/PID.
#include "caller.h"

#include <fstream>

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace xway {

namespace {

bool is_readable(int fd) {
    pollfd what{fd, POLLIN, 0};
    return poll(&what, 1, 0) == 1;
}

} // namespace

Result<Caller> Caller::behind(int socket) {
    ucred credentials{};
    socklen_t size = sizeof(credentials);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
        return Error::from_errno("cannot tell who has connected", errno);
    Caller caller{credentials.pid, credentials.uid, credentials.gid, UniqueFd()};

    int fd = -1;
    size = sizeof(fd);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0) {
        caller.pidfd = UniqueFd(fd);
    } else if (errno == ENOPROTOOPT) {
        // Before Linux 6.5 the number must do. A connection that is still open after it was looked
        // up belongs to a process that lives, or has left it to a child of its own.
        caller.pidfd = UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, caller.pid, 0)));
        pollfd connection{socket, 0, 0};
        if (caller.pidfd && poll(&connection, 1, 0) == 1)
            return Error{"the process has ended", {}, ESRCH};
    }
    if (!caller.pidfd)
        return Error::from_errno("cannot hold the process that has connected", errno);
    return caller;
}

bool Caller::has_ended() const {
    return is_readable(pidfd.get());
}

std::string Caller::cgroup() const {
    std::ifstream file("/proc/" + std::to_string(pid) + "/cgroup");
    std::string path;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("0::"))
            path = line.substr(3);
    }
    // As long as the process lives, its number is not another's.
    return has_ended() ? std::string() : path;
}

std::string Caller::name() const {
    std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
    std::string text;
    std::getline(file, text);
    for (char& character : text) {
        if (static_cast<unsigned char>(character) <= ' ' || character == '=')
            character = '_';
    }
    return has_ended() ? std::string() : text;
}

} // namespace xway
