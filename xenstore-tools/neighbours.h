// SPDX-License-Identifier: GPL-2.0-or-later
//
// neighbours.h - what this machine's network says of an address: own, beside us, or beyond a
// gateway.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "address.h"
#include "result.h"

namespace xway {

using Neighbours = std::map<Address, std::string>; // to the MAC, where it is known

Result<Neighbours> read_neighbours(); // of both families, by rtnetlink
Result<std::set<Address>> read_own_addresses();

struct Route {
    std::string device;
    std::optional<Address> gateway;
};
Result<Route> find_route(const Address& to);

} // namespace xway
