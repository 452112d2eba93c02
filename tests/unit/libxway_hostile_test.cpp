// SPDX-License-Identifier: GPL-2.0-or-later
//
// libxway_hostile_test.cpp - what a peer can do with one word, one at a time.
//
// A peer may send nonsense, slow the connection down, break it. It must not make the library read
// or write where it has no business, spin or sleep past a timeout, or wait for a connection that
// TCP knows to be over.
#include <sys/wait.h>

#include "inherit.h"
#include "libxway_victim.h"

namespace xway {

// Its home, wrap_process.cpp, would put itself before libc's functions.
bool uses_uring() {
    return false;
}

namespace test {
namespace {

constexpr std::int64_t kPatience = 30 * kMs;

class LibxwayHostile : public testing::Test {
protected:
    LibxwayHostile() : LibxwayHostile(tcp_pair()) {}

    void SetUp() override {
        signal(SIGPIPE, SIG_IGN);
        ASSERT_TRUE(victim_.attach());
        victim_.patience(kPatience);
    }

    // The victim has followed the peer into its ring, and has read a byte there.
    void enter_ring() {
        peer_.to_ring();
        peer_.send_ring(1);
        ASSERT_EQ(victim_.recv(100), 1);
    }

    // Is over, one way or another, within reasonable time.
    void expect_recv_ends(int flags = 0) {
        for (int i = 0; i < 100; i++) {
            if (victim_.recv(1000, flags) <= 0)
                return;
        }
        FAIL() << "there is no end to it";
    }
    void expect_send_ends() {
        for (int i = 0; i < 1000; i++) {
            if (victim_.send(30000) < 0)
                return;
        }
        FAIL() << "there is no end to it";
    }

    Arena arena_;
    Victim victim_;
    Peer peer_;

private:
    explicit LibxwayHostile(std::pair<int, int> ends)
        : victim_(arena_, ends.first), peer_(arena_, ends.second) {}
};

using Call = void (*)(Victim&);

struct Prelude {
    const char* name;
    Call call;
};
// Whatever follows switches, before anybody takes bytes.
constexpr Prelude kPreludes[] = {
    {"nothing", [](Victim&) {}},
    {"follow", [](Victim& v) { rx_follow(v.ep); }},
    {"at mark", [](Victim& v) { rx_at_mark(v.ep); }},
    {"unread", [](Victim& v) { rx_unread(v.ep, v.fd); }},
    {"peek", [](Victim& v) { v.recv(10, MSG_PEEK | MSG_DONTWAIT); }},
    {"poll", [](Victim& v) { endpoint_poll(v.ep, v.fd, POLLIN | POLLOUT); }},
    {"news", [](Victim& v) { rx_peek(v.ep, v.fd); }},
};

// ---- rings ----

struct Outside {
    const char* name;
    std::uint32_t first, order;
};

class LibxwayOutside : public LibxwayHostile, public testing::WithParamInterface<Outside> {};

// With TCP bytes that wait, look() follows switches as well.
TEST_P(LibxwayOutside, a_ring_outside_of_the_peers_window_breaks_the_connection) {
    const auto [name, first, order] = GetParam();
    for (const Prelude& prelude : kPreludes) {
        for (const bool with_tcp : {false, true}) {
            Arena arena;
            const auto ends = tcp_pair();
            Victim victim(arena, ends.first);
            Peer peer(arena, ends.second);
            ASSERT_TRUE(victim.attach());
            victim.patience(kPatience);
            if (with_tcp)
                peer.send_tcp(1);
            peer.switch_to(0, xway_ring_desc(first, order));
            peer.mine().head.store(100);
            prelude.call(victim);
            EXPECT_EQ(victim.recv(100), -1) << name << ", " << prelude.name;
            EXPECT_EQ(errno, ECONNRESET) << name << ", " << prelude.name;
            EXPECT_EQ(victim.recv(100), -1);
        }
    }
}

constexpr std::uint32_t kTheirs = window_page(kSlot, kSide ^ 1), kOurs = window_page(kSlot, kSide);

INSTANTIATE_TEST_SUITE_P(
    Everywhere, LibxwayOutside,
    testing::Values(Outside{"header", 0, 0}, Outside{"slots", 1, 0}, Outside{"ours", kOurs, 0},
                    Outside{"ours_large", kOurs, XWAY_RING_ORDER_MAX},
                    Outside{"before", kTheirs - 1, 1}, Outside{"last_of_ours", kTheirs - 1, 0},
                    Outside{"behind", kTheirs + kWindowPages, 0},
                    Outside{"over_the_end", kTheirs + kWindowPages - 1, 1},
                    Outside{"second_half", kTheirs + kWindowPages / 2, XWAY_RING_ORDER_MAX},
                    Outside{"other_slot", window_page(0, 0), 4},
                    Outside{"end_of_arena", kArenaPages - 1, 1},
                    Outside{"too_large", kTheirs, XWAY_RING_ORDER_MAX + 1},
                    Outside{"shifted_out", kTheirs, 40}, Outside{"all_bits", 0xffff, 0x7fff}),
    [](const auto& test) { return std::string(test.param.name); });

// The switch is right when it is looked at first, and wrong when it is followed.
TEST_F(LibxwayHostile, a_ring_that_moves_while_it_is_looked_at_stays_in_the_window) {
    std::atomic<bool> over{false};
    std::thread mover([&] {
        for (std::uint32_t i = 0; !over; i++)
            xway_store(&peer_.mine().mark[0].ring,
                       i & 1 ? Peer::ring() : xway_ring_desc(window_page(0, 0), 4));
    });
    for (int i = 0; i < 300; i++) {
        peer_.switch_to(0, Peer::ring());
        peer_.mine().head.store(50);
        kPreludes[static_cast<std::size_t>(i) % std::size(kPreludes)].call(victim_);
        victim_.recv(40, MSG_DONTWAIT);
        if (victim_.ep->rx_broken)
            break;
    }
    over = true;
    mover.join();
}

TEST_F(LibxwayHostile, more_than_the_ring_holds_is_nonsense) {
    enter_ring();
    peer_.mine().head.store(peer_.tx.prod + xway_ring_size(Peer::ring()) + 1);
    EXPECT_EQ(victim_.recv(200000), -1);
    EXPECT_EQ(errno, ECONNRESET);
}

TEST_F(LibxwayHostile, bytes_that_were_taken_back_are_nonsense) {
    enter_ring();
    peer_.mine().head.store(0);
    EXPECT_EQ(victim_.recv(10), -1);
    EXPECT_EQ(errno, ECONNRESET);
}

TEST_F(LibxwayHostile, an_epoch_far_away_is_nonsense) {
    for (const std::uint32_t epoch : {XWAY_MARKS + 1, 1u << 31, ~0u}) {
        peer_.mine().tx_epoch = epoch;
        EXPECT_EQ(victim_.recv(10), -1) << epoch;
        EXPECT_EQ(errno, ECONNRESET);
        victim_.ep->rx_broken = false;
    }
}

TEST_F(LibxwayHostile, the_ring_is_left_where_the_mark_is) {
    enter_ring();
    peer_.send_ring(10);
    peer_.to_tcp();
    peer_.mine().head.fetch_add(100);
    EXPECT_EQ(victim_.recv(1000), 10);
    EXPECT_EQ(victim_.recv(1000), -1);
    EXPECT_EQ(errno, EAGAIN);
}

// The largest ring wraps between the two halves of a message.
TEST_F(LibxwayHostile, the_whole_window_may_be_a_ring) {
    peer_.to_ring(XWAY_RING_ORDER_MAX);
    const std::uint32_t size = 1u << 20;
    for (int i = 0; i < 3; i++) {
        peer_.send_ring(size - 1000);
        Parts to({100, 0, 2 * size, 7});
        EXPECT_EQ(victim_.recv(to, MSG_WAITALL), size - 1000);
    }
}

TEST_F(LibxwayHostile, the_line_holds_what_it_holds) {
    enter_ring();
    SlotSide& line = peer_.mine();
    memset(line.inline_data, 0x11, sizeof(line.inline_data));
    for (const std::uint16_t length : {0, 1, 39, 40, 41, 64, 255, 256, 4096, 65535}) {
        for (const std::uint32_t behind : {0u, 1u, 39u, 40u, 41u, 1000u, 65534u, 1u << 31, ~0u}) {
            line.inline_at = peer_.tx.prod - behind;
            line.inline_len = length;
            peer_.send_ring(60);
            Parts to({3, 0, 50, 100});
            EXPECT_EQ(victim_.recv(to), 60) << length << " " << behind;
        }
    }
}

TEST_F(LibxwayHostile, what_is_peeked_at_is_there_once) {
    enter_ring();
    peer_.send_ring(5);
    for (const std::uint32_t least : {1u, 10u, 1000u}) {
        victim_.ep->rcv_lowat = least;
        EXPECT_EQ(victim_.recv(100, MSG_PEEK), 5) << least;
        EXPECT_EQ(victim_.recv(100, MSG_PEEK | MSG_WAITALL), 5) << least;
        EXPECT_EQ(victim_.recv(100, MSG_PEEK | MSG_DONTWAIT), 5) << least;
    }
    EXPECT_EQ(victim_.recv(100), 5);
}

TEST_F(LibxwayHostile, nothing_is_written_where_all_is_thrown_away) {
    enter_ring();
    peer_.send_ring(50);
    EXPECT_EQ(victim_.recv(100, MSG_TRUNC | MSG_PEEK), 50);
    EXPECT_EQ(victim_.recv(100, MSG_TRUNC), 50);
}

// ---- time ----

std::int64_t cpu_ns() {
    timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return used.tv_sec * 1000000000ll + used.tv_nsec;
}

TEST_F(LibxwayHostile, a_switch_that_never_comes_keeps_no_reader) {
    peer_.switch_to(1000, Peer::ring());
    victim_.patience(10 * kPatience);
    const std::int64_t before = cpu_ns();
    EXPECT_EQ(victim_.recv(10), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_LT(cpu_ns() - before, 3 * kPatience) << "it does not sleep";
    peer_.hang_up();
    victim_.patience(kNever);
    EXPECT_EQ(victim_.recv(10), 0);
}

// A reader that is told of news all the time, and finds none, must not forget the time.
TEST_F(LibxwayHostile, empty_switches_keep_no_reader) {
    std::atomic<bool> over{false};
    std::thread switcher([&] {
        while (!over) {
            if (peer_.tx.epoch - xway_load(&peer_.victims().rx_epoch) < XWAY_MARKS)
                peer_.tx.epoch & 1 ? peer_.to_tcp() : peer_.to_ring();
        }
    });
    EXPECT_EQ(victim_.recv(10), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_EQ(victim_.recv(10, MSG_PEEK), -1);
    EXPECT_EQ(victim_.recv(10, MSG_PEEK | MSG_WAITALL), -1);
    EXPECT_EQ(victim_.recv(10, MSG_WAITALL), -1);
    over = true;
    switcher.join();
}

// No sleeper gets to sleep: the word that it sleeps on changes under it.
TEST_F(LibxwayHostile, words_that_never_rest_keep_nobody) {
    enter_ring();
    victim_.send(1);
    std::atomic<bool> over{false};
    std::thread scribbler([&] {
        for (std::uint32_t i = 0; !over; i++) {
            for (SlotSide* side : {&peer_.mine(), &peer_.victims()}) {
                side->rx_wait = i;
                side->tx_wait = i << 2;
            }
            peer_.header().side[kSide].bell[0].news = i;
        }
    });
    EXPECT_EQ(victim_.recv(10), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_LT(victim_.send(1000000), 1000000);
    EXPECT_EQ(victim_.send(1000), -1);
    over = true;
    scribbler.join();
}

// Whoever moves head cuts the ring. One that follows at once invites the writer in again.
TEST_F(LibxwayHostile, a_cut_that_is_followed_at_once_keeps_no_writer) {
    std::atomic<bool> over{false};
    std::thread cutter([&] {
        for (std::uint32_t i = 0; !over; i++) {
            peer_.victims().head.store(i | kHeadCut);
            xway_store(&peer_.mine().rx_epoch, xway_load(&peer_.victims().tx_epoch));
        }
    });
    for (int i = 0; i < 500; i++) {
        const std::uint32_t before = victim_.ep->tx.epoch;
        EXPECT_EQ(victim_.send(100), 100);
        EXPECT_LE(victim_.ep->tx.epoch - before, 2u);
        peer_.drain_tcp();
    }
    over = true;
    cutter.join();
}

// A short message stands in the line that tells of it until it has been read, whatever comes next.
TEST_F(LibxwayHostile, a_cut_leaves_the_message_in_the_line_to_be_read) {
    ASSERT_EQ(victim_.send(10), 10);
    ASSERT_EQ(peer_.victims().inline_len, 10);
    peer_.victims().head.fetch_or(kHeadCut);
    ASSERT_EQ(victim_.send(100), 100);
    EXPECT_EQ(victim_.ep->tx.epoch % 2, 0u) << "the second one goes by TCP";
    EXPECT_EQ(peer_.victims().inline_len, 10);
}

// Nor does one stand there that was not published.
TEST_F(LibxwayHostile, a_cut_leaves_no_message_in_the_line_that_went_by_tcp) {
    ASSERT_EQ(victim_.send(10), 10);
    peer_.follow();
    xway_store(&peer_.mine().ack, 10);
    peer_.victims().head.fetch_or(kHeadCut);
    ASSERT_EQ(victim_.send(20), 20);
    EXPECT_EQ(peer_.victims().inline_len, 0);
}

// The peer asks for TCP, and takes it back, long after the ring was entered first.
TEST_F(LibxwayHostile, a_ring_that_is_entered_again_has_no_more_room_than_before) {
    for (const std::uint32_t gone_by : {0u, 1u << 30, 0x90000000u, 0u - 5000u}) {
        ASSERT_EQ(victim_.send(1000), 1000);
        peer_.follow();
        ASSERT_EQ(victim_.send(10), 10);
        xway_tx& tx = victim_.ep->tx;
        for (std::uint32_t* index : {&tx.prod, &tx.cons, &tx.start})
            *index += gone_by;
        peer_.victims().head = tx.prod;
        peer_.follow();
        peer_.mine().flags.fetch_or(kSlotTcpOnly);
        ASSERT_EQ(victim_.send(10), 10);
        peer_.mine().flags.fetch_and(~kSlotTcpOnly);
        const std::uint32_t before = tx.prod;
        while (victim_.send(5000, MSG_DONTWAIT) > 0) {
        }
        EXPECT_TRUE(tx_on_ring(victim_.ep));
        EXPECT_LE(tx.prod - before, xway_ring_size(xway_tx_ring(&tx))) << gone_by;
        peer_.follow();
    }
}

// TCP bytes that no switch leads to: the peer may not leave the reader between the rails for ever.
TEST_F(LibxwayHostile, bytes_on_the_other_rail_break_the_connection) {
    for (const std::uint32_t flags : {0u, +kSlotLook}) {
        Arena arena;
        const auto ends = tcp_pair();
        Victim victim(arena, ends.first);
        Peer peer(arena, ends.second);
        ASSERT_TRUE(victim.attach());
        peer.to_ring();
        peer.send_ring(1);
        ASSERT_EQ(victim.recv(100), 1);
        peer.mine().flags.fetch_or(flags);
        peer.send_tcp(5);
        peer.hang_up();
        victim.patience(kNever);
        EXPECT_LE(victim.recv(100), 0) << flags;
        EXPECT_LE(victim.recv(100), 0) << flags;
    }
}

TEST_F(LibxwayHostile, bytes_on_the_other_rail_keep_no_look_ahead) {
    enter_ring();
    peer_.send_ring(5);
    peer_.send_tcp(5);
    peer_.hang_up();
    victim_.patience(kNever);
    EXPECT_EQ(victim_.recv(100, MSG_PEEK | MSG_WAITALL), 5);
}

// FIONREAD ends at an urgent byte, the stream does not.
TEST_F(LibxwayHostile, an_urgent_byte_holds_up_nobody) {
    peer_.send_tcp(10);
    peer_.send_tcp(1, MSG_OOB);
    peer_.send_tcp(10);
    peer_.hang_up();
    victim_.patience(kNever);
    EXPECT_LE(rx_unread(victim_.ep, victim_.fd), 22u);
    EXPECT_EQ(victim_.recv(20, MSG_WAITALL), 20);
    EXPECT_EQ(victim_.recv(20), 0);
}

TEST_F(LibxwayHostile, what_is_unread_is_never_more_than_there_is) {
    peer_.mine().flags.fetch_or(kSlotLeft);
    std::atomic<bool> over{false};
    std::thread urgent([&] {
        while (!over) {
            peer_.send_tcp(3);
            peer_.send_tcp(1, MSG_OOB);
        }
    });
    for (int i = 0; i < 2000; i++) {
        ASSERT_LE(rx_unread(victim_.ep, victim_.fd), 1u << 26);
        if (i % 16 == 0)
            victim_.recv(1000, MSG_DONTWAIT);
    }
    over = true;
    urgent.join();
}

// ---- to the next program ----

// What is left in the ring is taken along in a file: all of it, or none.
TEST_F(LibxwayHostile, more_than_can_be_taken_along_is_not_left_out) {
    char preload[] = "LD_PRELOAD=libxway.so";
    char* environment[] = {preload, nullptr};
    fcntl(victim_.fd, F_SETFD, 0);
    peer_.send_tcp(10);
    peer_.to_ring(XWAY_RING_ORDER_MAX);
    peer_.send_ring(1 << 20);
    {
        const Inheritance inheritance(environment);
        ASSERT_EQ(inheritance.environment(), environment);
    }
    char byte;
    EXPECT_EQ(::recv(peer_.fd(), &byte, 1, 0), -1);
}

TEST_F(LibxwayHostile, what_can_be_taken_along_comes_back_if_there_is_no_next_program) {
    char preload[] = "LD_PRELOAD=libxway.so";
    char* environment[] = {preload, nullptr};
    fcntl(victim_.fd, F_SETFD, 0);
    peer_.to_ring(XWAY_RING_ORDER_MAX);
    peer_.send_ring(1 << 20);
    {
        const Inheritance inheritance(environment);
        EXPECT_NE(inheritance.environment(), environment);
    }
    victim_.ep = table_endpoint(victim_.fd);
    EXPECT_EQ(victim_.recv(2 << 20, MSG_DONTWAIT), 1 << 20);
}

// A child has no doorbells until it needs them.
TEST_F(LibxwayHostile, a_child_may_watch_what_it_has_inherited) {
    enter_ring();
    peer_.send_ring(5);
    const pid_t child = fork();
    if (child == 0) {
        const int fd = real.epoll_create1(EPOLL_CLOEXEC);
        EpollSet* set = epoll_new(fd);
        epoll_event event{EPOLLIN, {}};
        const auto got = [&] {
            const std::int64_t end = now_ns() + 1000 * kMs;
            return epoll_wait_for(set, fd, &event, 1, end, nullptr) == 1
                       ? victim_.recv(100, MSG_DONTWAIT)
                       : 0;
        };
        bool good = epoll_control(set, fd, EPOLL_CTL_ADD, victim_.fd, &event) == 0 && got() == 5;
        peer_.to_tcp();
        peer_.send_tcp(10);
        good = good && got() == 10;
        peer_.hang_up();
        _exit(good ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
}

struct Lie {
    const char* name;
    void (*tell)(Peer&);
};
// The last word that the victim hears; the first kToWriters mean nothing to a reader.
constexpr std::size_t kToWriters = 8;
constexpr Lie kLies[] = {
    {"reads nothing", [](Peer&) {}},
    {"cons ahead", [](Peer& p) { p.mine().cons = 1u << 30; }},
    {"cons behind", [](Peer& p) { p.mine().cons = ~0u; }},
    {"ack ahead", [](Peer& p) { p.mine().ack = 1u << 30; }},
    {"epoch ahead", [](Peer& p) { p.mine().rx_epoch = 1000; }},
    {"epoch behind", [](Peer& p) { p.mine().rx_epoch = ~0u; }},
    {"wants TCP", [](Peer& p) { p.mine().flags.fetch_or(kSlotTcpOnly); }},
    {"not ready", [](Peer& p) { p.mine().flags = 0; }},
    {"half closed", [](Peer& p) { p.mine().flags.fetch_or(kSlotLook); }},
    {"closed", [](Peer& p) { p.mine().flags.fetch_or(kSlotGone); }},
    {"all flags", [](Peer& p) { p.mine().flags = ~0u; }},
    {"cut", [](Peer& p) { p.victims().head.fetch_or(kHeadCut); }},
    {"head moved", [](Peer& p) { p.victims().head.fetch_add(5); }},
    {"killed", [](Peer& p) { p.header().side[kSide ^ 1].gone = 1; }},
    {"waits", [](Peer& p) { p.mine().rx_wait = p.mine().tx_wait = ~0u; }},
};

class LibxwayLies : public LibxwayHostile, public testing::WithParamInterface<Lie> {};

TEST_P(LibxwayLies, a_writer_comes_back_in_time) {
    ASSERT_EQ(victim_.send(1000), 1000);
    GetParam().tell(peer_);
    for (int i = 0; i < 100; i++) {
        if (victim_.send(100000) < 100000)
            break;
    }
    const std::int64_t from = now_ns();
    for (int i = 0; i < 3; i++)
        victim_.send(100000);
    EXPECT_LT(now_ns() - from, 1000 * kMs) << "a time-out was forgotten";
}

TEST_P(LibxwayLies, a_writer_hears_of_the_end_of_the_connection) {
    ASSERT_EQ(victim_.send(1000), 1000);
    GetParam().tell(peer_);
    while (victim_.send(100000, MSG_DONTWAIT) > 0) {
    }
    victim_.patience(kNever);
    std::thread later([this] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        peer_.hang_up();
    });
    expect_send_ends();
    later.join();
}

class LibxwayReader : public LibxwayLies {};

TEST_P(LibxwayReader, hears_of_the_end_of_the_connection) {
    enter_ring();
    GetParam().tell(peer_);
    victim_.patience(kNever);
    std::thread later([this] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        peer_.hang_up();
    });
    expect_recv_ends();
    later.join();
}

// What poll says that can be done is done, or is an error: no program spins for it.
TEST_P(LibxwayLies, poll_promises_nothing) {
    ASSERT_EQ(victim_.send(1000), 1000);
    while (victim_.send(100000, MSG_DONTWAIT) > 0) {
    }
    GetParam().tell(peer_);
    victim_.send(1, MSG_DONTWAIT);
    for (int i = 0; i < 20; i++) {
        pollfd one{victim_.fd, POLLOUT | POLLIN, 0};
        timely("poll", [&] { return poll_for(&one, 1, now_ns() + kMs, nullptr); });
        if (one.revents & POLLOUT) {
            const ssize_t sent = victim_.send(1, MSG_DONTWAIT);
            EXPECT_FALSE(sent < 0 && errno == EAGAIN);
        }
        if (one.revents & POLLIN) {
            const ssize_t got = victim_.recv(1, MSG_DONTWAIT);
            EXPECT_FALSE(got < 0 && errno == EAGAIN);
        }
    }
}

std::string name_of(const testing::TestParamInfo<Lie>& test) {
    std::string name = test.param.name;
    std::replace(name.begin(), name.end(), ' ', '_');
    return name;
}

INSTANTIATE_TEST_SUITE_P(Receiver, LibxwayLies, testing::ValuesIn(kLies), name_of);
INSTANTIATE_TEST_SUITE_P(Sender, LibxwayReader,
                         testing::ValuesIn(kLies + kToWriters, std::end(kLies)), name_of);

} // namespace
} // namespace test
} // namespace xway
