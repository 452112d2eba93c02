// SPDX-License-Identifier: GPL-2.0-or-later
//
// domains.cpp - asking the hypervisor by libxenctrl.
#include "domains.h"

#include <array>

extern "C" { // the header does not say so itself
#include <xenctrl.h>
}

namespace xway {

Hypervisor::~Hypervisor() {
    if (handle_)
        xc_interface_close(handle_);
}

Result<std::set<unsigned>> Hypervisor::living() {
    // Without a logger the library writes its own complaints to stderr; ours say enough.
    static xentoollog_logger quiet{
        [](xentoollog_logger*, xentoollog_level, int, const char*, const char*, va_list) {},
        [](xentoollog_logger*, const char*, const char*, int, unsigned long, unsigned long) {},
        [](xentoollog_logger*) {}};
    if (!handle_)
        handle_ = xc_interface_open(&quiet, &quiet, 0);
    if (!handle_)
        return Error::from_errno("cannot ask Xen for its domains", errno,
                                 "run this in dom0, as root");

    std::set<unsigned> living;
    std::array<xc_domaininfo_t, 64> infos;
    for (unsigned next = 0;;) {
        const int count = xc_domain_getinfolist(handle_, next, infos.size(), infos.data());
        if (count < 0)
            return Error::from_errno("cannot ask Xen for its domains", errno);
        for (int i = 0; i < count; ++i) {
            const xc_domaininfo_t& info = infos[static_cast<std::size_t>(i)];
            if (!(info.flags & XEN_DOMINF_dying))
                living.insert(info.domain);
            next = info.domain + 1u;
        }
        if (count < static_cast<int>(infos.size()))
            return living;
    }
}

World world_of(const Host& host) {
    World world;
    auto hypervisor = std::make_shared<Hypervisor>();
    world.living = [hypervisor]() -> std::optional<std::set<unsigned>> {
        auto living = hypervisor->living();
        return living ? std::optional(*living) : std::nullopt;
    };
    world.held = [host](unsigned domid) { return host.holds_device(domid); };
    return world;
}

} // namespace xway
