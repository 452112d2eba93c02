/* SPDX-License-Identifier: GPL-2.0 */
/* cases_diag.cpp - what others see of a connection, and may do to it: sock_diag, /proc/net/tcp. */
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

#include "mirror.h"

using namespace xway::test;

namespace {

constexpr unsigned short kDestroy = 21; /* SOCK_DESTROY */

inet_diag_sockid sockid_of(int fd) {
    const Address own = local_address(fd), peer = peer_address(fd);
    inet_diag_sockid id{};
    id.idiag_sport = htons(own.port());
    id.idiag_dport = htons(peer.port());
    auto copy = [](const Address& from, std::uint32_t* to) {
        if (from.family() == AF_INET)
            std::memcpy(to, &reinterpret_cast<const sockaddr_in&>(from.storage).sin_addr, 4);
        else
            std::memcpy(to, &reinterpret_cast<const sockaddr_in6&>(from.storage).sin6_addr, 16);
    };
    copy(own, id.idiag_src);
    copy(peer, id.idiag_dst);
    socklen_t length = sizeof id.idiag_cookie;
    SYS(getsockopt(fd, SOL_SOCKET, SO_COOKIE, id.idiag_cookie, &length));
    return id;
}

/* What the kernel says of one connection. */
struct Found {
    inet_diag_msg message{};
    std::string congestion;
    bool info = false;
};

/* One request to sock_diag for the connection of `fd`: errno, or 0 and what was found. */
int ask(int fd, unsigned short type, Found* found) {
    UniqueFd netlink(SYS(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG)));
    struct {
        nlmsghdr header;
        inet_diag_req_v2 request;
    } ask{};
    ask.header.nlmsg_len = sizeof ask;
    ask.header.nlmsg_type = type;
    ask.header.nlmsg_flags = NLM_F_REQUEST | (type == kDestroy ? NLM_F_ACK : 0);
    ask.request.sdiag_family = static_cast<__u8>(local_address(fd).family());
    ask.request.sdiag_protocol = IPPROTO_TCP;
    ask.request.idiag_ext = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_CONG - 1);
    ask.request.idiag_states = ~0u;
    ask.request.id = sockid_of(fd);
    SYS(send(netlink.get(), &ask, sizeof ask, 0));
    alignas(nlmsghdr) char answer[8192];
    const ssize_t n = SYS(recv(netlink.get(), answer, sizeof answer, 0));
    const auto* header = reinterpret_cast<const nlmsghdr*>(answer);
    CHECK(n >= static_cast<ssize_t>(sizeof *header));
    if (header->nlmsg_type == NLMSG_ERROR)
        return -static_cast<const nlmsgerr*>(NLMSG_DATA(header))->error;
    std::memcpy(&found->message, NLMSG_DATA(header), sizeof found->message);
    auto left = static_cast<int>(header->nlmsg_len - NLMSG_LENGTH(sizeof found->message));
    const auto* attribute = reinterpret_cast<const rtattr*>(
        static_cast<const char*>(NLMSG_DATA(header)) + NLMSG_ALIGN(sizeof found->message));
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
        if (attribute->rta_type == INET_DIAG_CONG)
            found->congestion = static_cast<const char*>(RTA_DATA(attribute));
        found->info |= attribute->rta_type == INET_DIAG_INFO;
    }
    return 0;
}

unsigned long inode_of(int fd) {
    struct stat status {};
    SYS(fstat(fd, &status));
    return status.st_ino;
}

/* The state in /proc/net/tcp or tcp6 of the socket with this inode, in hexadecimal. */
std::optional<std::string> state_in_proc(int family, unsigned long inode) {
    std::ifstream file(family == AF_INET ? "/proc/net/tcp" : "/proc/net/tcp6");
    for (std::string line; std::getline(file, line);) {
        std::istringstream in(line);
        std::string number, local, remote, state, queues, timer, retransmits, uid, timeout;
        unsigned long found = 0;
        if (in >> number >> local >> remote >> state >> queues >> timer >> retransmits >> uid >>
                timeout >> found &&
            found == inode)
            return state;
    }
    return std::nullopt;
}

/* Ends the connection as `ss -K` does. */
void destroy(int fd) {
    Found none;
    const int error = ask(fd, kDestroy, &none);
    if (error == EPERM || error == EOPNOTSUPP || error == ENOENT)
        throw Skip("SOCK_DESTROY: " + errno_text(error));
    CHECK_EQ(errno_text(error), "0");
}

} // namespace

TWO_SIDED(sock_diag_finds_the_connection, kPair | kCold | kMapped)
void sock_diag_finds_the_connection::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    for (int round = 0; round < 3; round++) {
        talk.round(5000);
        Found found;
        const int error = ask(fd, SOCK_DIAG_BY_FAMILY, &found);
        if (error != 0)
            throw Skip("sock_diag: " + errno_text(error));
        CHECK_EQ(static_cast<int>(found.message.idiag_state), static_cast<int>(TCP_ESTABLISHED));
        CHECK_EQ(found.message.idiag_inode, inode_of(fd));
        CHECK_EQ(found.message.idiag_uid, getuid());
        CHECK(found.info && !found.congestion.empty());
        CHECK_EQ(found.message.idiag_rqueue, 0u);
    }
    SYS(shutdown(fd, SHUT_WR));
    talk.back().expect_end();
}
void sock_diag_finds_the_connection::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(proc_lists_the_connection, kPair | kCold | kMapped)
void proc_lists_the_connection::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round(5000);
    CHECK_EQ(state_in_proc(side.family(), inode_of(fd)).value_or("none"), "01");
    side.step("open");
    SYS(shutdown(fd, SHUT_WR));
    talk.back().expect_end();
    side.await_true("it is gone from there", [&] {
        const auto state = state_in_proc(side.family(), inode_of(fd));
        return !state || *state == "06" /* TIME_WAIT */;
    });
}
void proc_lists_the_connection::server(Side& side) {
    UniqueFd listener = side.listen();
    CHECK_EQ(state_in_proc(side.family(), inode_of(listener.get())).value_or("none"), "0A");
    std::thread mirrors([&] { mirror(side.sock.get()); });
    side.step("open");
    mirrors.join();
}

TWO_SIDED(destroyed_while_idle, kPair | kCold)
void destroyed_while_idle::client(Side& side) {
    const int fd = side.sock.get();
    StreamWriter out = side.out();
    StreamReader in = side.in();
    out.send(1000);
    in.receive(1000);
    side.step("exchanged");
    destroy(fd);
    /* The program is told once, then the connection is no more. */
    CHECK(side.await(fd, POLLIN) & POLLERR);
    CHECK_ERRNO(in.receive_some(10), ECONNABORTED);
    CHECK_EQ(in.receive_some(10), 0);
    CHECK_ERRNO(out.send_some(10), EPIPE);
    side.step("destroyed");
}
void destroyed_while_idle::server(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    in.receive(1000);
    out.send(1000);
    side.step("exchanged");
    side.step("destroyed");
    CHECK_ERRNO(in.receive_some(10), ECONNRESET);
    CHECK_EQ(in.receive_some(10), 0);
}

namespace {

/* Destroys the connection in a while, under a call that sleeps. */
class Killer {
public:
    Killer(Side& side, int fd)
        : thread_([this, &side, fd] {
              side.settle(2);
              try {
                  destroy(fd);
              } catch (const Skip& e) {
                  failure_ = e.what();
                  shutdown(fd, SHUT_RDWR);
              }
          }) {}
    /* Throws Skip if it could not. */
    void join() {
        thread_.join();
        if (!failure_.empty())
            throw Skip(failure_);
    }

private:
    std::string failure_;
    std::thread thread_;
};

} // namespace

TWO_SIDED(destroyed_under_a_receiver, kPair | kCold)
void destroyed_under_a_receiver::client(Side& side) {
    const int fd = side.sock.get();
    StreamReader in = side.in();
    in.receive(100);
    Killer killer(side, fd);
    const ssize_t got = in.receive_some(10);
    const int error = errno;
    killer.join();
    CHECK_EQ(got, -1);
    CHECK_EQ(errno_text(error), "ECONNABORTED");
    side.step("destroyed");
}
void destroyed_under_a_receiver::server(Side& side) {
    side.out().send(100);
    side.step("destroyed");
    CHECK_ERRNO(side.in().receive_some(10), ECONNRESET);
}

TWO_SIDED(destroyed_under_a_sender, kPair)
void destroyed_under_a_sender::client(Side& side) {
    const int fd = side.sock.get();
    StreamWriter out = side.out();
    out.fill();
    Killer killer(side, fd);
    ssize_t sent;
    do
        sent = out.send_some(1 << 20);
    while (sent > 0);
    const int error = errno;
    killer.join();
    CHECK(error == ECONNABORTED || error == EPIPE);
    side.step("destroyed");
}
void destroyed_under_a_sender::server(Side& side) {
    side.step("destroyed");
    /* What had come is read, or thrown away by the reset; never more than was sent. */
    CHECK_EQ(errno_text(side.in().receive_to_end_or_reset()), "ECONNRESET");
}
