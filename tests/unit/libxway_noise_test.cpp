// SPDX-License-Identifier: GPL-2.0-or-later
//
// libxway_noise_test.cpp - a peer that scribbles over the whole arena, plays with TCP, and sends
// properly in between, so that the noise gets far.
//
// What a call may do, libxway_victim.h checks with every call. XWAY_NOISE_SEED repeats a run,
// XWAY_NOISE_ROUNDS says how many connections there are.
#include <netinet/tcp.h>

#include <memory>
#include <random>

#include "libxway_victim.h"

namespace xway::test {
namespace {

using Rng = std::mt19937_64;

std::uint32_t below(Rng& rng, std::uint64_t limit) {
    return static_cast<std::uint32_t>(rng() % limit);
}

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 0) : otherwise;
}

// Garbage of the kind that gets far: near a true value more often than not.
std::uint32_t garbage(Rng& rng, std::uint32_t truth) {
    switch (below(rng, 8)) {
    case 0: return static_cast<std::uint32_t>(rng());
    case 1: return truth + (1u << below(rng, 32)) - below(rng, 2);
    case 2: return truth + below(rng, 1u << 20);
    case 3: return truth - below(rng, 5000);
    default: return truth + below(rng, 8) - 4;
    }
}

std::uint32_t garbage_ring(Rng& rng) {
    switch (below(rng, 6)) {
    case 0: return static_cast<std::uint32_t>(rng());
    case 1: return static_cast<std::uint32_t>(rng()) | XWAY_RING_VALID;
    case 2: return xway_ring_desc(below(rng, kArenaPages + 2), below(rng, 10));
    default:
        return xway_ring_desc(window_page(kSlot, below(rng, 2)) + below(rng, 300) - 20,
                              below(rng, 10));
    }
}

// ---- the peer ----

class Scribbler {
public:
    Scribbler(Arena& arena, Peer& peer, std::uint64_t seed)
        : arena_(arena), peer_(peer), rng_(seed) {}

    // Mostly what a peer should do: some noise is only heard on a connection that works.
    void act() {
        switch (below(rng_, 24)) {
        case 0:
        case 1: change_rails(); break;
        case 2:
        case 3:
        case 4:
        case 5: send_some(); break;
        case 6:
        case 7: send_line(); break;
        case 8:
        case 9: peer_.follow(); break;
        case 10: tcp(); break;
        case 11: remember(); break;
        default: break;
        }
        if (below(rng_, 4) == 0)
            scribble();
    }

    void scribble() {
        SlotSide& side = below(rng_, 4) ? peer_.mine() : peer_.victims();
        switch (below(rng_, 16)) {
        case 0: scribble_words(); break;
        case 1: replay(); break;
        case 2:
            side.head = garbage(rng_, peer_.tx.prod) | (below(rng_, 4) ? 0 : rng_() << 32);
            break;
        case 3: xway_store(&side.tx_epoch, garbage(rng_, peer_.tx.epoch)); break;
        case 4:
            xway_store(&mark(side).at,
                       garbage(rng_, below(rng_, 2) ? peer_.sent_by_tcp() : peer_.tx.prod));
            break;
        case 5: xway_store(&mark(side).ring, garbage_ring(rng_)); break;
        case 6: xway_store(&side.cons, garbage(rng_, sent())); break;
        case 7: xway_store(&side.rx_epoch, garbage(rng_, peer_.victims().tx_epoch)); break;
        case 8: xway_store(&side.ack, garbage(rng_, sent())); break;
        case 9:
            xway_store(&side.inline_at, garbage(rng_, peer_.tx.prod));
            xway_store(&side.inline_len, static_cast<std::uint16_t>(garbage(rng_, 40)));
            break;
        case 10:
            side.flags = below(rng_, 3) ? kSlotReady | 1u << below(rng_, 6) : garbage(rng_, 0);
            break;
        case 11: xway_store(&side.bell, garbage(rng_, kArenaBells)); break;
        case 12: side.rx_wait = garbage(rng_, 3); break;
        case 13: side.tx_wait = garbage(rng_, 3); break;
        case 14: scribble_header(); break;
        case 15: peer_.victims().head.fetch_xor(kHeadCut); break;
        }
    }

private:
    xway_mark& mark(SlotSide& side) { return side.mark[below(rng_, XWAY_MARKS)]; }
    std::uint32_t sent() { return static_cast<std::uint32_t>(peer_.victims().head.load()); }

    void change_rails() {
        if (peer_.tx.epoch - xway_load(&peer_.victims().rx_epoch) >= XWAY_MARKS / 2)
            return;
        if (peer_.tx.epoch & 1)
            peer_.to_tcp();
        else
            peer_.to_ring(below(rng_, XWAY_RING_ORDER_MAX + 1));
    }
    void send_some() {
        const std::uint32_t bytes = 1 + below(rng_, below(rng_, 4) ? 3000 : 90000);
        if (peer_.tx.epoch & 1)
            peer_.send_ring(bytes);
        else
            peer_.send_tcp(bytes % 5000);
    }
    void send_line() {
        const auto bytes = static_cast<std::uint16_t>(1 + below(rng_, 40));
        xway_store(&peer_.mine().inline_at, peer_.tx.prod);
        xway_store(&peer_.mine().inline_len, bytes);
        if (peer_.tx.epoch & 1)
            peer_.send_ring(bytes);
    }
    void tcp() {
        switch (below(rng_, 60)) {
        case 0: shutdown(peer_.fd(), SHUT_WR); break;
        case 1: peer_.reset(); break;
        case 2: peer_.hang_up(); break;
        case 3: peer_.send_tcp(1, MSG_OOB); break;
        default: below(rng_, 2) ? peer_.drain_tcp() : peer_.send_tcp(1 + below(rng_, 300)); break;
        }
    }

    // Somewhere in the slots, the victim's own words among them; all bytes as a peer would send.
    void scribble_words() {
        const std::uint32_t all = kArenaSlots * sizeof(Slot) / sizeof(std::uint32_t);
        for (std::uint32_t count = below(rng_, 8); count > 0; count--) {
            const std::uint32_t ours = kSlot * sizeof(Slot) / sizeof(std::uint32_t);
            const std::uint32_t at = below(rng_, 4)
                                         ? ours + below(rng_, sizeof(Slot) / sizeof(std::uint32_t))
                                         : below(rng_, all);
            auto* word = reinterpret_cast<std::uint32_t*>(arena_.peer.slot(0)) + at;
            xway_store(word, garbage(rng_, below(rng_, 4)) & 0x7f7f7f7f);
        }
        std::uint8_t* window = arena_.peer.page(window_page(kSlot, below(rng_, 2)));
        memset(window + below(rng_, kWindowPages * XWAY_PAGE_SIZE - 1000), below(rng_, 0x80), 1000);
    }
    void scribble_header() {
        ArenaSide& side = peer_.header().side[below(rng_, 2)];
        Bell& bell = side.bell[below(rng_, kArenaBells)];
        switch (below(rng_, 8)) {
        case 0: side.gone = below(rng_, 2); break;
        case 1: peer_.header().magic = below(rng_, 2); break;
        case 2: bell.sleepers = garbage(rng_, 0); break;
        default: bell.news = rng_(); break;
        }
    }

    // An old state of one side comes back.
    void remember() {
        memcpy(old_, static_cast<const void*>(&peer_.mine()), sizeof(SlotSide));
        known_ = true;
    }
    void replay() {
        if (!known_)
            return;
        auto* to = reinterpret_cast<std::uint64_t*>(&peer_.mine());
        const std::uint32_t words = sizeof(SlotSide) / sizeof(*to);
        const std::uint32_t from = below(rng_, words), count = 1 + below(rng_, words - from);
        for (std::uint32_t i = from; i < from + count; i++)
            xway_store(&to[i], old_[i]);
    }

    Arena& arena_;
    Peer& peer_;
    Rng rng_;
    bool known_ = false;
    std::uint64_t old_[sizeof(SlotSide) / sizeof(std::uint64_t)] = {};
};

// ---- the victim ----

class Program {
public:
    Program(Victim& victim, std::uint64_t seed)
        : victim_(victim),
          rng_(seed),
          set_fd_(real.epoll_create1(EPOLL_CLOEXEC)),
          set_(epoll_new(set_fd_)),
          file_(memfd_create("file", MFD_CLOEXEC)) {
        EXPECT_EQ(ftruncate(file_, 100000), 0);
    }
    ~Program() {
        epoll_put(set_);
        real.close(set_fd_);
        real.close(file_);
    }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    void read() {
        constexpr int kFlags[] = {0, 0, MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL, MSG_TRUNC};
        int flags = kFlags[below(rng_, std::size(kFlags))] | kFlags[below(rng_, std::size(kFlags))];
        Parts to(sizes());
        victim_.recv(to, flags);
    }
    void write() {
        const Parts from(sizes());
        victim_.send(from, below(rng_, 2) ? MSG_DONTWAIT : 0);
        expect_room();
    }
    void write_file() {
        off_t at = below(rng_, 100000);
        const std::size_t bytes = below(rng_, 200000);
        const ssize_t sent = timely("sendfile", [&] {
            return endpoint_send_file(victim_.ep, victim_.fd, file_, &at, bytes);
        });
        EXPECT_LE(sent, static_cast<ssize_t>(bytes));
        Victim::expect_no_fault(sent);
    }
    void look() {
        pollfd one{victim_.fd, static_cast<short>(below(rng_, 2) ? POLLIN : POLLIN | POLLOUT), 0};
        epoll_event events[4];
        const std::int64_t deadline = below(rng_, 2) ? 0 : now_ns() + kMs / 2;
        Endpoint* ep = victim_.ep;
        switch (below(rng_, 7)) {
        case 0: EXPECT_LE(rx_unread(ep, victim_.fd), 64u << 20); break;
        case 1: timely("poll", [&] { return poll_for(&one, 1, deadline, nullptr); }); break;
        case 2:
            timely("epoll_wait",
                   [&] { return epoll_wait_for(set_, set_fd_, events, 4, deadline, nullptr); });
            break;
        case 3: change_set(); break;
        case 4: EXPECT_LE(tx_pending(ep), 2 * kWindowPages * XWAY_PAGE_SIZE); break;
        case 5: rx_at_mark(ep); break;
        case 6:
            if (below(rng_, 20) == 0)
                timely("to_tcp", [&] { return endpoint_to_tcp(ep, XWAY_WHY_URGENT), 0; });
            break;
        }
    }
    void act() {
        switch (below(rng_, 8)) {
        case 0: look(); break;
        case 1: below(rng_, 8) ? look() : write_file(); break;
        case 2:
        case 3:
        case 4: write(); break;
        default: read(); break;
        }
    }

private:
    std::vector<std::size_t> sizes() {
        std::vector<std::size_t> result(1 + (below(rng_, 4) ? 0 : below(rng_, 40)));
        const std::uint32_t large = below(rng_, 8) ? 200 : 100000;
        for (std::size_t& size : result)
            size = below(rng_, 5) ? below(rng_, large) : 0;
        return result;
    }
    void change_set() {
        constexpr std::uint32_t kModes[] = {EPOLLIN, EPOLLIN | EPOLLOUT, EPOLLIN | EPOLLET,
                                            EPOLLOUT | EPOLLONESHOT};
        epoll_event event{kModes[below(rng_, std::size(kModes))], {}};
        const int operation = 1 + static_cast<int>(below(rng_, 3));
        epoll_control(set_, set_fd_, operation, victim_.fd, &event);
    }
    // Nothing that has not been read is ever written over.
    void expect_room() {
        const xway_tx& tx = victim_.ep->tx;
        const Guard guard(victim_.ep->tx_lock);
        if (tx_on_ring(victim_.ep)) {
            EXPECT_LE(xway_tx_used(&tx), xway_ring_size(xway_tx_ring(&tx)));
        }
        EXPECT_LE(xway_tx_in_flight(&tx), XWAY_MARKS);
    }

    Victim& victim_;
    Rng rng_;
    int set_fd_;
    EpollSet* set_;
    int file_;
};

// ---- together ----

class LibxwayNoise : public testing::Test {
protected:
    void SetUp() override {
        signal(SIGPIPE, SIG_IGN);
        printf("XWAY_NOISE_SEED=%llu\n", static_cast<unsigned long long>(seed_));
    }

    // A connection in the slot as the last one has left it, or as xwayd would hand it out.
    void open(std::uint64_t round) {
        if (round % 4 != 0) {
            memset(static_cast<void*>(arena_.peer.slot(kSlot)), 0, sizeof(Slot));
            memset(static_cast<void*>(arena_.peer.base), 0, sizeof(ArenaHeader));
        }
        const auto [ours, theirs] = tcp_pair();
        victim_ = std::make_unique<Victim>(arena_, ours);
        peer_ = std::make_unique<Peer>(arena_, theirs);
        const int small = 20000; // so that TCP fills up
        setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
        ASSERT_TRUE(victim_->attach());
        victim_->patience(kMs / 2);
    }
    void close() {
        peer_.reset();
        victim_.reset();
    }
    // With TCP at its end every call comes to one, whatever the arena goes on to say.
    void expect_end() {
        peer_->hang_up();
        victim_->patience(kNever);
        for (int i = 0; i < 3; i++)
            victim_->recv(1 << 21);
        for (int i = 0; i < 3; i++)
            victim_->send(300000);
    }

    const std::uint64_t seed_ = from_environment("XWAY_NOISE_SEED", 1);
    Arena arena_;
    std::unique_ptr<Victim> victim_;
    std::unique_ptr<Peer> peer_;
};

TEST_F(LibxwayNoise, in_turns) {
    const std::uint64_t rounds = from_environment("XWAY_NOISE_ROUNDS", 200);
    std::uint64_t bytes = 0, switches = 0;
    for (std::uint64_t round = 0; round < rounds && !HasFailure(); round++) {
        SCOPED_TRACE("round " + std::to_string(round));
        open(round);
        Rng rng(seed_ + round);
        {
            Scribbler scribbler(arena_, *peer_, rng());
            Program program(*victim_, rng());
            for (int i = 0; i < 200 && !HasFailure() && !victim_->ep->rx_broken; i++) {
                scribbler.act();
                program.act();
            }
        }
        bytes += victim_->ep->rx_ring_bytes;
        switches += victim_->ep->rx.epoch;
        if (round % 16 == 0)
            expect_end();
        close();
    }
    EXPECT_GT(bytes, rounds * 1000) << "the noise does not get far";
    EXPECT_GT(switches, rounds / 2);
}

TEST_F(LibxwayNoise, all_at_once) {
    const std::uint64_t rounds = from_environment("XWAY_NOISE_ROUNDS", 200) / 8;
    for (std::uint64_t round = 0; round < rounds && !HasFailure(); round++) {
        SCOPED_TRACE("round " + std::to_string(round));
        open(round);
        Rng rng(seed_ + round);
        std::atomic<bool> over{false};
        Scribbler scribbler(arena_, *peer_, rng());
        std::thread peer([&] {
            while (!over)
                scribbler.act();
        });
        {
            Program reader(*victim_, rng()), writer(*victim_, rng());
            std::thread other([&] {
                for (int i = 0; i < 100; i++)
                    writer.write();
            });
            for (int i = 0; i < 100 && !HasFailure(); i++)
                reader.act();
            other.join();
        }
        over = true;
        peer.join();
        close();
    }
}

} // namespace
} // namespace xway::test
