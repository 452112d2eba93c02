/* SPDX-License-Identifier: GPL-2.0 */
/* option_table.cpp - tables of socket options. */
#include "option_table.h"

namespace xway::test {

std::string Answer::text() const {
    return error != 0 ? errno_text(error)
                      : std::to_string(value) + " (" + std::to_string(length) + " bytes)";
}

Answer set_answer(int fd, int level, int name, int value) {
    return {setsockopt(fd, level, name, &value, sizeof value) < 0 ? errno : 0, 0, 0};
}

Answer get_answer(int fd, int level, int name, socklen_t room) {
    Answer answer;
    answer.length = room;
    if (getsockopt(fd, level, name, &answer.value, &answer.length) < 0)
        return {errno, 0, 0};
    return answer;
}

namespace {

void expect(const char* what, const char* option, const std::string& seen,
            const std::string& wanted) {
    if (seen != wanted)
        FAIL(std::string(what) + " " + option + ": " + seen + ", wanted " + wanted);
}

} // namespace

void set_and_read(Side& side, Mirrored& talk, std::span<const IntOption> table) {
    const int fd = talk.out().fd();
    unsigned done = 0;
    for (const IntOption& option : table) {
        UniqueFd fresh = side.socket();
        for (int turn : {0, 1}) {
            const int value = option.value[turn];
            const Answer wanted = set_answer(fresh.get(), option.level, option.name, value);
            const Answer said = set_answer(fd, option.level, option.name, value);
            expect("set", option.text, said.text(), wanted.text());
            if (wanted.error == 0) {
                const Answer seen = get_answer(fd, option.level, option.name);
                expect("get", option.text, seen.text(), Answer{0, option.seen[turn], 4}.text());
                done++;
            }
            talk.round();
        }
    }
    CHECK(done > table.size());
}

namespace {

int read_error(int fd, int level, int name) {
    char room[256];
    socklen_t length = sizeof room;
    return getsockopt(fd, level, name, room, &length) < 0 ? errno : 0;
}

void expect_error(const char* what, const OddOption& option, int seen, int fresh, int wanted) {
    if (wanted == kAsFresh || (fresh == ENOPROTOOPT && seen == ENOPROTOOPT))
        wanted = fresh;
    expect(what, option.text, errno_text(seen), errno_text(wanted));
}

} // namespace

void check_odd(Side& side, Mirrored& talk, std::span<const OddOption> table) {
    const int fd = talk.out().fd();
    for (const OddOption& option : table) {
        UniqueFd fresh = side.socket();
        const auto& [text, level, name, set_error, get_error] = option;
        expect_error("get", option, read_error(fd, level, name),
                     read_error(fresh.get(), level, name), get_error);
        expect_error("set", option, set_answer(fd, level, name, 1).error,
                     set_answer(fresh.get(), level, name, 1).error, set_error);
        talk.round();
    }
}

void check_bad_calls(int fd, int level, int name) {
    int value = 0;
    socklen_t length = sizeof value;
    auto* const nowhere = reinterpret_cast<void*>(8);
    CHECK_ERRNO(setsockopt(fd, level, name, &value, 1), EINVAL);
    CHECK_ERRNO(setsockopt(fd, level, name, nowhere, sizeof value), EFAULT);
    CHECK_ERRNO(getsockopt(fd, level, name, &value, static_cast<socklen_t*>(nowhere)), EFAULT);
    CHECK_ERRNO(getsockopt(fd, level, name, nowhere, &length), EFAULT);
    length = static_cast<socklen_t>(-1);
    CHECK_ERRNO(getsockopt(fd, level, name, &value, &length), EINVAL);
    CHECK_ERRNO(setsockopt(fd, level, name, &value, static_cast<socklen_t>(-1)), EINVAL);
    CHECK_ERRNO(setsockopt(fd, level, 9999, &value, sizeof value), ENOPROTOOPT);
    length = sizeof value;
    CHECK_ERRNO(getsockopt(fd, level, 9999, &value, &length), ENOPROTOOPT);
}

} // namespace xway::test
