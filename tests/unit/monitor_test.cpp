// SPDX-License-Identifier: GPL-2.0-or-later
//
// monitor_test.cpp - hello, pairs, what is declined, and the death of processes.
#include <algorithm>
#include <atomic>

#include <linux/futex.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "monitor_fixture.h"

#ifdef __SANITIZE_THREAD__
// Each test ends a process; TSan would have each of them wait for a second.
extern "C" const char* __tsan_default_options() {
    return "atexit_sleep_ms=0";
}
#endif

namespace xway::test {
namespace {

constexpr std::uint64_t kOne = 1;

// ---- hello ----

TEST_F(MonitorTest, welcomes_with_a_mailbox_that_can_only_be_read) {
    start();
    const WireClient a = client();
    ASSERT_TRUE(a.mailbox_fd);
    const int fd = a.mailbox_fd.get();
    EXPECT_EQ(mmap(nullptr, XWAY_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    void* page = mmap(nullptr, XWAY_PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    ASSERT_NE(page, MAP_FAILED);
    const auto* mailbox = static_cast<const Mailbox*>(page);
    for (int i = 0; i < kSoonMs && mailbox->mail.load() == 0; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(mailbox->mail.load(), 1u);
    EXPECT_EQ(mailbox->enabled.load(), 1u);
    EXPECT_EQ(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    // Nor may one who could open it anew.
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    const UniqueFd again(open(path.c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_TRUE(!again || mmap(nullptr, XWAY_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                               again.get(), 0) == MAP_FAILED);
    munmap(page, XWAY_PAGE_SIZE);
}

TEST_F(MonitorTest, refuses_doorbells_that_are_none) {
    start();
    WireMsg msg{};
    msg.type = WireType::kHello;
    msg.arg = kWireVersion;
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    const SharedFd reading = share(UniqueFd(ends[0])), writing = share(UniqueFd(ends[1]));
    const SharedFd blocking = share(UniqueFd(eventfd(0, EFD_CLOEXEC)));
    const SharedFd good = share(make_bell());
    const std::vector<std::vector<SharedFd>> wrong{
        {}, {reading}, {writing}, {blocking}, {good, blocking}, {good, good, good, good, good}};
    for (const auto& bells : wrong) {
        WireClient one(options_.path);
        one.send(msg, bells);
        EXPECT_TRUE(one.is_closed());
    }
    EXPECT_TRUE(becomes("violations", wrong.size()));
    EXPECT_TRUE(client(kArenaBells).is_served());
}

TEST_F(MonitorTest, refuses_another_version) {
    start();
    WireClient one(options_.path);
    WireMsg msg{};
    msg.type = WireType::kHello;
    msg.arg = kWireVersion + 1;
    one.send(msg, {share(make_bell())});
    EXPECT_TRUE(one.is_closed());
    EXPECT_TRUE(becomes("clients_refused", 1));
}

// ---- pairs ----

TEST_F(MonitorTest, both_ends_meet_in_one_arena) {
    start();
    WireClient a = client(2), b = client(3);
    const Attached pair = attach(a, b);
    EXPECT_EQ(pair.a.arena, pair.b.arena);
    EXPECT_EQ(pair.a.slot, pair.b.slot);
    EXPECT_EQ(pair.a.side + pair.b.side, 1u);
    ASSERT_EQ(pair.a_fds.size(), 1 + 3u) << "the arena and the peer's doorbells";
    ASSERT_EQ(pair.b_fds.size(), 1 + 2u);
    EXPECT_EQ(pair.a.arg, 3u);
    EXPECT_EQ(pair.b.arg, 2u);
    EXPECT_EQ(pair.a.peer, static_cast<std::uint32_t>(getpid()));

    ASSERT_TRUE(pair.a_map.view.base);
    ASSERT_TRUE(pair.b_map.view.base);
    EXPECT_EQ(pair.a_map.view.header()->magic, kArenaMagic);
    EXPECT_EQ(pair.a_map.view.header()->version, kArenaVersion);
    const std::uint32_t last = window_page(kArenaSlots - 1, 1) + kWindowPages - 1;
    pair.a_map.view.page(last)[XWAY_PAGE_SIZE - 1] = 42;
    EXPECT_EQ(pair.b_map.view.page(last)[XWAY_PAGE_SIZE - 1], 42);
    pair.a_map.view.slot(pair.a.slot)->side[pair.a.side].head.store(77);
    EXPECT_EQ(pair.b_map.view.slot(pair.b.slot)->side[1 - pair.b.side].head.load(), 77u);

    EXPECT_EQ(write(pair.a_fds[2].get(), &kOne, sizeof(kOne)), 8);
    EXPECT_FALSE(readable(b.bells[0]->get(), 0));
    EXPECT_TRUE(readable(b.bells[1]->get(), kSoonMs));
}

TEST_F(MonitorTest, sockets_of_its_own_user_are_looked_at_on_the_spot) {
    options_.trusts_own_user = true;
    start();
    WireClient a = client(), b = client();
    for (std::uint64_t conn = 1; conn <= 3; ++conn)
        attach(a, b, conn);
    EXPECT_TRUE(a.is_served());
    const TcpPair tcp = make_tcp_pair();
    a.enroll(7, tcp.client.get());
    a.enroll(7, tcp.server.get());
    EXPECT_TRUE(a.is_closed()) << "two sockets by one name";
    EXPECT_TRUE(b.is_served());
}

TEST_F(MonitorTest, an_arena_keeps_its_size) {
    start();
    WireClient a = client(), b = client();
    const Attached pair = attach(a, b);
    ASSERT_FALSE(pair.a_fds.empty());
    const int fd = pair.a_fds[0].get();
    constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    EXPECT_EQ(fcntl(fd, F_GET_SEALS) & kSeals, kSeals);
    EXPECT_EQ(fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE, 0);
    EXPECT_LT(ftruncate(fd, 0), 0);
    EXPECT_LT(ftruncate(fd, static_cast<off_t>(kArenaBytes * 2)), 0);
    EXPECT_LT(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
}

TEST_F(MonitorTest, a_known_arena_brings_no_descriptors) {
    start();
    WireClient a = client(), b = client();
    const Attached first = attach(a, b, 1), second = attach(b, a, 2);
    EXPECT_EQ(first.a.arena, second.a.arena);
    EXPECT_NE(first.a.slot, second.a.slot);
    EXPECT_EQ(first.a.side, second.b.side) << "a side belongs to a process";
    EXPECT_TRUE(second.a_fds.empty());
    EXPECT_TRUE(second.b_fds.empty());
}

TEST_F(MonitorTest, a_process_may_talk_to_itself) {
    start();
    WireClient a = client();
    const TcpPair tcp = make_tcp_pair();
    a.enroll(1, tcp.client.get());
    a.enroll(2, tcp.server.get());
    const auto one = a.receive(), two = a.receive();
    ASSERT_TRUE(one && two);
    EXPECT_EQ(one->msg.arena, two->msg.arena);
    EXPECT_EQ(one->msg.slot, two->msg.slot);
    EXPECT_EQ(one->msg.side + two->msg.side, 1u);
    EXPECT_EQ(one->fds.size() + two->fds.size(), 1 + 2u) << "one of the two brings the arena";
    a.release(one->msg);
    a.release(two->msg);
    EXPECT_TRUE(becomes("released", 2));
    EXPECT_TRUE(becomes("slots", 0));
    EXPECT_TRUE(a.is_served());
    a.enroll(3, tcp.client.get());
    a.enroll(4, tcp.server.get());
    ASSERT_TRUE(a.receive() && a.receive());
    a.hang_up();
    EXPECT_TRUE(becomes("arenas", 0));
}

TEST_F(MonitorTest, sixty_four_connections_then_another_arena) {
    start();
    WireClient a = client(), b = client();
    std::vector<Attached> pairs;
    for (std::uint64_t i = 0; i <= kArenaSlots; ++i)
        pairs.push_back(attach(a, b, i + 1));
    std::uint64_t slots = 0;
    for (std::size_t i = 0; i < kArenaSlots; ++i) {
        EXPECT_EQ(pairs[i].a.arena, pairs[0].a.arena);
        slots |= std::uint64_t{1} << pairs[i].a.slot;
    }
    EXPECT_EQ(slots, UINT64_MAX);
    EXPECT_NE(pairs.back().a.arena, pairs[0].a.arena);
    EXPECT_EQ(pairs.back().a_fds.size(), 3u);
}

TEST_F(MonitorTest, a_released_slot_is_zeroed_and_used_again) {
    start();
    WireClient a = client(), b = client();
    const Attached first = attach(a, b, 1);
    Slot* slot = first.a_map.view.slot(first.a.slot);
    std::memset(static_cast<void*>(slot), 0xa5, sizeof(*slot));
    a.release(first.a);
    ASSERT_TRUE(becomes("released", 1));
    const Attached second = attach(a, b, 2);
    EXPECT_NE(second.a.slot, first.a.slot) << "its other side still holds it";
    b.release(first.b);
    ASSERT_TRUE(becomes("released", 2));
    const Attached third = attach(a, b, 3);
    ASSERT_EQ(third.a.slot, first.a.slot);
    const auto* bytes = reinterpret_cast<const unsigned char*>(slot);
    EXPECT_EQ(std::count(bytes, bytes + sizeof(*slot), 0), static_cast<long>(sizeof(*slot)));
}

TEST_F(MonitorTest, ends_of_ipv6_and_mapped_ipv4_meet) {
    start();
    WireClient a = client(), b = client();
    // An IPv6 listener that takes IPv4 sees ::ffff:127.0.0.1.
    const UniqueFd listener(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int off = 0;
    setsockopt(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    socklen_t size = sizeof(any);
    if (bind(listener.get(), reinterpret_cast<sockaddr*>(&any), size) < 0)
        GTEST_SKIP() << "no IPv6";
    ASSERT_EQ(listen(listener.get(), 4), 0);
    getsockname(listener.get(), reinterpret_cast<sockaddr*>(&any), &size);
    const TcpPair mapped = connect_tcp(listener, loopback(ntohs(any.sin6_port)));
    ASSERT_TRUE(mapped.server);
    a.enroll(1, mapped.client.get());
    b.enroll(2, mapped.server.get());
    const auto to_a = a.receive(), to_b = b.receive();
    ASSERT_TRUE(to_a && to_b);
    EXPECT_EQ(to_a->msg.type, WireType::kAttach);
    EXPECT_EQ(to_b->msg.type, WireType::kAttach);

    const UniqueFd six(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    any.sin6_addr = in6addr_loopback;
    if (connect(six.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)) < 0)
        GTEST_SKIP() << "no ::1";
    const UniqueFd accepted(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    b.enroll(3, accepted.get());
    a.enroll(4, six.get());
    const auto six_a = a.receive(), six_b = b.receive();
    ASSERT_TRUE(six_a && six_b);
    EXPECT_EQ(six_a->msg.type, WireType::kAttach);
    EXPECT_EQ(six_b->msg.type, WireType::kAttach);
}

// Of the same addresses and ports as another, but in a network namespace of its own.
TcpPair make_pair_elsewhere(const TcpPair& other) {
    sockaddr_in server{}, from{};
    socklen_t size = sizeof(server);
    getsockname(other.server.get(), reinterpret_cast<sockaddr*>(&server), &size);
    getsockname(other.client.get(), reinterpret_cast<sockaddr*>(&from), &size);
    TcpPair pair;
    std::thread elsewhere([&] {
        if (unshare(CLONE_NEWNET) < 0)
            return;
        const UniqueFd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        ifreq up{};
        std::strcpy(up.ifr_name, "lo");
        up.ifr_flags = IFF_UP;
        ioctl(any.get(), SIOCSIFFLAGS, &up);
        UniqueFd listener = listen_on(server);
        pair = connect_tcp(listener, server, ntohs(from.sin_port));
        pair.listener = std::move(listener);
    });
    elsewhere.join();
    return pair;
}

TEST_F(MonitorTest, the_loopback_of_another_namespace_is_another_network) {
    start();
    WireClient a = client(), b = client();
    const TcpPair here = make_tcp_pair(), there = make_pair_elsewhere(here);
    if (!there.server)
        GTEST_SKIP() << "no privilege to make a network namespace";
    a.enroll(1, here.client.get());
    b.enroll(2, there.server.get());
    ASSERT_TRUE(becomes("waiting", 2));
    b.enroll(3, here.server.get());
    a.enroll(4, there.client.get());
    for (WireClient* client : {&a, &b}) {
        const auto one = client->receive(), two = client->receive();
        ASSERT_TRUE(one && two);
        EXPECT_EQ(one->msg.type, WireType::kAttach);
        EXPECT_EQ(two->msg.type, WireType::kAttach);
    }
    EXPECT_EQ(counter("matched"), 2u);
}

// ---- declined ----

TEST_F(MonitorTest, declines_what_is_no_established_connection) {
    start();
    WireClient a = client();
    const UniqueFd udp(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    a.enroll(1, udp.get());
    expect_declined(a, 1, XWAY_WHY_PEER_REFUSED);
    const UniqueFd fresh(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    a.enroll(2, fresh.get());
    expect_declined(a, 2, XWAY_WHY_PEER_CLOSED);
    TcpPair tcp = make_tcp_pair();
    tcp.server = UniqueFd();
    a.enroll(3, tcp.client.get());
    expect_declined(a, 3, XWAY_WHY_PEER_CLOSED);
}

TEST_F(MonitorTest, the_passed_socket_is_closed_at_once) {
    start();
    WireClient a = client();
    TcpPair tcp = make_tcp_pair();
    a.enroll(1, tcp.client.get());
    ASSERT_TRUE(becomes("waiting", 1));
    tcp.client = UniqueFd();
    char byte;
    ASSERT_TRUE(readable(tcp.server.get(), kSoonMs)) << "no end of file";
    EXPECT_EQ(read(tcp.server.get(), &byte, 1), 0);
}

TEST_F(MonitorTest, nobody_waits_for_ever) {
    options_.pairing.patience = std::chrono::milliseconds(100);
    start();
    WireClient a = client();
    const TcpPair tcp = make_tcp_pair();
    a.enroll(7, tcp.client.get());
    expect_declined(a, 7, XWAY_WHY_WAITING);
    EXPECT_EQ(counter("waiting"), 0u);
}

TEST_F(MonitorTest, a_cancelled_registration_is_forgotten) {
    start();
    WireClient a = client(), b = client();
    const TcpPair tcp = make_tcp_pair();
    a.enroll(1, tcp.client.get());
    a.cancel(1);
    ASSERT_TRUE(becomes("cancelled", 1));
    b.enroll(2, tcp.server.get());
    ASSERT_TRUE(becomes("waiting", 1));
    EXPECT_FALSE(b.receive(kNeverMs));
    a.cancel(1); // an answer could have been under way
    a.enroll(1, tcp.client.get());
    const auto answer = a.receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->msg.type, WireType::kAttach);
}

TEST_F(MonitorTest, one_socket_in_two_processes_is_nobodys) {
    start();
    WireClient a = client(), b = client(), c = client();
    const TcpPair tcp = make_tcp_pair();
    a.enroll(1, tcp.client.get());
    ASSERT_TRUE(becomes("waiting", 1));
    c.enroll(3, tcp.client.get());
    expect_declined(a, 1, XWAY_WHY_PEER_REFUSED);
    expect_declined(c, 3, XWAY_WHY_PEER_REFUSED);
    // Nor can a third take the place of one that is attached.
    a.enroll(4, tcp.client.get());
    b.enroll(5, tcp.server.get());
    ASSERT_TRUE(a.receive() && b.receive());
    c.enroll(6, tcp.client.get());
    expect_declined(c, 6, XWAY_WHY_PEER_REFUSED);
}

TEST_F(MonitorTest, too_many_registrations_are_declined) {
    options_.pairing.per_client = 2;
    start();
    WireClient a = client(), b = client();
    std::vector<TcpPair> pairs;
    for (std::uint64_t i = 0; i < 3; ++i) {
        pairs.push_back(make_tcp_pair());
        a.enroll(i, pairs.back().client.get());
    }
    expect_declined(a, 2, XWAY_WHY_PEER_BUSY);
    ASSERT_TRUE(becomes("waiting", 2));
    b.enroll(10, pairs[0].server.get());
    ASSERT_TRUE(b.receive());
}

TEST_F(MonitorTest, quotas_of_arenas) {
    options_.arenas.per_pair = 1;
    options_.arenas.per_uid = 2;
    start();
    WireClient a = client(), b = client(), c = client(), d = client();
    std::vector<Attached> pairs;
    for (std::uint64_t i = 0; i < kArenaSlots; ++i)
        pairs.push_back(attach(a, b, i + 1));
    const TcpPair more = make_tcp_pair();
    a.enroll(1000, more.client.get());
    b.enroll(1001, more.server.get());
    expect_declined(a, 1000, XWAY_WHY_ARENA_FULL);
    expect_declined(b, 1001, XWAY_WHY_ARENA_FULL);
    pairs.push_back(attach(a, c, 2000));
    const TcpPair third = make_tcp_pair();
    c.enroll(3000, third.client.get());
    d.enroll(3001, third.server.get());
    expect_declined(c, 3000, XWAY_WHY_ARENA_FULL);
    expect_declined(d, 3001, XWAY_WHY_ARENA_FULL);
}

TEST_F(MonitorTest, a_port_that_was_given_back_is_not_its_old_owners) {
    start();
    WireClient thief = client(), victim = client(), server = client();
    sockaddr_in address = loopback();
    const UniqueFd listener = listen_on(address);
    TcpPair old = connect_tcp(listener, address);
    sockaddr_in from{};
    socklen_t size = sizeof(from);
    ASSERT_EQ(getsockname(old.client.get(), reinterpret_cast<sockaddr*>(&from), &size), 0);
    thief.enroll(1, old.client.get());
    ASSERT_TRUE(becomes("waiting", 1));
    // Closed without a word, and in a way that leaves the port free at once.
    const linger none{1, 0};
    setsockopt(old.client.get(), SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    old.client = UniqueFd();
    old.server = UniqueFd();

    const TcpPair again = connect_tcp(listener, address, ntohs(from.sin_port));
    ASSERT_TRUE(again.server) << "the port could not be used again";
    server.enroll(2, again.server.get());
    expect_declined(thief, 1, XWAY_WHY_PEER_CLOSED);
    EXPECT_FALSE(server.receive(kNeverMs));
    victim.enroll(3, again.client.get());
    const auto to_server = server.receive(), to_victim = victim.receive();
    ASSERT_TRUE(to_server && to_victim);
    EXPECT_EQ(to_server->msg.type, WireType::kAttach);
    EXPECT_EQ(to_victim->msg.type, WireType::kAttach);
}

// ---- the dead ----

void sleep_on(std::atomic<std::uint32_t>& word, std::uint32_t value) {
    const timespec limit{kSoonMs / 1000, 0};
    while (word.load() == value)
        if (syscall(SYS_futex, &word, FUTEX_WAIT, value, &limit, nullptr, 0) < 0 &&
            errno == ETIMEDOUT)
            return;
}

// A process that is attached to `a` and then waits for its end.
class Child {
public:
    Child(const std::string& path, int tcp) {
        int ends[2];
        EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
        const UniqueFd reading(ends[0]), writing(ends[1]);
        pid = fork();
        if (pid == 0) {
            WireClient client = WireClient::welcomed(path);
            client.enroll(1, tcp);
            const auto attached = client.receive();
            const char good = attached && attached->msg.type == WireType::kAttach ? 1 : 0;
            [[maybe_unused]] const ssize_t written = write(writing.get(), &good, 1);
            for (;;)
                pause();
        }
        reading_ = UniqueFd(dup(reading.get()));
    }
    ~Child() { end(); }

    bool is_attached() {
        char good = 0;
        return readable(reading_.get(), kSoonMs) && read(reading_.get(), &good, 1) == 1 &&
               good == 1;
    }

    void end() {
        if (pid > 0) {
            kill(pid, SIGKILL);
            waitpid(pid, nullptr, 0);
            pid = -1;
        }
    }

    pid_t pid = -1;

private:
    UniqueFd reading_;
};

TEST_F(MonitorTest, who_waits_for_a_killed_process_is_woken) {
    start();
    WireClient a = client();
    const TcpPair tcp = make_tcp_pair();
    Child child(options_.path, tcp.server.get());
    a.enroll(1, tcp.client.get());
    auto attached = a.receive();
    ASSERT_TRUE(attached && attached->fds.size() == 3);
    ASSERT_TRUE(child.is_attached());
    EXPECT_EQ(attached->msg.peer, static_cast<std::uint32_t>(child.pid));
    const ArenaMapping map(attached->fds[0].get());
    const unsigned side = attached->msg.side;
    SlotSide& mine = map.view.slot(attached->msg.slot)->side[side];
    EXPECT_EQ(map.view.header()->side[1 - side].gone.load(), 0u);

    mine.rx_wait.store(kWaitFutex | kWaitBell);
    mine.tx_wait.store(kWaitFutex);
    std::thread reader([&] { sleep_on(mine.rx_wait, kWaitFutex | kWaitBell); });
    std::thread writer([&] { sleep_on(mine.tx_wait, kWaitFutex); });
    child.end();
    reader.join();
    writer.join();
    EXPECT_EQ(mine.rx_wait.load(), 0u);
    EXPECT_EQ(mine.tx_wait.load(), 0u);
    EXPECT_EQ(map.view.header()->side[1 - side].gone.load(), 1u);
    EXPECT_EQ(map.view.header()->side[side].gone.load(), 0u);
    const std::uint64_t bit = std::uint64_t{1} << attached->msg.slot;
    for (unsigned bell = 0; bell < 2; ++bell) {
        EXPECT_TRUE(readable(a.bells[bell]->get(), kSoonMs));
        EXPECT_EQ(map.view.header()->side[side].bell[bell].news.load(), bit);
    }

    EXPECT_EQ(counter("slots"), 1u) << "the survivor still holds it";
    a.release(attached->msg);
    const auto drop = a.receive();
    ASSERT_TRUE(drop);
    EXPECT_EQ(drop->msg.type, WireType::kDrop);
    EXPECT_EQ(drop->msg.arena, attached->msg.arena);
    EXPECT_EQ(counter("arenas"), 0u);
}

TEST_F(MonitorTest, hanging_up_is_as_good_as_dying) {
    start();
    WireClient a = client(), b = client();
    const Attached pair = attach(a, b);
    const TcpPair tcp = make_tcp_pair();
    b.enroll(5, tcp.client.get());
    b.hang_up();
    EXPECT_TRUE(readable(a.bells[0]->get(), kSoonMs));
    EXPECT_EQ(pair.a_map.view.header()->side[pair.b.side].gone.load(), 1u);
    EXPECT_TRUE(becomes("clients", 1));
    EXPECT_EQ(counter("waiting"), 0u);
}

TEST_F(MonitorTest, an_arena_without_connections_goes_with_its_process) {
    start();
    WireClient a = client(), b = client();
    const Attached pair = attach(a, b);
    a.release(pair.a);
    b.release(pair.b);
    ASSERT_TRUE(becomes("slots", 0));
    EXPECT_EQ(counter("arenas"), 1u) << "kept for the next connection";
    b.hang_up();
    const auto drop = a.receive();
    ASSERT_TRUE(drop);
    EXPECT_EQ(drop->msg.type, WireType::kDrop);
    EXPECT_EQ(drop->msg.arena, pair.a.arena);
}

TEST_F(MonitorTest, bytes_are_counted_beyond_the_end_of_their_connection) {
    start();
    WireClient a = client(), b = client();
    const Attached pair = attach(a, b), other = attach(a, b, 2);
    ASSERT_EQ(other.a.arena, pair.a.arena);
    const auto side = [&](const WireMsg& end) -> SlotSide& {
        return pair.a_map.view.slot(end.slot)->side[end.side];
    };
    side(pair.a).tx_ring = 1000;
    side(pair.b).rx_ring = 900;
    side(other.a).tx_ring = 30;
    side(other.b).tx_tcp = 7;
    EXPECT_EQ(counter("tx_ring_bytes"), 1030u);
    a.release(pair.a);
    b.release(pair.b);
    ASSERT_TRUE(becomes("slots", 1));
    EXPECT_EQ(counter("tx_ring_bytes"), 1030u) << "one end has gone, one is there";
    const Attached again = attach(a, b, 3);
    EXPECT_EQ(again.a.slot, pair.a.slot);
    side(again.a).tx_ring = 5;
    EXPECT_EQ(counter("tx_ring_bytes"), 1035u);
    a.hang_up();
    b.hang_up();
    ASSERT_TRUE(becomes("arenas", 0));
    EXPECT_EQ(counter("tx_ring_bytes"), 1035u);
    EXPECT_EQ(counter("rx_ring_bytes"), 900u);
    EXPECT_EQ(counter("tx_tcp_bytes"), 7u);
    EXPECT_EQ(counter("rx_tcp_bytes"), 0u);
}

TEST_F(MonitorTest, a_release_may_be_under_way_when_its_arena_is_dropped) {
    start();
    WireClient a = client(), b = client(), c = client();
    const Attached pair = attach(a, b);
    a.release(pair.a);
    b.hang_up();
    const auto drop = a.receive();
    ASSERT_TRUE(drop);
    EXPECT_EQ(drop->msg.type, WireType::kDrop);
    a.release(pair.a);
    EXPECT_TRUE(a.is_served());
    c.release(pair.a);
    EXPECT_TRUE(c.is_closed()) << "it never knew that arena";
}

TEST_F(MonitorTest, unused_memory_is_given_back) {
    options_.arenas.window_rest = std::chrono::milliseconds(1);
    options_.arenas.arena_rest = std::chrono::seconds(3);
    start();
    WireClient a = client(), b = client();
    const Attached pair = attach(a, b), other = attach(a, b, 2);
    const auto used = [&] {
        struct stat status {};
        fstat(pair.a_fds[0].get(), &status);
        return std::size_t{512} * static_cast<std::size_t>(status.st_blocks);
    };
    constexpr std::size_t kWindow = std::size_t{kWindowPages} * XWAY_PAGE_SIZE;
    const std::size_t before = used();
    std::memset(pair.a_map.view.page(window_page(pair.a.slot, 0)), 1, 2 * kWindow);
    EXPECT_GE(used(), before + 2 * kWindow);
    a.release(pair.a);
    b.release(pair.b);
    for (int i = 0; i < kSoonMs / 10 && used() > before + 128 * 1024; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_LE(used(), before + 128 * 1024);
    EXPECT_EQ(pair.a_map.view.page(window_page(pair.a.slot, 0))[0], 1) << "stays for a small ring";

    a.release(other.a);
    b.release(other.b);
    for (WireClient* client : {&a, &b}) {
        const auto drop = client->receive();
        ASSERT_TRUE(drop);
        EXPECT_EQ(drop->msg.type, WireType::kDrop);
    }
    EXPECT_EQ(counter("arenas"), 0u);
}

} // namespace
} // namespace xway::test
