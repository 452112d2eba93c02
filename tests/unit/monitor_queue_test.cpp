// SPDX-License-Identifier: GPL-2.0-or-later
//
// monitor_queue_test.cpp - requests by shared memory: own queues and shared ones, sockets that are
// fetched, cells that are never finished.
#include "monitor_fixture.h"
#include "queue.h"

namespace xway::test {
namespace {

// A client with a queue.
struct QueueClient {
    explicit QueueClient(const std::string& path) : wire(path) {
        wire.hello(2);
        auto welcome = wire.receive();
        if (!welcome || welcome->fds.size() != 3) {
            ADD_FAILURE() << "no welcome, or none with a queue";
            return;
        }
        name = welcome->msg.conn;
        is_shared = (welcome->msg.flags & kWelcomeShared) != 0;
        auto map = Mapping::of(welcome->fds[1].get(), kQueueBytes);
        void* page = mmap(nullptr, XWAY_PAGE_SIZE, PROT_READ, MAP_SHARED, welcome->fds[0].get(), 0);
        if (!map || page == MAP_FAILED) {
            ADD_FAILURE() << "cannot map";
            return;
        }
        memory = std::move(*map);
        mailbox = static_cast<const Mailbox*>(page);
        bell = std::move(welcome->fds[2]);
    }
    QueueClient(QueueClient&&) = default;

    [[nodiscard]] QueueMemory& queue() const {
        return *reinterpret_cast<QueueMemory*>(memory.data());
    }

    QueuePut put(const WireMsg& msg, std::uint64_t cookie = 0, std::uint64_t as = 0) const {
        constexpr std::uint64_t kOne = 1;
        const QueuePut put = queue_put(queue(), {as != 0 ? as : name, cookie, msg}, !is_shared);
        if (put == QueuePut::wake) {
            EXPECT_EQ(write(bell.get(), &kOne, sizeof(kOne)), 8);
        }
        return put;
    }

    static std::uint64_t cookie_of(int fd) {
        std::uint64_t cookie = 0;
        socklen_t size = sizeof(cookie);
        getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size);
        return cookie;
    }

    void enroll(std::uint64_t conn, int fd) const { enroll(conn, fd, cookie_of(fd)); }
    void enroll(std::uint64_t conn, int fd, std::uint64_t cookie) const {
        WireMsg msg = message(WireType::kRegister, conn);
        msg.arg = static_cast<std::uint32_t>(fd);
        put(msg, cookie);
    }

    static WireMsg message(WireType type, std::uint64_t conn = 0) {
        WireMsg msg{};
        msg.type = type;
        msg.conn = conn;
        return msg;
    }

    WireClient wire;
    std::uint64_t name = 0;
    bool is_shared = false;
    Mapping memory;
    const Mailbox* mailbox = nullptr;
    UniqueFd bell;
};

class QueueDesigns : public MonitorTest, public testing::WithParamInterface<QueueDesign> {
protected:
    void SetUp() override {
        MonitorTest::SetUp();
        options_.queues.design = GetParam();
        options_.queues.patience = std::chrono::milliseconds(100);
    }
};

INSTANTIATE_TEST_SUITE_P(All, QueueDesigns, testing::Values(QueueDesign::own, QueueDesign::shared),
                         [](const auto& design) {
                             return design.param == QueueDesign::own ? "own" : "shared";
                         });

TEST_P(QueueDesigns, sockets_are_fetched_and_paired) {
    start();
    QueueClient a(options_.path), b(options_.path);
    if (a.mailbox->no_fetch.load() != 0)
        GTEST_SKIP() << "the kernel lets no process take descriptors";
    EXPECT_EQ(a.is_shared, GetParam() == QueueDesign::shared);
    a.queue().cell[kQueueCells - 1].entry.client = 77;
    EXPECT_EQ(b.queue().cell[kQueueCells - 1].entry.client == 77, a.is_shared);
    for (std::uint64_t conn = 1; conn <= 3; ++conn) {
        const TcpPair tcp = make_tcp_pair();
        a.enroll(conn, tcp.client.get());
        b.enroll(conn, tcp.server.get());
        const auto to_a = a.wire.receive(), to_b = b.wire.receive();
        ASSERT_TRUE(to_a && to_b);
        EXPECT_EQ(to_a->msg.type, WireType::kAttach);
        EXPECT_EQ(to_a->msg.conn, conn);
        WireMsg release = to_a->msg;
        release.type = WireType::kRelease;
        a.put(release);
        b.wire.release(to_b->msg);
        EXPECT_TRUE(becomes("released", 2 * conn));
    }
    // By either way; and both ways of one connection.
    const TcpPair tcp = make_tcp_pair();
    a.enroll(9, tcp.client.get());
    b.wire.enroll(9, tcp.server.get());
    ASSERT_TRUE(a.wire.receive() && b.wire.receive());
    EXPECT_EQ(counter("queued"), 10u);
}

TEST_P(QueueDesigns, a_number_that_is_anothers_by_now_is_declined) {
    start();
    QueueClient a(options_.path);
    if (a.mailbox->no_fetch.load() != 0)
        GTEST_SKIP() << "the kernel lets no process take descriptors";
    const TcpPair one = make_tcp_pair(), other = make_tcp_pair();
    const UniqueFd file(open("/dev/null", O_RDWR | O_CLOEXEC));
    a.enroll(1, one.client.get(), QueueClient::cookie_of(other.client.get()));
    expect_declined(a.wire, 1, XWAY_WHY_PEER_CLOSED);
    a.enroll(2, file.get(), 5);
    expect_declined(a.wire, 2, XWAY_WHY_PEER_CLOSED);
    a.enroll(3, 987654, 5);
    expect_declined(a.wire, 3, XWAY_WHY_PEER_CLOSED);
    a.enroll(4, -1, 5);
    expect_declined(a.wire, 4, XWAY_WHY_PEER_CLOSED);
    EXPECT_EQ(counter("violations"), 0u);
    a.enroll(5, one.client.get());
    ASSERT_TRUE(becomes("waiting", 1));
    a.put(QueueClient::message(WireType::kCancel, 5));
    EXPECT_TRUE(becomes("waiting", 0));
}

// What is cancelled by the socket before it is read from the queue: see Monitor::on_entry().
TEST_P(QueueDesigns, a_cancel_may_come_first) {
    start();
    QueueClient a(options_.path);
    WireClient b = client();
    TcpPair tcp = make_tcp_pair();
    const int number = tcp.client.get();
    const std::uint64_t cookie = QueueClient::cookie_of(number);
    a.wire.cancel(1);
    tcp.client = UniqueFd();
    a.enroll(1, number, cookie);
    const auto answer = a.wire.receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->msg.type, WireType::kDecline);
    EXPECT_TRUE(a.wire.is_served());
}

TEST_P(QueueDesigns, it_sleeps_and_is_woken) {
    start();
    const QueueClient a(options_.path);
    for (std::uint64_t i = 1; i <= 3; ++i) {
        for (int ms = 0; ms < kSoonMs && a.queue().sleeping.load() == 0; ++ms)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        EXPECT_EQ(a.put(QueueClient::message(WireType::kCancel, 5)), QueuePut::wake);
        EXPECT_TRUE(becomes("queued", i));
    }
    // Who has said that it would ring has died before.
    while (a.queue().sleeping.load() == 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    a.queue().sleeping.store(0);
    EXPECT_EQ(a.put(QueueClient::message(WireType::kCancel, 5)), QueuePut::done);
    EXPECT_TRUE(becomes("queued", 4));
}

TEST_P(QueueDesigns, an_unfinished_cell_is_given_up) {
    start();
    QueueClient a(options_.path);
    a.queue().tail.fetch_add(1);
    a.put(QueueClient::message(WireType::kCancel, 5));
    for (int ms = 0; ms < kSoonMs && a.queue().given_up.load() == 0; ++ms)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(a.put(QueueClient::message(WireType::kCancel, 5)), QueuePut::full);
    EXPECT_TRUE(becomes("queued", 1)) << "what was behind it";
    EXPECT_TRUE(a.wire.is_served()) << "by socket";
    {
        QueueClient b(options_.path);
        EXPECT_EQ(b.queue().given_up.load(), 0u);
        a.wire.hang_up();
        ASSERT_TRUE(becomes("clients", 1));
        b.put(QueueClient::message(WireType::kCancel, 5));
        EXPECT_TRUE(becomes("queued", 2)) << "it is not the queue that has gone with the other";
    }
    EXPECT_TRUE(becomes("clients", 0));
}

TEST_P(QueueDesigns, whatever_is_in_it) {
    start();
    QueueClient bad(options_.path), good(options_.path);
    bad.put(QueueClient::message(WireType::kCancel, 5), 0, 999999); // no such process
    bad.put(QueueClient::message(WireType::kHello));
    EXPECT_TRUE(bad.wire.is_closed());
    QueueClient noisy(options_.path);
    std::uint64_t value = 1;
    for (std::uint64_t i = 0; i < kQueueBytes / sizeof(value); ++i) {
        value = value * 6364136223846793005 + 1442695040888963407;
        reinterpret_cast<std::uint64_t*>(noisy.memory.data())[i] = value;
    }
    constexpr std::uint64_t kOne = 1;
    EXPECT_EQ(write(noisy.bell.get(), &kOne, sizeof(kOne)), 8);
    EXPECT_TRUE(good.wire.is_served());
    WireClient a = WireClient(options_.path), b = WireClient(options_.path);
    a.hello(1);
    b.hello(1);
    ASSERT_TRUE(a.receive() && b.receive());
    attach(a, b);
}

TEST_F(MonitorTest, on_a_processor_of_its_own_it_never_sleeps) {
    options_.queues.design = QueueDesign::own;
    options_.queues.never_sleeps = true;
    options_.poll_core = 0;
    start();
    QueueClient a(options_.path);
    for (std::uint64_t i = 1; i <= 3; ++i) {
        EXPECT_EQ(a.put(QueueClient::message(WireType::kCancel, 5)), QueuePut::done);
        EXPECT_TRUE(becomes("queued", i));
    }
    EXPECT_TRUE(a.wire.is_served());
    EXPECT_EQ(stop(SIGTERM), 0);
}

} // namespace
} // namespace xway::test
