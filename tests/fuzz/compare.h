/* SPDX-License-Identifier: GPL-2.0 */
/* compare.h - two logs of the same programs, side by side. */
#pragma once

#include <string>

namespace xway::fuzz {

/* Prints the first line of each program that differs, and how many there are; returns the exit
 * status. */
int compare(const std::string& one, const std::string& other);

} // namespace xway::fuzz
