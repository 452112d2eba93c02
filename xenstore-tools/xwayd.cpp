// SPDX-License-Identifier: GPL-2.0-or-later
//
// xwayd.cpp - xwayd-xen: options, one instance, foreground or background.
#include <csignal>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "daemon.h"
#include "unique_fd.h"

namespace {

using namespace xway;

int fail(const Error& error) {
    log(error.text());
    return 1;
}

// Held for as long as the process lives.
Result<UniqueFd> lock_instance() {
    UniqueFd fd(open(kDaemonLock, O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!fd)
        return Error::from_errno(std::string("cannot open ") + kDaemonLock, errno,
                                 "run this as root");
    if (flock(fd.get(), LOCK_EX | LOCK_NB) < 0)
        return Error{"another xwayd-xen is running",
                     std::string("its process is in ") + kDaemonLock};
    return fd;
}

void write_process(const UniqueFd& lock) {
    const std::string text = std::to_string(getpid()) + '\n';
    if (ftruncate(lock.get(), 0) < 0 || pwrite(lock.get(), text.data(), text.size(), 0) < 0)
        log(std::string("cannot write ") + kDaemonLock);
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

// The parent returns the exit status when the child has started or failed; the child gets a
// descriptor to report on. stderr stays: that is where the log goes.
struct Fork {
    bool is_child = false;
    int status = 1;
    UniqueFd report;
};

Fork go_to_background() {
    Fork result;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        fail(Error::from_errno("cannot make a pipe", errno));
        return result;
    }
    UniqueFd reading(ends[0]), writing(ends[1]);
    const pid_t child = fork();
    if (child < 0) {
        fail(Error::from_errno("cannot fork", errno));
    } else if (child > 0) {
        writing = UniqueFd();
        char started;
        result.status = read(reading.get(), &started, 1) == 1 ? 0 : 1;
    } else {
        result.is_child = true;
        result.report = std::move(writing);
        setsid();
        const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
        dup2(null.get(), STDIN_FILENO);
        dup2(null.get(), STDOUT_FILENO);
        if (chdir("/") < 0)
            log("cannot change to /");
    }
    return result;
}

} // namespace

int main(int argc, char** argv) {
    std::string policy_file = kPolicyFile;
    bool foreground = false;
    CLI::App app("Gives the guests of this host their xway devices, as the policy says.",
                 "xwayd-xen");
    app.set_version_flag("-V,--version", std::string("xwayd-xen ") + kVersion);
    app.add_flag("-f,--foreground", foreground, "stay in the foreground");
    app.add_option("--policy", policy_file, "policy file")->capture_default_str();
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& help) {
        return app.exit(help);
    } catch (const CLI::ParseError& error) {
        log(std::string(error.what()) + "; see 'xwayd-xen --help'");
        return 2;
    }

    std::signal(SIGPIPE, SIG_IGN);
    const Host host;
    if (!host.is_dom0())
        return fail({"this is not dom0 of a Xen host", "run it there"});
    if (auto policy = Policy::load(policy_file); !policy)
        return fail(policy.error());
    // The background changes to /.
    if (char* absolute = realpath(policy_file.c_str(), nullptr)) {
        policy_file = absolute;
        std::free(absolute);
    }
    auto lock = lock_instance();
    if (!lock)
        return fail(lock.error());

    UniqueFd report;
    if (!foreground) {
        Fork background = go_to_background();
        if (!background.is_child)
            return background.status;
        report = std::move(background.report);
    }
    write_process(*lock);
    auto daemon = Daemon::start(host, policy_file);
    if (!daemon)
        return fail(daemon.error());
    notify("READY=1");
    if (report && write(report.get(), "", 1) < 0)
        log("the starting process is gone");
    report = UniqueFd();

    const auto ended = (*daemon)->run();
    notify("STOPPING=1");
    return ended ? 0 : fail(ended.error());
}
