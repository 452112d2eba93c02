// SPDX-License-Identifier: GPL-2.0-or-later
//
// stat_report_test.cpp - counters as text, JSON and metrics; the metrics are read back by the rules
// of Prometheus' text format 0.0.4.
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "../../xenstore-tools/prometheus.h"
#include "../../xenstore-tools/stat_report.h"

namespace xway {
namespace {

using Json = nlohmann::ordered_json;
using Labels = std::map<std::string, std::string>;

constexpr char kStat[] =
    "conns_armed 5\nconns_attached 3\ntx_ring_bytes 18446744073709551615\nlater_counter 7\n"
    "why_waiting 3\nwhy_not-peer 2\nwhy_urgent 0\n";
constexpr char kPeers[] =
    "domid=4 name=app tx_ring_bytes=100 rx_ring_bytes=2048 declines_sent=1 declines_received=2 "
    "kicks=9 "
    "why_waiting=3 why_not-peer=0\n"
    "domid=5 name=- tx_ring_bytes=0 rx_ring_bytes=0 declines_sent=0 declines_received=0 kicks=0 "
    "why_waiting=0 why_not-peer=0\n";
constexpr char kLinks[] =
    "domid=4 instance=01 name=app mac=- ip=- ready=1 link=up arena_used=2 arena_pages=512 "
    "slots_used=3 slots=1024\n"
    "domid=5 instance=02 name=- mac=- ip=- ready=0 link=no-room arena_used=0 arena_pages=0 "
    "slots_used=0 "
    "slots=0\n";
constexpr char kStatus[] =
    "version=1 domid=3 instance=01 state=connected enable=1 flip_ms=0 ring_kib=256 arena_kib=2048 "
    "total_kib=4000 granted_kib=2212\n";

GuestReport a_report() {
    GuestReport report;
    report.total = sort_figures(*parse_front_stat(kStat), "why_");
    report.peers = *parse_front_stat_peers(kPeers);
    report.links = *parse_front_peers(kLinks);
    report.status = *parse_front_status(kStatus);
    report.current = {4026531840u, sort_figures(*parse_front_stat(kStat), "why_")};
    return report;
}

// ---- a reader of the format that forgives nothing ----

struct Family {
    std::string type, help;
    std::map<Labels, std::string> samples;
};

class Exposition {
public:
    explicit Exposition(const std::string& text) {
        EXPECT_TRUE(text.empty() || text.ends_with("\n"));
        std::istringstream lines(text);
        for (std::string line; std::getline(lines, line);) {
            if (!read(line))
                ADD_FAILURE() << "wrong line: " << line;
        }
        for (const auto& [name, family] : families_) {
            EXPECT_FALSE(family.help.empty()) << name;
            EXPECT_FALSE(family.samples.empty()) << name;
            EXPECT_EQ(family.type == "counter", name.ends_with("_total")) << name;
        }
    }

    const std::map<std::string, Family>& families() const { return families_; }

    std::string value(const std::string& name, const Labels& labels = {}) const {
        const auto family = families_.find(name);
        if (family == families_.end())
            return "no metric";
        const auto sample = family->second.samples.find(labels);
        return sample == family->second.samples.end() ? "no sample" : sample->second;
    }

private:
    static std::string take_name(std::string_view& rest) {
        std::size_t length = 0;
        while (length < rest.size() && (std::isalpha(rest[length]) || rest[length] == '_' ||
                                        (length > 0 && std::isdigit(rest[length]))))
            ++length;
        const std::string name(rest.substr(0, length));
        rest.remove_prefix(length);
        return name;
    }

    static bool take(std::string_view& rest, std::string_view what) {
        if (!rest.starts_with(what))
            return false;
        rest.remove_prefix(what.size());
        return true;
    }

    static std::optional<std::string> take_value(std::string_view& rest) {
        std::string value;
        while (!rest.empty() && rest[0] != '"') {
            if (take(rest, "\\\\"))
                value += '\\';
            else if (take(rest, "\\\""))
                value += '"';
            else if (take(rest, "\\n"))
                value += '\n';
            else if (rest[0] == '\\')
                return std::nullopt;
            else {
                value += rest[0];
                rest.remove_prefix(1);
            }
        }
        return value;
    }

    static std::optional<Labels> take_labels(std::string_view& rest) {
        Labels labels;
        if (!take(rest, "{"))
            return labels;
        do {
            const std::string name = take_name(rest);
            if (name.empty() || !take(rest, "=\""))
                return std::nullopt;
            const auto value = take_value(rest);
            if (!value || !take(rest, "\"") || !labels.emplace(name, *value).second)
                return std::nullopt;
        } while (take(rest, ","));
        return take(rest, "}") ? std::optional(labels) : std::nullopt;
    }

    // HELP, TYPE and samples of a metric, in this order, in one piece and once.
    bool read(std::string_view rest) {
        if (take(rest, "# HELP ")) {
            name_ = take_name(rest);
            return take(rest, " ") &&
                   families_.emplace(name_, Family{"", std::string(rest), {}}).second;
        }
        if (take(rest, "# TYPE ")) {
            if (take_name(rest) != name_ || !take(rest, " "))
                return false;
            Family& family = families_[name_];
            const bool first = family.type.empty();
            family.type = rest;
            return first &&
                   std::set<std::string_view>{"counter", "gauge", "untyped"}.contains(rest);
        }
        if (take_name(rest) != name_ || families_[name_].type.empty())
            return false;
        const auto labels = take_labels(rest);
        return labels && take(rest, " ") && !rest.empty() &&
               rest.find_first_not_of("0123456789") == std::string_view::npos &&
               families_[name_].samples.emplace(*labels, rest).second;
    }

    std::map<std::string, Family> families_;
    std::string name_; // of the metric that is being read
};

// ---- tests ----

TEST(StatReport, sorts_the_reasons_out) {
    const Figures figures = sort_figures(*parse_front_stat(kStat), "why_");
    EXPECT_EQ(figures.counters.size(), 4u);
    ASSERT_EQ(figures.reasons.size(), 3u);
    EXPECT_EQ(figures.reasons[1], (std::pair<std::string, std::uint64_t>("not-peer", 2)));
}

TEST(StatReport, reads_the_counters_of_peers) {
    const auto peers = parse_front_stat_peers(kPeers);
    ASSERT_TRUE(peers) << peers.error().text();
    ASSERT_EQ(peers->size(), 2u);
    EXPECT_EQ((*peers)[0].name, "app");
    EXPECT_EQ((*peers)[0].figures.counters.size(), 5u);
    EXPECT_EQ((*peers)[0].figures.reasons[0].second, 3u);
    EXPECT_EQ((*peers)[1].name, "");
    EXPECT_TRUE(parse_front_stat_peers("")->empty());
    for (const char* wrong : {"name=app kicks=1\n", "domid=4 kicks=1\n", "domid=4 name=a kicks=x\n",
                              "domid=4 name=a kicks=-1\n", "domid=4 name=a kicks=\n"})
        EXPECT_FALSE(parse_front_stat_peers(wrong)) << wrong;
}

TEST(StatReport, reads_the_number_of_a_namespace) {
    EXPECT_EQ(parse_netns_link("net:[4026531840]"), 4026531840u);
    for (const char* wrong : {"", "net:[]", "net:[x]", "mnt:[1]", "net:[1"})
        EXPECT_FALSE(parse_netns_link(wrong)) << wrong;
}

TEST(StatReport, prints_json_in_sections) {
    const Json parsed = Json::parse(text_of(a_report(), {.json = true}));
    EXPECT_EQ(parsed["total"]["tx_ring_bytes"], 18446744073709551615u);
    EXPECT_FALSE(parsed["total"].contains("why_waiting"));
    EXPECT_EQ(parsed["reasons"]["not-peer"], 2);
    ASSERT_EQ(parsed["peers"].size(), 2u);
    EXPECT_EQ(parsed["peers"][0]["domid"], 4);
    EXPECT_EQ(parsed["peers"][0]["name"], "app");
    EXPECT_EQ(parsed["peers"][0]["counters"]["kicks"], 9);
    EXPECT_EQ(parsed["peers"][0]["reasons"]["waiting"], 3);
    EXPECT_EQ(parsed["namespace"]["netns"], 4026531840u);
    EXPECT_EQ(parsed["namespace"]["counters"]["conns_armed"], 5);

    GuestReport current;
    current.current = {std::nullopt, {{{"conns_armed", 1}}, {{"local", 2}}}};
    EXPECT_EQ(text_of(current, {.json = true}),
              "{\"namespace\":{\"netns\":null,\"counters\":{\"conns_armed\":1},"
              "\"reasons\":{\"local\":2}}}\n");
    EXPECT_EQ(text_of_local({{{"clients", 1}}, {}}, {.json = true}),
              "{\"total\":{\"clients\":1},\"reasons\":{}}\n");
}

TEST(StatReport, prints_what_has_happened) {
    const std::string text = text_of(a_report(), {});
    EXPECT_NE(text.find("conns_attached  3\n"), std::string::npos) << text;
    EXPECT_NE(text.find("\nnot-peer      2\n"), std::string::npos) << text;
    EXPECT_EQ(text.find("urgent"), std::string::npos) << "a reason that has not occurred\n" << text;
    EXPECT_NE(text.find("\n 4  app       100/2K        0/0         0         3 "),
              std::string::npos)
        << text;
    EXPECT_EQ(text_of_local({{{"clients", 1}}, {}}, {}), "clients  1\n");
}

TEST(StatReport, prints_metrics_that_can_be_read_back) {
    const Exposition metrics(metrics_of(a_report()));
    EXPECT_EQ(metrics.value("xway_tx_ring_bytes_total"), "18446744073709551615");
    EXPECT_EQ(metrics.value("xway_tcp_reasons_total", {{"reason", "not-peer"}}), "2");
    EXPECT_EQ(metrics.value("xway_tcp_reasons_total", {{"reason", "urgent"}}), "0");
    const Labels app{{"peer", "app"}, {"domid", "4"}}, nameless{{"peer", ""}, {"domid", "5"}};
    EXPECT_EQ(metrics.value("xway_peer_rx_ring_bytes_total", app), "2048");
    EXPECT_EQ(metrics.value("xway_peer_rx_ring_bytes_total", nameless), "0");
    EXPECT_EQ(metrics.value("xway_peer_tcp_reasons_total",
                            {{"peer", "app"}, {"domid", "4"}, {"reason", "waiting"}}),
              "3");
    EXPECT_EQ(metrics.value("xway_peer_link_up", app), "1");
    EXPECT_EQ(metrics.value("xway_peer_link_up", nameless), "0");
    EXPECT_EQ(metrics.value("xway_peer_arena_bytes", app), "2097152");
    EXPECT_EQ(metrics.value("xway_peer_no_room", app), "0");
    EXPECT_EQ(metrics.value("xway_peer_no_room", nameless), "1");
    EXPECT_EQ(metrics.value("xway_granted_bytes"), "2265088");
    EXPECT_EQ(metrics.value("xway_granted_limit_bytes"), "4096000");
    EXPECT_EQ(metrics.value("xway_netns_conns_armed_total", {{"netns", "4026531840"}}), "5");
    EXPECT_EQ(metrics.families().at("xway_later_counter").type, "untyped");
    EXPECT_EQ(metrics.families().at("xway_peer_kicks_total").type, "counter");
}

TEST(StatReport, prints_metrics_of_whatever_there_is) {
    EXPECT_EQ(metrics_of(GuestReport()), "");
    const Exposition local(metrics_of_local(
        sort_figures({{"clients", 2}, {"matched", 9}, {"declined_ulp", 4}}, "declined_")));
    EXPECT_EQ(local.families().size(), 3u);
    EXPECT_EQ(local.families().at("xwayd_clients").type, "gauge");
    EXPECT_EQ(local.value("xwayd_matched_total"), "9");
    EXPECT_EQ(local.value("xwayd_declined_total", {{"reason", "ulp"}}), "4");
}

TEST(StatReport, a_name_cannot_break_out_of_its_label) {
    const std::vector<std::string> hostile{
        "a\"} 1\nxway_up 1\n#", "back\\slash", "\\", "\\n", "\"", "{}=,", "\xc3\xa9", "two words"};
    for (const std::string& name : hostile) {
        GuestReport report = a_report();
        report.peers[0].name = report.links[0].name = name;
        const Exposition metrics(metrics_of(report));
        EXPECT_EQ(metrics.value("xway_peer_tx_ring_bytes_total", {{"peer", name}, {"domid", "4"}}),
                  "100")
            << name;
        const Json parsed = Json::parse(text_of(report, {.json = true}));
        EXPECT_EQ(parsed["peers"][0]["name"], name);
        EXPECT_EQ(text_of(report, {}).find("xway_up 1\n"), std::string::npos) << name;
    }
}

TEST(StatReport, a_label_is_utf8_whatever_the_name) {
    const std::string kBad = "\xef\xbf\xbd";
    EXPECT_EQ(escape_label("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x91"),
              "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x91");
    EXPECT_EQ(escape_label("a\xff"
                           "b"),
              "a" + kBad + "b");
    EXPECT_EQ(escape_label("\xc3"), kBad) << "cut off";
    EXPECT_EQ(escape_label("\xc0\xaf"), kBad + kBad) << "longer than need be";
    EXPECT_EQ(escape_label("\xed\xa0\x80"), kBad + kBad + kBad) << "a surrogate";
    EXPECT_EQ(escape_label("\xf4\x90\x80\x80"), kBad + kBad + kBad + kBad) << "beyond Unicode";
    EXPECT_EQ(escape_label(std::string("a\0b\rc", 5)), "a" + kBad + "b" + kBad + "c");
    EXPECT_EQ(escape_label(""), "");
}

TEST(Metrics, names_are_names) {
    Metrics metrics;
    metrics.describe("9 lives-left", Metrics::Type::kCounter, "cats\nand \\more \"quoted\"");
    metrics.sample({}, 3);
    metrics.describe("x_total", Metrics::Type::kCounter, "once");
    metrics.sample({{"a", "b"}}, 0);
    EXPECT_EQ(metrics.text(),
              "# HELP _9_lives_left_total cats\\nand \\\\more \"quoted\"\n"
              "# TYPE _9_lives_left_total counter\n_9_lives_left_total 3\n"
              "# HELP x_total once\n# TYPE x_total counter\nx_total{a=\"b\"} 0\n");
}

} // namespace
} // namespace xway
