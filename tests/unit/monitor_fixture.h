// SPDX-License-Identifier: GPL-2.0-or-later
//
// monitor_fixture.h - a whole xwayd in a process of its own, and its clients.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <gtest/gtest.h>

#include "front_proc.h"
#include "monitor.h"
#include "wire_client.h"

namespace xway::test {

class MonitorTest : public testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/xway-test-XXXXXX";
        directory_ = mkdtemp(name);
        options_.path = directory_ + "/xwayd.sock";
        options_.trusts_own_user = false; // as if the clients were others'
    }

    void TearDown() override {
        if (xwayd_ > 0) {
            EXPECT_EQ(stop(SIGTERM), 0) << "xwayd has failed";
        }
        std::filesystem::remove_all(directory_);
    }

    void start() {
        int ends[2];
        ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
        const UniqueFd reading(ends[0]);
        UniqueFd writing(ends[1]);
        xwayd_ = fork();
        ASSERT_GE(xwayd_, 0);
        if (xwayd_ == 0)
            run_xwayd(writing.get());
        writing = UniqueFd();
        char ready;
        ASSERT_EQ(read(reading.get(), &ready, 1), 1) << "xwayd did not start";
    }

    int stop(int signal) {
        kill(xwayd_, signal);
        int status = 0;
        waitpid(xwayd_, &status, 0);
        xwayd_ = -1;
        return status;
    }

    void write_policy(const std::string& text) {
        options_.policy_file = directory_ + "/policy";
        std::ofstream(options_.policy_file) << text;
    }

    WireClient client(unsigned bells = 2) { return WireClient::welcomed(options_.path, bells); }

    std::string ask(const std::string& request) {
        auto connected = connect_to(control_path(options_.path), SOCK_STREAM);
        if (!connected)
            return "no answer";
        const std::string line = request + "\n";
        EXPECT_EQ(write(connected->get(), line.data(), line.size()),
                  static_cast<ssize_t>(line.size()));
        std::string text;
        char part[4096];
        for (ssize_t got; (got = read(connected->get(), part, sizeof(part))) > 0;)
            text.append(part, static_cast<std::size_t>(got));
        return text;
    }

    std::uint64_t counter(const std::string& name) {
        const auto counters = parse_front_stat(ask("stat"));
        if (!counters)
            return UINT64_MAX;
        for (const auto& [known, value] : *counters) {
            if (known == name)
                return value;
        }
        return 0;
    }

    bool becomes(const std::string& name, std::uint64_t value) {
        for (int i = 0; i < kSoonMs / 10; ++i) {
            if (counter(name) == value)
                return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return false;
    }

    MonitorOptions options_;
    rlim_t files_ = 0; // that xwayd may have open; 0: as many as we
    std::string directory_;
    pid_t xwayd_ = -1;

private:
    [[noreturn]] void run_xwayd(int ready) {
        int failed = 1;
        const rlimit limit{files_, files_};
        if (files_ != 0)
            setrlimit(RLIMIT_NOFILE, &limit);
        if (auto monitor = Monitor::start(options_); monitor) {
            failed = write(ready, "", 1) == 1 ? 0 : 1;
            (*monitor)->run();
        } else {
            log(monitor.error().text());
        }
        _exit(failed);
    }
};

// Both ends of one connection, attached.
struct Attached {
    TcpPair tcp;
    WireMsg a{}, b{};
    ArenaMapping a_map, b_map;
    std::vector<UniqueFd> a_fds, b_fds;
};

inline Attached attach(WireClient& a, WireClient& b, std::uint64_t conn = 1) {
    Attached result;
    result.tcp = make_tcp_pair();
    EXPECT_TRUE(a.enroll(conn, result.tcp.client.get()));
    EXPECT_TRUE(b.enroll(conn + 1000000, result.tcp.server.get()));
    auto to_a = a.receive(), to_b = b.receive();
    if (!to_a || !to_b) {
        ADD_FAILURE() << "no answer";
        return result;
    }
    EXPECT_EQ(to_a->msg.type, WireType::kAttach);
    EXPECT_EQ(to_b->msg.type, WireType::kAttach);
    EXPECT_EQ(to_a->msg.conn, conn);
    EXPECT_EQ(to_b->msg.conn, conn + 1000000);
    result.a = to_a->msg;
    result.b = to_b->msg;
    if (!to_a->fds.empty())
        result.a_map = ArenaMapping(to_a->fds[0].get());
    if (!to_b->fds.empty())
        result.b_map = ArenaMapping(to_b->fds[0].get());
    result.a_fds = std::move(to_a->fds);
    result.b_fds = std::move(to_b->fds);
    return result;
}

inline void expect_declined(WireClient& client, std::uint64_t conn, xway_why why) {
    const auto answer = client.receive();
    ASSERT_TRUE(answer) << "no answer";
    EXPECT_EQ(answer->msg.type, WireType::kDecline);
    EXPECT_EQ(answer->msg.conn, conn);
    EXPECT_EQ(answer->msg.arg, static_cast<std::uint32_t>(why));
}

} // namespace xway::test
