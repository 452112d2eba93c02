/* SPDX-License-Identifier: GPL-2.0 */
/*
 * generate.cpp - a program from a number: steps that make sense for the most part, and some that do
 * not.
 *
 * The model follows along, with the results that are to be expected, so that connections get as far
 * as the interesting ends. Never more is left unread than both a TCP socket and a ring take without
 * waiting: how much of a send is taken is then the same everywhere.
 */
#include "generate.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <functional>
#include <random>

#include "model.h"

namespace xway::fuzz {

namespace {

constexpr long kMostUnread = 24000; /* bytes of one direction */
constexpr long kMostPumped = 400000;

class Generator {
public:
    explicit Generator(std::uint64_t seed) : random_(seed) {}
    Program program();

private:
    using Maker = void (Generator::*)();

    long upto(long most) { return static_cast<long>(random_() % static_cast<std::uint64_t>(most)); }
    bool chance(int percent) { return upto(100) < percent; }
    template <typename T>
    T one_of(std::initializer_list<T> list) {
        return *(list.begin() + upto(static_cast<long>(list.size())));
    }

    void add(Step step);
    [[nodiscard]] Result expected(const Step& step) const;
    Step make(Op op, long h = 0, long a = 0, long b = 0, unsigned flags = 0) {
        Step step;
        step.side = side_;
        step.op = op;
        step.h = h, step.a = a, step.b = b, step.flags = flags;
        return step;
    }
    Step made_by(char side, Step step) {
        step.side = side;
        return step;
    }

    long free_handle(char side);
    long any_handle();
    long connected();
    long bytes();
    unsigned send_flags();
    unsigned recv_flags();
    unsigned poll_flags();
    unsigned epoll_flags();
    Step sending(long h);
    Step receiving(long h);

    void open_connection();
    void warm(char side, long h, long other);
    void send_some();
    void recv_some();
    void drain();
    void move_file();
    void held();
    void bulk();
    void shut();
    void close_one();
    void reset_one();
    void look();
    void sets();
    void waiting();
    void options();
    void names();
    void duplicate();
    void listener();
    void refused();
    void pause();
    void nonsense();

    std::mt19937_64 random_;
    Model model_;
    Program out_;
    char side_ = 'c';
};

Result Generator::expected(const Step& step) const {
    Result result;
    const End* end = model_.end_at(step.side, step.h);
    const Object* object = model_.at(step.side, step.h);
    const bool receives = step.op == Op::kRecv || step.op == Op::kSpliceOf;
    switch (step.op) {
    case Op::kSend:
    case Op::kSendfile:
    case Op::kSpliceTo: result.value = end && !end->wr_shut && !end->reset ? step.a : -1; break;
    case Op::kMore:
    case Op::kCork:
        result.value = end && !end->wr_shut && !end->reset ? step.a + step.b : -1;
        break;
    case Op::kRecv:
    case Op::kSpliceOf:
    case Op::kDrain:
        result.value = end ? static_cast<long>(end->unread()) : -1;
        if (receives)
            result.value = std::min(result.value, step.a);
        break;
    case Op::kConnect:
        result.value =
            object && object->kind != Object::Kind::kEnd && model_.port_of(step) != 0 ? 0 : -1;
        if (object && object->nonblock) {
            result.value = -1;
            result.text = "EINPROGRESS";
        }
        break;
    case Op::kListen:
        result.value =
            object && (object->kind == Object::Kind::kFresh || object->kind == Object::Kind::kBound)
                ? 0
                : -1;
        result.port = 1;
        break;
    case Op::kAccept: result.value = object && !object->queue.empty() ? 1 : -1; break;
    default: break;
    }
    return result;
}

void Generator::add(Step step) {
    out_.push_back(step);
    if (step.op == Op::kPump || step.op == Op::kFill) {
        const long other = model_.other_handle(step.side, step.h);
        if (End* peer = other >= 0 ? model_.end_at(other_side(step.side), other) : nullptr)
            peer->consumed = peer->arrived;
        return;
    }
    model_.apply(step, expected(step));
}

long Generator::free_handle(char side) {
    for (long h = 0; h < kHandles; h++)
        if (!model_.at(side, h))
            return h;
    return -1;
}

long Generator::any_handle() {
    std::vector<long> list;
    for (long h = 0; h < kHandles; h++)
        if (model_.at(side_, h))
            list.push_back(h);
    return list.empty() || chance(2)
               ? upto(kHandles)
               : list[static_cast<std::size_t>(upto(static_cast<long>(list.size())))];
}

/* A handle with a connection behind it, or any. */
long Generator::connected() {
    std::vector<long> list;
    for (long h = 0; h < kHandles; h++)
        if (const End* end = model_.end_at(side_, h); end && (!end->reset || chance(30)))
            list.push_back(h);
    return list.empty() ? any_handle()
                        : list[static_cast<std::size_t>(upto(static_cast<long>(list.size())))];
}

long Generator::bytes() {
    const long kind = upto(100);
    return kind < 4    ? 0
           : kind < 50 ? 1 + upto(40)
           : kind < 75 ? 1 + upto(1000)
           : kind < 93 ? 1 + upto(8000)
                       : 1 + upto(20000);
}

unsigned Generator::send_flags() {
    unsigned flags = 0;
    if (chance(25))
        flags |= MSG_DONTWAIT;
    if (chance(25))
        flags |= MSG_NOSIGNAL;
    if (chance(3))
        flags |= MSG_EOR;
    if (chance(2))
        flags |= MSG_DONTROUTE;
    return flags;
}

unsigned Generator::recv_flags() {
    unsigned flags = 0;
    if (chance(40))
        flags |= MSG_DONTWAIT;
    if (chance(15))
        flags |= MSG_PEEK;
    if (chance(8))
        flags |= MSG_WAITALL;
    if (chance(5))
        flags |= MSG_TRUNC;
    if (chance(2))
        flags |= MSG_ERRQUEUE;
    return flags;
}

unsigned Generator::poll_flags() {
    unsigned flags = 0;
    for (const int bit : {POLLIN, POLLIN, POLLOUT, POLLRDHUP, POLLPRI, POLLRDNORM, POLLWRNORM})
        if (chance(45))
            flags |= static_cast<unsigned>(bit);
    return flags;
}

unsigned Generator::epoll_flags() {
    unsigned flags = 0;
    if (chance(85))
        flags |= EPOLLIN;
    if (chance(35))
        flags |= EPOLLOUT;
    if (chance(40))
        flags |= EPOLLRDHUP;
    if (chance(5))
        flags |= EPOLLPRI;
    if (chance(5))
        flags |= EPOLLRDNORM | EPOLLWRNORM;
    if (chance(40))
        flags |= EPOLLET;
    if (chance(15))
        flags |= EPOLLONESHOT;
    return flags;
}

Step Generator::sending(long h) {
    const End* end = model_.end_at(side_, h);
    const auto peer = end ? end->peer.lock() : nullptr;
    const long room = kMostUnread - (peer ? static_cast<long>(peer->unread()) : 0);
    const long way = chance(50) ? 0 : upto(6);
    const unsigned flags = way == 2 || way == 3 ? 0 : send_flags();
    return make(Op::kSend, h, std::clamp(bytes(), 0l, std::max(room, 0l)), way, flags);
}

Step Generator::receiving(long h) {
    const End* end = model_.end_at(side_, h);
    const auto unread = end ? static_cast<long>(end->unread()) : 0;
    const long way = chance(40) ? 0 : upto(6);
    unsigned flags = way == 2 || way == 3 ? 0 : recv_flags();
    const Object* object = model_.at(side_, h);
    /* A call that must be interrupted takes time. */
    if (unread == 0 && end && !end->fin && !end->reset && object && !object->nonblock && chance(85))
        return make(Op::kRecv, h, bytes(), 0, flags | MSG_DONTWAIT);
    if (flags & MSG_WAITALL && chance(85))
        flags |= MSG_DONTWAIT;
    const long size = chance(30)   ? unread
                      : chance(30) ? std::max(unread - 1 - upto(20), 1l)
                                   : bytes();
    return make(Op::kRecv, h, size, way, flags);
}

void Generator::warm(char side, long h, long other) {
    const char there = other_side(side);
    const long rounds = 2 + upto(4);
    for (long i = 0; i < rounds; i++) {
        const long size = chance(70) ? 24 : 1 + upto(3000);
        add(made_by(side, make(Op::kSend, h, size)));
        add(made_by(there, make(Op::kRecv, other, size)));
        add(made_by(there, make(Op::kSend, other, size)));
        add(made_by(side, make(Op::kRecv, h, size)));
        if (i == 1 || chance(20))
            add(made_by('c', make(Op::kPause, 0, 300 + upto(1200))));
    }
}

void Generator::open_connection() {
    const char there = other_side(side_);
    const long h = free_handle(side_), other = free_handle(there);
    if (h < 0 || other < 0)
        return;
    const bool nonblock = chance(30);
    add(make(Op::kSocket, h, 0, nonblock));
    if (chance(8))
        options();
    if (chance(5))
        add(make(Op::kBind, h));
    long target = kLasting;
    for (long at = 0; at < kHandles; at++)
        if (const Object* o = model_.at(there, at);
            o && o->kind == Object::Kind::kListening && o->queue.size() < 6 && chance(50))
            target = at;
    const Step connecting = make(Op::kConnect, h, target);
    Step accepting = made_by(there, make(Op::kAccept, target, other, chance(30) ? 1 + upto(2) : 0));
    if (accepting.b == 2 && chance(80))
        accepting.b = 0;
    if (chance(15) && model_.waiting_at_lasting(there) == 0) {
        accepting.waits = true;
        out_.push_back(accepting);
        add(connecting);
        model_.apply(accepting, expected(accepting));
    } else {
        add(connecting);
        if (chance(7))
            return; /* not accepted yet, or never */
        if (chance(15))
            add(sending(h));
        add(accepting);
    }
    const long accepted = model_.other_handle(side_, h);
    if (nonblock && chance(80))
        add(make(Op::kConnect, h, target));
    if (accepted < 0)
        return;
    if (chance(93)) {
        add(make(Op::kSetopt, h, 0, 1));
        add(made_by(there, make(Op::kSetopt, accepted, 0, 1)));
    }
    if (chance(70) && model_.end_at(there, accepted)->unread() == 0)
        warm(side_, h, accepted);
}

void Generator::send_some() {
    Step step = sending(connected());
    step.child = chance(3);
    add(step);
}

void Generator::recv_some() {
    Step step = receiving(connected());
    step.child = chance(3);
    add(step);
}

void Generator::drain() {
    add(make(Op::kDrain, connected()));
}

void Generator::move_file() {
    const long h = connected();
    const Op op = one_of({Op::kSendfile, Op::kSpliceTo, Op::kSpliceOf});
    const Step like = sending(h);
    add(make(op, h, op == Op::kSpliceOf ? 1 + bytes() : std::max(like.a, 1l)));
}

void Generator::held() {
    const long h = connected();
    const Step one = sending(h);
    add(make(chance(50) ? Op::kMore : Op::kCork, h, 1 + one.a / 3, 1 + one.a / 3));
}

void Generator::bulk() {
    const long h = connected();
    if (chance(90))
        add(make(Op::kPump, h, 1 + upto(chance(20) ? kMostPumped : 60000), upto(1000)));
    else
        add(make(Op::kFill, h, 0, upto(1000)));
}

void Generator::shut() {
    Step step =
        make(Op::kShutdown, connected(), one_of<long>({SHUT_WR, SHUT_WR, SHUT_RD, SHUT_RDWR}));
    step.child = chance(5);
    add(step);
}

void Generator::close_one() {
    Step step = make(Op::kClose, chance(80) ? connected() : any_handle());
    step.child = chance(6);
    add(step);
}

void Generator::reset_one() {
    const long h = connected();
    add(make(Op::kSetopt, h, 5, 0));
    if (chance(80))
        add(make(Op::kClose, h));
}

void Generator::look() {
    const long kind = upto(100);
    if (kind < 50)
        add(make(Op::kPoll, any_handle(), 0, 0, poll_flags()));
    else if (kind < 70)
        add(make(Op::kPollAll, 0, 0, 0, poll_flags()));
    else if (kind < 85)
        add(make(Op::kSelect));
    else
        add(make(Op::kInq, any_handle()));
    if (out_.back().op == Op::kPoll && chance(3))
        out_.back().child = true;
}

void Generator::sets() {
    const long set = upto(kEpolls), kind = upto(100);
    if (kind < 4)
        add(make(Op::kEclose, set));
    else if (kind < 12)
        add(make(Op::kEpoll, set));
    else if (kind < 35)
        add(make(Op::kEadd, set, any_handle(), 0, epoll_flags()));
    else if (kind < 45)
        add(make(Op::kEmod, set, any_handle(), 0, epoll_flags()));
    else if (kind < 50)
        add(make(Op::kEdel, set, any_handle()));
    else
        add(make(Op::kEwait, set));
}

/* One side waits, the other does what it waits for; perhaps. */
void Generator::waiting() {
    const long h = connected(), other = model_.other_handle(side_, h);
    const End* end = model_.end_at(side_, h);
    if (other < 0 || !end || end->unread() > 0 || end->fin || end->reset)
        return;
    Step first = chance(40)   ? make(Op::kEwait, upto(kEpolls), 1000)
                 : chance(50) ? make(Op::kPoll, h, 1000, 0, POLLIN | poll_flags() % 2)
                              : make(Op::kRecv, h, 1 + bytes(), upto(6));
    first.waits = true;
    if (first.op == Op::kEwait && chance(50))
        add(make(Op::kEadd, first.h, h, 0, EPOLLIN | (chance(50) ? EPOLLET : 0u)));
    side_ = other_side(side_);
    const long kind = upto(100);
    Step second = kind < 75   ? make(Op::kSend, other, 1 + upto(600), upto(6))
                  : kind < 85 ? make(Op::kShutdown, other, SHUT_WR)
                              : make(Op::kClose, other);
    out_.push_back(first);
    add(second);
    model_.apply(first, expected(first));
}

void Generator::options() {
    const auto count = static_cast<long>(options_table().size());
    const long index = upto(count);
    const Option& option = options_table()[static_cast<std::size_t>(index)];
    if (option.values.empty() || chance(40)) {
        add(make(Op::kGetopt, any_handle(), index));
        return;
    }
    const auto values = static_cast<long>(option.values.size());
    add(make(Op::kSetopt, any_handle(), index,
             option.values[static_cast<std::size_t>(upto(values))]));
}

void Generator::names() {
    add(make(one_of({Op::kSockname, Op::kPeername, Op::kError, Op::kError, Op::kMark}),
             any_handle()));
}

void Generator::duplicate() {
    const long kind = upto(100);
    if (kind < 50)
        add(make(Op::kDup, any_handle(), std::max(free_handle(side_), 0l)));
    else if (kind < 60)
        add(make(Op::kDup2, any_handle(), any_handle()));
    else
        add(make(Op::kNonblock, any_handle(), upto(2), upto(2)));
}

void Generator::listener() {
    const long h = free_handle(side_);
    if (h < 0)
        return;
    add(make(Op::kSocket, h, 0, chance(30)));
    if (chance(70))
        add(make(Op::kBind, h));
    add(make(Op::kListen, h, 16));
}

void Generator::refused() {
    const long h = chance(50) ? any_handle() : free_handle(side_);
    if (h < 0)
        return;
    if (!model_.at(side_, h))
        add(make(Op::kSocket, h, 0, chance(40)));
    add(make(Op::kConnect, h, one_of<long>({kNobody, kNobody, kLasting, upto(kHandles)})));
    if (chance(50))
        add(make(Op::kConnect, h, kLasting));
}

void Generator::pause() {
    add(make(Op::kPause, 0, 200 + upto(1500)));
}

/* Any op on any handle. */
void Generator::nonsense() {
    const Op op = static_cast<Op>(upto(static_cast<long>(Op::kOps)));
    if (op == Op::kPump || op == Op::kFill || op == Op::kOutq || op == Op::kPause ||
        op == Op::kSend || op == Op::kSendfile || op == Op::kSpliceTo || op == Op::kSetopt ||
        op == Op::kGetopt || op == Op::kMore || op == Op::kCork || op == Op::kListen ||
        op == Op::kSpliceOf || op == Op::kEwait)
        return;
    Step step = make(op, upto(kHandles), op == Op::kPoll ? 0 : upto(3));
    if (op == Op::kRecv)
        step.a = upto(100);
    add(step);
}

Program Generator::program() {
    struct Choice {
        int weight;
        Maker maker;
    };
    static constexpr Choice kChoices[] = {{5, &Generator::open_connection},
                                          {22, &Generator::send_some},
                                          {18, &Generator::recv_some},
                                          {4, &Generator::drain},
                                          {4, &Generator::move_file},
                                          {3, &Generator::held},
                                          {2, &Generator::bulk},
                                          {3, &Generator::shut},
                                          {3, &Generator::close_one},
                                          {1, &Generator::reset_one},
                                          {12, &Generator::look},
                                          {14, &Generator::sets},
                                          {6, &Generator::waiting},
                                          {4, &Generator::options},
                                          {4, &Generator::names},
                                          {3, &Generator::duplicate},
                                          {1, &Generator::listener},
                                          {1, &Generator::refused},
                                          {2, &Generator::pause},
                                          {2, &Generator::nonsense}};
    int total = 0;
    for (const Choice& choice : kChoices)
        total += choice.weight;

    const std::size_t length = 30 + static_cast<std::size_t>(upto(120));
    for (const char side : {'c', 's'})
        for (long set = 0; set < kEpolls; set++)
            if (chance(60))
                add(made_by(side, make(Op::kEpoll, set)));
    for (long connections = 1 + upto(3); connections > 0; connections--) {
        side_ = chance(70) ? 'c' : 's';
        open_connection();
    }
    while (out_.size() < length) {
        if (chance(30))
            side_ = other_side(side_);
        int at = static_cast<int>(upto(total));
        for (const Choice& choice : kChoices) {
            at -= choice.weight;
            if (at < 0) {
                (this->*choice.maker)();
                break;
            }
        }
    }
    return out_;
}

} // namespace

Program generate(std::uint64_t seed) {
    return Generator(seed).program();
}

} // namespace xway::fuzz
