// SPDX-License-Identifier: GPL-2.0-or-later
//
// host.h - what the kernel's own files say about the machine: Xen, dom0, modules.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "result.h"

namespace xway {

inline constexpr char kVersion[] = "1.0"; // of xway and of xwayd-xen
inline constexpr char kDaemonLock[] = "/run/xwayd-xen.pid";

class Host {
public:
    // Files are looked for below the root, which is another than / in tests only.
    explicit Host(std::string root = "") : root_(std::move(root)) {}

    Result<std::string> file(const std::string& path) const;
    bool exists(const std::string& path) const;
    // Where a symbolic link leads; empty if it cannot be read.
    std::string link(const std::string& path) const;

    bool on_xen() const;
    bool is_dom0() const;
    bool has_module(std::string_view name) const;

    // Whether the driver of dom0 still holds the device of this domain.
    bool holds_device(unsigned domid) const;

    // What `parse` makes of a file of xway_front or xway_back. The error names the file, or says
    // what to do to get one.
    template <typename Parse>
    auto front(const std::string& name, Parse parse) const {
        return parsed("xway_front", name, parse);
    }
    template <typename Parse>
    auto back(const std::string& name, Parse parse) const {
        return parsed("xway_back", name, parse);
    }

    // Its process, while the daemon runs.
    std::optional<int> daemon() const;

private:
    Result<std::string> module_file(const std::string& module, const std::string& name) const;

    template <typename Parse>
    auto parsed(const std::string& module, const std::string& name, Parse parse) const
        -> decltype(parse(std::string_view())) {
        auto text = module_file(module, name);
        if (!text)
            return text.error();
        auto result = parse(*text);
        if (!result)
            return Error{"/proc/" + module + '/' + name + ": " + result.error().what,
                         result.error().remedy};
        return result;
    }

    std::string root_;
};

} // namespace xway
