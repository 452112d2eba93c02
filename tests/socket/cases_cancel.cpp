/* SPDX-License-Identifier: GPL-2.0 */
/* cases_cancel.cpp - threads whose socket is closed, replaced, shut, or who are cancelled in a
 * call. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include <atomic>
#include <functional>
#include <thread>

#include "mirror.h"
#include "signals.h"

using namespace xway::test;

namespace {

/* A thread that runs one call, which may be cancelled in it. */
class Worker {
public:
    explicit Worker(std::function<ssize_t()> call) : call_(std::move(call)) {
        CHECK_EQ(pthread_create(&thread_, nullptr, &run, this), 0);
    }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    ~Worker() {
        if (!joined_) {
            pthread_cancel(thread_);
            pthread_join(thread_, nullptr);
        }
    }

    void cancel() { CHECK_EQ(pthread_cancel(thread_), 0); }
    void kill(int signal) { CHECK_EQ(pthread_kill(thread_, signal), 0); }
    /* True: it was cancelled; else result() and error() say how the call ended. */
    bool join() {
        void* status = nullptr;
        CHECK_EQ(pthread_join(thread_, &status), 0);
        joined_ = true;
        return status == PTHREAD_CANCELED;
    }
    [[nodiscard]] ssize_t result() const { return result_; }
    [[nodiscard]] int error() const { return error_; }

private:
    static void* run(void* self) {
        auto* worker = static_cast<Worker*>(self);
        worker->result_ = worker->call_();
        worker->error_ = errno;
        return nullptr;
    }

    std::function<ssize_t()> call_;
    pthread_t thread_{};
    bool joined_ = false;
    ssize_t result_ = 0;
    int error_ = 0;
};

/* Cancels a thread in `call`, which must not have ended by itself. */
void cancel_in(Side& side, const std::function<ssize_t()>& call) {
    Worker worker(call);
    side.settle();
    worker.cancel();
    if (!worker.join())
        FAIL("not cancelled: " + std::to_string(worker.result()) + ", " +
             errno_text(worker.error()));
}

} // namespace

TWO_SIDED(cancelled_in_every_call, kPair | kCold)
void cancelled_in_every_call::client(Side& side) {
    const int fd = side.sock.get();
    char bytes[100];
    Mirrored talk(side);
    talk.round();
    cancel_in(side, [&] { return recv(fd, bytes, sizeof bytes, 0); });
    talk.round();
    cancel_in(side, [&] { return read(fd, bytes, sizeof bytes); });
    cancel_in(side, [&] { return recv(fd, bytes, sizeof bytes, MSG_PEEK | MSG_WAITALL); });
    talk.round();
    cancel_in(side, [&] {
        pollfd p{fd, POLLIN, 0};
        return ::poll(&p, 1, -1);
    });
    cancel_in(side, [&] {
        fd_set in;
        FD_ZERO(&in);
        FD_SET(fd, &in);
        return ::select(fd + 1, &in, nullptr, nullptr, nullptr);
    });
    UniqueFd epoll(SYS(epoll_create1(0)));
    epoll_event e{};
    e.events = EPOLLIN;
    SYS(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &e));
    talk.round();
    cancel_in(side, [&] { return epoll_wait(epoll.get(), &e, 1, -1); });
    UniqueFd listener = side.listen();
    cancel_in(side, [&] { return accept(listener.get(), nullptr, nullptr); });
    for (int i = 0; i < 5; i++)
        talk.round();
    talk.end();
}
void cancelled_in_every_call::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(cancelled_in_a_full_send, kPair | kCold)
void cancelled_in_a_full_send::client(Side& side) {
    const int fd = side.sock.get();
    StreamWriter out = side.out();
    while (out.fill() > 0) /* TCP finds room for a little more now and then */
        side.settle();
    cancel_in(side, [&] { return send(fd, "x", 1, 0); });
    side.tell_number(static_cast<long long>(out.position()));
    out.send(100000);
    side.in().receive(1);
}
void cancelled_in_a_full_send::server(Side& side) {
    /* What did not go when its thread was cancelled does not go later. */
    side.in().receive(static_cast<std::size_t>(side.hear_number()) + 100000);
    side.out().send(1);
}

TWO_SIDED(dup2_over_a_reader, kPair | kCold)
void dup2_over_a_reader::client(Side& side) {
    /* As Java closes a socket in which another thread waits: something else takes its number, then
     * a signal ends the call. */
    const int fd = side.sock.get();
    char byte = 0;
    {
        Mirrored talk(side);
        talk.round();
    }
    int ends[2];
    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    UniqueFd marker(ends[0]);
    close(ends[1]);
    count_signal(SIGUSR1, 0);
    Worker reader([&] { return recv(fd, &byte, 1, 0); });
    side.settle();
    SYS(dup2(marker.get(), fd));
    std::atomic<bool> ended = false;
    std::thread wakes([&] {
        while (!ended) {
            reader.kill(SIGUSR1);
            sleep_ms(20);
        }
    });
    const bool cancelled = [&] {
        /* The thread may be signalled until it is joined. */
        side.settle(4);
        ended = true;
        wakes.join();
        return reader.join();
    }();
    /* Where the socket is not the kernel's alone, the call may see that it has ended. */
    CHECK(!cancelled && reader.result() <= 0);
    CHECK(reader.result() == 0 || reader.error() == EINTR || reader.error() == EBADF);
    CHECK_EQ(recv(fd, &byte, 1, 0), 0); /* the marker's end */
    side.step("replaced");
}
void dup2_over_a_reader::server(Side& side) {
    mirror(side.sock.get()); /* it ends with the last descriptor */
    side.step("replaced");
}

TWO_SIDED(closed_under_a_reader, kPair | kCold)
void closed_under_a_reader::client(Side& side) {
    StreamReader in = side.in();
    std::vector<std::byte> bytes(100);
    in.receive(50);
    const int fd = side.sock.get();
    Worker reader([&] { return recv(fd, bytes.data(), bytes.size(), 0); });
    side.settle();
    side.sock.reset();
    side.step("closed");
    /* The call goes on until there is something for it; what is not taken is a reset. */
    CHECK(!reader.join());
    if (reader.result() > 0)
        in.accept(std::span(bytes).first(static_cast<std::size_t>(reader.result())));
    side.step("seen");
}
void closed_under_a_reader::server(Side& side) {
    StreamWriter out = side.out();
    out.send(50);
    side.step("closed");
    out.send_some(100);
    side.step("seen");
    const int error = side.in().receive_to_end_or_reset();
    CHECK(error == 0 || error == ECONNRESET);
}

TWO_SIDED(closed_under_a_poller, kPair)
void closed_under_a_poller::client(Side& side) {
    Mirrored talk(side);
    talk.round();
    const int fd = side.sock.get();
    Worker poller([&] {
        pollfd p{fd, POLLIN, 0};
        return ::poll(&p, 1, side.patience_ms());
    });
    side.settle();
    UniqueFd copy(SYS(dup(fd)));
    side.sock.reset();
    /* It waits for what was there when it began. */
    Mirrored other(side, copy.get());
    other.out().advance(talk.out().position());
    other.out().send(100);
    CHECK(!poller.join());
    CHECK_EQ(poller.result(), 1);
    other.back().skip(talk.back().position());
    other.back().receive(100);
    other.end();
}
void closed_under_a_poller::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(shutdown_ends_every_wait, kPair | kCold)
void shutdown_ends_every_wait::client(Side& side) {
    Mirrored talk(side);
    talk.round();
    const int fd = side.sock.get();
    char byte = 0;
    UniqueFd epoll(SYS(epoll_create1(0)));
    epoll_event e{}, seen{};
    e.events = EPOLLIN;
    SYS(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &e));
    Worker reader([&] { return recv(fd, &byte, 1, 0); });
    Worker poller([&] {
        pollfd p{fd, POLLIN, 0};
        return ::poll(&p, 1, side.patience_ms());
    });
    Worker waiter([&] { return epoll_wait(epoll.get(), &seen, 1, side.patience_ms()); });
    side.settle();
    SYS(shutdown(fd, SHUT_RDWR));
    CHECK(!reader.join() && !poller.join() && !waiter.join());
    CHECK_EQ(reader.result(), 0);
    CHECK_EQ(poller.result(), 1);
    CHECK_EQ(waiter.result(), 1);
    CHECK(seen.events & EPOLLIN);
}
void shutdown_ends_every_wait::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(threads_come_and_go, kPair)
void threads_come_and_go::client(Side& side) {
    /* Each of many threads waits once, by each way: what they leave behind must not add up. */
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round();
    const UniqueFd before(SYS(dup(0)));
    for (int i = 0; i < 60; i++) {
        Worker worker([&] {
            pollfd p{fd, POLLIN, 0};
            return ::poll(&p, 1, side.patience_ms());
        });
        talk.out().send(10);
        CHECK(!worker.join());
        CHECK_EQ(worker.result(), 1);
        talk.back().receive(10);
    }
    const UniqueFd after(SYS(dup(0)));
    CHECK(after.get() < before.get() + 10);
    talk.end();
}
void threads_come_and_go::server(Side& side) {
    mirror(side.sock.get());
}
