// SPDX-License-Identifier: GPL-2.0
/*
 * xway-cling.cpp - a peer that does not let go: maps the first page of another guest's offer, and
 * keeps it.
 *
 *   xway-cling DOMID
 *
 * As root in a guest whose link with domain DOMID is up. Prints "mapped", and holds the page until
 * it is killed.
 */
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

extern "C" {
#include <xengnttab.h>
#include <xenstore.h>
}

namespace {

[[noreturn]] void die(const std::string& what) {
    std::perror(what.c_str());
    std::exit(1);
}

std::string read_node(xs_handle* store, const std::string& path) {
    unsigned length = 0;
    char* text = static_cast<char*>(xs_read(store, XBT_NULL, path.c_str(), &length));
    if (!text)
        die(path);
    std::string value(text, length);
    std::free(text);
    return value;
}

/* The grant of the first page of the region that domain @peer has offered to this guest. */
unsigned offered_ref(const std::string& peer) {
    xs_handle* store = xs_open(0);
    if (!store)
        die("xenstore");
    const std::string backend = read_node(store, "device/xway/0/backend");
    const std::string offer = read_node(store, backend + "/link/" + peer);
    unsigned ref = 0;
    if (std::sscanf(offer.c_str(), "from=%*x for=%*x ref=%u", &ref) != 1)
        die("no ref in the offer " + offer);
    xs_close(store);
    return ref;
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: xway-cling DOMID\n");
        return 2;
    }
    xengnttab_handle* table = xengnttab_open(nullptr, 0);
    if (!table)
        die("gntdev");
    const auto domid = static_cast<std::uint32_t>(std::strtoul(argv[1], nullptr, 10));
    if (!xengnttab_map_grant_ref(table, domid, offered_ref(argv[1]), PROT_READ))
        die("map");
    std::puts("mapped");
    std::fflush(stdout);
    pause();
}
