// SPDX-License-Identifier: GPL-2.0-or-later
//
// directory.cpp - snapshot, computation, differences.
#include "directory.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "text.h"

namespace xway {

namespace {

template <typename T>
bool contains(const std::vector<T>& list, const T& item) {
    return std::find(list.begin(), list.end(), item) != list.end();
}

template <typename T>
void add_once(std::vector<T>& list, const T& item) {
    if (!contains(list, item))
        list.push_back(item);
}

bool names_one_domain(const Address& address) {
    return !address.is_unspecified() && !address.is_loopback() && !address.is_multicast();
}

// Names travel in lists of key=value words.
std::string printable(std::string name) {
    for (char& character : name) {
        if (character <= ' ' || character > '~')
            character = '_';
    }
    return name;
}

std::string domain_path(unsigned domid) {
    return fmt::format("/local/domain/{}", domid);
}

std::string backend_root(unsigned domid) {
    return fmt::format("{}/{}", kBackendRoot, domid);
}

std::string frontend_root(unsigned domid) {
    return domain_path(domid) + "/device/xway";
}

// Where the backends of a domain's network devices keep their nodes.
std::vector<std::string> vif_backends(Batch& store, unsigned domid) {
    std::vector<std::string> paths;
    const std::string local = fmt::format("/local/domain/0/backend/vif/{}", domid);
    for (const std::string& index : store.list(local))
        add_once(paths, local + '/' + index);
    const std::string libxl = fmt::format("/libxl/{}/device/vif", domid);
    for (const std::string& index : store.list(libxl)) {
        const std::string path = store.read(libxl + '/' + index + "/backend");
        if (path.starts_with("/local/domain/"))
            add_once(paths, path);
    }
    return paths;
}

Domain read_domain(Batch& store, unsigned domid) {
    Domain domain;
    const std::string path = domain_path(domid);
    domain.id = domid;
    domain.identity.name = store.read(path + "/name");
    const std::string vm = store.read(path + "/vm"); // /vm/UUID
    domain.identity.uuid = vm.substr(vm.rfind('/') + 1);
    domain.helper = store.find(path + "/target").has_value();
    for (const std::string& vif : vif_backends(store, domid)) {
        if (const auto mac = parse_mac(store.read(vif + "/mac")))
            add_once(domain.macs, *mac);
        const std::string ips = store.read(vif + "/ip");
        for (std::string_view word : split(ips, " ,\t\n")) {
            const auto address = Address::parse(word.substr(0, word.find('/')));
            if (address && names_one_domain(*address))
                add_once(domain.addresses, *address);
        }
    }
    return domain;
}

Device read_device(Batch& store, unsigned domid) {
    const std::string back = backend_path(domid);
    const std::string front = frontend_path(domid);
    Device device;
    device.id = domid;
    device.has_frontend = store.find(front + "/backend").has_value();
    device.frontend_state = store.read(front + "/state");
    device.online = store.read(back + "/online");
    device.state = store.read(back + "/state");
    device.instance = store.read(back + "/instance");
    device.name = store.read(back + "/name");
    device.uuid = store.read(back + "/uuid");
    device.mac = store.read(back + "/mac");
    device.ip = store.read(back + "/ip");
    device.allow = store.read(back + "/allow");
    return device;
}

void write_device(Batch& store, const Domain& domain, const Entry& entry) {
    const unsigned id = domain.id;
    const std::string back = backend_path(id);
    const std::string front = frontend_path(id);
    store.remove(front);
    store.make(front);
    store.permit(front, {id, {0}});
    store.write(front + "/backend", back);
    store.write(front + "/backend-id", "0");
    store.make(back);
    store.permit(back, {0, {id}});
    store.write(back + "/frontend", front);
    store.write(back + "/frontend-id", std::to_string(id));
    store.write(back + "/online", "1");
    store.write(back + "/name", entry.name);
    store.write(back + "/uuid", domain.identity.uuid);
    for (const auto& [node, value] : {std::pair("/mac", entry.mac), std::pair("/ip", entry.ip),
                                      std::pair("/allow", entry.allow)}) {
        store.write(back + node, value);
        store.permit(back + node, {0, {}});
    }
    store.write(front + "/state", kInitialising);
    store.write(back + "/state", kInitialising);
}

unsigned write_differences(Batch& store, const Device& device, const Entry& entry) {
    unsigned written = 0;
    const auto set = [&](const char* node, const std::string& old, const std::string& value,
                         bool secret) {
        if (old == value)
            return;
        const std::string path = backend_path(device.id) + node;
        store.write(path, value);
        if (secret)
            store.permit(path, {0, {}});
        ++written;
    };
    set("/name", device.name, entry.name, false);
    set("/mac", device.mac, entry.mac, true);
    set("/ip", device.ip, entry.ip, true);
    set("/allow", device.allow, entry.allow, true);
    return written;
}

void remove_device(Batch& store, const Snapshot& snapshot, unsigned domid) {
    store.remove(backend_root(domid));
    if (snapshot.domains.contains(domid))
        store.remove(frontend_root(domid));
}

// Reads the snapshot and takes the dead out of it.
Result<Snapshot> read_living(Store& store, const World& world) {
    auto snapshot = read_snapshot(store);
    if (!snapshot)
        return snapshot;
    if (const auto living = world.living())
        std::erase_if(snapshot->domains,
                      [&](const auto& domain) { return !living->contains(domain.first); });
    return snapshot;
}

// Removes what is not current, from the store and from the snapshot.
void sweep(Batch& store, Snapshot& snapshot, Changes& changes) {
    for (auto device = snapshot.devices.begin(); device != snapshot.devices.end();) {
        if (snapshot.is_current(device->second)) {
            ++device;
            continue;
        }
        remove_device(store, snapshot, device->first);
        changes.removed.push_back(device->first);
        device = snapshot.devices.erase(device);
    }
}

// Writes new devices in full and of the others what has changed.
void write_entries(Batch& store, const Snapshot& snapshot, const Policy& policy, Changes& changes) {
    for (const auto& [id, entry] : compute_entries(snapshot, policy)) {
        if (contains(changes.added, id))
            write_device(store, snapshot.domains.at(id), entry);
        else
            changes.written += write_differences(store, snapshot.devices.at(id), entry);
    }
}

// Puts a device that is yet to be written into the snapshot.
void plan_device(Snapshot& snapshot, const Domain& domain, Changes& changes) {
    Device device;
    device.id = domain.id;
    device.has_frontend = true;
    device.online = "1";
    device.uuid = domain.identity.uuid;
    snapshot.devices[domain.id] = device;
    changes.added.push_back(domain.id);
}

std::string describe(const Snapshot& snapshot, unsigned domid) {
    const auto domain = snapshot.domains.find(domid);
    if (domain == snapshot.domains.end() || domain->second.identity.name.empty())
        return fmt::format("domain {}", domid);
    return fmt::format("domain {} ({})", domid, domain->second.identity.name);
}

// The form of all changes but removal. `plan` adds devices to the snapshot, which has only what is
// current by then; if it fails nothing is changed.
template <std::invocable<Snapshot&, Changes&> Plan>
Result<Changes> change(Store& store, const Policy& policy, const World& world, Plan plan) {
    Changes changes;
    const auto done = transact(store, [&]() -> Result<void> {
        changes = {};
        auto snapshot = read_living(store, world);
        if (!snapshot)
            return snapshot.error();
        Batch batch(store);
        sweep(batch, *snapshot, changes);
        if (Result<void> planned = plan(*snapshot, changes); !planned)
            return planned;
        write_entries(batch, *snapshot, policy, changes);
        return batch.done();
    });
    if (!done)
        return done.error();
    return changes;
}

} // namespace

std::string backend_path(unsigned domid) {
    return backend_root(domid) + "/0";
}

std::string frontend_path(unsigned domid) {
    return frontend_root(domid) + "/0";
}

std::string state_name(const std::string& state) {
    static constexpr const char* kNames[] = {"Unknown",     "Initialising",  "InitWait",
                                             "Initialised", "Connected",     "Closing",
                                             "Closed",      "Reconfiguring", "Reconfigured"};
    const auto number = parse_number(state);
    return number && *number < std::size(kNames) ? kNames[*number] : "none";
}

bool Snapshot::is_current(const Device& device) const {
    const auto domain = domains.find(device.id);
    return domain != domains.end() && device.has_frontend &&
           domain->second.identity.uuid == device.uuid;
}

Result<Snapshot> read_snapshot(Store& store) {
    Snapshot snapshot;
    Batch batch(store);
    for (const std::string& name : batch.list("/local/domain")) {
        const auto id = parse_number(name);
        if (id && *id != 0)
            snapshot.domains[*id] = read_domain(batch, *id);
    }
    for (const std::string& name : batch.list(kBackendRoot)) {
        if (const auto id = parse_number(name))
            snapshot.devices[*id] = read_device(batch, *id);
    }
    if (auto done = batch.done(); !done)
        return done.error();
    return snapshot;
}

Result<unsigned> find_domain(const Snapshot& snapshot, std::string_view number_or_name) {
    const auto number = parse_number(number_or_name);
    if (number == 0u)
        return Error{"domain 0 has no device: xway is for guests", "name a guest"};
    if (number && snapshot.domains.contains(*number))
        return *number;
    std::vector<unsigned> found;
    for (const auto& [id, domain] : snapshot.domains) {
        if (domain.identity.name == number_or_name)
            found.push_back(id);
    }
    if (found.empty())
        return Error{fmt::format("there is no domain '{}'", number_or_name),
                     "'xl list' shows those that are there", ENOENT};
    if (found.size() > 1)
        return Error{fmt::format("'{}' is the name of domains {}", number_or_name,
                                 fmt::join(found, " and ")),
                     "name it by its number"};
    return found.front();
}

std::map<unsigned, Entry> compute_entries(const Snapshot& snapshot, const Policy& policy) {
    std::vector<const Domain*> present; // the domains whose devices may be told of each other
    for (const auto& [id, device] : snapshot.devices) {
        if (snapshot.is_current(device) && device.online == "1")
            present.push_back(&snapshot.domains.at(id));
    }

    std::map<unsigned, Entry> entries;
    for (const auto& [id, device] : snapshot.devices) {
        if (!snapshot.is_current(device))
            continue;
        const Domain& domain = snapshot.domains.at(id);
        std::vector<std::string> ips;
        for (const auto& list : {domain.addresses, policy.addresses(domain.identity)}) {
            for (const Address& address : list)
                add_once(ips, address.text());
        }
        std::vector<unsigned> allow;
        for (const Domain* other : present) {
            if (device.online == "1" && other->id != id &&
                policy.allows(domain.identity, other->identity))
                allow.push_back(other->id);
        }
        entries[id] = {
            printable(domain.identity.name), fmt::format("{}", fmt::join(domain.macs, " ")),
            fmt::format("{}", fmt::join(ips, " ")), fmt::format("{}", fmt::join(allow, " "))};
    }
    return entries;
}

Result<Changes> apply_policy(Store& store, const Policy& policy, const World& world) {
    return change(store, policy, world, [](Snapshot&, Changes&) { return Result<void>(); });
}

Result<Changes> keep(Store& store, const Policy& policy, const World& world, Served& served) {
    Served now_served;
    auto changes = change(store, policy, world, [&](Snapshot& snapshot, Changes& planned) {
        now_served.clear();
        for (const auto& [id, domain] : snapshot.domains) {
            planned.domains.insert(id);
            const auto key = std::pair(id, domain.identity.uuid);
            if (snapshot.devices.contains(id) || served.contains(key)) {
                now_served.insert(key);
                continue;
            }
            if (domain.helper || domain.identity.name.empty() ||
                !policy.wants_device(domain.identity))
                continue;
            if (contains(planned.removed, id) || world.held(id)) {
                planned.again = true;
                continue;
            }
            plan_device(snapshot, domain, planned);
            now_served.insert(key);
        }
        return Result<void>();
    });
    if (changes)
        served = std::move(now_served);
    return changes;
}

Result<Changes> add_device(Store& store, const Policy& policy, const World& world,
                           std::string_view name) {
    return change(store, policy, world, [&](Snapshot& snapshot, Changes& planned) -> Result<void> {
        const auto id = find_domain(snapshot, name);
        if (!id)
            return id.error();
        if (snapshot.devices.contains(*id))
            return Error{describe(snapshot, *id) + " has a device already",
                         fmt::format("'xway domain show {}' shows it", *id), EEXIST};
        if (contains(planned.removed, *id) || world.held(*id))
            planned.again = true;
        else
            plan_device(snapshot, snapshot.domains.at(*id), planned);
        return {};
    });
}

Result<unsigned> begin_removal(Store& store, const Policy& policy, const World& world,
                               std::string_view name) {
    unsigned removing = 0;
    const auto done = transact(store, [&]() -> Result<void> {
        auto snapshot = read_living(store, world);
        if (!snapshot)
            return snapshot.error();
        auto id = find_domain(*snapshot, name);
        if (const auto number = parse_number(name);
            !id && number && snapshot->devices.contains(*number))
            id = *number; // what a dead domain has left
        if (!id)
            return id.error();
        const auto device = snapshot->devices.find(*id);
        if (device == snapshot->devices.end())
            return Error{describe(*snapshot, *id) + " has no device",
                         fmt::format("'xway domain add {}' adds one", *id), ENOENT};
        removing = *id;
        device->second.online = "0";
        Batch batch(store);
        batch.write(backend_path(*id) + "/online", "0");
        batch.write(backend_path(*id) + "/state", kClosing);
        Changes changes;
        write_entries(batch, *snapshot, policy, changes);
        return batch.done();
    });
    if (!done)
        return done.error();
    return removing;
}

Result<Closing> look_at_removal(Store& store, unsigned domid) {
    Batch batch(store);
    const std::string back = batch.read(backend_path(domid) + "/state");
    const std::string front = batch.read(frontend_path(domid) + "/state");
    if (auto done = batch.done(); !done)
        return done.error();
    if (back.empty() || back == kClosed)
        return Closing::finished;
    return front.empty() || front == kInitialising || front == kClosed ? Closing::unheard
                                                                       : Closing::underway;
}

Result<void> finish_removal(Store& store, unsigned domid) {
    return transact(store, [&]() -> Result<void> {
        Batch batch(store);
        batch.remove(backend_root(domid));
        batch.remove(frontend_root(domid));
        return batch.done();
    });
}

} // namespace xway
