// SPDX-License-Identifier: GPL-2.0-or-later
//
// queues.cpp - drain, spin, look again, sleep.
//
// The doorbell is an eventfd that its producers have as well, so it is never read: they could make
// that wait. It is watched for its edges, which come with each write to it, whatever its count.
#include "queues.h"

#include <fcntl.h>
#include <sys/eventfd.h>

namespace xway {

namespace {

constexpr unsigned kEntriesAtOnce = 64;   // of one queue, before others have their turn
constexpr unsigned kEntriesPerTurn = 512; // of all queues, before the sockets have their turn
constexpr timeval kNow{0, 0};

} // namespace

Queues::Queues(Loop& loop, const Options& options, OnEntry on_entry)
    : loop_(loop),
      options_(options),
      on_entry_(std::move(on_entry)),
      again_(loop.make(-1, 0, on_again, this)) {}

std::optional<Queues::Share> Queues::give(ClientId client, uid_t uid) {
    if (options_.design == QueueDesign::socket)
        return std::nullopt;
    const bool is_shared = options_.design == QueueDesign::shared;
    const Name name{uid, is_shared ? 0 : client};
    auto& queue = queues_[name];
    if (!queue)
        queue = make(name);
    if (!queue) {
        queues_.erase(name);
        return std::nullopt;
    }
    queue->clients.insert(client);
    return Share{queue->memory, queue->bell, is_shared};
}

std::unique_ptr<Queues::Queue> Queues::make(const Name& name) {
    auto memory = make_memory("xway-queue", kQueueBytes);
    UniqueFd bell(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!memory || !bell || !seal_memory(memory->get(), Sealed::for_writers))
        return nullptr;
    // All of it now: touching memory that cannot be had would be the end of us.
    if (fallocate(memory->get(), 0, 0, static_cast<off_t>(kQueueBytes)) < 0)
        return nullptr;
    auto map = Mapping::of(memory->get(), kQueueBytes);
    if (!map)
        return nullptr;
    auto& content = *reinterpret_cast<QueueMemory*>(map->data());
    std::unique_ptr<Queue> queue(new Queue{*this, name.first, name.second,
                                           share(std::move(*memory)), share(std::move(bell)),
                                           std::move(*map), QueueReader(content), nullptr});
    queue->rung =
        loop_.make(queue->bell->get(), EV_READ | EV_ET | EV_PERSIST, on_rung, queue.get());
    if (options_.never_sleeps)
        wake(*queue);
    else
        queue->reader.try_sleep();
    event_add(queue->rung.get(), nullptr);
    return queue;
}

void Queues::remove(ClientId client, uid_t uid) {
    for (const ClientId owner : {client, ClientId{0}}) {
        const auto found = queues_.find({uid, owner});
        if (found == queues_.end() || found->second->clients.erase(client) == 0 ||
            !found->second->clients.empty())
            continue;
        awake_.remove(found->second.get());
        queues_.erase(found);
    }
}

unsigned Queues::drain(Queue& queue) {
    QueueEntry entry;
    unsigned count = 0;
    for (; count < kEntriesAtOnce && queue.reader.take(entry); ++count)
        on_entry_(queue.uid, queue.owner, entry);
    return count;
}

void Queues::wake(Queue& queue) {
    if (queue.awake)
        return;
    queue.awake = true;
    queue.reader.wake();
    awake_.push_back(&queue);
}

void Queues::poll() {
    for (Queue* queue : awake_)
        drain(*queue);
}

void Queues::work() {
    unsigned done = 0;
    auto until = Clock::now() + options_.spin;
    do {
        unsigned now = 0;
        for (Queue* queue : awake_)
            now += drain(*queue);
        done += now;
        if (now != 0)
            until = Clock::now() + options_.spin;
    } while (done < kEntriesPerTurn && Clock::now() < until);
    awake_.remove_if([](Queue* queue) {
        queue->awake = !queue->reader.try_sleep();
        return !queue->awake;
    });
    if (!awake_.empty())
        evtimer_add(again_.get(), &kNow);
}

// A producer may have ended between the claim of a cell and its end, or after it has taken the word
// that we sleep and before it has rung.
void Queues::tick(Clock::time_point now) {
    for (auto at = queues_.begin(); at != queues_.end();) {
        const auto queue = at++;
        if (is_stuck(*queue->second, now))
            give_up(queue, now);
        else if (queue->second->reader.is_ready())
            wake(*queue->second);
    }
    for (Left& left : left_) {
        QueueEntry entry;
        while (now >= left.until && left.queue->reader.take_rest(entry))
            on_entry_(left.queue->uid, left.queue->owner, entry);
    }
    left_.remove_if([&](const Left& left) { return now >= left.until; });
    if (!awake_.empty() && !options_.never_sleeps)
        evtimer_add(again_.get(), &kNow);
}

bool Queues::is_stuck(Queue& queue, Clock::time_point now) const {
    if (!queue.reader.is_behind()) {
        queue.behind_since.reset();
        return false;
    }
    if (!queue.behind_since || queue.behind_at != queue.reader.taken()) {
        queue.behind_at = queue.reader.taken();
        queue.behind_since = now;
    }
    return now - *queue.behind_since >= options_.patience;
}

// Who has it goes on by socket; a new process gets another.
void Queues::give_up(std::map<Name, std::unique_ptr<Queue>>::iterator queue,
                     Clock::time_point now) {
    queue->second->reader.give_up();
    queue->second->rung.reset();
    awake_.remove(queue->second.get());
    left_.push_back({std::move(queue->second), now + options_.patience});
    queues_.erase(queue);
}

void Queues::on_rung(int, short, void* argument) {
    auto& queue = *static_cast<Queue*>(argument);
    queue.queues.wake(queue);
    if (!queue.queues.options_.never_sleeps)
        queue.queues.work();
}

void Queues::on_again(int, short, void* self) {
    static_cast<Queues*>(self)->work();
}

} // namespace xway
