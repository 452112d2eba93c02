// SPDX-License-Identifier: GPL-2.0-or-later
//
// epoll.cpp - sets and their members.
//
// Long because all of it is under one lock.
#include "epoll.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>

#include <algorithm>
#include <new>
#include <utility>

#include "listener.h"
#include "look.h"
#include "process.h"
#include "real.h"
#include "registrar.h"
#include "table.h"
#include "wait.h"

namespace xway {

namespace {

constexpr std::uint32_t kMembersMax = 1 << 18;
constexpr std::uint32_t kSetsMax = 4096;
// Waits may be served from rings alone if the kernel had nothing when it was last asked: so many,
// and for so long. A hundred times what it takes to ask.
constexpr int kKernelEvery = 8;
constexpr std::int64_t kKernelNs = 50'000;
constexpr int kInnerEvents = 32;
constexpr std::uint32_t kModes = EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE;
constexpr std::uint32_t kWritable = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
// In the inner set: all there is, so that a program may change its mind without a system call.
constexpr std::uint32_t kInnerMask =
    kWritable | EPOLLIN | EPOLLRDNORM | EPOLLRDBAND | EPOLLPRI | EPOLLRDHUP | EPOLLET;

} // namespace

// One descriptor in one set.
struct Member {
    EpollSet* set;
    Endpoint* ep;       // nullptr: not connected
    Listener* listener; // of direct mode, or nullptr
    Member* next;       // of the same descriptor
    Member* next_of_ep; // of the same attached connection
    Member* next_ready;
    epoll_event event; // as the program gave it
    int fd;
    bool ours;     // registered in the inner set; else in the program's
    bool listed;   // in the ready list
    bool disabled; // EPOLLONESHOT has fired
    bool parked;   // the program has taken it out; it stays in the inner set, as many put it back
    bool told;     // TCP has news, or had when it was last asked
    bool outside;  // a listener: of the kernel's connections the program's set tells itself
    bool orphan;   // its descriptor is closed, and another one leads to the connection: `fd` now
};

struct EpollSet {
    std::uint32_t refs;
    int fd;
    std::uint32_t owner; // token of the process that made it
    int inner;           // -1: no member has ever been attached
    std::uint64_t tag;   // what the program's set has as the inner set's data; + 1: the doorbell's
    std::uint32_t bell;  // which rings for what was put into this set last
    std::uint32_t bells; // those it hears, a bit each: its own, and of sets with the same in them
    int since_kernel;
    bool kernel_had;        // events, when it was last asked
    bool nested;            // the kernel watches it for another set
    std::int64_t kernel_at; // when that was
    Member* first;          // ready list
    Member* last;
    xway_spin spin;
};

namespace {

// All of it under one lock: held for short, never while sleeping.
Lock lock;
Member** watched; // by descriptor
Member* members;
Member* free_members;
std::uint32_t members_used;
EpollSet* sets;
EpollSet* free_sets;
std::uint32_t sets_used;

template <typename T>
T* reserve(std::size_t count) {
    void* memory = mmap(nullptr, sizeof(T) * count, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? nullptr : static_cast<T*>(memory);
}

bool ready_to_use() {
    if (sets)
        return true;
    watched = reserve<Member*>(kTableSize);
    members = reserve<Member>(kMembersMax);
    EpollSet* all = reserve<EpollSet>(kSetsMax);
    if (!watched || !members || !all)
        return false;
    sets = all;
    return true;
}

Member* member_new() {
    Member* m = free_members;
    if (m)
        free_members = m->next;
    else if (members_used < kMembersMax)
        m = &members[members_used++];
    else
        return nullptr;
    *m = Member{};
    return m;
}

Member* find(const EpollSet* set, int fd) {
    if (static_cast<unsigned>(fd) >= kTableSize)
        return nullptr;
    for (Member* m = watched[fd]; m; m = m->next) {
        if (m->set == set && !m->orphan)
            return m;
    }
    return nullptr;
}

void list(Member* m) {
    if (m->listed || m->disabled || m->parked)
        return;
    m->listed = true;
    m->next_ready = nullptr;
    if (m->set->last)
        m->set->last->next_ready = m;
    else
        m->set->first = m;
    m->set->last = m;
}

Member* unlist_first(EpollSet* set) {
    Member* m = set->first;
    if (!m)
        return nullptr;
    set->first = m->next_ready;
    if (!set->first)
        set->last = nullptr;
    m->listed = false;
    return m;
}

void unlist(Member* m) {
    if (!m->listed)
        return;
    Member* before = nullptr;
    for (Member* at = m->set->first; at; before = at, at = at->next_ready) {
        if (at != m)
            continue;
        (before ? before->next_ready : m->set->first) = m->next_ready;
        if (m->set->last == m)
            m->set->last = before;
        m->listed = false;
        return;
    }
}

// Among the members that news of an attached connection concerns, or not.
void join(Member* m) {
    Member** head = &m->ep->arena->members[m->ep->side][m->ep->slot];
    m->next_of_ep = *head;
    *head = m;
}

void part(Member* m) {
    for (Member** at = &m->ep->arena->members[m->ep->side][m->ep->slot]; *at;
         at = &(*at)->next_of_ep) {
        if (*at == m) {
            *at = m->next_of_ep;
            return;
        }
    }
}

void unwatch(Member* m) {
    for (Member** at = &watched[m->fd]; *at; at = &(*at)->next) {
        if (*at == m) {
            *at = m->next;
            break;
        }
    }
}

void remove(Member* m) {
    unlist(m);
    if (m->ours && m->ep)
        part(m);
    unwatch(m);
    m->next = free_members;
    free_members = m;
}

bool hears(const EpollSet* set, std::uint32_t bell) {
    return bell < kArenaBells && (set->bells >> bell & 1) != 0;
}

// For each doorbell of EpollSet::bells.
template <typename Body>
void each_bell(std::uint32_t bells, Body body) {
    for (; bells != 0; bells &= bells - 1)
        body(static_cast<std::uint32_t>(__builtin_ctz(bells)));
}

// The set, which has an inner one, is woken by this doorbell as well.
bool hear(EpollSet* set, std::uint32_t bell) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.u64 = set->tag + 1;
    if (hears(set, bell) || set->owner != process.token)
        return true;
    if (real.epoll_ctl(set->fd, EPOLL_CTL_ADD, process.bell[bell], &event) != 0)
        return false;
    set->bells |= 1u << bell;
    if (set->nested)
        bell_sleep(bell);
    return true;
}

// The second set, inside the program's, and the doorbell beside it.
bool open_inner(EpollSet* set) {
    if (set->inner >= 0)
        return true;
    const int inner = process_hide(real.epoll_create1(EPOLL_CLOEXEC));
    if (inner < 0)
        return false;
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    if (getrandom(&set->tag, sizeof(set->tag), GRND_NONBLOCK) != sizeof(set->tag))
        set->tag = reinterpret_cast<std::uintptr_t>(set) * 0x9e3779b97f4a7c15u;
    event.data.u64 = set->tag;
    if (real.epoll_ctl(set->fd, EPOLL_CTL_ADD, inner, &event) != 0) {
        process_unhide(inner);
        return false;
    }
    if (!hear(set, set->bell)) {
        process_unhide(inner); // leaves the program's set with it
        return false;
    }
    set->inner = inner;
    return true;
}

// Whoever waits for the set sleeps in another one: its doorbell must always ring.
void be_nested(EpollSet* set) {
    const Guard guard(lock);
    if (!set->nested && set->inner >= 0)
        each_bell(set->bells, bell_sleep);
    set->nested = true;
}

// The doorbell is to ring for what `m` watches. Who sleeps on the set is told of that, too.
void hear_of(const Member* m, std::uint32_t bell) {
    if (hears(m->set, bell))
        return;
    hear(m->set, bell);
    bell_ring_own(m->set->bell);
}

// One doorbell rings for a connection or a listener: every set that has it hears that one.
void all_hear(const Endpoint* ep, std::uint32_t bell) {
    for (Member* m = ep->arena->members[ep->side][ep->slot]; m; m = m->next_of_ep)
        hear_of(m, bell);
}

void use_bell(Endpoint* ep, std::uint32_t bell) {
    ep->mine->bell = bell;
    all_hear(ep, bell);
}

void use_bell(Listener* listener, int fd, std::uint32_t bell) {
    listener_set_bell(listener, bell);
    for (Member* m = watched[fd]; m; m = m->next) {
        if (m->listener == listener && m->ours)
            hear_of(m, bell);
    }
}

// `registered`: in the program's set, until now.
bool move_in(Member* m, bool registered) {
    if (!open_inner(m->set))
        return false;
    epoll_event event{};
    event.events = kInnerMask; // edge-triggered: that it still holds, we remember ourselves
    event.data.ptr = m;
    if (real.epoll_ctl(m->set->inner, EPOLL_CTL_ADD, m->fd, &event) != 0)
        return false;
    if (registered)
        real.epoll_ctl(m->set->fd, EPOLL_CTL_DEL, m->fd, nullptr);
    m->ours = true;
    if (m->ep) {
        m->ep->looked_at = 0;
        join(m);
    }
    list(m);
    return true;
}

// From the inner set to the program's.
void register_outside(const Member* m) {
    epoll_event event = m->event;
    if (m->disabled)
        event.events &= kModes;
    real.epoll_ctl(m->set->inner, EPOLL_CTL_DEL, m->fd, nullptr);
    real.epoll_ctl(m->set->fd, EPOLL_CTL_ADD, m->fd, &event);
}

// All is on TCP for good: the kernel serves it again.
void move_out(Member* m) {
    register_outside(m);
    m->ours = false;
    if (m->ep)
        part(m);
    unlist(m);
}

std::uint32_t poll_bits(std::uint32_t events) {
    return events & ~kModes; // the low bits are the same by definition
}

// What the member has to report, and the doorbell asked for if that is not all it waits for.
std::uint32_t evaluate(Member* m) {
    const auto wanted = static_cast<short>(poll_bits(m->event.events));
    Endpoint* ep = m->ep;
    if (m->outside)
        return wanted & POLLIN && listener_has_news(m->listener) ? POLLIN : 0;
    if (m->listener)
        return static_cast<std::uint16_t>(listener_poll(m->listener, wanted));
    if (m->told) {
        pollfd tcp{m->fd, POLLIN | POLLPRI | POLLRDHUP, 0};
        m->told = real.poll(&tcp, 1, 0) > 0;
        ep->looked_at = 0; // ask for what the program wants to know
    }
    if (m->event.events & EPOLLET) {
        if (wanted & POLLIN)
            bell_arm_rx(ep);
        if ((wanted & POLLOUT) && tx_on_ring(ep))
            bell_arm_tx(ep);
        return static_cast<std::uint16_t>(endpoint_poll(ep, m->fd, wanted));
    }
    short now = endpoint_poll(ep, m->fd, wanted);
    if (now)
        return static_cast<std::uint16_t>(now);
    if (wanted & (POLLIN | POLLRDHUP))
        bell_arm_rx(ep);
    if ((wanted & POLLOUT) && tx_on_ring(ep))
        bell_arm_tx(ep);
    return static_cast<std::uint16_t>(endpoint_poll(ep, m->fd, wanted));
}

// Every registration of a listener.
void list_all(int fd, std::uint32_t bell) {
    for (Member* m = watched[fd]; m; m = m->next) {
        if (!m->ours)
            continue;
        list(m);
        if (!hears(m->set, bell))
            bell_ring_own(m->set->bell);
    }
}

// Puts into the ready lists what the doorbells say. Only doorbell `bell`'s news; all of them go to
// every set that the connection is in.
void take_news(std::uint32_t bell) {
    const Guard guard(process.lock);
    for (std::uint32_t i = 0; i < process.arenas; i++) {
        ArenaMap* map = process.arena[i];
        for (std::uint32_t side = 0; side < 2; side++) {
            if (!(map->sides & (1u << side)))
                continue;
            auto& news = map->view.header()->side[side].bell[bell].news;
            if (news.load(std::memory_order_relaxed) == 0)
                continue;
            for (std::uint64_t bits = news.exchange(0); bits != 0; bits &= bits - 1) {
                const int slot = __builtin_ctzll(bits);
                for (Member* m = map->members[side][slot]; m; m = m->next_of_ep) {
                    if (m->parked)
                        continue;
                    list(m);
                    if (!hears(m->set, bell))
                        bell_ring_own(m->set->bell);
                }
                if (const Endpoint* ep = map->endpoint[side][slot];
                    ep && ep->state.load() == State::kParked && listener_serves(ep))
                    list_all(listener_fd(ep->listener), bell);
            }
        }
    }
}

void take_news(const EpollSet* set) {
    each_bell(set->bells, [](std::uint32_t bell) { take_news(bell); });
}

bool any_news(std::uint32_t bells) {
    const Guard guard(process.lock);
    for (std::uint32_t i = 0; i < process.arenas; i++) {
        const ArenaMap* map = process.arena[i];
        for (std::uint32_t side = 0; side < 2; side++) {
            if (!(map->sides & (1u << side)))
                continue;
            const Bell* bell = map->view.header()->side[side].bell;
            for (std::uint32_t bits = bells; bits != 0; bits &= bits - 1) {
                if (bell[__builtin_ctz(bits)].news.load(std::memory_order_relaxed) != 0)
                    return true;
            }
        }
    }
    return false;
}

// The set has got something that may be ready. Who sleeps on it has said so before it looked a last
// time, unless that was before the set had a doorbell.
void call_sleepers(const EpollSet* set, bool had_bell) {
    if (!had_bell || bell_has_sleepers(set->bell))
        bell_ring_own(set->bell);
}

// Hands out what is ready in rings, at most `most`; each waits for its turn again behind the
// others.
int collect(EpollSet* set, epoll_event* events, int most) {
    const Guard guard(lock);
    take_news(set);
    int count = 0;
    Member* const end = set->last;
    while (count < most && set->first) {
        Member* m = unlist_first(set);
        const bool was_last = m == end;
        if (m->ep && m->ep->state.load() == State::kPlain &&
            endpoint_left_over(m->ep, m->fd) == 0) {
            move_out(m);
        } else if (const std::uint32_t now = m->disabled ? 0 : evaluate(m)) {
            events[count].events = now;
            events[count++].data = m->event.data;
            if (m->event.events & EPOLLONESHOT) {
                m->disabled = true;
            } else if (!(m->event.events & EPOLLET)) {
                list(m);
            }
        }
        if (was_last)
            break;
    }
    if (set->nested && set->first)
        bell_ring_own(set->bell);
    return count;
}

// The kernel has woken the program's set. Takes the numbers of the doorbell and of the inner set
// out of `events`, and notes which members the latter stands for.
int filter(EpollSet* set, epoll_event* events, int count) {
    if (set->inner < 0)
        return count;
    int kept = 0;
    bool inner = false;
    for (int i = 0; i < count; i++) {
        if (events[i].data.u64 == set->tag)
            inner = true;
        else if (events[i].data.u64 != set->tag + 1)
            events[kept++] = events[i];
    }
    if (!inner)
        return kept;
    epoll_event news[kInnerEvents];
    const Guard guard(lock);
    // To the last: what is left there does not wake the program's set again.
    int found;
    do {
        found = real.epoll_wait(set->inner, news, kInnerEvents, 0);
        for (int i = 0; i < found; i++) {
            auto* m = static_cast<Member*>(news[i].data.ptr);
            if (m && m->set == set && m->ours) {
                const bool news_of_tcp = m->ep && (news[i].events & ~kWritable) != 0;
                m->told |= news_of_tcp;
                if (m->ep)
                    m->ep->looked_at = 0; // ask TCP what it was
                // Room that TCP has is no news of one that sends by ring: no edge without need.
                if (news_of_tcp || !m->ep || !tx_on_ring(m->ep))
                    list(m);
            }
        }
    } while (found == kInnerEvents);
    return kept;
}

int kernel_wait(EpollSet* set, int set_fd, epoll_event* events, int most, std::int64_t deadline,
                const sigset_t* mask) {
    const std::int64_t left =
        deadline == 0 || deadline == kNever ? 0 : std::max<std::int64_t>(deadline - now_ns(), 0);
    int count;
    if (left == 0) {
        count = real.epoll_pwait(set_fd, events, most, deadline == kNever ? -1 : 0, mask);
    } else {
        const timespec timeout{left / 1000000000, left % 1000000000};
        count = real.epoll_pwait2(set_fd, events, most, &timeout, mask);
        if (count < 0 &&
            errno == ENOSYS) // before Linux 5.11. Never early: a part of a ms is one more
            count = real.epoll_pwait(
                set_fd, events, most,
                static_cast<int>(std::min<std::int64_t>((left + 999999) / 1000000, INT_MAX)), mask);
    }
    // Both numbers of our own may have come, and filled what there was room for.
    for (int tries = 0;; tries++) {
        const int kept = count > 0 ? filter(set, events, count) : count;
        if (kept != 0 || count < most || tries == 3) {
            set->kernel_had = kept > 0;
            set->kernel_at = now_ns();
            return kept;
        }
        count = real.epoll_pwait(set_fd, events, most, 0, nullptr);
    }
}

// With events of rings to tell of. A nested set is readable as long as the kernel has the
// doorbell's ring to tell of.
bool kernel_may_have_more(const EpollSet* set) {
    return set->nested || set->kernel_had || now_ns() - set->kernel_at >= kKernelNs;
}

bool spin(EpollSet* set) {
    return look_longer(&set->spin, [&] { return any_news(set->bells); });
}

// A full ring may have been left alone for long enough: looks at all that wait for room in one.
void look_for_stalls(const EpollSet* set) {
    std::int64_t at = tx_stall_at.load(std::memory_order_relaxed);
    if (at == 0 || now_ns() < at || !tx_stall_at.compare_exchange_strong(at, 0))
        return;
    const Guard guard(lock);
    for (std::uint32_t i = 0; i < members_used; i++) {
        Member* m = &members[i];
        if (!m->set || !m->ours || !m->ep || !(m->event.events & kWritable) || !tx_on_ring(m->ep))
            continue;
        list(m);
        if (m->set != set)
            call_sleepers(m->set, true);
    }
}

// Sleeps in the kernel, after a last look. The events of the kernel or of rings; 0: look again.
int sleep(EpollSet* set, int set_fd, epoll_event* events, int most, std::int64_t deadline,
          const sigset_t* mask) {
    const std::uint32_t bells = set->bells;
    each_bell(bells, bell_sleep);
    int count = collect(set, events, most);
    if (count == 0) {
        const std::int64_t stall = tx_stall_at.load();
        count = kernel_wait(set, set_fd, events, most,
                            stall == 0 ? deadline : std::min(deadline, stall), mask);
    }
    const int error = errno;
    each_bell(bells, bell_wake);
    errno = error;
    return count;
}

} // namespace

EpollSet* epoll_new(int fd) {
    const Guard guard(lock);
    if (!ready_to_use())
        return nullptr;
    EpollSet* set = free_sets;
    if (set)
        free_sets = reinterpret_cast<EpollSet*>(set->first);
    else if (sets_used < kSetsMax)
        set = &sets[sets_used++];
    else
        return nullptr;
    *set = EpollSet{};
    set->refs = 1;
    set->fd = fd;
    set->owner = process.token;
    set->inner = -1;
    set->bell = static_cast<std::uint32_t>(set - sets);
    return set;
}

void epoll_get(EpollSet* set) {
    const Guard guard(lock);
    set->refs++;
}

void epoll_put(EpollSet* set) {
    const Guard guard(lock);
    if (--set->refs > 0)
        return;
    for (std::uint32_t i = 0; i < members_used; i++) {
        if (members[i].set == set) {
            remove(&members[i]);
            members[i].set = nullptr;
        }
    }
    if (set->inner >= 0) {
        if (set->nested)
            each_bell(set->bells, bell_wake);
        process_unhide(set->inner);
    }
    set->first = reinterpret_cast<Member*>(free_sets);
    free_sets = set;
}

std::uint32_t epoll_sets() {
    return sets_used;
}

namespace {

// What the kernel would say of an operation, whatever it is about.
bool refuses(int operation, std::uint32_t events) {
    constexpr std::uint32_t kWithExclusive =
        EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;
    if (operation == EPOLL_CTL_ADD)
        return (events & EPOLLEXCLUSIVE) && (events & ~kWithExclusive);
    return operation != EPOLL_CTL_MOD || (events & EPOLLEXCLUSIVE);
}

int control_outside(Member* m, int set_fd, int operation, epoll_event* event) {
    if (real.epoll_ctl(set_fd, operation, m->fd, event) != 0)
        return -1;
    if (operation == EPOLL_CTL_MOD) {
        m->event = *event;
        list(m);
    } else {
        remove(m);
        m->set = nullptr;
    }
    return 0;
}

} // namespace

int epoll_control(EpollSet* set, int set_fd, int operation, int fd, epoll_event* event) {
    const Entry entry = table_get(fd);
    if (EpollSet* nested = entry.epoll(); nested && operation == EPOLL_CTL_ADD)
        be_nested(nested);
    if (entry.endpoint() == nullptr && !entry.is_socket())
        return real.epoll_ctl(set_fd, operation, fd, event);
    Endpoint* ep = entry.endpoint();
    // Inherited: its doorbells ring for another process, so from now on TCP tells of its bytes.
    if (operation == EPOLL_CTL_ADD && ep && ep->state.load() == State::kRing && !bell_works(ep)) {
        endpoint_to_tcp(ep, XWAY_WHY_PEER_REFUSED);
        if (!process_make_bells(1)) {
            errno = ENOMEM;
            return -1;
        }
    }
    if (operation != EPOLL_CTL_DEL && refuses(operation, event->events)) {
        errno = EINVAL;
        return -1;
    }
    Listener* listener = listener_of(entry);
    if (listener && operation == EPOLL_CTL_ADD) {
        if (set->owner == process.token)
            listener_use(listener);
        else
            listener_retire(listener); // the doorbells in an inherited set are the parent's
    }
    if (process.bells == 0 || set->owner != process.token)
        listener = nullptr;
    const Guard guard(lock);
    Member* m = find(set, fd);
    if (m && m->outside)
        return control_outside(m, set_fd, operation, event);
    if (m && m->parked && (m->ep != ep || m->listener != listener)) {
        real.epoll_ctl(set->inner, EPOLL_CTL_DEL, fd, nullptr);
        remove(m);
        m = nullptr;
    }
    const bool ours = m ? m->ours : listener || (ep && ep->state.load() == State::kRing);
    bool was_open = true;
    if (m && m->parked) {
        if (operation != EPOLL_CTL_ADD) {
            errno = ENOENT;
            return -1;
        }
        m->parked = m->disabled = false;
        m->event = *event;
        if (ep)
            use_bell(ep, set->bell);
        else
            use_bell(listener, fd, set->bell);
        list(m);
        call_sleepers(set, true);
        return 0;
    }
    if (!ours) {
        if (real.epoll_ctl(set_fd, operation, fd, event) != 0)
            return -1;
    }
    switch (operation) {
    case EPOLL_CTL_ADD:
        if (m) {
            if (ours) {
                errno = EEXIST;
                return -1;
            }
            remove(m);
        }
        m = member_new();
        if (!m) {
            errno = ENOSPC;
            return -1;
        }
        m->set = set;
        m->ep = ep;
        m->fd = fd;
        m->event = *event;
        m->next = watched[fd];
        watched[fd] = m;
        if (!ours)
            return 0;
        m->listener = listener;
        set->bell %= process.bells;
        if (ep)
            use_bell(ep, set->bell);
        else
            use_bell(listener, fd, set->bell);
        was_open = set->inner >= 0;
        if (!move_in(m, false)) {
            remove(m);
            return -1;
        }
        call_sleepers(set, was_open);
        return 0;
    case EPOLL_CTL_MOD:
        if (!m) {
            if (ours)
                errno = ENOENT;
            return ours ? -1 : 0;
        }
        if (ours && ((m->event.events | event->events) & EPOLLEXCLUSIVE)) {
            errno = EINVAL;
            return -1;
        }
        m->event = *event;
        m->disabled = false;
        if (ours) {
            list(m);
            call_sleepers(set, true);
        }
        return 0;
    case EPOLL_CTL_DEL:
        if (!m) {
            if (ours)
                errno = ENOENT;
            return ours ? -1 : 0;
        }
        if (ours) {
            unlist(m);
            m->parked = true;
            return 0;
        }
        remove(m);
        m->set = nullptr;
        return 0;
    default: errno = EINVAL; return -1;
    }
}

int epoll_wait_for(EpollSet* set, int set_fd, epoll_event* events, int most, std::int64_t deadline,
                   const sigset_t* mask) {
    KeepErrno keep;
    for (;;) {
        int count = 0;
        if (config.direct) {
            registrar_read_mail();
            listener_work();
        }
        if (set->inner < 0) {
            count = kernel_wait(set, set_fd, events, most, deadline, mask);
            if (count != 0)
                return count > 0 ? count : static_cast<int>(keep.fail(errno));
            if (set->inner < 0 || (deadline != kNever && now_ns() >= deadline))
                return 0;
        }
        look_for_stalls(set);
        // Now and then the kernel first: rings alone must not keep its news waiting, however few
        // events are asked for at a time.
        const bool kernel_first = set->since_kernel >= kKernelEvery;
        if (kernel_first) {
            set->since_kernel = 0;
            count = std::max(kernel_wait(set, set_fd, events, most, 0, nullptr), 0);
        }
        if (count < most) {
            const int by_rings = collect(set, events + count, most - count);
            set->since_kernel += by_rings > 0;
            count += by_rings;
        }
        if (count > 0) {
            if (count < most && !kernel_first && kernel_may_have_more(set)) {
                const int more = kernel_wait(set, set_fd, events + count, most - count, 0, nullptr);
                count += std::max(more, 0);
            }
            return count;
        }
        if (deadline != 0 && spin(set))
            continue;
        if (deadline == 0) {
            count = kernel_wait(set, set_fd, events, most, 0, mask);
            if (count == 0)
                count = collect(set, events, most);
        } else {
            count = sleep(set, set_fd, events, most, deadline, mask);
            if (count == 0)
                count = collect(set, events, most);
        }
        if (count != 0)
            return count > 0 ? count : static_cast<int>(keep.fail(errno));
        if (deadline != kNever && now_ns() >= deadline)
            return 0;
    }
}

bool epoll_has_news(EpollSet* set) {
    if (set->inner < 0)
        return false;
    const Guard guard(lock);
    take_news(set);
    for (Member* m = set->first; m; m = m->next_ready) {
        if (evaluate(m))
            return true;
    }
    return false;
}

namespace {

// The kernel watches the connection, not its number: as long as another descriptor leads to it, it
// goes on being told of.
bool outlives(Member* m, int fd) {
    if (!m->ours || m->parked || m->outside || !m->ep || m->ep->refs.load() < 2)
        return false;
    for (int at = 0, top = table.top.load(); at < top; at++) {
        if (at == fd || table_endpoint(at) != m->ep)
            continue;
        unwatch(m);
        m->fd = at;
        m->orphan = true;
        m->next = watched[at];
        watched[at] = m;
        return true;
    }
    return false;
}

} // namespace

void epoll_forget(int fd, Endpoint* ep) {
    if (!watched || static_cast<unsigned>(fd) >= kTableSize || !watched[fd])
        return;
    const KeepErrno keep;
    const Guard guard(lock);
    while (Member* m = watched[fd]) {
        if (outlives(m, fd))
            continue;
        // What is registered in an inherited set is the parent's, and stays his.
        const bool may_delete = ep && m->set->owner == process.token;
        // With another descriptor for it, the kernel would go on reporting it under this number.
        if (may_delete && m->ours && (ep->refs.load() > 1 || ep->hidden >= 0))
            real.epoll_ctl(m->set->inner, EPOLL_CTL_DEL, fd, nullptr);
        // So it would if xwayd still holds the copy that was passed to it.
        if (may_delete && !m->ours && ep->refs.load() == 1 && ep->phase.load() != Phase::kNew)
            real.epoll_ctl(m->set->fd, EPOLL_CTL_DEL, fd, nullptr);
        remove(m);
        m->set = nullptr;
    }
}

bool epoll_watches(int fd) {
    return watched && static_cast<unsigned>(fd) < kTableSize && watched[fd];
}

namespace {

// For good what the program has taken out. With the lock.
void drop_parked(int fd) {
    for (Member *m = epoll_watches(fd) ? watched[fd] : nullptr, *next; m; m = next) {
        next = m->next;
        if (!m->parked)
            continue;
        real.epoll_ctl(m->set->inner, EPOLL_CTL_DEL, fd, nullptr);
        remove(m);
        m->set = nullptr;
    }
}

} // namespace

void epoll_keep(int fd) {
    if (!epoll_watches(fd))
        return;
    const KeepErrno keep;
    const Guard guard(lock);
    drop_parked(fd);
    for (Member *m = watched[fd], *next; m; m = next) {
        next = m->next;
        // Not the program's any more, or the parent's.
        if (m->orphan || m->set->owner != process.token) {
            remove(m);
            m->set = nullptr;
            continue;
        }
        if (m->ours)
            move_out(m);
        m->ep = nullptr;
    }
}

bool epoll_share_listener(const Listener* listener) {
    const Guard guard(lock);
    const int fd = listener_fd(listener);
    drop_parked(fd);
    for (Member* m = epoll_watches(fd) ? watched[fd] : nullptr; m; m = m->next) {
        if (!m->ours || m->outside)
            continue;
        register_outside(m);
        m->outside = true;
    }
    return epoll_watches(fd);
}

void epoll_adopt_listener(Listener* listener) {
    const Guard guard(lock);
    const int fd = listener_fd(listener);
    for (Member* m = epoll_watches(fd) ? watched[fd] : nullptr; m; m = m->next) {
        if (m->ours)
            continue;
        m->listener = listener;
        m->set->bell %= process.bells;
        move_in(m, true);
        use_bell(listener, fd, m->set->bell);
        bell_ring_own(m->set->bell);
    }
}

void epoll_tell_listener(int fd) {
    constexpr std::uint32_t kNone = ~0u;
    if (!epoll_watches(fd))
        return;
    const Guard guard(lock);
    list_all(fd, kNone);
}

void epoll_lose_listener(Listener* listener) {
    const Guard guard(lock);
    const int fd = listener_fd(listener);
    drop_parked(fd);
    for (Member* m = epoll_watches(fd) ? watched[fd] : nullptr; m; m = m->next) {
        if (m->ours && !m->outside)
            move_out(m);
        unlist(m);
        m->ours = m->outside = false;
        m->listener = nullptr;
    }
}

namespace {

// EPOLLONESHOT: has the kernel told of `fd`, whose registration it shows without events from then
// on?
bool has_fired(const EpollSet* set, int fd) {
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", set->fd);
    const int file = real.syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path),
                                  O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (file < 0)
        return false;
    char line[128];
    std::size_t length = 0;
    bool fired = false;
    char piece[4096];
    for (ssize_t got; (got = real.read(file, piece, sizeof(piece))) > 0;) {
        for (ssize_t i = 0; i < got; i++) {
            if (piece[i] != '\n') {
                if (length < sizeof(line) - 1)
                    line[length++] = piece[i];
                continue;
            }
            line[std::exchange(length, 0)] = '\0';
            int number;
            unsigned events;
            if (sscanf(line, "tfd: %d events: %x", &number, &events) == 2 && number == fd)
                fired = (events & ~kModes) == 0;
        }
    }
    real.close(file);
    return fired;
}

} // namespace

std::uint32_t epoll_attached(Endpoint* ep, int fd) {
    if (!watched)
        return 0;
    const Guard guard(lock);
    std::uint32_t bell = 0;
    const int top = table.top.load();
    const bool alone = ep->refs.load() == 1;
    for (int at = alone ? fd : 0; at < (alone ? fd + 1 : top); at++) {
        if (table_endpoint(at) != ep)
            continue;
        for (Member* m = watched[at]; m; m = m->next) {
            m->ep = ep;
            m->set->bell %= process.bells;
            bell = m->set->bell;
            if (m->event.events & EPOLLONESHOT)
                m->disabled = has_fired(m->set, at);
            move_in(m, true);
        }
    }
    all_hear(ep, bell);
    // Whoever sleeps in one of the sets does not know yet that there is a doorbell to sleep on.
    bell_ring_own(bell);
    return bell;
}

void epoll_lock() {
    lock.lock();
}

void epoll_unlock() {
    lock.unlock();
}

void epoll_forked() {
    new (&lock) Lock();
    // The doorbells in inherited sets are the parent's. Its connections stay ours without them;
    // what its listeners are told without the kernel is for the parent alone.
    for (std::uint32_t i = 0; i < members_used; i++) {
        if (members[i].outside) {
            unlist(&members[i]);
            members[i].ours = members[i].outside = false;
            members[i].listener = nullptr;
        }
    }
}

} // namespace xway
