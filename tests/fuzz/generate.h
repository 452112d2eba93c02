/* SPDX-License-Identifier: GPL-2.0 */
/* generate.h - a program from a number. */
#pragma once

#include <cstdint>

#include "step.h"

namespace xway::fuzz {

/* The same number gives the same program. */
Program generate(std::uint64_t seed);

} // namespace xway::fuzz
