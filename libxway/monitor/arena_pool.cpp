// SPDX-License-Identifier: GPL-2.0-or-later
//
// arena_pool.cpp - slots taken and released; the dead, and those who wait for them.
#include "arena_pool.h"

#include <algorithm>
#include <climits>
#include <memory>

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace xway {

namespace {

constexpr std::size_t kWindowBytes = std::size_t{kWindowPages} * XWAY_PAGE_SIZE;
constexpr std::size_t kWindowKept =
    std::size_t{64} * 1024;                // the next connection begins with a small ring
constexpr std::size_t kDroppedKept = 1024; // remembered of one client
constexpr unsigned kTidyArenas = 256;      // looked at in one go
constexpr unsigned kTidySlots = 256;       // given back in one go

// Not FUTEX_PRIVATE_FLAG: who sleeps is in another process.
void wake_all(std::atomic<std::uint32_t>& word) {
    syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

} // namespace

Carried Carried::by(const SlotSide& side) {
    const auto once = [](const std::uint64_t& bytes) {
        return __atomic_load_n(&bytes, __ATOMIC_RELAXED);
    };
    return {once(side.tx_ring), once(side.tx_tcp), once(side.rx_ring), once(side.rx_tcp)};
}

Carried& Carried::operator+=(const Carried& other) {
    tx_ring += other.tx_ring;
    tx_tcp += other.tx_tcp;
    rx_ring += other.rx_ring;
    rx_tcp += other.rx_tcp;
    return *this;
}

Result<std::unique_ptr<Arena>> Arena::create(std::uint32_t id, const Party& a, const Party& b,
                                             Clock::time_point now) {
    auto fd = make_memory("xway-arena", kArenaBytes);
    if (!fd)
        return fd.error();
    auto map = Mapping::of(fd->get(), kArenaWindowsAt);
    if (!map)
        return map.error();
    // Room for the header now: touching memory that cannot be had would be the end of us.
    if (fallocate(fd->get(), 0, 0, static_cast<off_t>(kArenaWindowsAt)) < 0)
        return Error::from_errno("cannot allocate shared memory", errno);
    if (auto sealed = seal_memory(fd->get(), Sealed::for_writers); !sealed)
        return sealed.error();
    auto* header = std::construct_at(reinterpret_cast<ArenaHeader*>(map->data()));
    header->magic = kArenaMagic;
    header->version = kArenaVersion;
    return std::unique_ptr<Arena>(new Arena(id, a, b, share(std::move(*fd)), std::move(*map), now));
}

Arena::Arena(std::uint32_t id, const Party& a, const Party& b, SharedFd fd, Mapping map,
             Clock::time_point now)
    : id_(id), fd_(std::move(fd)), map_(std::move(map)), parties_{a, b}, idle_since_(now) {
    for (std::uint32_t slot = kArenaSlots; slot-- > 0;)
        free_.push_back(slot);
}

std::uint32_t Arena::take(const Registration& side0, const Registration& side1,
                          Clock::time_point now) {
    const std::uint32_t slot = free_.back();
    free_.pop_back();
    uses_[slot] = {true, true, {Holder{side0, true}, Holder{side1, true}}, now};
    std::construct_at(view().slot(slot)); // all zero
    return slot;
}

bool Arena::release(std::uint32_t slot, unsigned side, Clock::time_point now) {
    if (!uses_[slot].used || !uses_[slot].holder[side].holds)
        return false;
    leave(slot, side, now);
    return true;
}

// First the word, then the wake-ups: whoever goes to sleep after its wake-up has looked after it.
std::uint64_t Arena::bury(unsigned side, Clock::time_point now) {
    parties_[side].gone = true;
    ArenaSide& dead = view().header()->side[side];
    ArenaSide& other = view().header()->side[1 - side];
    dead.gone.store(1, std::memory_order_seq_cst);

    std::uint64_t slots = 0;
    for (std::uint32_t slot = 0; slot < kArenaSlots; ++slot) {
        const SlotUse& use = uses_[slot];
        if (use.used && use.holder[side].holds)
            leave(slot, side, now);
        if (!use.used)
            continue;
        slots |= std::uint64_t{1} << slot;
        SlotSide& sleeper = view().slot(slot)->side[1 - side];
        for (auto* word : {&sleeper.rx_wait, &sleeper.tx_wait}) {
            if ((word->exchange(0) & kWaitFutex) != 0)
                wake_all(*word);
        }
    }
    for (Bell& bell : other.bell)
        bell.news.fetch_or(slots);
    return slots;
}

unsigned Arena::cool(Clock::time_point then, unsigned most) {
    constexpr int kHow = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    unsigned cooled = 0;
    for (std::uint32_t slot = 0; slot < kArenaSlots && cooled < most; ++slot) {
        SlotUse& use = uses_[slot];
        if (use.used || !use.warm || use.since > then)
            continue;
        use.warm = false;
        ++cooled;
        for (unsigned side = 0; side < 2; ++side) {
            const auto at = std::size_t{window_page(slot, side)} * XWAY_PAGE_SIZE + kWindowKept;
            fallocate(fd_->get(), kHow, static_cast<off_t>(at),
                      static_cast<off_t>(kWindowBytes - kWindowKept));
        }
    }
    return cooled;
}

void Arena::use_up(ClientId client, std::uint64_t listener) {
    for (std::uint32_t slot = 0; slot < kArenaSlots; ++slot) {
        for (unsigned side = 0; side < 2; ++side) {
            const Registration& dialer = uses_[slot].holder[side].end;
            if (uses_[slot].used && dialer.granted_by == client && dialer.listener == listener)
                view().slot(slot)->side[1 - side].flags.fetch_or(kSlotOnce);
        }
    }
}

void Arena::set_knows(ClientId client) {
    for (Party& party : parties_)
        party.knows |= party.client == client;
}

Carried Arena::carried() const {
    Carried sum = left_;
    for (std::uint32_t slot = 0; slot < kArenaSlots; ++slot) {
        for (unsigned side = 0; side < 2; ++side) {
            if (uses_[slot].used && uses_[slot].holder[side].holds)
                sum += Carried::by(view().slot(slot)->side[side]);
        }
    }
    return sum;
}

void Arena::leave(std::uint32_t slot, unsigned side, Clock::time_point now) {
    SlotUse& use = uses_[slot];
    left_ += Carried::by(view().slot(slot)->side[side]);
    use.holder[side].holds = false;
    if (use.holder[1 - side].holds)
        return;
    use.used = false;
    use.since = now;
    free_.push_back(slot);
    idle_since_ = now;
}

std::variant<ArenaPool::Place, xway_why> ArenaPool::attach(const Registration& a, uid_t a_uid,
                                                           const Registration& b, uid_t b_uid,
                                                           Clock::time_point now) {
    const bool in_order = a.client <= b.client;
    const Registration& first = in_order ? a : b;
    const Registration& second = in_order ? b : a;
    const auto arena = find({first.client, in_order ? a_uid : b_uid},
                            {second.client, in_order ? b_uid : a_uid}, now);
    if (const auto* why = std::get_if<xway_why>(&arena))
        return *why;
    Arena* found = *std::get_if<Arena*>(&arena);
    return Place{found, found->take(first, second, now), in_order ? 0u : 1u};
}

std::variant<Arena*, xway_why> ArenaPool::find(const Party& a, const Party& b,
                                               Clock::time_point now) {
    const auto pair = by_pair_.find({a.client, b.client});
    const std::size_t had = pair == by_pair_.end() ? 0 : pair->second.size();
    for (std::size_t i = 0; i < had; ++i) {
        if (!pair->second[i]->is_full())
            return pair->second[i];
    }
    const auto has_all = [&](uid_t uid) {
        const auto count = by_uid_.find(uid);
        return count != by_uid_.end() && count->second >= limits_.per_uid;
    };
    if (had >= limits_.per_pair || has_all(a.uid) || has_all(b.uid))
        return XWAY_WHY_ARENA_FULL;
    auto arena = Arena::create(last_id_ + 1, a, b, now);
    if (!arena)
        return XWAY_WHY_NO_MEMORY;
    Arena* created = arena->get();
    arenas_[++last_id_] = std::move(*arena);
    by_pair_[{a.client, b.client}].push_back(created);
    by_client_[a.client].insert(last_id_);
    by_client_[b.client].insert(last_id_);
    count_uids(*created, 1);
    return created;
}

void ArenaPool::count_uids(const Arena& arena, int by) {
    const auto count = [&](uid_t uid) {
        const auto at = by_uid_.try_emplace(uid, 0).first;
        if ((at->second += static_cast<std::size_t>(by)) == 0)
            by_uid_.erase(at);
    };
    count(arena.party(0).uid);
    if (arena.party(1).uid != arena.party(0).uid)
        count(arena.party(1).uid);
}

void ArenaPool::use_up(ClientId client, std::uint64_t listener) {
    for (const std::uint32_t id : of(client))
        arenas_.at(id)->use_up(client, listener);
}

bool ArenaPool::release(ClientId client, std::uint32_t id, std::uint32_t slot, std::uint32_t side,
                        Clock::time_point now, Ended& ended) {
    const auto found = arenas_.find(id);
    if (found == arenas_.end() || slot >= kArenaSlots || side > 1)
        return false;
    Arena& arena = *found->second;
    if (arena.party(side).client != client || !arena.release(slot, side, now))
        return false;
    ended.ends.push_back(arena.use(slot).holder[side].end);
    if (arena.party(1 - side).gone && arena.used() == 0)
        ended.drops = drop(id);
    return true;
}

bool ArenaPool::has_dropped(ClientId client, std::uint32_t arena) const {
    const auto dropped = dropped_.find(client);
    return dropped != dropped_.end() && dropped->second.contains(arena);
}

ArenaPool::Ended ArenaPool::remove(ClientId client, Clock::time_point now) {
    Ended ended;
    dropped_.erase(client);
    const std::set<std::uint32_t> ids = of(client); // a copy: drop() changes the original
    for (const std::uint32_t id : ids) {
        Arena& arena = *arenas_.at(id);
        for (unsigned side = 0; side < 2; ++side) {
            if (arena.party(side).client != client)
                continue;
            for (std::uint32_t slot = 0; slot < kArenaSlots; ++slot) {
                const SlotUse& use = arena.use(slot);
                if (use.used && use.holder[side].holds)
                    ended.ends.push_back(use.holder[side].end);
            }
            if (arena.bury(side, now) != 0 && !arena.is_of_one())
                ended.rings.push_back({id, arena.party(1 - side).client});
        }
        if (arena.used() == 0) {
            const auto drops = drop(id);
            ended.drops.insert(ended.drops.end(), drops.begin(), drops.end());
        }
    }
    return ended;
}

std::vector<ArenaPool::Drop> ArenaPool::tidy(Clock::time_point now) {
    std::vector<Drop> drops;
    unsigned slots = kTidySlots;
    for (unsigned looked = 0; looked < std::min<std::size_t>(kTidyArenas, arenas_.size());
         ++looked) {
        auto next = arenas_.upper_bound(tidied_);
        if (next == arenas_.end())
            next = arenas_.begin();
        tidied_ = next->first;
        if (next->second->is_idle_since(now - limits_.arena_rest)) {
            const auto more = drop(tidied_);
            drops.insert(drops.end(), more.begin(), more.end());
            if (arenas_.empty())
                break;
            continue;
        }
        slots -= next->second->cool(now - limits_.window_rest, slots);
    }
    return drops;
}

const std::set<std::uint32_t>& ArenaPool::of(ClientId client) const {
    static const std::set<std::uint32_t> kNone;
    const auto found = by_client_.find(client);
    return found == by_client_.end() ? kNone : found->second;
}

Carried ArenaPool::carried() const {
    Carried sum = dropped_bytes_;
    for (const auto& [id, arena] : arenas_)
        sum += arena->carried();
    return sum;
}

// Those that know it are to be told. Nobody uses any of its slots.
std::vector<ArenaPool::Drop> ArenaPool::drop(std::uint32_t id) {
    const auto found = arenas_.find(id);
    const Arena& arena = *found->second;
    std::vector<Drop> drops;
    for (unsigned side = 0; side < (arena.is_of_one() ? 1u : 2u); ++side) {
        const Party& party = arena.party(side);
        if (!party.gone && party.knows) {
            drops.push_back({id, party.client});
            auto& dropped = dropped_[party.client];
            dropped.insert(id);
            if (dropped.size() > kDroppedKept)
                dropped.erase(dropped.begin());
        }
        const auto known = by_client_.find(party.client);
        known->second.erase(id);
        if (known->second.empty())
            by_client_.erase(known);
    }
    const auto of_pair = by_pair_.find(pair_of(arena));
    std::erase(of_pair->second, &arena);
    if (of_pair->second.empty())
        by_pair_.erase(of_pair);
    count_uids(arena, -1);
    dropped_bytes_ += arena.carried();
    arenas_.erase(found);
    return drops;
}

} // namespace xway
