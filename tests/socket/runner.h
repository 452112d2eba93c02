/* SPDX-License-Identifier: GPL-2.0 */
/* runner.h - `xway-socket-cases run`: the side that connects, chooses the cases and prints. */
#pragma once

#include "options.h"

namespace xway::test {

/* 0: all passed. 1: some failed. */
int run_cases(const RunOptions& options);

} // namespace xway::test
