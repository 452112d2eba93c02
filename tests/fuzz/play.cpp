/* SPDX-License-Identifier: GPL-2.0 */
/* play.cpp - one program, step by step. */
#include "play.h"

namespace xway::fuzz {

namespace {

constexpr int kWaitServer = 30000; /* ms */
constexpr int kDelay = 1; /* ms in which whoever blocks falls asleep; nothing depends on it */

} // namespace

Player::Player(const test::Address& server, Pace pace, std::FILE* log)
    : server_(server), pace_(pace), log_(log) {
    connect();
}

void Player::connect() {
    remote_ = std::make_unique<Remote>(server_, pace_, kWaitServer);
    host_ = std::make_unique<Host>('c', server_, pace_);
}

void Player::play(const Program& program) {
    model_ = std::make_unique<Model>();
    model_->set_lasting_port('c', host_->lasting_port());
    model_->set_lasting_port('s', remote_->lasting_port());
    number_ = 0;
    lost_ = false;
    try {
        steps(program);
        finish();
    } catch (const test::Failure& e) {
        std::fprintf(log_, "the server is lost: %s\n", e.what());
        host_.reset();
        remote_.reset();
        connect();
    }
}

void Player::say(const Step& step, const std::string& text) {
    std::fprintf(log_, "%3d %s -> %s\n", number_, step.text().c_str(), text.c_str());
}

Order Player::prepare(const Step& step) {
    Order order;
    order.step = step;
    order.awaits = model_->awaits(step.side);
    order.connection = model_->connection_of(step);
    if (step.op == Op::kConnect)
        order.port = model_->port_of(step);
    return order;
}

Result Player::call(char side, const Order& order) {
    if (side == 'c')
        return host_->run(order, [] {});
    remote_->begin(order);
    return remote_->finish();
}

void Player::done(const Step& step, const Result& result) {
    calls_ += result.calls;
    if (result.lost)
        lost_ = true;
    else
        model_->apply(step, result);
    say(step, result.text);
}

/* All that is under way to this side has come. */
bool Player::settle(const Step& step, char side) {
    Order order;
    order.what = Order::What::kSettle;
    order.awaits = model_->awaits(side);
    if (order.awaits.empty())
        return true;
    const Result result = call(side, order);
    if (result.lost)
        done(step, result);
    return !result.lost;
}

void Player::alone(const Step& step) {
    /* A reset would overtake what TCP still holds back. */
    if ((step.op == Op::kClose || step.op == Op::kDup2) && !settle(step, other_side(step.side)))
        return;
    const Order order = prepare(step);
    done(step, call(step.side, order));
}

void Player::together(const Step& waits, const Step& acts) {
    Order first = prepare(waits), second;
    first.block = true;
    Result waited, acted;
    bool begun = false;
    const auto act = [&] {
        begun = true;
        second = prepare(acts);
        second.delay_ms = kDelay;
        if (acts.side == 'c')
            acted = host_->run(second, [] {});
        else
            remote_->begin(second);
    };
    if (waits.side == 'c') {
        waited = host_->run(first, act);
        if (begun)
            acted = remote_->finish();
    } else {
        remote_->begin(first);
        waited = remote_->finish(act);
    }
    if (!begun) {
        done(waits, waited);
        number_++;
        alone(acts);
        return;
    }
    say(waits, waited.text);
    number_++;
    done(acts, acted);
    calls_ += waited.calls;
    lost_ |= waited.lost;
    if (!waited.lost)
        model_->apply(waits, waited);
}

bool Player::other_half(const Step& step, Order* half) {
    const End* end = model_->end_at(step.side, step.h);
    const long other = model_->other_handle(step.side, step.h);
    const End* peer = other >= 0 ? model_->end_at(other_side(step.side), other) : nullptr;
    if (!peer || end->reset || end->wr_shut || peer->reset || peer->rd_shut) {
        say(step, "none");
        return false;
    }
    Step theirs = step;
    theirs.side = other_side(step.side);
    theirs.op = Op::kRecv;
    theirs.h = other;
    theirs.a = 0;
    /* Before any byte is under way that is not counted yet. */
    if (!settle(theirs, theirs.side))
        return false;
    *half = prepare(theirs);
    half->what = Order::What::kReceive;
    half->amount = peer->unread();
    return true;
}

void Player::pump(const Step& step) {
    Order theirs;
    if (!other_half(step, &theirs))
        return;
    theirs.amount += static_cast<std::uint64_t>(step.a);
    const Order mine = prepare(step);
    const Order& remote = step.side == 's' ? mine : theirs;
    const Order& local = step.side == 's' ? theirs : mine;
    remote_->begin(remote);
    const Result here = host_->run(local, [] {});
    const Result there = remote_->finish();
    const bool sent_here = step.side == 'c';
    done(step, sent_here ? here : there);
    done(theirs.step, sent_here ? there : here);
}

void Player::fill(const Step& step) {
    Order theirs;
    if (!other_half(step, &theirs))
        return;
    Order mine = prepare(step);
    const Result filled = call(step.side, mine);
    done(step, filled);
    theirs.amount += static_cast<std::uint64_t>(std::max(filled.value, 0l));
    Result read = call(theirs.step.side, theirs);
    /* How much fits is not the same everywhere. */
    if (static_cast<std::uint64_t>(read.value) == theirs.amount &&
        read.text == std::to_string(read.value))
        read.text = "all";
    done(theirs.step, read);
    mine.what = Order::What::kRefill;
    mine.awaits.clear();
    const Result again = call(step.side, mine);
    calls_ += again.calls;
    say(step, again.text);
}

void Player::steps(const Program& program) {
    for (std::size_t i = 0; i < program.size() && !lost_; i++) {
        const Step& step = program[i];
        number_++;
        if (step.op == Op::kPump) {
            pump(step);
        } else if (step.op == Op::kFill) {
            fill(step);
        } else if (step.waits && i + 1 < program.size() && program[i + 1].side != step.side &&
                   !program[i + 1].waits && program[i + 1].op != Op::kPump &&
                   program[i + 1].op != Op::kFill) {
            together(step, program[i + 1]);
            i++;
        } else {
            alone(step);
        }
    }
}

/* What each side has in the end; then the client closes everything, and what the server has after
 * that. */
void Player::finish() {
    const auto whole = [&](char side, Order::What what) {
        Order order;
        order.what = what;
        order.awaits = model_->awaits(side);
        order.amount = model_->waiting_at_lasting(side);
        const Result result = call(side, order);
        calls_ += result.calls;
        if (what == Order::What::kLook)
            model_->drained(side);
        else
            model_->close_all(side);
        std::fprintf(log_, "    %c %s%s\n", side, what == Order::What::kLook ? "has " : "closes ",
                     result.text.c_str());
    };
    whole('c', Order::What::kLook);
    whole('s', Order::What::kLook);
    whole('c', Order::What::kCloseAll);
    whole('s', Order::What::kLook);
    whole('s', Order::What::kCloseAll);
}

} // namespace xway::fuzz
