// SPDX-License-Identifier: GPL-2.0-or-later
//
// epoll.h - epoll sets with connections that ride rings.
//
// DOC: Theory of operation
//
// The program's epoll set stays what it is, and the kernel serves all of it that rides TCP. When a
// connection is attached, its registration moves into a second set of our own, which the program's
// set contains under a number that only we know; the process's doorbell is in there too. What is
// ready in rings is kept in a list: a peer's doorbell puts a member in, finding nothing to do for
// it takes it out, and asks for the doorbell again. epoll_wait() hands out that list, then what the
// kernel has; it sleeps in the kernel, on the program's set, with the program's signal mask.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>

#include <cstdint>

#include "endpoint.h"

namespace xway {

struct EpollSet;

// For a new set `fd`; nullptr: none left, the kernel serves it alone.
EpollSet* epoll_new(int fd);
void epoll_get(EpollSet* set);
void epoll_put(EpollSet* set);
// How many sets this process has made, at least.
std::uint32_t epoll_sets();

int epoll_control(EpollSet* set, int set_fd, int operation, int fd, epoll_event* event);
int epoll_wait_for(EpollSet* set, int set_fd, epoll_event* events, int most, std::int64_t deadline,
                   const sigset_t* mask);
// Has the set something ready that the kernel does not know of?
bool epoll_has_news(EpollSet* set);

// Is `fd` in a set of this process?
bool epoll_watches(int fd);
// A listener may have connections from now on that the kernel knows nothing of; or none any more.
void epoll_adopt_listener(Listener* listener);
// Before a fork: the kernel reports it in the program's sets again, where other processes see it,
// too. False: it is in none.
bool epoll_share_listener(const Listener* listener);
void epoll_lose_listener(Listener* listener);
// It has got a connection that no doorbell tells of, and the kernel no more.
void epoll_tell_listener(int fd);

// `fd` is about to be closed, or to become something else.
void epoll_forget(int fd, Endpoint* ep);
// Its connection is given up, and the socket stays: the kernel tells of it again.
void epoll_keep(int fd);
// Moves its registrations; which doorbell it is to use.
std::uint32_t epoll_attached(Endpoint* ep, int fd);

// poll(2) bits of an attached connection, of which `events` are wanted.
short endpoint_poll(Endpoint* ep, int fd, short events);

void epoll_lock();
void epoll_unlock();
void epoll_forked();

// A thread that sleeps in the kernel for connections on TCP would not hear of a ring that another
// thread moves them to: they stay where they are as long as this lives. Beyond kMost they may move.
class StayOnTcp {
public:
    StayOnTcp(pollfd* fds, nfds_t count);
    StayOnTcp(int count, const fd_set* in, const fd_set* out);
    ~StayOnTcp();
    StayOnTcp(const StayOnTcp&) = delete;
    StayOnTcp& operator=(const StayOnTcp&) = delete;

private:
    static constexpr unsigned kMost = 256;
    void add(int fd);
    unsigned held_ = 0;
    Endpoint* endpoint_[kMost];
};

// poll(2), select(2) with connections on rings (poll.cpp).
int poll_for(pollfd* fds, nfds_t count, std::int64_t deadline, const sigset_t* mask);
bool poll_concerns_us(pollfd* fds, nfds_t count);

} // namespace xway
