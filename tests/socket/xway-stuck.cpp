// SPDX-License-Identifier: GPL-2.0
/*
 * xway-stuck.cpp - a program that sticks in a call on its socket, on a page that never comes.
 *
 *   xway-stuck send|recv HOST PORT
 *
 * It sends until the connection has had time to ride a ring, prints "ready", waits for a line on
 * its standard input, and then sends from, or receives into, a page whose fault nobody handles, as
 * if it lay on a file system that has died. Only a kill ends it.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace {

[[noreturn]] void die(const char* what) {
    std::perror(what);
    std::exit(1);
}

/* A page that has a fault handler which never answers. */
void* missing_page() {
    const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    void* page = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const auto uffd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC));
    if (page == MAP_FAILED || uffd < 0)
        die("userfaultfd");
    uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
    uffdio_register range{};
    range.range = {reinterpret_cast<std::uintptr_t>(page), size};
    range.mode = UFFDIO_REGISTER_MODE_MISSING;
    if (ioctl(uffd, UFFDIO_API, &api) < 0 || ioctl(uffd, UFFDIO_REGISTER, &range) < 0)
        die("UFFDIO_REGISTER");
    return page;
}

int connected(const char* host, const char* port) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::atoi(port)));
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, host, &to.sin_addr) != 1 || fd < 0 ||
        connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) < 0)
        die("connect");
    return fd;
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 4 || (std::string_view{argv[1]} != "send" && std::string_view{argv[1]} != "recv")) {
        std::fprintf(stderr, "usage: xway-stuck send|recv HOST PORT\n");
        return 2;
    }
    const int fd = connected(argv[2], argv[3]);
    void* page = missing_page();
    for (int i = 0; i < 20; i++) {
        if (send(fd, "x", 1, MSG_NOSIGNAL) != 1)
            die("send");
        usleep(100'000);
    }
    std::puts("ready");
    std::fflush(stdout);
    std::getchar();
    const bool sends = std::string_view{argv[1]} == "send";
    const auto n = sends ? send(fd, page, 64, MSG_NOSIGNAL) : recv(fd, page, 64, 0);
    std::printf("came back: %zd, %s\n", n, std::strerror(errno));
    return 1;
}
