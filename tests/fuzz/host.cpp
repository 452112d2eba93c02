/* SPDX-License-Identifier: GPL-2.0 */
/* host.cpp - what is the same for all steps: handles, awaiting, children, the end of a program. */
#include "host.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <csignal>

namespace xway::fuzz {

using test::now_ms;

namespace {

volatile std::sig_atomic_t pipe_signals;

void on_pipe(int) {
    pipe_signals = pipe_signals + 1;
}

void on_alarm(int) {}

void set_timer(int ms) {
    const timeval time{ms / 1000, ms % 1000 * 1000};
    const itimerval timer{time, time};
    setitimer(ITIMER_REAL, &timer, nullptr);
}

/* A listener on a port that the kernel chooses; not listening: only bound. */
int bound_socket(int family, bool listens) {
    test::UniqueFd fd(SYS(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    const test::Address any = test::parse_address(family == AF_INET ? "0.0.0.0" : "::");
    SYS(::bind(fd.get(), any.get(), any.length));
    if (listens)
        SYS(::listen(fd.get(), 128));
    return fd.release();
}

} // namespace

void catch_signals() {
    struct sigaction action {};
    action.sa_handler = on_pipe;
    sigaction(SIGPIPE, &action, nullptr);
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, nullptr);
}

int take_pipe_signals() {
    const int count = pipe_signals;
    pipe_signals = 0;
    return count;
}

Interrupter::Interrupter(int ms) {
    set_timer(ms);
}

Interrupter::~Interrupter() {
    set_timer(0);
}

std::string value_text(long value) {
    return value < 0 ? test::errno_text(errno) : std::to_string(value);
}

Host::Host(char side, const test::Address& peer, Pace pace)
    : side_(side), peer_(peer), pace_(pace), nobody_(bound_socket(peer.family(), false)) {
    lasting_.fd = bound_socket(peer.family(), true);
    epolls_.fill(-1);
}

Host::~Host() {
    close_all(0);
    ::close(lasting_.fd);
}

int Host::lasting_port() const {
    return test::local_address(lasting_.fd).port();
}

Handle* Host::handle(long number) {
    if (number == kLasting)
        return &lasting_;
    if (number < 0 || number >= kHandles)
        return nullptr;
    Handle* h = &handles_[static_cast<std::size_t>(number)];
    return h->fd >= 0 ? h : nullptr;
}

int Host::fd(long number) {
    const Handle* h = handle(number);
    return h ? h->fd : -1;
}

Handle* Host::vacant(long number) {
    return number >= 0 && number < kHandles && !handle(number)
               ? &handles_[static_cast<std::size_t>(number)]
               : nullptr;
}

Result Host::say(long value) {
    Result result{value, 0, 0, false, value_text(value)};
    if (const int pipes = take_pipe_signals())
        result.text += " SIGPIPE" + (pipes > 1 ? "*" + std::to_string(pipes) : "");
    return result;
}

/* Looks busily at first: nearly all has come already, or comes at once. */
bool Host::await(const Await& what) {
    const int fd = this->fd(what.handle);
    const std::int64_t end = now_ms() + pace_.await_ms;
    int bytes = -1;
    for (int round = 0;; round++) {
        pollfd p{fd, POLLIN | POLLOUT | POLLRDHUP, 0};
        if (what.kind == Await::Kind::kBytes)
            ioctl(fd, FIONREAD, &bytes);
        else
            ::poll(&p, 1, 0);
        const auto has = [&](short events) { return (p.revents & events) != 0; };
        if ((what.kind == Await::Kind::kBytes && bytes >= 0 &&
             static_cast<std::uint64_t>(bytes) == what.amount) ||
            (what.kind == Await::Kind::kEnd && has(POLLRDHUP)) ||
            (what.kind == Await::Kind::kReset && has(POLLERR)) ||
            (what.kind == Await::Kind::kPending && has(POLLIN)) ||
            (what.kind == Await::Kind::kConnected && has(POLLOUT)))
            return true;
        if (round > 50 && now_ms() > end)
            return false;
        if (round < 20)
            sched_yield();
        else
            ::usleep(round < 100 ? 50 : 1000);
    }
}

Result Host::run(const Order& order, const std::function<void()>& will_block) {
    order_ = &order;
    calls_ = 0;
    Result result;
    for (const Await& what : order.awaits) {
        if (await(what))
            continue;
        result.lost = true;
        int bytes = -1;
        ioctl(fd(what.handle), FIONREAD, &bytes);
        result.text += "never came: " + what.text() + " (inq " + std::to_string(bytes) + "); ";
    }
    const bool at_the_end =
        order.what == Order::What::kLook || order.what == Order::What::kCloseAll;
    if (order.what == Order::What::kSettle || (result.lost && !at_the_end))
        return result;
    if (order.delay_ms > 0)
        ::usleep(static_cast<unsigned>(order.delay_ms) * 1000);
    take_pipe_signals();
    const std::string before = result.text;
    const bool lost = result.lost;
    if (order.what == Order::What::kReceive) {
        result = receive(order.step, order.amount);
    } else if (order.what == Order::What::kRefill) {
        result = refill(order.step);
    } else if (order.what == Order::What::kLook) {
        result = look();
    } else if (order.what == Order::What::kCloseAll) {
        result = close_all(order.amount);
    } else if (order.step.child) {
        result = in_child(order.step);
    } else if (Result instead; order.block && would_block(order.step, &instead)) {
        will_block();
        const Interrupter interrupter(pace_.await_ms);
        result = step(order.step);
    } else {
        const Handle* h = handle(order.step.h);
        const Interrupter interrupter(h && h->timed ? pace_.block_ms * 40 : pace_.block_ms);
        result = instead.text.empty() ? step(order.step) : instead;
    }
    result.text = before + result.text;
    result.lost = lost;
    result.calls = calls_;
    return result;
}

/* Is there nothing yet of what the step waits for? A look at an epoll set may be all that is to be
 * said. */
bool Host::would_block(const Step& step, Result* instead) {
    if (step.op == Op::kEwait) {
        Step now = step;
        now.a = 0;
        *instead = epoll_wait(now);
        return instead->value == 0;
    }
    if (step.op != Op::kPoll && step.op != Op::kRecv && step.op != Op::kAccept)
        return false;
    const Handle* h = handle(step.h);
    const auto events = static_cast<short>(step.op == Op::kPoll ? step.flags : POLLIN | POLLRDHUP);
    if (!h || test::poll_now(h->fd, events) != 0)
        return false;
    return step.op == Op::kPoll ||
           (!h->timed && !(fcntl(h->fd, F_GETFL) & O_NONBLOCK) && !(step.flags & MSG_DONTWAIT) &&
            test::get_option(h->fd, SOL_SOCKET, SO_RCVLOWAT) <= 1);
}

Result Host::in_child(const Step& step) {
    int ends[2];
    SYS(pipe2(ends, O_CLOEXEC));
    test::UniqueFd reading(ends[0]), writing(ends[1]);
    const pid_t pid = SYS(fork());
    if (pid == 0) {
        Step mine = step;
        mine.child = false;
        calls_ = 0;
        const Interrupter interrupter(pace_.block_ms);
        Result result = this->step(mine);
        result.calls = calls_;
        const std::string line = result.line();
        _exit(::write(writing.get(), line.data(), line.size()) < 0);
    }
    writing.reset();
    std::string line;
    char chunk[1024];
    for (;;) {
        const ssize_t got = ::read(reading.get(), chunk, sizeof chunk);
        if (got > 0)
            line.append(chunk, static_cast<std::size_t>(got));
        else if (got == 0 || errno != EINTR)
            break;
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0 || line.empty())
        return nothing("the child has died");
    Result result = Result::parse(line);
    calls_ += result.calls + 1;
    note(step, result);
    return result;
}

void Host::note(const Step& step, const Result& result) {
    const Handle* h = handle(step.h);
    if (!h || !h->stream || result.value < 0)
        return;
    if (step.op == Op::kSend || step.op == Op::kSendfile || step.op == Op::kSpliceTo ||
        step.op == Op::kMore || step.op == Op::kCork)
        h->stream->sent += static_cast<std::uint64_t>(result.value);
    if ((step.op == Op::kRecv && !(step.flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE))) ||
        step.op == Op::kSpliceOf || step.op == Op::kDrain)
        h->stream->taken += static_cast<std::uint64_t>(result.value);
}

Result Host::step(const Step& step) {
    calls_++;
    switch (step.op) {
    case Op::kSocket: return open(step);
    case Op::kBind: {
        const test::Address any = test::parse_address(peer_.family() == AF_INET ? "0.0.0.0" : "::");
        return say(::bind(fd(step.h), any.get(), any.length));
    }
    case Op::kListen: return listen(step);
    case Op::kConnect: return connect(step);
    case Op::kAccept: return accept(step);
    case Op::kClose: {
        Handle* h = step.h == kLasting ? nullptr : handle(step.h);
        const Result result = say(::close(h ? h->fd : -1));
        if (h)
            *h = Handle();
        return result;
    }
    case Op::kDup:
    case Op::kDup2: return dup(step);
    case Op::kShutdown: return say(::shutdown(fd(step.h), static_cast<int>(step.a)));
    case Op::kNonblock: {
        int on = step.a != 0;
        if (step.b != 0)
            return say(ioctl(fd(step.h), FIONBIO, &on));
        return say(fcntl(fd(step.h), F_SETFL, O_RDWR | (on ? O_NONBLOCK : 0)));
    }
    case Op::kSend: return send(step);
    case Op::kRecv: return recv(step);
    case Op::kSendfile: return sendfile(step);
    case Op::kSpliceTo: return splice_to(step);
    case Op::kSpliceOf: return splice_of(step);
    case Op::kMore:
    case Op::kCork: return more(step);
    case Op::kDrain: return drain(step);
    case Op::kPoll: return poll(step);
    case Op::kPollAll: return poll_all(step);
    case Op::kSelect: return select();
    case Op::kEpoll:
    case Op::kEadd:
    case Op::kEmod:
    case Op::kEdel:
    case Op::kEclose: return epoll_control(step);
    case Op::kEwait: return epoll_wait(step);
    case Op::kInq: return inq(step);
    case Op::kOutq: return outq(step);
    case Op::kMark: return say(sockatmark(fd(step.h)));
    case Op::kSetopt:
    case Op::kGetopt: return option(step);
    case Op::kSockname:
    case Op::kPeername: return name(step);
    case Op::kError: {
        int error = 0;
        socklen_t size = sizeof error;
        const Result result = say(getsockopt(fd(step.h), SOL_SOCKET, SO_ERROR, &error, &size));
        return result.value < 0 ? result : nothing(test::errno_text(error).c_str());
    }
    case Op::kPump: return pump(step);
    case Op::kFill: return fill(step);
    case Op::kPause: ::usleep(static_cast<unsigned>(step.a)); return nothing("paused");
    case Op::kOps: break;
    }
    return nothing("?");
}

Result Host::look() {
    Result result;
    for (long h = 0; h < kHandles; h++) {
        if (!handle(h))
            continue;
        Step step;
        step.h = h;
        step.flags = POLLIN | POLLOUT | POLLRDHUP | POLLPRI;
        result.text += std::to_string(h) + ": " + poll(step).text + ", " + drain(step).text;
        step.op = Op::kError;
        result.text += ", " + this->step(step).text + "; ";
        calls_ += 2;
    }
    return result;
}

Result Host::close_all(std::uint64_t waiting) {
    for (int& set : epolls_)
        if (set >= 0)
            ::close(std::exchange(set, -1));
    for (Handle& h : handles_) {
        if (h.fd < 0)
            continue;
        ::close(h.fd);
        calls_++;
        h = Handle();
    }
    Result result;
    for (; waiting > 0; waiting--) {
        const Interrupter interrupter(pace_.await_ms);
        const int fd = ::accept(lasting_.fd, nullptr, nullptr);
        result.text += fd >= 0 ? "left " : "not there ";
        calls_ += 2;
        if (fd >= 0)
            ::close(fd);
    }
    return result;
}

} // namespace xway::fuzz
