// SPDX-License-Identifier: GPL-2.0-or-later
//
// front_proc_test.cpp - the modules' text files, the kernel's socket lists, and how rows are
// printed.
#include <gtest/gtest.h>

#include "../../xenstore-tools/front_proc.h"
#include "../../xenstore-tools/output.h"

namespace xway {
namespace {

constexpr char kSocket[] =
    "state=ESTABLISHED local=10.0.0.3:40000 remote=10.0.0.4:6379 peer=4 role=client tx=ring rx=tcp "
    "why_tx=none tx_fill=0 tx_size=65536 rx_fill=12 rx_size=65536 tx_ring=1000 tx_tcp=1 "
    "rx_ring=2000 rx_tcp=2 tx_switches=1 rx_switches=3 age_ms=1200 inode=1234 uid=7\n";

TEST(FrontProc, reads_the_status) {
    const auto status = parse_front_status(
        "version=1 domid=3 instance=9f00000000000001 state=connected "
        "enable=1 flip_ms=0 ring_kib=64 arena_kib=1024 "
        "spin_us=1000 total_kib=32768 granted_kib=2212\n");
    ASSERT_TRUE(status) << status.error().text();
    EXPECT_EQ(status->domid, 3u);
    EXPECT_EQ(status->state, "connected");
    EXPECT_TRUE(status->enable);
    EXPECT_EQ(status->arena_kib, 1024u);
    EXPECT_EQ(status->total_kib, 32768u);
    EXPECT_EQ(status->granted_kib, 2212u);
    EXPECT_FALSE(parse_front_status(""));
    EXPECT_FALSE(parse_front_status("version=1\n"));
}

TEST(FrontProc, reads_peers) {
    const auto peers = parse_front_peers(
        "domid=4 instance=01 name=app mac=00:16:3e:00:00:04,00:16:3e:00:00:05 ip=10.0.0.4,fd00::4 "
        "ready=1 link=up arena_used=12 arena_pages=960 slots_used=3 slots=1024\n"
        "domid=5 instance=02 name=db mac=- ip=- ready=0 link=none arena_used=0 arena_pages=0 "
        "slots_used=0 slots=0 later=key\n");
    ASSERT_TRUE(peers) << peers.error().text();
    ASSERT_EQ(peers->size(), 2u);
    EXPECT_EQ((*peers)[0].macs.size(), 2u);
    EXPECT_EQ((*peers)[0].ips[1].text(), "fd00::4");
    EXPECT_TRUE((*peers)[0].ready);
    EXPECT_EQ((*peers)[0].slots, 1024u);
    EXPECT_TRUE((*peers)[1].macs.empty());
    EXPECT_TRUE((*peers)[1].ips.empty());
    EXPECT_TRUE(parse_front_peers("")->empty());
}

TEST(FrontProc, reads_sockets) {
    const auto sockets = parse_front_sockets(kSocket);
    ASSERT_TRUE(sockets) << sockets.error().text();
    ASSERT_EQ(sockets->size(), 1u);
    const Socket& socket = sockets->front();
    EXPECT_EQ(socket.local.text(), "10.0.0.3:40000");
    EXPECT_EQ(socket.remote.port, 6379);
    EXPECT_EQ(socket.peer, 4u);
    EXPECT_EQ(socket.rx, "tcp");
    EXPECT_EQ(socket.rx_fill, 12u);
    EXPECT_EQ(socket.rx_tcp, 2u);
    EXPECT_EQ(socket.uid, 7u);
}

TEST(FrontProc, reads_addresses_in_brackets_and_sockets_without_peer) {
    std::string line = kSocket;
    line.replace(line.find("10.0.0.4"), 8, "[fd00::4]");
    line.replace(line.find("peer=4"), 6, "peer=-");
    const auto sockets = parse_front_sockets(line);
    ASSERT_TRUE(sockets) << sockets.error().text();
    EXPECT_EQ(sockets->front().remote.text(), "[fd00::4]:6379");
    EXPECT_FALSE(sockets->front().peer);
}

TEST(FrontProc, reads_listening_sockets) {
    const auto sockets = parse_front_sockets(
        std::string("state=LISTEN local=[::]:6379 remote=0.0.0.0:0 role=listen inode=17\n") +
        kSocket);
    ASSERT_TRUE(sockets) << sockets.error().text();
    ASSERT_EQ(sockets->size(), 2u);
    EXPECT_EQ(sockets->front().role, "listen");
    EXPECT_EQ(sockets->front().local.text(), "[::]:6379");
    EXPECT_EQ(sockets->front().inode, 17u);
    EXPECT_FALSE(sockets->front().peer);
    EXPECT_EQ(sockets->back().peer, 4u);
}

TEST(FrontProc, names_the_line_that_is_wrong) {
    const std::string good = kSocket;
    for (const auto& [old, wrong] :
         {std::pair("remote=10.0.0.4:6379 ", ""), std::pair("tx_fill=0", "tx_fill=x"),
          std::pair("tx_fill=0", "tx_fill=-1"), std::pair("uid=7", "uid="),
          std::pair("local=10.0.0.3:40000", "local=10.0.0.3"),
          std::pair("local=10.0.0.3:40000", "local=10.0.0.3:70000"),
          std::pair("local=10.0.0.3:40000", "local=fd00::3:40000"),
          std::pair("peer=4", "peer=99999999999")}) {
        std::string bad = good;
        bad.replace(bad.find(old), std::string(old).size(), wrong);
        const auto sockets = parse_front_sockets(good + bad);
        ASSERT_FALSE(sockets) << bad;
        EXPECT_TRUE(sockets.error().what.starts_with("line 2: ")) << sockets.error().what;
    }
}

TEST(FrontProc, reads_counters_in_their_order) {
    const auto counters = parse_front_stat("hello 1\nattach 18446744073709551615\nwhy_local 0\n");
    ASSERT_TRUE(counters) << counters.error().text();
    ASSERT_EQ(counters->size(), 3u);
    EXPECT_EQ((*counters)[1].first, "attach");
    EXPECT_EQ((*counters)[1].second, 18446744073709551615u);
    for (const char* wrong : {"hello", "hello x", "hello 1 2", "hello -1"})
        EXPECT_FALSE(parse_front_stat(wrong)) << wrong;
}

TEST(FrontProc, reads_what_the_broker_says) {
    const auto domains = parse_back_domains(
        "domid=3 name=web uuid=u instance=9f state=connected mac=- ip=- allow=4,5\n");
    ASSERT_TRUE(domains) << domains.error().text();
    EXPECT_EQ(domains->front().name, "web");
    const auto links = parse_back_links("a=3 b=4 a_offer=1 b_offer=0\n");
    ASSERT_TRUE(links) << links.error().text();
    EXPECT_TRUE(links->front().a_offer);
    EXPECT_FALSE(links->front().b_offer);
    EXPECT_FALSE(parse_back_links("a=3 b=4 a_offer=1\n"));
}

TEST(KernelTcp, reads_both_families) {
    constexpr char kHeader[] = "  sl  local_address rem_address   st tx_queue rx_queue ...\n";
    const auto v4 = parse_kernel_tcp(std::string(kHeader) +
                                     "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 "
                                     "00:00000000 00000000     0        0 11 1 "
                                     "0000000000000000 100 0 0 10 0\n"
                                     "   1: 0300000A:9C40 0400000A:18EB 01 00000000:00000000 "
                                     "02:00000A5C 00000000  1000        0 12 2 "
                                     "0000000000000000 20 4 30 10 -1\n");
    ASSERT_TRUE(v4) << v4.error().text();
    ASSERT_EQ(v4->size(), 2u);
    EXPECT_FALSE((*v4)[0].established);
    EXPECT_EQ((*v4)[0].local.text(), "127.0.0.1:8080");
    EXPECT_TRUE((*v4)[1].established);
    EXPECT_EQ((*v4)[1].remote.text(), "10.0.0.4:6379");
    EXPECT_EQ((*v4)[1].uid, 1000u);
    EXPECT_EQ((*v4)[1].inode, 12u);

    const auto v6 = parse_kernel_tcp(
        std::string(kHeader) +
        "   0: 000000FD000000000000000003000000:0016 0000000000000000FFFF00000400000A:0017 01 "
        "00000000:00000000 00:00000000 00000000     0        0 13 1 0000000000000000 100 0 0 10 "
        "0\n");
    ASSERT_TRUE(v6) << v6.error().text();
    EXPECT_EQ(v6->front().local.text(), "[fd00::3]:22");
    EXPECT_EQ(v6->front().remote.text(), "10.0.0.4:23") << "a mapped address is its IPv4 address";

    EXPECT_TRUE(parse_kernel_tcp(kHeader)->empty());
    EXPECT_FALSE(parse_kernel_tcp(std::string(kHeader) + "   0: 0100007F 1F90\n"));
}

TEST(Output, prints_the_same_rows_as_table_and_as_json) {
    Table table({{"id", "ID", true}, {"name", "NAME"}, {"hidden", ""}, {"", "SHOWN"}});
    table.add({3u, "web", {true, ""}, "x"});
    table.add({12u, "", Cell(), "y\n"});
    EXPECT_EQ(table.text({}),
              "ID  NAME  SHOWN\n"
              " 3  web   x\n"
              "12  -     y?\n");
    EXPECT_EQ(table.text({.header = false}), " 3  web  x\n12  -    y?\n");
    EXPECT_EQ(table.text({.json = true}),
              "[{\"id\":3,\"name\":\"web\",\"hidden\":true},"
              "{\"id\":12,\"name\":\"\",\"hidden\":null}]\n");
    EXPECT_EQ(text_of_fields({{"a", 1u}, {"long", "b"}}, {}), "a     1\nlong  b\n");
    EXPECT_EQ(text_of_fields({{"a", 1u}, {"long", "b"}}, {.json = true}),
              "{\"a\":1,\"long\":\"b\"}\n");
}

TEST(Output, is_humane) {
    EXPECT_EQ(human_bytes(0), "0");
    EXPECT_EQ(human_bytes(999), "999");
    EXPECT_EQ(human_bytes(1024), "1K");
    EXPECT_EQ(human_bytes(1536), "1.5K");
    EXPECT_EQ(human_bytes(65536), "64K");
    EXPECT_EQ(human_bytes(1000000), "977K");
    EXPECT_EQ(human_bytes(1 << 20), "1M");
    EXPECT_EQ(human_bytes(~0ull), "16E");
    EXPECT_EQ(human_time(120), "120ms");
    EXPECT_EQ(human_time(119999), "119s");
    EXPECT_EQ(human_time(240000), "4m");
    EXPECT_EQ(human_time(7200000), "2h");
    EXPECT_EQ(human_time(3 * 86400000ull), "3d");
}

} // namespace
} // namespace xway
