// SPDX-License-Identifier: GPL-2.0-or-later
//
// local.cpp - one line to xwayd, its answer until end of file.
#include "local.h"

#include <sys/socket.h>

#include "socket_file.h"
#include "unique_fd.h"
#include "wire.h"

namespace xway {

namespace {

// This user's own xwayd, else the system's: the order in which programs look for it.
Result<UniqueFd> connect_to_xwayd() {
    const std::string own = own_socket_path();
    auto connected = connect_to(control_path(own), SOCK_STREAM);
    if (!connected && own != kWireSystemPath)
        connected = connect_to(control_path(kWireSystemPath), SOCK_STREAM);
    if (!connected)
        return Error{"no xwayd answers at " + own, "start a program with 'xway-run'",
                     connected.error().code};
    return connected;
}

} // namespace

bool asks_xwayd(bool on_demand, const Common& common) {
    if (on_demand)
        return true;
    const bool is_test = !common.root.empty();
    return !is_test && !common.host().exists("/proc/xway_front") && connect_to_xwayd();
}

Result<std::string> ask_xwayd(const std::string& request) {
    auto connection = connect_to_xwayd();
    if (!connection)
        return connection.error();
    const int fd = connection->get();
    const std::string line = request + '\n';
    if (send(fd, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
        return Error::from_errno("cannot ask xwayd", errno);
    std::string text;
    char buffer[16384];
    ssize_t got;
    while ((got = read(fd, buffer, sizeof(buffer))) > 0)
        text.append(buffer, static_cast<std::size_t>(got));
    if (got < 0)
        return Error::from_errno("cannot read what xwayd says", errno);
    return text;
}

} // namespace xway
