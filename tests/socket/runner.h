/* SPDX-License-Identifier: GPL-2.0 */
/* runner.h - `xway-socket-cases run`: the connecting side, which chooses the cases and prints the
 * results. */
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "side.h"

namespace xway::test {

struct RunOptions {
    std::optional<Address> peer;  /* IPv4; without it the IPv4 and mapped variants are left out */
    std::optional<Address> peer6; /* without it the IPv6 variants are left out */
    std::uint16_t control_port = 0;
    std::vector<std::string>
        filters; /* a case or variant runs if it matches one, and none of `without` */
    std::vector<std::string> without;
    milliseconds timeout{20000};
    double scale = 1;
    milliseconds warm{50};
    int repeat = 1;
    int wait_ms = 30000;
    bool swap = false; /* also run every kPair case with the roles exchanged */
    bool list = false;
    bool fail_fast = false;
    bool verbose = false; /* print the time of each case */
};

/* 0: all passed. 1: some failed. */
int run_cases(const RunOptions& options);

} // namespace xway::test
