// SPDX-License-Identifier: GPL-2.0-or-later
//
// cmd_link.cpp - pairs of guests, as the broker sees them.
#include <map>

#include <CLI/CLI.hpp>

#include "command.h"
#include "front_proc.h"

namespace xway {

namespace {

Result<int> show(const Common& common) {
    const Host host = common.host();
    if (auto dom0 = need_dom0(host, "xway link show"); !dom0)
        return dom0.error();
    auto links = host.back("links", parse_back_links);
    if (!links)
        return links.error();
    auto domains = host.back("domains", parse_back_domains);
    if (!domains)
        return domains.error();

    std::map<unsigned, std::string> names;
    for (const BackDomain& domain : *domains)
        names[domain.domid] = domain.name;
    Table table({{"a", "A", true},
                 {"a_name", "NAME"},
                 {"b", "B", true},
                 {"b_name", "NAME"},
                 {"a_offer", "A OFFERS"},
                 {"b_offer", "B OFFERS"}});
    const auto yes_no = [](bool yes) { return Cell(yes, yes ? "yes" : "no"); };
    for (const BackLink& link : *links)
        table.add({link.a, names[link.a], link.b, names[link.b], yes_no(link.a_offer),
                   yes_no(link.b_offer)});
    table.print(common.format);
    return kDone;
}

} // namespace

Action declare_link_show(CLI::App&, const Common& common) {
    return [&common] { return show(common); };
}

} // namespace xway
