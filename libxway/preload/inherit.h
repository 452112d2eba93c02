// SPDX-License-Identifier: GPL-2.0-or-later
//
// inherit.h - connections that outlive this program in the same process.
//
// At exec a connection goes back to TCP, where the next program finds it. What is left unread in
// the ring goes with it: into an arena of its own, in a sealed-off file that the next program's
// library takes up before main(). A program without the library cannot be given it; then the
// connection is reset, never continued with a gap.
#pragma once

#include "endpoint.h"

namespace xway {

// What the program's exec needs.
class Inheritance {
public:
    // Prepares all connections that stay open. `environment` is what the next program would get.
    explicit Inheritance(char* const* environment);
    // The exec has failed: all is taken back.
    ~Inheritance();
    Inheritance(const Inheritance&) = delete;
    Inheritance& operator=(const Inheritance&) = delete;

    // To give to the next program.
    [[nodiscard]] char* const* environment() const { return environment_; }

private:
    static constexpr int kMost = 64; // connections with something left unread

    struct Left {
        int fd;
        int file;
    };
    void prepare(int fd);
    void tell(char* const* environment);

    char* const* environment_;
    bool followed_ = false; // the next program will have the library
    int count_ = 0;
    Left left_[kMost];
    char** copy_ = nullptr;
    char text_[32 * kMost];
};

// What nobody has read of a connection, in a file for another process or program to take up.
// -1: there is too much, or no file. The connection must be on TCP (endpoint_to_tcp()).
int left_pack(Endpoint* ep, int fd, const char* name);
// Makes `fd` read what is in `file` first. `file` is closed.
bool left_unpack(int fd, int file);
// It is not to go after all: makes `fd` read what is in `file` first. `file` is closed.
void left_take_back(int fd, int file);
// Is this process to decide what becomes of it, or has another one a descriptor for it as well?
bool left_is_ours(const Endpoint* ep, int fd);
// Breaks the connection. Never a gap: the kernel cannot be given back what it did not carry.
void left_lost(int fd);

// Takes up what the previous program has left; called once, before main().
void inherit();

} // namespace xway
