// SPDX-License-Identifier: GPL-2.0-or-later
//
// xway-run.cpp - the environment of a program that is to use rings, and an xwayd for it.
#include <chrono>
#include <cstdlib>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "inspect.h"
#include "socket_file.h"
#include "wire.h"

#ifndef XWAY_LIBRARY
#define XWAY_LIBRARY "/usr/lib/xway/libxway.so"
#endif
#ifndef XWAY_DAEMON
#define XWAY_DAEMON "/usr/sbin/xwayd"
#endif

namespace {

using namespace xway;
using Clock = std::chrono::steady_clock;

// As env(1) and nohup(1) have them.
constexpr int kOwnFailure = 125, kCannotRun = 126, kNotFound = 127;
constexpr auto kReadyWithin = std::chrono::seconds(2);
constexpr auto kOtherWithin = std::chrono::milliseconds(300);
constexpr char kIdleExit[] = "60"; // seconds that an xwayd of ours stays without a client

struct Options {
    std::string library, socket;
    std::optional<unsigned> flip_ms, after, spin_us, ring_kib;
    bool off = false, direct = false, no_daemon = false, quiet = false;
};

void say(const std::string& line) {
    fmt::print(stderr, "xway-run: {}\n", line);
}

bool exists(const std::string& file) {
    return access(file.c_str(), R_OK) == 0;
}

// The file of this name in the directory of this program.
std::string beside_us(const std::string& name) {
    char target[4096];
    const ssize_t length = readlink("/proc/self/exe", target, sizeof(target));
    const std::string own(target, length > 0 ? static_cast<std::size_t>(length) : 0);
    return own.substr(0, own.rfind('/') + 1) + name;
}

Result<std::string> find_library(const std::string& wanted) {
    for (const std::string& file :
         {wanted, beside_us("libxway.so"), beside_us("../lib/xway/libxway.so"),
          std::string(XWAY_LIBRARY)}) {
        if (file.empty() || !exists(file)) {
            if (!file.empty() && file == wanted)
                return Error::from_errno("cannot read the library " + file, errno);
            continue;
        }
        char* absolute = realpath(file.c_str(), nullptr);
        const std::string path = absolute ? absolute : file;
        std::free(absolute);
        if (path.find_first_of(" \t:") != std::string::npos)
            return Error{"the loader takes no library from '" + path + "'",
                         "move it to a path without blanks and colons"};
        return path;
    }
    return Error{"there is no libxway.so beside xway-run, and no " XWAY_LIBRARY,
                 "say where it is with --library"};
}

std::string find_daemon() {
    for (const std::string& file :
         {beside_us("xwayd"), beside_us("../sbin/xwayd"), std::string(XWAY_DAEMON)}) {
        if (access(file.c_str(), X_OK) == 0)
            return file;
    }
    return find_program("xwayd", std::getenv("PATH")).value_or("");
}

bool answers(const std::string& path) {
    return connect_to(path, SOCK_SEQPACKET).has_value();
}

// Nothing of ours may keep others waiting: no descriptor but the one for the sign, no terminal.
[[noreturn]] void become_daemon(const std::string& daemon, const std::string& socket, int ready,
                                bool direct) {
    constexpr int kReady = 3;
    setsid();
    const int null = open("/dev/null", O_RDWR);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        dup2(null, fd);
    if (ready == kReady)
        fcntl(ready, F_SETFD, 0);
    else
        dup2(ready, kReady);
    close_range(kReady + 1, ~0U, 0);
    unsetenv("LD_PRELOAD");
    unsetenv("NOTIFY_SOCKET");
    if (chdir("/") == 0)
        execl(daemon.c_str(), "xwayd", "--socket", socket.c_str(), "--idle-exit", kIdleExit,
              "--ready-fd", "3", direct ? "--direct" : nullptr, static_cast<char*>(nullptr));
    _exit(1);
}

// Returns once it listens, or when there is no hope that it will.
Result<void> start_daemon(const std::string& socket, bool direct) {
    const std::string daemon = find_daemon();
    if (daemon.empty())
        return Error{"there is no xwayd beside xway-run, in PATH, or at " XWAY_DAEMON};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return Error::from_errno("cannot make a pipe", errno);
    const UniqueFd reading(ends[0]);
    UniqueFd writing(ends[1]);
    const pid_t child = fork();
    if (child < 0)
        return Error::from_errno("cannot fork", errno);
    if (child == 0) {
        // Twice, so that it is nobody's child that we would have to wait for.
        if (fork() == 0)
            become_daemon(daemon, socket, writing.get(), direct);
        _exit(0);
    }
    writing = UniqueFd();
    waitpid(child, nullptr, 0);

    auto until = Clock::now() + kReadyWithin;
    pollfd ready{reading.get(), POLLIN, 0};
    char byte;
    poll(&ready, 1, static_cast<int>(std::chrono::milliseconds(kReadyWithin).count()));
    // If it has ended, that may be because another one was faster, which is as good.
    if (read(reading.get(), &byte, 1) != 1)
        until = Clock::now() + kOtherWithin;
    while (!answers(socket)) {
        if (Clock::now() >= until)
            return Error{fmt::format("{} does not listen at {}", daemon, socket)};
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return {};
}

// The socket of an xwayd that answers; one is started if need be.
Result<std::string> find_monitor(const Options& options) {
    const std::string own = options.socket.empty() ? own_socket_path() : options.socket;
    if (answers(own))
        return own;
    const bool may_be_another = options.socket.empty() && !std::getenv(kWirePathVariable);
    if (may_be_another && own != kWireSystemPath && answers(kWireSystemPath))
        return std::string(kWireSystemPath);
    if (options.no_daemon)
        return Error{"no xwayd answers at " + own};
    if (auto started = start_daemon(own, options.direct); !started)
        return started.error();
    return own;
}

void set_number(const char* variable, const std::optional<unsigned>& number) {
    if (number)
        setenv(variable, std::to_string(*number).c_str(), 1);
}

void set_environment(const Options& options, const std::string& library) {
    const char* before = std::getenv("LD_PRELOAD");
    const std::string others = before && *before ? std::string(":") + before : "";
    setenv("LD_PRELOAD", (library + others).c_str(), 1);
    set_number("XWAY_FLIP_MS", options.flip_ms);
    set_number("XWAY_AFTER", options.after);
    set_number("XWAY_SPIN_US", options.spin_us);
    set_number("XWAY_RING_KIB", options.ring_kib);
    if (options.direct)
        setenv("XWAY_DIRECT", "1", 1);
    if (options.off)
        setenv("XWAY_ENABLE", "0", 1);
}

void warn_unless_fit(const std::string& name) {
    const char* path = std::getenv("PATH");
    const auto file = find_program(name, path);
    if (!file)
        return;
    const auto program = inspect_program(*file, {getuid(), getgid()}, path);
    if (program && !program->fits)
        say(fmt::format("{} stays on TCP: {}", program->file, program->why_not));
}

int run(const Options& options, std::vector<std::string> words) {
    auto library = find_library(options.library);
    if (!library) {
        say(library.error().text());
        return kOwnFailure;
    }
    if (!options.quiet)
        warn_unless_fit(words[0]);
    if (!options.off) {
        auto socket = find_monitor(options);
        if (socket)
            setenv(kWirePathVariable, socket->c_str(), 1);
        else
            say(socket.error().text() + "; the program goes by TCP");
    }
    set_environment(options, *library);

    std::vector<char*> arguments;
    for (std::string& word : words)
        arguments.push_back(word.data());
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
    const int error = errno;
    say(Error::from_errno("cannot run '" + words[0] + "'", error).text());
    return error == ENOENT ? kNotFound : kCannotRun;
}

} // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app(
        "Runs a program whose TCP connections within this machine go through shared memory.",
        "xway-run");
    app.set_version_flag("-V,--version", "xway-run 1.0");
    app.add_option("--socket", options.socket, "where xwayd listens");
    app.add_option("--library", options.library, "the library to load into the program");
    app.add_option("--after", options.after, "data calls on a connection until it is moved");
    app.add_option("--spin", options.spin_us, "microseconds that a reader looks before it sleeps");
    app.add_option("--ring", options.ring_kib, "KiB of a direction's ring, instead of 64 to 256")
        ->check(CLI::IsMember({4, 8, 16, 32, 64, 128, 256}));
    app.add_option("--flip", options.flip_ms, "for tests: change rails every so many milliseconds");
    app.add_flag("--off", options.off, "load the library, but stay on TCP");
    app.add_flag("--direct", options.direct,
                 "leave TCP out where both ends do so: netfilter does not see these connections");
    app.add_flag("--no-daemon", options.no_daemon, "do not start an xwayd where none answers");
    app.add_flag("-q,--quiet", options.quiet, "no warning about programs that stay on TCP");
    app.prefix_command();
    app.footer(
        "xway-run [OPTIONS] [--] PROGRAM [ARGUMENT...]\n"
        "Exit status: the program's; 125 if xway-run fails, 126 if the program cannot be\n"
        "run, 127 if it is not found.");
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& help) {
        return app.exit(help);
    } catch (const CLI::ParseError& error) {
        say(std::string(error.what()) + "; see 'xway-run --help'");
        return kOwnFailure;
    }
    auto words = app.remaining();
    if (!words.empty() && words[0] == "--")
        words.erase(words.begin());
    if (words.empty() || words[0].starts_with("-")) {
        say(words.empty() ? "a program is missing; see 'xway-run --help'"
                          : fmt::format("'{}' is no option; see 'xway-run --help'", words[0]));
        return kOwnFailure;
    }
    return run(options, std::move(words));
}
