// SPDX-License-Identifier: GPL-2.0-or-later
//
// local.h - what xwayd says about the processes of this machine, in the form of the module's files.
#pragma once

#include <string>
#include <string_view>

#include "command.h"
#include "result.h"

namespace xway {

// Whether xwayd is to be asked, not the module: on demand, or because only it is there.
bool asks_xwayd(bool on_demand, const Common& common);

// The answer to a request of xwayd(8).
Result<std::string> ask_xwayd(const std::string& request);

// What `parse` makes of the file `name` of the module, or of xwayd's answer to that request.
template <typename Parse>
auto front_or_local(bool local, const Common& common, const std::string& name, Parse parse)
    -> decltype(parse(std::string_view())) {
    if (!local)
        return common.host().front(name, parse);
    auto text = ask_xwayd(name);
    if (!text)
        return text.error();
    auto result = parse(*text);
    if (!result)
        return Error{"xwayd: " + result.error().what, result.error().remedy};
    return result;
}

} // namespace xway
