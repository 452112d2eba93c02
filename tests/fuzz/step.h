/* SPDX-License-Identifier: GPL-2.0 */
/*
 * step.h - one step of a program: who makes it, which call, on what, and its text.
 *
 *     c  send 3 100 0 DONTWAIT|MORE
 *     s+ ewait 0            begun; ended when the next step has been made
 *     cf recv 3 100         made by a forked child
 *
 * A socket is named by its handle, a number of its side; epoll sets have numbers of their own.
 */
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace xway::fuzz {

constexpr int kHandles = 12; /* of a side */
constexpr int kEpolls = 2;   /* of a side */

/* Targets of connect beside the other side's handles. */
constexpr long kLasting = -1; /* the listener that outlives programs */
constexpr long kNobody = -2;  /* a port where nobody listens */

enum class Op {
    kSocket,   /* h; b: not blocking */
    kBind,     /* h, to a free port */
    kListen,   /* h; a: backlog */
    kConnect,  /* h; a: handle of the other side, kLasting or kNobody */
    kAccept,   /* h: listener, kLasting too; a: handle for the new one; b: not blocking */
    kClose,    /* h */
    kDup,      /* h; a: new handle */
    kDup2,     /* h; a: handle that is replaced */
    kShutdown, /* h; a: SHUT_* */
    kNonblock, /* h; a: on; b: by ioctl */
    kSend,     /* h; a: bytes; b: by which call; flags */
    kRecv,     /* h; a: bytes; b: by which call; flags */
    kSendfile, /* h; a: bytes */
    kSpliceTo, /* h; a: bytes, out of a pipe */
    kSpliceOf, /* h; a: bytes, into a pipe */
    kMore,     /* h; a: bytes with MSG_MORE, then b without */
    kCork,     /* h; TCP_CORK, a bytes, b bytes, and no more */
    kDrain,    /* h; all that is there, then how it ends */
    kPoll,     /* h; flags: events; a: time limit, ms */
    kPollAll,  /* flags: events, of every handle */
    kSelect,   /* of every handle */
    kEpoll,    /* h: set, new */
    kEadd,     /* h: set; a: handle; flags: events */
    kEmod,     /* as kEadd */
    kEdel,     /* h: set; a: handle */
    kEwait,    /* h: set; a: time limit, ms */
    kEclose,   /* h: set */
    kInq,      /* h; FIONREAD */
    kOutq,     /* h; SIOCOUTQ, waits for 0 */
    kMark,     /* h; sockatmark */
    kSetopt,   /* h; a: index of the option; b: value */
    kGetopt,   /* h; a: index of the option */
    kSockname, /* h */
    kPeername, /* h */
    kError,    /* h; SO_ERROR */
    kPump,     /* h; a: bytes to the other side, which reads meanwhile */
    kFill,     /* h; sends until no more is taken; the other side then reads all */
    kPause,    /* a: us */
    kOps
};

struct Step {
    char side = 'c'; /* 'c' or 's' */
    Op op = Op::kPause;
    bool waits = false;
    bool child = false;
    long h = 0, a = 0, b = 0;
    unsigned flags = 0; /* MSG_*, POLL* or EPOLL*, as the op has it */

    [[nodiscard]] std::string text() const;
    static std::optional<Step> parse(std::string_view line);
};

/* Does this op's `flags` mean anything, and what? */
enum class FlagKind { kNone, kMessage, kPoll, kEpoll };
FlagKind flag_kind(Op op);
/* "IN|RDHUP", or "0". */
std::string flags_text(FlagKind kind, unsigned flags);

/* Options by index; the table is in options_table(). */
struct Option {
    const char* name;
    int level, number;
    enum class Type { kInt, kTime, kLinger } type;
    bool readable;            /* what getsockopt says is determined */
    std::vector<long> values; /* that are tried; kLinger: -1 is off, else seconds */
};
const std::vector<Option>& options_table();

using Program = std::vector<Step>;

} // namespace xway::fuzz
