/* SPDX-License-Identifier: GPL-2.0 */
/* cases_killed.cpp - processes that end, stop or crash in the middle. */
#include <poll.h>
#include <signal.h>

#include "process.h"
#include "side.h"

using namespace xway::test;

TWO_SIDED(killed_while_sending, kPair | kCold | kMapped)
void killed_while_sending::client(Side& side) {
    Child sender([&] {
        StreamWriter out = side.out();
        for (;;)
            out.send(100000);
        return 0;
    });
    side.sock.reset();
    side.step("half a megabyte has come");
    sender.kill(SIGKILL);
    CHECK_EQ(sender.wait(), 128 + SIGKILL);
    side.step("killed");
}
void killed_while_sending::server(Side& side) {
    StreamReader in = side.in();
    in.receive(500000);
    side.step("half a megabyte has come");
    side.step("killed");
    /* A true prefix of the stream, then the end; nothing was unread there, so it is no reset. */
    CHECK_EQ(in.receive_to_end_or_reset(), 0);
}

TWO_SIDED(killed_while_receiving, kPair | kCold)
void killed_while_receiving::client(Side& side) {
    StreamWriter out = side.out();
    int error = 0;
    while (error == 0)
        if (out.send_some(100000) < 0)
            error = errno;
    CHECK(error == ECONNRESET || error == EPIPE);
    side.step("ended");
}
void killed_while_receiving::server(Side& side) {
    Child receiver([&] {
        StreamReader in = side.in();
        for (;;)
            in.receive(1000, 100);
        return 0;
    });
    side.sock.reset();
    side.settle(2);
    receiver.kill(SIGSTOP);
    side.settle(2);
    receiver.kill(SIGKILL);
    CHECK_EQ(receiver.wait(), 128 + SIGKILL);
    side.step("ended");
}

TWO_SIDED(exit_without_close, kPair | kCold)
void exit_without_close::client(Side& side) {
    Child sender([&] {
        side.out().send(70000);
        return 7;
    });
    side.sock.reset();
    CHECK_EQ(sender.wait(), 7);
}
void exit_without_close::server(Side& side) {
    StreamReader in = side.in();
    in.receive(70000);
    in.expect_end();
}

TWO_SIDED(stopped_process_goes_on, kPair)
void stopped_process_goes_on::client(Side& side) {
    side.out().send(4 << 20);
    side.in().receive(1);
}
void stopped_process_goes_on::server(Side& side) {
    Child receiver([&] {
        side.in().receive(4 << 20, 20000);
        return 0;
    });
    for (int i = 0; i < 5; i++) {
        receiver.kill(SIGSTOP);
        side.settle();
        receiver.kill(SIGCONT);
        sleep_ms(3);
    }
    CHECK_EQ(receiver.wait(), 0);
    side.out().send(1);
}

TWO_SIDED(crash_of_one_of_two_holders, kPair)
void crash_of_one_of_two_holders::client(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    out.send(1000);
    side.step("crashed");
    out.send(40000);
    in.receive(40000);
}
void crash_of_one_of_two_holders::server(Side& side) {
    StreamReader in = side.in();
    Child child([&] {
        side.in().receive(1000);
        raise(SIGKILL);
        return 0;
    });
    CHECK_EQ(child.wait(), 128 + SIGKILL);
    in.skip(1000);
    side.step("crashed");
    in.receive(40000);
    side.out().send(40000);
}
