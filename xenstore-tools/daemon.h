// SPDX-License-Identifier: GPL-2.0-or-later
//
// daemon.h - the loop of xwayd-xen.
#pragma once

#include <memory>
#include <string>

#include <sys/stat.h>

#include "directory.h"
#include "host.h"
#include "store.h"

struct event;
struct event_base;

namespace xway {

// Keeps the devices of all domains in step with the policy.
class Daemon {
public:
    // Connects, watches, and does the first round, so that all is in place when this returns.
    static Result<std::unique_ptr<Daemon>> start(const Host& host, const std::string& policy_file);
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;
    ~Daemon();

    // Until SIGTERM or SIGINT, or until xenstore is lost.
    Result<void> run();

private:
    struct FreeEvent {
        void operator()(event* which) const;
        void operator()(event_base* base) const;
    };
    using Event = std::unique_ptr<event, FreeEvent>;

    Daemon(const Host& host, std::string policy_file, std::unique_ptr<XenStore> store);

    Result<void> watch_all();
    Result<void> read_policy();
    bool policy_changed() const;
    Result<Changes> round();
    Result<void> watch_names(const std::set<unsigned>& domains);

    Event make_event(int fd, short what, void (*callback)(int, short, void*));
    void schedule(int milliseconds);
    void stop(const Error& error);

    static void on_store(int fd, short what, void* self);
    static void on_round(int fd, short what, void* self);
    static void on_heartbeat(int fd, short what, void* self);
    static void on_reload(int fd, short what, void* self);
    static void on_terminate(int fd, short what, void* self);

    const std::string policy_file_;
    const World world_;
    std::unique_ptr<XenStore> store_;
    Policy policy_;
    struct stat policy_stat_ {};
    Served served_;
    std::set<unsigned> watched_; // domains whose names are watched
    std::optional<Error> fatal_;
    std::unique_ptr<event_base, FreeEvent> base_;
    Event store_event_, round_timer_, heartbeat_, reload_, terminate_, interrupt_; // before base_
};

void log(const std::string& line);

} // namespace xway
