/* SPDX-License-Identifier: GPL-2.0 */
/* cases_options_ip.cpp - the options of IPPROTO_IP and IPPROTO_IPV6, on a connection in use. */
#include <linux/in6.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cstring>

#include "option_table.h"

using namespace xway::test;

namespace {

/* Numbers that the C library's headers do not have. */
constexpr int kRecvErr4884 = 26, kLocalPortRange = 51, kIpProtocol = 52;
constexpr int kIpv6MulticastAll = 29, kIpv6AlertIsolate = 30, kIpv6RecvErr4884 = 31;
constexpr int kIpv6FlowInfo = 11, kIpv6FlowInfoSend = 33;

} // namespace

TWO_SIDED(ip_options_set_and_read, kPair | kCold | kMapped)
void ip_options_set_and_read::client(Side& side) {
    static const IntOption table[] = {
        INT_OPTION(IPPROTO_IP, IP_TOS, 0x10, 0),
        INT_OPTION(IPPROTO_IP, IP_TTL, 77, 64),
        INT_OPTION(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_PMTUDISC_WANT),
        INT_OPTION(IPPROTO_IP, IP_RECVERR, 1, 0),
        INT_OPTION(IPPROTO_IP, kRecvErr4884, 1, 0),
        INT_OPTION(IPPROTO_IP, IP_PKTINFO, 1, 0),
        INT_OPTION(IPPROTO_IP, IP_RECVTTL, 1, 0),
        INT_OPTION(IPPROTO_IP, IP_RECVTOS, 1, 0),
        INT_OPTION(IPPROTO_IP, IP_RECVOPTS, 1, 0),
        INT_OPTION(IPPROTO_IP, IP_RETOPTS, 1, 0),
        INT_OPTION(IPPROTO_IP, IP_RECVORIGDSTADDR, 1, 0),
        INT_OPTION(IPPROTO_IP, IP_PASSSEC, 1, 0),
        INT_OPTION(IPPROTO_IP, IP_CHECKSUM, 1, 0),
        INT_OPTION(IPPROTO_IP, IP_FREEBIND, 1, 0),
        INT_OPTION(IPPROTO_IP, IP_TRANSPARENT, 1, 0),
        INT_OPTION(IPPROTO_IP, IP_MINTTL, 1, 0),
        INT_OPTION(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1, 0),
        INT_OPTION(IPPROTO_IP, IP_MULTICAST_LOOP, 0, 1),
        INT_OPTION(IPPROTO_IP, IP_MULTICAST_ALL, 0, 1),
        INT_OPTION(IPPROTO_IP, kLocalPortRange, 1024 | 2000 << 16, 0),
    };
    static const OddOption odd[] = {
        ODD_OPTION(IPPROTO_IP, IP_MTU, ENOPROTOOPT, 0),
        ODD_OPTION(IPPROTO_IP, IP_NODEFRAG, ENOPROTOOPT, kAsFresh),
        ODD_OPTION(IPPROTO_IP, IP_HDRINCL, ENOPROTOOPT, kAsFresh),
        ODD_OPTION(IPPROTO_IP, IP_ROUTER_ALERT, EINVAL, kAsFresh),
        ODD_OPTION(IPPROTO_IP, IP_RECVFRAGSIZE, EINVAL, kAsFresh),
        ODD_OPTION(IPPROTO_IP, IP_MULTICAST_TTL, EINVAL, kAsFresh),
        ODD_OPTION(IPPROTO_IP, IP_MULTICAST_IF, EINVAL, kAsFresh),
        ODD_OPTION(IPPROTO_IP, IP_ADD_MEMBERSHIP, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IP, IP_DROP_MEMBERSHIP, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IP, IP_UNICAST_IF, kAsFresh, 0),
        ODD_OPTION(IPPROTO_IP, IP_PKTOPTIONS, kAsFresh, 0),
        ODD_OPTION(IPPROTO_IP, IP_IPSEC_POLICY, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IP, IP_XFRM_POLICY, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IP, kIpProtocol, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IP, 9999, ENOPROTOOPT, ENOPROTOOPT),
    };
    Mirrored talk(side);
    talk.round();
    /* These first: where others carry the bytes, none of TCP's looks for a route that is dropped.
     */
    CHECK(get_option(side.sock.get(), IPPROTO_IP, IP_MTU) >= 576);
    check_odd(side, talk, odd);
    set_and_read(side, talk, table);
    talk.round(50000);
    talk.end();
}
void ip_options_set_and_read::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(options_in_the_ip_header, kPair | kCold)
void options_in_the_ip_header::client(Side& side) {
    if (side.family() != AF_INET)
        throw Skip("IP_OPTIONS are of IPv4");
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round();
    SYS(setsockopt(fd, IPPROTO_IP, IP_OPTIONS, "\1\1\1\0", 4));
    char options[40];
    socklen_t length = sizeof options;
    SYS(getsockopt(fd, IPPROTO_IP, IP_OPTIONS, options, &length));
    CHECK_EQ(length, 4u);
    CHECK(std::memcmp(options, "\1\1\1\0", 4) == 0);
    talk.round(50000);
    SYS(setsockopt(fd, IPPROTO_IP, IP_OPTIONS, nullptr, 0));
    length = sizeof options;
    SYS(getsockopt(fd, IPPROTO_IP, IP_OPTIONS, options, &length));
    CHECK_EQ(length, 0u);
    talk.round();
    talk.end();
}
void options_in_the_ip_header::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(ipv6_options_set_and_read, kPair | kCold | kMapped)
void ipv6_options_set_and_read::client(Side& side) {
    static const IntOption table[] = {
        INT_OPTION(IPPROTO_IPV6, IPV6_UNICAST_HOPS, 77, 64),
        INT_OPTION(IPPROTO_IPV6, IPV6_TCLASS, 0x20, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO, IPV6_PMTUDISC_WANT),
        INT_OPTION(IPPROTO_IPV6, IPV6_RECVERR, 1, 0),
        INT_OPTION(IPPROTO_IPV6, kIpv6RecvErr4884, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_RECVHOPOPTS, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_RECVRTHDR, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_RECVDSTOPTS, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_RECVTCLASS, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_RECVPATHMTU, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_2292PKTINFO, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_2292HOPLIMIT, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_2292HOPOPTS, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_2292RTHDR, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_2292DSTOPTS, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_DONTFRAG, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 0, 1),
        INT_OPTION(IPPROTO_IPV6, kIpv6FlowInfo, 1, 0),
        INT_OPTION(IPPROTO_IPV6, kIpv6FlowInfoSend, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_MINHOPCOUNT, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_TRANSPARENT, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_FREEBIND, 1, 0),
        INT_OPTION(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0, 1),
        INT_OPTION(IPPROTO_IPV6, kIpv6MulticastAll, 0, 1),
        INT_OPTION(IPPROTO_IPV6, kIpv6AlertIsolate, 1, 0),
    };
    static const OddOption odd[] = {
        ODD_OPTION(IPPROTO_IPV6, IPV6_V6ONLY, EINVAL, 0),
        ODD_OPTION(IPPROTO_IPV6, IPV6_MTU, EINVAL, 0),
        ODD_OPTION(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, kAsFresh, 0),
        ODD_OPTION(IPPROTO_IPV6, IPV6_MULTICAST_IF, kAsFresh, 0),
        ODD_OPTION(IPPROTO_IPV6, IPV6_UNICAST_IF, kAsFresh, 0),
        ODD_OPTION(IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_JOIN_ANYCAST, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_LEAVE_ANYCAST, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_ROUTER_ALERT, ENOPROTOOPT, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_CHECKSUM, ENOPROTOOPT, ENOPROTOOPT),
        ODD_OPTION(IPPROTO_IPV6, IPV6_HDRINCL, ENOPROTOOPT, ENOPROTOOPT),
        ODD_OPTION(IPPROTO_IPV6, IPV6_NEXTHOP, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_AUTHHDR, ENOPROTOOPT, ENOPROTOOPT),
        ODD_OPTION(IPPROTO_IPV6, IPV6_PKTINFO, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_HOPOPTS, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_RTHDRDSTOPTS, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_RTHDR, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_DSTOPTS, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_HOPLIMIT, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_PATHMTU, kAsFresh, 0),
        ODD_OPTION(IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, 0, 0),
        ODD_OPTION(IPPROTO_IPV6, IPV6_RECVFRAGSIZE, kAsFresh, 0),
        ODD_OPTION(IPPROTO_IPV6, IPV6_2292PKTOPTIONS, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, EINVAL, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_IPSEC_POLICY, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, IPV6_XFRM_POLICY, kAsFresh, kAsFresh),
        ODD_OPTION(IPPROTO_IPV6, 9999, ENOPROTOOPT, ENOPROTOOPT),
    };
    if (side.family() != AF_INET6)
        throw Skip("an IPv4 socket has none of these");
    Mirrored talk(side);
    talk.round();
    check_odd(side, talk, odd);
    set_and_read(side, talk, table);
    talk.round(50000);
    talk.end();
}
void ipv6_options_set_and_read::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(ipv6_options_of_an_ipv4_socket, kPair)
void ipv6_options_of_an_ipv4_socket::client(Side& side) {
    if (side.family() != AF_INET)
        throw Skip("an IPv6 socket has them");
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round();
    CHECK_EQ(set_answer(fd, IPPROTO_IPV6, IPV6_TCLASS, 1).error, ENOPROTOOPT);
    CHECK_EQ(get_answer(fd, IPPROTO_IPV6, IPV6_TCLASS).error, EOPNOTSUPP);
    int value = 0;
    socklen_t length = sizeof value;
    auto* const nowhere = reinterpret_cast<int*>(8);
    CHECK_ERRNO(setsockopt(fd, IPPROTO_IP, IP_RECVTTL, nowhere, sizeof value), EFAULT);
    CHECK_ERRNO(getsockopt(fd, IPPROTO_IP, IP_RECVTTL, nowhere, &length), EFAULT);
    talk.end();
}
void ipv6_options_of_an_ipv4_socket::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(mapped_socket_becomes_ipv4, kPair | kCold | kMapped)
void mapped_socket_becomes_ipv4::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round();
    side.step("others may have ring bytes for us");
    side.await_true("some have come", [&] { return waiting(fd) == 500; });
    const Answer said = set_answer(fd, IPPROTO_IPV6, IPV6_ADDRFORM, AF_INET);
    char ulp[16] = {};
    socklen_t length = sizeof ulp;
    SYS(getsockopt(fd, IPPROTO_TCP, TCP_ULP, ulp, &length));
    if (side.family() == AF_INET) {
        CHECK_EQ(said.error, ENOPROTOOPT);
    } else if (ulp[0] != 0) {
        /* What stands between a socket and TCP holds on to the socket's functions. */
        CHECK_EQ(errno_text(said.error), "EBUSY");
    } else if (side.variant.family == Variant::Family::kV6) {
        CHECK_EQ(said.error, EADDRNOTAVAIL);
    } else {
        CHECK_EQ(said.error, 0);
        CHECK_EQ(get_option(fd, SOL_SOCKET, SO_DOMAIN), AF_INET);
        CHECK_EQ(peer_address(fd).family(), AF_INET);
        CHECK_EQ(local_address(fd).family(), AF_INET);
    }
    side.in(fd, 1).receive(500);
    talk.round(50000);
    SYS(shutdown(fd, SHUT_WR));
    talk.back().expect_end();
}
void mapped_socket_becomes_ipv4::server(Side& side) {
    const int fd = side.sock.get();
    StreamReader in = side.in();
    StreamWriter back(fd, 1); /* the client's own stream */
    in.receive(3000);
    back.send(3000);
    side.step("others may have ring bytes for us");
    side.out(fd, 1).send(500);
    in.receive(50000);
    back.send(50000);
    in.expect_end();
    SYS(shutdown(fd, SHUT_WR));
}

TWO_SIDED(every_size_of_option, kPair)
void every_size_of_option::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round();
    /* IPPROTO_IP takes a byte for an int, and gives one where there is room for no more. */
    unsigned char byte = 9;
    SYS(setsockopt(fd, IPPROTO_IP, IP_TTL, &byte, 1));
    CHECK_EQ(get_option(fd, IPPROTO_IP, IP_TTL), 9);
    socklen_t length = 1;
    byte = 0;
    SYS(getsockopt(fd, IPPROTO_IP, IP_TTL, &byte, &length));
    CHECK(length == 1 && byte == 9);
    for (int bad : {0, 256, -2})
        CHECK_ERRNO(setsockopt(fd, IPPROTO_IP, IP_TTL, &bad, sizeof bad), EINVAL);
    CHECK_EQ(get_option(fd, IPPROTO_IP, IP_TTL), 9);
    set_option(fd, IPPROTO_IP, IP_TTL, -1); /* as it was */
    talk.round();
    talk.end();
}
void every_size_of_option::server(Side& side) {
    mirror(side.sock.get());
}
