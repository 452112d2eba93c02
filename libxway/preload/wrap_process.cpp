// SPDX-License-Identifier: GPL-2.0-or-later
//
// wrap_process.cpp - other programs, signals, system calls by number.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <utility>

#include "config.h"
#include "inherit.h"
#include "process.h"
#include "registrar.h"
#include "signals.h"
#include "wrap.h"

namespace xway {

namespace {
std::atomic<bool> uring;
}

void use_uring() {
    if (uring.exchange(true))
        return;
    const int top = table.top.load();
    for (int fd = 0; fd < top; fd++) {
        Endpoint* ep = table_endpoint(fd);
        if (!ep)
            continue;
        endpoint_to_tcp(ep, XWAY_WHY_PEER_REFUSED);
        // The ring may close it, past us: then nobody else is to hold it.
        if (ep->hidden >= 0)
            process_unhide(std::exchange(ep->hidden, -1));
    }
}

bool uses_uring() {
    return uring.load(std::memory_order_relaxed);
}

} // namespace xway

using namespace xway;

XWAY_EXPORT int execve(const char* path, char* const* argv, char* const* environment) noexcept {
    if (access(path, X_OK) != 0)
        return real.execve(path, argv, environment);
    const Inheritance inheritance(environment);
    return real.execve(path, argv, inheritance.environment());
}

XWAY_EXPORT int execv(const char* path, char* const* argv) noexcept {
    return execve(path, argv, environ);
}

XWAY_EXPORT int execvpe(const char* file, char* const* argv, char* const* environment) noexcept {
    const Inheritance inheritance(environment);
    return real.execvpe(file, argv, inheritance.environment());
}

XWAY_EXPORT int execvp(const char* file, char* const* argv) noexcept {
    return execvpe(file, argv, environ);
}

XWAY_EXPORT int fexecve(int fd, char* const* argv, char* const* environment) noexcept {
    const Inheritance inheritance(environment);
    return real.fexecve(fd, argv, inheritance.environment());
}

XWAY_EXPORT int execveat(int fd, const char* path, char* const* argv, char* const* environment,
                         int flags) noexcept {
    const Inheritance inheritance(environment);
    return real.execveat(fd, path, argv, inheritance.environment(), flags);
}

namespace {

// The arguments of the execl family as an array; `list` ends with its null pointer.
struct Arguments {
    explicit Arguments(const char* first, va_list list) {
        va_list counting;
        va_copy(counting, list);
        std::size_t count = first ? 1 : 0;
        while (first && va_arg(counting, char*))
            count++;
        va_end(counting);
        // As libc's own: on the stack of whoever calls would be better, but the count may be large.
        argv = static_cast<char**>(malloc((count + 1) * sizeof(char*)));
        if (!argv)
            return;
        argv[0] = const_cast<char*>(first);
        for (std::size_t i = 1; i < count; i++)
            argv[i] = va_arg(list, char*);
        argv[count] = nullptr;
    }
    ~Arguments() { free(argv); }
    char** argv;
};

} // namespace

XWAY_EXPORT int execl(const char* path, const char* argument, ...) noexcept {
    va_list list;
    va_start(list, argument);
    const Arguments arguments(argument, list);
    va_end(list);
    return execve(path, arguments.argv, environ);
}

XWAY_EXPORT int execlp(const char* file, const char* argument, ...) noexcept {
    va_list list;
    va_start(list, argument);
    const Arguments arguments(argument, list);
    va_end(list);
    return execvpe(file, arguments.argv, environ);
}

XWAY_EXPORT int execle(const char* path, const char* argument, ...) noexcept {
    va_list list;
    va_start(list, argument);
    const Arguments arguments(argument, list);
    va_end(list);
    // The environment stands behind the null pointer.
    va_start(list, argument);
    while (va_arg(list, char*)) {
    }
    char* const* environment = va_arg(list, char* const*);
    va_end(list);
    return execve(path, arguments.argv, environment);
}

// Where xwayd listens is not to be seen from there.
XWAY_EXPORT int chroot(const char* path) noexcept {
    registrar_connect();
    return real.chroot(path);
}

// The child would share our table with descriptors of its own: a real copy instead.
XWAY_EXPORT pid_t vfork() noexcept {
    return fork();
}
XWAY_ALIAS(vfork, __vfork);

XWAY_EXPORT int posix_spawn(pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions,
                            const posix_spawnattr_t* attributes, char* const* argv,
                            char* const* environment) noexcept {
    share_by_spawn();
    return real.posix_spawn(pid, path, actions, attributes, argv, environment);
}

XWAY_EXPORT int posix_spawnp(pid_t* pid, const char* file,
                             const posix_spawn_file_actions_t* actions,
                             const posix_spawnattr_t* attributes, char* const* argv,
                             char* const* environment) noexcept {
    share_by_spawn();
    return real.posix_spawnp(pid, file, actions, attributes, argv, environment);
}

XWAY_EXPORT void _exit(int status) {
    process_leave();
    real._exit(status);
    __builtin_unreachable();
}
XWAY_ALIAS(_exit, _Exit);

XWAY_EXPORT int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t* actions, int fd,
                                                 int to) noexcept {
    hand_over(fd); // the only sign that the new program is meant to have it
    return real.posix_spawn_file_actions_adddup2(actions, fd, to);
}

// ---- signals ----

XWAY_EXPORT int sigaction(int number, const struct sigaction* action,
                          struct sigaction* old) noexcept {
    return signals_action(number, action, old);
}
XWAY_ALIAS(sigaction, __sigaction);

namespace {

sigset_t interrupting; // siginterrupt(): handlers set by signal() do not restart calls

sighandler_t install(int number, sighandler_t handler, int flags, bool mask_itself) {
    struct sigaction action {
    }, old{};
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigemptyset(&action.sa_mask);
    if (mask_itself)
        sigaddset(&action.sa_mask, number);
    if (number <= 0 || number >= NSIG || handler == SIG_ERR) {
        errno = EINVAL;
        return SIG_ERR;
    }
    return signals_action(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

} // namespace

XWAY_EXPORT sighandler_t signal(int number, sighandler_t handler) noexcept {
    const bool restart = number <= 0 || sigismember(&interrupting, number) != 1;
    return install(number, handler, restart ? SA_RESTART : 0, true);
}
XWAY_ALIAS(signal, bsd_signal);
XWAY_ALIAS(signal, ssignal);

XWAY_EXPORT sighandler_t sysv_signal(int number, sighandler_t handler) noexcept {
    return install(number, handler, static_cast<int>(SA_RESETHAND | SA_NODEFER), false);
}
XWAY_ALIAS(sysv_signal, __sysv_signal);

XWAY_EXPORT int siginterrupt(int number, int interrupt) noexcept {
    struct sigaction action {};
    if (signals_action(number, nullptr, &action) != 0)
        return -1;
    if (interrupt) {
        sigaddset(&interrupting, number);
        action.sa_flags &= ~SA_RESTART;
    } else {
        sigdelset(&interrupting, number);
        action.sa_flags |= SA_RESTART;
    }
    return signals_action(number, &action, nullptr);
}

// ---- liburing makes its system calls itself: whoever sets up a ring there is known by this ----

namespace {

template <typename Function>
Function of_liburing(const char* name) {
    use_uring();
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

} // namespace

XWAY_EXPORT int io_uring_setup(unsigned entries, void* parameters) {
    const auto next = of_liburing<int (*)(unsigned, void*)>("io_uring_setup");
    return next ? next(entries, parameters) : -ENOSYS;
}

XWAY_EXPORT int io_uring_queue_init(unsigned entries, void* ring, unsigned flags) {
    const auto next = of_liburing<int (*)(unsigned, void*, unsigned)>("io_uring_queue_init");
    return next ? next(entries, ring, flags) : -ENOSYS;
}

XWAY_EXPORT int io_uring_queue_init_params(unsigned entries, void* ring, void* parameters) {
    const auto next = of_liburing<int (*)(unsigned, void*, void*)>("io_uring_queue_init_params");
    return next ? next(entries, ring, parameters) : -ENOSYS;
}

XWAY_EXPORT int io_uring_queue_init_mem(unsigned entries, void* ring, void* parameters,
                                        void* memory, size_t size) {
    const auto next =
        of_liburing<int (*)(unsigned, void*, void*, void*, size_t)>("io_uring_queue_init_mem");
    return next ? next(entries, ring, parameters, memory, size) : -ENOSYS;
}

// ---- system calls by number: what concerns a connection goes the way of its wrapper ----

namespace {

bool is_dup2([[maybe_unused]] long number) {
#ifdef SYS_dup2
    return number == SYS_dup2;
#else
    return false;
#endif
}

} // namespace

XWAY_EXPORT long syscall(long number, ...) noexcept {
    va_list list;
    va_start(list, number);
    long a[6];
    for (long& argument : a)
        argument = va_arg(list, long);
    va_end(list);
    const int fd = static_cast<int>(a[0]);
    const auto kernel = [&] { return real.syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]); };
    const bool second = is_dup2(number) || number == SYS_dup3 || number == SYS_sendfile;
    if (number == SYS_io_uring_setup) {
        use_uring();
        return kernel();
    }
    switch (number) { // whose first argument is no descriptor
#ifdef SYS_poll
    case SYS_poll:
        return poll(reinterpret_cast<pollfd*>(a[0]), static_cast<nfds_t>(a[1]),
                    static_cast<int>(a[2]));
    case SYS_select:
        return select(static_cast<int>(a[0]), reinterpret_cast<fd_set*>(a[1]),
                      reinterpret_cast<fd_set*>(a[2]), reinterpret_cast<fd_set*>(a[3]),
                      reinterpret_cast<timeval*>(a[4]));
#endif
    case SYS_ppoll:
        return ppoll(reinterpret_cast<pollfd*>(a[0]), static_cast<nfds_t>(a[1]),
                     reinterpret_cast<timespec*>(a[2]), reinterpret_cast<sigset_t*>(a[3]));
    default: break;
    }
    if (table_get(fd).empty() && number != SYS_close_range && number != SYS_splice &&
        (!second || table_get(static_cast<int>(a[1])).empty()))
        return kernel();
    auto* data = reinterpret_cast<void*>(a[1]);
    switch (number) {
    case SYS_close: return close(fd);
    case SYS_close_range:
        return close_range(static_cast<unsigned>(a[0]), static_cast<unsigned>(a[1]),
                           static_cast<int>(a[2]));
    case SYS_read: return read(fd, data, static_cast<size_t>(a[2]));
    case SYS_write: return write(fd, data, static_cast<size_t>(a[2]));
    case SYS_readv: return readv(fd, static_cast<iovec*>(data), static_cast<int>(a[2]));
    case SYS_writev: return writev(fd, static_cast<iovec*>(data), static_cast<int>(a[2]));
    case SYS_preadv2:
        return preadv2(fd, static_cast<iovec*>(data), static_cast<int>(a[2]), a[3],
                       static_cast<int>(a[5]));
    case SYS_pwritev2:
        return pwritev2(fd, static_cast<iovec*>(data), static_cast<int>(a[2]), a[3],
                        static_cast<int>(a[5]));
    case SYS_recvfrom:
        return recvfrom(fd, data, static_cast<size_t>(a[2]), static_cast<int>(a[3]),
                        reinterpret_cast<sockaddr*>(a[4]), reinterpret_cast<socklen_t*>(a[5]));
    case SYS_sendto:
        return sendto(fd, data, static_cast<size_t>(a[2]), static_cast<int>(a[3]),
                      reinterpret_cast<sockaddr*>(a[4]), static_cast<socklen_t>(a[5]));
    case SYS_recvmsg: return recvmsg(fd, static_cast<msghdr*>(data), static_cast<int>(a[2]));
    case SYS_sendmsg: return sendmsg(fd, static_cast<msghdr*>(data), static_cast<int>(a[2]));
    case SYS_recvmmsg:
        return recvmmsg(fd, static_cast<mmsghdr*>(data), static_cast<unsigned>(a[2]),
                        static_cast<int>(a[3]), reinterpret_cast<timespec*>(a[4]));
    case SYS_sendmmsg:
        return sendmmsg(fd, static_cast<mmsghdr*>(data), static_cast<unsigned>(a[2]),
                        static_cast<int>(a[3]));
    case SYS_connect:
        return connect(fd, static_cast<sockaddr*>(data), static_cast<socklen_t>(a[2]));
    case SYS_shutdown: return shutdown(fd, static_cast<int>(a[1]));
    case SYS_setsockopt:
        return setsockopt(fd, static_cast<int>(a[1]), static_cast<int>(a[2]),
                          reinterpret_cast<void*>(a[3]), static_cast<socklen_t>(a[4]));
    case SYS_dup: return dup(fd);
#ifdef SYS_dup2
    case SYS_dup2: return dup2(fd, static_cast<int>(a[1]));
#endif
    case SYS_dup3: return dup3(fd, static_cast<int>(a[1]), static_cast<int>(a[2]));
    case SYS_fcntl: return fcntl(fd, static_cast<int>(a[1]), a[2]);
    case SYS_ioctl: return ioctl(fd, static_cast<unsigned long>(a[1]), a[2]);
    case SYS_sendfile:
        return sendfile(fd, static_cast<int>(a[1]), reinterpret_cast<off_t*>(a[2]),
                        static_cast<size_t>(a[3]));
    case SYS_splice:
        return splice(fd, static_cast<off_t*>(data), static_cast<int>(a[2]),
                      reinterpret_cast<off_t*>(a[3]), static_cast<size_t>(a[4]),
                      static_cast<unsigned>(a[5]));
    case SYS_epoll_ctl:
        return epoll_ctl(fd, static_cast<int>(a[1]), static_cast<int>(a[2]),
                         reinterpret_cast<epoll_event*>(a[3]));
    case SYS_epoll_pwait:
        return epoll_pwait(fd, static_cast<epoll_event*>(data), static_cast<int>(a[2]),
                           static_cast<int>(a[3]), reinterpret_cast<sigset_t*>(a[4]));
    case SYS_epoll_pwait2:
        return epoll_pwait2(fd, static_cast<epoll_event*>(data), static_cast<int>(a[2]),
                            reinterpret_cast<timespec*>(a[3]), reinterpret_cast<sigset_t*>(a[4]));
#ifdef SYS_epoll_wait
    case SYS_epoll_wait:
        return epoll_wait(fd, static_cast<epoll_event*>(data), static_cast<int>(a[2]),
                          static_cast<int>(a[3]));
#endif
    default: return kernel();
    }
}
