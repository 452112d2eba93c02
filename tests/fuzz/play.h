/* SPDX-License-Identifier: GPL-2.0 */
/*
 * play.h - plays a program step by step on both sides, waits after each until all is at rest, and
 * writes down what each step has given.
 */
#pragma once

#include <cstdio>

#include "model.h"
#include "remote.h"

namespace xway::fuzz {

class Player {
public:
    /* Writes to `log`, which it does not own. */
    Player(const test::Address& server, Pace pace, std::FILE* log);

    /* Plays one. If the server is lost on the way, says so in the log and gets another one. */
    void play(const Program& program);
    [[nodiscard]] unsigned long calls() const { return calls_; }
    Remote& remote() { return *remote_; }

private:
    void connect();
    void steps(const Program& program);
    void finish();
    Order prepare(const Step& step);
    Result call(char side, const Order& order);
    void done(const Step& step, const Result& result);
    bool settle(const Step& step, char side);
    void alone(const Step& step);
    void together(const Step& waits, const Step& acts);
    void pump(const Step& step);
    void fill(const Step& step);
    /* The other half of a bulk step, or nothing: the stream is not whole. */
    bool other_half(const Step& step, Order* half);
    void say(const Step& step, const std::string& text);

    test::Address server_;
    Pace pace_;
    std::FILE* log_;
    std::unique_ptr<Remote> remote_;
    std::unique_ptr<Host> host_;
    std::unique_ptr<Model> model_;
    unsigned long calls_ = 0;
    int number_ = 0;
    bool lost_ = false; /* the rest of this program is left out */
};

} // namespace xway::fuzz
