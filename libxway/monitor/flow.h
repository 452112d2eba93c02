// SPDX-License-Identifier: GPL-2.0-or-later
//
// flow.h - a TCP connection as one of its ends sees it.
#pragma once

#include <cstdint>

#include "address.h"

namespace xway {

// The order is that of the members: flows of one tuple are neighbours, whatever their namespace.
struct Flow {
    Endpoint local, remote;
    // The device that the socket is bound to, 0 for any. The kernel binds link-local connections,
    // so this is their zone; and what is bound to different devices may have the same addresses.
    std::uint32_t device = 0;
    std::uint64_t netns = 0; // the kernel's cookie of the network namespace

    auto operator<=>(const Flow&) const = default;

    [[nodiscard]] Flow mirrored() const { return {remote, local, device, netns}; }
    [[nodiscard]] bool is_loopback() const {
        return local.address.is_loopback() || remote.address.is_loopback();
    }
};

} // namespace xway
