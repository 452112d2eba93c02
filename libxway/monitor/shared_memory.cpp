// SPDX-License-Identifier: GPL-2.0-or-later
//
// shared_memory.cpp - memfd_create, seals, mmap.
#include "shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace xway {

Mapping::~Mapping() {
    if (data_)
        munmap(data_, size_);
}

Result<Mapping> Mapping::of(int fd, std::size_t size) {
    void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return Error::from_errno("cannot map shared memory", errno);
    return Mapping(data, size);
}

Result<UniqueFd> make_memory(const char* name, std::size_t size) {
    constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    UniqueFd fd(memfd_create(name, kFlags | MFD_NOEXEC_SEAL));
    if (!fd && errno == EINVAL) // before Linux 6.3
        fd = UniqueFd(memfd_create(name, kFlags));
    if (!fd)
        return Error::from_errno("cannot create shared memory", errno);
    if (ftruncate(fd.get(), static_cast<off_t>(size)) < 0 || fchmod(fd.get(), 0600) < 0)
        return Error::from_errno("cannot size shared memory", errno);
    return fd;
}

Result<void> seal_memory(int fd, Sealed how) {
    constexpr int kSize = F_SEAL_SHRINK | F_SEAL_GROW;
    if (fcntl(fd, F_ADD_SEALS, kSize) < 0)
        return Error::from_errno("cannot seal shared memory", errno);
    // Linux 5.1; without it a reader is kept from writing by the mode of its descriptor alone.
    if (how == Sealed::for_readers && fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) < 0 &&
        errno != EINVAL)
        return Error::from_errno("cannot seal shared memory", errno);
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL) < 0)
        return Error::from_errno("cannot seal shared memory", errno);
    return {};
}

} // namespace xway
