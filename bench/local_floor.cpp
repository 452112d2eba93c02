/* SPDX-License-Identifier: GPL-2.0 */
/*
 * local_floor.cpp - how fast two processes of this machine can talk at all.
 *
 * Two processes, pinned, hand a number to and fro: through one cache line by the forms of spinning
 * that are known, of which the best is the floor; through a futex, a pipe and a UNIX socket pair,
 * which sleep, on two processors and on one.
 */
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <limits>

#include "local.h"

namespace xway::local {

namespace {

using Word = std::atomic<std::uint32_t>;

struct alignas(4096) Shared {
    alignas(128) Word there;
    alignas(128) Word back; /* used by the form of two lines only */
    alignas(128) std::uint32_t pad;
};

void await(const Word& word, std::uint32_t value, bool pause) {
    while (word.load(std::memory_order_acquire) != value)
        if (pause)
            relax();
}

/* The median round trip in ns: the first side here, the second in a child. Numbers grow by one at
 * every hand-over; the first side sends the odd ones. */
template <typename Send, typename Receive>
double ping_pong(Send send, Receive receive, int cpu, int other_cpu, double seconds, bool spins) {
    pid_t child = ::fork();
    if (child < 0)
        broken("fork");
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(other_cpu);
        for (std::uint32_t n = 1;; n += 2) {
            receive(n);
            send(n + 1);
        }
    }
    pin(cpu);
    std::uint32_t n = 1;
    const std::uint32_t batch = spins ? 500 : 50;
    std::vector<float> batches;
    auto end = now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
    for (bool warm = false; now_ns() < end || batches.size() < 3; warm = true) {
        std::uint64_t start = now_ns();
        for (std::uint32_t i = 0; i < batch; i++, n += 2) {
            send(n);
            receive(n + 1);
        }
        if (warm)
            batches.push_back(static_cast<float>(now_ns() - start) / static_cast<float>(batch));
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    pin(-1);
    return percentile(batches, 0.5);
}

double spin(Shared& s, int cpu, int other_cpu, double seconds, bool two_lines, bool pause) {
    s.there = s.back = 0;
    auto word = [&](std::uint32_t n) -> Word& {
        return two_lines && n % 2 == 0 ? s.back : s.there;
    };
    return ping_pong([&](std::uint32_t n) { word(n).store(n, std::memory_order_release); },
                     [&](std::uint32_t n) { await(word(n), n, pause); }, cpu, other_cpu, seconds,
                     true);
}

/* The line is fetched for writing at once: one transfer instead of two, on some processors. */
double spin_exchange(Shared& s, int cpu, int other_cpu, double seconds) {
    s.there = 0;
    return ping_pong(
        [&](std::uint32_t n) {
            for (std::uint32_t was = n - 1; !s.there.compare_exchange_strong(was, n); was = n - 1)
                relax();
        },
        [](std::uint32_t) {}, cpu, other_cpu, seconds, true);
}

double futex(Shared& s, int cpu, int other_cpu, double seconds) {
    s.there = 0;
    return ping_pong(
        [&](std::uint32_t n) {
            s.there.store(n);
            ::syscall(SYS_futex, &s.there, FUTEX_WAKE, 1, nullptr, nullptr, 0);
        },
        [&](std::uint32_t n) {
            while (s.there.load() != n)
                ::syscall(SYS_futex, &s.there, FUTEX_WAIT, n - 1, nullptr, nullptr, 0);
        },
        cpu, other_cpu, seconds, false);
}

/* Over descriptors: even numbers go the other way. */
double descriptors(const int (&there)[2], const int (&back)[2], int cpu, int other_cpu,
                   double seconds) {
    return ping_pong(
        [&](std::uint32_t n) {
            std::uint64_t value = n;
            if (::write(n % 2 ? there[1] : back[1], &value, sizeof value) != sizeof value)
                broken("write");
        },
        [&](std::uint32_t n) {
            std::uint64_t value = 0;
            if (::read(n % 2 ? there[0] : back[0], &value, sizeof value) != sizeof value ||
                value != n)
                broken("read");
        },
        cpu, other_cpu, seconds, false);
}

double through_pipes(int cpu, int other_cpu, double seconds) {
    int there[2], back[2];
    if (::pipe(there) < 0 || ::pipe(back) < 0)
        broken("pipe");
    double ns = descriptors(there, back, cpu, other_cpu, seconds);
    for (int fd : {there[0], there[1], back[0], back[1]})
        ::close(fd);
    return ns;
}

double through_socket_pair(int cpu, int other_cpu, double seconds) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        broken("socketpair");
    int reversed[2] = {pair[1], pair[0]};
    double ns = descriptors(pair, reversed, cpu, other_cpu, seconds);
    ::close(pair[0]);
    ::close(pair[1]);
    return ns;
}

template <typename Call>
double cost(Call call) {
    double best = std::numeric_limits<double>::max();
    for (int round = 0; round < 20; round++) {
        std::uint64_t start = now_ns();
        for (int i = 0; i < 1000; i++)
            call();
        best = std::min(best, static_cast<double>(now_ns() - start) / 1000);
    }
    return best;
}

} // namespace

Json floor(const Options& o) {
    std::vector<int> cpus = allowed_cpus();
    int a = o.cpu >= 0 ? o.cpu : cpus[0];
    int b = o.server_cpu >= 0 ? o.server_cpu : cpus[cpus.size() > 1 ? 1 : 0];
    if (a == b)
        throw Broken("the floor needs two processors; here is one");
    void* map =
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        broken("mmap");
    Shared& s = *static_cast<Shared*>(map);
    double each = o.seconds / 10;
    double pausing = spin(s, a, b, each, false, true);
    double hot = spin(s, a, b, each, false, false);
    double exchange = spin_exchange(s, a, b, each);
    double two_lines = std::min(spin(s, a, b, each, true, true), spin(s, a, b, each, true, false));
    volatile std::uint64_t sink = 0;
    Json json;
    json.add("test", std::string("floor"));
    json.add("value", std::min({pausing, hot, exchange})).add("unit", std::string("ns"));
    json.add("line_pause_ns", pausing).add("line_hot_ns", hot).add("line_exchange_ns", exchange);
    json.add("two_lines_ns", two_lines);
    json.add("futex_ns", futex(s, a, b, each)).add("futex_one_cpu_ns", futex(s, a, a, each));
    json.add("pipe_ns", through_pipes(a, b, each))
        .add("pipe_one_cpu_ns", through_pipes(a, a, each));
    json.add("socketpair_ns", through_socket_pair(a, b, each));
    json.add("socketpair_one_cpu_ns", through_socket_pair(a, a, each));
    json.add("clock_ns", cost([&] { sink = now_ns(); }));
    json.add("syscall_ns",
             cost([&] { sink = static_cast<std::uint64_t>(::syscall(SYS_getppid)); }));
    json.add("client", usage_with_children());
    ::munmap(map, sizeof(Shared));
    return json;
}

} // namespace xway::local
