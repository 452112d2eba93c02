/* SPDX-License-Identifier: GPL-2.0 */
/* bpf.h - bpf(2) without a library, and programs short enough to be written down. */
#pragma once

#include <linux/bpf.h>

#include <span>

#include "fd.h"

namespace xway::test {

/* bpf(2); -1 and errno. */
int bpf(bpf_cmd command, bpf_attr& attributes);

/* A program that returns `value` whatever it is shown. Throws Skip where none may be loaded. */
UniqueFd bpf_returns(bpf_prog_type type, int value, unsigned attach_type = 0);

/* The upper layer that sits on the connection by name, as TCP_ULP tells it; empty: none. */
const char* upper_layer(int fd);

} // namespace xway::test
