/* SPDX-License-Identifier: GPL-2.0 */
/* signals.h - signals that interrupt the calls of a case. */
#pragma once

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <thread>

namespace xway::test {

/* How often the handler that count_signal() installs has run. */
int signals_seen();
/* Counts `signal` from now on; `flags` as for sigaction: 0 or SA_RESTART. */
void count_signal(int signal, int flags);

/*
 * While it lives, the thread that made it gets `signal` again and again, so that a call which
 * blocks is interrupted for certain.
 */
class SignalStorm {
public:
    SignalStorm(int signal, int flags);
    SignalStorm(const SignalStorm&) = delete;
    SignalStorm& operator=(const SignalStorm&) = delete;
    ~SignalStorm();

private:
    std::atomic<bool> over_ = false;
    std::thread sender_;
};

} // namespace xway::test
