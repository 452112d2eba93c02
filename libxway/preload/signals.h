// SPDX-License-Identifier: GPL-2.0-or-later
//
// signals.h - the program's signal handlers, kept out of the library's critical sections.
//
// Every handler that the program installs is run by one of ours: not inside a critical section
// (it waits until that is left), and with a note of whether it asked for SA_RESTART, so that a wait
// of ours ends as a system call would have.
#pragma once

#include <signal.h>

namespace xway {

// Takes over the signals of faults, for fault.h.
void signals_init();

// As sigaction(2).
int signals_action(int number, const struct sigaction* action, struct sigaction* old);

// A wait has ended with EINTR: would the kernel have restarted the call?
bool restarts_after_signal();

} // namespace xway
