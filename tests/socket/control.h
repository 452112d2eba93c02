/* SPDX-License-Identifier: GPL-2.0 */
/*
 * control.h - the line that keeps the two sides of a case in step.
 *
 * An ordinary TCP connection beside the one under test. It carries short lines, each way at most
 * one outstanding: `S name` (I have reached this step), `T text` (a value for you), `D` (my
 * function is done), `F reason` (it failed), `K reason` (what it tests is missing here).
 */
#pragma once

#include <string>
#include <string_view>

#include "fd.h"

namespace xway::test {

class Control {
public:
    explicit Control(UniqueFd fd) : fd_(std::move(fd)) {}

    void send_line(std::string_view line);
    /* The next line, whatever it is. Throws Failure when the connection ends. */
    std::string read_line();
    /* The next line as a step, value or end; throws what the other side reported instead. */
    std::string read_kind(char kind);

    /* Both sides call it with the same name; neither goes on before the other has come. */
    void step(std::string_view name);
    void tell(std::string_view text) { send_line("T " + std::string(text)); }
    std::string hear() { return read_kind('T'); }

    /* What the other side said last before it failed, if it comes within the time. */
    std::string last_words(int timeout_ms);

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const std::string& last_step() const { return last_step_; }

private:
    UniqueFd fd_;
    std::string buffer_;
    std::string last_step_ = "start";
};

} // namespace xway::test
