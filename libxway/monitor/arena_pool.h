// SPDX-License-Identifier: GPL-2.0-or-later
//
// arena_pool.h - the arenas of all pairs of clients, and who uses which slot.
//
// Who uses what is kept here, in memory of our own. Arenas are written, but what is read from them
// decides only whom to wake.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include <sys/types.h>

#include "arena.h"
#include "pairing.h"
#include "shared_memory.h"

namespace xway {

// What a process needs to be told of when an arena or one of its slots concerns it.
struct Party {
    ClientId client = 0;
    uid_t uid = 0;
    bool gone = false;  // the process has ended
    bool knows = false; // it has been given the arena
};

// One end of a connection that is attached to a slot.
struct Holder {
    Registration end;
    bool holds = false; // has not released the slot yet
};

// Bytes that ends of connections have carried. What their processes say: any value at all.
struct Carried {
    std::uint64_t tx_ring = 0, tx_tcp = 0, rx_ring = 0, rx_tcp = 0;

    // Each field is read once.
    static Carried by(const SlotSide& side);
    Carried& operator+=(const Carried& other);
};

struct SlotUse {
    bool used = false;
    bool warm = false; // its windows may have memory
    std::array<Holder, 2> holder;
    std::chrono::steady_clock::time_point since{}; // used or free
};

// One arena. Its lower client is side 0; both sides are one client if a process talks to itself.
class Arena {
public:
    using Clock = std::chrono::steady_clock;

    static Result<std::unique_ptr<Arena>> create(std::uint32_t id, const Party& a, const Party& b,
                                                 Clock::time_point now);

    [[nodiscard]] std::uint32_t id() const { return id_; }
    [[nodiscard]] const Party& party(unsigned side) const { return parties_[side]; }
    [[nodiscard]] const SlotUse& use(std::uint32_t slot) const { return uses_[slot]; }
    [[nodiscard]] const SharedFd& fd() const { return fd_; }
    // Header and slots only: what its two processes write there may be anything.
    [[nodiscard]] ArenaView view() const { return {map_.data()}; }
    [[nodiscard]] bool is_full() const { return free_.empty(); }
    [[nodiscard]] std::uint32_t used() const {
        return kArenaSlots - static_cast<std::uint32_t>(free_.size());
    }
    [[nodiscard]] bool is_of_one() const { return parties_[0].client == parties_[1].client; }
    [[nodiscard]] bool is_idle_since(Clock::time_point then) const {
        return free_.size() == kArenaSlots && idle_since_ <= then;
    }

    // A slot, zeroed, for the ends of the two sides.
    std::uint32_t take(const Registration& side0, const Registration& side1, Clock::time_point now);
    // One side needs it no more. False: that side did not hold it.
    bool release(std::uint32_t slot, unsigned side, Clock::time_point now);
    // The process of this side has ended: the other is told, and woken wherever it may sleep. The
    // result says in which slots; its doorbells are to be rung for them.
    std::uint64_t bury(unsigned side, Clock::time_point now);
    // Gives back the memory of windows that have been free since then. How many were.
    unsigned cool(Clock::time_point then, unsigned most);
    // By all ends that were ever here.
    [[nodiscard]] Carried carried() const;
    void set_knows(ClientId client);
    void use_up(ClientId client, std::uint64_t listener);

private:
    Arena(std::uint32_t id, const Party& a, const Party& b, SharedFd fd, Mapping map,
          Clock::time_point now);

    // One that holds the slot holds it no more.
    void leave(std::uint32_t slot, unsigned side, Clock::time_point now);

    const std::uint32_t id_;
    const SharedFd fd_;
    const Mapping map_;
    std::array<Party, 2> parties_;
    std::array<SlotUse, kArenaSlots> uses_;
    std::vector<std::uint32_t> free_; // the one that was used last at the end
    Clock::time_point idle_since_;
    Carried left_; // by ends that hold no slot any more
};

class ArenaPool {
public:
    using Clock = Arena::Clock;

    struct Limits {
        std::size_t per_pair = 256;
        std::size_t per_uid = 1024;
        Clock::duration window_rest = std::chrono::seconds(1); // then its memory is given back
        Clock::duration arena_rest = std::chrono::seconds(30); // then it is dropped
    };

    struct Place {
        Arena* arena;
        std::uint32_t slot;
        unsigned side; // of the first of the two ends
    };

    // A side that is to be told that the arena is no more.
    struct Drop {
        std::uint32_t arena;
        ClientId client;
    };

    // A process that is to be woken by its doorbells.
    struct Ring {
        std::uint32_t arena;
        ClientId client;
    };

    struct Ended {
        std::vector<Registration> ends; // that have left their slots
        std::vector<Drop> drops;
        std::vector<Ring> rings;
    };

    explicit ArenaPool(const Limits& limits) : limits_(limits) {}

    // A slot for the two ends; why not: XWAY_WHY_ARENA_FULL or XWAY_WHY_NO_MEMORY.
    std::variant<Place, xway_why> attach(const Registration& a, uid_t a_uid, const Registration& b,
                                         uid_t b_uid, Clock::time_point now);

    // False: it was not this client's to release.
    bool release(ClientId client, std::uint32_t arena, std::uint32_t slot, std::uint32_t side,
                 Clock::time_point now, Ended& ended);

    // What `client` has made for those who dial its `listener` is not opened again.
    void use_up(ClientId client, std::uint64_t listener);

    // Whether this arena is no more, but was known to the client: it may still speak of it.
    [[nodiscard]] bool has_dropped(ClientId client, std::uint32_t arena) const;

    // The process has ended, or has left.
    Ended remove(ClientId client, Clock::time_point now);

    // Gives memory back that has not been used for a while; bounded work.
    std::vector<Drop> tidy(Clock::time_point now);

    [[nodiscard]] const std::map<std::uint32_t, std::unique_ptr<Arena>>& all() const {
        return arenas_;
    }
    [[nodiscard]] const std::set<std::uint32_t>& of(ClientId client) const;

    // By all ends that were ever attached.
    [[nodiscard]] Carried carried() const;

private:
    using Pair = std::pair<ClientId, ClientId>;

    static Pair pair_of(const Arena& arena) {
        return {arena.party(0).client, arena.party(1).client};
    }
    std::variant<Arena*, xway_why> find(const Party& a, const Party& b, Clock::time_point now);
    void count_uids(const Arena& arena, int by);
    std::vector<Drop> drop(std::uint32_t arena);

    const Limits limits_;
    std::uint32_t last_id_ = 0;
    std::map<std::uint32_t, std::unique_ptr<Arena>> arenas_;
    std::map<Pair, std::vector<Arena*>> by_pair_;
    std::map<ClientId, std::set<std::uint32_t>> by_client_;
    std::map<uid_t, std::size_t> by_uid_;
    std::map<ClientId, std::set<std::uint32_t>> dropped_; // those that it knew, the last of them
    std::uint32_t tidied_ = 0;                            // the arena that tidy() looked at last
    Carried dropped_bytes_;                               // by ends in arenas that are no more
};

} // namespace xway
