/* SPDX-License-Identifier: GPL-2.0 */
/* cases_options_socket.cpp - the options of SOL_SOCKET, on a connection that is in use. */
#include <ifaddrs.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <poll.h>

#include <cstring>
#include <vector>

#include "option_table.h"

using namespace xway::test;

namespace {

/* Numbers of options that the C library's headers may not have yet. */
constexpr int kPassPidFd = 76, kPeerPidFd = 77;

void mirror_pair(Side& side) {
    mirror(side.sock.get());
}

/* The interface that has the connection's own address. */
std::string interface_of(int fd) {
    const Address own = local_address(fd);
    ifaddrs* list = nullptr;
    SYS(getifaddrs(&list));
    std::string found;
    for (const ifaddrs* i = list; i; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != own.family())
            continue;
        Address other;
        other.length = own.family() == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
        std::memcpy(&other.storage, i->ifa_addr, other.length);
        other.set_port(own.port());
        if (other.text() == own.text())
            found = i->ifa_name;
    }
    freeifaddrs(list);
    CHECK(!found.empty());
    return found;
}

} // namespace

TWO_SIDED(socket_flags_set_and_read, kPair | kCold | kMapped)
void socket_flags_set_and_read::client(Side& side) {
    static const IntOption table[] = {
        INT_OPTION(SOL_SOCKET, SO_DEBUG, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_REUSEADDR, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_REUSEPORT, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_DONTROUTE, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_BROADCAST, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_KEEPALIVE, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_OOBINLINE, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_NO_CHECK, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_PASSCRED, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_PASSSEC, 1, 0),
        INT_OPTION(SOL_SOCKET, kPassPidFd, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_RCVLOWAT, 2, 1),
        INT_OPTION(SOL_SOCKET, SO_RXQ_OVFL, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_WIFI_STATUS, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_NOFCS, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_SELECT_ERR_QUEUE, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_BUF_LOCK, SOCK_SNDBUF_LOCK | SOCK_RCVBUF_LOCK, 0),
        INT_OPTION(SOL_SOCKET, SO_RESERVE_MEM, 4096, 0),
        INT_OPTION(SOL_SOCKET, SO_TXREHASH, 1, 0),
    };
    Mirrored talk(side);
    talk.round();
    set_and_read(side, talk, table);
    talk.round(100000);
    talk.end();
}
void socket_flags_set_and_read::server(Side& side) {
    mirror_pair(side);
}

TWO_SIDED(marks_priority_and_pacing, kPair | kCold)
void marks_priority_and_pacing::client(Side& side) {
    static const IntOption table[] = {
        INT_OPTION(SOL_SOCKET, SO_PRIORITY, 5, 0),
        INT_OPTION(SOL_SOCKET, SO_MARK, 7, 0),
        INT_OPTION(SOL_SOCKET, SO_RCVMARK, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_MAX_PACING_RATE, 1000000000, -1),
    };
    Mirrored talk(side);
    set_and_read(side, talk, table);
    talk.round(100000);
    talk.end();
}
void marks_priority_and_pacing::server(Side& side) {
    mirror_pair(side);
}

TWO_SIDED(busy_poll_and_cpu, kPair | kCold)
void busy_poll_and_cpu::client(Side& side) {
    static const IntOption table[] = {
        INT_OPTION(SOL_SOCKET, SO_BUSY_POLL, 50, 0),
        INT_OPTION(SOL_SOCKET, SO_PREFER_BUSY_POLL, 1, 0),
    };
    static const OddOption odd[] = {
        ODD_OPTION(SOL_SOCKET, SO_BUSY_POLL_BUDGET, 0, ENOPROTOOPT),
        ODD_OPTION(SOL_SOCKET, SO_INCOMING_NAPI_ID, ENOPROTOOPT, 0),
        ODD_OPTION(SOL_SOCKET, SO_INCOMING_CPU, kAsFresh, 0),
    };
    Mirrored talk(side);
    set_and_read(side, talk, table);
    check_odd(side, talk, odd);
    const int cpu = get_option(side.sock.get(), SOL_SOCKET, SO_INCOMING_CPU);
    CHECK(cpu >= -1 && cpu < CPU_SETSIZE);
    set_option(side.sock.get(), SOL_SOCKET, SO_BUSY_POLL, 50);
    for (int i = 0; i < 20; i++)
        talk.round(10);
    talk.end();
}
void busy_poll_and_cpu::server(Side& side) {
    mirror_pair(side);
}

TWO_SIDED(socket_options_that_only_tell, kPair | kCold | kMapped)
void socket_options_that_only_tell::client(Side& side) {
    static const OddOption odd[] = {
        ODD_OPTION(SOL_SOCKET, SO_TYPE, ENOPROTOOPT, 0),
        ODD_OPTION(SOL_SOCKET, SO_DOMAIN, ENOPROTOOPT, 0),
        ODD_OPTION(SOL_SOCKET, SO_PROTOCOL, ENOPROTOOPT, 0),
        ODD_OPTION(SOL_SOCKET, SO_ERROR, ENOPROTOOPT, 0),
        ODD_OPTION(SOL_SOCKET, SO_ACCEPTCONN, ENOPROTOOPT, 0),
        ODD_OPTION(SOL_SOCKET, SO_SNDLOWAT, ENOPROTOOPT, 0),
        ODD_OPTION(SOL_SOCKET, SO_BSDCOMPAT, 0, 0),
        ODD_OPTION(SOL_SOCKET, SO_PEERCRED, ENOPROTOOPT, 0),
        ODD_OPTION(SOL_SOCKET, SO_PEERGROUPS, ENOPROTOOPT, ENODATA),
        ODD_OPTION(SOL_SOCKET, SO_PEERSEC, ENOPROTOOPT, kAsFresh),
        ODD_OPTION(SOL_SOCKET, kPeerPidFd, ENOPROTOOPT, kAsFresh),
        ODD_OPTION(SOL_SOCKET, SO_COOKIE, ENOPROTOOPT, 0),
        ODD_OPTION(SOL_SOCKET, SO_NETNS_COOKIE, ENOPROTOOPT, EINVAL),
        ODD_OPTION(SOL_SOCKET, SO_MEMINFO, ENOPROTOOPT, 0),
        ODD_OPTION(SOL_SOCKET, SO_BPF_EXTENSIONS, ENOPROTOOPT, 0),
        ODD_OPTION(SOL_SOCKET, SO_PEERNAME, ENOPROTOOPT, EINVAL),
        ODD_OPTION(SOL_SOCKET, SO_TXTIME, EINVAL, 0),
        ODD_OPTION(SOL_SOCKET, SO_CNX_ADVICE, 0, ENOPROTOOPT),
        ODD_OPTION(SOL_SOCKET, 9999, ENOPROTOOPT, ENOPROTOOPT),
    };
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round();
    check_odd(side, talk, odd);
    CHECK_EQ(get_option(fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
    CHECK_EQ(get_option(fd, SOL_SOCKET, SO_SNDLOWAT), 1);
    ucred nobody{};
    socklen_t length = sizeof nobody;
    SYS(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &nobody, &length));
    CHECK(nobody.pid == 0 && nobody.uid == static_cast<uid_t>(-1));
    talk.end();
}
void socket_options_that_only_tell::server(Side& side) {
    mirror_pair(side);
}

TWO_SIDED(cookies_and_names, kPair | kCold | kMapped)
void cookies_and_names::client(Side& side) {
    auto number = [](int fd, int name) {
        std::uint64_t value = 0;
        socklen_t length = sizeof value;
        SYS(getsockopt(fd, SOL_SOCKET, name, &value, &length));
        CHECK_EQ(length, sizeof value);
        return value;
    };
    const int fd = side.sock.get();
    Mirrored talk(side);
    const std::uint64_t cookie = number(fd, SO_COOKIE);
    UniqueFd copy(SYS(dup(fd))), other = side.socket();
    talk.round();
    CHECK(cookie != 0 && cookie == number(fd, SO_COOKIE));
    CHECK_EQ(number(copy.get(), SO_COOKIE), cookie);
    CHECK(number(other.get(), SO_COOKIE) != cookie);
    CHECK_EQ(number(other.get(), SO_NETNS_COOKIE), number(fd, SO_NETNS_COOKIE));
    Address peer;
    peer.length = peer_address(fd).length; /* there may be no more room than that */
    SYS(getsockopt(fd, SOL_SOCKET, SO_PEERNAME, peer.get(), &peer.length));
    CHECK_EQ(peer.text(), peer_address(fd).text());
    CHECK_ERRNO(getsockopt(other.get(), SOL_SOCKET, SO_PEERNAME, peer.get(), &peer.length),
                ENOTCONN);
    std::uint32_t memory[SK_MEMINFO_VARS] = {};
    socklen_t length = sizeof memory;
    SYS(getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length));
    CHECK_EQ(memory[SK_MEMINFO_RCVBUF],
             static_cast<std::uint32_t>(get_option(fd, SOL_SOCKET, SO_RCVBUF)));
    talk.end();
}
void cookies_and_names::server(Side& side) {
    mirror_pair(side);
}

TWO_SIDED(buffer_sizes, kPair | kCold)
void buffer_sizes::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    for (const auto& [name, forced] :
         {std::pair{SO_SNDBUF, SO_SNDBUFFORCE}, std::pair{SO_RCVBUF, SO_RCVBUFFORCE}}) {
        /* The kernel doubles what it is asked for, and keeps to a least and to a greatest. */
        set_option(fd, SOL_SOCKET, name, 40000);
        CHECK_EQ(get_option(fd, SOL_SOCKET, name), 80000);
        talk.round(60000);
        set_option(fd, SOL_SOCKET, name, 0);
        CHECK(get_option(fd, SOL_SOCKET, name) >= 2048);
        set_option(fd, SOL_SOCKET, name, 1 << 30);
        const int most = get_option(fd, SOL_SOCKET, name);
        CHECK(most >= 80000);
        talk.round(60000);
        const Answer said = set_answer(fd, SOL_SOCKET, forced, most);
        CHECK(said.error == EPERM || get_option(fd, SOL_SOCKET, name) == 2 * most);
        CHECK_EQ(get_answer(fd, SOL_SOCKET, forced).error, ENOPROTOOPT);
        CHECK(get_option(fd, SOL_SOCKET, SO_BUF_LOCK) != 0);
    }
    talk.round(200000);
    talk.end();
}
void buffer_sizes::server(Side& side) {
    mirror_pair(side);
}

TWO_SIDED(timeouts_and_linger_read_back, kPair | kCold)
void timeouts_and_linger_read_back::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    constexpr int kNew[] = {SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW};
    for (int name : {SO_RCVTIMEO, SO_SNDTIMEO, kNew[0], kNew[1]}) {
        timeval t{9, 500000};
        socklen_t length = sizeof t;
        SYS(setsockopt(fd, SOL_SOCKET, name, &t, sizeof t));
        t = {};
        SYS(getsockopt(fd, SOL_SOCKET, name, &t, &length));
        CHECK(length == sizeof t && t.tv_sec == 9 && t.tv_usec == 500000);
        talk.round();
        t = {0, 1000000};
        CHECK_ERRNO(setsockopt(fd, SOL_SOCKET, name, &t, sizeof t), EDOM);
        CHECK_ERRNO(setsockopt(fd, SOL_SOCKET, name, &t, 4), EINVAL);
        t = {0, 0};
        SYS(setsockopt(fd, SOL_SOCKET, name, &t, sizeof t));
    }
    linger l{};
    socklen_t length = sizeof l;
    SYS(getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &length));
    CHECK(length == sizeof l && l.l_onoff == 0);
    l = {1, 5};
    SYS(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
    l = {};
    SYS(getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &length));
    CHECK(l.l_onoff == 1 && l.l_linger == 5);
    CHECK_ERRNO(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, 4), EINVAL);
    l = {};
    SYS(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
    talk.round();
    talk.end();
}
void timeouts_and_linger_read_back::server(Side& side) {
    mirror_pair(side);
}

TWO_SIDED(bad_option_calls, kPair | kCold)
void bad_option_calls::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round();
    check_bad_calls(fd, SOL_SOCKET, SO_KEEPALIVE);
    check_bad_calls(fd, SOL_SOCKET, SO_RCVLOWAT);
    CHECK_ERRNO(setsockopt(fd, 12345, 1, "1234", 4), ENOPROTOOPT);
    CHECK_ERRNO(setsockopt(-1, SOL_SOCKET, SO_KEEPALIVE, "1234", 4), EBADF);
    /* What there is no room for is left out. */
    for (socklen_t room : {0u, 1u, 3u, 4u, 64u}) {
        unsigned char value[64];
        std::memset(value, 0xee, sizeof value);
        socklen_t length = room;
        SYS(getsockopt(fd, SOL_SOCKET, SO_TYPE, value, &length));
        CHECK_EQ(length, std::min<socklen_t>(room, 4));
        CHECK(room == 0 || value[0] == SOCK_STREAM);
        CHECK_EQ(static_cast<int>(value[length]), 0xee);
    }
    talk.round();
    talk.end();
}
void bad_option_calls::server(Side& side) {
    mirror_pair(side);
}

TWO_SIDED(bound_to_its_device, 0)
void bound_to_its_device::client(Side& side) {
    const std::uint16_t port = side.hear_port();
    std::string device;
    {
        UniqueFd probe = side.connect(port);
        device = interface_of(probe.get());
    }
    UniqueFd fd = side.connect(port, [&](int s) {
        if (setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, device.data(),
                       static_cast<socklen_t>(device.size())) < 0)
            throw Skip("SO_BINDTODEVICE: " + errno_text(errno));
    });
    Mirrored talk(side, fd.get());
    side.warm_up(fd.get());
    talk.round();
    char name[IFNAMSIZ] = {};
    socklen_t length = sizeof name;
    SYS(getsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, name, &length));
    CHECK_EQ(std::string(name), device);
    CHECK_EQ(get_option(fd.get(), SOL_SOCKET, SO_BINDTOIFINDEX),
             static_cast<int>(if_nametoindex(device.c_str())));
    CHECK_ERRNO(setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, "nosuch0", 7), ENODEV);
    talk.round();
    /* Let go again, while the stream goes on. */
    SYS(setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, "", 0));
    CHECK_EQ(get_option(fd.get(), SOL_SOCKET, SO_BINDTOIFINDEX), 0);
    talk.round(50000);
    talk.end();
}
void bound_to_its_device::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd probe = side.accept(listener.get());
    side.in(probe.get()).expect_end();
    UniqueFd fd = side.accept(listener.get());
    side.warm_up(fd.get());
    mirror(fd.get());
}

namespace {

/* One recvmsg(): how many SCM_TIMESTAMP, or whatever `type`, came with the bytes. */
int stamps_received(int fd, StreamReader& in, std::size_t n, int type, int flags = 0) {
    std::vector<std::byte> bytes(n);
    iovec piece{bytes.data(), bytes.size()};
    alignas(cmsghdr) char control[256];
    msghdr m{};
    m.msg_iov = &piece;
    m.msg_iovlen = 1;
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    const auto got = static_cast<std::size_t>(SYS(recvmsg(fd, &m, flags)));
    in.accept(std::span(bytes).first(got));
    in.receive(n - got);
    CHECK_EQ(m.msg_flags & MSG_CTRUNC, 0);
    int count = 0;
    for (cmsghdr* c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        count += c->cmsg_level == SOL_SOCKET && c->cmsg_type == type;
    return count;
}

/* 100 bytes that are to be acknowledged to us; with `by_message` this call alone says so. */
void send_stamped(int fd, StreamWriter& out, bool by_message) {
    if (!by_message) {
        out.send(100);
        return;
    }
    std::vector<std::byte> bytes = out.next(100);
    iovec part{bytes.data(), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(std::uint32_t))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* cmsg = CMSG_FIRSTHDR(&message);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SO_TIMESTAMPING;
    cmsg->cmsg_len = CMSG_LEN(sizeof(std::uint32_t));
    const std::uint32_t flags = SOF_TIMESTAMPING_TX_ACK;
    std::memcpy(CMSG_DATA(cmsg), &flags, sizeof flags);
    CHECK_EQ(SYS(sendmsg(fd, &message, 0)), 100);
    out.advance(100);
}

/* What the error queue says of one acknowledgement: true once it is there. */
bool takes_stamp(int fd) {
    char control[512];
    msghdr message{};
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
        CHECK_EQ(errno_text(errno), "EAGAIN");
        return false;
    }
    bool stamp = false, acknowledged = false;
    for (cmsghdr* cmsg = CMSG_FIRSTHDR(&message); cmsg; cmsg = CMSG_NXTHDR(&message, cmsg)) {
        stamp |= cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_TIMESTAMPING;
        if ((cmsg->cmsg_level == SOL_IP && cmsg->cmsg_type == IP_RECVERR) ||
            (cmsg->cmsg_level == SOL_IPV6 && cmsg->cmsg_type == IPV6_RECVERR)) {
            sock_extended_err error;
            std::memcpy(&error, CMSG_DATA(cmsg), sizeof error);
            acknowledged =
                error.ee_origin == SO_EE_ORIGIN_TIMESTAMPING && error.ee_info == SCM_TSTAMP_ACK;
        }
    }
    CHECK(stamp && acknowledged);
    return true;
}

} // namespace

TWO_SIDED(receive_timestamps, kPair | kCold)
void receive_timestamps::client(Side& side) {
    static const IntOption table[] = {
        INT_OPTION(SOL_SOCKET, SO_TIMESTAMP_NEW, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_TIMESTAMPNS_NEW, 1, 0),
        INT_OPTION(SOL_SOCKET, SO_TIMESTAMPING_NEW, 24, 0),
    };
    Mirrored talk(side);
    const int fd = side.sock.get();
    talk.round();
    set_and_read(side, talk, table);
    const struct {
        int name, value, type;
    } kinds[] = {
        {SO_TIMESTAMP, 1, SCM_TIMESTAMP},
        {SO_TIMESTAMPNS, 1, SCM_TIMESTAMPNS},
        {SO_TIMESTAMPING, SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE,
         SCM_TIMESTAMPING},
    };
    for (const auto& [name, value, type] : kinds) {
        set_option(fd, SOL_SOCKET, name, value);
        CHECK_EQ(get_option(fd, SOL_SOCKET, name), value);
        /* Packets are stamped a little after the first socket has asked for it. */
        side.await_true("a timestamp", [&] {
            talk.out().send(100);
            return stamps_received(fd, talk.back(), 100, type) == 1;
        });
        /* Many segments, one call: one time. */
        talk.out().send(60000);
        CHECK_EQ(stamps_received(fd, talk.back(), 60000, type, MSG_WAITALL), 1);
        set_option(fd, SOL_SOCKET, name, 0);
        talk.out().send(100);
        CHECK_EQ(stamps_received(fd, talk.back(), 100, type), 0);
    }
    talk.end();
}
void receive_timestamps::server(Side& side) {
    mirror_pair(side);
}

TWO_SIDED(send_timestamps, kPair | kCold)
void send_timestamps::client(Side& side) {
    constexpr int kTold = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY;
    Mirrored talk(side);
    const int fd = side.sock.get();
    talk.round();
    for (bool by_message : {true, false}) {
        set_option(fd, SOL_SOCKET, SO_TIMESTAMPING,
                   kTold | (by_message ? 0 : SOF_TIMESTAMPING_TX_ACK));
        send_stamped(fd, talk.out(), by_message);
        talk.back().receive(100);
        side.await_true("a timestamp", [&] { return takes_stamp(fd); });
        set_option(fd, SOL_SOCKET, SO_TIMESTAMPING, 0);
        talk.round();
        CHECK(!takes_stamp(fd));
    }
    talk.end();
}
void send_timestamps::server(Side& side) {
    mirror_pair(side);
}

TWO_SIDED(peek_offset, kPair | kCold)
void peek_offset::client(Side& side) {
    const int fd = side.sock.get();
    const Answer set = set_answer(fd, SOL_SOCKET, SO_PEEK_OFF, 0);
    if (set.error != 0) {
        CHECK(set.error == EOPNOTSUPP);
        throw Skip("SO_PEEK_OFF of TCP: " + errno_text(set.error));
    }
    StreamReader in = side.in();
    side.step("set");
    side.step("sent");
    side.await_true("all has come", [&] { return waiting(fd) == 1000; });
    /* Each look begins where the last has ended; a read takes from it. */
    std::vector<std::byte> bytes(400);
    for (unsigned at : {0u, 400u}) {
        CHECK_EQ(SYS(recv(fd, bytes.data(), bytes.size(), MSG_PEEK)), 400);
        in.compare(bytes, at);
    }
    CHECK_EQ(get_option(fd, SOL_SOCKET, SO_PEEK_OFF), 800);
    in.receive(300);
    CHECK_EQ(get_option(fd, SOL_SOCKET, SO_PEEK_OFF), 500);
    CHECK_EQ(SYS(recv(fd, bytes.data(), bytes.size(), MSG_PEEK)), 200);
    in.compare(std::span(bytes).first(200), 500);
    CHECK_ERRNO(recv(fd, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT), EAGAIN);
    set_option(fd, SOL_SOCKET, SO_PEEK_OFF, -1);
    CHECK_EQ(SYS(in.receive_some(10, MSG_PEEK)), 10);
    in.receive(700);
    side.out().send(1);
}
void peek_offset::server(Side& side) {
    side.step("set");
    side.out().send(1000);
    side.step("sent");
    side.in().receive(1);
}
