/* SPDX-License-Identifier: GPL-2.0 */
/*
 * remote.h - the server: a host at the other end of a control connection.
 *
 * The client sends an order a line and gets a result a line; before that the line "B", if the step
 * may block and is about to. The control connection stays on TCP: it is not what is tested.
 */
#pragma once

#include "../socket/control.h"
#include "host.h"

namespace xway::fuzz {

/* The server as the client has it. All throw test::Failure when the server is lost. */
class Remote {
public:
    Remote(const test::Address& server, Pace pace, int wait_ms);

    void begin(const Order& order) { control_.send_line(order.line()); }
    /* The result; calls `will_block` if the server says that it is about to block. */
    Result finish(const std::function<void()>& will_block = [] {});
    /* The same for a program whose sides run freely; see free.h. */
    test::Control& control() { return control_; }

    /* Where the server's lasting listener is. */
    [[nodiscard]] int lasting_port() const { return lasting_port_; }
    /* The client's address, as the server sees it; without a port. */
    [[nodiscard]] test::Address own_address() const;

private:
    test::Control control_;
    int lasting_port_ = 0;
};

/* Serves until it is killed: a process a control connection. */
[[noreturn]] void serve(std::uint16_t control_port);

/* Keeps a control connection off xway's rings. */
void keep_on_tcp(int fd);

} // namespace xway::fuzz
