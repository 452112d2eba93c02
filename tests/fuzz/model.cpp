/* SPDX-License-Identifier: GPL-2.0 */
/* model.cpp - what TCP will have done once all is at rest. */
#include "model.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace xway::fuzz {

Model::Model() {
    for (Side* side : {&client_, &server_}) {
        side->lasting = std::make_shared<Object>();
        side->lasting->kind = Object::Kind::kListening;
    }
}

std::shared_ptr<Object>* Model::slot(char who, long handle) {
    if (handle == kLasting)
        return &side(who).lasting;
    return handle >= 0 && handle < kHandles ? &side(who).handle[static_cast<std::size_t>(handle)]
                                            : nullptr;
}

const Object* Model::at(char who, long handle) const {
    const Side& s = side(who);
    if (handle == kLasting)
        return s.lasting.get();
    return handle >= 0 && handle < kHandles ? s.handle[static_cast<std::size_t>(handle)].get()
                                            : nullptr;
}

End* Model::end_at(char who, long handle) const {
    const Object* object = at(who, handle);
    return object && object->kind == Object::Kind::kEnd ? object->end.get() : nullptr;
}

std::size_t Model::waiting_at_lasting(char who) const {
    return side(who).lasting->queue.size();
}

void Model::set_lasting_port(char who, int port) {
    side(who).lasting->port = port;
}

Object* Model::target(const Step& step) const {
    if (step.a == kNobody)
        return nullptr;
    auto* object = const_cast<Object*>(at(other_side(step.side), step.a));
    return object && object->kind == Object::Kind::kListening ? object : nullptr;
}

int Model::port_of(const Step& step) const {
    const Object* listener = target(step);
    return listener ? listener->port : 0;
}

int Model::connection_of(const Step& step) const {
    if (step.op == Op::kConnect)
        return connections_ + 1;
    const Object* listener = at(step.side, step.h);
    if (step.op != Op::kAccept || !listener)
        return 0;
    /* One that waits gets the next that is made. */
    return listener->queue.empty() ? connections_ + 1 : listener->queue.front()->connection;
}

long Model::other_handle(char who, long handle) const {
    const End* end = end_at(who, handle);
    const auto peer = end ? end->peer.lock() : nullptr;
    for (long h = 0; peer && h < kHandles; h++)
        if (end_at(other_side(who), h) == peer.get())
            return h;
    return -1;
}

void Model::reset(End& end) {
    if (end.reset || end.closed)
        return;
    end.reset = end.fresh_news = true;
}

void Model::sent(End& end, std::uint64_t bytes) {
    const auto peer = end.peer.lock();
    if (bytes == 0 || end.reset)
        return;
    if (!peer || peer->closed) {
        /* It may be held back for as long as TCP waits for an acknowledgement, and then is reset.
         */
        reset(end);
    } else if (peer->rd_shut && peer->wr_shut) {
        /* Data for an end that has shut both ways: its TCP resets the connection. */
        reset(end);
        reset(*peer);
    } else {
        peer->arrived += bytes;
        peer->fresh_news = true;
    }
}

void Model::connect(const Step& step, Object& object, const Result& result) {
    if (object.kind == Object::Kind::kListening || object.kind == Object::Kind::kEnd)
        return;
    const bool begun = result.text.starts_with("EINPROGRESS");
    if (result.value < 0 && !begun) {
        object.kind = Object::Kind::kRefused;
        return;
    }
    Object* listener = target(step);
    if (!listener) {
        object.kind = Object::Kind::kRefused;
        object.fresh_news = begun;
        return;
    }
    auto mine = std::make_shared<End>(), theirs = std::make_shared<End>();
    mine->connection = theirs->connection = ++connections_;
    mine->connector = mine->born = true;
    mine->connecting = begun;
    mine->fresh_news = begun;
    mine->peer = theirs;
    theirs->peer = mine;
    object.kind = Object::Kind::kEnd;
    object.end = mine;
    listener->queue.push_back(theirs);
    listener->fresh_news = true;
}

void Model::accept(const Step& step, Object& listener) {
    auto* place = slot(step.side, step.a);
    if (listener.queue.empty() || !place || *place)
        return;
    *place = std::make_shared<Object>();
    (*place)->kind = Object::Kind::kEnd;
    (*place)->nonblock = step.b != 0;
    (*place)->end = listener.queue.front();
    listener.queue.erase(listener.queue.begin());
    (*place)->end->born = (*place)->end->fresh_news = true;
    listener.fresh_news = !listener.queue.empty();
}

void Model::unlisten(Object& listener) {
    for (const auto& end : listener.queue) {
        end->closed = true;
        if (const auto peer = end->peer.lock())
            reset(*peer);
    }
    listener.queue.clear();
}

void Model::shut(Object& object, long how) {
    if (object.kind == Object::Kind::kListening && how != SHUT_WR) {
        unlisten(object);
        object.kind = Object::Kind::kBound;
        return;
    }
    if (object.kind != Object::Kind::kEnd || object.end->reset)
        return;
    End& end = *object.end;
    end.rd_shut |= how != SHUT_WR;
    if (how == SHUT_RD || end.wr_shut)
        return;
    end.wr_shut = true;
    if (const auto peer = end.peer.lock())
        peer->fin = peer->fresh_news = true;
}

void Model::close_end(End& end) {
    const auto peer = end.peer.lock();
    const bool over = end.reset || (end.wr_shut && end.fin);
    end.closed = true;
    if (!peer || over)
        return;
    if (end.unread() > 0 || end.linger0) {
        reset(*peer);
    } else if (!end.wr_shut) {
        end.wr_shut = true;
        peer->fin = peer->fresh_news = true;
    }
}

void Model::close(char who, long handle) {
    auto* place = slot(who, handle);
    if (handle < 0 || !place || !*place)
        return;
    const std::shared_ptr<Object> object = std::move(*place);
    place->reset();
    if (--object->refs > 0)
        return;
    unlisten(*object);
    if (object->kind == Object::Kind::kEnd)
        close_end(*object->end);
}

void Model::drained(char who) {
    for (long h = 0; h < kHandles; h++)
        if (End* end = end_at(who, h))
            end->consumed = end->arrived;
}

void Model::close_all(char who) {
    for (long h = 0; h < kHandles; h++)
        close(who, h);
    auto& waiting = side(who).lasting->queue;
    while (!waiting.empty()) {
        const auto end = waiting.front();
        waiting.erase(waiting.begin());
        close_end(*end);
    }
}

void Model::apply(const Step& step, const Result& result) {
    auto* place = slot(step.side, step.h);
    if (step.op == Op::kSocket && place && !*place && result.value >= 0) {
        *place = std::make_shared<Object>();
        (*place)->nonblock = step.b != 0;
    }
    Object* object = place ? place->get() : nullptr;
    if (!object)
        return;
    End* end = object->kind == Object::Kind::kEnd ? object->end.get() : nullptr;
    const bool good = result.value >= 0;
    switch (step.op) {
    case Op::kConnect: connect(step, *object, result); break;
    case Op::kListen:
        if (good && !end) {
            object->kind = Object::Kind::kListening;
            object->port = result.port;
        }
        break;
    case Op::kBind:
        if (good && object->kind == Object::Kind::kFresh)
            object->kind = Object::Kind::kBound;
        break;
    case Op::kAccept:
        if (good)
            accept(step, *object);
        break;
    case Op::kClose:
        if (!step.child)
            close(step.side, step.h);
        break;
    case Op::kDup:
    case Op::kDup2:
        if (auto* copy = slot(step.side, step.a); good && copy && step.a != step.h) {
            const std::shared_ptr<Object> same = *place;
            same->refs++;
            close(step.side, step.a);
            *copy = same;
        }
        break;
    case Op::kShutdown:
        if (good)
            shut(*object, step.a);
        break;
    case Op::kNonblock: object->nonblock = step.a != 0; break;
    case Op::kSetopt:
        if (good && end && options_table()[static_cast<std::size_t>(step.a)].number == SO_LINGER &&
            options_table()[static_cast<std::size_t>(step.a)].level == SOL_SOCKET)
            end->linger0 = step.b == 0;
        break;
    case Op::kSend:
    case Op::kSendfile:
    case Op::kSpliceTo:
    case Op::kMore:
    case Op::kCork:
    case Op::kPump:
    case Op::kFill:
        if (end && good)
            sent(*end, static_cast<std::uint64_t>(result.value));
        break;
    case Op::kRecv:
    case Op::kSpliceOf:
    case Op::kDrain:
        if (end && good && !(step.flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE)))
            end->consumed += static_cast<std::uint64_t>(result.value);
        break;
    default: break;
    }
}

std::vector<Await> Model::awaits(char who) {
    std::vector<Await> list;
    for (long h = kLasting; h < kHandles; h++) {
        auto* object = const_cast<Object*>(at(who, h));
        if (!object)
            continue;
        if (std::exchange(object->fresh_news, false)) {
            if (object->kind == Object::Kind::kListening && !object->queue.empty())
                list.push_back({Await::Kind::kPending, h, 0});
            if (object->kind == Object::Kind::kRefused)
                list.push_back({Await::Kind::kReset, h, 0});
        }
        End* end = end_at(who, h);
        if (!end || !std::exchange(end->fresh_news, false))
            continue;
        if (std::exchange(end->connecting, false) && !end->reset)
            list.push_back({Await::Kind::kConnected, h, 0});
        if (end->reset)
            list.push_back({Await::Kind::kReset, h, 0});
        else if (end->fin)
            list.push_back({Await::Kind::kEnd, h, 0});
        list.push_back({Await::Kind::kBytes, h, end->unread()});
    }
    return list;
}

} // namespace xway::fuzz
