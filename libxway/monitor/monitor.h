// SPDX-License-Identifier: GPL-2.0-or-later
//
// monitor.h - the loop of xwayd: clients, their registrations, the arenas of those that match.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arena_pool.h"
#include "client.h"
#include "control.h"
#include "counters.h"
#include "direct.h"
#include "inspector.h"
#include "local_policy.h"
#include "loop.h"
#include "pairing.h"
#include "queues.h"
#include "socket_lookup.h"

namespace xway {

struct MonitorOptions {
    std::string path;             // of the socket
    std::string policy_file;      // empty: none
    bool policy_may_miss = false; // without the file all is allowed that is by default
    Pairing::Limits pairing = {};
    ArenaPool::Limits arenas = {};
    Direct::Limits stocks = {};
    Queues::Options queues = {};
    int poll_core = -1;  // a processor of its own, on which it never sleeps; -1: none
    bool direct = false; // what is allowed may be direct between processes of one user
    std::size_t clients_per_uid = 1024;
    std::chrono::seconds idle_exit{0}; // without a client; 0: never
    bool trusts_own_user = true;       // to pass sockets that do not hold up whoever uses them
};

class Monitor final : private Client::Owner {
public:
    // Listens when this returns, and has read the policy.
    static Result<std::unique_ptr<Monitor>> start(const MonitorOptions& options);
    Monitor(const Monitor&) = delete;
    Monitor& operator=(const Monitor&) = delete;
    ~Monitor();

    // Until SIGTERM or SIGINT, or until nobody has needed it for a while.
    void run();

private:
    using Clock = std::chrono::steady_clock;
    using ConnName = std::pair<ClientId, std::uint64_t>;

    explicit Monitor(const MonitorOptions& options);

    Result<void> listen();
    Result<void> read_policy();
    void reload();
    std::optional<std::string> answer(std::string_view request, uid_t asker) const;

    // Clients.
    void accept_clients();
    void accept_one(UniqueFd socket);
    void on_packet(Client& client, Packet packet) override;
    void on_malformed(Client& client, Packet packet) override;
    void on_deaf(Client& client) override;
    void on_lost(Client& client) override;
    void bury();
    void violation(Client& client, const std::string& what);
    void complain(const Client& client, const std::string& what);
    Client* find(ClientId id);

    // What they say.
    void hello(Client& client, Packet& packet);
    void on_entry(uid_t uid, ClientId owner, const QueueEntry& entry);
    void register_end(Client& client, Packet& packet);
    void register_number(Client& client, const QueueEntry& entry);
    bool admit(Client& client, const WireMsg& msg);
    void cancel(Client& client, const Packet& packet);
    void release(Client& client, const Packet& packet);
    void listen_at_port(Client& client, Packet& packet);
    void unlisten(Client& client, const Packet& packet);
    void supply(Client& client, Packet& packet);
    void more(Client& client, const Packet& packet);

    // What becomes of it.
    void on_report(Inspector::Report& report);
    void on_end(Client& client, const Inspector::Report& report);
    void on_listener(Client& client, const Inspector::Report& report);
    void on_supply(Client& client, Inspector::Report& report);
    void pair(Client& client, const Registration& end);
    bool lives(const Registration& end, const Client& owner, const Client& other);
    // direct: both processes are in direct mode, and may be.
    LocalVerdict decide(Client& a, const Registration& a_end, Client& b, const Registration& b_end);
    bool allows(Client& a, const Registration& a_end, Client& b, const Registration& b_end) {
        return decide(a, a_end, b, b_end) != LocalVerdict::deny;
    }
    xway_why attach(Client& a, const Registration& a_end, Client& b,
                    const Registration& b_end); // NONE: done
    struct Telling {
        WireMsg msg;
        std::vector<SharedFd> fds;
    };
    static Telling telling(const Client& client, const Client& peer, const ArenaPool::Place& place,
                           const Registration& end, unsigned side);
    void tell(Client& client, const Client& peer, const ArenaPool::Place& place,
              const Registration& end, unsigned side);
    void let_go(const ArenaPool::Ended& ended);
    void begin_stock(Client& dialer, const Flow& flow);
    void stock(const Direct::Ask& ask);
    std::optional<Direct::Name> listener_of(const Flow& flow, const Client& dialer);
    xway_why grant(Client& client, Inspector::Report& report); // NONE: done
    void decline(ClientId client, std::uint64_t conn, xway_why why);
    void announce(const std::vector<ArenaPool::Drop>& drops);
    void tick();

    static void on_connection(int fd, short what, void* self);
    static void on_bury(int fd, short what, void* self);
    static void on_tick(int fd, short what, void* self);
    static void on_accept_again(int fd, short what, void* self);
    static void on_reload(int fd, short what, void* self);
    static void on_terminate(int fd, short what, void* self);

    const MonitorOptions options_;
    UniqueFd lock_, listener_;
    Loop loop_; // before all that has events in it
    const std::shared_ptr<SocketLookup> lookup_ = std::make_shared<SocketLookup>();
    Inspector inspector_;
    LocalPolicy policy_;
    std::string policy_source_; // the file, if there is one
    Pairing pairing_;
    ArenaPool arenas_;
    Direct direct_;
    MonitorCounters counters_;
    ClientId last_client_ = 0;
    std::map<ClientId, std::unique_ptr<Client>> clients_;
    std::map<uid_t, std::size_t> clients_of_;
    struct Inspected {
        Endpoint dialled; // as the process says; port 0: it does not
        bool cancelled = false;
    };
    std::map<ConnName, Inspected> inspected_; // registrations that the inspector has
    std::map<ClientId, std::size_t> inspected_of_;
    std::vector<ClientId> lost_;
    unsigned complaints_ = 0;   // since the last tick
    Clock::time_point busy_at_; // when there was a client last
    const Clock::time_point started_ = Clock::now();
    Queues queues_;
    std::unique_ptr<Control> control_;
    Event connection_, accept_again_, bury_, tick_, reload_, terminate_, interrupt_;
};

void log(const std::string& line);

} // namespace xway
