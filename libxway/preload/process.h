// SPDX-License-Identifier: GPL-2.0-or-later
//
// process.h - what this process is to xwayd and to its peers: doorbells, arenas, a token that tells
// it from the processes it was forked from.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "../arena.h"
#include "endpoint.h"

namespace xway {

inline constexpr std::uint32_t kArenasMax = 1024;

struct Process {
    std::uint32_t token = 1; // differs from those of all ancestors
    pid_t pid = 0;
    std::uint32_t processors = 1;
    std::uint32_t bells = 0; // 0: not known to xwayd
    int bell[kArenaBells] = {-1, -1, -1, -1};
    int control = -1;                         // the connection to xwayd
    std::uint32_t sleeping[kArenaBells] = {}; // threads asleep on each doorbell; lock
    std::uint32_t arenas = 0;                 // length of `arena`
    ArenaMap* arena[kArenasMax] = {};
    Lock lock; // over `arena`, and over the mappings of what is in it
};
extern Process process;

// Moves a descriptor of the library's own out of the way of the program's, and remembers it: the
// program cannot close it or see it closed. The new number, or -1.
int process_hide(int fd);
// A hidden descriptor for what `fd` leads to, which stays.
int process_hide_copy(int fd);
// The same for a connection that nobody has open: a child of fork() closes its copy.
int process_hide_connection(int fd);
// Closes a hidden descriptor.
void process_unhide(int fd);

// Makes `count` doorbells, at most once. False: no descriptor left.
bool process_make_bells(std::uint32_t count);

// In a child of fork(): `process` is new, the inherited connections are shared with the parent.
// Hooks itself into fork; called once.
void process_init();

// The process ends: what it shares with others by fork is closed, so that the last to close it
// knows that he is.
void process_leave();

// How many entries of the table lead to `ep` in this process.
std::uint32_t process_refs(const Endpoint* ep);

} // namespace xway
