// SPDX-License-Identifier: GPL-2.0
// agent.cpp - runs commands inside a virtual machine of the lab, for a runner outside.
//
//   agent dom0 DEVICE    in dom0: DEVICE is the port that QEMU connects to the runner
//   agent guest          in a guest: the port is a vchan that dom0's agent maps
//
// Theory of operation. Both ends of a port exchange frames: a Header, then `length` bytes. A frame
// whose target is not zero belongs to a guest: dom0's agent carries it to that guest's vchan and
// back, unread. So commands never use the network that is being tested, nor scrape a console.
// The runner numbers its commands; any number of them run at once, each in a session (setsid) of
// its own, and each ends with exactly one kExit frame.
//
// The vchan's pages are granted by the guest, so that a guest may be saved or destroyed at any
// time: nothing foreign is mapped in it. After a restore the guest finds its nodes gone from
// xenstore and makes a new vchan; commands that are running go on.
//
// The agent is process 1 of its machine: it reaps orphans, and if it dies the kernel says so.
// Limits: a daemon that a command leaves behind must have its output redirected, for the pipes are
// closed when the command itself has ended.

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

extern "C" {
#include <libxenvchan.h>
#include <xenstore.h>
}

namespace {

constexpr uint32_t kMagic = 0x42414c58;         // "XLAB"
constexpr size_t kChunk = 16 * 1024;            // most that one output frame carries
constexpr size_t kBacklog = 256 * 1024;         // above this, sources of output wait
constexpr size_t kRing = 64 * 1024;             // each direction of a vchan
constexpr const char* kGuestPath = "data/xlab"; // in the guest's own part of xenstore

enum Type : uint16_t {
    kExec = 1,   // runner -> agent: payload is a shell command
    kStdin = 2,  // runner -> agent: bytes for it; empty means end of file
    kSignal = 3, // runner -> agent: payload is a number, for the command's whole session
    kAttach = 4, // runner -> dom0: payload is the domid that is now called `target`
    kDetach = 5, // runner -> dom0: forget `target`
    kStdout = 16,
    kStderr = 17,
    kExit = 18, // agent -> runner: payload is the exit status as a number, 128 + signal if killed
    kUp = 19,   // agent -> runner: `target` answers
    kDown = 20, // dom0 -> runner: `target` is gone
};

struct Header {
    uint32_t magic;
    uint16_t target;
    uint16_t type;
    uint32_t id;
    uint32_t length;
};

[[noreturn]] void die(const char* what) {
    fprintf(stderr, "xlab agent: %s: %s\n", what, strerror(errno));
    exit(1);
}

// A port carries frames. Bytes to be sent wait in `out_`; next() takes whole received frames.
class Port {
public:
    virtual ~Port() = default;
    virtual int fd() const = 0;
    virtual short events() const = 0;
    virtual void ready() {} // fd() is readable, or pending output may now fit
    virtual bool is_open() const { return true; }

    size_t backlog() const { return out_.size() - sent_; }

    void send(const Header& header, const char* payload) {
        out_.append(reinterpret_cast<const char*>(&header), sizeof header);
        out_.append(payload, header.length);
        flush();
    }

    void send(uint16_t target, uint16_t type, uint32_t id, const std::string& payload) {
        send({kMagic, target, type, id, uint32_t(payload.size())}, payload.data());
    }

    bool next(Header& header, std::string& payload) {
        if (in_.size() < sizeof header)
            return false;
        memcpy(&header, in_.data(), sizeof header);
        if (header.magic != kMagic) {
            fprintf(stderr, "xlab agent: port lost its framing, %zu bytes dropped\n", in_.size());
            in_.clear();
            return false;
        }
        if (in_.size() < sizeof header + header.length)
            return false;
        payload.assign(in_, sizeof header, header.length);
        in_.erase(0, sizeof header + header.length);
        return true;
    }

    void flush() {
        while (sent_ < out_.size()) {
            ssize_t n = write_some(out_.data() + sent_, out_.size() - sent_);
            if (n <= 0)
                break;
            sent_ += size_t(n);
        }
        if (sent_ == out_.size())
            out_.clear(), sent_ = 0;
    }

    void fill() {
        char buffer[kChunk];
        ssize_t n;
        while ((n = read_some(buffer, sizeof buffer)) > 0)
            in_.append(buffer, size_t(n));
    }

protected:
    virtual ssize_t write_some(const char* data, size_t size) = 0;
    virtual ssize_t read_some(char* data, size_t size) = 0;

private:
    std::string in_, out_;
    size_t sent_ = 0;
};

// A character device: a virtio port, or a serial line in raw mode.
class DevicePort final : public Port {
public:
    explicit DevicePort(const char* path)
        : fd_(open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)) {
        if (fd_ < 0)
            die(path);
        termios mode;
        if (tcgetattr(fd_, &mode) == 0) {
            cfmakeraw(&mode);
            mode.c_cflag |= CLOCAL | CREAD;
            cfsetspeed(&mode, B115200);
            tcsetattr(fd_, TCSANOW, &mode);
        }
    }
    int fd() const override { return fd_; }
    short events() const override { return short(POLLIN | (backlog() ? POLLOUT : 0)); }

protected:
    ssize_t write_some(const char* data, size_t size) override { return write(fd_, data, size); }
    ssize_t read_some(char* data, size_t size) override { return read(fd_, data, size); }

private:
    int fd_;
};

class VchanPort final : public Port {
public:
    explicit VchanPort(libxenvchan* vchan) : vchan_(vchan) {
        vchan_->blocking = 0;
        vchan_->server_persist = vchan_->is_server;
    }
    ~VchanPort() override { libxenvchan_close(vchan_); }
    int fd() const override { return libxenvchan_fd_for_select(vchan_); }
    short events() const override { return POLLIN; } // one event channel tells of data and of room
    void ready() override { libxenvchan_wait(vchan_); }
    bool is_open() const override { return libxenvchan_is_open(vchan_) != 0; }

protected:
    ssize_t write_some(const char* data, size_t size) override {
        return libxenvchan_write(vchan_, data, size);
    }
    ssize_t read_some(char* data, size_t size) override {
        return libxenvchan_read(vchan_, data, size);
    }

private:
    libxenvchan* vchan_;
};

struct Command {
    pid_t pid = -1;
    int in = -1, out = -1, err = -1;
    std::string input; // not yet accepted by the command
    bool input_ends = false;
};

class Agent {
public:
    Agent(xs_handle* store, bool dom0, const char* device) : store_(store), dom0_(dom0) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, nullptr);
        children_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (dom0_) {
            port_ = std::make_unique<DevicePort>(device);
            xs_watch(store_, "@releaseDomain", "release");
            port_->send(0, kUp, 0, "");
        } else {
            // Restoring the guest fires every watch again: that is how it learns of it.
            xs_watch(store_, "domid", "self");
            offer_vchan();
        }
    }

    void run() {
        for (;;)
            step();
    }

private:
    struct Guest {
        unsigned domid;
        std::unique_ptr<VchanPort> port; // null until the guest has offered its vchan
    };

    // ---- commands of this machine ----

    void exec(uint32_t id, const std::string& line) {
        int in[2], out[2], err[2];
        if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
            die("pipe");
        pid_t pid = fork();
        if (pid == 0) {
            setsid();
            sigset_t none;
            sigemptyset(&none);
            sigprocmask(SIG_SETMASK, &none, nullptr);
            signal(SIGPIPE, SIG_DFL);
            dup2(in[0], 0), dup2(out[1], 1), dup2(err[1], 2);
            rlimit files{65536, 65536};
            setrlimit(RLIMIT_NOFILE, &files);
            execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
            _exit(127);
        }
        close(in[0]), close(out[1]), close(err[1]);
        for (int fd : {in[1], out[0], err[0]})
            fcntl(fd, F_SETFL, O_NONBLOCK);
        commands_[id] = {pid, in[1], out[0], err[0], {}, false};
    }

    void feed(Command& command) {
        while (!command.input.empty()) {
            ssize_t n = write(command.in, command.input.data(), command.input.size());
            if (n < 0 && errno == EAGAIN)
                return;
            if (n < 0)
                command.input.clear(), command.input_ends = true; // nobody reads it any more
            else
                command.input.erase(0, size_t(n));
        }
        if (command.input_ends && command.in >= 0)
            close(command.in), command.in = -1;
    }

    // Returns whether there may be more to read.
    bool relay_output(uint32_t id, int& fd, uint16_t type) {
        if (fd < 0)
            return false;
        char buffer[kChunk];
        ssize_t n = read(fd, buffer, sizeof buffer);
        if (n > 0)
            port_->send({kMagic, 0, type, id, uint32_t(n)}, buffer);
        if (n == 0)
            close(fd), fd = -1;
        return n > 0;
    }

    void reap() {
        signalfd_siginfo info;
        while (read(children_, &info, sizeof info) > 0) {
        }
        int status;
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
            for (auto it = commands_.begin(); it != commands_.end(); ++it)
                if (it->second.pid == pid) {
                    finish(it->first, it->second, status);
                    commands_.erase(it);
                    break;
                }
    }

    void finish(uint32_t id, Command& command, int status) {
        while (relay_output(id, command.out, kStdout)) {
        }
        while (relay_output(id, command.err, kStderr)) {
        }
        for (int fd : {command.in, command.out, command.err})
            if (fd >= 0)
                close(fd);
        int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        port_->send(0, kExit, id, std::to_string(code));
    }

    void handle(const Header& header, const std::string& payload) {
        auto command = commands_.find(header.id);
        bool known = command != commands_.end();
        switch (header.type) {
        case kExec: exec(header.id, payload); break;
        case kStdin:
            if (known) {
                command->second.input += payload;
                command->second.input_ends |= payload.empty();
                feed(command->second);
            }
            break;
        case kSignal:
            if (known)
                kill(-command->second.pid, atoi(payload.c_str()));
            break;
        }
    }

    // ---- dom0: the guests ----

    void attach(uint16_t target, unsigned domid) {
        detach(target);
        guests_[target] = {domid, nullptr};
        xs_watch(store_, offer_path(domid).c_str(), std::to_string(target).c_str());
    }

    void detach(uint16_t target) {
        auto it = guests_.find(target);
        if (it == guests_.end())
            return;
        xs_unwatch(store_, offer_path(it->second.domid).c_str(), std::to_string(target).c_str());
        guests_.erase(it);
        port_->send(target, kDown, 0, "");
    }

    static std::string guest_path(unsigned domid) {
        return "/local/domain/" + std::to_string(domid) + "/" + kGuestPath;
    }

    // The node that a server writes last: when it is there, the vchan is whole.
    static std::string offer_path(unsigned domid) { return guest_path(domid) + "/event-channel"; }

    void try_connect(uint16_t target) {
        auto it = guests_.find(target);
        if (it == guests_.end() || it->second.port)
            return;
        unsigned domid = it->second.domid;
        unsigned length;
        char* offered =
            static_cast<char*>(xs_read(store_, XBT_NULL, offer_path(domid).c_str(), &length));
        free(offered);
        if (!offered)
            return;
        libxenvchan* vchan =
            libxenvchan_client_init(nullptr, int(domid), guest_path(domid).c_str());
        if (!vchan) {
            fprintf(stderr, "xlab agent: vchan of domain %u: %s; will be tried again\n", domid,
                    strerror(errno));
            return;
        }
        it->second.port = std::make_unique<VchanPort>(vchan);
        port_->send(target, kUp, 0, "");
    }

    void drop_released() {
        std::vector<uint16_t> gone;
        for (auto& [target, guest] : guests_)
            if (!xs_is_domain_introduced(store_, guest.domid))
                gone.push_back(target);
        for (uint16_t target : gone)
            detach(target);
    }

    void serve_guest(uint16_t target, Guest& guest) {
        guest.port->ready();
        serve_guest_output(target, guest);
        guest.port->flush();
    }

    void serve_guest_output(uint16_t target, Guest& guest) {
        if (port_->backlog() > kBacklog)
            return;
        guest.port->fill();
        Header header;
        std::string payload;
        while (guest.port->next(header, payload)) {
            header.target = target;
            port_->send(header, payload.data());
        }
    }

    void route(const Header& header, const std::string& payload) {
        if (header.type == kAttach)
            return attach(header.target, unsigned(atoi(payload.c_str())));
        if (header.type == kDetach)
            return detach(header.target);
        if (header.target == 0)
            return handle(header, payload);
        auto it = guests_.find(header.target);
        if (it == guests_.end() || !it->second.port)
            return; // the runner has been, or will be, told kDown
        Header inner = header;
        inner.target = 0;
        it->second.port->send(inner, payload.data());
    }

    // ---- guest: the vchan ----

    void offer_vchan() {
        // After a restore the old vchan is let go unclosed: Linux (6.1 at least) runs into a BUG
        // when an event channel or a grant of user space is closed that the restore has already
        // made void.
        (void)port_.release();
        libxenvchan* vchan = libxenvchan_server_init(nullptr, 0, kGuestPath, kRing, kRing);
        if (!vchan)
            die("vchan");
        port_ = std::make_unique<VchanPort>(vchan);
    }

    void watch_fired() {
        while (char** event = xs_check_watch(store_)) {
            std::string token = event[XS_WATCH_TOKEN];
            free(event);
            if (token == "release") {
                drop_released();
            } else if (token == "self") {
                unsigned length;
                std::string path = std::string(kGuestPath) + "/event-channel";
                void* mine = xs_read(store_, XBT_NULL, path.c_str(), &length);
                free(mine);
                if (!mine)
                    offer_vchan();
            } else {
                try_connect(uint16_t(atoi(token.c_str())));
            }
        }
    }

    // ---- the loop ----

    void step() {
        std::vector<pollfd> fds{{children_, POLLIN, 0},
                                {xs_fileno(store_), POLLIN, 0},
                                {port_->fd(), port_->events(), 0}};
        bool room = port_->backlog() <= kBacklog;
        for (auto& [target, guest] : guests_)
            if (guest.port)
                fds.push_back({guest.port->fd(), POLLIN, 0});
        for (auto& [id, command] : commands_) {
            if (room) {
                fds.push_back({command.out, POLLIN, 0}); // poll() passes over negative ones
                fds.push_back({command.err, POLLIN, 0});
            }
            if (!command.input.empty())
                fds.push_back({command.in, POLLOUT, 0});
        }
        if (poll(fds.data(), fds.size(), 1000) < 0 && errno != EINTR)
            die("poll");

        // Nothing here blocks: trying all is simpler than mapping results back, and as quick.
        if (fds[2].revents & POLLIN)
            port_->ready();
        port_->flush();
        port_->fill();
        Header header;
        std::string payload;
        while (port_->next(header, payload))
            route(header, payload);
        for (size_t i = 3; i < fds.size(); ++i)
            for (auto& [target, guest] : guests_)
                if (guest.port && guest.port->fd() == fds[i].fd && fds[i].revents)
                    serve_guest(target, guest);
        for (auto& [target, guest] : guests_)
            if (guest.port)
                serve_guest_output(target, guest);
            else // the watch is only quicker: a first attempt may have been too early
                try_connect(target);
        for (auto& [id, command] : commands_) {
            feed(command);
            if (port_->backlog() <= kBacklog) {
                relay_output(id, command.out, kStdout);
                relay_output(id, command.err, kStderr);
            }
        }
        if (fds[0].revents)
            reap();
        if (fds[1].revents)
            watch_fired();
    }

    xs_handle* store_;
    bool dom0_;
    int children_ = -1;
    std::unique_ptr<Port> port_;
    std::map<uint16_t, Guest> guests_;
    std::map<uint32_t, Command> commands_;
};

} // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: agent dom0 DEVICE | agent guest\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    xs_handle* store = xs_open(0);
    if (!store)
        die("xenstore");
    bool dom0 = strcmp(argv[1], "dom0") == 0;
    Agent(store, dom0, argc > 2 ? argv[2] : nullptr).run();
}
