/* SPDX-License-Identifier: GPL-2.0 */
/*
 * runner.cpp - the connecting side: chooses the cases, runs each in its own process, prints a line
 * for each.
 */
#include "runner.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "process.h"
#include "session.h"

namespace xway::test {

namespace {

struct Plan {
    const Case* test;
    Variant variant;
    [[nodiscard]] std::string name() const {
        return std::string(test->name) + "/" + variant.name();
    }
};

bool matches(const std::vector<std::string>& globs, const Plan& plan) {
    for (const std::string& glob : globs)
        if (fnmatch(glob.c_str(), plan.name().c_str(), 0) == 0 ||
            fnmatch(glob.c_str(), plan.test->name, 0) == 0)
            return true;
    return false;
}

std::vector<Variant> variants_of(const Case& test, const RunOptions& options) {
    std::vector<Variant> all;
    auto add = [&](Variant::Family family) {
        all.push_back({family, false, false});
        if (test.flags & kCold)
            all.push_back({family, true, false});
        if (options.swap && (test.flags & kPair))
            all.push_back({family, false, true});
    };
    if (options.peer)
        add(Variant::Family::kV4);
    if (options.peer6)
        add(Variant::Family::kV6);
    if (options.peer && (test.flags & kMapped))
        all.push_back({Variant::Family::kMapped, false, false});
    return all;
}

std::vector<Plan> make_plan(const std::vector<Case>& cases, const RunOptions& options) {
    std::vector<Plan> plan;
    for (const Case& test : cases)
        for (Variant variant : variants_of(test, options)) {
            Plan p{&test, variant};
            if ((options.filters.empty() || matches(options.filters, p)) &&
                !matches(options.without, p))
                plan.push_back(p);
        }
    return plan;
}

/* In the case's own process: its result goes down the pipe as one letter and a text. */
void run_in_child(const Plan& plan, const Request& request, const RunOptions& options,
                  int pipe_fd) {
    Outcome outcome;
    try {
        bool v6 = plan.variant.family == Variant::Family::kV6;
        Address peer = v6 ? *options.peer6 : *options.peer;
        Address to = options.peer ? *options.peer : *options.peer6;
        to.set_port(options.control_port);
        Control control(connect_control(to, options.wait_ms));
        control.send_line(request.line());
        outcome = run_side(control, *plan.test, request, true, peer);
    } catch (const std::exception& e) {
        outcome.reason = e.what();
    }
    std::string text = (outcome.kind == Outcome::Kind::kOk        ? "O"
                        : outcome.kind == Outcome::Kind::kSkipped ? "K"
                                                                  : "F") +
                       outcome.reason;
    if (write(pipe_fd, text.data(), std::min<std::size_t>(text.size(), 4000)) < 0)
        _exit(3);
    _exit(0);
}

/* A case under way in a process of its own, a process group by itself. */
class Running {
public:
    Running(const Plan& plan, const RunOptions& options);

    [[nodiscard]] int fd() const { return result_.get(); }
    [[nodiscard]] const Plan& plan() const { return plan_; }
    [[nodiscard]] std::int64_t begin_ms() const { return begin_ms_; }
    [[nodiscard]] std::int64_t end_ms() const { return begin_ms_ + request_.pace.timeout.count(); }
    /* Its result is there, or its time is over: ends the process, and says how the case went. */
    Outcome finish(bool timed_out);

private:
    Plan plan_;
    Request request_;
    UniqueFd result_;
    std::int64_t begin_ms_ = now_ms();
    pid_t pid_ = -1;
};

Running::Running(const Plan& plan, const RunOptions& options)
    : plan_(plan), request_{plan.test->name, plan.variant, {}} {
    double factor = options.scale * (plan.test->flags & kSlow ? 3 : 1);
    request_.pace.scale = options.scale;
    request_.pace.warm = options.warm;
    request_.pace.timeout =
        milliseconds(static_cast<long>(static_cast<double>(options.timeout.count()) * factor));

    int ends[2];
    SYS(pipe2(ends, O_CLOEXEC));
    result_.reset(ends[0]);
    UniqueFd write_end(ends[1]);
    std::fflush(nullptr);
    pid_ = SYS(fork());
    if (pid_ == 0) {
        setpgid(0, 0);
        run_in_child(plan, request_, options, write_end.get());
    }
    setpgid(pid_, pid_);
}

Outcome Running::finish(bool timed_out) {
    char bytes[4096];
    ssize_t n = timed_out ? 0 : read(fd(), bytes, sizeof bytes);
    std::string text(bytes, n > 0 ? static_cast<std::size_t>(n) : 0);
    int grace_ms = static_cast<int>(2000 * request_.pace.scale);
    if (!text.empty())
        wait_child(pid_, grace_ms, nullptr);
    ::kill(-pid_, SIGKILL);
    int status = 0;
    bool ended = wait_child(pid_, grace_ms + 3000, &status);
    std::string also = ended ? "" : "; its process cannot be killed";
    if (timed_out)
        return {Outcome::Kind::kFailed,
                "timed out after " + std::to_string(request_.pace.timeout.count()) + " ms" + also};
    if (text.empty())
        return {Outcome::Kind::kFailed, "its process ended with " + ended_text(status) + also};
    Outcome::Kind kind = text[0] == 'O'   ? Outcome::Kind::kOk
                         : text[0] == 'K' ? Outcome::Kind::kSkipped
                                          : Outcome::Kind::kFailed;
    return {kind, text.substr(1) + also};
}

/* Takes plans one after another, so many at a time as there are jobs, and counts how they end. */
class Runner {
public:
    explicit Runner(const RunOptions& options) : options_(options) {}

    void run(const std::vector<Plan>& plans);
    /* The last lines, and the exit status. */
    [[nodiscard]] int verdict() const;

private:
    void wait_for_some();
    void report(Running& one, bool timed_out);
    [[nodiscard]] bool enough() const { return failed_ > 0 && options_.fail_fast; }

    const RunOptions& options_;
    std::vector<std::unique_ptr<Running>> running_;
    int passed_ = 0, failed_ = 0, skipped_ = 0;
};

void Runner::run(const std::vector<Plan>& plans) {
    for (const Plan& plan : plans) {
        if (enough())
            break;
        running_.push_back(std::make_unique<Running>(plan, options_));
        while (running_.size() >= static_cast<std::size_t>(options_.jobs))
            wait_for_some();
    }
    while (!running_.empty())
        wait_for_some();
}

void Runner::wait_for_some() {
    std::vector<pollfd> fds;
    std::int64_t end = running_.front()->end_ms();
    for (const auto& one : running_) {
        fds.push_back({one->fd(), POLLIN, 0});
        end = std::min(end, one->end_ms());
    }
    ::poll(fds.data(), fds.size(), static_cast<int>(std::max<std::int64_t>(end - now_ms(), 0)));
    std::vector<std::unique_ptr<Running>> left;
    for (std::size_t i = 0; i < fds.size(); i++) {
        bool timed_out = fds[i].revents == 0 && running_[i]->end_ms() <= now_ms();
        if (fds[i].revents != 0 || timed_out)
            report(*running_[i], timed_out);
        else
            left.push_back(std::move(running_[i]));
    }
    running_ = std::move(left);
}

void Runner::report(Running& one, bool timed_out) {
    Outcome outcome = one.finish(timed_out);
    std::string time =
        options_.verbose ? " # " + std::to_string(now_ms() - one.begin_ms()) + " ms" : "";
    std::string name = one.plan().name();
    switch (outcome.kind) {
    case Outcome::Kind::kOk:
        passed_++;
        std::printf("ok %s%s\n", name.c_str(), time.c_str());
        break;
    case Outcome::Kind::kSkipped:
        skipped_++;
        std::printf("skip %s - %s\n", name.c_str(), outcome.reason.c_str());
        break;
    case Outcome::Kind::kFailed:
        failed_++;
        std::printf("not ok %s - %s%s\n", name.c_str(), outcome.reason.c_str(), time.c_str());
        break;
    }
    std::fflush(stdout);
}

int Runner::verdict() const {
    if (skipped_ > 0)
        std::printf("%d skipped\n", skipped_);
    std::printf("%d passed, %d failed\n", passed_, failed_);
    return failed_ > 0 ? 1 : 0;
}

} // namespace

int run_cases(const RunOptions& options) {
    const std::vector<Case> cases = all_cases();
    const std::vector<Plan> plan = make_plan(cases, options);
    if (options.list) {
        for (const Plan& p : plan)
            std::printf("%s\n", p.name().c_str());
        return 0;
    }
    Runner runner(options);
    for (int round = 0; round < options.repeat; round++)
        runner.run(plan);
    return runner.verdict();
}

} // namespace xway::test
