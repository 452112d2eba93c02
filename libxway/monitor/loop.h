// SPDX-License-Identifier: GPL-2.0-or-later
//
// loop.h - libevent's loop and events, freed once.
#pragma once

#include <memory>
#include <new>

#include <event2/event.h>

namespace xway {

struct FreeEvent {
    void operator()(event* which) const { event_free(which); }
    void operator()(event_base* base) const { event_base_free(base); }
};

using Event = std::unique_ptr<event, FreeEvent>;

inline timeval milliseconds(long count) {
    return {count / 1000, (count % 1000) * 1000};
}

class Loop {
public:
    Loop() : base_(event_base_new()) {
        if (!base_)
            throw std::bad_alloc();
    }

    // Not waited for yet.
    Event make(int fd, short what, event_callback_fn callback, void* argument) {
        return Event(event_new(base_.get(), fd, what, callback, argument));
    }

    void run() { event_base_dispatch(base_.get()); }
    // What is there now. False: stop() was called.
    bool run_once() {
        event_base_loop(base_.get(), EVLOOP_NONBLOCK);
        return event_base_got_break(base_.get()) == 0;
    }
    void stop() { event_base_loopbreak(base_.get()); }
    [[nodiscard]] event_base* base() const { return base_.get(); }

private:
    std::unique_ptr<event_base, FreeEvent> base_;
};

} // namespace xway
