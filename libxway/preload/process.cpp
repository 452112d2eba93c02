// SPDX-License-Identifier: GPL-2.0-or-later
#include "process.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include <algorithm>
#include <new>
#include <utility>

#include "direct.h"
#include "epoll.h"
#include "listener.h"
#include "real.h"
#include "registrar.h"
#include "spare.h"
#include "table.h"

namespace xway {

Process process;
thread_local constinit Thread thread;

namespace {

constexpr int kHiddenFrom = 4096 - 256; // where hidden descriptors go, if the limit allows
constexpr int kHiddenRoom = 256;

int hidden_base() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > kHiddenFrom + kHiddenRoom)
        return kHiddenFrom;
    return std::max(static_cast<int>(limit.rlim_cur) - kHiddenRoom, 0);
}

std::uint32_t count_processors() {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) == 0
               ? static_cast<std::uint32_t>(CPU_COUNT(&set))
               : 1;
}

void before_fork() {
    listener_before_fork();
    spare_before_fork();
    epoll_lock();
    registrar_lock();
    direct_before_fork(); // inside the registrar's: grants come with that
    process.lock.lock();
    // The child's descriptors count from here on, or the last one might seem closed before it runs.
    const int top = table.top.load();
    for (int fd = 0; fd < top; fd++) {
        if (Endpoint* ep = table_endpoint(fd)) {
            ep->forked = true;
            endpoint_get(ep);
            if (ep->hidden >= 0)
                process_unhide(std::exchange(ep->hidden, -1));
        }
    }
}

void after_fork_in_parent() {
    process.lock.unlock();
    direct_after_fork();
    registrar_unlock();
    epoll_unlock();
    spare_after_fork();
}

// Whatever has become of them in the parent since: in memory that both share, it has gone on.
void close_parents() {
    const int top = table.top.load();
    for (int fd = 0; fd < top; fd++) {
        if (table_get(fd).is_parents())
            process_unhide(fd);
    }
}

void after_fork_in_child() {
    thread = Thread();
    close_parents();
    direct_forked();
    spare_forked();
    listener_forked();
    registrar_forked();
    epoll_forked();
    // A lock names its owner by a thread of the parent: it is ours, and free.
    new (&process.lock) Lock();
    for (int& bell : process.bell) {
        if (bell >= 0)
            process_unhide(bell);
        bell = -1;
    }
    process.pid = getpid();
    process.token = static_cast<std::uint32_t>(process.pid);
    process.bells = 0;
    process.arenas = 0;
    for (std::uint32_t& sleeping : process.sleeping)
        sleeping = 0;
}

} // namespace

int process_hide_copy(int fd) {
    const int high = real.fcntl(fd, F_DUPFD_CLOEXEC,
                                reinterpret_cast<void*>(static_cast<std::intptr_t>(hidden_base())));
    if (high >= 0)
        table_set(high, Entry::hidden());
    return high;
}

int process_hide(int fd) {
    if (fd < 0)
        return -1;
    const int high = process_hide_copy(fd);
    if (high >= 0)
        real.close(fd);
    else
        table_set(fd, Entry::hidden());
    return high >= 0 ? high : fd;
}

int process_hide_connection(int fd) {
    const int hidden = process_hide(fd);
    if (hidden >= 0)
        table_set(hidden, Entry::hidden(true));
    return hidden;
}

void process_unhide(int fd) {
    table_clear(fd, table_get(fd));
    real.close(fd);
}

bool process_make_bells(std::uint32_t count) {
    const Guard guard(process.lock);
    if (process.bells != 0)
        return true;
    for (std::uint32_t i = 0; i < count; i++) {
        process.bell[i] = process_hide(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        if (process.bell[i] < 0)
            return false;
    }
    process.bells = count;
    return true;
}

void process_init() {
    process.pid = getpid();
    process.token = static_cast<std::uint32_t>(process.pid);
    process.processors = count_processors();
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

std::uint32_t process_refs(const Endpoint* ep) {
    std::uint32_t refs = 0;
    const int top = table.top.load();
    for (int fd = 0; fd < top; fd++)
        refs += table_endpoint(fd) == ep;
    return refs;
}

} // namespace xway
