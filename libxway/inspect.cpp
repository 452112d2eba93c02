// SPDX-License-Identifier: GPL-2.0-or-later
//
// inspect.cpp - ELF headers, lines that begin with #!, file modes.
#include "inspect.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string_view>
#include <vector>

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "text.h"
#include "unique_fd.h"

namespace xway {

namespace {

constexpr unsigned kScriptDepth = 5;      // scripts that are run by scripts
constexpr std::size_t kScriptLine = 256;  // the kernel reads no more of it
constexpr std::size_t kHeadersMax = 4096; // program or section headers that are looked at
constexpr std::size_t kNotesMax = 64 * 1024;
constexpr std::size_t kPathMax = 4096;
constexpr Elf64_Word kGoBuildId = 4; // type of a note of "Go"

// A file, read at any place and never beyond what is there.
class File {
public:
    explicit File(const std::string& path)
        : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {}

    explicit operator bool() const { return static_cast<bool>(fd_); }
    [[nodiscard]] int fd() const { return fd_.get(); }

    // As much as there is, up to `size`.
    [[nodiscard]] std::string bytes(std::uint64_t at, std::size_t size) const {
        std::string data(size, '\0');
        ssize_t got = -1;
        if (at <= INT64_MAX)
            got = pread(fd_.get(), data.data(), size, static_cast<off_t>(at));
        data.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        return data;
    }

    template <typename Value>
    [[nodiscard]] std::optional<Value> value(std::uint64_t at) const {
        const std::string data = bytes(at, sizeof(Value));
        Value result;
        if (data.size() != sizeof(Value))
            return std::nullopt;
        std::memcpy(&result, data.data(), sizeof(Value));
        return result;
    }

private:
    UniqueFd fd_;
};

std::string_view name_in(std::string_view path) {
    return path.substr(path.rfind('/') + 1);
}

// What we are ourselves is what the library is.
Elf64_Half own_machine() {
    static const Elf64_Half kOwn = [] {
        const auto header = File("/proc/self/exe").value<Elf64_Ehdr>(0);
        return header ? header->e_machine : Elf64_Half{EM_NONE};
    }();
    return kOwn;
}

bool has_go_note(std::string_view notes) {
    constexpr std::string_view kGo("Go\0\0", 4);
    while (notes.size() >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note;
        std::memcpy(&note, notes.data(), sizeof(note));
        notes.remove_prefix(sizeof(note));
        const auto padded = [](Elf64_Word size) { return (std::uint64_t{size} + 3) & ~3ull; };
        if (note.n_type == kGoBuildId && note.n_namesz == kGo.size() && notes.starts_with(kGo))
            return true;
        const std::uint64_t skip = padded(note.n_namesz) + padded(note.n_descsz);
        if (skip > notes.size())
            return false;
        notes.remove_prefix(static_cast<std::size_t>(skip));
    }
    return false;
}

bool has_go_section(const File& file, const Elf64_Ehdr& header) {
    constexpr std::array<std::string_view, 2> kSections{".note.go.buildid", ".go.buildinfo"};
    if (header.e_shoff == 0 || header.e_shentsize != sizeof(Elf64_Shdr))
        return false;
    const auto section = [&](std::uint64_t index) {
        return file.value<Elf64_Shdr>(header.e_shoff + index * sizeof(Elf64_Shdr));
    };
    const auto names = section(header.e_shstrndx);
    if (!names)
        return false;
    const std::size_t count = std::min<std::size_t>(header.e_shnum, kHeadersMax);
    for (std::size_t i = 0; i < count; ++i) {
        const auto one = section(i);
        if (!one || one->sh_name >= names->sh_size)
            continue;
        const std::string name = file.bytes(names->sh_offset + one->sh_name, 32);
        const std::string_view exact(name.c_str());
        if (std::find(kSections.begin(), kSections.end(), exact) != kSections.end())
            return true;
    }
    return false;
}

std::string why_not_elf(const File& file) {
    const std::string ident = file.bytes(0, EI_NIDENT);
    constexpr int kOwnData = std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;
    if (ident.size() < EI_NIDENT || ident[EI_CLASS] != ELFCLASS64)
        return "it is not a 64-bit program";
    const auto header = file.value<Elf64_Ehdr>(0);
    if (ident[EI_DATA] != kOwnData || !header || header->e_machine != own_machine())
        return "it is not a program for this processor";
    if (header->e_phentsize != sizeof(Elf64_Phdr))
        return "its headers are damaged";

    std::optional<std::string> loader;
    bool is_go = false;
    const std::size_t count = std::min<std::size_t>(header->e_phnum, kHeadersMax);
    for (std::size_t i = 0; i < count; ++i) {
        const auto segment = file.value<Elf64_Phdr>(header->e_phoff + i * sizeof(Elf64_Phdr));
        if (!segment)
            return "its headers are damaged";
        const auto size = [&](std::size_t most) {
            return static_cast<std::size_t>(std::min<std::uint64_t>(segment->p_filesz, most));
        };
        if (segment->p_type == PT_INTERP)
            loader = file.bytes(segment->p_offset, size(kPathMax)).c_str();
        else if (segment->p_type == PT_NOTE)
            is_go |= has_go_note(file.bytes(segment->p_offset, size(kNotesMax)));
    }
    if (!loader)
        return "it is linked statically";
    const std::string_view loader_name = name_in(*loader);
    if (!loader_name.starts_with("ld-linux") && !loader_name.starts_with("ld64.so"))
        return "its C library is not glibc (" + *loader + ")";
    if (is_go || has_go_section(file, *header))
        return "it is a Go program, which calls the kernel itself";
    return {};
}

// Rights that the program would gain; then the loader takes no libraries from the environment.
std::string why_not_mode(const File& file, const Runner& runner) {
    struct stat status {};
    if (fstat(file.fd(), &status) < 0)
        return {};
    if ((status.st_mode & S_ISUID) != 0 && status.st_uid != runner.uid)
        return "it is setuid";
    if ((status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
        status.st_gid != runner.gid)
        return "it is setgid";
    if (runner.uid != 0 && fgetxattr(file.fd(), "security.capability", nullptr, 0) > 0)
        return "it has file capabilities";
    return {};
}

// The words of a #! line: the interpreter, and its argument if there is one.
std::vector<std::string_view> interpreter_of(std::string_view line) {
    line =
        line.substr(2, line.find('\n') == std::string_view::npos ? line.npos : line.find('\n') - 2);
    return split(line, std::string_view(" \t\r\0", 4));
}

// What `env` runs: its first word that is no option and sets no variable.
std::optional<std::string> program_of_env(const std::vector<std::string_view>& words,
                                          const char* path) {
    for (std::size_t i = 1; i < words.size(); ++i) {
        if (!words[i].starts_with('-') && words[i].find('=') == std::string_view::npos)
            return find_program(std::string(words[i]), path);
    }
    return std::nullopt;
}

} // namespace

std::optional<std::string> find_program(const std::string& name, const char* path) {
    if (name.empty() || name.find('/') != std::string::npos)
        return name.empty() ? std::nullopt : std::optional(name);
    const std::string_view all = path ? path : "/bin:/usr/bin";
    for (std::size_t begin = 0; begin <= all.size();) {
        const std::size_t end = std::min(all.find(':', begin), all.size());
        std::string file(all.substr(begin, end - begin));
        file += (file.empty() ? "./" : "/") + name;
        struct stat status {};
        if (stat(file.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
            access(file.c_str(), X_OK) == 0)
            return file;
        begin = end + 1;
    }
    return std::nullopt;
}

Result<Program> inspect_program(const std::string& file, const Runner& runner, const char* path) {
    Program program{file, false, {}};
    for (unsigned depth = 0; depth < kScriptDepth; ++depth) {
        const File opened(program.file);
        struct stat status {};
        if (!opened || fstat(opened.fd(), &status) < 0)
            return Error::from_errno("cannot read " + program.file, errno, "");
        if (!S_ISREG(status.st_mode)) {
            program.why_not = "it is no program";
            return program;
        }
        const std::string head = opened.bytes(0, kScriptLine);
        if (head.starts_with("#!")) {
            const auto words = interpreter_of(head);
            if (words.empty())
                break;
            const auto behind_env =
                name_in(words[0]) == "env" ? program_of_env(words, path) : std::nullopt;
            program.file = behind_env.value_or(std::string(words[0]));
            continue;
        }
        if (head.size() >= EI_NIDENT && head.starts_with(ELFMAG)) {
            program.why_not = why_not_mode(opened, runner);
            if (program.why_not.empty())
                program.why_not = why_not_elf(opened);
        } else {
            program.why_not = "it is no ELF program";
        }
        program.fits = program.why_not.empty();
        return program;
    }
    program.why_not = "its interpreter cannot be told";
    return program;
}

} // namespace xway
