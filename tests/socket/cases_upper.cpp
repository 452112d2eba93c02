/* SPDX-License-Identifier: GPL-2.0 */
/* cases_upper.cpp - what is built on TCP or takes its place: kTLS, MPTCP, SMC, fast open, repair.
 */
#include <linux/tcp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <poll.h>

#include <cstring>

#include "bpf.h"
#include "mirror.h"

using namespace xway::test;

namespace {

constexpr int kFamilySmc = 43, kSolTls = 282, kIsMptcp = 43;

tls12_crypto_info_aes_gcm_128 key_of(bool from_client) {
    tls12_crypto_info_aes_gcm_128 key{};
    key.info.version = TLS_1_2_VERSION;
    key.info.cipher_type = TLS_CIPHER_AES_GCM_128;
    std::memset(key.key, from_client ? 0x11 : 0x22, sizeof key.key);
    std::memset(key.salt, 0x33, sizeof key.salt);
    return key;
}

/* Puts TLS on the connection. False: this kernel has none, or something else sits there. */
bool begin_tls(Side& side) {
    const int fd = side.sock.get();
    if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3) < 0) {
        if (std::strcmp(upper_layer(fd), "xway") == 0)
            CHECK(errno == EEXIST || errno == ENOENT);
        else
            CHECK(errno == ENOENT || errno == EPERM);
        return false;
    }
    CHECK_EQ(std::string(upper_layer(fd)), "tls");
    CHECK_ERRNO(setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3), EEXIST);
    return true;
}

} // namespace

TWO_SIDED(encrypted_by_the_kernel, kPair | kCold)
void encrypted_by_the_kernel::client(Side& side) {
    const int fd = side.sock.get();
    {
        StreamWriter out = side.out(fd, 1);
        StreamReader in = side.in(fd, 1);
        out.send(1000);
        in.receive(1000);
    }
    side.step("in the clear");
    const bool mine = begin_tls(side);
    side.tell_number(mine);
    const bool both = (side.hear_number() != 0) && mine;
    if (both) {
        const auto tx = key_of(side.client), rx = key_of(!side.client);
        SYS(setsockopt(fd, kSolTls, TLS_TX, &tx, sizeof tx));
        SYS(setsockopt(fd, kSolTls, TLS_RX, &rx, sizeof rx));
    }
    side.step(both ? "keys" : "none");
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (std::size_t n : {1u, 100u, 20000u, 100u}) {
        out.send(n);
        in.receive(n);
    }
    side.step("exchanged");
}
void encrypted_by_the_kernel::server(Side& side) {
    encrypted_by_the_kernel::client(side);
}

TWO_SIDED(multipath_client, 0)
void multipath_client::client(Side& side) {
    const Address to = side.peer(side.hear_port());
    UniqueFd fd(::socket(side.family(), SOCK_STREAM, IPPROTO_MPTCP));
    if (!fd.valid())
        throw Skip("MPTCP: " + errno_text(errno));
    SYS(::connect(fd.get(), to.get(), to.length));
    Mirrored talk(side, fd.get());
    for (int i = 0; i < 20; i++)
        talk.round();
    talk.round(200000);
    /* The other end has no MPTCP: it is TCP underneath, and says so where the kernel tells. */
    int is = -1;
    socklen_t length = sizeof is;
    if (getsockopt(fd.get(), IPPROTO_TCP, kIsMptcp, &is, &length) == 0)
        CHECK(is == 0 || is == 1);
    talk.end();
}
void multipath_client::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    mirror(fd.get());
}

TWO_SIDED(multipath_listener, 0)
void multipath_listener::client(Side& side) {
    UniqueFd fd = side.connect(side.hear_port());
    side.warm(fd.get());
    Mirrored talk(side, fd.get());
    talk.round(200000);
    talk.end();
}
void multipath_listener::server(Side& side) {
    UniqueFd listener(::socket(side.family(), SOCK_STREAM, IPPROTO_MPTCP));
    if (!listener.valid())
        throw Skip("MPTCP: " + errno_text(errno));
    SYS(::listen(listener.get(), 5));
    side.tell_number(local_address(listener.get()).port());
    UniqueFd fd = side.accept(listener.get());
    side.warm(fd.get());
    mirror(fd.get());
}

TWO_SIDED(smc_client_falls_back, 0)
void smc_client_falls_back::client(Side& side) {
    const Address to = side.peer(side.hear_port());
    UniqueFd fd(::socket(kFamilySmc, SOCK_STREAM, side.family() == AF_INET ? 0 : 1));
    if (!fd.valid())
        throw Skip("SMC: " + errno_text(errno));
    SYS(::connect(fd.get(), to.get(), to.length));
    Mirrored talk(side, fd.get());
    talk.round(20000);
    talk.end();
}
void smc_client_falls_back::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    mirror(fd.get());
}

TWO_SIDED(fast_open_connect, kMapped)
void fast_open_connect::client(Side& side) {
    const std::uint16_t port = side.hear_port();
    /* The first asks for a cookie, the next ones may use it. */
    for (int i = 0; i < 3; i++) {
        UniqueFd fd = side.socket();
        const int on = 1;
        if (setsockopt(fd.get(), IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on) < 0)
            throw Skip("TCP_FASTOPEN_CONNECT: " + errno_text(errno));
        const Address to = side.peer(port);
        SYS(::connect(fd.get(), to.get(), to.length));
        Mirrored talk(side, fd.get());
        for (int round = 0; round < 8; round++)
            talk.round(700);
        talk.round(50000);
        CHECK_ERRNO(::connect(fd.get(), to.get(), to.length), EISCONN);
        talk.end();
    }
}
void fast_open_connect::server(Side& side) {
    UniqueFd listener = side.listen(8, 0, 0, [](int fd) {
        const int queue = 5;
        if (setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue) < 0)
            throw Skip("TCP_FASTOPEN: " + errno_text(errno));
    });
    CHECK_EQ(get_option(listener.get(), IPPROTO_TCP, TCP_FASTOPEN), 5);
    side.tell_number(local_address(listener.get()).port());
    for (int i = 0; i < 3; i++) {
        UniqueFd fd = side.accept(listener.get());
        mirror(fd.get());
    }
}

TWO_SIDED(fast_open_of_a_connected_socket, kPair)
void fast_open_of_a_connected_socket::client(Side& side) {
    /* MSG_FASTOPEN is refused once it is connected, and no byte of it goes. */
    Mirrored talk(side);
    talk.round();
    const Address to = peer_address(side.sock.get());
    const ssize_t n =
        sendto(side.sock.get(), "lost", 4, MSG_FASTOPEN | MSG_NOSIGNAL, to.get(), to.length);
    CHECK(n < 0 && (errno == EISCONN || errno == EOPNOTSUPP));
    talk.round();
    talk.end();
}
void fast_open_of_a_connected_socket::server(Side& side) {
    mirror(side.sock.get());
}

TWO_SIDED(repair_reads_the_state, kPair | kCold)
void repair_reads_the_state::client(Side& side) {
    const int fd = side.sock.get();
    Mirrored talk(side);
    talk.round(10000);
    side.settle();              /* until all is acknowledged */
    const int on = 1, off = -1; /* off without a probe */
    if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) < 0)
        throw Skip("TCP_REPAIR: " + errno_text(errno));
    CHECK_EQ(get_option(fd, IPPROTO_TCP, TCP_REPAIR), 1);
    int seq[3] = {};
    for (int queue : {TCP_RECV_QUEUE, TCP_SEND_QUEUE}) {
        set_option(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);
        CHECK_EQ(get_option(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE), queue);
        seq[queue] = get_option(fd, IPPROTO_TCP, TCP_QUEUE_SEQ);
    }
    tcp_repair_window window{};
    socklen_t length = sizeof window;
    SYS(getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, &length));
    CHECK(window.rcv_wnd > 0 && window.snd_wnd > 0);
    CHECK_EQ(window.rcv_wup, static_cast<unsigned>(seq[TCP_RECV_QUEUE]));
    SYS(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof off));
    CHECK_EQ(get_option(fd, IPPROTO_TCP, TCP_REPAIR), 0);
    talk.round(50000);
    talk.end();
}
void repair_reads_the_state::server(Side& side) {
    mirror(side.sock.get());
}
