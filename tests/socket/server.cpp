/* SPDX-License-Identifier: GPL-2.0 */
/*
 * server.cpp - the accepting side of every case.
 *
 * Three processes: the one that listens; for each control connection a keeper; and under it the
 * worker that runs the case's function. The keeper ends the worker, and all that the worker has
 * started, when the time is over or when the client has gone: so a hang or a crash stays that
 * case's own.
 */
#include "server.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "process.h"
#include "session.h"

namespace xway::test {

namespace {

void work(Control& control, const Request& request, bool verbose) {
    const Case* test = find_case(request.name);
    if (!test) {
        control.send_line("F no such case: the two binaries differ");
        return;
    }
    Outcome outcome = run_side(control, *test, request, false, {});
    if (verbose && outcome.kind == Outcome::Kind::kFailed)
        std::fprintf(stderr, "%s/%s: %s\n", request.name.c_str(), request.variant.name().c_str(),
                     outcome.reason.c_str());
}

/* Waits until the worker has ended, its time is over, or its client has gone. */
void keep(pid_t worker, int control_fd, const Request& request) {
    UniqueFd pid_fd = open_pidfd(worker);
    pollfd p[2] = {{pid_fd.get(), POLLIN, 0}, {control_fd, POLLRDHUP, 0}};
    int grace_ms = static_cast<int>(2000 * request.pace.scale);
    ::poll(p, 2, static_cast<int>(request.pace.timeout.count()) + grace_ms);
    if (!(p[0].revents & POLLIN))
        wait_child(worker, grace_ms, nullptr);
    ::kill(-worker, SIGKILL);
    int status = 0;
    if (!wait_child(worker, grace_ms + 3000, &status))
        std::fprintf(stderr, "%s: process %d cannot be killed\n", request.name.c_str(), worker);
    else if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        std::fprintf(stderr, "%s: %s\n", request.name.c_str(), ended_text(status).c_str());
}

void hold_session(UniqueFd fd, bool verbose) {
    int control_fd = fd.get();
    Control control(std::move(fd));
    Request request = Request::parse(control.read_line());
    pid_t worker = SYS(fork());
    if (worker == 0) {
        setpgid(0, 0);
        work(control, request, verbose);
        _exit(0);
    }
    setpgid(worker, worker);
    keep(worker, control_fd, request);
}

} // namespace

int serve(std::uint16_t control_port, bool verbose) {
    signal(SIGCHLD, SIG_DFL);
    UniqueFd listener(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    Address any = parse_address(listener.valid() ? "::" : "0.0.0.0");
    if (listener.valid())
        set_option(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
    else
        listener.reset(SYS(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    any.set_port(control_port);
    set_option(listener.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    SYS(::bind(listener.get(), any.get(), any.length));
    SYS(::listen(listener.get(), 64));
    std::printf("serving on control port %u\n", local_address(listener.get()).port());
    std::fflush(stdout);
    for (;;) {
        pollfd p{listener.get(), POLLIN, 0};
        ::poll(&p, 1, 1000);
        while (waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        if (!(p.revents & POLLIN))
            continue;
        UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!fd.valid() || fork() != 0)
            continue;
        listener.reset();
        try {
            hold_session(std::move(fd), verbose);
        } catch (const std::exception& e) {
            std::fprintf(stderr, "session: %s\n", e.what());
        }
        _exit(0);
    }
}

} // namespace xway::test
