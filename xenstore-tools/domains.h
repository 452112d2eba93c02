// SPDX-License-Identifier: GPL-2.0-or-later
//
// domains.h - which domains the hypervisor still runs.
#pragma once

#include <memory>
#include <set>

#include "directory.h"
#include "host.h"
#include "result.h"

struct xc_interface_core;

namespace xway {

// Opened when it is first asked, for guests have no such interface and need none.
class Hypervisor {
public:
    Hypervisor() = default;
    Hypervisor(const Hypervisor&) = delete;
    Hypervisor& operator=(const Hypervisor&) = delete;
    ~Hypervisor();

    // Every domain but those that are being destroyed.
    Result<std::set<unsigned>> living();

private:
    xc_interface_core* handle_ = nullptr;
};

// What directory.h asks beyond the store: the hypervisor, and sysfs.
World world_of(const Host& host);

} // namespace xway
