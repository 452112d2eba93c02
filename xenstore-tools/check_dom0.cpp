// SPDX-License-Identifier: GPL-2.0-or-later
//
// check_dom0.cpp - what dom0 has to provide.
#include <algorithm>

#include <fmt/format.h>

#include "checklist.h"
#include "directory.h"

namespace xway {

namespace {

void check_devices(Checklist& list, const Host& host, const Snapshot& snapshot) {
    if (snapshot.devices.empty()) {
        list.fail("devices", "no domain has one",
                  "try 'xway domain add DOMAIN', or start xwayd-xen");
        return;
    }
    const auto current =
        std::count_if(snapshot.devices.begin(), snapshot.devices.end(),
                      [&](const auto& device) { return snapshot.is_current(device.second); });
    list.pass("devices",
              fmt::format("{} of {} domains have one", current, snapshot.domains.size()));
    for (const auto& [id, device] : snapshot.devices) {
        const std::string what = fmt::format("domain {} ({})", id, device.name);
        if (!snapshot.is_current(device))
            list.fail(what, "the device is of a domain that is gone", "try 'xway policy apply'");
        else if (device.state == kInitialising && host.has_module("xway_back"))
            list.fail(what, "xway_back has not taken the device", "read 'dmesg' of dom0");
        else if (device.frontend_state != kConnected)
            list.note(what, "its frontend is " + state_name(device.frontend_state),
                      "load xway_front in the guest");
        else if (device.allow.empty())
            list.note(what, "it may talk to nobody",
                      "allow a pair in the policy, and give the other domain its device");
        else
            list.pass(what, "connected, may talk to " + device.allow);
    }
}

} // namespace

void check_dom0(Checklist& list, const Host& host) {
    if (host.has_module("xway_back"))
        list.pass("module xway_back");
    else
        list.fail("module xway_back", "it is not loaded", "try 'modprobe xway_back'");

    auto policy = Policy::load(kPolicyFile);
    if (policy)
        list.pass("policy", fmt::format("{} rules in {}", policy->rules().size(), kPolicyFile));
    else
        list.fail("policy", policy.error().what, policy.error().remedy);

    auto store = XenStore::open();
    auto snapshot = store ? read_snapshot(**store) : Result<Snapshot>(store.error());
    if (snapshot) {
        list.pass("xenstore");
        check_devices(list, host, *snapshot);
    } else {
        list.fail("xenstore", snapshot.error().what, snapshot.error().remedy);
    }

    if (const auto process = host.daemon())
        list.pass("daemon xwayd-xen", fmt::format("process {}", *process));
    else
        list.note("daemon xwayd-xen", "it is not running",
                  "try 'systemctl start xwayd-xen', or add devices by hand");
}

} // namespace xway
