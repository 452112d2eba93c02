/* SPDX-License-Identifier: GPL-2.0 */
/* server.h - `xway-socket-cases serve`: the accepting side of every case. */
#pragma once

#include <cstdint>

namespace xway::test {

/* Serves until killed: a process for each control connection, and in it one for the case. */
int serve(std::uint16_t control_port, bool verbose);

} // namespace xway::test
