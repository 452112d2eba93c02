/* SPDX-License-Identifier: GPL-2.0 */
/* control.cpp - lines over the control connection. */
#include "control.h"

#include <poll.h>
#include <sys/socket.h>

#include "check.h"

namespace xway::test {

void Control::send_line(std::string_view line) {
    std::string text(line);
    for (char& c : text)
        if (c == '\n')
            c = ' ';
    text += '\n';
    for (std::size_t done = 0; done < text.size();) {
        ssize_t n = ::send(fd_.get(), text.data() + done, text.size() - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            throw Failure("control connection: send: " + errno_text(errno));
        done += static_cast<std::size_t>(n);
    }
}

std::string Control::read_line() {
    for (;;) {
        if (auto end = buffer_.find('\n'); end != buffer_.npos) {
            std::string line = buffer_.substr(0, end);
            buffer_.erase(0, end + 1);
            return line;
        }
        char chunk[512];
        ssize_t n = ::recv(fd_.get(), chunk, sizeof chunk, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            throw Failure("control connection: recv: " + errno_text(errno) + " after step '" +
                          last_step_ + "'");
        if (n == 0)
            throw Failure("control connection closed after step '" + last_step_ + "'");
        buffer_.append(chunk, static_cast<std::size_t>(n));
    }
}

std::string Control::read_kind(char kind) {
    std::string line = read_line();
    char got = line.empty() ? '?' : line[0];
    std::string rest = line.size() > 2 ? line.substr(2) : "";
    if (got == kind)
        return rest;
    if (got == 'F')
        throw PeerFailure(rest);
    if (got == 'K')
        throw Skip(rest);
    throw Failure("out of step: the other side says '" + line + "' after step '" + last_step_ +
                  "'");
}

void Control::step(std::string_view name) {
    send_line("S " + std::string(name));
    std::string theirs = read_kind('S');
    if (theirs != name)
        throw Failure("out of step: '" + std::string(name) + "' here, '" + theirs + "' there");
    last_step_ = name;
}

std::string Control::last_words(int timeout_ms) {
    try {
        for (;;) {
            pollfd p{fd_.get(), POLLIN, 0};
            if (buffer_.find('\n') == buffer_.npos && ::poll(&p, 1, timeout_ms) <= 0)
                return "";
            std::string line = read_line();
            if (line.starts_with("F "))
                return line.substr(2);
            if (line.starts_with("D"))
                return "";
        }
    } catch (const Failure&) {
        return "";
    }
}

} // namespace xway::test
