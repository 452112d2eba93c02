// SPDX-License-Identifier: GPL-2.0-or-later
//
// cmd_check.cpp - why does it not work?
#include <memory>

#include <CLI/CLI.hpp>

#include "checklist.h"

namespace xway {

namespace {

Result<int> check(const std::string& address, const Common& common) {
    const Host host = common.host();
    Checklist list;
    if (!common.program.empty() && !address.empty())
        return Error{"an address and a program at once", "check one of them"};
    if (!common.program.empty()) {
        check_program(list, common.program.front());
    } else if (!host.on_xen()) {
        list.fail("running on Xen", "no /sys/hypervisor/type that says xen",
                  "run this in a guest of Xen, or in dom0");
    } else {
        list.pass("running on Xen", host.is_dom0() ? "dom0" : "a guest");
        if (host.is_dom0() && address.empty()) {
            check_dom0(list, host);
        } else {
            check_guest(list, host);
            if (!address.empty() && !list.failed())
                check_peer(list, host, address);
        }
    }
    list.table().print(common.format);
    return list.failed() ? kFailed : kDone;
}

} // namespace

Action declare_check(CLI::App& app, const Common& common) {
    auto address = std::make_shared<std::string>();
    app.footer("With '-- PROGRAM': only whether 'xway-run PROGRAM' would use rings, or why not.");
    app.add_option("ADDRESS", *address, "also whether connections to it can go by ring");
    return [address, &common] { return check(*address, common); };
}

} // namespace xway
