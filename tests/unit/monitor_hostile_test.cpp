// SPDX-License-Identifier: GPL-2.0-or-later
//
// monitor_hostile_test.cpp - clients that break the protocol, the policy, the tools, one xwayd
// only.
#include <algorithm>
#include <random>

#include <fcntl.h>

#include "monitor_fixture.h"

namespace xway::test {
namespace {

// ---- the hostile ----

TEST_F(MonitorTest, who_breaks_the_protocol_is_disconnected_alone) {
    start();
    WireClient good = client(), peer = client();
    const Attached pair = attach(good, peer);
    const TcpPair tcp = make_tcp_pair();
    const SharedFd file = share(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)));
    const SharedFd socket = share(UniqueFd(dup(tcp.client.get())));

    struct Wrong {
        const char* what;
        WireMsg msg;
        std::vector<SharedFd> fds;
    };
    const auto msg = [](WireType type, std::uint32_t arena = 0, std::uint32_t slot = 0,
                        std::uint32_t side = 0) {
        WireMsg result{};
        result.type = type;
        result.arena = arena;
        result.slot = slot;
        result.side = side;
        return result;
    };
    const std::vector<Wrong> all{
        {"type 0", msg(WireType{0}), {}},
        {"unknown type", msg(WireType{99}), {}},
        {"type of xwayd", msg(WireType::kAttach), {}},
        {"hello again", msg(WireType::kHello), {share(make_bell())}},
        {"no socket", msg(WireType::kRegister), {}},
        {"two sockets", msg(WireType::kRegister), {socket, socket}},
        {"a file", msg(WireType::kRegister), {file}},
        {"an eventfd", msg(WireType::kRegister), {share(make_bell())}},
        {"cancel with a file", msg(WireType::kCancel), {file}},
        {"no such arena", msg(WireType::kRelease, 12345), {}},
        {"not its arena", msg(WireType::kRelease, pair.a.arena, pair.a.slot, pair.a.side), {}},
        {"too many files", msg(WireType::kCancel), std::vector<SharedFd>(kWireFdsMax, file)},
    };
    for (const Wrong& wrong : all) {
        WireClient bad = client();
        bad.send(wrong.msg, wrong.fds);
        EXPECT_TRUE(bad.is_closed()) << wrong.what;
    }
    for (const std::size_t size : {std::size_t{1}, sizeof(WireMsg) - 1, sizeof(WireMsg) + 1}) {
        WireClient bad = client();
        const std::vector<char> bytes(size, 1);
        EXPECT_EQ(::send(bad.fd(), bytes.data(), size, 0), static_cast<ssize_t>(size));
        EXPECT_TRUE(bad.is_closed()) << size << " bytes";
    }
    EXPECT_TRUE(becomes("violations", all.size() + 3));
    EXPECT_TRUE(good.is_served());
    EXPECT_TRUE(peer.is_served());
    EXPECT_EQ(pair.a_map.view.header()->side[pair.b.side].gone.load(), 0u);
}

TEST_F(MonitorTest, a_slot_is_released_once_and_by_its_holder) {
    start();
    for (int way = 0; way < 4; ++way) {
        WireClient a = client(), b = client();
        const Attached pair = attach(a, b);
        WireMsg wrong = pair.a;
        switch (way) {
        case 0: wrong.slot = kArenaSlots; break;
        case 1: wrong.slot = pair.a.slot + 1; break;
        case 2: wrong.side = 1 - pair.a.side; break;
        case 3: a.release(pair.a); break;
        }
        a.release(wrong);
        EXPECT_TRUE(a.is_closed()) << way;
        EXPECT_TRUE(readable(b.bells[0]->get(), way == 3 ? 0 : kSoonMs) || way == 3);
        EXPECT_TRUE(b.is_served() || way == 3);
    }
}

TEST_F(MonitorTest, speaking_before_hello_ends_it) {
    start();
    WireClient one(options_.path);
    const TcpPair tcp = make_tcp_pair();
    one.enroll(1, tcp.client.get());
    EXPECT_TRUE(one.is_closed());
}

TEST_F(MonitorTest, who_never_reads_is_disconnected) {
    start();
    WireClient deaf = client(), good = client();
    const UniqueFd udp(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    bool sending = true;
    for (std::uint64_t i = 0; i < 20000 && sending; ++i)
        sending = deaf.enroll(i, udp.get());
    EXPECT_FALSE(sending);
    EXPECT_TRUE(good.is_served());
    EXPECT_EQ(counter("violations"), 1u);
}

// The last close() of such a socket waits for its peer, for as long as the socket's owner wants.
TEST_F(MonitorTest, a_socket_that_lingers_holds_nobody_up) {
    start();
    WireClient bad = client(), good = client();
    TcpPair tcp = make_tcp_pair();
    const linger long_time{1, 60};
    setsockopt(tcp.client.get(), SOL_SOCKET, SO_LINGER, &long_time, sizeof(long_time));
    const std::vector<char> bytes(64 * 1024, 'x');
    while (::send(tcp.client.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) {
    }
    kill(xwayd_, SIGSTOP);
    bad.enroll(1, tcp.client.get());
    tcp.client = UniqueFd(); // from now on the last descriptor is the one under way
    kill(xwayd_, SIGCONT);
    EXPECT_TRUE(good.is_served());
    EXPECT_TRUE(bad.is_closed());
    EXPECT_EQ(counter("stuck"), 1u);
    WireClient more(options_.path);
    EXPECT_TRUE(more.is_closed()) << "its user is served again when the socket is closed";
    tcp.server = UniqueFd();
}

TEST_F(MonitorTest, a_flood_of_connections_has_a_limit) {
    options_.clients_per_uid = 3;
    start();
    std::vector<WireClient> clients;
    for (int i = 0; i < 3; ++i)
        clients.push_back(client());
    WireClient more(options_.path);
    EXPECT_TRUE(more.is_closed());
    clients.pop_back();
    ASSERT_TRUE(becomes("clients", 2));
    EXPECT_TRUE(client().is_served());
}

TEST_F(MonitorTest, without_descriptors_it_declines_and_goes_on) {
    files_ = 64;
    start();
    std::vector<WireClient> clients;
    while (clients.size() < 100) {
        WireClient one(options_.path);
        one.hello(2);
        const auto welcome = one.receive(2 * kNeverMs);
        if (!welcome)
            break;
        clients.push_back(std::move(one));
    }
    ASSERT_GT(clients.size(), 4u);
    ASSERT_LT(clients.size(), 30u);
    EXPECT_TRUE(clients[0].is_served()) << "it may be declined for want of descriptors";
    while (clients.size() > 2)
        clients.pop_back();
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    attach(clients[0], clients[1]);
    EXPECT_TRUE(client().is_served());
}

// Whatever comes, in whatever order: it lives, and nothing is left of it in the end.
TEST_F(MonitorTest, noise) {
    options_.pairing.per_client = 8;
    options_.arenas.per_uid = 3;
    options_.arenas.window_rest = std::chrono::milliseconds(1);
    start();
    std::mt19937 random(7);
    std::vector<TcpPair> pairs;
    std::vector<SharedFd> things{share(make_bell()),
                                 share(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)))};
    for (int i = 0; i < 6; ++i) {
        TcpPair pair = make_tcp_pair();
        things.push_back(share(std::move(pair.client)));
        things.push_back(share(std::move(pair.server)));
    }
    std::vector<WireClient> clients;
    for (int i = 0; i < 6; ++i)
        clients.push_back(client());
    constexpr WireType kTypes[] = {WireType::kRegister, WireType::kRegister, WireType::kRegister,
                                   WireType::kRegister, WireType::kCancel,   WireType::kRelease,
                                   WireType::kRelease,  WireType::kHello};
    for (int i = 0; i < 4000; ++i) {
        if (i % 50 == 0)
            ask("status"); // lets it catch up
        WireClient& one = clients[random() % clients.size()];
        WireMsg msg{};
        msg.type = random() % 500 == 0 ? WireType{static_cast<std::uint32_t>(random() % 70)}
                                       : kTypes[random() % std::size(kTypes)];
        msg.conn = random() % 16;
        msg.arena = random() % 5;
        msg.slot = random() % 3;
        msg.side = random() % 2;
        std::vector<SharedFd> fds;
        const bool is_register = msg.type == WireType::kRegister;
        if (is_register)
            fds.push_back(things[(random() % 100 == 0 ? 0 : 2) + random() % (things.size() - 2)]);
        // What it was given, it mostly gives back; a wrong release would be its last word.
        while (auto answer = one.receive(0)) {
            if (answer->msg.type == WireType::kAttach && random() % 2 == 0)
                one.release(answer->msg);
        }
        const bool is_last = msg.type == WireType::kRelease || msg.type == WireType::kHello;
        if ((is_last && random() % 20 != 0) || one.send(msg, fds))
            continue;
        one = client();
    }
    EXPECT_GT(counter("matched"), 0u);
    EXPECT_GT(counter("violations"), 0u);
    clients.clear();
    EXPECT_TRUE(becomes("clients", 0));
    for (const char* name : {"waiting", "arenas", "slots"})
        EXPECT_EQ(counter(name), 0u) << name;
    WireClient a = client(), b = client();
    attach(a, b);
}

// ---- policy, tools, life ----

TEST_F(MonitorTest, policy_is_asked_and_read_again) {
    write_policy("deny user=same\nallow\n");
    start();
    WireClient a = client(), b = client();
    const TcpPair tcp = make_tcp_pair();
    a.enroll(1, tcp.client.get());
    b.enroll(2, tcp.server.get());
    expect_declined(a, 1, XWAY_WHY_DISABLED);
    expect_declined(b, 2, XWAY_WHY_DISABLED);

    write_policy("allow\nnonsense\n");
    kill(xwayd_, SIGHUP);
    a.enroll(3, tcp.client.get());
    b.enroll(4, tcp.server.get());
    expect_declined(a, 3, XWAY_WHY_DISABLED);
    expect_declined(b, 4, XWAY_WHY_DISABLED);

    write_policy("allow\n");
    kill(xwayd_, SIGHUP);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    attach(a, b, 5);
}

TEST_F(MonitorTest, a_policy_may_come_and_go) {
    options_.policy_file = directory_ + "/policy";
    options_.policy_may_miss = true;
    start();
    EXPECT_NE(ask("status").find("policy=- "), std::string::npos);
    WireClient a = client(), b = client();
    attach(a, b);
    write_policy("deny\n");
    kill(xwayd_, SIGHUP);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_NE(ask("status").find("policy=" + directory_), std::string::npos);
    const TcpPair tcp = make_tcp_pair();
    a.enroll(5, tcp.client.get());
    b.enroll(6, tcp.server.get());
    expect_declined(a, 5, XWAY_WHY_DISABLED);
    expect_declined(b, 6, XWAY_WHY_DISABLED);
    std::filesystem::remove(options_.policy_file);
    kill(xwayd_, SIGHUP);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    attach(a, b, 7);
}

TEST_F(MonitorTest, a_policy_that_allows_nothing_is_told_in_the_mailbox) {
    write_policy("deny\n");
    start();
    const WireClient a = client();
    void* page = mmap(nullptr, XWAY_PAGE_SIZE, PROT_READ, MAP_SHARED, a.mailbox_fd.get(), 0);
    ASSERT_NE(page, MAP_FAILED);
    const auto* mailbox = static_cast<const Mailbox*>(page);
    EXPECT_EQ(mailbox->enabled.load(), 0u);
    write_policy("allow\n");
    kill(xwayd_, SIGHUP);
    for (int i = 0; i < kSoonMs / 10 && mailbox->enabled.load() == 0; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(mailbox->enabled.load(), 1u);
    munmap(page, XWAY_PAGE_SIZE);
}

TEST_F(MonitorTest, tools_read_it_as_they_read_the_module) {
    start();
    WireClient a = client(), b = client();
    const Attached pair = attach(a, b);
    SlotSide& mine = pair.a_map.view.slot(pair.a.slot)->side[pair.a.side];
    mine.tx_epoch = 1;
    mine.head.store(kHeadCut | 1000);
    mine.tx_ring = 1000;
    mine.order = 4;
    mine.why = XWAY_WHY_URGENT;
    pair.a_map.view.slot(pair.a.slot)->side[1 - pair.a.side].why = 0xffffffff;
    const auto sockets = parse_front_sockets(ask("sockets"));
    ASSERT_TRUE(sockets) << sockets.error().text();
    ASSERT_EQ(sockets->size(), 2u);
    const Socket& one = (*sockets)[pair.a.side];
    EXPECT_EQ(one.state, "ESTABLISHED");
    EXPECT_EQ(one.role, "client");
    EXPECT_EQ(one.tx, "ring");
    EXPECT_EQ(one.rx, "tcp");
    EXPECT_EQ(one.tx_fill, 1000u);
    EXPECT_EQ(one.tx_size, 65536u);
    EXPECT_EQ(one.tx_ring, 1000u);
    EXPECT_EQ(one.tx_switches, 1u);
    EXPECT_EQ(one.why_tx, "urgent");
    EXPECT_EQ(one.peer, static_cast<unsigned>(getpid()));
    EXPECT_EQ(one.uid, getuid());
    EXPECT_TRUE(one.local.address.is_loopback());
    EXPECT_EQ(one.local, (*sockets)[pair.b.side].remote);
    EXPECT_EQ((*sockets)[pair.b.side].role, "server");
    EXPECT_EQ(counter("matched"), 1u);
    EXPECT_NE(ask("processes").find("pid=" + std::to_string(getpid())), std::string::npos);
    EXPECT_NE(ask("arenas").find("used=1"), std::string::npos);
    EXPECT_NE(ask("status").find("clients=2"), std::string::npos);
    EXPECT_TRUE(ask("nonsense").starts_with("error"));
    EXPECT_EQ(ask(std::string(100000, 'x')), "");
}

TEST_F(MonitorTest, there_is_one_of_it_and_it_leaves_nothing) {
    start();
    EXPECT_FALSE(Monitor::start(options_)) << "two of them";
    ASSERT_EQ(stop(SIGKILL), SIGKILL);
    EXPECT_TRUE(std::filesystem::exists(options_.path));
    start(); // takes the files over
    EXPECT_TRUE(client().is_served());
    EXPECT_EQ(stop(SIGTERM), 0);
    EXPECT_FALSE(std::filesystem::exists(options_.path));
    EXPECT_FALSE(std::filesystem::exists(control_path(options_.path)));
}

TEST_F(MonitorTest, ends_when_nobody_needs_it) {
    options_.idle_exit = std::chrono::seconds(1);
    start();
    {
        const WireClient a = client();
        std::this_thread::sleep_for(std::chrono::milliseconds(2200));
        EXPECT_EQ(waitpid(xwayd_, nullptr, WNOHANG), 0) << "it has a client";
    }
    int status = -1;
    EXPECT_EQ(waitpid(xwayd_, &status, 0), xwayd_);
    EXPECT_EQ(status, 0);
    xwayd_ = -1;
}

} // namespace
} // namespace xway::test
