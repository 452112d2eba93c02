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

#include <cstdio>

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

/* Waits for the pipe's text until the deadline: nothing if the time is over. */
std::optional<std::string> read_result(int fd, milliseconds timeout) {
    std::int64_t end = now_ms() + timeout.count();
    pollfd p{fd, POLLIN, 0};
    while (::poll(&p, 1, static_cast<int>(std::max<std::int64_t>(end - now_ms(), 0))) < 0) {
    }
    if (p.revents == 0)
        return std::nullopt;
    char text[4096];
    ssize_t n = read(fd, text, sizeof text);
    return std::string(text, n > 0 ? static_cast<std::size_t>(n) : 0);
}

Outcome run_one(const Plan& plan, const RunOptions& options) {
    Request request{plan.test->name, plan.variant, {}};
    double factor = options.scale * (plan.test->flags & kSlow ? 3 : 1);
    request.pace.scale = options.scale;
    request.pace.warm = options.warm;
    request.pace.timeout =
        milliseconds(static_cast<long>(static_cast<double>(options.timeout.count()) * factor));

    int ends[2];
    SYS(pipe2(ends, O_CLOEXEC));
    UniqueFd read_end(ends[0]), write_end(ends[1]);
    std::fflush(nullptr);
    pid_t pid = SYS(fork());
    if (pid == 0) {
        setpgid(0, 0);
        run_in_child(plan, request, options, write_end.get());
    }
    setpgid(pid, pid);
    write_end.reset();
    std::optional<std::string> text = read_result(read_end.get(), request.pace.timeout);
    int grace_ms = static_cast<int>(2000 * options.scale);
    if (text && !text->empty())
        wait_child(pid, grace_ms, nullptr);
    ::kill(-pid, SIGKILL);
    int status = 0;
    bool ended = wait_child(pid, grace_ms + 3000, &status);
    std::string also = ended ? "" : "; its process cannot be killed";
    if (!text)
        return {Outcome::Kind::kFailed,
                "timed out after " + std::to_string(request.pace.timeout.count()) + " ms" + also};
    if (text->empty())
        return {Outcome::Kind::kFailed, "its process ended with " + ended_text(status) + also};
    Outcome::Kind kind = (*text)[0] == 'O'   ? Outcome::Kind::kOk
                         : (*text)[0] == 'K' ? Outcome::Kind::kSkipped
                                             : Outcome::Kind::kFailed;
    return {kind, text->substr(1) + also};
}

} // namespace

int run_cases(const RunOptions& options) {
    std::vector<Case> cases = all_cases();
    std::vector<Plan> plan = make_plan(cases, options);
    if (options.list) {
        for (const Plan& p : plan)
            std::printf("%s\n", p.name().c_str());
        return 0;
    }
    int passed = 0, failed = 0, skipped = 0;
    for (int round = 0; round < options.repeat; round++) {
        for (const Plan& p : plan) {
            std::int64_t start = now_ms();
            Outcome outcome = run_one(p, options);
            std::string time =
                options.verbose ? " # " + std::to_string(now_ms() - start) + " ms" : "";
            switch (outcome.kind) {
            case Outcome::Kind::kOk:
                passed++;
                std::printf("ok %s%s\n", p.name().c_str(), time.c_str());
                break;
            case Outcome::Kind::kSkipped:
                skipped++;
                std::printf("skip %s - %s\n", p.name().c_str(), outcome.reason.c_str());
                break;
            case Outcome::Kind::kFailed:
                failed++;
                std::printf("not ok %s - %s%s\n", p.name().c_str(), outcome.reason.c_str(),
                            time.c_str());
                break;
            }
            std::fflush(stdout);
            if (failed > 0 && options.fail_fast)
                break;
        }
        if (failed > 0 && options.fail_fast)
            break;
    }
    if (skipped > 0)
        std::printf("%d skipped\n", skipped);
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 ? 1 : 0;
}

} // namespace xway::test
