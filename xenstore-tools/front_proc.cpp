// SPDX-License-Identifier: GPL-2.0-or-later
//
// front_proc.cpp - lines of key=value words.
#include "front_proc.h"

#include <algorithm>
#include <initializer_list>

#include <fmt/format.h>

#include "text.h"

namespace xway {

namespace {

// One line. After the first key that is missing or wrong nothing is read any more.
class Words {
public:
    explicit Words(std::string_view line) {
        for (std::string_view word : split(line, " ")) {
            const auto equals = word.find('=');
            if (equals != std::string_view::npos)
                words_.emplace_back(word.substr(0, equals), word.substr(equals + 1));
        }
    }

    std::string_view get(std::string_view key) {
        const auto value = find(key);
        if (!value)
            complain(fmt::format("no '{}'", key));
        return value.value_or(std::string_view());
    }

    std::optional<std::string_view> find(std::string_view key) const {
        for (const auto& [known, value] : words_) {
            if (known == key)
                return value;
        }
        return std::nullopt;
    }

    std::string text(std::string_view key) {
        const auto value = get(key);
        return value == "-" ? std::string() : std::string(value);
    }

    template <typename Number>
    void number(std::string_view key, Number& result) {
        const auto value = get(key);
        if (const auto number = parse_number<Number>(value))
            result = *number;
        else
            complain(fmt::format("{}={} is no number", key, value));
    }

    bool flag(std::string_view key) {
        unsigned value = 0;
        number(key, value);
        return value != 0;
    }

    std::vector<std::string_view> list(std::string_view key) {
        const auto value = get(key);
        return value == "-" ? std::vector<std::string_view>() : split(value, ",");
    }

    Endpoint endpoint(std::string_view key) {
        const auto value = get(key);
        const auto endpoint = Endpoint::parse(value);
        if (!endpoint)
            complain(fmt::format("{}={} is no address and port", key, value));
        return endpoint.value_or(Endpoint());
    }

    // Every word but those of these keys, which must be numbers.
    Counters others(std::initializer_list<std::string_view> keys) {
        Counters counters;
        for (const auto& [key, unused] : words_) {
            if (std::find(keys.begin(), keys.end(), key) == keys.end())
                number(key, counters.emplace_back(std::string(key), 0).second);
        }
        return counters;
    }

    void complain(std::string what) {
        if (!error_)
            error_ = Error{std::move(what), {}, EINVAL};
    }

    const std::optional<Error>& error() const { return error_; }

private:
    std::vector<std::pair<std::string_view, std::string_view>> words_;
    std::optional<Error> error_;
};

Error wrong_line(unsigned line, const std::string& what) {
    return {fmt::format("line {}: {}", line, what),
            "the module and this program are of different versions", EINVAL};
}

template <typename T, typename Read>
Result<std::vector<T>> parse_lines(std::string_view text, Read read) {
    std::vector<T> items;
    unsigned number = 0;
    for (std::string_view line : split(text, "\n")) {
        ++number;
        Words words(line);
        items.push_back(read(words));
        if (words.error())
            return wrong_line(number, words.error()->what);
    }
    return items;
}

} // namespace

Result<FrontStatus> parse_front_status(std::string_view text) {
    auto lines = parse_lines<FrontStatus>(text, [](Words& words) {
        FrontStatus status;
        words.number("version", status.version);
        words.number("domid", status.domid);
        status.instance = words.text("instance");
        status.state = words.text("state");
        status.enable = words.flag("enable");
        words.number("flip_ms", status.flip_ms);
        words.number("ring_kib", status.ring_kib);
        words.number("arena_kib", status.arena_kib);
        words.number("total_kib", status.total_kib);
        words.number("granted_kib", status.granted_kib);
        return status;
    });
    if (!lines)
        return lines.error();
    if (lines->size() != 1)
        return wrong_line(1, fmt::format("{} lines where one is expected", lines->size()));
    return lines->front();
}

Result<std::vector<Peer>> parse_front_peers(std::string_view text) {
    return parse_lines<Peer>(text, [](Words& words) {
        Peer peer;
        words.number("domid", peer.domid);
        peer.instance = words.text("instance");
        peer.name = words.text("name");
        for (std::string_view item : words.list("mac")) {
            if (const auto mac = parse_mac(item))
                peer.macs.push_back(*mac);
        }
        for (std::string_view item : words.list("ip")) {
            if (const auto address = Address::parse(item))
                peer.ips.push_back(*address);
        }
        peer.ready = words.flag("ready");
        peer.link = words.text("link");
        words.number("arena_used", peer.arena_used);
        words.number("arena_pages", peer.arena_pages);
        words.number("slots_used", peer.slots_used);
        words.number("slots", peer.slots);
        return peer;
    });
}

Result<std::vector<Socket>> parse_front_sockets(std::string_view text) {
    return parse_lines<Socket>(text, [](Words& words) {
        Socket socket;
        socket.state = words.text("state");
        socket.local = words.endpoint("local");
        socket.remote = words.endpoint("remote");
        socket.role = words.text("role");
        words.number("inode", socket.inode);
        if (socket.role == "listen")
            return socket;
        if (!words.text("peer").empty())
            words.number("peer", socket.peer.emplace());
        socket.tx = words.text("tx");
        socket.rx = words.text("rx");
        socket.why_tx = words.text("why_tx");
        words.number("tx_fill", socket.tx_fill);
        words.number("tx_size", socket.tx_size);
        words.number("rx_fill", socket.rx_fill);
        words.number("rx_size", socket.rx_size);
        words.number("tx_ring", socket.tx_ring);
        words.number("tx_tcp", socket.tx_tcp);
        words.number("rx_ring", socket.rx_ring);
        words.number("rx_tcp", socket.rx_tcp);
        words.number("tx_switches", socket.tx_switches);
        words.number("rx_switches", socket.rx_switches);
        words.number("age_ms", socket.age_ms);
        words.number("uid", socket.uid);
        if (words.find("direct"))
            socket.direct = words.flag("direct");
        return socket;
    });
}

Result<Counters> parse_front_stat(std::string_view text) {
    Counters counters;
    unsigned number = 0;
    for (std::string_view line : split(text, "\n")) {
        ++number;
        const auto words = split(line, " \t");
        const auto value = words.size() == 2 ? parse_number<std::uint64_t>(words[1]) : std::nullopt;
        if (!value)
            return wrong_line(number, fmt::format("'{}' is no name and value", line));
        counters.emplace_back(std::string(words[0]), *value);
    }
    return counters;
}

Result<std::vector<PeerCounters>> parse_front_counters(std::string_view text) {
    return parse_lines<PeerCounters>(text, [](Words& words) {
        PeerCounters peer;
        words.number("domid", peer.domid);
        peer.name = words.text("name");
        peer.counters = words.others({"domid", "name"});
        return peer;
    });
}

Result<std::vector<BackDomain>> parse_back_domains(std::string_view text) {
    return parse_lines<BackDomain>(text, [](Words& words) {
        BackDomain domain;
        words.number("domid", domain.domid);
        domain.name = words.text("name");
        domain.uuid = words.text("uuid");
        domain.instance = words.text("instance");
        domain.state = words.text("state");
        return domain;
    });
}

Result<std::vector<BackLink>> parse_back_links(std::string_view text) {
    return parse_lines<BackLink>(text, [](Words& words) {
        BackLink link;
        words.number("a", link.a);
        words.number("b", link.b);
        link.a_offer = words.flag("a_offer");
        link.b_offer = words.flag("b_offer");
        return link;
    });
}

namespace {

// Addresses are printed as 32-bit words of memory in network order, read in the machine's order.
std::optional<Endpoint> parse_kernel_endpoint(std::string_view text) {
    const auto colon = text.find(':');
    if (colon != 8 && colon != 32)
        return std::nullopt;
    std::uint32_t words[4] = {};
    for (std::size_t i = 0; i < colon / 8; ++i) {
        const auto word = parse_number<std::uint32_t>(text.substr(i * 8, 8), 16);
        if (!word)
            return std::nullopt;
        words[i] = *word;
    }
    const auto port = parse_number<std::uint16_t>(text.substr(colon + 1), 16);
    if (!port)
        return std::nullopt;
    return Endpoint{colon == 8 ? Address::from_v4(words) : Address::from_v6(words), *port};
}

} // namespace

Result<std::vector<KernelSocket>> parse_kernel_tcp(std::string_view text) {
    constexpr std::string_view kEstablished = "01";
    std::vector<KernelSocket> sockets;
    unsigned number = 0;
    for (std::string_view line : split(text, "\n")) {
        if (++number == 1)
            continue; // the header
        // sl local remote st tx:rx tr:when retrnsmt uid timeout inode ..
        const auto words = split(line, " ");
        if (words.size() < 10)
            return wrong_line(number, "not a socket");
        const auto uid = parse_number<std::uint64_t>(words[7]);
        const auto inode = parse_number<std::uint64_t>(words[9]);
        if (!uid || !inode)
            return wrong_line(number, "not a socket");
        const auto local = parse_kernel_endpoint(words[1]);
        const auto remote = parse_kernel_endpoint(words[2]);
        if (!local || !remote)
            return wrong_line(number, "no address");
        sockets.push_back({*local, *remote, words[3] == kEstablished, *uid, *inode});
    }
    return sockets;
}

} // namespace xway
