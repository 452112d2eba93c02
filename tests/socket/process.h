/* SPDX-License-Identifier: GPL-2.0 */
/* process.h - child processes of the harness and of the cases. */
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "fd.h"

namespace xway::test {

/*
 * A forked child, alone in it. The function's result is its exit status; a failed check in it
 * prints to standard error and exits with 99. Whatever is left of the child is killed when the
 * object dies.
 */
class Child {
public:
    explicit Child(const std::function<int()>& body);
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child();

    [[nodiscard]] pid_t pid() const { return pid_; }
    void kill(int signal) const;
    /* The exit status, or 128 + the signal that ended it. */
    int wait();

private:
    pid_t pid_;
};

/* A descriptor that becomes readable when the process ends; invalid where the kernel has none. */
UniqueFd open_pidfd(pid_t pid);

/* How a process ended, in words: "exit status 3", "signal SEGV". */
std::string ended_text(int wait_status);

/*
 * Waits for a process to end, at most `timeout_ms`. False: it is still there. With `status` null
 * only the end is awaited, and the process is not reaped.
 */
bool wait_child(pid_t pid, int timeout_ms, int* status);

} // namespace xway::test
