/* SPDX-License-Identifier: GPL-2.0 */
/* bpf.cpp - bpf(2) without a library. */
#include "bpf.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "check.h"

namespace xway::test {

int bpf(bpf_cmd command, bpf_attr& attributes) {
    return static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof attributes));
}

UniqueFd bpf_returns(bpf_prog_type type, int value, unsigned attach_type) {
    bpf_insn program[2] = {};
    program[0].code = BPF_ALU64 | BPF_MOV | BPF_K; /* r0 = value */
    program[0].imm = value;
    program[1].code = BPF_JMP | BPF_EXIT;
    bpf_attr load{};
    load.prog_type = type;
    load.insns = reinterpret_cast<std::uintptr_t>(program);
    load.insn_cnt = 2;
    load.license = reinterpret_cast<std::uintptr_t>("GPL");
    load.expected_attach_type = attach_type;
    UniqueFd fd(bpf(BPF_PROG_LOAD, load));
    if (!fd.valid())
        throw Skip("bpf: " + errno_text(errno));
    return fd;
}

const char* upper_layer(int fd) {
    static char name[16];
    socklen_t length = sizeof name - 1;
    name[0] = 0;
    SYS(getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &length));
    name[length] = 0;
    return name;
}

} // namespace xway::test
