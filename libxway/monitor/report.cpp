// SPDX-License-Identifier: GPL-2.0-or-later
//
// report.cpp - lines of key=value words.
//
// What is read from an arena may be anything. It is read once, and only printed.
#include "report.h"

#include <array>

#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

namespace xway {

namespace {

constexpr std::array<const char*, XWAY_WHY_COUNT> kWhyNames{
#define XWAY_WHY_NAME(symbol, name, text) name,
    XWAY_WHY_LIST(XWAY_WHY_NAME)
#undef XWAY_WHY_NAME
};

using Clock = std::chrono::steady_clock;
using Out = fmt::memory_buffer;

template <typename... Values>
void print(Out& out, fmt::format_string<Values...> format, Values&&... values) {
    fmt::format_to(fmt::appender(out), format, std::forward<Values>(values)...);
}

long long age_ms(Clock::time_point since) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - since).count();
}

struct Viewer {
    uid_t uid;

    [[nodiscard]] bool sees(uid_t owner) const {
        return uid == 0 || uid == geteuid() || uid == owner;
    }
};

// One SlotSide, each field read once.
struct Snapshot {
    std::uint32_t head, cons, tx_epoch, rx_epoch, why, order;
    Carried bytes;

    explicit Snapshot(const SlotSide& side)
        : head(static_cast<std::uint32_t>(side.head.load(std::memory_order_relaxed))),
          cons(once(side.cons)),
          tx_epoch(once(side.tx_epoch)),
          rx_epoch(once(side.rx_epoch)),
          why(once(side.why)),
          order(once(side.order)),
          bytes(Carried::by(side)) {}

    [[nodiscard]] std::uint32_t ring_size() const {
        return order <= XWAY_RING_ORDER_MAX ? XWAY_PAGE_SIZE << order : 0;
    }

private:
    template <typename Value>
    static Value once(const Value& value) {
        return __atomic_load_n(&value, __ATOMIC_RELAXED);
    }
};

struct Direction {
    const char* rail = "tcp";
    std::uint32_t fill = 0, size = 0;

    Direction(const Snapshot& sender, const Snapshot& receiver, std::uint32_t epoch) {
        if (epoch % 2 == 0)
            return;
        rail = "ring";
        size = sender.ring_size();
        const std::uint32_t in_ring = sender.head - receiver.cons;
        fill = in_ring <= size ? in_ring : 0;
    }
};

// The kernel does not tell who has accepted a connection. It is who listens there; where both do,
// or nobody does any more, servers have the lower port.
const char* role_of(const Flow& flow, SocketLookup& lookup) {
    const bool here = lookup.has_listener(flow), there = lookup.has_listener(flow.mirrored());
    const bool is_server = here != there ? here : flow.local.port < flow.remote.port;
    return is_server ? "server" : "client";
}

void print_socket(Out& out, SocketLookup& lookup, const Arena& arena, std::uint32_t slot,
                  unsigned side, pid_t own, pid_t peer) {
    const SlotUse& use = arena.use(slot);
    const Registration& end = use.holder[side].end;
    const Snapshot mine(arena.view().slot(slot)->side[side]);
    const Snapshot theirs(arena.view().slot(slot)->side[1 - side]);
    const Direction tx(mine, theirs, mine.tx_epoch), rx(theirs, mine, mine.rx_epoch);
    print(out, "state=ESTABLISHED local={} remote={} peer={} role={}", end.flow.local.text(),
          end.flow.remote.text(), peer, role_of(end.flow, lookup));
    print(out, " tx={} rx={} why_tx={}", tx.rail, rx.rail,
          mine.why < XWAY_WHY_COUNT ? kWhyNames[mine.why] : "-");
    print(out, " tx_fill={} tx_size={} rx_fill={} rx_size={}", tx.fill, tx.size, rx.fill, rx.size);
    print(out, " tx_ring={} tx_tcp={} rx_ring={} rx_tcp={}", mine.bytes.tx_ring, mine.bytes.tx_tcp,
          mine.bytes.rx_ring, mine.bytes.rx_tcp);
    print(out, " tx_switches={} rx_switches={} age_ms={} inode={} uid={}", mine.tx_epoch,
          mine.rx_epoch, age_ms(use.since), end.inode, arena.party(side).uid);
    print(out, " pid={} arena={} slot={} direct={:d}\n", own, arena.id(), slot, end.direct);
}

pid_t pid_of(const MonitorState& state, ClientId id) {
    const auto client = state.clients.find(id);
    return client == state.clients.end() ? 0 : client->second->caller().pid;
}

void print_sockets(Out& out, const MonitorState& state, const Viewer& viewer) {
    for (const auto& [id, arena] : state.arenas.all()) {
        const std::array<pid_t, 2> pids{pid_of(state, arena->party(0).client),
                                        pid_of(state, arena->party(1).client)};
        for (std::uint32_t slot = 0; slot < kArenaSlots; ++slot) {
            const SlotUse& use = arena->use(slot);
            for (unsigned side = 0; use.used && side < 2; ++side) {
                if (use.holder[side].holds && viewer.sees(arena->party(side).uid))
                    print_socket(out, state.lookup, *arena, slot, side, pids[side], pids[1 - side]);
            }
        }
    }
}

void print_stat(Out& out, const MonitorState& state) {
    const MonitorCounters& counters = state.counters;
    std::uint64_t slots = 0;
    for (const auto& [id, arena] : state.arenas.all())
        slots += arena->used();
    print(out, "clients {}\nclients_seen {}\nclients_refused {}\n", state.clients.size(),
          counters.clients_seen, counters.clients_refused);
    print(out, "registered {}\nwaiting {}\nmatched {}\ncancelled {}\nreleased {}\n",
          counters.registered, state.pairing.waiting(), counters.matched, counters.cancelled,
          counters.released);
    for (std::size_t why = 0; why < counters.declined.size(); ++why) {
        if (counters.declined[why] != 0)
            print(out, "declined_{} {}\n", kWhyNames[why], counters.declined[why]);
    }
    print(out, "queued {}\n", counters.queued);
    print(out, "stocked {}\ngranted {}\n", counters.stocked, counters.granted);
    const Carried bytes = state.arenas.carried();
    print(out, "tx_ring_bytes {}\nrx_ring_bytes {}\ntx_tcp_bytes {}\nrx_tcp_bytes {}\n",
          bytes.tx_ring, bytes.rx_ring, bytes.tx_tcp, bytes.rx_tcp);
    print(out, "violations {}\nstuck {}\narenas {}\nslots {}\narena_bytes {}\n",
          counters.violations, counters.stuck, state.arenas.all().size(), slots,
          state.arenas.all().size() * kArenaBytes);
}

void print_processes(Out& out, const MonitorState& state, const Viewer& viewer) {
    for (const auto& [id, client] : state.clients) {
        const Caller& caller = client->caller();
        if (!viewer.sees(caller.uid))
            continue;
        const std::string name = caller.name();
        print(out, "pid={} uid={} name={} bells={} arenas={} waiting={} unsent={} age_ms={}\n",
              caller.pid, caller.uid, name.empty() ? "-" : name, client->bells().size(),
              state.arenas.of(id).size(), state.pairing.waiting(id), client->queued(),
              age_ms(client->since()));
    }
}

// `bytes` is the memory that the arena has now.
void print_arenas(Out& out, const MonitorState& state, const Viewer& viewer) {
    for (const auto& [id, arena] : state.arenas.all()) {
        const Party &a = arena->party(0), &b = arena->party(1);
        if (!viewer.sees(a.uid) && !viewer.sees(b.uid))
            continue;
        struct stat status {};
        fstat(arena->fd()->get(), &status);
        print(out, "arena={} a={} b={} a_uid={} b_uid={} a_gone={:d} b_gone={:d}", id,
              pid_of(state, a.client), pid_of(state, b.client), a.uid, b.uid, a.gone, b.gone);
        print(out, " used={} slots={} bytes={}\n", arena->used(), kArenaSlots,
              std::uint64_t{512} * static_cast<std::uint64_t>(status.st_blocks));
    }
}

void print_status(Out& out, const MonitorState& state) {
    print(out, "version=1 pid={} uid={} socket={} policy={} clients={} arenas={} age_ms={}\n",
          getpid(), geteuid(), state.socket, state.policy.empty() ? "-" : state.policy.c_str(),
          state.clients.size(), state.arenas.all().size(), age_ms(state.started));
}

} // namespace

std::optional<std::string> report(const MonitorState& state, std::string_view request,
                                  uid_t asker) {
    const Viewer viewer{asker};
    Out out;
    if (request == "status")
        print_status(out, state);
    else if (request == "stat")
        print_stat(out, state);
    else if (request == "sockets")
        print_sockets(out, state, viewer);
    else if (request == "processes")
        print_processes(out, state, viewer);
    else if (request == "arenas")
        print_arenas(out, state, viewer);
    else
        return std::nullopt;
    return fmt::to_string(out);
}

} // namespace xway
