// SPDX-License-Identifier: GPL-2.0-or-later
//
// endpoint.h - one end of a TCP connection between two processes of this kernel.
//
// DOC: Theory of operation
//
// An endpoint belongs to an open file description, as the socket does: it lies in memory that forks
// share, and counts the descriptors that lead to it. The real socket keeps its descriptor and its
// live TCP connection throughout. An endpoint begins on TCP: each call goes to the kernel, and what
// it moved is counted. A connection that is used for more than a few calls is registered with xwayd
// (registrar.h); when the other end is too, and nobody is inside a call, it is attached to a slot
// of an arena. From then on each direction rides TCP or a ring, as xway/stream.h says: the sender
// switches at an exact byte, the receiver follows.
//
//     kTcp --(matched, nobody inside, counts agree with the kernel's)--> kRing
//     kTcp --(something that we cannot follow, or would not)-----------> kPlain
//
// kRing becomes kPlain once both of its directions ride TCP for good and nothing is left in a ring;
// kPlain means hands off. kParked is a connection of direct mode that no program has open; see
// direct.h.
#pragma once

#include <netinet/in.h>
#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <xway/spin.h>
#include <xway/stream.h>
#include <xway/why.h>

#include "../arena.h"
#include "lock.h"

namespace xway {

enum class State : std::uint32_t { kFree = 0, kTcp, kBusy, kRing, kPlain, kParked };

// How far registration has come; written under kBusy, or by the registrar.
enum class Phase : std::uint32_t { kNew = 0, kRegistered, kMatched, kOver };

// Of rings, log2 of pages. By default 64 KiB, which stay in a second-level cache, and 256 KiB for
// streams; see Config.
inline constexpr std::uint32_t kOrderMost = 6;
inline constexpr std::uint32_t kOrderNone = ~0u;
inline constexpr std::size_t kChunk = 32 * 1024; // published in one go, so that both copies overlap
inline constexpr std::int64_t kLookNs = 20'000'000; // at most so long without asking TCP for news

struct Endpoint;
struct Listener;
struct Member;

// Has the program sent to a peer that had closed, and was it told of the reset that comes of that?
// Held: it has, and TCP would wait for more first.
enum class Late : std::uint32_t { kNo = 0, kHeld, kSent, kTold };

// An arena as a process has it mapped.
struct ArenaMap {
    ArenaView view;
    std::uint32_t id;            // as xwayd names it
    std::uint32_t session;       // the xwayd that named it so; see registrar_session()
    std::uint32_t owner;         // token of the process that xwayd gave it to
    std::uint32_t sides;         // bit s: side s is ours (both, if a process talks to itself)
    std::uint32_t bells;         // doorbells of the peer
    int bell[kArenaBells];       // their eventfds
    std::uint64_t unreleased[2]; // slots that xwayd is still to be told of (registrar.cpp)
    Endpoint* endpoint[2][kArenaSlots]; // whose slot it is, in this process
    Member* members[2][kArenaSlots];    // where it is in epoll sets (epoll.cpp)
};

// Ring bytes that stand in SlotSide::inline_data.
struct Inline {
    std::uint32_t at, len;
};

struct alignas(kCacheLine) Endpoint {
    std::atomic<State> state;
    std::atomic<std::uint32_t> refs; // descriptors, in all processes
    std::uint32_t generation;        // counts tenants of this place
    std::atomic<Phase> phase;
    std::atomic<std::uint32_t> users;    // threads inside a call to the kernel, while kTcp
    std::atomic<std::uint32_t> calls;    // data calls so far, while kNew
    std::uint32_t after;                 // data calls until it is registered
    std::atomic<bool> nonblock;          // O_NONBLOCK, which belongs to the description
    std::atomic<bool> forked;            // other processes may hold descriptors
    bool foreign;                        // the peer's address is not this namespace's
    std::atomic<std::uint32_t> tx_stays; // enum xway_why: sends by TCP for good; 0: need not
    std::atomic<bool> wr_shut, rd_shut;
    std::atomic<Late> sent_late;               // in direct mode: after the peer had closed
    std::size_t held_late;                     // bytes of that, while it is held; tx_lock
    std::atomic<bool> peer_lost;               // the peer has been killed: nobody reads its rings
    std::atomic<std::uint64_t> tx_tcp, rx_tcp; // bytes by TCP since the connection began
    std::atomic<std::int64_t> rcv_timeout, snd_timeout; // ns; kNever: none
    std::atomic<std::uint32_t> rcv_lowat;               // SO_RCVLOWAT, bytes
    std::atomic<bool> inq;                              // TCP_INQ: recvmsg() tells what is left

    // Set when attached (attach.cpp), constant from then on.
    bool attached; // the slot is ours, even when all is on TCP again
    ArenaMap* arena;
    SlotSide* mine;
    SlotSide* theirs;
    std::uint32_t slot, side;
    std::uint32_t owner; // token of the process that has registered it, whose doorbells ring
    std::uint32_t peer_pid;

    // In direct mode (direct.cpp). Constant from attachment on, except where said otherwise.
    bool direct;                       // the connection may be parked and opened again
    bool dialled;                      // by this end
    int hidden;                        // descriptor of the library's own that keeps it; -1: none
    Listener* listener;                // whose accept() yields it, if not dialled
    std::uint32_t listener_generation; // which of those that have had this place
    std::uint32_t stock;               // where it is parked, if dialled
    std::uint32_t by_kernel;   // which connection of its stock, if the kernel opened it; 0: none
    std::uint32_t opened;      // times; written while nobody has it open
    std::uint64_t tx_before;   // bytes of the times before this one, by either rail
    std::uint64_t rx_before;   // the same, received
    std::uint32_t let_pass;    // `opened` that the kernel's may come before: asked once
    std::uint32_t options;     // enum Restored; those set since it was opened
    std::atomic<bool> touched; // the program has done what cannot be undone: never parked
    Endpoint* next;            // in the stock
    sockaddr_in6 peer_name;    // as accept() tells it
    socklen_t peer_name_length;

    // The sending end; tx_lock.
    alignas(kCacheLine) Lock tx_lock;
    std::uint32_t tx_order;     // of the ring that was used last, or kOrderNone
    std::uint32_t tx_entered;   // where its unread bytes began when it was last entered or left
    std::uint32_t tx_full;      // how often the small ring was found full
    std::int64_t tx_full_at;    // since when there has been no room, the reader being where
    std::uint32_t tx_full_cons; // it was then; see is_stalled()
    std::uint16_t tx_inline;    // SlotSide::inline_len, not to be read where the peer looks
    std::uint64_t tx_ring_bytes;
    std::int64_t flip_at;
    xway_why tx_why;
    xway_tx tx;
    xway_spin tx_spin;

    // The receiving end; rx_lock.
    alignas(kCacheLine) Lock rx_lock;
    bool rx_cut;               // we have ended the ring period that rx is in
    bool rx_ended;             // end of file has been seen: TCP says so, and the ring is empty
    bool rx_broken;            // the peer has published nonsense
    std::atomic<int> rx_error; // what TCP has told once, for when the ring is empty; 0: nothing
    std::uint64_t rx_ring_bytes;
    std::int64_t looked_at;  // when TCP was last asked for news, coarse
    std::uint32_t idle_asks; // receivers that found nothing and did not wait; a guess
    std::uint32_t rx_seen;   // ring bytes published, when they were last counted in this epoch
    std::uint32_t rx_seen_epoch;
    Inline rx_inline;       // among them
    std::uint32_t rx_heard; // ring bytes that this end had sent when it last received; a guess
    std::uint32_t rx_last;  // bytes that were taken last
    xway_rx rx;
    xway_spin rx_spin;
};

// ---- life (endpoint.cpp) ----

// A fresh endpoint with one reference, for a connected or connecting socket; nullptr: none left.
Endpoint* endpoint_new(bool nonblock);
void endpoint_get(Endpoint* ep);
// One descriptor less; `fd` still leads to the socket. Call it before the descriptor is closed and
// endpoint_closed() with its result after.
struct Closing {
    Endpoint* last = nullptr; // not null: this was the last descriptor
    bool park = false;        // the connection is kept for the next that opens it
};
Closing endpoint_close(Endpoint* ep, int fd);
void endpoint_closed(Closing closing);
// The kernel tells the peer of `fd` by a reset when it is closed.
void reset_at_close(int fd);
// Does `ep` lie where endpoints do? What another process names is not followed before.
bool endpoint_exists(const Endpoint* ep);

// Enters a call on a connection that may be on TCP alone. kKernel: counted, call the kernel, then
// endpoint_leave(). kPlain: call the kernel. kRing: use endpoint_send(), endpoint_recv().
enum class Way { kKernel, kPlain, kRing };
Way endpoint_enter(Endpoint* ep, int fd);
void endpoint_leave(Endpoint* ep);

// Never to be attached, for `why`; if it is attached, it sends by TCP from now on, and so shall the
// peer: the ring that it sends in is cut. What is left in it is still there for endpoint_recv().
void endpoint_to_tcp(Endpoint* ep, xway_why why);
// Hands the socket back to the kernel, if that was asked for and nothing is left in a ring.
void endpoint_retire(Endpoint* ep);
// Bytes that wait for endpoint_recv(), up to the last that is in a ring: what the kernel cannot
// yield. After endpoint_to_tcp().
std::size_t endpoint_left_over(Endpoint* ep, int fd);

// ---- data (tx.cpp, rx.cpp), for kRing ----

// As sendmsg(2) and recvmsg(2) without ancillary data. -1 and errno. `timeout`: what the socket's
// option says unless the call has its own.
ssize_t endpoint_send(Endpoint* ep, int fd, const iovec* iov, int count, int flags);
ssize_t endpoint_recv(Endpoint* ep, int fd, const iovec* iov, int count, int flags);

// Copies from descriptor `in` straight into the ring, as sendfile(2): at most `count` bytes from
// `*offset` (nullptr: its own position).
ssize_t endpoint_send_file(Endpoint* ep, int fd, int in, off_t* offset, std::size_t count);

// Ring bytes the receiver may take now; 0 if none, or if the stream goes on in TCP.
std::uint32_t rx_ready(Endpoint* ep);
// All that waits to be read, on both rails, as FIONREAD counts.
std::uint32_t rx_unread(Endpoint* ep, int fd);
// The same, up to the last ring byte.
std::uint32_t rx_unread_to_ring(Endpoint* ep, int fd);
// The error that the next call is to be told, which is taken, as SO_ERROR does; 0: none.
int rx_take_error(Endpoint* ep, int fd);
// Keeps an error for the next call that receives.
void rx_put_back(Endpoint* ep, int error);
// Ring bytes alone, whatever is before them.
std::uint32_t rx_unread_by_ring(Endpoint* ep, int fd);
// Is there anything at all for a receiver to act on, that is not TCP's?
bool rx_news(Endpoint* ep);
// In direct mode: has the peer closed it?
bool peer_has_closed(const Endpoint* ep);
// And has all been read that it had sent?
bool rx_over(const Endpoint* ep);
// All bytes by either rail since the connection began.
std::uint64_t tx_total(const Endpoint* ep);
std::uint64_t rx_total(const Endpoint* ep);
// Follows the switches that lie at the very point where the receiver is.
void rx_follow(Endpoint* ep);
// TCP says that its next byte is the urgent one; is it the connection's? 1 or 0.
int rx_at_mark(Endpoint* ep);
// Follows what switches there are, and looks for a byte behind them.
bool rx_peek(Endpoint* ep, int fd);
// Would a send make progress in the ring? True as well when it must go to TCP.
bool tx_news(Endpoint* ep);

// When the next full ring may have been left alone by its reader for long enough for TCP to take
// what follows, now_ns(); 0: none is full. Who sleeps longer than that in poll or epoll looks
// again.
extern std::atomic<std::int64_t> tx_stall_at;
inline constexpr std::int64_t kStallNs = 100'000'000;
// A send rides the ring, so the kernel's idea of writable is not the socket's.
bool tx_on_ring(const Endpoint* ep);
// The ring is full, and TCP has heard the last of the peer: has it only shut its direction down, or
// has it been killed? TCP tells whoever sends by it. True: the sends go there from now on.
bool tx_leave_if_shut(Endpoint* ep, int fd);
// Changes the rail, if that is due, now and not with the next byte.
void tx_choose(Endpoint* ep);
// In direct mode: was there a reset, for what the peer had not read, or for what was sent to it?
bool tx_was_reset(const Endpoint* ep);
// What was held for more goes now, to a peer that has closed.
void tx_push_late(Endpoint* ep);
// Bytes sent into the ring that the peer has not taken.
std::uint32_t tx_pending(Endpoint* ep);

// ---- attachment (attach.cpp) ----

// Makes `ep` use slot `slot` of `map`; the caller is alone inside it. False: it cannot be.
bool endpoint_attach(Endpoint* ep, int fd);

// `info` is what the kernel says of the socket, `length` bytes of it (TCP_INFO): adds ring bytes,
// of this time that it is open. Also where the connection has left the ring for good.
void endpoint_count_ring(Endpoint* ep, int fd, void* info, std::size_t length);

// The slot is `ep`'s: both directions on TCP, nothing switched yet.
void endpoint_use_slot(Endpoint* ep);

// Has TCP ended, or broken, without a word from the peer's library? Then the peer was killed.
bool endpoint_peer_lost(Endpoint* ep, int fd);

// Makes `ep` read what slot 0 of `map` holds, then TCP. `map` is of the same program's past.
void endpoint_take_up(Endpoint* ep, ArenaMap* map);

// Wakes whoever sleeps on the peer's side for what `word` of it says (rx_wait or tx_wait).
void wake_peer(Endpoint* ep, std::atomic<std::uint32_t>* word);
// Rings the peer's doorbell for `ep`, whoever has asked for it.
void ring_peer(Endpoint* ep);
// Rings this side's own doorbell for `ep`, as the peer would; it must work.
void ring_own(Endpoint* ep);
// Wakes this side's own sleepers: a descriptor was shut down, or moved to TCP.
void wake_own(Endpoint* ep);

} // namespace xway
