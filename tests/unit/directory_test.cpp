// SPDX-License-Identifier: GPL-2.0-or-later
//
// directory_test.cpp - devices in a store in memory: added, kept up to date, removed.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "../../xenstore-tools/directory.h"
#include "../../xenstore-tools/fake_store.h"

namespace xway {
namespace {

std::string uuid_of(unsigned domid) {
    return fmt::format("00000000-0000-0000-0000-{:012}", domid);
}

Policy policy_of(std::string_view text) {
    auto policy = Policy::parse(text, "test");
    EXPECT_TRUE(policy) << policy.error().text();
    return *policy;
}

class Directory : public testing::Test {
protected:
    Directory() {
        store.write("/local/domain/0/name", "Domain-0").has_value();
        store.write("/local/domain/0/vm", "/vm/" + uuid_of(0)).has_value();
    }

    void create_domain(unsigned id, const std::string& name, std::string uuid = "") {
        const std::string path = fmt::format("/local/domain/{}", id);
        store.make(path).has_value();
        store.permit(path, {0, {id}}).has_value();
        set(path + "/name", name);
        set(path + "/vm", "/vm/" + (uuid.empty() ? uuid_of(id) : uuid));
        store.make(path + "/device").has_value();
    }

    void create_vif(unsigned id, unsigned index, const std::string& mac,
                    const std::string& ip = "") {
        const std::string back = fmt::format("/local/domain/0/backend/vif/{}/{}", id, index);
        set(back + "/mac", mac);
        if (!ip.empty())
            set(back + "/ip", ip);
        const std::string front = fmt::format("/local/domain/{}/device/vif/{}", id, index);
        set(front + "/mac", mac);
    }

    void destroy_domain(unsigned id) {
        store.remove(fmt::format("/local/domain/{}", id)).has_value();
        store.remove(fmt::format("/local/domain/0/backend/vif/{}", id)).has_value();
    }

    Changes add(const std::string& domain) {
        auto changes = add_device(store, policy, world, domain);
        EXPECT_TRUE(changes) << changes.error().text();
        return changes ? *changes : Changes();
    }

    Changes do_keep() {
        auto changes = keep(store, policy, world, served);
        EXPECT_TRUE(changes) << changes.error().text();
        return changes ? *changes : Changes();
    }

    void set(const std::string& path, const std::string& value) {
        EXPECT_TRUE(store.write(path, value));
    }

    std::string get(const std::string& path) {
        auto value = store.read(path);
        return *value ? **value : "(none)";
    }

    std::string allow(unsigned id) { return get(backend_path(id) + "/allow"); }
    bool has_device(unsigned id) { return store.nodes.contains(backend_path(id)); }

    FakeStore store;
    Policy policy = policy_of("allow * *\ndevice *\n");
    World world;
    Served served;
};

TEST_F(Directory, adds_a_device_as_the_protocol_says) {
    create_domain(3, "web");
    create_vif(3, 0, "00:16:3E:00:00:03", "10.0.0.3 fd00::3/64");
    create_vif(3, 1, "00:16:3e:00:01:03");
    const int before = store.commits;
    EXPECT_EQ(add("web").added, std::vector<unsigned>{3});
    EXPECT_EQ(store.commits, before + 1) << "one transaction";

    const std::string fe = "/local/domain/3/device/xway/0", be = "/local/domain/0/backend/xway/3/0";
    const std::map<std::string, std::string> expected{
        {fe + "/backend", be},
        {fe + "/backend-id", "0"},
        {fe + "/state", "1"},
        {be + "/frontend", fe},
        {be + "/frontend-id", "3"},
        {be + "/online", "1"},
        {be + "/state", "1"},
        {be + "/name", "web"},
        {be + "/uuid", uuid_of(3)},
        {be + "/mac", "00:16:3e:00:00:03 00:16:3e:00:01:03"},
        {be + "/ip", "10.0.0.3 fd00::3"},
        {be + "/allow", ""}};
    std::map<std::string, std::string> found;
    for (const auto& [path, node] : store.nodes) {
        if (path.starts_with(fe + '/') || path.starts_with(be + '/'))
            found[path] = node.value;
    }
    EXPECT_EQ(found, expected);

    const Permissions front{3, {0}}, back{0, {3}}, secret{0, {}};
    EXPECT_EQ(store.nodes[fe].permissions, front);
    EXPECT_EQ(store.nodes[be].permissions, back);
    for (const auto& [path, value] : found) {
        const bool is_secret =
            path.ends_with("/mac") || path.ends_with("/ip") || path.ends_with("/allow");
        EXPECT_EQ(store.nodes[path].permissions, path.starts_with(fe) ? front
                                                 : is_secret          ? secret
                                                                      : back)
            << path;
    }
}

TEST_F(Directory, a_second_add_is_an_error_and_changes_nothing) {
    create_domain(3, "web");
    add("3");
    const auto before = store.nodes;
    const auto again = add_device(store, policy, world, "web");
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().text(),
              "domain 3 (web) has a device already; 'xway domain show 3' shows it");
    EXPECT_EQ(store.nodes, before);
}

TEST_F(Directory, an_unknown_domain_is_an_error_that_names_xl_list) {
    create_domain(3, "web");
    const auto before = store.nodes;
    for (const char* name : {"db", "4", "", "-3", "3x"}) {
        const auto added = add_device(store, policy, world, name);
        ASSERT_FALSE(added) << name;
        EXPECT_EQ(added.error().remedy, "'xl list' shows those that are there");
    }
    EXPECT_FALSE(add_device(store, policy, world, "0"));
    EXPECT_FALSE(add_device(store, policy, world, "Domain-0"));
    EXPECT_EQ(store.nodes, before);
}

TEST_F(Directory, a_name_that_two_domains_have_is_refused) {
    create_domain(3, "web");
    create_domain(4, "web");
    const auto added = add_device(store, policy, world, "web");
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().what, "'web' is the name of domains 3 and 4");
    EXPECT_EQ(add("4").added, std::vector<unsigned>{4});
}

TEST_F(Directory, a_failing_write_changes_nothing) {
    create_domain(3, "web");
    create_domain(4, "db");
    add("web");
    const auto before = store.nodes;
    for (int writes = 0;; ++writes) {
        store.fail_after = writes;
        const auto added = add_device(store, policy, world, "db");
        if (added)
            break;
        EXPECT_EQ(store.nodes, before) << writes;
        ASSERT_LT(writes, 100);
    }
    store.fail_after = -1;
    EXPECT_EQ(allow(3), "4");
}

TEST_F(Directory, an_add_that_loses_a_transaction_tries_again_on_what_the_winner_left) {
    create_domain(3, "web");
    create_domain(4, "db");
    store.conflicts = 1;
    store.on_conflict = [&] { EXPECT_EQ(add("4").added, std::vector<unsigned>{4}); };
    EXPECT_EQ(add("3").added, std::vector<unsigned>{3});
    EXPECT_EQ(allow(3), "4");
    EXPECT_EQ(allow(4), "3");

    store.conflicts = 1000;
    store.on_conflict = nullptr;
    const auto busy = apply_policy(store, policy_of(""), world);
    ASSERT_FALSE(busy);
    EXPECT_EQ(busy.error().code, EAGAIN);
}

TEST_F(Directory, allow_lists_only_those_with_a_device_whom_the_policy_allows) {
    create_domain(3, "web");
    create_domain(4, "db");
    create_domain(5, "mail");
    create_domain(12, "log");
    policy = policy_of("deny web mail\nallow * *\n");
    add("web");
    EXPECT_EQ(allow(3), "");
    add("mail");
    add("log");
    EXPECT_EQ(allow(3), "12");
    EXPECT_EQ(allow(5), "12");
    EXPECT_EQ(allow(12), "3 5");
    add("db");
    EXPECT_EQ(allow(3), "4 12");
    EXPECT_EQ(allow(4), "3 5 12");
    EXPECT_EQ(allow(12), "3 4 5");
}

TEST_F(Directory, apply_brings_all_nodes_up_to_date_and_writes_only_what_differs) {
    create_domain(3, "web");
    create_domain(4, "db");
    add("web");
    add("db");
    store.log.clear();
    EXPECT_EQ(apply_policy(store, policy, world)->written, 0u);
    EXPECT_TRUE(store.log.empty());

    create_vif(4, 0, "00:16:3e:00:00:04", "10.0.0.4");
    EXPECT_EQ(apply_policy(store, policy, world)->written, 2u);
    EXPECT_EQ(get(backend_path(4) + "/mac"), "00:16:3e:00:00:04");
    EXPECT_EQ(get(backend_path(4) + "/ip"), "10.0.0.4");

    policy = policy_of("ip db 10.0.0.4,10.9.9.9");
    EXPECT_EQ(apply_policy(store, policy, world)->written, 3u);
    EXPECT_EQ(get(backend_path(4) + "/ip"), "10.0.0.4 10.9.9.9");
    EXPECT_EQ(allow(3), "");
    EXPECT_EQ(allow(4), "");
    EXPECT_EQ(store.nodes[backend_path(4) + "/allow"].permissions, (Permissions{0, {}}));
    EXPECT_FALSE(store.nodes.contains("/local/domain/0/backend/xway/5"));
}

TEST_F(Directory, believes_the_backend_and_not_what_a_guest_may_write) {
    create_domain(3, "web");
    create_vif(3, 0, "00:16:3e:00:00:03");
    set("/local/domain/3/device/vif/0/mac", "00:16:3e:00:00:04");
    set("/local/domain/3/device/vif/7/mac", "00:16:3e:00:00:05");
    add("3");
    EXPECT_EQ(get(backend_path(3) + "/mac"), "00:16:3e:00:00:03");
}

TEST_F(Directory, finds_network_devices_of_driver_domains_through_libxl) {
    create_domain(3, "web");
    set("/libxl/3/device/vif/0/backend", "/local/domain/9/backend/vif/3/0");
    set("/local/domain/9/backend/vif/3/0/mac", "00:16:3e:00:00:33");
    add("3");
    EXPECT_EQ(get(backend_path(3) + "/mac"), "00:16:3e:00:00:33");
}

TEST_F(Directory, skips_addresses_and_macs_that_are_none) {
    create_domain(3, "odd name=x");
    create_vif(3, 0, "what", "dhcp 127.0.0.1 10.0.0.3,10.0.0.3 224.0.0.1 10.0.0.5/24");
    add("3");
    EXPECT_EQ(get(backend_path(3) + "/mac"), "");
    EXPECT_EQ(get(backend_path(3) + "/ip"), "10.0.0.3 10.0.0.5");
    EXPECT_EQ(get(backend_path(3) + "/name"), "odd_name=x");
}

TEST_F(Directory, removal_tells_the_others_first_then_waits_then_removes) {
    create_domain(3, "web");
    create_domain(4, "db");
    add("3");
    add("4");
    set(frontend_path(3) + "/state", kConnected);
    set(backend_path(3) + "/state", kConnected);

    const auto removing = begin_removal(store, policy, world, "web");
    ASSERT_TRUE(removing) << removing.error().text();
    EXPECT_EQ(*removing, 3u);
    EXPECT_EQ(get(backend_path(3) + "/online"), "0");
    EXPECT_EQ(get(backend_path(3) + "/state"), kClosing);
    EXPECT_EQ(allow(3), "");
    EXPECT_EQ(allow(4), "");

    EXPECT_EQ(*look_at_removal(store, 3), Closing::underway);
    set(frontend_path(3) + "/state", kClosed);
    EXPECT_EQ(*look_at_removal(store, 3), Closing::unheard);
    set(backend_path(3) + "/state", kClosed);
    EXPECT_EQ(*look_at_removal(store, 3), Closing::finished);
    EXPECT_TRUE(finish_removal(store, 3));
    EXPECT_FALSE(store.nodes.contains("/local/domain/0/backend/xway/3"));
    EXPECT_FALSE(store.nodes.contains("/local/domain/3/device/xway"));
    EXPECT_TRUE(store.nodes.contains("/local/domain/3/device"));

    EXPECT_FALSE(begin_removal(store, policy, world, "web")) << "a second removal";
    EXPECT_EQ(add("web").added, std::vector<unsigned>{3});
    EXPECT_EQ(allow(4), "3");
}

TEST_F(Directory, what_a_dead_domain_has_left_can_be_removed_by_its_number) {
    create_domain(3, "web");
    add("3");
    destroy_domain(3);
    EXPECT_TRUE(begin_removal(store, policy, world, "3"));
    EXPECT_FALSE(begin_removal(store, policy, world, "web"));
}

TEST_F(Directory, keep_gives_devices_to_domains_that_the_policy_names) {
    policy = policy_of("device web*\nallow * *\n");
    create_domain(3, "web");
    create_domain(4, "db");
    create_domain(5, "web-dm");
    create_domain(6, "");
    set("/local/domain/5/target", "3");
    EXPECT_EQ(do_keep().added, std::vector<unsigned>{3});
    EXPECT_TRUE(do_keep().added.empty());
    create_domain(7, "web2");
    EXPECT_EQ(do_keep().added, std::vector<unsigned>{7});
    EXPECT_EQ(allow(3), "7");
    EXPECT_EQ(allow(7), "3");
    EXPECT_FALSE(has_device(4));
    EXPECT_FALSE(has_device(5)) << "a device model";
    EXPECT_FALSE(has_device(6)) << "not named yet";
    EXPECT_FALSE(has_device(0));
}

TEST_F(Directory, keep_removes_what_dead_domains_leave) {
    create_domain(3, "web");
    create_domain(4, "db");
    do_keep();
    destroy_domain(3);
    EXPECT_EQ(do_keep().removed, std::vector<unsigned>{3});
    EXPECT_FALSE(store.nodes.contains("/local/domain/0/backend/xway/3"));
    EXPECT_EQ(allow(4), "");
}

TEST_F(Directory, a_domain_that_xen_no_longer_runs_is_dead_even_if_xenstore_knows_it) {
    create_domain(3, "web");
    create_domain(4, "db");
    do_keep();
    world.living = [] { return std::set<unsigned>{0, 4}; };
    EXPECT_EQ(do_keep().removed, std::vector<unsigned>{3});
    EXPECT_EQ(allow(4), "");
    EXPECT_TRUE(do_keep().added.empty());
    EXPECT_FALSE(add_device(store, policy, world, "3"));
}

TEST_F(Directory, keep_leaves_a_device_removed_by_hand_away) {
    create_domain(3, "web");
    do_keep();
    ASSERT_TRUE(begin_removal(store, policy, world, "3"));
    EXPECT_TRUE(do_keep().added.empty());
    EXPECT_TRUE(has_device(3)) << "it is still closing";
    ASSERT_TRUE(finish_removal(store, 3));
    EXPECT_TRUE(do_keep().added.empty());
    served.clear(); // what SIGHUP does
    EXPECT_EQ(do_keep().added, std::vector<unsigned>{3});
}

TEST_F(Directory, a_number_used_again_gets_a_device_of_its_own_after_the_old_one_is_gone) {
    create_domain(3, "web");
    create_domain(4, "db");
    do_keep();
    destroy_domain(3);
    create_domain(3, "new", "99999999-0000-0000-0000-000000000000");
    bool held = true;
    world.held = [&](unsigned) { return held; };

    Changes changes = do_keep();
    EXPECT_EQ(changes.removed, std::vector<unsigned>{3});
    EXPECT_TRUE(changes.again);
    EXPECT_EQ(allow(4), "");
    changes = do_keep();
    EXPECT_TRUE(changes.again) << "the broker still holds the old device";
    EXPECT_FALSE(has_device(3));
    held = false;
    changes = do_keep();
    EXPECT_EQ(changes.added, std::vector<unsigned>{3});
    EXPECT_FALSE(changes.again);
    EXPECT_EQ(get(backend_path(3) + "/uuid"), "99999999-0000-0000-0000-000000000000");
    EXPECT_EQ(allow(4), "3");
}

TEST_F(Directory, add_waits_for_the_old_device_of_a_number_used_again) {
    create_domain(3, "web");
    add("3");
    destroy_domain(3);
    create_domain(3, "new", "99999999-0000-0000-0000-000000000000");
    Changes changes = add("3");
    EXPECT_TRUE(changes.again);
    EXPECT_TRUE(changes.added.empty());
    EXPECT_FALSE(has_device(3));
    changes = add("3");
    EXPECT_FALSE(changes.again);
    EXPECT_EQ(changes.added, std::vector<unsigned>{3});
}

TEST_F(Directory, states_have_names) {
    EXPECT_EQ(state_name("1"), "Initialising");
    EXPECT_EQ(state_name("6"), "Closed");
    EXPECT_EQ(state_name(""), "none");
    EXPECT_EQ(state_name("99"), "none");
}

} // namespace
} // namespace xway
