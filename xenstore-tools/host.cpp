// SPDX-License-Identifier: GPL-2.0-or-later
//
// host.cpp - reading /proc and /sys.
#include "host.h"

#include <cstdlib>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "unique_fd.h"

namespace xway {

Result<std::string> Host::file(const std::string& path) const {
    const UniqueFd fd(open((root_ + path).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd)
        return Error::from_errno("cannot read " + path, errno,
                                 errno == EACCES ? "run this as root" : "");
    std::string text;
    char buffer[16384];
    ssize_t got;
    while ((got = read(fd.get(), buffer, sizeof(buffer))) > 0)
        text.append(buffer, static_cast<std::size_t>(got));
    if (got < 0)
        return Error::from_errno("cannot read " + path, errno);
    return text;
}

bool Host::exists(const std::string& path) const {
    return access((root_ + path).c_str(), F_OK) == 0;
}

std::string Host::link(const std::string& path) const {
    char text[256];
    const ssize_t length = readlink((root_ + path).c_str(), text, sizeof(text));
    return length < 0 ? std::string() : std::string(text, static_cast<std::size_t>(length));
}

bool Host::on_xen() const {
    auto type = file("/sys/hypervisor/type");
    return type && type->starts_with("xen");
}

bool Host::is_dom0() const {
    if (auto capabilities = file("/proc/xen/capabilities"); capabilities)
        return capabilities->find("control_d") != std::string::npos;
    // Without xenfs the features that Xen has given us tell (XENFEAT_dom0).
    constexpr unsigned kFeatureDom0 = 11;
    auto features = file("/sys/hypervisor/properties/features");
    return features && (std::strtoul(features->c_str(), nullptr, 16) >> kFeatureDom0 & 1) != 0;
}

bool Host::has_module(std::string_view name) const {
    return exists("/sys/module/" + std::string(name));
}

bool Host::holds_device(unsigned domid) const {
    return exists("/sys/bus/xen-backend/devices/xway-" + std::to_string(domid) + "-0");
}

Result<std::string> Host::module_file(const std::string& module, const std::string& name) const {
    auto text = file("/proc/" + module + '/' + name);
    if (!text && text.error().code == ENOENT)
        return Error{"the module " + module + " is not loaded", "try 'modprobe " + module + "'",
                     ENOENT};
    return text;
}

std::optional<int> Host::daemon() const {
    const UniqueFd fd(open((root_ + kDaemonLock).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd || flock(fd.get(), LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return std::nullopt;
    char text[16] = "";
    if (read(fd.get(), text, sizeof(text) - 1) < 0)
        return std::nullopt;
    return std::atoi(text);
}

} // namespace xway
