/* SPDX-License-Identifier: GPL-2.0 */
/* mirror.h - a stream that goes there and back, for cases in which one side only is of interest. */
#pragma once

#include "side.h"

namespace xway::test {

/* Sends back all that comes over `fd`, until that ends, and ends, too; or until a reset. */
void mirror(int fd);

/* The end of a connection whose other end mirror() has. */
class Mirrored {
public:
    explicit Mirrored(Side& side) : Mirrored(side, side.sock.get()) {}
    Mirrored(Side& side, int fd) : out_(side.out(fd)), back_(side.echo(fd)) {}

    /* n bytes there and back: a few that a ring can carry in one go, unless told otherwise. */
    void round(std::size_t n = 3000) {
        out_.send(n);
        back_.receive(n);
    }
    /* No more will be sent; the other side ends in turn. */
    void end();

    [[nodiscard]] StreamWriter& out() { return out_; }
    [[nodiscard]] StreamReader& back() { return back_; }

private:
    StreamWriter out_;
    StreamReader back_;
};

} // namespace xway::test
