// SPDX-License-Identifier: GPL-2.0-or-later
//
// xway_run_test.cpp - what xway-run hands to a program, and what it says when it cannot run one.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "socket_file.h"

int xway_run_main(int argc, char** argv); // its main(), renamed by the Makefile

namespace xway::test {
namespace {

struct Ended {
    int status = -1;
    std::string out, err;
};

class XwayRunTest : public testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/xway-run-XXXXXX";
        directory = mkdtemp(name);
        library = write("lib.so", "");
        socket = directory + "/xwayd.sock";
        for (const char* variable : {"LD_PRELOAD", "XWAY_SOCKET", "XWAY_AFTER", "XWAY_SPIN_US",
                                     "XWAY_RING_KIB", "XWAY_FLIP_MS", "XWAY_ENABLE", "XWAY_DIRECT"})
            unsetenv(variable);
    }
    void TearDown() override { std::filesystem::remove_all(directory); }

    std::string write(const std::string& name, const std::string& text) {
        const std::string file = directory + '/' + name;
        std::ofstream(file) << text;
        chmod(file.c_str(), 0755);
        return file;
    }

    std::string read_all(const std::string& name) {
        std::ifstream file(directory + '/' + name);
        return {std::istreambuf_iterator<char>(file), {}};
    }

    // With the library and the socket of this test, unless `bare`.
    Ended run(std::vector<std::string> words, bool bare = false) {
        if (!bare)
            words.insert(words.begin(), {"--library", library, "--socket", socket});
        words.insert(words.begin(), "xway-run");
        const pid_t child = fork();
        if (child == 0) {
            const auto to = [&](const char* name, int fd) {
                const std::string file = directory + '/' + name;
                dup2(open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), fd);
            };
            to("out", STDOUT_FILENO);
            to("err", STDERR_FILENO);
            std::vector<char*> arguments;
            for (std::string& word : words)
                arguments.push_back(word.data());
            arguments.push_back(nullptr);
            const int status =
                xway_run_main(static_cast<int>(arguments.size() - 1), arguments.data());
            std::fflush(nullptr);
            _exit(status);
        }
        int status = 0;
        waitpid(child, &status, 0);
        return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_all("out"), read_all("err")};
    }

    std::string directory, library, socket;
};

// The loader complains of our library, which is an empty file.
std::string without_loader(const std::string& text) {
    std::string rest;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
        const std::string line = text.substr(at, end - at);
        if (line.find("ld.so: object") == std::string::npos)
            rest += line;
        at = end;
    }
    return rest;
}

TEST_F(XwayRunTest, the_program_gets_the_library_and_the_options) {
    auto lock = lock_socket(socket);
    auto listener = listen_at(socket, SOCK_SEQPACKET, 0600);
    ASSERT_TRUE(lock && listener);
    setenv("LD_PRELOAD", "libm.so.6", 1);
    const Ended ended =
        run({"--after", "3", "--spin", "7", "--flip", "9", "--ring", "16", "--", "/bin/sh", "-c",
             "echo $LD_PRELOAD $XWAY_SOCKET $XWAY_AFTER $XWAY_SPIN_US "
             "$XWAY_FLIP_MS $XWAY_RING_KIB .$XWAY_ENABLE.$XWAY_DIRECT."});
    unsetenv("LD_PRELOAD");
    EXPECT_EQ(ended.status, 0);
    EXPECT_EQ(ended.out, library + ":libm.so.6 " + socket + " 3 7 9 16 ...\n");
    EXPECT_EQ(without_loader(ended.err), "");
}

TEST_F(XwayRunTest, off_needs_no_xwayd) {
    const Ended ended =
        run({"--off", "--direct", "sh", "-c", "echo $XWAY_ENABLE $XWAY_DIRECT; exit 42"});
    EXPECT_EQ(ended.status, 42);
    EXPECT_EQ(ended.out, "0 1\n");
    EXPECT_EQ(without_loader(ended.err), "");
}

TEST_F(XwayRunTest, what_stands_behind_the_program_is_the_programs) {
    const Ended ended = run({"--off", "echo", "--flip", "3", "--", "-q", "--help"});
    EXPECT_EQ(ended.out, "--flip 3 -- -q --help\n");
}

TEST_F(XwayRunTest, without_an_xwayd_the_program_runs_all_the_same) {
    const Ended alone = run({"--no-daemon", "echo", "hello"});
    EXPECT_EQ(alone.status, 0);
    EXPECT_EQ(alone.out, "hello\n");
    EXPECT_EQ(without_loader(alone.err),
              "xway-run: no xwayd answers at " + socket + "; the program goes by TCP\n");

    // One that ends at once, and one that cannot be started.
    setenv("PATH", (directory + ":/usr/bin:/bin").c_str(), 1);
    const std::string daemon = write("xwayd", "#!/bin/sh\nexit 1\n");
    const Ended failed = run({"echo", "hello"});
    EXPECT_EQ(failed.status, 0);
    EXPECT_EQ(failed.out, "hello\n");
    EXPECT_NE(failed.err.find("xwayd does not listen at " + socket), std::string::npos);
}

TEST_F(XwayRunTest, what_cannot_be_run_is_told_apart) {
    EXPECT_EQ(run({"--off", "not-there"}).status, 127);
    EXPECT_EQ(run({"--off", "/not/there"}).status, 127);
    const Ended directory_itself = run({"--off", "-q", "/tmp"});
    EXPECT_EQ(directory_itself.status, 126);
    EXPECT_EQ(directory_itself.err, "xway-run: cannot run '/tmp': Permission denied\n");
}

TEST_F(XwayRunTest, its_own_failures_are_125) {
    EXPECT_EQ(run({}).status, 125);
    EXPECT_EQ(run({"--"}).status, 125);
    EXPECT_EQ(run({"--no-such-option", "true"}).status, 125);
    EXPECT_EQ(run({"--spin", "many", "true"}).status, 125);
    const Ended missing = run({"--library", "/not/there.so", "true"}, true);
    EXPECT_EQ(missing.status, 125);
    EXPECT_NE(missing.err.find("cannot read the library /not/there.so"), std::string::npos);
    library = write("with blank.so", "");
    EXPECT_EQ(run({"true"}).status, 125);
    EXPECT_EQ(run({"--help"}, true).status, 0);
    EXPECT_EQ(run({"--version"}, true).status, 0);
}

TEST_F(XwayRunTest, programs_that_do_not_take_the_library_are_named) {
    const std::string script = write("script", "#!" + write("strange", "no ELF") + "\n");
    EXPECT_EQ(
        run({"--off", script})
            .err.find("xway-run: " + directory + "/strange stays on TCP: it is no ELF program\n"),
        0u);
    EXPECT_EQ(run({"--off", "--quiet", script}).err.find("stays"), std::string::npos);
}

} // namespace
} // namespace xway::test
