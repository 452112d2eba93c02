// SPDX-License-Identifier: GPL-2.0-or-later
//
// control.cpp - accept, one line in, one text out.
#include "control.h"

#include <algorithm>
#include <cstdlib>

#include <event2/buffer.h>
#include <sys/socket.h>

namespace xway {

namespace {

constexpr std::size_t kSessionsMax = 64; // the oldest makes room
constexpr std::size_t kRequestMax = 64;
constexpr timeval kPatience{5, 0}; // with who neither asks nor reads

} // namespace

Control::Control(Loop& loop, UniqueFd listener, Answer answer)
    : loop_(loop),
      listener_(std::move(listener)),
      answer_(std::move(answer)),
      connection_(loop.make(listener_.get(), EV_READ | EV_PERSIST, on_connection, this)) {
    event_add(connection_.get(), nullptr);
}

void Control::on_connection(int fd, short, void* self) {
    UniqueFd connection(accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (connection)
        static_cast<Control*>(self)->begin(std::move(connection));
}

void Control::begin(UniqueFd connection) {
    ucred credentials{};
    socklen_t size = sizeof(credentials);
    if (getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
        return;
    if (sessions_.size() >= kSessionsMax)
        sessions_.pop_front();
    Session& session =
        sessions_.emplace_back(Session{*this, credentials.uid, std::move(connection), nullptr});
    session.buffer.reset(bufferevent_socket_new(loop_.base(), session.connection.get(), 0));
    bufferevent_setcb(session.buffer.get(), on_request, on_sent, on_trouble, &session);
    bufferevent_set_timeouts(session.buffer.get(), &kPatience, &kPatience);
    bufferevent_enable(session.buffer.get(), EV_READ);
}

void Control::end(const Session* session) {
    sessions_.remove_if([&](const Session& known) { return &known == session; });
}

void Control::on_request(bufferevent* buffer, void* argument) {
    auto* session = static_cast<Session*>(argument);
    evbuffer* input = bufferevent_get_input(buffer);
    std::size_t length = 0;
    const std::unique_ptr<char, decltype(&std::free)> line(
        evbuffer_readln(input, &length, EVBUFFER_EOL_LF), std::free);
    if (!line) {
        if (evbuffer_get_length(input) > kRequestMax)
            session->control.end(session);
        return;
    }
    bufferevent_disable(buffer, EV_READ);
    const std::string text = session->control.answer_({line.get(), length}, session->asker)
                                 .value_or("error: there is no such request\n");
    // on_sent() comes when all of it has gone; for an empty answer it never would.
    if (text.empty())
        return session->control.end(session);
    bufferevent_write(buffer, text.data(), text.size());
}

void Control::on_sent(bufferevent* buffer, void* argument) {
    auto* session = static_cast<Session*>(argument);
    if (evbuffer_get_length(bufferevent_get_output(buffer)) == 0)
        session->control.end(session);
}

void Control::on_trouble(bufferevent*, short, void* argument) {
    auto* session = static_cast<Session*>(argument);
    session->control.end(session);
}

} // namespace xway
