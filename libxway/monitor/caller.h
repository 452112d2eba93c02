// SPDX-License-Identifier: GPL-2.0-or-later
//
// caller.h - the process at the other end of a UNIX socket, in the kernel's words.
#pragma once

#include <string>

#include <sys/types.h>

#include "result.h"
#include "unique_fd.h"

namespace xway {

struct Caller {
    pid_t pid = 0; // for people; the pidfd is what tells
    uid_t uid = 0;
    gid_t gid = 0;
    UniqueFd pidfd; // readable once the process has ended

    // The process that has connected this socket. Fails if it is gone already.
    static Result<Caller> behind(int socket);

    [[nodiscard]] bool has_ended() const;

    // Its path in the unified hierarchy, "" if there is none or the process has ended.
    [[nodiscard]] std::string cgroup() const;
    // What it is called, for people.
    [[nodiscard]] std::string name() const;
};

} // namespace xway
