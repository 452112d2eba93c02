// SPDX-License-Identifier: GPL-2.0-or-later
//
// inspector.cpp - jobs in, reports out, and what to do about a thread that does not come back.
#include "inspector.h"

#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

namespace xway {

namespace {

constexpr auto kStuckAfter = std::chrono::seconds(1);

using Clock = std::chrono::steady_clock;

void write_event(int fd) {
    constexpr std::uint64_t kOne = 1;
    // Full means that it is readable.
    [[maybe_unused]] const ssize_t written = write(fd, &kOne, sizeof(kOne));
}

// Where this process may run, before the loop has chosen a processor for itself.
const cpu_set_t& all_processors() {
    static const cpu_set_t kAll = [] {
        cpu_set_t all;
        CPU_ZERO(&all);
        sched_getaffinity(0, sizeof(all), &all);
        return all;
    }();
    return kAll;
}

// May wait for the process, while it executes another program.
UniqueFd fetch_file(int pidfd, int number) {
    return UniqueFd(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd, number, 0)));
}

bool is_socket(const Inspector::Report& report, std::uint64_t cookie) {
    const auto* end = std::get_if<TcpEnd>(&report.found);
    return end ? end->cookie == cookie : !std::holds_alternative<NotASocket>(report.found);
}

} // namespace

struct Inspector::Job {
    enum class Kind { inspect, dispose, ring };

    Kind kind;
    ClientId client;
    uid_t uid;
    std::uint64_t conn = 0;
    UniqueFd file = UniqueFd();
    SharedFd bell = {};
    About about = About::end;
    std::uint32_t ask = 0;
    UniqueFd accepted = UniqueFd();
    SharedFd pidfd = {}; // the file is to be taken from there: this number, this cookie
    int number = -1;
    std::uint64_t cookie = 0;
};

// Shared with its thread, which may outlive the inspector.
struct Inspector::Worker {
    struct Busy {
        ClientId client;
        uid_t uid;
        Clock::time_point since;
    };

    std::mutex mutex;
    std::condition_variable more;
    std::deque<Job> jobs;
    std::vector<Report> reports;
    std::optional<Busy> busy;
    std::shared_ptr<SocketLookup> lookup;
    bool finish = false; // the thread ends, whatever there is to do
    int ready_fd = -1;
};

Inspector::Inspector(Loop& loop, std::shared_ptr<SocketLookup> lookup, std::optional<uid_t> trusted,
                     std::function<void(Report&)> on_report)
    : lookup_(std::move(lookup)),
      trusted_(trusted),
      on_report_(std::move(on_report)),
      ready_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      ready_(loop.make(ready_fd_.get(), EV_READ | EV_PERSIST, on_ready, this)) {
    event_add(ready_.get(), nullptr);
    start();
}

// The thread may be inside a call, so it is not waited for.
Inspector::~Inspector() {
    const std::lock_guard lock(worker_->mutex);
    worker_->finish = true;
    worker_->ready_fd = -1;
    worker_->more.notify_one();
}

void Inspector::inspect(ClientId client, uid_t uid, std::uint64_t conn, UniqueFd socket) {
    look_at({Job::Kind::inspect, client, uid, conn, std::move(socket)});
}

void Inspector::fetch(ClientId client, uid_t uid, std::uint64_t conn, SharedFd pidfd, int number,
                      std::uint64_t cookie) {
    Job job{Job::Kind::inspect, client, uid, conn};
    job.pidfd = std::move(pidfd);
    job.number = number;
    job.cookie = cookie;
    look_at(std::move(job));
}

void Inspector::inspect_listener(ClientId client, uid_t uid, std::uint64_t conn, UniqueFd socket) {
    Job job{Job::Kind::inspect, client, uid, conn, std::move(socket)};
    job.about = About::listener;
    look_at(std::move(job));
}

void Inspector::inspect_supply(ClientId client, uid_t uid, std::uint64_t conn, std::uint32_t ask,
                               UniqueFd dialer, UniqueFd accepted) {
    Job job{Job::Kind::inspect, client, uid, conn, std::move(dialer)};
    job.about = About::supply;
    job.ask = ask;
    job.accepted = std::move(accepted);
    look_at(std::move(job));
}

void Inspector::look_at(Job job) {
    if (job.uid != trusted_)
        return add(std::move(job));
    Report report = look(job, *lookup_);
    job.file = UniqueFd();
    job.accepted = UniqueFd();
    pass_on(report);
}

void Inspector::pass_on(Report& report) {
    on_report_(report);
    if (report.dialer)
        add({Job::Kind::dispose, report.client, report.uid, 0, std::move(report.dialer)});
}

SharedFd Inspector::lend(ClientId client, uid_t uid, UniqueFd file) {
    return {new UniqueFd(std::move(file)), [this, client, uid](UniqueFd* lent) {
                add({Job::Kind::dispose, client, uid, 0, std::move(*lent)});
                delete lent;
            }};
}

void Inspector::dispose(ClientId client, uid_t uid, std::vector<UniqueFd> files) {
    for (UniqueFd& file : files) {
        if (file)
            add({Job::Kind::dispose, client, uid, 0, std::move(file)});
    }
}

void Inspector::ring(ClientId client, uid_t uid, const std::vector<SharedFd>& bells) {
    for (const SharedFd& bell : bells)
        add({Job::Kind::ring, client, uid, 0, UniqueFd(), bell});
}

void Inspector::add(Job job) {
    const std::lock_guard lock(worker_->mutex);
    worker_->jobs.push_back(std::move(job));
    if (worker_->jobs.size() == 1)
        worker_->more.notify_one();
}

bool Inspector::start() {
    auto worker = std::make_shared<Worker>();
    worker->ready_fd = ready_fd_.get();
    worker->lookup = lookup_;
    // Signals are the loop's.
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    bool started = true;
    const cpu_set_t& all = all_processors();
    try {
        std::thread([worker, &all] {
            sched_setaffinity(0, sizeof(all), &all);
            work(worker);
        }).detach();
    } catch (const std::system_error&) {
        started = false;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (started || !worker_)
        worker_ = std::move(worker);
    return started;
}

// A supply keeps its file, to be passed on.
Inspector::Report Inspector::look(Job& job, SocketLookup& lookup) {
    Report report{job.about, job.client, job.uid, job.conn, job.ask, NotASocket(), UniqueFd()};
    if (job.pidfd) {
        job.file = fetch_file(job.pidfd->get(), job.number);
        if (!job.file) {
            report.found = XWAY_WHY_PEER_CLOSED;
            if (errno == EPERM)
                report.found = Refused();
            else if (errno == EMFILE || errno == ENFILE)
                report.found = XWAY_WHY_NO_MEMORY;
            return report;
        }
    }
    const auto take = [&](const auto& found) {
        std::visit([&](const auto& what) { report.found = what; }, found);
    };
    if (job.about == About::listener) {
        take(look_at_listener(job.file.get()));
        if (const auto* listener = std::get_if<TcpListener>(&report.found))
            lookup.learn(job.file.get(), listener->netns);
        return report;
    }
    take(look_at_socket(job.file.get()));
    if (job.pidfd && !is_socket(report, job.cookie))
        report.found = XWAY_WHY_PEER_CLOSED;
    const auto* end = std::get_if<TcpEnd>(&report.found);
    report.netns = netns_of(job.file.get());
    if (report.netns != 0)
        lookup.learn(job.file.get(), report.netns);
    if (job.about == About::end || !end)
        return report;
    const TcpEnd dialer = *end;
    take(look_at_socket(job.accepted.get()));
    if (const auto* accepted = std::get_if<TcpEnd>(&report.found))
        report.found = TcpEnds{dialer, *accepted};
    report.dialer = std::move(job.file);
    return report;
}

void Inspector::work(const std::shared_ptr<Worker>& worker) {
    std::unique_lock lock(worker->mutex);
    for (;;) {
        worker->more.wait(lock, [&] { return worker->finish || !worker->jobs.empty(); });
        if (worker->finish)
            return;
        Job job = std::move(worker->jobs.front());
        worker->jobs.pop_front();
        worker->busy = {job.client, job.uid, Clock::now()};
        lock.unlock();

        std::optional<Report> report;
        switch (job.kind) {
        case Job::Kind::inspect: report = look(job, *worker->lookup); break;
        case Job::Kind::dispose: break;
        case Job::Kind::ring: write_event(job.bell->get()); break;
        }
        job.file = UniqueFd();
        job.accepted = UniqueFd();
        job.bell.reset();

        lock.lock();
        worker->busy.reset();
        if (!report || worker->finish)
            continue;
        worker->reports.push_back(std::move(*report));
        if (worker->reports.size() == 1)
            write_event(worker->ready_fd);
    }
}

void Inspector::on_ready(int fd, short, void* self) {
    auto& inspector = *static_cast<Inspector*>(self);
    std::uint64_t count;
    if (read(fd, &count, sizeof(count)) < 0)
        return;
    std::vector<Report> reports;
    {
        const std::lock_guard lock(inspector.worker_->mutex);
        reports.swap(inspector.worker_->reports);
    }
    for (Report& report : reports)
        inspector.pass_on(report);
}

std::optional<ClientId> Inspector::find_stuck(Clock::time_point now) {
    std::erase_if(stuck_, [](const auto& worker) {
        const std::lock_guard lock(worker->mutex);
        return !worker->busy;
    });
    const std::shared_ptr<Worker> worker = worker_;
    std::optional<Worker::Busy> busy;
    {
        const std::lock_guard lock(worker->mutex);
        busy = worker->busy;
    }
    if (!busy || now - busy->since < kStuckAfter || !start())
        return std::nullopt;
    stuck_.push_back(worker);
    std::deque<Job> jobs;
    std::vector<Report> reports;
    {
        const std::lock_guard lock(worker->mutex);
        worker->finish = true;
        jobs.swap(worker->jobs);
        reports.swap(worker->reports);
    }
    for (Job& job : jobs)
        add(std::move(job));
    for (Report& report : reports)
        pass_on(report);
    return busy->client;
}

bool Inspector::is_stuck_with(uid_t uid) {
    for (const auto& worker : stuck_) {
        const std::lock_guard lock(worker->mutex);
        if (worker->busy && worker->busy->uid == uid)
            return true;
    }
    return false;
}

} // namespace xway
