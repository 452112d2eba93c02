/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pattern.h - the bytes that travel: a pseudo-random stream that is a pure function of a seed and a
 * position.
 *
 * Any part of the stream can be made again at any place, so the receiver needs no copy of what was
 * sent, and a byte that was lost, repeated or moved is found at its exact offset. Work is done a
 * word at a time: these programs also run inside an emulator.
 */
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>

namespace xway::test {

static_assert(std::endian::native == std::endian::little);

inline std::uint64_t pattern_word(std::uint64_t seed, std::uint64_t index) {
    std::uint64_t z = (seed ^ 0x6a09e667f3bcc909u) + (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 31)) * 0xbf58476d1ce4e5b9u;
    return z ^ (z >> 29);
}

/* Bytes at and after `position` of the stream, at most 8 of them. */
inline std::size_t pattern_head(std::uint64_t seed, std::uint64_t position, std::byte* out,
                                std::size_t n) {
    std::uint64_t word = pattern_word(seed, position / 8) >> (position % 8 * 8);
    std::size_t take = std::min<std::size_t>(n, 8 - position % 8);
    std::memcpy(out, &word, take);
    return take;
}

inline void pattern_fill(std::uint64_t seed, std::uint64_t position, std::span<std::byte> out) {
    std::byte* p = out.data();
    std::size_t n = out.size();
    if (n > 0 && position % 8 != 0) {
        std::size_t done = pattern_head(seed, position, p, n);
        p += done, position += done, n -= done;
    }
    std::uint64_t index = position / 8;
    for (; n >= 8; p += 8, n -= 8, index++) {
        std::uint64_t word = pattern_word(seed, index);
        std::memcpy(p, &word, 8);
    }
    if (n > 0)
        pattern_head(seed, index * 8, p, n);
}

/* The index of the first byte of `in` that is not the stream's, or nothing. */
inline std::optional<std::size_t> pattern_mismatch(std::uint64_t seed, std::uint64_t position,
                                                   std::span<const std::byte> in) {
    const std::byte* p = in.data();
    std::size_t n = in.size();
    auto differs = [&](std::size_t take, const std::byte* want) -> std::optional<std::size_t> {
        for (std::size_t i = 0; i < take; i++)
            if (p[i] != want[i])
                return static_cast<std::size_t>(p - in.data()) + i;
        return std::nullopt;
    };
    std::byte want[8];
    if (n > 0 && position % 8 != 0) {
        std::size_t take = pattern_head(seed, position, want, n);
        if (auto bad = differs(take, want))
            return bad;
        p += take, position += take, n -= take;
    }
    std::uint64_t index = position / 8;
    for (; n >= 8; p += 8, n -= 8, index++) {
        std::uint64_t expected = pattern_word(seed, index);
        std::uint64_t seen;
        std::memcpy(&seen, p, 8);
        if (seen != expected) {
            std::memcpy(want, &expected, 8);
            return differs(8, want);
        }
    }
    if (n > 0)
        return differs(pattern_head(seed, index * 8, want, n), want);
    return std::nullopt;
}

/*
 * A sentence about a mismatch at stream offset `offset`: where the bytes that were seen there
 * belong. `seen` starts at the wrong byte.
 */
inline std::string pattern_diagnose(std::uint64_t seed, std::uint64_t offset,
                                    std::span<const std::byte> seen) {
    std::string text = "wrong byte at stream offset " + std::to_string(offset);
    constexpr std::uint64_t kWindow = 4u << 20;
    std::size_t n = std::min<std::size_t>(seen.size(), 16);
    if (n < 6)
        return text;
    if (std::all_of(seen.begin(), seen.begin() + static_cast<std::ptrdiff_t>(n),
                    [](std::byte b) { return b == std::byte{0}; }))
        return text + " (zeroes)";
    if (seen.size() >= 48 && !pattern_mismatch(seed, offset + 32, seen.subspan(32, 16)))
        return text + " (bytes were changed in place)";
    std::uint64_t from = offset > kWindow ? offset - kWindow : 0;
    for (std::uint64_t at = from; at < offset + kWindow; at++) {
        if (pattern_mismatch(seed, at, seen.first(n)))
            continue;
        if (at > offset)
            return text + " (" + std::to_string(at - offset) + " bytes are missing)";
        return text + " (bytes of offset " + std::to_string(at) + " came again, " +
               std::to_string(offset - at) + " back)";
    }
    return text + " (bytes that belong nowhere near)";
}

} // namespace xway::test
