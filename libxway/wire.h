// SPDX-License-Identifier: GPL-2.0-or-later
//
// wire.h - what the library and xwayd say to each other.
//
// One SOCK_SEQPACKET connection a process, one fixed-size message a packet, descriptors beside it.
// Who a process is, xwayd asks the kernel (SO_PEERCRED at connect, a pidfd); what a socket is, it
// asks the socket that was passed. Nobody waits for an answer: the library looks into its mailbox
// page, and at the socket only when that says that something has come.
#pragma once

#include <atomic>
#include <cstdint>

namespace xway {

inline constexpr std::uint32_t kWireVersion = 1;
inline constexpr char kWireSystemPath[] = "/run/xway/xwayd.sock";
// An explicit path; without it $XDG_RUNTIME_DIR/xway/xwayd.sock if it is there, else the system's.
inline constexpr char kWirePathVariable[] = "XWAY_SOCKET";
inline constexpr unsigned kWireFdsMax = 8;

enum class WireType : std::uint32_t {
    // Library to xwayd.
    kHello = 1, // first of all. arg: kWireVersion; fds: 1..kArenaBells eventfds, its doorbells
    kRegister,  // fds: a connected TCP socket. Wanted: a slot with its other end
    kCancel,    // conn was closed before an answer came; an answer that is under way is ignored
    kRelease,   // arena, slot, side: this side uses it no more

    // xwayd to library.
    kWelcome = 64, // fds: the mailbox page. arg: of the machine, unused
    kAttach,  // conn, arena, slot, side. fds, when the arena is new to this process: the arena,
              // then the doorbells of the peer (count of them in arg)
    kDecline, // conn; arg: enum xway_why
    kDrop,    // arena: unmap it once none of its slots is in use; it will not be named again
};

struct WireMsg {
    WireType type;
    std::uint32_t arg;
    std::uint64_t conn;  // the library's name for a connection; xwayd only repeats it
    std::uint32_t arena; // never reused in the lifetime of an xwayd
    std::uint32_t slot;
    std::uint32_t side; // 0 or 1: which SlotSide, ArenaSide is the receiver's own
    std::uint32_t peer; // pid of the other process, in the eyes of xwayd; for people
};
static_assert(sizeof(WireMsg) == 32);

// One page, written by xwayd, sealed, mapped read-only by the library.
struct Mailbox {
    std::atomic<std::uint32_t> mail;    // messages ever sent to this process
    std::atomic<std::uint32_t> enabled; // 0: policy or the operator wants no new registrations
};

} // namespace xway
