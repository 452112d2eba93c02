// SPDX-License-Identifier: GPL-2.0-or-later
//
// rights.h - connections that are passed to other processes, with SCM_RIGHTS.
//
// Such a connection goes back to TCP. What is unread in its ring travels beside it, as a file that
// the receiver's library takes out of the message before the program sees it. A receiver without
// the library could not be given these bytes: then the connection is broken, never continued with a
// gap.
#pragma once

#include <sys/socket.h>

namespace xway {

// A message as it is to be sent.
class RightsOut {
public:
    explicit RightsOut(const msghdr& message);
    ~RightsOut();
    RightsOut(const RightsOut&) = delete;
    RightsOut& operator=(const RightsOut&) = delete;

    // What to send to `fd` in its place.
    [[nodiscard]] const msghdr* message(int fd);
    // It could not be sent: all that was prepared is this process's again.
    void take_back();

private:
    static constexpr int kFiles = 8;
    void prepare(int fd, int index);
    bool append();

    msghdr message_;
    int files_ = 0;
    int file_[kFiles]{};
    int connection_[kFiles]{}; // whose file it is
    alignas(cmsghdr) char control_[1024]{};
};

// recvmsg(2) into a message with room for descriptors.
ssize_t rights_receive(int fd, msghdr* message, int flags);

} // namespace xway
