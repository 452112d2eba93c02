/* SPDX-License-Identifier: GPL-2.0 */
/* mirror.cpp - a stream that goes there and back. */
#include "mirror.h"

#include <vector>

namespace xway::test {

void mirror(int fd) {
    std::vector<std::byte> bytes(65536);
    for (;;) {
        const ssize_t n = recv(fd, bytes.data(), bytes.size(), 0);
        if (n == 0 && shutdown(fd, SHUT_WR) < 0)
            CHECK_EQ(errno_text(errno), "ENOTCONN"); /* a reset was faster */
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return;
        for (ssize_t done = 0; done < SYS(n);) {
            const ssize_t sent =
                send(fd, bytes.data() + done, static_cast<std::size_t>(n - done), MSG_NOSIGNAL);
            if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
                return;
            done += SYS(sent);
        }
    }
}

void Mirrored::end() {
    SYS(shutdown(out_.fd(), SHUT_WR));
    back_.expect_end();
}

} // namespace xway::test
