// SPDX-License-Identifier: GPL-2.0-or-later
#include "registrar.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <iterator>
#include <new>
#include <utility>

#include "../queue.h"
#include "../wire.h"
#include "config.h"
#include "direct.h"
#include "epoll.h"
#include "listener.h"
#include "process.h"
#include "real.h"
#include "table.h"
#include "wait.h"

namespace xway {

namespace {

constexpr std::int64_t kRetryNs = 1'000'000'000; // between two looks for an xwayd
constexpr std::uint32_t kMailMost = 64;          // unread before another is registered
constexpr std::uint64_t kPointerBits = (1ull << 48) - 1;

Lock lock;
Mailbox* mailbox_page;                      // stays mapped: others look at it without the lock
std::atomic<Mailbox*> mailbox;              // the same, from kWelcome on; nullptr before
std::uint32_t mail_read;                    // messages taken
std::int64_t next_try;                      // coarse
std::uint32_t session;                      // counts the connections to an xwayd
QueueMemory* queue;                         // nullptr: xwayd wants requests by socket
int queue_bell = -1;                        // wakes xwayd
bool queue_shared;                          // with other processes of this user
std::uint64_t queue_name;                   // of this process in it
std::int64_t monitor_checked;               // coarse: when xwayd was last known to live
bool rest_to_release;                       // an arena has ArenaMap::unreleased
std::atomic<std::uint64_t> asked, answered; // registrations; their difference may be under way

// What xwayd repeats in its answer: the place, and the tenant's number.
std::uint64_t name_of(const Endpoint* ep) {
    return (reinterpret_cast<std::uintptr_t>(ep) & kPointerBits) |
           static_cast<std::uint64_t>(ep->generation) << 48;
}

Endpoint* endpoint_named(std::uint64_t name) {
    auto* ep = reinterpret_cast<Endpoint*>(name & kPointerBits);
    if (!endpoint_exists(ep) || name_of(ep) != name || ep->refs.load() == 0)
        return nullptr;
    return ep;
}

void drop_connection() {
    if (process.control >= 0)
        process_unhide(process.control);
    process.control = -1;
    next_try = coarse_ns() + kRetryNs;
}

bool send_message(WireMsg message, const int* fds, std::size_t count) {
    alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int) * kWireFdsMax)];
    iovec part{&message, sizeof(message)};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (count > 0) {
        memset(space, 0, sizeof(space));
        header.msg_control = space;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        cmsghdr* control = CMSG_FIRSTHDR(&header);
        control->cmsg_level = SOL_SOCKET;
        control->cmsg_type = SCM_RIGHTS;
        control->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(control), fds, sizeof(int) * count);
    }
    const ssize_t sent = real.sendmsg(process.control, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == sizeof(message))
        return true;
    // EBADF: what was to be passed has been closed meanwhile.
    if (sent < 0 && errno != EAGAIN && errno != ETOOMANYREFS && errno != EBADF)
        drop_connection();
    return false;
}

void leave_queue() {
    if (queue)
        munmap(queue, kQueueBytes);
    if (queue_bell >= 0)
        process_unhide(queue_bell);
    queue = nullptr;
    queue_bell = -1;
}

void join_queue(const WireMsg& welcome, int* fds) {
    struct stat status;
    if (fstat(fds[0], &status) != 0 || status.st_size < static_cast<off_t>(kQueueBytes))
        return;
    void* memory = mmap(nullptr, kQueueBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    if (memory == MAP_FAILED)
        return;
    leave_queue();
    queue = static_cast<QueueMemory*>(memory);
    queue_bell = process_hide(fds[1]);
    fds[1] = -1;
    queue_shared = (welcome.flags & kWelcomeShared) != 0;
    queue_name = welcome.conn;
}

// Neither a queue nor a mailbox tells that there is nobody any more; the socket does.
bool monitor_lives() {
    const std::int64_t now = coarse_ns();
    if (now - monitor_checked < kRetryNs)
        return true;
    monitor_checked = now;
    char byte;
    const ssize_t got = real.recv(process.control, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got > 0 || (got < 0 && errno == EAGAIN))
        return true;
    drop_connection();
    return false;
}

bool put_in_queue(const WireMsg& message, std::uint64_t cookie) {
    constexpr std::uint64_t kOne = 1;
    if (!queue || !monitor_lives())
        return false;
    const QueuePut put = queue_put(*queue, {queue_name, cookie, message}, !queue_shared);
    if (put == QueuePut::wake)
        real.write(queue_bell, &kOne, sizeof(kOne));
    return put != QueuePut::full;
}

// With the lock. By the queue if there is one and it has room, else by the socket.
bool send_request(const WireMsg& message) {
    return process.control >= 0 && (put_in_queue(message, 0) ||
                                    (process.control >= 0 && send_message(message, nullptr, 0)));
}

// By the queue no descriptor is passed: xwayd takes it, and knows by the cookie that it is still
// this socket's. `whole`: the socket must come, even if it is closed by then.
bool send_registration(WireMsg message, int fd, bool whole) {
    std::uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    message.arg = static_cast<std::uint32_t>(fd);
    if (!whole && queue && mailbox && mailbox.load()->no_fetch.load() == 0 &&
        real.getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 &&
        put_in_queue(message, cookie))
        return true;
    message.arg = 0;
    return process.control >= 0 && send_message(message, &fd, 1);
}

bool socket_address(sockaddr_un* address) {
    *address = {};
    address->sun_family = AF_UNIX;
    const std::size_t space = sizeof(address->sun_path);
    if (*config.socket)
        return snprintf(address->sun_path, space, "%s", config.socket) < static_cast<int>(space);
    if (*config.runtime) {
        const int length = snprintf(address->sun_path, space, "%s/xway/xwayd.sock", config.runtime);
        if (length < static_cast<int>(space) && access(address->sun_path, F_OK) == 0)
            return true;
    }
    snprintf(address->sun_path, space, "%s", kWireSystemPath);
    return true;
}

// With the lock. True: there is an xwayd, and it knows us.
bool connect_monitor() {
    if (process.control >= 0)
        return true;
    const std::int64_t now = coarse_ns();
    if (now < next_try)
        return false;
    next_try = now + kRetryNs;
    sockaddr_un address;
    // A doorbell for each epoll set, so that a thread is not woken for another's connections.
    if (!socket_address(&address) || !process_make_bells(std::clamp(epoll_sets(), 1u, kArenaBells)))
        return false;
    const int fd = real.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    if (real.connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
        real.close(fd);
        return false;
    }
    process.control = process_hide(fd);
    session++;
    mailbox = nullptr;
    leave_queue();
    mail_read = 0;
    WireMsg hello{};
    hello.type = WireType::kHello;
    hello.arg = kWireVersion;
    hello.flags = config.direct ? kHelloDirect : 0;
    return send_message(hello, process.bell, process.bells);
}

// With bytes unread, or with a linger time of zero, a close is a reset, and must stay one.
bool is_reset_by_close(int fd) {
    int unread = 0;
    linger option{};
    socklen_t length = sizeof(option);
    return real.ioctl(fd, FIONREAD, &unread) != 0 || unread != 0 ||
           real.getsockopt(fd, SOL_SOCKET, SO_LINGER, &option, &length) != 0 ||
           (option.l_onoff != 0 && option.l_linger == 0);
}

bool release_slot(std::uint32_t arena, std::uint32_t slot, std::uint32_t side) {
    WireMsg message{};
    message.type = WireType::kRelease;
    message.arena = arena;
    message.slot = slot;
    message.side = side;
    return send_request(message);
}

// The same, or, if xwayd takes nothing just now, later.
void release_slot(ArenaMap* map, std::uint32_t slot, std::uint32_t side) {
    if (release_slot(map->id, slot, side) || process.control < 0)
        return;
    map->unreleased[side] |= 1ull << slot;
    rest_to_release = true;
}

void release_rest() {
    if (!rest_to_release)
        return;
    rest_to_release = false;
    const Guard guard(process.lock);
    for (std::uint32_t i = 0; i < process.arenas; i++) {
        for (std::uint32_t side = 0; side < 2; side++) {
            ArenaMap* map = process.arena[i];
            std::uint64_t bits = std::exchange(map->unreleased[side], 0);
            for (; map->session == session && bits != 0; bits &= bits - 1)
                release_slot(map, static_cast<std::uint32_t>(__builtin_ctzll(bits)), side);
        }
    }
}

// Gives back a slot that was never used: the peer, which may use its end already, is to know that
// this one sends by TCP.
void refuse_slot(ArenaMap* map, std::uint32_t slot, std::uint32_t side) {
    {
        const Guard guard(process.lock);
        map->endpoint[side][slot] = nullptr;
    }
    map->view.slot(slot)->side[side].flags.fetch_or(kSlotTcpOnly | kSlotLeft);
    if (map->session == session)
        release_slot(map, slot, side);
}

// An xwayd that is started anew may name its arenas alike.
ArenaMap* find_arena(std::uint32_t id) {
    for (std::uint32_t i = 0; i < process.arenas; i++) {
        if (process.arena[i]->id == id && process.arena[i]->session == session)
            return process.arena[i];
    }
    return nullptr;
}

// What xwayd promises of an arena, the kernel confirms: nobody can make it shorter under us.
std::uint8_t* map_arena(int fd) {
    struct stat status;
    const long seals = reinterpret_cast<long>(nullptr) + real.fcntl(fd, F_GET_SEALS, nullptr);
    if (fstat(fd, &status) != 0 || status.st_size < static_cast<off_t>(kArenaBytes) || seals < 0 ||
        (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW))
        return nullptr;
    void* base =
        mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED)
        return nullptr;
    const auto* header = static_cast<const ArenaHeader*>(base);
    if (header->magic != kArenaMagic || header->version != kArenaVersion) {
        munmap(base, kArenaBytes);
        return nullptr;
    }
    return static_cast<std::uint8_t*>(base);
}

ArenaMap* add_arena(const WireMsg& message, const int* fds, std::size_t count) {
    if (process.arenas == kArenasMax || count < 2 || count > 1 + kArenaBells)
        return nullptr;
    std::uint8_t* base = map_arena(fds[0]);
    if (!base)
        return nullptr;
    void* memory =
        mmap(nullptr, sizeof(ArenaMap), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        munmap(base, kArenaBytes);
        return nullptr;
    }
    ArenaMap* map = new (memory) ArenaMap{};
    map->view.base = base;
    map->id = message.arena;
    map->session = session;
    map->owner = process.token;
    map->bells = static_cast<std::uint32_t>(count - 1);
    for (std::uint32_t i = 0; i < map->bells; i++)
        map->bell[i] = process_hide(fds[i + 1]);
    const Guard guard(process.lock);
    process.arena[process.arenas++] = map;
    bells_publish(map);
    return map;
}

// With process.lock.
void unmap_arena(std::uint32_t index) {
    ArenaMap* map = process.arena[index];
    process.arena[index] = process.arena[--process.arenas];
    for (std::uint32_t b = 0; b < map->bells; b++)
        process_unhide(map->bell[b]);
    munmap(map->view.base, kArenaBytes);
    munmap(map, sizeof(*map));
}

void drop_arena(std::uint32_t id) {
    const Guard guard(process.lock);
    for (std::uint32_t i = 0; i < process.arenas; i++) {
        if (process.arena[i]->id == id && process.arena[i]->session == session)
            return unmap_arena(i);
    }
}

bool is_unused(const ArenaMap* map) {
    const auto none = [](const Endpoint* ep) { return ep == nullptr; };
    return std::all_of(map->endpoint[0], map->endpoint[0] + kArenaSlots, none) &&
           std::all_of(map->endpoint[1], map->endpoint[1] + kArenaSlots, none);
}

// The xwayd that would say when has gone.
void drop_if_unused(const ArenaMap* map) {
    for (std::uint32_t i = 0; i < process.arenas; i++) {
        if (process.arena[i] == map && is_unused(map))
            return unmap_arena(i);
    }
}

// `fds` whose entry this call has made -1 have found a home.
void on_attach(const WireMsg& message, int* fds, std::size_t count) {
    ArenaMap* map = find_arena(message.arena);
    if (!map && count > 0) {
        map = add_arena(message, fds, count);
        for (std::size_t i = 1; map && i < count; i++)
            fds[i] = -1;
    }
    Endpoint* ep = endpoint_named(message.conn);
    if (!map || !ep || message.slot >= kArenaSlots || message.side > 1 ||
        ep->phase.load() != Phase::kRegistered) {
        if (map && message.slot < kArenaSlots && message.side <= 1)
            refuse_slot(map, message.slot, message.side);
        else
            release_slot(message.arena, message.slot, message.side);
        if (ep && !map)
            ep->phase = Phase::kOver;
        if (ep && ep->direct)
            direct_on_decline(ep);
        return;
    }
    map->sides |= 1u << message.side;
    ep->arena = map;
    ep->slot = message.slot;
    ep->side = message.side;
    ep->owner = process.token;
    ep->peer_pid = message.peer;
    if (ep->direct) {
        if (!direct_on_attach(ep)) {
            refuse_slot(map, ep->slot, ep->side);
            direct_on_decline(ep);
        }
        return;
    }
    {
        const Guard guard(process.lock);
        map->endpoint[ep->side][ep->slot] = ep; // so that the arena stays mapped
    }
    ep->phase.store(Phase::kMatched, std::memory_order_release);
}

void on_grant(const WireMsg& message, int* fds, std::size_t count) {
    ArenaMap* map = find_arena(message.arena);
    if (!map && count > 1) {
        map = add_arena(message, fds + 1, count - 1);
        for (std::size_t i = 2; map && i < count; i++)
            fds[i] = -1;
    }
    if (count == 0 || !map || message.slot >= kArenaSlots || message.side > 1) {
        release_slot(message.arena, message.slot, message.side);
        return;
    }
    map->sides |= 1u << message.side;
    if (direct_on_grant(message, map, fds[0]))
        fds[0] = -1;
    else
        refuse_slot(map, message.slot, message.side);
}

void on_message(const WireMsg& message, int* fds, std::size_t count) {
    switch (message.type) {
    case WireType::kWelcome:
        if (count == 1 || count == 3) {
            const int where = MAP_SHARED | (mailbox_page ? MAP_FIXED : 0);
            void* page = mmap(mailbox_page, XWAY_PAGE_SIZE, PROT_READ, where, fds[0], 0);
            if (page != MAP_FAILED)
                mailbox = mailbox_page = static_cast<Mailbox*>(page);
        }
        if (count == 3)
            join_queue(message, fds + 1);
        break;
    case WireType::kAttach:
        answered++;
        on_attach(message, fds, count);
        break;
    case WireType::kDecline:
        answered++;
        if (Endpoint* ep = endpoint_named(message.conn)) {
            Phase registered = Phase::kRegistered;
            if (ep->phase.compare_exchange_strong(registered, Phase::kOver) && ep->direct)
                direct_on_decline(ep);
        }
        break;
    case WireType::kDrop: drop_arena(message.arena); break;
    case WireType::kStock: listener_on_stock(message); break;
    case WireType::kGrant: on_grant(message, fds, count); break;
    default: break;
    }
}

// One message; false: there is none.
bool read_message() {
    alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int) * kWireFdsMax)];
    WireMsg message{};
    iovec part{&message, sizeof(message)};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = space;
    header.msg_controllen = sizeof(space);
    const ssize_t got = real.recvmsg(process.control, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            drop_connection();
        return false;
    }
    int fds[kWireFdsMax];
    std::size_t count = 0;
    for (cmsghdr* control = CMSG_FIRSTHDR(&header); control;
         control = CMSG_NXTHDR(&header, control)) {
        if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS) {
            count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(control), count * sizeof(int));
        }
    }
    mail_read++;
    if (got == sizeof(message))
        on_message(message, fds, count);
    for (std::size_t i = 0; i < count; i++) {
        if (fds[i] >= 0)
            real.close(fds[i]);
    }
    return true;
}

// With the lock.
void read_messages() {
    while (process.control >= 0 && read_message()) {
    }
}

// With the lock. Who asks has to listen, or xwayd gives up: the connections that the answers are
// about may all be closed before anybody looks for them.
void read_old_mail() {
    const Mailbox* box = mailbox;
    if (!box || box->mail.load(std::memory_order_acquire) - mail_read >= kMailMost)
        read_messages();
}

// With the lock. Does xwayd want to hear of such a connection?
bool is_wanted(const Endpoint* ep) {
    if (ep->foreign && !mailbox)
        read_messages();
    const Mailbox* box = mailbox;
    if (!box)
        return !ep->foreign;
    if (box->enabled.load(std::memory_order_relaxed) >= (ep->foreign ? 2u : 1u))
        return true;
    monitor_lives(); // or another one will be asked next time
    return false;
}

// By the socket, if there is an xwayd.
bool tell(const WireMsg& message, const int* fds = nullptr, std::size_t count = 0) {
    const KeepErrno keep;
    const Guard guard(lock);
    return process.control >= 0 && send_message(message, fds, count);
}

} // namespace

void registrar_connect() {
    const KeepErrno keep;
    const Guard guard(lock);
    // How many epoll sets there will be is not known yet.
    if (config.enabled && process_make_bells(kArenaBells))
        connect_monitor();
}

void registrar_register(Endpoint* ep, int fd) {
    const KeepErrno keep;
    const Guard guard(lock);
    Phase fresh = Phase::kNew;
    read_old_mail();
    if (!connect_monitor() || !is_wanted(ep)) {
        ep->calls = 0;
        return;
    }
    release_rest();
    if (!ep->phase.compare_exchange_strong(fresh, Phase::kRegistered))
        return;
    ep->owner = process.token;
    WireMsg message{};
    message.type = WireType::kRegister;
    message.conn = name_of(ep);
    direct_dialled(ep, &message);
    if (send_registration(message, fd, direct_lacks_stock(ep))) {
        asked++;
    } else {
        ep->phase = Phase::kNew;
        ep->calls = 0;
    }
}

void registrar_read_mail() {
    const Mailbox* box = mailbox.load(std::memory_order_acquire);
    if (box && box->mail.load(std::memory_order_acquire) == mail_read)
        return;
    const KeepErrno keep;
    const Critical critical;
    if (!lock.try_lock())
        return;
    read_messages();
    lock.unlock();
}

void registrar_cancel(Endpoint* ep, int fd) {
    const KeepErrno keep;
    const Guard guard(lock);
    const Phase phase = ep->phase.exchange(Phase::kOver);
    if (phase == Phase::kMatched) {
        if (ep->owner == process.token)
            refuse_slot(ep->arena, ep->slot, ep->side);
    } else if (phase == Phase::kRegistered) {
        WireMsg message{};
        message.type = WireType::kCancel;
        message.conn = name_of(ep);
        send_request(message);
        // xwayd may hold a copy for a moment more: what the peer is to see of the end, it sees now.
        const sockaddr nobody{AF_UNSPEC, {}};
        if (fd >= 0 && is_reset_by_close(fd))
            real.connect(fd, &nobody, sizeof(nobody)); // a reset
        else if (fd >= 0)
            real.shutdown(fd, SHUT_RDWR);
    }
}

void registrar_release(Endpoint* ep) {
    const KeepErrno keep;
    const Guard guard(lock);
    if (ep->owner != process.token)
        return; // the process that xwayd gave the slot to will end one day
    ArenaMap* map = ep->arena;
    const bool named = map->session == session && process.control >= 0;
    {
        const Guard arenas(process.lock);
        map->endpoint[ep->side][ep->slot] = nullptr;
        if (!named)
            drop_if_unused(map);
    }
    if (named) {
        release_rest();
        release_slot(map, ep->slot, ep->side);
    }
}

bool registrar_reaches_out() {
    const KeepErrno keep;
    if (const Mailbox* box = mailbox.load(std::memory_order_acquire))
        return box->enabled.load(std::memory_order_relaxed) >= 2;
    const Guard guard(lock);
    return config.enabled && connect_monitor();
}

bool registrar_ready() {
    const KeepErrno keep;
    const Guard guard(lock);
    return connect_monitor();
}

std::uint32_t registrar_session() {
    return session;
}

bool registrar_listen(std::uint64_t name, int fd) {
    const KeepErrno keep;
    const Guard guard(lock);
    WireMsg message{};
    message.type = WireType::kListen;
    message.conn = name;
    return connect_monitor() && send_message(message, &fd, 1);
}

void registrar_unlisten(std::uint64_t name) {
    WireMsg message{};
    message.type = WireType::kUnlisten;
    message.conn = name;
    tell(message);
}

bool registrar_supply(Endpoint* ep, std::uint32_t ask, int own, int accepted) {
    WireMsg message{};
    message.type = WireType::kSupply;
    message.conn = name_of(ep);
    message.ask = ask;
    const int fds[2] = {own, accepted};
    return tell(message, fds, 2);
}

void registrar_supply_end(std::uint32_t ask) {
    WireMsg message{};
    message.type = WireType::kSupply;
    message.ask = ask;
    tell(message);
}

void registrar_more(const Name& to) {
    WireMsg message{};
    message.type = WireType::kMore;
    put_name(to, &message);
    tell(message);
}

void registrar_lock() {
    lock.lock();
}

void registrar_unlock() {
    lock.unlock();
}

void registrar_forked() {
    new (&lock) Lock();
    if (process.control >= 0)
        process_unhide(process.control);
    process.control = -1;
    if (mailbox_page)
        munmap(mailbox_page, XWAY_PAGE_SIZE);
    mailbox = mailbox_page = nullptr;
    leave_queue();
    next_try = 0;
}

} // namespace xway
