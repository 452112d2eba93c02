// SPDX-License-Identifier: GPL-2.0-or-later
//
// client.cpp - packets in, packets out, and the mailbox that tells of them.
#include "client.h"

#include <new>

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <xway/abi.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

namespace xway {

namespace {

constexpr unsigned kPacketsAtOnce = 64; // of one client, before others have their turn
constexpr std::size_t kQueueMax = 4096; // messages that a client leaves unread
constexpr long kBusyMs = 20;            // until descriptors under way may have arrived

// The kernel asks for the right before it looks for the descriptor.
bool may_fetch(int pidfd) {
    return syscall(SYS_pidfd_getfd, pidfd, -1, 0) < 0 && errno == EBADF;
}

} // namespace

Client::Client(ClientId id, UniqueFd socket, Caller caller, Loop& loop, Owner& owner)
    : id_(id),
      owner_(owner),
      socket_(std::move(socket)),
      caller_(std::move(caller)),
      readable_(loop.make(socket_.get(), EV_READ | EV_PERSIST, on_readable, this)),
      writable_(loop.make(socket_.get(), EV_WRITE, on_writable, this)),
      retry_(loop.make(-1, 0, on_writable, this)),
      ended_(loop.make(caller_.pidfd.get(), EV_READ, on_ended, this)) {
    event_add(readable_.get(), nullptr);
    event_add(ended_.get(), nullptr);
}

const std::string& Client::cgroup() {
    if (!cgroup_)
        cgroup_ = caller_.cgroup();
    return *cgroup_;
}

Result<void> Client::welcome(std::vector<SharedFd> bells, LocalScope scope,
                             const std::optional<Queues::Share>& queue) {
    UniqueFd pidfd(queue ? fcntl(caller_.pidfd.get(), F_DUPFD_CLOEXEC, 0) : -1);
    if (queue && !pidfd)
        return Error::from_errno("cannot hold a process", errno);
    auto memory = make_memory("xway-mailbox", XWAY_PAGE_SIZE);
    if (!memory)
        return memory.error();
    auto map = Mapping::of(memory->get(), XWAY_PAGE_SIZE);
    if (!map)
        return map.error();
    new (map->data()) Mailbox{};
    if (auto sealed = seal_memory(memory->get(), Sealed::for_readers); !sealed)
        return sealed.error();
    const std::string path = "/proc/self/fd/" + std::to_string(memory->get());
    UniqueFd for_reading(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!for_reading)
        return Error::from_errno("cannot open shared memory for reading", errno);

    bells_ = std::move(bells);
    mailbox_ = std::move(*map);
    set_scope(scope);
    WireMsg msg{};
    msg.type = WireType::kWelcome;
    std::vector<SharedFd> fds{share(std::move(for_reading))};
    if (queue) {
        pidfd_ = share(std::move(pidfd));
        if (!may_fetch(pidfd_->get()))
            refuse_fetch();
        msg.conn = id_;
        msg.flags = queue->is_shared ? kWelcomeShared : 0;
        fds.insert(fds.end(), {queue->memory, queue->bell});
    }
    send(msg, std::move(fds));
    return {};
}

void Client::refuse_fetch() {
    mailbox()->no_fetch.store(1, std::memory_order_relaxed);
}

void Client::set_scope(LocalScope scope) {
    mailbox()->enabled.store(static_cast<std::uint32_t>(scope), std::memory_order_relaxed);
}

bool Client::mend_bells() {
    bool mended = false;
    for (const SharedFd& bell : bells_) {
        const int fd = bell->get();
        const int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || (flags & O_NONBLOCK) != 0)
            continue;
        mended = fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
        // Full, it keeps whoever rings it. Not to be kept ourselves, we do not rely on the flag.
        std::uint64_t count = 0;
        const iovec whole{&count, sizeof(count)};
        preadv2(fd, &whole, 1, -1, RWF_NOWAIT);
    }
    return mended;
}

void Client::send(const WireMsg& msg, std::vector<SharedFd> fds) {
    if (lost_)
        return;
    Outgoing message{msg, std::move(fds)};
    if (queue_.empty() && send_now(message))
        return;
    if (lost_)
        return;
    if (queue_.size() >= kQueueMax)
        return owner_.on_deaf(*this);
    queue_.push_back(std::move(message));
}

// The count goes up once the message can be read, and before anybody may wait for another.
bool Client::send_now(const Outgoing& message) {
    switch (send_packet(socket_.get(), message.msg, message.fds)) {
    case Sent::yes: mailbox()->mail.fetch_add(1, std::memory_order_release); return true;
    case Sent::later: event_add(writable_.get(), nullptr); return false;
    case Sent::busy: {
        const timeval later = milliseconds(kBusyMs);
        event_del(writable_.get());
        evtimer_add(retry_.get(), &later);
        return false;
    }
    case Sent::never: lose(); return false;
    }
    return false;
}

void Client::flush() {
    for (unsigned i = 0; i < kPacketsAtOnce && !queue_.empty() && !lost_; ++i) {
        if (!send_now(queue_.front()))
            return;
        queue_.pop_front();
    }
    if (!queue_.empty() && !lost_)
        event_add(writable_.get(), nullptr);
}

void Client::lose() {
    if (lost_)
        return;
    lost_ = true;
    readable_.reset();
    writable_.reset();
    retry_.reset();
    ended_.reset();
    queue_.clear();
    owner_.on_lost(*this);
}

void Client::on_readable(int, short, void* self) {
    auto& client = *static_cast<Client*>(self);
    for (unsigned i = 0; i < kPacketsAtOnce && !client.lost_; ++i) {
        Packet packet;
        switch (receive_packet(client.socket_.get(), packet)) {
        case Received::packet: client.owner_.on_packet(client, std::move(packet)); break;
        case Received::nothing: return;
        case Received::closed: return client.lose();
        case Received::malformed: return client.owner_.on_malformed(client, std::move(packet));
        }
    }
}

void Client::on_writable(int, short, void* self) {
    static_cast<Client*>(self)->flush();
}

void Client::on_ended(int, short, void* self) {
    static_cast<Client*>(self)->lose();
}

} // namespace xway
