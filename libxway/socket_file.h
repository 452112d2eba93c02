// SPDX-License-Identifier: GPL-2.0-or-later
//
// socket_file.h - where xwayd listens, and that only one does there.
#pragma once

#include <string>

#include <sys/types.h>

#include "result.h"
#include "unique_fd.h"

namespace xway {

// $XWAY_SOCKET, else the place of this user's own xwayd: $XDG_RUNTIME_DIR/xway/xwayd.sock, without
// that variable /tmp/xway-UID/xwayd.sock, and the system's as root.
std::string own_socket_path();

// Of the tools: beside the socket.
inline std::string control_path(const std::string& socket_path) {
    return socket_path + ".ctl";
}

// Makes the directory if it is not there. In /tmp it must be ours alone.
Result<void> prepare_directory(const std::string& socket_path);

// Held for as long as the process lives: whoever has it may replace the files.
Result<UniqueFd> lock_socket(const std::string& socket_path);

// A listening socket. A file that is left of an earlier process is replaced; the caller holds the
// lock.
Result<UniqueFd> listen_at(const std::string& path, int type, mode_t mode);

// A connection, or the errno of connect(2).
Result<UniqueFd> connect_to(const std::string& path, int type);

} // namespace xway
