// SPDX-License-Identifier: GPL-2.0-or-later
//
// monitor_direct_test.cpp - direct mode: who may, listeners, stocks of connections, and those who
// cheat with them.
#include "monitor_fixture.h"

namespace xway::test {
namespace {

// A process in direct mode that listens, and makes connections to itself when it is asked.
class DirectTest : public MonitorTest {
protected:
    static constexpr std::uint64_t kListener = 77;

    void SetUp() override {
        MonitorTest::SetUp();
        options_.direct = true;
    }

    WireClient direct_client() {
        WireClient client(options_.path);
        client.hello(2, kHelloDirect);
        EXPECT_TRUE(client.receive());
        return client;
    }

    static WireMsg message(WireType type, std::uint64_t conn = 0) {
        WireMsg msg{};
        msg.type = type;
        msg.conn = conn;
        return msg;
    }

    static void listen(WireClient& client, const UniqueFd& listener,
                       std::uint64_t conn = kListener) {
        client.send(message(WireType::kListen, conn), {share(UniqueFd(dup(listener.get())))});
    }

    static void supply(WireClient& client, std::uint32_t ask, std::uint64_t conn,
                       const std::vector<const UniqueFd*>& sockets) {
        WireMsg msg = message(WireType::kSupply, conn);
        msg.ask = ask;
        std::vector<SharedFd> fds;
        for (const UniqueFd* socket : sockets)
            fds.push_back(share(UniqueFd(dup(socket->get()))));
        client.send(msg, fds);
    }

    // Both ends of an ordinary connection are registered and attached; what is asked for the stock
    // comes back.
    std::optional<WireMsg> dial(WireClient& dialer, WireClient& server, const UniqueFd& listener,
                                const sockaddr_in& to, std::uint64_t conn = 1) {
        pairs_.push_back(connect_tcp(listener, to));
        server.enroll(conn + 500, pairs_.back().server.get());
        while (counter("waiting") == 0)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        dialer.enroll(conn, pairs_.back().client.get());
        attached_ = dialer.receive();
        EXPECT_TRUE(attached_ && attached_->msg.type == WireType::kAttach);
        std::optional<WireMsg> stock;
        for (int i = 0; i < 2; ++i) {
            auto packet = server.receive(stock || i == 0 ? kSoonMs : 2 * kNeverMs);
            if (packet && packet->msg.type == WireType::kStock)
                stock = packet->msg;
            else if (packet)
                at_server_ = std::move(packet);
        }
        return stock;
    }

    static sockaddr_in address_of(const UniqueFd& socket) {
        sockaddr_in address{};
        socklen_t size = sizeof(address);
        getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
        return address;
    }

    // The stock of one dialer is begun at a listener of 127.0.0.1.
    void begin() {
        start();
        server_.emplace(direct_client());
        dialer_.emplace(direct_client());
        to_ = loopback();
        listener_ = listen_on(to_);
        listen(*server_, listener_);
        stock_ = dial(*dialer_, *server_, listener_, to_);
        ASSERT_TRUE(stock_);
    }

    void supply_good(std::uint64_t conn) {
        made_.push_back(connect_tcp(listener_, to_));
        supply(*server_, stock_->ask, conn, {&made_.back().client, &made_.back().server});
    }

    std::optional<WireClient> server_, dialer_;
    sockaddr_in to_{};
    UniqueFd listener_;
    std::optional<WireMsg> stock_;
    std::optional<Packet> attached_, at_server_;
    std::vector<TcpPair> pairs_, made_;
};

TEST_F(DirectTest, a_stock_is_asked_for_where_a_process_dials) {
    begin();
    EXPECT_EQ(stock_->conn, kListener);
    EXPECT_EQ(stock_->arg, 8u);
    EXPECT_NE(stock_->ask, 0u);
    EXPECT_EQ(stock_->port, ntohs(to_.sin_port));
    const std::uint8_t here[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
    EXPECT_EQ(std::memcmp(stock_->address, here, sizeof(here)), 0);
    EXPECT_TRUE(readable(server_->bells[0]->get(), kSoonMs));
    EXPECT_TRUE(readable(server_->bells[1]->get(), kSoonMs));
    EXPECT_EQ(attached_->msg.flags, kAttachDirect);
    ASSERT_TRUE(at_server_);
    EXPECT_EQ(at_server_->msg.flags, kAttachDirect);
    EXPECT_EQ(counter("stocked"), 8u);
    EXPECT_NE(ask("sockets").find("direct=1"), std::string::npos);
    // Once for a place.
    EXPECT_FALSE(dial(*dialer_, *server_, listener_, to_, 2));
}

TEST_F(DirectTest, what_is_supplied_is_granted) {
    begin();
    supply_good(900);
    const auto attach = server_->receive();
    auto grant = dialer_->receive();
    ASSERT_TRUE(attach && grant);
    EXPECT_EQ(attach->msg.type, WireType::kAttach);
    EXPECT_EQ(attach->msg.conn, 900u);
    EXPECT_EQ(attach->msg.flags, kAttachDirect);
    EXPECT_EQ(grant->msg.type, WireType::kGrant);
    EXPECT_EQ(grant->msg.conn, 0u);
    EXPECT_EQ(grant->msg.flags, kAttachDirect);
    EXPECT_EQ(grant->msg.port, ntohs(to_.sin_port));
    EXPECT_EQ(std::memcmp(grant->msg.address, stock_->address, sizeof(stock_->address)), 0);
    EXPECT_EQ(grant->msg.arena, attach->msg.arena);
    EXPECT_EQ(grant->msg.slot, attach->msg.slot);
    EXPECT_EQ(grant->msg.side + attach->msg.side, 1u);
    ASSERT_EQ(grant->fds.size(), 1u) << "the arena is known";

    made_.back().client = UniqueFd();
    char byte = 'x';
    ASSERT_EQ(write(grant->fds[0].get(), &byte, 1), 1);
    byte = 0;
    ASSERT_TRUE(readable(made_.back().server.get(), kSoonMs));
    EXPECT_EQ(read(made_.back().server.get(), &byte, 1), 1);
    EXPECT_EQ(byte, 'x');
    grant->fds.clear();
    ASSERT_TRUE(readable(made_.back().server.get(), kSoonMs)) << "nobody else holds it";
    EXPECT_EQ(read(made_.back().server.get(), &byte, 1), 0);
    EXPECT_EQ(counter("granted"), 1u);
}

TEST_F(DirectTest, a_grant_may_bring_the_arena) {
    begin();
    // The arena that both know is filled.
    for (std::uint64_t i = 0; i < kArenaSlots - 1; ++i)
        attach(*dialer_, *server_, 10000 + i);
    supply_good(900);
    const auto grant = dialer_->receive();
    ASSERT_TRUE(grant);
    EXPECT_EQ(grant->msg.arg, 2u);
    EXPECT_EQ(grant->fds.size(), 1 + 1 + 2u) << "the socket, the arena, the doorbells";
    const auto attached = server_->receive();
    ASSERT_TRUE(attached);
    EXPECT_EQ(attached->fds.size(), 1 + 2u);
}

TEST_F(DirectTest, more_when_it_is_used_up_but_once_at_a_time) {
    begin();
    WireMsg more = message(WireType::kMore);
    std::memcpy(more.address, stock_->address, sizeof(more.address));
    more.port = stock_->port;
    dialer_->send(more);
    EXPECT_FALSE(server_->receive(kNeverMs)) << "the first are under way";
    for (std::uint64_t i = 0; i < stock_->arg; ++i) {
        supply_good(900 + i);
        ASSERT_TRUE(dialer_->receive() && server_->receive());
    }
    dialer_->send(more);
    dialer_->send(more);
    const auto again = server_->receive();
    ASSERT_TRUE(again);
    EXPECT_EQ(again->msg.type, WireType::kStock);
    EXPECT_EQ(again->msg.arg, 16u);
    EXPECT_NE(again->msg.ask, stock_->ask);
    EXPECT_FALSE(server_->receive(kNeverMs));
    // The first is over; whoever goes on with it was not asked.
    supply(*server_, stock_->ask, 999, {&made_.back().client, &made_.back().server});
    expect_declined(*server_, 999, XWAY_WHY_PEER_CLOSED);
}

TEST_F(DirectTest, a_pair_has_a_limit_and_what_is_released_does_not_count) {
    options_.stocks.per_pair = 8;
    begin();
    std::vector<WireMsg> granted;
    for (std::uint64_t i = 0; i < stock_->arg; ++i) {
        supply_good(900 + i);
        const auto grant = dialer_->receive();
        ASSERT_TRUE(grant && server_->receive());
        granted.push_back(grant->msg);
    }
    WireMsg more = message(WireType::kMore);
    std::memcpy(more.address, stock_->address, sizeof(more.address));
    more.port = stock_->port;
    dialer_->send(more);
    EXPECT_FALSE(server_->receive(kNeverMs));
    dialer_->release(granted[0]);
    dialer_->release(granted[1]);
    dialer_->send(more);
    const auto again = server_->receive();
    ASSERT_TRUE(again);
    EXPECT_EQ(again->msg.arg, 2u);
}

TEST_F(DirectTest, one_process_waits_for_a_socket_or_the_kernel_chooses) {
    begin();
    supply_good(900);
    auto grant = dialer_->receive();
    ASSERT_TRUE(grant && server_->receive());
    const ArenaMapping arena(attached_->fds[0].get());
    const auto may_be_opened_again = [&] {
        const std::uint32_t slot = grant->msg.slot, side = grant->msg.side ^ 1;
        return (arena.view.slot(slot)->side[side].flags.load() & kSlotOnce) == 0;
    };
    EXPECT_TRUE(may_be_opened_again());
    {
        WireClient second(direct_client());
        listen(second, listener_);
        for (int i = 0; i < kSoonMs && may_be_opened_again(); ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        EXPECT_FALSE(may_be_opened_again());
        // What was asked for is not wanted any more.
        supply_good(901);
        expect_declined(*server_, 901, XWAY_WHY_PEER_CLOSED);
        WireClient another(direct_client());
        EXPECT_FALSE(dial(another, *server_, listener_, to_, 2));
        EXPECT_FALSE(second.receive(kNeverMs));
    }
    // With the other gone it serves again.
    WireClient another(direct_client());
    EXPECT_TRUE(dial(another, *server_, listener_, to_, 3));
}

TEST_F(DirectTest, who_makes_no_more_says_so) {
    begin();
    supply(*server_, stock_->ask, 0, {});
    WireMsg more = message(WireType::kMore);
    std::memcpy(more.address, stock_->address, sizeof(more.address));
    more.port = stock_->port;
    dialer_->send(more);
    const auto again = server_->receive();
    ASSERT_TRUE(again);
    EXPECT_EQ(again->msg.type, WireType::kStock);
}

TEST_F(DirectTest, what_does_not_come_is_not_waited_for) {
    options_.stocks.patience = std::chrono::milliseconds(100);
    begin();
    std::this_thread::sleep_for(std::chrono::milliseconds(1300));
    const auto again = dial(*dialer_, *server_, listener_, to_, 2);
    ASSERT_TRUE(again);
    supply_good(900); // for the old one
    expect_declined(*server_, 900, XWAY_WHY_PEER_CLOSED);
    stock_ = again;
    supply_good(901);
    const auto grant = dialer_->receive();
    ASSERT_TRUE(grant);
    EXPECT_EQ(grant->msg.type, WireType::kGrant);
}

TEST_F(DirectTest, listeners_for_any_address) {
    start();
    WireClient server = direct_client(), dialer = direct_client();
    sockaddr_in any{};
    any.sin_family = AF_INET;
    const UniqueFd v4 = listen_on(any);
    listen(server, v4, 5);
    const auto stock = dial(dialer, server, v4, loopback(ntohs(any.sin_port)));
    ASSERT_TRUE(stock);
    EXPECT_EQ(stock->conn, 5u);

    const UniqueFd dual(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int off = 0;
    setsockopt(dual.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    sockaddr_in6 any6{};
    any6.sin6_family = AF_INET6;
    socklen_t size = sizeof(any6);
    if (bind(dual.get(), reinterpret_cast<sockaddr*>(&any6), size) < 0)
        GTEST_SKIP() << "no IPv6";
    ASSERT_EQ(::listen(dual.get(), 4), 0);
    getsockname(dual.get(), reinterpret_cast<sockaddr*>(&any6), &size);
    listen(server, dual, 6);
    const auto other = dial(dialer, server, dual, loopback(ntohs(any6.sin6_port)), 2);
    ASSERT_TRUE(other);
    EXPECT_EQ(other->conn, 6u);
}

TEST_F(DirectTest, no_stock_where_nobody_listens_any_more) {
    begin();
    server_->send(message(WireType::kUnlisten, kListener));
    supply_good(900);
    expect_declined(*server_, 900, XWAY_WHY_PEER_CLOSED);
    EXPECT_FALSE(dial(*dialer_, *server_, listener_, to_, 2));
    listen(*server_, listener_, kListener + 1);
    const auto stock = dial(*dialer_, *server_, listener_, to_, 3);
    ASSERT_TRUE(stock);
    EXPECT_EQ(stock->conn, kListener + 1);
}

TEST_F(DirectTest, both_must_be_in_direct_mode) {
    start();
    WireClient server = direct_client(), plain = client();
    sockaddr_in to = loopback();
    const UniqueFd listener = listen_on(to);
    listen(server, listener);
    EXPECT_FALSE(dial(plain, server, listener, to));
    EXPECT_EQ(attached_->msg.flags, 0u);
    plain.send(message(WireType::kListen, 1), {share(UniqueFd(dup(listener.get())))});
    EXPECT_TRUE(plain.is_closed()) << "listens without being in direct mode";
}

TEST_F(DirectTest, policy_decides) {
    options_.direct = false;
    write_policy("allow\n");
    start();
    WireClient server = direct_client(), dialer = direct_client();
    sockaddr_in to = loopback();
    const UniqueFd listener = listen_on(to);
    listen(server, listener);
    EXPECT_FALSE(dial(dialer, server, listener, to));
    EXPECT_EQ(attached_->msg.flags, 0u);

    write_policy("direct user=same port=" + std::to_string(ntohs(to.sin_port)) + "\nallow\n");
    kill(xwayd_, SIGHUP);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const auto stock = dial(dialer, server, listener, to, 2);
    ASSERT_TRUE(stock);
    EXPECT_EQ(attached_->msg.flags, kAttachDirect);

    write_policy("allow\n");
    kill(xwayd_, SIGHUP);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const TcpPair made = connect_tcp(listener, to);
    supply(server, stock->ask, 900, {&made.client, &made.server});
    expect_declined(server, 900, XWAY_WHY_DISABLED);
}

TEST_F(DirectTest, the_dead_are_not_waited_for) {
    begin();
    dialer_->hang_up();
    ASSERT_TRUE(becomes("clients", 1));
    supply_good(900);
    expect_declined(*server_, 900, XWAY_WHY_PEER_CLOSED);
    WireClient dialer = direct_client();
    const auto stock = dial(dialer, *server_, listener_, to_, 9);
    ASSERT_TRUE(stock);
    server_->hang_up();
    ASSERT_TRUE(becomes("clients", 1));
    EXPECT_TRUE(readable(dialer.bells[0]->get(), kSoonMs));
    EXPECT_TRUE(dialer.is_served());
}

// ---- the hostile ----

TEST_F(DirectTest, ends_that_are_not_one_connection_are_declined) {
    begin();
    made_.push_back(connect_tcp(listener_, to_));
    made_.push_back(connect_tcp(listener_, to_));
    const TcpPair &one = made_[0], &other = made_[1], elsewhere = make_tcp_pair();
    supply(*server_, stock_->ask, 1, {&one.client, &other.server});
    expect_declined(*server_, 1, XWAY_WHY_PEER_REFUSED);
    supply(*server_, stock_->ask, 2, {&one.server, &one.client});
    expect_declined(*server_, 2, XWAY_WHY_PEER_REFUSED);
    supply(*server_, stock_->ask, 3, {&elsewhere.client, &elsewhere.server});
    expect_declined(*server_, 3, XWAY_WHY_PEER_REFUSED);
    supply(*server_, stock_->ask, 4, {&one.client, &listener_});
    expect_declined(*server_, 4, XWAY_WHY_PEER_CLOSED);
    supply(*server_, stock_->ask, 5, {&pairs_[0].client, &pairs_[0].server});
    expect_declined(*server_, 5, XWAY_WHY_PEER_REFUSED);
    supply(*server_, stock_->ask, 6, {&one.client, &one.server});
    const auto grant = dialer_->receive(), attach = server_->receive();
    ASSERT_TRUE(grant && attach);
    EXPECT_EQ(grant->msg.type, WireType::kGrant);
    supply(*server_, stock_->ask, 7, {&one.client, &one.server});
    expect_declined(*server_, 7, XWAY_WHY_PEER_REFUSED);
    EXPECT_EQ(counter("granted"), 1u);
}

// It keeps what it accepted while it listened, and another takes the port over.
TEST_F(DirectTest, who_does_not_listen_any_more_is_not_believed) {
    begin();
    made_.push_back(connect_tcp(listener_, to_));
    listener_ = UniqueFd();
    supply(*server_, stock_->ask, 900, {&made_.back().client, &made_.back().server});
    expect_declined(*server_, 900, XWAY_WHY_PEER_CLOSED);
    listener_ = listen_on(to_);
    ASSERT_TRUE(listener_);
    supply(*server_, stock_->ask, 901, {&made_.back().client, &made_.back().server});
    expect_declined(*server_, 901, XWAY_WHY_PEER_CLOSED);
}

TEST_F(DirectTest, supplies_that_end_it) {
    begin();
    const UniqueFd file(open("/dev/null", O_RDWR | O_CLOEXEC));
    const TcpPair made = connect_tcp(listener_, to_);
    const auto wrong = [&](WireClient& client, std::uint32_t ask,
                           const std::vector<const UniqueFd*>& sockets) {
        supply(client, ask, 1, sockets);
        EXPECT_TRUE(client.is_closed());
    };
    WireClient stranger = direct_client(), plain = client();
    wrong(stranger, stock_->ask, {&made.client, &made.server});
    wrong(plain, stock_->ask, {&made.client, &made.server});
    wrong(*server_, stock_->ask + 1, {&made.client, &made.server});
    for (const auto& sockets : std::vector<std::vector<const UniqueFd*>>{
             {&made.client}, {&made.client, &made.server, &made.client}, {&file, &made.server}}) {
        WireClient server = direct_client();
        listen(server, listener_, 88);
        const TcpPair tcp = connect_tcp(listener_, to_);
        dialer_->enroll(1000, tcp.client.get());
        const auto stock = server.receive();
        ASSERT_TRUE(stock);
        EXPECT_EQ(stock->msg.type, WireType::kStock);
        dialer_->cancel(1000);
        wrong(server, stock->msg.ask, sockets);
    }
    EXPECT_TRUE(dialer_->is_served());
}

TEST_F(DirectTest, listeners_that_are_none) {
    start();
    const TcpPair tcp = make_tcp_pair();
    const UniqueFd udp(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const UniqueFd file(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const UniqueFd* wrong : {&tcp.client, &tcp.server, &udp, &file}) {
        WireClient one = direct_client();
        listen(one, *wrong);
        EXPECT_TRUE(one.is_closed());
    }
    WireClient none = direct_client();
    none.send(message(WireType::kListen, 1));
    EXPECT_TRUE(none.is_closed());
    // It may have been shut down a moment ago.
    WireClient late = direct_client();
    const UniqueFd fresh(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    listen(late, fresh);
    EXPECT_TRUE(late.is_served());
    for (std::uint64_t i = 0; i < 200; ++i)
        listen(late, tcp.listener, i);
    EXPECT_TRUE(late.is_served());
    WireMsg more = message(WireType::kMore);
    more.port = 7;
    late.send(more);
    EXPECT_TRUE(late.is_served()) << "there is no such stock";
    more.port = 65536;
    late.send(more);
    EXPECT_TRUE(late.is_closed());
}

} // namespace
} // namespace xway::test
