// SPDX-License-Identifier: GPL-2.0-or-later
//
// daemon.cpp - xenstore events, a timer that collects them, one round for all of them.
//
// DOC: Theory of operation
//
// An event only says that something may have changed. A round then computes everything anew from
// xenstore and the policy (directory.h), and writes what differs; nothing is remembered but which
// domains have had their device, for the administrator may have taken it away again.
//
// Events come in bursts while a domain is built, hence the short timer. A round reads a dozen nodes
// a domain. libxenstore does not tell when the connection is lost, hence the heartbeat.
#include "daemon.h"

#include <csignal>

#include <event2/event.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "domains.h"

namespace xway {

namespace {

constexpr int kCollectMs = 100;    // from the first event to the round
constexpr int kAgainMs = 200;      // until the broker may have let go of an old device
constexpr int kRetryMs = 2000;     // after a round that failed
constexpr int kHeartbeatMs = 5000; // until a lost connection is noticed

constexpr char kOwnName[] = "/local/domain/0/name";
constexpr char kVifBackends[] = "/local/domain/0/backend/vif";
constexpr char kLibxl[] = "/libxl";

timeval time_of(int milliseconds) {
    return {milliseconds / 1000, (milliseconds % 1000) * 1000};
}

// Below /libxl are nodes of every device of every domain; network devices alone concern us.
bool is_relevant(const std::string& path) {
    return !path.starts_with(kLibxl) || path.find("/device/vif") != std::string::npos;
}

} // namespace

void log(const std::string& line) {
    fmt::print(stderr, "xwayd-xen: {}\n", line);
}

void Daemon::FreeEvent::operator()(event* which) const {
    event_free(which);
}

void Daemon::FreeEvent::operator()(event_base* base) const {
    event_base_free(base);
}

Daemon::Daemon(const Host& host, std::string policy_file, std::unique_ptr<XenStore> store)
    : policy_file_(std::move(policy_file)), world_(world_of(host)), store_(std::move(store)) {}

Daemon::~Daemon() = default;

Result<std::unique_ptr<Daemon>> Daemon::start(const Host& host, const std::string& policy_file) {
    auto store = XenStore::open();
    if (!store)
        return store.error();
    std::unique_ptr<Daemon> daemon(new Daemon(host, policy_file, std::move(*store)));
    if (auto read = daemon->read_policy(); !read)
        return read.error();
    if (!daemon->world_.living())
        log("Xen does not answer; only xenstore tells which domains are gone");

    daemon->base_.reset(event_base_new());
    daemon->store_event_ = daemon->make_event(daemon->store_->fd(), EV_READ | EV_PERSIST, on_store);
    daemon->round_timer_ = daemon->make_event(-1, 0, on_round);
    daemon->heartbeat_ = daemon->make_event(-1, EV_PERSIST, on_heartbeat);
    daemon->reload_ = daemon->make_event(SIGHUP, EV_SIGNAL | EV_PERSIST, on_reload);
    daemon->terminate_ = daemon->make_event(SIGTERM, EV_SIGNAL, on_terminate);
    daemon->interrupt_ = daemon->make_event(SIGINT, EV_SIGNAL, on_terminate);

    // Watches first: what changes after the first round has read it comes as an event.
    if (auto watched = daemon->watch_all(); !watched)
        return watched.error();
    if (auto first = daemon->round(); !first)
        return first.error();
    return daemon;
}

Result<void> Daemon::watch_all() {
    for (const char* path : {"@introduceDomain", "@releaseDomain", kVifBackends, kLibxl}) {
        if (auto watched = store_->watch(path); !watched)
            return watched;
    }
    return {};
}

Result<void> Daemon::run() {
    const timeval heartbeat = time_of(kHeartbeatMs);
    event_add(store_event_.get(), nullptr);
    event_add(heartbeat_.get(), &heartbeat);
    for (event* signal : {reload_.get(), terminate_.get(), interrupt_.get()})
        event_add(signal, nullptr);
    event_base_dispatch(base_.get());
    return fatal_ ? Result<void>(*fatal_) : Result<void>();
}

Result<void> Daemon::read_policy() {
    // Looked at before it is read: a change in between is seen as one the next time.
    struct stat before {};
    stat(policy_file_.c_str(), &before);
    auto policy = Policy::load(policy_file_);
    policy_stat_ = before;
    if (!policy)
        return policy.error();
    policy_ = std::move(*policy);
    return {};
}

bool Daemon::policy_changed() const {
    struct stat now {};
    if (stat(policy_file_.c_str(), &now) < 0)
        return false;
    return now.st_ino != policy_stat_.st_ino || now.st_size != policy_stat_.st_size ||
           now.st_mtim.tv_sec != policy_stat_.st_mtim.tv_sec ||
           now.st_mtim.tv_nsec != policy_stat_.st_mtim.tv_nsec;
}

Result<Changes> Daemon::round() {
    if (policy_changed()) {
        if (auto read = read_policy(); !read)
            log(read.error().text() + "; the policy stays as it was");
        else
            log("policy read again");
    }
    auto changes = keep(*store_, policy_, world_, served_);
    if (!changes)
        return changes;
    if (auto watched = watch_names(changes->domains); !watched)
        return watched.error();
    if (!changes->added.empty())
        log(fmt::format("device added to domain {}", fmt::join(changes->added, ", ")));
    if (!changes->removed.empty())
        log(fmt::format("device of domain {} removed: the domain is gone",
                        fmt::join(changes->removed, ", ")));
    if (changes->again)
        schedule(kAgainMs);
    return changes;
}

// A domain is renamed by hand, and at the end of each migration.
Result<void> Daemon::watch_names(const std::set<unsigned>& domains) {
    const auto path = [](unsigned id) { return fmt::format("/local/domain/{}/name", id); };
    for (unsigned id : domains) {
        if (watched_.contains(id))
            continue;
        if (auto watched = store_->watch(path(id)); !watched)
            return watched;
        watched_.insert(id);
    }
    for (auto id = watched_.begin(); id != watched_.end();) {
        if (domains.contains(*id)) {
            ++id;
            continue;
        }
        if (auto unwatched = store_->unwatch(path(*id)); !unwatched)
            return unwatched;
        id = watched_.erase(id);
    }
    return {};
}

Daemon::Event Daemon::make_event(int fd, short what, void (*callback)(int, short, void*)) {
    return Event(event_new(base_.get(), fd, what, callback, this));
}

// A round that is due already is not put off.
void Daemon::schedule(int milliseconds) {
    const timeval delay = time_of(milliseconds);
    if (!event_pending(round_timer_.get(), EV_TIMEOUT, nullptr))
        event_add(round_timer_.get(), &delay);
}

void Daemon::stop(const Error& error) {
    fatal_ = error;
    event_base_loopbreak(base_.get());
}

void Daemon::on_store(int, short, void* self) {
    auto& daemon = *static_cast<Daemon*>(self);
    bool relevant = false;
    while (const auto path = daemon.store_->next_event())
        relevant |= is_relevant(*path);
    if (relevant)
        daemon.schedule(kCollectMs);
}

void Daemon::on_round(int, short, void* self) {
    auto& daemon = *static_cast<Daemon*>(self);
    const auto changes = daemon.round();
    if (changes)
        return;
    if (auto alive = daemon.store_->read(kOwnName); !alive)
        return daemon.stop(alive.error());
    log(changes.error().text());
    daemon.schedule(kRetryMs);
}

void Daemon::on_heartbeat(int, short, void* self) {
    auto& daemon = *static_cast<Daemon*>(self);
    if (auto alive = daemon.store_->read(kOwnName); !alive)
        daemon.stop(alive.error());
}

void Daemon::on_reload(int, short, void* self) {
    auto& daemon = *static_cast<Daemon*>(self);
    daemon.served_.clear(); // the policy is applied as if all domains had just come
    if (auto read = daemon.read_policy(); !read)
        log(read.error().text() + "; the policy stays as it was");
    else
        log("policy read again");
    daemon.schedule(0);
}

void Daemon::on_terminate(int, short, void* self) {
    event_base_loopbreak(static_cast<Daemon*>(self)->base_.get());
}

} // namespace xway
