/* SPDX-License-Identifier: GPL-2.0 */
/* session.cpp - one run of one case. */
#include "session.h"

#include <signal.h>

#include <sstream>

namespace xway::test {

std::string Request::line() const {
    std::ostringstream out;
    out << "case " << name << " " << variant.name() << " " << pace.scale << " "
        << pace.timeout.count() << " " << pace.warm.count();
    return out.str();
}

Request Request::parse(const std::string& line) {
    std::istringstream in(line);
    std::string word, variant;
    long timeout = 0, warm = 0;
    Request r;
    if (!(in >> word >> r.name >> variant >> r.pace.scale >> timeout >> warm) || word != "case")
        throw Failure("bad request: " + line);
    r.variant = Variant::parse(variant);
    r.pace.timeout = milliseconds(timeout);
    r.pace.warm = milliseconds(warm);
    return r;
}

Outcome run_side(Control& control, const Case& test, const Request& request, bool connector,
                 const Address& peer) {
    signal(SIGPIPE, SIG_IGN);
    int words_ms = static_cast<int>(500 * request.pace.scale);
    const char* other = connector ? "server: " : "client: ";
    auto report = [&](char kind, const std::string& reason) {
        try {
            control.send_line(std::string(1, kind) + " " + reason);
        } catch (const Failure&) {
            /* Nobody is left to hear it. */
        }
    };
    try {
        Side side(control, test, request.variant, request.pace, connector, peer);
        if (test.flags & kPair)
            side.make_pair();
        if (side.client)
            test.client(side);
        else
            test.server(side);
        control.send_line("D");
        control.read_kind('D');
        return {Outcome::Kind::kOk, ""};
    } catch (const Skip& e) {
        report('K', e.what());
        return {Outcome::Kind::kSkipped, e.what()};
    } catch (const PeerFailure& e) {
        return {Outcome::Kind::kFailed, other + std::string(e.what())};
    } catch (const std::exception& e) {
        std::string reason = std::string(e.what()) + " (after step '" + control.last_step() + "')";
        report('F', reason);
        std::string theirs = control.last_words(words_ms);
        return {Outcome::Kind::kFailed, theirs.empty() ? reason : reason + "; " + other + theirs};
    }
}

UniqueFd connect_control(const Address& to, int wait_ms) {
    std::int64_t end = now_ms() + wait_ms;
    for (;;) {
        UniqueFd fd(SYS(::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)));
        if (::connect(fd.get(), to.get(), to.length) == 0)
            return fd;
        if (now_ms() > end)
            throw Failure("control port " + to.text() + ": " + errno_text(errno));
        sleep_ms(200);
    }
}

} // namespace xway::test
