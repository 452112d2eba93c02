// SPDX-License-Identifier: GPL-2.0-or-later
//
// socket_file.cpp - paths, directories, locks, listening sockets.
#include "socket_file.h"

#include <cstdlib>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "wire.h"

namespace xway {

namespace {

constexpr char kTemporary[] = "/tmp/xway-";
constexpr int kBacklog = 1024;

bool address_of(const std::string& path, sockaddr_un& address) {
    address = {};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof(address.sun_path))
        return false;
    path.copy(address.sun_path, path.size());
    return true;
}

Error too_long(const std::string& path) {
    return {"the path '" + path + "' is no name for a socket", "choose one of 1 to 107 characters",
            EINVAL};
}

} // namespace

std::string own_socket_path() {
    if (const char* path = std::getenv(kWirePathVariable); path && *path)
        return path;
    if (geteuid() == 0)
        return kWireSystemPath;
    if (const char* runtime = std::getenv("XDG_RUNTIME_DIR"); runtime && *runtime)
        return std::string(runtime) + "/xway/xwayd.sock";
    return kTemporary + std::to_string(geteuid()) + "/xwayd.sock";
}

Result<void> prepare_directory(const std::string& socket_path) {
    const auto slash = socket_path.rfind('/');
    if (slash == std::string::npos || slash == 0)
        return {};
    const std::string directory = socket_path.substr(0, slash);
    // Root's is for all, whatever the umask.
    const mode_t mode = geteuid() == 0 ? 0755 : 0700;
    const bool made = mkdir(directory.c_str(), mode) == 0 && chmod(directory.c_str(), mode) == 0;
    if (!made && errno != EEXIST)
        return Error::from_errno("cannot make the directory " + directory, errno);
    if (!directory.starts_with(kTemporary))
        return {};
    // Anybody may have made it, or may replace it unless it is really ours.
    struct stat status {};
    if (lstat(directory.c_str(), &status) < 0)
        return Error::from_errno("cannot look at the directory " + directory, errno);
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 077) != 0)
        return Error{directory + " is not a directory of this user alone",
                     "remove it, or choose another place with --socket", EPERM};
    return {};
}

Result<UniqueFd> lock_socket(const std::string& socket_path) {
    const std::string path = socket_path + ".lock";
    UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd)
        return Error::from_errno("cannot open " + path, errno);
    if (flock(fd.get(), LOCK_EX | LOCK_NB) < 0)
        return Error{"another xwayd listens at " + socket_path,
                     "end it first, or choose another place with --socket", EADDRINUSE};
    return fd;
}

Result<UniqueFd> connect_to(const std::string& path, int type) {
    sockaddr_un address;
    if (!address_of(path, address))
        return too_long(path);
    UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    if (!fd || connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) < 0)
        return Error::from_errno("cannot connect to " + path, errno);
    return fd;
}

Result<UniqueFd> listen_at(const std::string& path, int type, mode_t mode) {
    sockaddr_un address;
    if (!address_of(path, address))
        return too_long(path);
    if (connect_to(path, type | SOCK_NONBLOCK))
        return Error{"somebody listens at " + path + " already",
                     "end it first, or choose another place with --socket", EADDRINUSE};
    struct stat status {};
    if (lstat(path.c_str(), &status) == 0) {
        if (!S_ISSOCK(status.st_mode))
            return Error{path + " is there, and is no socket", "remove it", EEXIST};
        unlink(path.c_str());
    }
    UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd)
        return Error::from_errno("cannot make a socket", errno);
    const mode_t before = umask(0177);
    const int bound = bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
    const int error = errno;
    umask(before);
    if (bound < 0)
        return Error::from_errno("cannot listen at " + path, error);
    if (listen(fd.get(), kBacklog) < 0 || chmod(path.c_str(), mode) < 0)
        return Error::from_errno("cannot listen at " + path, errno);
    return fd;
}

} // namespace xway
