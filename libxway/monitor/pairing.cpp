// SPDX-License-Identifier: GPL-2.0-or-later
//
// pairing.cpp - the mirrored flow, and what must be true of it.
//
// The kernel lets no two open sockets of one namespace have the same flow. So a second registration
// of a flow means that the first one's socket is closed, although its process has not said so; and
// an end that has waited is believed only after another look at its socket, for its port may have
// gone to somebody else's connection in the meantime.
#include "pairing.h"

namespace xway {

Pairing::Outcome Pairing::add(const Registration& end, Clock::time_point now,
                              const Checks& checks) {
    Outcome outcome;
    if (by_name_.contains({end.client, end.conn})) {
        outcome.clash = true;
        return outcome;
    }
    if (taken_.contains(end.cookie)) {
        decline(outcome, end, XWAY_WHY_PEER_REFUSED);
        return outcome;
    }
    if (const auto same = by_cookie_.find(end.cookie); same != by_cookie_.end()) {
        // Two processes hold one socket: neither may take the stream from the other.
        if (same->second->end.client != end.client) {
            decline(outcome, same->second->end, XWAY_WHY_PEER_REFUSED);
            erase(same->second);
        }
        decline(outcome, end, XWAY_WHY_PEER_REFUSED);
        return outcome;
    }
    if (const auto stale = by_flow_.find(end.flow); stale != by_flow_.end()) {
        decline(outcome, stale->second->end, XWAY_WHY_PEER_CLOSED);
        erase(stale->second);
    }
    if (const Place peer = find_peer(end, checks, outcome); peer != waiting_.end()) {
        outcome.peer = peer->end;
        erase(peer);
        taken_[end.cookie] = end.client;
        taken_[outcome.peer->cookie] = outcome.peer->client;
        return outcome;
    }
    std::size_t& count = counts_[end.client];
    if (count >= limits_.per_client) {
        decline(outcome, end, XWAY_WHY_PEER_BUSY);
        return outcome;
    }
    ++count;
    const Place place = waiting_.insert(waiting_.end(), {end, now + limits_.patience});
    by_flow_[end.flow] = place;
    by_cookie_[end.cookie] = place;
    by_name_[{end.client, end.conn}] = place;
    return outcome;
}

// The end of the same namespace, else the only one of any other namespace that may be taken. Where
// several would fit, addresses are not unique among the namespaces, and nothing is known.
Pairing::Place Pairing::find_peer(const Registration& end, const Checks& checks, Outcome& outcome) {
    const Flow wanted = end.flow.mirrored();
    Place peer = waiting_.end();
    if (const auto same = by_flow_.find(wanted); same != by_flow_.end()) {
        peer = same->second;
    } else if (!wanted.is_loopback()) {
        Flow first = wanted, last = wanted;
        first.netns = 0;
        last.netns = UINT64_MAX;
        const auto found = by_flow_.lower_bound(first);
        if (found == by_flow_.end() || last < found->first)
            return peer;
        if (const auto next = std::next(found); next != by_flow_.end() && !(last < next->first))
            return peer;
        if (checks.may_cross(found->second->end))
            peer = found->second;
    }
    if (peer == waiting_.end() || checks.lives(peer->end))
        return peer;
    decline(outcome, peer->end, XWAY_WHY_PEER_CLOSED);
    erase(peer);
    return waiting_.end();
}

bool Pairing::take(const Registration& a, const Registration& b) {
    for (const Registration* end : {&a, &b}) {
        if (taken_.contains(end->cookie) || by_cookie_.contains(end->cookie))
            return false;
    }
    taken_[a.cookie] = a.client;
    taken_[b.cookie] = b.client;
    return true;
}

bool Pairing::cancel(ClientId client, std::uint64_t conn) {
    const auto found = by_name_.find({client, conn});
    if (found == by_name_.end())
        return false;
    erase(found->second);
    return true;
}

std::size_t Pairing::remove(ClientId client) {
    std::size_t removed = 0;
    for (auto at = by_name_.lower_bound({client, 0});
         at != by_name_.end() && at->first.first == client; ++removed) {
        const Place place = at->second;
        ++at;
        erase(place);
    }
    return removed;
}

std::vector<Pairing::Declined> Pairing::expire(Clock::time_point now, std::size_t most) {
    std::vector<Declined> expired;
    while (!waiting_.empty() && expired.size() < most && waiting_.front().until <= now) {
        const Registration& end = waiting_.front().end;
        expired.push_back({end.client, end.conn, XWAY_WHY_WAITING});
        erase(waiting_.begin());
    }
    return expired;
}

std::size_t Pairing::waiting(ClientId client) const {
    const auto count = counts_.find(client);
    return count == counts_.end() ? 0 : count->second;
}

void Pairing::erase(Place place) {
    const Registration& end = place->end;
    by_flow_.erase(end.flow);
    by_cookie_.erase(end.cookie);
    by_name_.erase({end.client, end.conn});
    if (const auto count = counts_.find(end.client); --count->second == 0)
        counts_.erase(count);
    waiting_.erase(place);
}

} // namespace xway
