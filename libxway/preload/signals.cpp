// SPDX-License-Identifier: GPL-2.0-or-later
#include "signals.h"

#include <string.h>
#include <ucontext.h>

#include "lock.h"
#include "real.h"
#include "sys.h"

namespace xway {

namespace {

constexpr int kSignals = 65;
constexpr int kDeferredMax = 8; // signals of one thread that may wait; a further one is run at once

// What the program has installed. Written with every signal blocked and under the lock; read in
// handlers, whose signal was delivered after that.
struct sigaction installed[kSignals];
Lock lock;

struct Deferred {
    siginfo_t info;
    int number;
};
thread_local Deferred deferred[kDeferredMax] __attribute__((tls_model("initial-exec")));
// Whether the handler that ran last asked for SA_RESTART.
thread_local bool last_restarts __attribute__((tls_model("initial-exec")));

bool is_fault(int number) {
    return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL ||
           number == SIGTRAP || number == SIGSYS;
}

void run(int number, siginfo_t* info, void* context) {
    const struct sigaction action = installed[number];
    last_restarts = (action.sa_flags & SA_RESTART) != 0;
    if (action.sa_flags & SA_RESETHAND)
        installed[number].sa_handler = SIG_DFL;
    if (action.sa_flags & SA_SIGINFO)
        action.sa_sigaction(number, info, context);
    else if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN)
        action.sa_handler(number);
}

bool has_handler(const struct sigaction& action) {
    return (action.sa_flags & SA_SIGINFO) ||
           (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
}

bool is_copy_fault(int number) {
    return number == SIGSEGV || number == SIGBUS;
}

[[noreturn, gnu::noinline]] void go_on_after_fault() {
    __builtin_longjmp(thread.fault, 1);
}

// A fault: of a copy of ours, or the program's own, as if we were not there.
void handle_fault(int number, siginfo_t* info, void* context) {
    if (thread.fault && info->si_code > 0) {
        pthread_sigmask(SIG_SETMASK, &static_cast<ucontext_t*>(context)->uc_sigmask, nullptr);
        go_on_after_fault();
    }
    if (has_handler(installed[number])) {
        run(number, info, context);
        return;
    }
    if (installed[number].sa_handler == SIG_IGN && info->si_code <= 0)
        return;
    struct sigaction fatal {};
    fatal.sa_handler = SIG_DFL;
    real.sigaction(number, &fatal, nullptr);
    if (info->si_code <= 0)
        raise(number); // nobody will run into it again
}

void handle(int number, siginfo_t* info, void* context) {
    if (is_copy_fault(number)) {
        handle_fault(number, info, context);
        return;
    }
    if (thread.depth == 0 || is_fault(number) || thread.deferred == kDeferredMax) {
        run(number, info, context);
        return;
    }
    deferred[thread.deferred].info = *info;
    deferred[thread.deferred].number = number;
    thread.deferred++;
}

} // namespace

void run_deferred_signals() {
    const KeepErrno keep;
    while (thread.deferred > 0) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        Deferred first = deferred[0];
        thread.deferred--;
        memmove(deferred, deferred + 1, sizeof(Deferred) * thread.deferred);
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        run(first.number, &first.info, nullptr);
    }
}

bool restarts_after_signal() {
    return last_restarts;
}

void signals_init() {
    struct sigaction ours {};
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ours.sa_sigaction = handle;
    for (int number : {SIGSEGV, SIGBUS}) {
        struct sigaction before {};
        real.sigaction(number, nullptr, &before);
        installed[number] = before;
        real.sigaction(number, &ours, nullptr);
    }
}

int signals_action(int number, const struct sigaction* action, struct sigaction* old) {
    if (number <= 0 || number >= kSignals)
        return real.sigaction(number, action, old);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    lock.lock();
    struct sigaction kernel {};
    int result;
    if (action && has_handler(*action)) {
        const struct sigaction previous = installed[number];
        installed[number] = *action;
        struct sigaction ours = *action;
        ours.sa_flags |= SA_SIGINFO;
        ours.sa_sigaction = handle;
        result = real.sigaction(number, &ours, &kernel);
        if (result == 0 && old)
            *old =
                (kernel.sa_flags & SA_SIGINFO) && kernel.sa_sigaction == handle ? previous : kernel;
        if (result != 0)
            installed[number] = previous;
    } else if (action && is_copy_fault(number)) {
        // Ours stays, and does what the program asks for.
        if (old)
            *old = installed[number];
        installed[number] = *action;
        result = 0;
    } else {
        result = real.sigaction(number, action, &kernel);
        if (result == 0 && old)
            *old = (kernel.sa_flags & SA_SIGINFO) && kernel.sa_sigaction == handle
                       ? installed[number]
                       : kernel;
    }
    lock.unlock();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return result;
}

} // namespace xway
