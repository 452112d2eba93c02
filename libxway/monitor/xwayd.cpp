// SPDX-License-Identifier: GPL-2.0-or-later
//
// xwayd.cpp - options, readiness, limits of the process.
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <map>

#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "monitor.h"
#include "socket_file.h"

namespace {

using namespace xway;

int fail(const Error& error) {
    log(error.text());
    return 1;
}

// A client costs about ten descriptors, an arena one.
void raise_limits() {
    rlimit files{};
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

// systemd's protocol is one datagram.
void notify(const char* message) {
    const char* path = std::getenv("NOTIFY_SOCKET");
    sockaddr_un address{};
    if (!path || std::strlen(path) >= sizeof(address.sun_path))
        return;
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
    const UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sendto(fd.get(), message, std::strlen(message), 0, reinterpret_cast<sockaddr*>(&address), size);
}

} // namespace

int main(int argc, char** argv) {
    MonitorOptions options;
    options.path = own_socket_path();
    unsigned idle_exit = 0, patience = 60;
    int ready_fd = -1;
    CLI::App app("Pairs the TCP connections between processes of this machine.", "xwayd");
    app.set_version_flag("-V,--version", "xwayd 1.0");
    app.add_option("--socket", options.path, "where to listen")->capture_default_str();
    app.add_option("--policy", options.policy_file, "policy file, instead of the system's");
    app.add_option("--patience", patience, "seconds that a connection's other end is waited for")
        ->capture_default_str();
    app.add_option("--arenas", options.arenas.per_uid,
                   "memory for so many pairs of processes of a user, or parts of a large one")
        ->check(CLI::Range(1u, 65536u))
        ->capture_default_str();
    app.add_option("--idle-exit", idle_exit, "end after so many seconds without a client");
    app.add_flag("--direct", options.direct,
                 "let allowed connections within one user be direct: netfilter does not see them");
    const std::map<std::string, QueueDesign> designs{{"socket", QueueDesign::socket},
                                                     {"own", QueueDesign::own},
                                                     {"shared", QueueDesign::shared}};
    std::string queue = "socket";
    app.add_option("--queue", queue, "how requests come: by socket, or by shared memory")
        ->check(CLI::IsMember({"socket", "own", "shared"}))
        ->capture_default_str();
    app.add_option("--poll-core", options.poll_core, "stay on this processor, and never sleep")
        ->check(CLI::Range(0, CPU_SETSIZE - 1));
    app.add_option("--ready-fd", ready_fd, "write a byte here once it listens");
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& help) {
        return app.exit(help);
    } catch (const CLI::ParseError& error) {
        log(std::string(error.what()) + "; see 'xwayd --help'");
        return 2;
    }
    options.queues.design = designs.at(queue);
    options.queues.never_sleeps = options.poll_core >= 0;
    options.idle_exit = std::chrono::seconds(idle_exit);
    options.pairing.patience = std::chrono::seconds(patience);
    options.policy_may_miss = options.policy_file.empty();
    if (options.policy_may_miss)
        options.policy_file = kLocalPolicyFile;

    std::signal(SIGPIPE, SIG_IGN);
    raise_limits();
    auto monitor = Monitor::start(options);
    if (!monitor)
        return fail(monitor.error());
    notify("READY=1");
    if (UniqueFd ready(ready_fd); ready && write(ready.get(), "", 1) < 0)
        log("the starting process is gone");
    (*monitor)->run();
    notify("STOPPING=1");
    return 0;
}
