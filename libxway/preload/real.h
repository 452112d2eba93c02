// SPDX-License-Identifier: GPL-2.0-or-later
//
// real.h - libc's own functions, past the wrappers: real.read(...) is what read() would have been.
#pragma once

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

namespace xway {

struct Real {
#define CALL(result, name, parameters, arguments) result(*name) parameters;
#define ALIAS(name, alias)
#include "calls.def"
#undef ALIAS
#undef CALL
};

// Usable at any time: what has not been looked up yet is when it is first called.
extern Real real;

} // namespace xway
