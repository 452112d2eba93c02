/* SPDX-License-Identifier: GPL-2.0 */
/*
 * model.h - what TCP will have done once all is at rest: how many bytes wait where, which ends have
 * seen an end of file, a reset, a connection to accept.
 *
 * It tells the generator which steps make sense, and the player what a side must have seen before
 * its next step is made: that is what makes results certain. It judges nothing: what TCP does is
 * the judge.
 */
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "order.h"

namespace xway::fuzz {

/* One end of a connection. */
struct End {
    int connection = 0;
    bool connector = false;
    bool born = false;   /* accepted, or the connector */
    bool closed = false; /* its last descriptor */
    bool rd_shut = false, wr_shut = false;
    bool fin = false;   /* the other end has sent its end of file */
    bool reset = false; /* it has got a reset, or has caused one */
    bool linger0 = false;
    bool fresh_news = false; /* something is to be awaited */
    bool connecting = false; /* without blocking */
    std::uint64_t arrived = 0, consumed = 0;
    std::weak_ptr<End> peer;

    [[nodiscard]] std::uint64_t unread() const {
        return arrived > consumed ? arrived - consumed : 0;
    }
};

/* What a descriptor refers to. */
struct Object {
    enum class Kind { kFresh, kBound, kListening, kEnd, kRefused };
    Kind kind = Kind::kFresh;
    bool nonblock = false;
    int refs = 1;
    int port = 0;
    bool fresh_news = false;
    std::shared_ptr<End> end;
    std::vector<std::shared_ptr<End>> queue; /* of a listener: not accepted yet */
};

class Model {
public:
    Model();

    /* The step has been made, with this result. */
    void apply(const Step& step, const Result& result);
    /* The side has read all that waits, and closed everything. */
    void drained(char side);
    void close_all(char side);
    /* What must have come before the side goes on. */
    std::vector<Await> awaits(char side);
    /* The number of a connection that the step would make or accept; 0: none. */
    [[nodiscard]] int connection_of(const Step& step) const;
    /* Where a connect goes; 0: nobody. */
    [[nodiscard]] int port_of(const Step& step) const;
    /* A handle of the other side for the other end of this one; -1: none. */
    [[nodiscard]] long other_handle(char side, long handle) const;

    [[nodiscard]] const Object* at(char side, long handle) const;
    [[nodiscard]] End* end_at(char side, long handle) const;
    [[nodiscard]] std::size_t waiting_at_lasting(char side) const;
    void set_lasting_port(char side, int port);

private:
    struct Side {
        std::array<std::shared_ptr<Object>, kHandles> handle;
        std::shared_ptr<Object> lasting;
    };

    Side& side(char who) { return who == 'c' ? client_ : server_; }
    [[nodiscard]] const Side& side(char who) const { return who == 'c' ? client_ : server_; }
    std::shared_ptr<Object>* slot(char who, long handle);
    void connect(const Step& step, Object& object, const Result& result);
    void accept(const Step& step, Object& listener);
    void shut(Object& object, long how);
    void close(char who, long handle);
    void close_end(End& end);
    static void sent(End& end, std::uint64_t bytes);
    static void reset(End& end);
    static void unlisten(Object& listener);
    /* Which listener a connect reaches, or null. */
    [[nodiscard]] Object* target(const Step& step) const;

    Side client_, server_;
    int connections_ = 0;
};

inline char other_side(char side) {
    return side == 'c' ? 's' : 'c';
}

} // namespace xway::fuzz
