/* SPDX-License-Identifier: GPL-2.0 */
/* cases_options_tcp.cpp - the options of IPPROTO_TCP, on a connection that is in use. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "option_table.h"

using namespace xway::test;

namespace {

/* Numbers of options that the system's headers may not have yet. */
constexpr int kIsMptcp = 43, kRtoMaxMs = 44, kRtoMinUs = 45, kDelackMaxUs = 46;

std::string text_option(int fd, int name) {
    char text[64] = {};
    socklen_t length = sizeof text;
    SYS(getsockopt(fd, IPPROTO_TCP, name, text, &length));
    return text;
}

} // namespace

TWO_SIDED(tcp_options_set_and_read, kPair | kCold | kMapped)
void tcp_options_set_and_read::client(Side& side) {
    static const IntOption table[] = {
        INT_OPTION(IPPROTO_TCP, TCP_NODELAY, 1, 0),
        INT_OPTION(IPPROTO_TCP, TCP_CORK, 1, 0),
        INT_OPTION(IPPROTO_TCP, TCP_KEEPIDLE, 100, 7200),
        INT_OPTION(IPPROTO_TCP, TCP_KEEPINTVL, 10, 75),
        INT_OPTION(IPPROTO_TCP, TCP_KEEPCNT, 3, 9),
        INT_OPTION(IPPROTO_TCP, TCP_SYNCNT, 3, 6),
        INT_OPTION(IPPROTO_TCP, TCP_LINGER2, 5, -1),
        INT_OPTION(IPPROTO_TCP, TCP_DEFER_ACCEPT, 3, 0),
        INT_OPTION(IPPROTO_TCP, TCP_QUICKACK, 0, 1),
        INT_OPTION(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1, 0),
        INT_OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT, 60000, 0),
        INT_OPTION(IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4096, -1),
        INT_OPTION(IPPROTO_TCP, TCP_SAVE_SYN, 1, 0),
        INT_OPTION(IPPROTO_TCP, TCP_INQ, 1, 0),
        INT_OPTION(IPPROTO_TCP, TCP_TX_DELAY, 1000, 0),
        INT_OPTION(IPPROTO_TCP, kRtoMaxMs, 2000, 120000),
        INT_OPTION(IPPROTO_TCP, kRtoMinUs, 400000, 200000),
        INT_OPTION(IPPROTO_TCP, kDelackMaxUs, 100000, 200000),
    };
    Mirrored talk(side);
    talk.round();
    set_and_read(side, talk, table);
    set_option(side.sock.get(), IPPROTO_TCP, TCP_WINDOW_CLAMP, 30000);
    CHECK_EQ(get_option(side.sock.get(), IPPROTO_TCP, TCP_WINDOW_CLAMP), 30000);
    CHECK_ERRNO(setsockopt(side.sock.get(), IPPROTO_TCP, TCP_WINDOW_CLAMP, "\0\0\0", 4), EINVAL);
    talk.round(100000);
    talk.end();
}
void tcp_options_set_and_read::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(tcp_options_of_other_states, kPair | kCold)
void tcp_options_of_other_states::client(Side& side) {
    static const OddOption odd[] = {
        ODD_OPTION(IPPROTO_TCP, TCP_MAXSEG, EINVAL, 0),
        ODD_OPTION(IPPROTO_TCP, TCP_THIN_DUPACK, 0, 0),
        ODD_OPTION(IPPROTO_TCP, TCP_TIMESTAMP, EPERM, 0),
        ODD_OPTION(IPPROTO_TCP, TCP_FASTOPEN, EINVAL, 0),
        ODD_OPTION(IPPROTO_TCP, TCP_FASTOPEN_KEY, EINVAL, 0),
        ODD_OPTION(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, EINVAL, 0),
        ODD_OPTION(IPPROTO_TCP, TCP_SAVED_SYN, ENOPROTOOPT, 0),
        ODD_OPTION(IPPROTO_TCP, TCP_INFO, ENOPROTOOPT, 0),
        ODD_OPTION(IPPROTO_TCP, TCP_CC_INFO, ENOPROTOOPT, 0),
        ODD_OPTION(IPPROTO_TCP, TCP_REPAIR_QUEUE, EPERM, EINVAL),
        ODD_OPTION(IPPROTO_TCP, TCP_QUEUE_SEQ, EPERM, EINVAL),
        ODD_OPTION(IPPROTO_TCP, TCP_REPAIR_OPTIONS, EINVAL, ENOPROTOOPT),
        ODD_OPTION(IPPROTO_TCP, TCP_REPAIR_WINDOW, EPERM, EINVAL),
        ODD_OPTION(IPPROTO_TCP, kIsMptcp, ENOPROTOOPT, 0),
        ODD_OPTION(IPPROTO_TCP, TCP_CONGESTION, ENOENT, 0),
        ODD_OPTION(IPPROTO_TCP, 9999, ENOPROTOOPT, ENOPROTOOPT),
    };
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round();
    check_odd(side, talk, odd);
    const Answer said = set_answer(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
    CHECK(said.error == EINVAL || said.error == EOPNOTSUPP);
    CHECK_EQ(get_option(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT), 0);
    check_bad_calls(fd, IPPROTO_TCP, TCP_NODELAY);
    for (const auto& [name, bad] : {std::pair{TCP_KEEPIDLE, 0},
                                    {TCP_KEEPINTVL, 0},
                                    {TCP_KEEPCNT, 200},
                                    {TCP_SYNCNT, 200},
                                    {TCP_USER_TIMEOUT, -1},
                                    {TCP_THIN_LINEAR_TIMEOUTS, 2},
                                    {TCP_INQ, 2},
                                    {TCP_SAVE_SYN, 7}})
        CHECK_ERRNO(setsockopt(fd, IPPROTO_TCP, name, &bad, sizeof bad), EINVAL);
    talk.round();
    talk.end();
}
void tcp_options_of_other_states::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(congestion_control_changes, kPair | kCold)
void congestion_control_changes::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    const std::string before = text_option(fd, TCP_CONGESTION);
    CHECK(!before.empty());
    SYS(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
    CHECK_EQ(text_option(fd, TCP_CONGESTION), "reno");
    talk.round(50000);
    CHECK_ERRNO(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "nosuch", 6), ENOENT);
    CHECK_EQ(text_option(fd, TCP_CONGESTION), "reno");
    SYS(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, before.data(),
                   static_cast<socklen_t>(before.size())));
    talk.round(50000);
    talk.end();
}
void congestion_control_changes::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(tcp_info_of_every_length, kPair | kCold)
void tcp_info_of_every_length::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round();
    /* Older programs have room for less: they get the beginning, and nothing is written behind. */
    for (socklen_t room : {0u, 1u, 8u, 104u, 160u, 192u, 4096u}) {
        std::vector<unsigned char> info(room + 16, 0xee);
        socklen_t length = room;
        SYS(getsockopt(fd, IPPROTO_TCP, TCP_INFO, info.data(), &length));
        CHECK(length <= room && (length == room || room > 192));
        CHECK(room == 0 || info[0] == 1 /* TCP_ESTABLISHED */);
        CHECK_EQ(static_cast<int>(info[length]), 0xee);
    }
    socklen_t length = static_cast<socklen_t>(-5);
    CHECK_ERRNO(getsockopt(fd, IPPROTO_TCP, TCP_INFO, nullptr, &length), EINVAL);
    length = 104;
    CHECK_ERRNO(getsockopt(fd, IPPROTO_TCP, TCP_INFO, reinterpret_cast<void*>(8), &length), EFAULT);
    tcp_info info{};
    length = sizeof info;
    SYS(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    CHECK(info.tcpi_snd_mss > 0 && info.tcpi_pmtu > 0 && info.tcpi_rto > 0);
    CHECK(info.tcpi_snd_cwnd > 0 && info.tcpi_rcv_space > 0 && info.tcpi_total_retrans < 1000);
    talk.end();
}
void tcp_info_of_every_length::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(small_segments, 0)
void small_segments::client(Side& side) {
    side.make_pair([](int fd) {
        set_option(fd, IPPROTO_TCP, TCP_MAXSEG, 600);
        CHECK_EQ(get_option(fd, IPPROTO_TCP, TCP_MAXSEG), 600);
    });
    /* Both ends keep to it, less what TCP's own options take. */
    const int mss = get_option(side.sock.get(), IPPROTO_TCP, TCP_MAXSEG);
    CHECK(mss > 400 && mss <= 600);
    Mirrored talk(side);
    talk.round(100000);
    talk.end();
}
void small_segments::server(Side& side) {
    side.make_pair([](int) {});
    const int mss = get_option(side.sock.get(), IPPROTO_TCP, TCP_MAXSEG);
    CHECK(mss > 400 && mss <= 600);
    mirror(side.sock.get());
}

TWO_SIDED(saved_syn_is_given_once, 0)
void saved_syn_is_given_once::client(Side& side) {
    UniqueFd fd = side.connect(side.hear_port());
    side.warm_up(fd.get());
    side.tell_number(local_address(fd.get()).port());
    Mirrored talk(side, fd.get());
    talk.round();
    talk.end();
}
void saved_syn_is_given_once::server(Side& side) {
    UniqueFd listener =
        side.listen(8, 0, 0, [](int fd) { set_option(fd, IPPROTO_TCP, TCP_SAVE_SYN, 1); });
    side.tell_number(local_address(listener.get()).port());
    UniqueFd fd = side.accept(listener.get());
    side.warm_up(fd.get());
    unsigned char syn[500];
    socklen_t length = 10;
    CHECK_ERRNO(getsockopt(fd.get(), IPPROTO_TCP, TCP_SAVED_SYN, syn, &length), EINVAL);
    CHECK(length >= 40 && length <= sizeof syn);
    length = sizeof syn;
    SYS(getsockopt(fd.get(), IPPROTO_TCP, TCP_SAVED_SYN, syn, &length));
    const std::size_t tcp = side.family() == AF_INET ? (syn[0] & 15) * 4u : 40;
    CHECK(length >= tcp + 20);
    CHECK_EQ(syn[tcp] * 256 + syn[tcp + 1], side.hear_number());
    length = sizeof syn;
    SYS(getsockopt(fd.get(), IPPROTO_TCP, TCP_SAVED_SYN, syn, &length));
    CHECK_EQ(length, 0u);
    mirror(fd.get());
}

TWO_SIDED(keys_of_md5_come_too_late, kPair)
void keys_of_md5_come_too_late::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round();
    tcp_md5sig key{};
    const Address peer = peer_address(fd);
    std::memcpy(&key.tcpm_addr, &peer.storage, sizeof key.tcpm_addr);
    key.tcpm_keylen = 0; /* deletes one that there is not */
    UniqueFd fresh = side.socket();
    const int wanted =
        setsockopt(fresh.get(), IPPROTO_TCP, TCP_MD5SIG, &key, sizeof key) < 0 ? errno : 0;
    CHECK(wanted == ENOENT || wanted == ENOPROTOOPT);
    CHECK_ERRNO(setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof key), wanted);
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG_EXT, &key, 3) < 0);
    socklen_t length = sizeof key;
    CHECK_ERRNO(getsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &key, &length), ENOPROTOOPT);
    talk.round(50000);
    talk.end();
}
void keys_of_md5_come_too_late::server(Side& side) {
    mirror(side.sock.get());
}
