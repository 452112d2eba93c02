// SPDX-License-Identifier: GPL-2.0-or-later
//
// directory.h - the devices in Xenstore, and what dom0 says in them about each guest.
//
// DOC: Theory of operation
//
// Every change has one form: in one transaction, read a snapshot of all domains and devices,
// compute from it and the policy what the nodes of each device should say, and write the
// differences. So the command and the daemon may work side by side: whoever comes second sees what
// the first has done.
//
// A device is current when its domain lives, has the UUID that the device was made for, and still
// has the frontend's directory. One that is not current is removed, never updated: a domain number
// is used again, and the device of a dead domain must not speak for the next one.
//
// MACs and addresses come from the backend's side of the network devices: a guest may write its
// own.
//
// Limits: only network devices of domain 0 or of libxl are found; names in BE/name have what is
// not printable replaced by '_'.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "policy.h"
#include "store.h"

namespace xway {

inline constexpr char kBackendRoot[] = "/local/domain/0/backend/xway";

std::string backend_path(unsigned domid);  // BE of docs/protocol.md
std::string frontend_path(unsigned domid); // FE

// XenbusState, as the text of a state node.
inline constexpr char kInitialising[] = "1";
inline constexpr char kConnected[] = "4";
inline constexpr char kClosing[] = "5";
inline constexpr char kClosed[] = "6";
std::string state_name(const std::string& state);

struct Domain {
    unsigned id = 0;
    Identity identity;
    bool helper = false; // the device model of another domain
    std::vector<std::string> macs;
    std::vector<Address> addresses; // of its network devices
};

struct Device {
    unsigned id = 0;
    bool has_frontend = false;
    std::string online, state, frontend_state, instance;
    std::string name, uuid, mac, ip, allow;
};

struct Snapshot {
    std::map<unsigned, Domain> domains; // without domain 0
    std::map<unsigned, Device> devices;

    bool is_current(const Device& device) const;
};

Result<Snapshot> read_snapshot(Store& store);

// The domain with this number or name.
Result<unsigned> find_domain(const Snapshot& snapshot, std::string_view number_or_name);

// What the toolstack's nodes of a device should say.
struct Entry {
    std::string name, mac, ip, allow;

    bool operator==(const Entry&) const = default;
};

std::map<unsigned, Entry> compute_entries(const Snapshot& snapshot, const Policy& policy);

// What the store cannot say. Asked inside a transaction, after the snapshot has been read: a domain
// of the snapshot that is not among the living is dead, and not one yet to come.
struct World {
    // Nothing when the hypervisor does not answer: then the store alone decides.
    std::function<std::optional<std::set<unsigned>>()> living = [] { return std::nullopt; };

    // Whether the broker's driver still holds a device for this domain.
    std::function<bool(unsigned)> held = [](unsigned) { return false; };
};

struct Changes {
    std::vector<unsigned> added, removed;
    std::set<unsigned> domains; // that live
    unsigned written = 0;       // nodes of other devices that were brought up to date
    bool again = false; // something has to wait until the broker has let go of an old device
};

// Removes devices that are not current and brings the others up to date.
Result<Changes> apply_policy(Store& store, const Policy& policy, const World& world);

// The same, and adds devices to the domains that the policy wants to have one. Each domain gets it
// once: `served` remembers, so that a device which the administrator removed stays away.
using Served = std::set<std::pair<unsigned, std::string>>;
Result<Changes> keep(Store& store, const Policy& policy, const World& world, Served& served);

// Adds one device, or fails and changes nothing. With `again` set nothing was added yet.
Result<Changes> add_device(Store& store, const Policy& policy, const World& world,
                           std::string_view domain);

// Removal is in two steps: ask the two drivers to close, and, when they have or will not, remove.
Result<unsigned> begin_removal(Store& store, const Policy& policy, const World& world,
                               std::string_view domain);
enum class Closing { finished, unheard, underway }; // unheard: no frontend is there to answer
Result<Closing> look_at_removal(Store& store, unsigned domid);
Result<void> finish_removal(Store& store, unsigned domid);

} // namespace xway
