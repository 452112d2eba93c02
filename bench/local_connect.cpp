/* SPDX-License-Identifier: GPL-2.0 */
/*
 * local_connect.cpp - connections opened and closed per second, by any number of processes.
 *
 * `cc`: connect, end of file, close. `crr`: connect, request, response, end of file, close. The
 * server closes first in both: so TIME_WAIT stays with the listener's port, and the clients never
 * run out of ports of their own. A control connection tells the server how many will come.
 */
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "local.h"

namespace xway::local {

namespace {

void all_of(ssize_t (*call)(int, std::byte*, std::size_t), int fd, std::byte* data,
            std::size_t size, const char* what) {
    for (std::size_t done = 0; done < size;) {
        ssize_t n = call(fd, data + done, size - done);
        if (n == 0)
            throw Broken(std::string(what) + ": the connection ended");
        if (n < 0 && errno != EINTR)
            broken(what);
        done += static_cast<std::size_t>(std::max<ssize_t>(0, n));
    }
}

ssize_t send_some(int fd, std::byte* data, std::size_t size) {
    return ::send(fd, data, size, MSG_NOSIGNAL);
}

ssize_t receive_some(int fd, std::byte* data, std::size_t size) {
    return ::recv(fd, data, size, 0);
}

/* Closes at the end of its scope. */
struct Descriptor {
    int fd;
    explicit Descriptor(int value) : fd(value) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() { ::close(fd); }
};

void open_and_close(const std::string& address, std::vector<std::byte>& buffer) {
    Descriptor connection(connect_to(address));
    if (!buffer.empty()) {
        all_of(send_some, connection.fd, buffer.data(), buffer.size(), "send");
        all_of(receive_some, connection.fd, buffer.data(), buffer.size(), "recv");
    }
    std::byte end{};
    ssize_t n = ::recv(connection.fd, &end, 1, 0);
    if (n < 0)
        broken("recv at the end");
    if (n > 0)
        throw Broken("more came than the response");
}

/* A process that opens as many connections as it reads from a pipe, again and again. */
class Worker {
public:
    Worker(const Options& o, bool idle) {
        int to[2];
        if (::pipe(to) < 0)
            broken("pipe");
        std::fflush(stdout);
        pid_ = ::fork();
        if (pid_ < 0)
            broken("fork");
        ::close(to[pid_ == 0 ? 1 : 0]);
        if (pid_ == 0)
            run(o, idle, to[0]);
        pipe_ = to[1];
    }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    Worker(Worker&& other) noexcept : pid_(other.pid_), pipe_(other.pipe_) { other.pid_ = 0; }
    Worker& operator=(Worker&&) = delete;
    ~Worker() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
    }

    void go(std::uint64_t count) const {
        if (::write(pipe_, &count, sizeof count) != sizeof count)
            broken("a worker has gone");
    }

    /* Lets it end by itself. */
    void finish() {
        go(kLeave);
        ::close(pipe_);
        ::waitpid(pid_, nullptr, 0);
        pid_ = 0;
    }

private:
    static constexpr std::uint64_t kLeave = ~0ull;

    [[noreturn]] static void run(const Options& o, bool idle, int pipe) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        try {
            std::vector<std::byte> buffer(o.test == "crr" ? o.size : 0);
            std::uint64_t count = 0;
            int held = -1;
            while (::read(pipe, &count, sizeof count) == sizeof count && count != kLeave) {
                if (idle && held < 0)
                    held = connect_patiently(o.address);
                for (std::uint64_t i = 0; !idle && i < count; i++)
                    open_and_close(o.address, buffer);
            }
            if (held >= 0)
                ::close(held);
            ::_exit(0);
        } catch (const Broken& e) {
            std::fprintf(stderr, "xway-local-bench: a process that connects: %s\n", e.what());
            ::kill(::getppid(), SIGTERM); /* it waits for connections that will not come */
            ::_exit(1);
        }
    }

    pid_t pid_ = 0;
    int pipe_ = -1;
};

} // namespace

void serve_connects(int listener, std::uint64_t size, std::uint64_t count) {
    std::vector<std::byte> buffer(size);
    for (std::uint64_t i = 0; i < count; i++) {
        int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0)
            broken("accept");
        Descriptor connection(fd);
        if (size) {
            all_of(receive_some, fd, buffer.data(), size, "recv of a request");
            all_of(send_some, fd, buffer.data(), size, "send of a response");
        }
    }
}

Json connects(const Options& o) {
    /* Forked before this process has a socket of its own: the clients are separate processes. */
    std::vector<Worker> workers, idle;
    workers.reserve(o.processes);
    idle.reserve(o.idle);
    for (unsigned i = 0; i < o.processes; i++)
        workers.emplace_back(o, false);
    for (unsigned i = 0; i < o.idle; i++)
        idle.emplace_back(o, true);
    Channel control(connect_patiently(o.address));
    Report report;
    auto tell = [&](Command::Kind kind, std::uint64_t count) {
        Command c;
        c.kind = kind;
        c.size = o.test == "crr" ? o.size : 0;
        c.count = count;
        c.cpu = o.server_cpu;
        control.write(&c, sizeof c);
    };
    auto wait = [&] {
        if (!control.read_all(&report, sizeof report))
            throw Broken("the server closed the connection");
    };
    if (!idle.empty()) {
        tell(Command::kHold, idle.size());
        for (const Worker& worker : idle)
            worker.go(1);
        wait();
    }
    auto batch = [&](std::uint64_t each) {
        tell(Command::kConnects, each * workers.size());
        for (const Worker& worker : workers)
            worker.go(each);
        wait();
    };
    batch(16);
    Usage server = report.usage;
    std::uint64_t each = 64, count = 0, start = now_ns();
    double elapsed = 0;
    while (elapsed < o.seconds) {
        std::uint64_t before = now_ns();
        batch(each);
        count += each * workers.size();
        std::uint64_t end = now_ns();
        elapsed = static_cast<double>(end - start) / 1e9;
        double took = static_cast<double>(end - before) / 1e9;
        double limit = std::clamp(o.seconds / 4, 0.02, 0.5);
        if (took < limit / 2)
            each *= 2;
        else if (took > limit * 2)
            each = std::max<std::uint64_t>(1, each / 2);
    }
    server = report.usage - server;
    for (Worker& worker : workers)
        worker.finish();
    for (Worker& worker : idle)
        worker.finish();
    Json json;
    json.add("test", o.test).add("size", static_cast<std::uint64_t>(o.test == "crr" ? o.size : 0));
    json.add("processes", static_cast<std::uint64_t>(o.processes));
    json.add("idle", static_cast<std::uint64_t>(o.idle));
    json.add("value", static_cast<double>(count) / elapsed);
    json.add("unit", std::string("connections/s"));
    json.add("seconds", elapsed).add("count", count);
    json.add("client", usage_with_children()).add("server", server);
    return json;
}

} // namespace xway::local
