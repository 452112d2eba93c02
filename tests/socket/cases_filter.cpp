/* SPDX-License-Identifier: GPL-2.0 */
/* cases_filter.cpp - programs of BPF on a socket, on its group, and on its cgroup. */
#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>

#include "bpf.h"
#include "mirror.h"
#include "process.h"

using namespace xway::test;

namespace {

/* Says `verdict` of each packet: how many bytes of it may stay, or which socket it is for. */
struct Filter {
    explicit Filter(std::uint32_t verdict) { code[0] = {BPF_RET | BPF_K, 0, 0, verdict}; }
    int attach(int fd, int name = SO_ATTACH_FILTER) {
        sock_fprog program{1, code};
        return setsockopt(fd, SOL_SOCKET, name, &program, sizeof program);
    }
    sock_filter code[1];
};

constexpr std::uint32_t kAll = 0xffffffff;

bool ridden_by_xway(int fd) {
    return std::strcmp(upper_layer(fd), "xway") == 0;
}

} // namespace

TWO_SIDED(filter_lets_all_through, kPair | kCold)
void filter_lets_all_through::client(Side& side) {
    const int fd = side.sock.get();
    const int off = 0, on = 1;
    Mirrored talk(side);
    talk.round();
    CHECK_ERRNO(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &off, sizeof off), ENOENT);
    SYS(Filter(kAll).attach(fd));
    talk.round(20000);
    sock_filter read[4] = {};
    socklen_t length = 4; /* instructions, here */
    SYS(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, read, &length));
    CHECK(length == 1 && read[0].k == kAll);
    SYS(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &off, sizeof off));
    talk.round();
    SYS(Filter(kAll).attach(fd));
    SYS(setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof on));
    CHECK_EQ(get_option(fd, SOL_SOCKET, SO_LOCK_FILTER), 1);
    CHECK_ERRNO(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &off, sizeof off), EPERM);
    CHECK_ERRNO(setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &off, sizeof off), EPERM);
    CHECK_ERRNO(Filter(kAll).attach(fd), EPERM);
    sock_fprog bad{0, nullptr};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &bad, sizeof bad) < 0);
    talk.round(50000);
    talk.end();
}
void filter_lets_all_through::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(filter_lets_nothing_through, kPair | kSlow)
void filter_lets_nothing_through::client(Side& side) {
    const int fd = side.sock.get();
    const int off = 0;
    StreamReader in = side.in();
    SYS(Filter(0).attach(fd));
    side.step("deaf");
    side.settle(3);
    /* Over a ring no packets come: only there may anything be heard now. */
    CHECK(poll_now(fd, POLLIN) == 0 || ridden_by_xway(fd));
    SYS(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &off, sizeof off));
    in.receive(1000);
    side.out().send(1);
}
void filter_lets_nothing_through::server(Side& side) {
    side.step("deaf");
    side.out().send(1000);
    side.in().receive(1);
}

TWO_SIDED(extended_bpf_on_a_socket, kPair | kCold)
void extended_bpf_on_a_socket::client(Side& side) {
    const int fd = side.sock.get();
    UniqueFd program = bpf_returns(BPF_PROG_TYPE_SOCKET_FILTER, -1);
    const int number = program.get(), off = 0, bad = -1;
    Mirrored talk(side);
    talk.round();
    CHECK_ERRNO(setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &bad, sizeof bad), EBADF);
    SYS(setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &number, sizeof number));
    talk.round(50000);
    SYS(setsockopt(fd, SOL_SOCKET, SO_DETACH_BPF, &off, sizeof off));
    talk.round();
    talk.end();
}
void extended_bpf_on_a_socket::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(filter_set_before_connect, 0)
void filter_set_before_connect::client(Side& side) {
    UniqueFd fd = side.connect(side.hear_port(), [](int s) { SYS(Filter(kAll).attach(s)); });
    side.warm(fd.get());
    Mirrored talk(side, fd.get());
    for (int i = 0; i < 10; i++)
        talk.round();
    talk.end();
}
void filter_set_before_connect::server(Side& side) {
    UniqueFd listener = side.listen(8, 0, 0, [](int s) { SYS(Filter(kAll).attach(s)); });
    side.tell_number(local_address(listener.get()).port());
    UniqueFd fd = side.accept(listener.get());
    side.warm(fd.get());
    mirror(fd.get());
}

TWO_SIDED(reuseport_group_is_steered, 0)
void reuseport_group_is_steered::client(Side& side) {
    const std::uint16_t port = side.hear_port();
    for (int i = 0; i < 12; i++) {
        UniqueFd fd = side.connect(port);
        Mirrored talk(side, fd.get());
        talk.round(500);
        talk.end();
    }
    side.step("done");
}
void reuseport_group_is_steered::server(Side& side) {
    auto reuse = [](int fd) { set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1); };
    UniqueFd first = side.listen(32, 0, 0, reuse);
    const std::uint16_t port = local_address(first.get()).port();
    UniqueFd second = side.listen(32, 0, port, reuse);
    SYS(Filter(1).attach(first.get(), SO_ATTACH_REUSEPORT_CBPF)); /* all to the second */
    side.tell_number(port);
    for (int i = 0; i < 12; i++) {
        if (i == 6) { /* and to whoever it is again */
            const int off = 0;
            SYS(setsockopt(second.get(), SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &off, sizeof off));
        }
        pollfd p[2] = {{first.get(), POLLIN, 0}, {second.get(), POLLIN, 0}};
        CHECK(poll(p, 2, side.patience_ms()) > 0);
        CHECK(i >= 6 || p[0].revents == 0);
        UniqueFd fd = side.accept(p[0].revents ? first.get() : second.get());
        mirror(fd.get());
    }
    UniqueFd program = bpf_returns(BPF_PROG_TYPE_SOCKET_FILTER, 0);
    const int number = program.get();
    SYS(setsockopt(first.get(), SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &number, sizeof number));
    side.step("done");
}

TWO_SIDED(put_into_a_sockmap, kPair | kCold)
void put_into_a_sockmap::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round();
    bpf_attr create{};
    create.map_type = BPF_MAP_TYPE_SOCKMAP;
    create.key_size = create.value_size = 4;
    create.max_entries = 1;
    UniqueFd map(bpf(BPF_MAP_CREATE, create));
    if (!map.valid())
        throw Skip("sockmap: " + errno_text(errno));
    const int key = 0;
    bpf_attr update{};
    update.map_fd = static_cast<unsigned>(map.get());
    update.key = reinterpret_cast<std::uintptr_t>(&key);
    update.value = reinterpret_cast<std::uintptr_t>(&fd);
    const int result = bpf(BPF_MAP_UPDATE_ELEM, update);
    /* What already has an upper layer is refused, and goes on. */
    if (ridden_by_xway(fd))
        CHECK(result < 0 && (errno == EOPNOTSUPP || errno == EINVAL));
    else
        SYS(result);
    talk.round(50000);
    map.reset();
    talk.round(50000);
    talk.end();
}
void put_into_a_sockmap::server(Side& side) {
    mirror(side.sock.get());
}

namespace {

/* A cgroup of our own, gone in the end; programs go with it. */
class Cgroup {
public:
    Cgroup() {
        for (const char* root : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
            std::string path = std::string(root) + "/xway-cases-" + std::to_string(getpid());
            if (access((std::string(root) + "/cgroup.procs").c_str(), W_OK) == 0 &&
                access((std::string(root) + "/cgroup.controllers").c_str(), R_OK) == 0 &&
                mkdir(path.c_str(), 0700) == 0) {
                path_ = path;
                fd_.reset(SYS(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
                return;
            }
        }
        throw Skip("no cgroup2 that may be written to");
    }
    ~Cgroup() { rmdir(path_.c_str()); }
    Cgroup(const Cgroup&) = delete;
    Cgroup& operator=(const Cgroup&) = delete;

    void attach(const UniqueFd& program, bpf_attach_type type) const {
        bpf_attr attach{};
        attach.target_fd = static_cast<unsigned>(fd_.get());
        attach.attach_bpf_fd = static_cast<unsigned>(program.get());
        attach.attach_type = type;
        if (bpf(BPF_PROG_ATTACH, attach) < 0)
            throw Skip("BPF on a cgroup: " + errno_text(errno));
    }
    /* Runs `body` in a process that is in it. */
    void run(const std::function<void()>& body) const {
        Child child([&] {
            std::ofstream(path_ + "/cgroup.procs") << getpid() << std::flush;
            body();
            return 0;
        });
        CHECK_EQ(child.wait(), 0);
    }

private:
    std::string path_;
    UniqueFd fd_;
};

bpf_attach_type connect_hook(const Side& side) {
    return side.variant.family == Variant::Family::kV6 ? BPF_CGROUP_INET6_CONNECT
                                                       : BPF_CGROUP_INET4_CONNECT;
}

} // namespace

TWO_SIDED(cgroup_refuses_to_connect, 0)
void cgroup_refuses_to_connect::client(Side& side) {
    const Address to = side.peer(side.hear_port());
    Cgroup group;
    const bpf_attach_type hook = connect_hook(side);
    group.attach(bpf_returns(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, 0, hook), hook);
    group.run([&] {
        UniqueFd fd = side.socket();
        CHECK_ERRNO(::connect(fd.get(), to.get(), to.length), EPERM);
    });
    UniqueFd fd = side.connect(to.port()); /* outside it works */
    Mirrored talk(side, fd.get());
    talk.round();
    talk.end();
}
void cgroup_refuses_to_connect::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    mirror(fd.get());
}

TWO_SIDED(cgroup_programs_look_on, 0)
void cgroup_programs_look_on::client(Side& side) {
    const std::uint16_t port = side.hear_port();
    Cgroup group;
    const bpf_attach_type hook = connect_hook(side);
    group.attach(bpf_returns(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, 1, hook), hook);
    group.attach(bpf_returns(BPF_PROG_TYPE_SOCK_OPS, 1), BPF_CGROUP_SOCK_OPS);
    group.attach(bpf_returns(BPF_PROG_TYPE_CGROUP_SKB, 1), BPF_CGROUP_INET_EGRESS);
    group.attach(bpf_returns(BPF_PROG_TYPE_CGROUP_SKB, 1), BPF_CGROUP_INET_INGRESS);
    group.attach(bpf_returns(BPF_PROG_TYPE_CGROUP_SOCKOPT, 1, BPF_CGROUP_SETSOCKOPT),
                 BPF_CGROUP_SETSOCKOPT);
    group.run([&] {
        UniqueFd fd = side.connect(port);
        set_option(fd.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
        Mirrored talk(side, fd.get());
        for (int i = 0; i < 20; i++)
            talk.round();
        talk.round(200000);
        talk.end();
    });
}
void cgroup_programs_look_on::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    mirror(fd.get());
}
