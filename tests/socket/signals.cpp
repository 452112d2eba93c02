/* SPDX-License-Identifier: GPL-2.0 */
/* signals.cpp - signals that interrupt the calls of a case. */
#include "signals.h"

#include "check.h"
#include "side.h"

namespace xway::test {

namespace {

std::atomic<int> seen = 0;

void on_signal(int) {
    seen++;
}

} // namespace

int signals_seen() {
    return seen;
}

void count_signal(int signal, int flags) {
    seen = 0;
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = flags;
    SYS(sigaction(signal, &action, nullptr));
}

SignalStorm::SignalStorm(int signal, int flags) {
    count_signal(signal, flags);
    pthread_t target = pthread_self();
    sender_ = std::thread([this, signal, target] {
        while (!over_) {
            sleep_ms(20);
            if (!over_)
                pthread_kill(target, signal);
        }
    });
}

SignalStorm::~SignalStorm() {
    over_ = true;
    sender_.join();
}

} // namespace xway::test
