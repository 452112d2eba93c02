// SPDX-License-Identifier: GPL-2.0-or-later
//
// monitor.cpp - packets of clients, and what follows from them.
//
// DOC: Theory of operation
//
// A process connects, says hello with its doorbells, and registers sockets by passing them. The
// inspector asks the kernel what such a socket is and closes it; the pairing finds out whether its
// other end has been registered, too; if so both get a slot of an arena that these two processes
// share. From then on xwayd has nothing to do with the connection until a side releases its slot,
// or dies: then whoever waits for it is woken.
//
// A client is lost once, by the first of its end, its hanging up, a violation. It is buried later
// from the loop, so that whoever is at work with it may finish.
//
// Limits: nothing is kept over a restart. Connections that are attached go on without xwayd, but
// the death of a process is then noticed by TCP alone.
#include "monitor.h"

#include <csignal>
#include <cstring>

#include <sched.h>
#include <sys/socket.h>

#include <fmt/format.h>

#include "report.h"
#include "socket_file.h"

namespace xway {

namespace {

constexpr unsigned kAcceptAtOnce = 64;
constexpr long kAcceptAgainMs = 1000;   // without descriptors for another client
constexpr unsigned kPollsPerLook = 256; // of the queues, for one at the sockets
constexpr long kTickMs = 1000;
constexpr std::size_t kExpireAtOnce = 4096;
constexpr unsigned kComplaintsPerTick = 10;
constexpr auto kHelloWithin = std::chrono::seconds(10);
constexpr auto kNamespaceRest = std::chrono::seconds(60); // then it is not held any longer

} // namespace

void log(const std::string& line) {
    fmt::print(stderr, "xwayd: {}\n", line);
}

Result<std::unique_ptr<Monitor>> Monitor::start(const MonitorOptions& options) {
    std::unique_ptr<Monitor> monitor(new Monitor(options));
    if (auto read = monitor->read_policy(); !read)
        return read.error();
    if (auto listens = monitor->listen(); !listens)
        return listens.error();
    if (!monitor->lookup_->works())
        log("the kernel does not tell about sockets (tcp_diag): only processes of one user are "
            "paired");
    return monitor;
}

Result<void> Monitor::listen() {
    const mode_t mode = geteuid() == 0 ? 0666 : 0600;
    if (auto prepared = prepare_directory(options_.path); !prepared)
        return prepared.error();
    auto lock = lock_socket(options_.path);
    if (!lock)
        return lock.error();
    lock_ = std::move(*lock);
    auto tools = listen_at(control_path(options_.path), SOCK_STREAM, mode);
    if (!tools)
        return tools.error();
    control_ = std::make_unique<Control>(
        loop_, std::move(*tools),
        [this](std::string_view request, uid_t asker) { return answer(request, asker); });
    auto listener = listen_at(options_.path, SOCK_SEQPACKET, mode);
    if (!listener)
        return listener.error();
    listener_ = std::move(*listener);
    connection_ = loop_.make(listener_.get(), EV_READ | EV_PERSIST, on_connection, this);
    event_add(connection_.get(), nullptr);
    return {};
}

Monitor::Monitor(const MonitorOptions& options)
    : options_(options),
      inspector_(loop_, lookup_, options.trusts_own_user ? std::optional(geteuid()) : std::nullopt,
                 [this](auto& report) { on_report(report); }),
      pairing_(options.pairing),
      arenas_(options.arenas),
      direct_(options.stocks),
      busy_at_(Clock::now()),
      queues_(
          loop_, options.queues,
          [this](uid_t uid, ClientId owner, const auto& entry) { on_entry(uid, owner, entry); }),
      accept_again_(loop_.make(-1, 0, on_accept_again, this)),
      bury_(loop_.make(-1, 0, on_bury, this)),
      tick_(loop_.make(-1, EV_PERSIST, on_tick, this)),
      reload_(loop_.make(SIGHUP, EV_SIGNAL | EV_PERSIST, on_reload, this)),
      terminate_(loop_.make(SIGTERM, EV_SIGNAL, on_terminate, this)),
      interrupt_(loop_.make(SIGINT, EV_SIGNAL, on_terminate, this)) {
    const timeval tick = milliseconds(kTickMs);
    event_add(tick_.get(), &tick);
    for (event* signal : {reload_.get(), terminate_.get(), interrupt_.get()})
        event_add(signal, nullptr);
}

// As long as we have the lock, the files are ours.
Monitor::~Monitor() {
    if (listener_)
        unlink(options_.path.c_str());
    if (control_)
        unlink(control_path(options_.path).c_str());
}

void Monitor::run() {
    if (options_.poll_core < 0)
        return loop_.run();
    cpu_set_t core;
    CPU_ZERO(&core);
    CPU_SET(options_.poll_core, &core);
    if (sched_setaffinity(0, sizeof(core), &core) < 0)
        log(fmt::format("cannot stay on processor {}: {}", options_.poll_core, strerror(errno)));
    while (loop_.run_once()) {
        for (unsigned i = 0; i < kPollsPerLook; ++i)
            queues_.poll();
    }
}

Result<void> Monitor::read_policy() {
    if (options_.policy_file.empty())
        return {};
    auto policy = LocalPolicy::load(options_.policy_file);
    if (!policy && options_.policy_may_miss && policy.error().code == ENOENT) {
        policy_ = LocalPolicy();
        policy_source_.clear();
        return {};
    }
    if (!policy)
        return policy.error();
    policy_ = std::move(*policy);
    policy_source_ = options_.policy_file;
    return {};
}

// For what comes from now on; connections that are attached stay so.
void Monitor::reload() {
    if (auto read = read_policy(); !read)
        return log(read.error().text() + "; the policy stays as it was");
    log("policy read again");
    for (const auto& [id, client] : clients_) {
        client->forget_cgroup();
        if (client->is_welcome())
            client->set_scope(policy_.scope(client->caller().uid));
    }
}

std::optional<std::string> Monitor::answer(std::string_view request, uid_t asker) const {
    return report(
        {clients_, arenas_, pairing_, *lookup_, counters_, options_.path, policy_source_, started_},
        request, asker);
}

// ---- clients ----

void Monitor::accept_clients() {
    for (unsigned i = 0; i < kAcceptAtOnce; ++i) {
        UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (socket) {
            accept_one(std::move(socket));
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            const timeval later = milliseconds(kAcceptAgainMs);
            event_del(connection_.get());
            evtimer_add(accept_again_.get(), &later);
        }
        return;
    }
}

void Monitor::accept_one(UniqueFd socket) {
    auto caller = Caller::behind(socket.get());
    const auto count = caller ? clients_of_.find(caller->uid) : clients_of_.end();
    const std::size_t others = count == clients_of_.end() ? 0 : count->second;
    if (!caller || others >= options_.clients_per_uid || inspector_.is_stuck_with(caller->uid)) {
        ++counters_.clients_refused;
        return;
    }
    clients_of_[caller->uid] = others + 1;
    const ClientId id = ++last_client_;
    Client::Owner& owner = *this;
    clients_[id] =
        std::make_unique<Client>(id, std::move(socket), std::move(*caller), loop_, owner);
}

Client* Monitor::find(ClientId id) {
    const auto found = clients_.find(id);
    return found == clients_.end() || found->second->is_lost() ? nullptr : found->second.get();
}

void Monitor::on_packet(Client& client, Packet packet) {
    const WireType type = packet.msg.type;
    if (type != WireType::kHello && !client.is_welcome()) {
        violation(client, "speaks before it says hello");
    } else {
        switch (type) {
        case WireType::kHello: hello(client, packet); break;
        case WireType::kRegister: register_end(client, packet); break;
        case WireType::kCancel: cancel(client, packet); break;
        case WireType::kRelease: release(client, packet); break;
        case WireType::kListen: listen_at_port(client, packet); break;
        case WireType::kUnlisten: unlisten(client, packet); break;
        case WireType::kSupply: supply(client, packet); break;
        case WireType::kMore: more(client, packet); break;
        default: violation(client, fmt::format("sends type {}", static_cast<std::uint32_t>(type)));
        }
    }
    inspector_.dispose(client.id(), client.caller().uid, std::move(packet.fds));
}

void Monitor::on_malformed(Client& client, Packet packet) {
    violation(client, "sends what is no message");
    inspector_.dispose(client.id(), client.caller().uid, std::move(packet.fds));
}

void Monitor::on_deaf(Client& client) {
    violation(client, fmt::format("leaves {} messages unread", client.queued()));
}

void Monitor::violation(Client& client, const std::string& what) {
    if (client.is_lost())
        return;
    ++counters_.violations;
    complain(client, what);
    client.lose();
}

// Who comes back again and again does not fill the log.
void Monitor::complain(const Client& client, const std::string& what) {
    if (++complaints_ <= kComplaintsPerTick)
        log(fmt::format("process {} of user {} {}: disconnected", client.caller().pid,
                        client.caller().uid, what));
}

void Monitor::on_lost(Client& client) {
    lost_.push_back(client.id());
    event_active(bury_.get(), 0, 0);
}

// Telling the survivors may lose more of them.
void Monitor::bury() {
    while (!lost_.empty()) {
        const ClientId id = lost_.back();
        lost_.pop_back();
        pairing_.remove(id);
        direct_.remove(id);
        queues_.remove(id, clients_.at(id)->caller().uid);
        for (auto at = inspected_.lower_bound({id, 0});
             at != inspected_.end() && at->first.first == id;)
            at = inspected_.erase(at);
        inspected_of_.erase(id);

        const ArenaPool::Ended ended = arenas_.remove(id, Clock::now());
        let_go(ended);
        for (const ArenaPool::Ring& ring : ended.rings) {
            if (const Client* survivor = find(ring.client))
                inspector_.ring(ring.client, survivor->caller().uid, survivor->bells());
        }
        announce(ended.drops);

        const auto client = clients_.find(id);
        const auto count = clients_of_.find(client->second->caller().uid);
        if (--count->second == 0)
            clients_of_.erase(count);
        clients_.erase(client);
    }
    busy_at_ = Clock::now();
}

// ---- what they say ----

void Monitor::hello(Client& client, Packet& packet) {
    if (client.is_welcome())
        return violation(client, "says hello twice");
    if (packet.short_of_fds) {
        ++counters_.clients_refused;
        return client.lose();
    }
    if (packet.msg.arg != kWireVersion) {
        ++counters_.clients_refused;
        complain(client, fmt::format("speaks version {}, not {}", packet.msg.arg, kWireVersion));
        return client.lose();
    }
    if (packet.fds.empty() || packet.fds.size() > kArenaBells)
        return violation(client, fmt::format("has {} doorbells", packet.fds.size()));
    for (const UniqueFd& fd : packet.fds) {
        if (!is_bell(fd.get()))
            return violation(client, "has a doorbell that is no eventfd, or one that blocks");
    }
    std::vector<SharedFd> bells;
    for (UniqueFd& fd : packet.fds)
        bells.push_back(share(std::move(fd)));
    if ((packet.msg.flags & kHelloDirect) != 0)
        client.set_direct();
    const auto queue = queues_.give(client.id(), client.caller().uid);
    if (auto welcome = client.welcome(std::move(bells), policy_.scope(client.caller().uid), queue);
        !welcome) {
        log(welcome.error().text());
        ++counters_.clients_refused;
        return client.lose();
    }
    ++counters_.clients_seen;
}

// What a queue says of who has put it there is believed as far as the queue's own user.
//
// An entry and a packet of one process may be read in either order, which does no harm. A name is
// given to one registration only: if it is cancelled before it is read, then it is paired, if its
// socket is still there at all, and the process gives the slot back, as it does with an answer that
// crosses its kCancel. A slot is not used anew before its release is read.
void Monitor::on_entry(uid_t uid, ClientId owner, const QueueEntry& entry) {
    Client* client = find(owner != 0 ? owner : entry.client);
    if (!client || client->caller().uid != uid || !client->is_welcome())
        return;
    ++counters_.queued;
    Packet packet{entry.msg, {}, false};
    switch (entry.msg.type) {
    case WireType::kRegister: register_number(*client, entry); break;
    case WireType::kCancel: cancel(*client, packet); break;
    case WireType::kRelease: release(*client, packet); break;
    case WireType::kMore: more(*client, packet); break;
    default: violation(*client, "queues what must be sent");
    }
}

// Whether this registration may be inspected; then its name is taken.
bool Monitor::admit(Client& client, const WireMsg& msg) {
    const std::uint64_t conn = msg.conn;
    ++counters_.registered;
    std::size_t& inspected = inspected_of_[client.id()];
    if (inspected + pairing_.waiting(client.id()) >= options_.pairing.per_client) {
        decline(client.id(), conn, XWAY_WHY_PEER_BUSY);
        return false;
    }
    const Endpoint dialled{Address::from_v6(msg.address), static_cast<std::uint16_t>(msg.port)};
    if (!inspected_.try_emplace({client.id(), conn}, Inspected{dialled}).second) {
        violation(client, "registers two sockets by one name");
        return false;
    }
    ++inspected;
    return true;
}

void Monitor::register_end(Client& client, Packet& packet) {
    const std::uint64_t conn = packet.msg.conn;
    if (packet.short_of_fds)
        return decline(client.id(), conn, XWAY_WHY_NO_MEMORY);
    if (packet.fds.size() != 1)
        return violation(client, fmt::format("registers {} sockets at once", packet.fds.size()));
    if (!admit(client, packet.msg))
        return;
    inspector_.inspect(client.id(), client.caller().uid, conn, std::move(packet.fds[0]));
    packet.fds.clear();
}

void Monitor::register_number(Client& client, const QueueEntry& entry) {
    if (!client.pidfd())
        return; // it has no queue; others of its user say this
    if (admit(client, entry.msg))
        inspector_.fetch(client.id(), client.caller().uid, entry.msg.conn, client.pidfd(),
                         static_cast<int>(entry.msg.arg), entry.cookie);
}

void Monitor::cancel(Client& client, const Packet& packet) {
    if (!packet.fds.empty())
        return violation(client, "cancels with descriptors");
    const auto inspected = inspected_.find({client.id(), packet.msg.conn});
    const bool is_inspected = inspected != inspected_.end() && !inspected->second.cancelled;
    if (is_inspected)
        inspected->second.cancelled = true;
    // Else an answer is under way.
    if (is_inspected || pairing_.cancel(client.id(), packet.msg.conn))
        ++counters_.cancelled;
}

void Monitor::release(Client& client, const Packet& packet) {
    const WireMsg& msg = packet.msg;
    ArenaPool::Ended ended;
    if (packet.fds.empty() && arenas_.has_dropped(client.id(), msg.arena))
        return; // it may not have read that yet
    if (!packet.fds.empty() ||
        !arenas_.release(client.id(), msg.arena, msg.slot, msg.side, Clock::now(), ended))
        return violation(client, fmt::format("releases slot {} of arena {}, which it does not have",
                                             msg.slot, msg.arena));
    ++counters_.released;
    let_go(ended);
    announce(ended.drops);
}

void Monitor::let_go(const ArenaPool::Ended& ended) {
    for (const Registration& end : ended.ends) {
        pairing_.release(end.cookie);
        if (end.granted_by != 0)
            direct_.release(end.client, end.granted_by);
    }
}

// ---- what becomes of it ----

void Monitor::on_report(Inspector::Report& report) {
    const auto count = inspected_of_.find(report.client);
    if (count == inspected_of_.end())
        return; // of a client that is gone
    if (--count->second == 0)
        inspected_of_.erase(count);
    Client* client = find(report.client);
    if (!client)
        return;
    switch (report.about) {
    case Inspector::About::end: on_end(*client, report); break;
    case Inspector::About::listener: on_listener(*client, report); break;
    case Inspector::About::supply: on_supply(*client, report); break;
    }
}

void Monitor::on_end(Client& client, const Inspector::Report& report) {
    const auto inspected = inspected_.find({report.client, report.conn});
    const auto [dialled, cancelled] = inspected->second;
    inspected_.erase(inspected);
    const auto* end = std::get_if<TcpEnd>(&report.found);
    // That the first connections are closed again before they are looked at is no reason to be
    // without a stock.
    if (end)
        begin_stock(client, end->flow);
    else if (dialled.port != 0 && report.netns != 0)
        begin_stock(client, {{}, dialled, 0, report.netns});
    if (cancelled)
        return;
    if (const auto* why = std::get_if<xway_why>(&report.found))
        return decline(report.client, report.conn, *why);
    if (std::holds_alternative<Inspector::Refused>(report.found)) {
        client.refuse_fetch();
        return decline(report.client, report.conn, XWAY_WHY_PEER_REFUSED);
    }
    if (!end)
        return violation(client, "registers what is no socket");
    const Registration registration{report.client, report.conn, end->cookie, end->inode, end->flow};
    pair(client, registration);
}

void Monitor::pair(Client& client, const Registration& end) {
    const Pairing::Checks checks{[&](const Registration& waiting) {
                                     const Client* peer = find(waiting.client);
                                     return peer && lives(waiting, *peer, client);
                                 },
                                 [&](const Registration& waiting) {
                                     Client* peer = find(waiting.client);
                                     return peer && allows(client, end, *peer, waiting);
                                 }};
    const Pairing::Outcome outcome = pairing_.add(end, Clock::now(), checks);
    if (outcome.clash)
        return violation(client, "registers two sockets by one name");
    for (const Pairing::Declined& declined : outcome.declined)
        decline(declined.client, declined.conn, declined.why);
    if (!outcome.peer)
        return;
    const auto give_up = [&](xway_why why) {
        for (const Registration* one : {&end, &*outcome.peer}) {
            pairing_.release(one->cookie);
            decline(one->client, one->conn, why);
        }
    };
    Client* peer = find(outcome.peer->client);
    // This one has waited, too, for the inspector's report. Now both are open at one time.
    if (!peer || !lives(end, client, *peer))
        return give_up(XWAY_WHY_PEER_CLOSED);
    Registration own = end, other = *outcome.peer;
    const LocalVerdict verdict = decide(client, end, *peer, other);
    if (verdict == LocalVerdict::deny)
        return give_up(XWAY_WHY_DISABLED);
    own.direct = other.direct = verdict == LocalVerdict::direct;
    if (const xway_why why = attach(client, own, *peer, other); why != XWAY_WHY_NONE)
        give_up(why);
}

// Where the kernel cannot be asked, a user may deceive himself.
bool Monitor::lives(const Registration& end, const Client& owner, const Client& other) {
    switch (lookup_->ask(end.flow, end.cookie)) {
    case SocketLookup::Answer::open: return true;
    case SocketLookup::Answer::closed: return false;
    case SocketLookup::Answer::unknown: break;
    }
    return owner.caller().uid == other.caller().uid;
}

LocalVerdict Monitor::decide(Client& a, const Registration& a_end, Client& b,
                             const Registration& b_end) {
    const bool needs_cgroups = policy_.asks_for_cgroups();
    const auto of = [&](Client& client, const Registration& end) {
        LocalEnd known{client.caller().uid, end.flow.local.port, std::nullopt};
        if (needs_cgroups && !client.cgroup().empty())
            known.cgroup = client.cgroup();
        return known;
    };
    const LocalVerdict verdict =
        policy_.decide({of(a, a_end), of(b, b_end), a_end.flow.netns == b_end.flow.netns});
    if (verdict == LocalVerdict::deny)
        return verdict;
    const bool may =
        verdict == LocalVerdict::direct || (options_.direct && a.caller().uid == b.caller().uid);
    return may && a.is_direct() && b.is_direct() ? LocalVerdict::direct : LocalVerdict::allow;
}

xway_why Monitor::attach(Client& a, const Registration& a_end, Client& b,
                         const Registration& b_end) {
    const auto place = arenas_.attach(a_end, a.caller().uid, b_end, b.caller().uid, Clock::now());
    if (const auto* why = std::get_if<xway_why>(&place))
        return *why;
    ++counters_.matched;
    const auto& found = *std::get_if<ArenaPool::Place>(&place);
    tell(a, b, found, a_end, found.side);
    tell(b, a, found, b_end, 1 - found.side);
    return XWAY_WHY_NONE;
}

Monitor::Telling Monitor::telling(const Client& client, const Client& peer,
                                  const ArenaPool::Place& place, const Registration& end,
                                  unsigned side) {
    WireMsg msg{};
    msg.type = WireType::kAttach;
    msg.conn = end.conn;
    msg.arena = place.arena->id();
    msg.slot = place.slot;
    msg.side = side;
    msg.peer = static_cast<std::uint32_t>(peer.caller().pid);
    msg.flags = end.direct ? kAttachDirect : 0;
    std::vector<SharedFd> fds;
    if (!place.arena->party(side).knows) {
        place.arena->set_knows(client.id());
        msg.arg = static_cast<std::uint32_t>(peer.bells().size());
        fds = peer.bells();
        fds.insert(fds.begin(), place.arena->fd());
    }
    return {msg, std::move(fds)};
}

void Monitor::tell(Client& client, const Client& peer, const ArenaPool::Place& place,
                   const Registration& end, unsigned side) {
    Telling what = telling(client, peer, place, end, side);
    client.send(what.msg, std::move(what.fds));
}

void Monitor::decline(ClientId id, std::uint64_t conn, xway_why why) {
    ++counters_.declined[why];
    Client* client = find(id);
    if (!client)
        return;
    WireMsg msg{};
    msg.type = WireType::kDecline;
    msg.conn = conn;
    msg.arg = why;
    client->send(msg);
}

void Monitor::announce(const std::vector<ArenaPool::Drop>& drops) {
    for (const ArenaPool::Drop& drop : drops) {
        Client* client = find(drop.client);
        if (!client)
            continue;
        WireMsg msg{};
        msg.type = WireType::kDrop;
        msg.arena = drop.arena;
        client->send(msg);
    }
}

void Monitor::tick() {
    const auto now = Clock::now();
    if (complaints_ > kComplaintsPerTick)
        log(fmt::format("{} more were disconnected", complaints_ - kComplaintsPerTick));
    complaints_ = 0;
    for (const Pairing::Declined& declined : pairing_.expire(now, kExpireAtOnce))
        decline(declined.client, declined.conn, declined.why);
    announce(arenas_.tidy(now));
    direct_.expire(now);
    queues_.tick(now);
    lookup_->forget(now - kNamespaceRest);
    if (const auto id = inspector_.find_stuck(now)) {
        ++counters_.stuck;
        if (Client* client = find(*id))
            violation(*client, "has passed a file that does not answer");
    }
    for (const auto& [id, client] : clients_) {
        if (!client->is_welcome() && now - client->since() > kHelloWithin)
            client->lose();
        if (client->mend_bells() && ++complaints_ <= kComplaintsPerTick)
            log(fmt::format(
                "a doorbell of process {} was made to block, by it or by a peer: mended",
                client->caller().pid));
    }
    if (!clients_.empty())
        busy_at_ = now;
    else if (options_.idle_exit.count() > 0 && now - busy_at_ >= options_.idle_exit)
        loop_.stop();
}

void Monitor::on_connection(int, short, void* self) {
    static_cast<Monitor*>(self)->accept_clients();
}

void Monitor::on_accept_again(int, short, void* self) {
    event_add(static_cast<Monitor*>(self)->connection_.get(), nullptr);
}

void Monitor::on_bury(int, short, void* self) {
    static_cast<Monitor*>(self)->bury();
}

void Monitor::on_tick(int, short, void* self) {
    static_cast<Monitor*>(self)->tick();
}

void Monitor::on_reload(int, short, void* self) {
    static_cast<Monitor*>(self)->reload();
}

void Monitor::on_terminate(int, short, void* self) {
    static_cast<Monitor*>(self)->loop_.stop();
}

} // namespace xway
