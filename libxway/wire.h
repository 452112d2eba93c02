// SPDX-License-Identifier: GPL-2.0-or-later
//
// wire.h - what the library and xwayd say to each other.
//
// One SOCK_SEQPACKET connection a process, one fixed-size message a packet, descriptors beside it.
// Who a process is, xwayd asks the kernel (SO_PEERCRED at connect, a pidfd); what a socket is, it
// asks the socket that was passed. Nobody waits for an answer: the library looks into its mailbox
// page, and at the socket only when that says that something has come. Some requests may come by
// shared memory instead (queue.h).
#pragma once

#include <atomic>
#include <cstdint>

namespace xway {

inline constexpr std::uint32_t kWireVersion = 2;
inline constexpr char kWireSystemPath[] = "/run/xway/xwayd.sock";
// An explicit path; without it $XDG_RUNTIME_DIR/xway/xwayd.sock if it is there, else the system's.
inline constexpr char kWirePathVariable[] = "XWAY_SOCKET";
inline constexpr unsigned kWireFdsMax = 8;

enum class WireType : std::uint32_t {
    // Library to xwayd.
    kHello = 1, // first of all. arg: kWireVersion; flags: kHelloDirect, if it is in direct mode;
                // fds: 1..kArenaBells eventfds, its doorbells
    kRegister,  // fds: a connected TCP socket. Wanted: a slot with its other end. address, port: in
                // direct mode, where it was dialled to; 0: not by this process
    kCancel,    // conn was closed before an answer came; an answer that is under way is ignored
    kRelease,   // arena, slot, side: this side uses it no more
    kListen,    // conn: name of a listener, whose connections may be direct; fds: the socket
    kUnlisten,  // conn: that listener is closed, or shared with another process by now
    kSupply,    // the answer to kStock, a connection a message. ask; conn: the name of its accepted
                // end; fds: the end that connects, the accepted end. Without fds: no more will come
    kMore,      // address, port: every connection that was granted to there is in use

    // xwayd to library.
    kWelcome = 64, // fds: the mailbox page; then, if there is a queue for requests (queue.h), its
                   // memory and an eventfd. conn: the name of this process in it; flags
    kAttach,  // conn, arena, slot, side. fds, when the arena is new to this process: the arena,
              // then the doorbells of the peer (count of them in arg). flags: kAttachDirect
    kDecline, // conn; arg: enum xway_why
    kDrop,    // arena: unmap it once none of its slots is in use; it will not be named again
    kStock,   // conn: a listener; address, port: how a peer dials it; arg: connections wanted; ask:
              // to be repeated. The process makes them by connecting to itself
    kGrant,   // as kAttach with kAttachDirect, for a connection that the receiver has not opened:
              // fds begin with its socket; address, port: where to; conn: 0
};

// WireMsg::flags.
inline constexpr std::uint32_t kHelloDirect = 1;
inline constexpr std::uint32_t kWelcomeShared = 1; // the queue is that of all the user's processes
inline constexpr std::uint32_t kAttachDirect = 1;  // both ends are in direct mode, policy allows it

struct WireMsg {
    WireType type;
    std::uint32_t arg;
    std::uint64_t conn;  // the library's name for a connection; xwayd only repeats it
    std::uint32_t arena; // never reused in the lifetime of an xwayd
    std::uint32_t slot;
    std::uint32_t side; // 0 or 1: which SlotSide, ArenaSide is the receiver's own
    std::uint32_t peer; // pid of the other process, in the eyes of xwayd; for people
    std::uint32_t flags;
    std::uint32_t ask;        // xwayd's name for a request
    std::uint8_t address[16]; // IPv6, or IPv4 as ::ffff:a.b.c.d
    std::uint32_t port;       // host order
    std::uint32_t pad;
};
static_assert(sizeof(WireMsg) == 64);

// One page, written by xwayd, sealed, mapped read-only by the library.
struct Mailbox {
    std::atomic<std::uint32_t> mail; // messages ever sent to this process
    // What policy wants registered. 0: nothing; 1: connections within a network namespace; 2: those
    // to other addresses too, whose peers may be in another namespace of this machine.
    std::atomic<std::uint32_t> enabled;
    // 1: the kernel lets xwayd take no descriptors from this process; they are to be passed.
    std::atomic<std::uint32_t> no_fetch;
};

} // namespace xway
