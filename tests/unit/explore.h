/* SPDX-License-Identifier: GPL-2.0 */
/*
 * explore.h - every interleaving of a small concurrent system, depth first.
 *
 * A system is a State (plain and without padding: it is compared by its bytes) and a function that
 * lists what can happen next, one atomic step each. Memory is sequentially consistent here, unless
 * the State itself holds a store buffer.
 */
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>
#include <unordered_set>
#include <vector>

namespace xway::test {

template <typename State>
struct Step {
    const char* name;
    State after;
};

struct Exploration {
    uint64_t states = 0;
    bool complete = false;
    std::string violation; /* empty: none; else what, and the steps that led there */
};

template <typename State>
class Explorer {
public:
    static_assert(std::has_unique_object_representations_v<State>);

    using Steps = std::vector<Step<State>>;
    using Next = std::function<void(const State&, Steps&)>;
    using Check = std::function<const char*(const State&)>; /* nullptr: good */

    Explorer(Next next, Check check) : next_(std::move(next)), check_(std::move(check)) {}

    Exploration run(const State& first, uint64_t most_states) {
        Exploration result;
        std::vector<Frame> path;

        seen_.clear();
        enter(path, "start", first, result);
        while (!path.empty() && result.violation.empty()) {
            Frame& top = path.back();
            if (top.at == top.steps.size()) {
                path.pop_back();
                continue;
            }
            Step<State> step = top.steps[top.at++];
            if (seen_.contains(hash(step.after)))
                continue;
            if (result.states == most_states)
                return result;
            enter(path, step.name, step.after, result);
        }
        result.complete = result.violation.empty();
        return result;
    }

private:
    struct Frame {
        const char* name;
        Steps steps;
        size_t at = 0;
    };

    /* 64 bits are enough: for ten million states the odds of one collision are 1 to 300,000. */
    static uint64_t hash(const State& state) {
        const auto* bytes = reinterpret_cast<const unsigned char*>(&state);
        uint64_t h = 0x9e3779b97f4a7c15u;
        for (size_t i = 0; i < sizeof(state); i += sizeof(uint64_t)) {
            uint64_t word = 0;
            std::memcpy(&word, bytes + i, std::min(sizeof(word), sizeof(state) - i));
            h = (h ^ word) * 0xff51afd7ed558ccdu;
            h ^= h >> 32;
        }
        return h;
    }

    void enter(std::vector<Frame>& path, const char* name, const State& state,
               Exploration& result) {
        seen_.insert(hash(state));
        result.states++;
        path.push_back({name, {}});
        if (const char* wrong = check_(state)) {
            result.violation = std::string(wrong) + ":";
            for (const Frame& frame : path)
                result.violation += std::string(" ") + frame.name;
            return;
        }
        next_(state, path.back().steps);
    }

    Next next_;
    Check check_;
    std::unordered_set<uint64_t> seen_;
};

} // namespace xway::test
