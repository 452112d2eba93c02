// SPDX-License-Identifier: GPL-2.0-or-later
//
// queues.h - the queues of shared memory by which requests come: made, drained, slept on.
//
// Processes of one user may share a queue, since they may stop or trace each other anyway; those of
// different users never do.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include <sys/types.h>

#include "loop.h"
#include "pairing.h"
#include "queue.h"
#include "shared_memory.h"

namespace xway {

enum class QueueDesign {
    socket, // none
    own,    // one for each process
    shared, // one for all processes of a user
};

class Queues {
public:
    using Clock = std::chrono::steady_clock;

    struct Options {
        QueueDesign design = QueueDesign::socket;
        bool never_sleeps = false; // somebody calls poll() all the time
        std::chrono::microseconds spin{20};
        Clock::duration patience = std::chrono::seconds(1); // with a cell that is not finished
    };

    // What a client gets.
    struct Share {
        SharedFd memory, bell;
        bool is_shared;
    };

    // Owner 0: any process of this user; the entry says which.
    using OnEntry = std::function<void(uid_t uid, ClientId owner, const QueueEntry& entry)>;

    Queues(Loop& loop, const Options& options, OnEntry on_entry);
    Queues(const Queues&) = delete;
    Queues& operator=(const Queues&) = delete;
    ~Queues() = default;

    // Nothing: the client is to use its socket. Not from on_entry; nor remove().
    std::optional<Share> give(ClientId client, uid_t uid);
    void remove(ClientId client, uid_t uid);

    void poll();
    void tick(Clock::time_point now);

private:
    using Name = std::pair<uid_t, ClientId>;

    struct Queue {
        Queues& queues;
        uid_t uid;
        ClientId owner;
        SharedFd memory, bell;
        Mapping map;
        QueueReader reader;
        Event rung;
        std::set<ClientId> clients = {};
        bool awake = false;
        std::uint64_t behind_at = 0; // where it was when it was found to be behind
        std::optional<Clock::time_point> behind_since = {};
    };
    // Nobody should put anything into it any more, but somebody may have just begun to.
    struct Left {
        std::unique_ptr<Queue> queue;
        Clock::time_point until;
    };

    std::unique_ptr<Queue> make(const Name& name);
    unsigned drain(Queue& queue);
    void wake(Queue& queue);
    void work();
    bool is_stuck(Queue& queue, Clock::time_point now) const;
    void give_up(std::map<Name, std::unique_ptr<Queue>>::iterator queue, Clock::time_point now);

    static void on_rung(int fd, short what, void* queue);
    static void on_again(int fd, short what, void* self);

    Loop& loop_;
    const Options options_;
    const OnEntry on_entry_;
    std::map<Name, std::unique_ptr<Queue>> queues_;
    std::list<Queue*> awake_;
    std::list<Left> left_;
    Event again_;
};

} // namespace xway
