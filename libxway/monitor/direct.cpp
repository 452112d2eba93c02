// SPDX-License-Identifier: GPL-2.0-or-later
//
// direct.cpp - listeners by port, stocks by dialer and place, asks by listening process.
//
// An ask ends when all of it has come, when its time is over, or with either of its processes. The
// listening process may not know, so what it sends for an ask that it was given is no offence.
#include "direct.h"

#include <algorithm>
#include <iterator>

namespace xway {

bool Direct::listen(const Name& name) {
    const auto first = listeners_.lower_bound({name.first, 0});
    std::size_t count = 0;
    for (auto at = first; at != listeners_.end() && at->first.first == name.first; ++at)
        ++count;
    return count < limits_.listeners && listeners_.try_emplace(name).second;
}

std::vector<Direct::Name> Direct::found(const Name& name, const TcpListener& socket) {
    std::vector<Name> rivals;
    const auto listener = listeners_.find(name);
    if (listener == listeners_.end() || listener->second.socket)
        return rivals;
    listener->second.socket = socket;
    by_port_.insert(port_of(socket, name));
    for (auto at = by_cookie_.lower_bound({socket.cookie, Name()});
         at != by_cookie_.end() && at->first == socket.cookie; ++at) {
        rivals.push_back(at->second);
        forget_stocks(at->second);
    }
    by_cookie_.insert({socket.cookie, name});
    return rivals;
}

void Direct::unlisten(const Name& name) {
    const auto listener = listeners_.find(name);
    if (listener == listeners_.end())
        return;
    forget_stocks(name);
    if (const auto& socket = listener->second.socket) {
        by_cookie_.erase({socket->cookie, name});
        by_port_.erase(port_of(*socket, name));
    }
    listeners_.erase(listener);
}

bool Direct::knows(std::uint64_t netns, std::uint16_t port) const {
    const auto first = by_port_.lower_bound({netns, port, Address(), false, Name()});
    return first != by_port_.end() && std::get<0>(*first) == netns && std::get<1>(*first) == port;
}

std::optional<Direct::Name> Direct::find(std::uint64_t cookie) const {
    const auto first = by_cookie_.lower_bound({cookie, Name()});
    if (first == by_cookie_.end() || first->first != cookie)
        return std::nullopt;
    const auto next = std::next(first);
    return next != by_cookie_.end() && next->first == cookie ? std::nullopt
                                                             : std::optional(first->second);
}

std::optional<Direct::Name> Direct::find(const Endpoint& to, std::uint64_t netns) const {
    const bool is_v4 = to.address.is_v4();
    const auto any_v4 = Address::from_v4("\0\0\0"), any_v6 = Address();
    for (const Address& address : {to.address, is_v4 ? any_v4 : any_v6, any_v6}) {
        const auto first = by_port_.lower_bound({netns, to.port, address, false, Name()});
        if (first == by_port_.end())
            continue;
        const auto& [space, port, local, refuses_v4, name] = *first;
        if (space == netns && port == to.port && local == address &&
            !(is_v4 && address == any_v6 && refuses_v4))
            return find(listeners_.at(name).socket->cookie);
    }
    return std::nullopt;
}

bool Direct::needs(ClientId dialer, const Endpoint& to, Clock::time_point now) const {
    const auto stock = stocks_.find({dialer, to});
    if (stock == stocks_.end())
        return true;
    const Stock& known = stock->second;
    return known.ask == 0 && !counts_.contains({dialer, known.listener.first}) &&
           now - known.asked_at >= limits_.patience;
}

std::optional<Direct::Ask> Direct::begin(ClientId dialer, const Name& listener, const Endpoint& to,
                                         Clock::time_point now) {
    const Place place{dialer, to};
    if (const auto old = stocks_.find(place); old != stocks_.end())
        forget(old);
    std::size_t places = 0;
    for (auto at = stocks_.lower_bound({dialer, {}});
         at != stocks_.end() && at->first.first == dialer; ++at)
        ++places;
    const auto known = listeners_.find(listener);
    if (known == listeners_.end() || places >= limits_.places)
        return std::nullopt;
    known->second.stocks.insert(place);
    Stock& stock = stocks_[place];
    stock.listener = listener;
    return ask(place, stock, limits_.first, now);
}

std::optional<Direct::Ask> Direct::add(ClientId dialer, const Endpoint& to, Clock::time_point now) {
    const auto stock = stocks_.find({dialer, to});
    if (stock == stocks_.end() || stock->second.ask != 0)
        return std::nullopt;
    return ask(stock->first, stock->second, limits_.more, now);
}

std::optional<Direct::Ask> Direct::ask(const Place& place, Stock& stock, unsigned most,
                                       Clock::time_point now) {
    const Pair pair{place.first, stock.listener.first};
    const auto counted = counts_.find(pair);
    const unsigned has = counted == counts_.end() ? 0 : counted->second;
    const unsigned wanted = std::min(most, limits_.per_pair - std::min(has, limits_.per_pair));
    stock.asked_at = now;
    if (wanted == 0)
        return std::nullopt;
    counts_[pair] = has + wanted;
    stock.ask = ++last_ask_[pair.second];
    asks_[{pair.second, stock.ask}] = {place, wanted, 0};
    return Ask{stock.listener, stock.ask, place.second, wanted};
}

Direct::Supply Direct::supply(ClientId listener, std::uint32_t ask) {
    const auto last = last_ask_.find(listener);
    if (last == last_ask_.end() || ask == 0 || ask > last->second)
        return Supply::unasked;
    const auto open = asks_.find({listener, ask});
    if (open == asks_.end())
        return Supply::late;
    if (open->second.to_come == 0)
        return Supply::unasked;
    --open->second.to_come;
    ++open->second.looked_at;
    return Supply::wanted;
}

std::optional<Direct::Supplied> Direct::supplied(ClientId listener, std::uint32_t ask) const {
    const auto open = asks_.find({listener, ask});
    if (open == asks_.end())
        return std::nullopt;
    const Place& place = open->second.place;
    return Supplied{place.first, stocks_.at(place).listener, place.second};
}

void Direct::settle(ClientId listener, std::uint32_t ask, bool granted) {
    const auto open = asks_.find({listener, ask});
    if (open == asks_.end())
        return;
    --open->second.looked_at;
    if (!granted)
        uncount({open->second.place.first, listener}, 1);
    if (open->second.looked_at == 0 && open->second.to_come == 0)
        close(open);
}

void Direct::end(ClientId listener, std::uint32_t ask) {
    const auto open = asks_.find({listener, ask});
    if (open == asks_.end())
        return;
    uncount({open->second.place.first, listener}, open->second.to_come);
    open->second.to_come = 0;
    if (open->second.looked_at == 0)
        close(open);
}

void Direct::release(ClientId dialer, ClientId listener) {
    uncount({dialer, listener}, 1);
}

void Direct::remove(ClientId client) {
    for (auto at = stocks_.lower_bound({client, {}});
         at != stocks_.end() && at->first.first == client;)
        forget(at++);
    for (auto at = listeners_.lower_bound({client, 0});
         at != listeners_.end() && at->first.first == client;)
        unlisten((at++)->first);
    last_ask_.erase(client);
}

void Direct::expire(Clock::time_point now) {
    for (auto at = asks_.begin(); at != asks_.end();) {
        const auto open = at++;
        if (now - stocks_.at(open->second.place).asked_at >= limits_.patience)
            close(open);
    }
}

void Direct::forget_stocks(const Name& name) {
    const auto& stocks = listeners_.at(name).stocks;
    while (!stocks.empty())
        forget(stocks_.find(*stocks.begin()));
}

void Direct::forget(std::map<Place, Stock>::iterator stock) {
    const Name listener = stock->second.listener;
    if (const auto open = asks_.find({listener.first, stock->second.ask}); open != asks_.end())
        close(open);
    listeners_.at(listener).stocks.erase(stock->first);
    stocks_.erase(stock);
}

void Direct::close(std::map<AskName, Open>::iterator open) {
    const Place& place = open->second.place;
    uncount({place.first, open->first.first}, open->second.to_come + open->second.looked_at);
    stocks_.at(place).ask = 0;
    asks_.erase(open);
}

void Direct::uncount(const Pair& pair, unsigned by) {
    const auto count = counts_.find(pair);
    if (count == counts_.end())
        return;
    count->second -= std::min(count->second, by);
    if (count->second == 0)
        counts_.erase(count);
}

} // namespace xway
