/* SPDX-License-Identifier: GPL-2.0 */
/* process.cpp - child processes of the harness and of the cases. */
#include "process.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "check.h"

namespace xway::test {

Child::Child(const std::function<int()>& body) : pid_(SYS(fork())) {
    if (pid_ != 0)
        return;
    int status = 99;
    try {
        status = body();
    } catch (const std::exception& e) {
        std::fprintf(stderr, "child: %s\n", e.what());
    }
    _exit(status);
}

Child::~Child() {
    if (pid_ <= 0)
        return;
    ::kill(pid_, SIGKILL);
    int status;
    wait_child(pid_, 5000, &status);
}

void Child::kill(int signal) const {
    SYS(::kill(pid_, signal));
}

int Child::wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0)
        if (errno != EINTR)
            FAIL("waitpid: " + errno_text(errno));
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

UniqueFd open_pidfd(pid_t pid) {
    return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

std::string ended_text(int wait_status) {
    if (WIFEXITED(wait_status))
        return "exit status " + std::to_string(WEXITSTATUS(wait_status));
    const char* name = sigabbrev_np(WTERMSIG(wait_status));
    return "signal " + std::string(name ? name : "?");
}

bool wait_child(pid_t pid, int timeout_ms, int* status) {
    UniqueFd fd = open_pidfd(pid);
    if (fd.valid()) {
        pollfd p{fd.get(), POLLIN, 0};
        if (::poll(&p, 1, timeout_ms) <= 0)
            return false;
    }
    return !status || waitpid(pid, status, WNOHANG) == pid;
}

} // namespace xway::test
