/* SPDX-License-Identifier: GPL-2.0 */
/*
 * session.h - one run of one case: the two ends of it, and what each reports.
 */
#pragma once

#include <string>

#include "control.h"
#include "side.h"

namespace xway::test {

struct Outcome {
    enum class Kind { kOk, kFailed, kSkipped };
    Kind kind = Kind::kFailed;
    std::string reason;
};

/* What the client asks of the server: one line. */
struct Request {
    std::string name;
    Variant variant;
    Pace pace;

    [[nodiscard]] std::string line() const;
    static Request parse(const std::string& line);
};

/* Runs this process's function of the case and agrees on the end with the other side. Never throws.
 */
Outcome run_side(Control& control, const Case& test, const Request& request, bool connector,
                 const Address& peer);

/* Connects to the control port, trying for up to `wait_ms`. */
UniqueFd connect_control(const Address& to, int wait_ms);

} // namespace xway::test
