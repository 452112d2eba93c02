// SPDX-License-Identifier: GPL-2.0-or-later
//
// control.h - the socket of the tools: one line is asked, the answer goes on until end of file.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <event2/bufferevent.h>
#include <sys/types.h>

#include "loop.h"
#include "unique_fd.h"

namespace xway {

class Control {
public:
    // Nothing: there is no such request.
    using Answer = std::function<std::optional<std::string>(std::string_view request, uid_t asker)>;

    Control(Loop& loop, UniqueFd listener, Answer answer);
    Control(const Control&) = delete;
    Control& operator=(const Control&) = delete;
    ~Control() = default;

private:
    struct FreeBuffer {
        void operator()(bufferevent* buffer) const { bufferevent_free(buffer); }
    };
    struct Session {
        Control& control;
        uid_t asker;
        UniqueFd connection; // outlives the buffer
        std::unique_ptr<bufferevent, FreeBuffer> buffer;
    };

    void begin(UniqueFd connection);
    void end(const Session* session);

    static void on_connection(int fd, short what, void* self);
    static void on_request(bufferevent* buffer, void* session);
    static void on_sent(bufferevent* buffer, void* session);
    static void on_trouble(bufferevent* buffer, short what, void* session);

    Loop& loop_;
    const UniqueFd listener_;
    const Answer answer_;
    std::list<Session> sessions_; // the oldest first
    Event connection_;
};

} // namespace xway
