/* SPDX-License-Identifier: GPL-2.0 */
/* options.h - the options of `xway-socket-cases run` and `serve`. */
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "side.h"

namespace xway::test {

struct RunOptions {
    std::optional<Address> peer;  /* IPv4; without it the IPv4 and mapped variants are left out */
    std::optional<Address> peer6; /* without it the IPv6 variants are left out */
    std::uint16_t control_port = 7710;
    std::vector<std::string> filters; /* a case or variant runs if it matches one of these */
    std::vector<std::string> without; /* and none of these */
    milliseconds timeout{20000};
    double scale = 1;
    milliseconds warm{50};
    int repeat = 1;
    int jobs = 1; /* so many cases side by side: most of a case is waiting */
    int wait_ms = 30000;
    bool swap = false; /* also run every kPair case with the roles exchanged */
    bool list = false;
    bool fail_fast = false;
    bool verbose = false; /* run: the time of each case; serve: why one has failed */
};

/* Thrown for a command line that cannot be understood. */
struct Usage {};

/* The words after the role. */
RunOptions parse_options(int argc, char** argv);

} // namespace xway::test
