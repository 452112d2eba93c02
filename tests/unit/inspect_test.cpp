// SPDX-License-Identifier: GPL-2.0-or-later
//
// inspect_test.cpp - programs that take the library, programs that do not, and files that are
// neither.
#include "inspect.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <vector>

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace xway {
namespace {

constexpr char kGlibc[] = "/lib64/ld-linux-x86-64.so.2";

// Of the machine that we run on, as a linker would write it.
struct Elf {
    Elf64_Ehdr header{};
    std::vector<Elf64_Phdr> segments;
    std::string data; // behind the segments

    Elf() {
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        std::ifstream self("/proc/self/exe", std::ios::binary);
        Elf64_Ehdr own{};
        self.read(reinterpret_cast<char*>(&own), sizeof(own));
        header.e_machine = own.e_machine;
        header.e_phoff = sizeof(header);
        header.e_phentsize = sizeof(Elf64_Phdr);
    }

    Elf& add(Elf64_Word type, const std::string& content) {
        Elf64_Phdr segment{};
        segment.p_type = type;
        segment.p_offset = data.size(); // moved in text()
        segment.p_filesz = content.size();
        segments.push_back(segment);
        data += content;
        return *this;
    }

    [[nodiscard]] std::size_t data_at() const {
        return sizeof(header) + segments.size() * sizeof(Elf64_Phdr);
    }

    [[nodiscard]] std::string text() const {
        Elf64_Ehdr first = header;
        if (first.e_phnum == 0)
            first.e_phnum = static_cast<Elf64_Half>(segments.size());
        std::string result(reinterpret_cast<const char*>(&first), sizeof(first));
        for (Elf64_Phdr segment : segments) {
            segment.p_offset += data_at();
            result.append(reinterpret_cast<const char*>(&segment), sizeof(segment));
        }
        return result + data;
    }
};

Elf dynamic(const std::string& loader = kGlibc) {
    return Elf().add(PT_LOAD, "").add(PT_INTERP, loader + '\0');
}

std::string go_note() {
    const Elf64_Nhdr note{4, 8, 4};
    return std::string(reinterpret_cast<const char*>(&note), sizeof(note)) +
           std::string("Go\0\0", 4) + "01234567";
}

class InspectTest : public testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/xway-inspect-XXXXXX";
        directory = mkdtemp(name);
    }
    void TearDown() override { std::filesystem::remove_all(directory); }

    std::string write(const std::string& name, const std::string& text, mode_t mode = 0755) {
        const std::string file = directory + '/' + name;
        std::ofstream(file, std::ios::binary) << text;
        chmod(file.c_str(), mode);
        return file;
    }

    // Why not; empty: it fits.
    std::string why(const std::string& text, mode_t mode = 0755) {
        const auto program =
            inspect_program(write("program", text, mode), runner, directory.c_str());
        EXPECT_TRUE(program);
        EXPECT_EQ(program->fits, program->why_not.empty());
        return program->why_not;
    }

    std::string directory;
    Runner runner{getuid(), getgid()};
};

TEST_F(InspectTest, a_dynamic_program_fits) {
    EXPECT_EQ(why(dynamic().text()), "");
    EXPECT_EQ(why(dynamic("/nix/store/x-glibc-2.40/lib/ld-linux-x86-64.so.2").text()), "");
    EXPECT_EQ(why(dynamic("/lib/ld-linux-aarch64.so.1").text()), "");
    const auto self = inspect_program("/proc/self/exe", runner, nullptr);
    ASSERT_TRUE(self);
    EXPECT_TRUE(self->fits) << self->why_not;
}

TEST_F(InspectTest, a_static_one_does_not) {
    EXPECT_EQ(why(Elf().add(PT_LOAD, "code").text()), "it is linked statically");
    EXPECT_EQ(why(Elf().text()), "it is linked statically");
}

TEST_F(InspectTest, nor_one_with_another_libc) {
    EXPECT_EQ(why(dynamic("/lib/ld-musl-x86_64.so.1").text()),
              "its C library is not glibc (/lib/ld-musl-x86_64.so.1)");
    EXPECT_EQ(why(dynamic("/system/bin/linker64").text()),
              "its C library is not glibc (/system/bin/linker64)");
}

TEST_F(InspectTest, nor_one_for_another_processor) {
    Elf small = dynamic();
    small.header.e_ident[EI_CLASS] = ELFCLASS32;
    EXPECT_EQ(why(small.text()), "it is not a 64-bit program");
    Elf other = dynamic();
    other.header.e_machine = EM_S390;
    EXPECT_EQ(why(other.text()), "it is not a program for this processor");
    Elf big_endian = dynamic();
    big_endian.header.e_ident[EI_DATA] = ELFDATA2MSB;
    EXPECT_EQ(why(big_endian.text()), "it is not a program for this processor");
}

TEST_F(InspectTest, nor_a_go_program) {
    constexpr char kWhy[] = "it is a Go program, which calls the kernel itself";
    EXPECT_EQ(why(dynamic().add(PT_NOTE, go_note()).text()), kWhy);
    // Behind another note.
    const Elf64_Nhdr gnu{4, 3, 3};
    const std::string other = std::string(reinterpret_cast<const char*>(&gnu), sizeof(gnu)) +
                              std::string("GNU\0abc\0", 8);
    EXPECT_EQ(why(dynamic().add(PT_NOTE, other + go_note()).text()), kWhy);
    EXPECT_EQ(why(dynamic().add(PT_NOTE, other).text()), "");
}

TEST_F(InspectTest, nor_one_with_the_sections_of_go) {
    for (const std::string name : {".go.buildinfo", ".note.go.buildid", ".go.buildinfoX"}) {
        Elf elf = dynamic();
        const std::string names = std::string(1, '\0') + name + '\0';
        Elf64_Shdr sections[2]{};
        sections[0].sh_offset = elf.data_at() + elf.data.size();
        sections[0].sh_size = names.size();
        sections[1].sh_name = 1;
        elf.data += names;
        elf.header.e_shoff = elf.data_at() + elf.data.size();
        elf.header.e_shentsize = sizeof(Elf64_Shdr);
        elf.header.e_shnum = 2;
        elf.data.append(reinterpret_cast<const char*>(sections), sizeof(sections));
        EXPECT_EQ(why(elf.text()).empty(), name.ends_with('X')) << name;
    }
}

TEST_F(InspectTest, nor_one_that_gains_rights) {
    runner = {getuid() + 1, getgid() + 1};
    EXPECT_EQ(why(dynamic().text(), 04755), "it is setuid");
    EXPECT_EQ(why(dynamic().text(), 02755), "it is setgid");
    EXPECT_EQ(why(dynamic().text(), 02745), "") << "mandatory locking, no setgid";
    runner = {getuid(), getgid()};
    EXPECT_EQ(why(dynamic().text(), 06755), "") << "they are his already";
}

TEST_F(InspectTest, of_a_script_the_interpreter_counts) {
    const std::string good = write("good", dynamic().text());
    const std::string bad = write("bad", Elf().text());
    EXPECT_EQ(why("#!" + good + "\ntext"), "");
    EXPECT_EQ(why("#! \t" + good + " -x"), "");
    EXPECT_EQ(why("#!" + bad + "\n"), "it is linked statically");
    const auto program =
        inspect_program(write("script", "#!" + bad + "\n", 04755), {1, 1}, nullptr);
    ASSERT_TRUE(program);
    EXPECT_EQ(program->file, bad);
    // The kernel ignores the mode of a script.
    EXPECT_EQ(program->why_not, "it is linked statically");
    EXPECT_EQ(why("#!" + write("second", "#!" + good + "\n") + "\n"), "");
}

TEST_F(InspectTest, env_runs_another) {
    const std::string env = write("env", dynamic().text());
    write("bad", Elf().text());
    EXPECT_EQ(why("#!" + env + " bad\n"), "it is linked statically");
    EXPECT_EQ(why("#!" + env + " -S A=b bad -u\n"), "it is linked statically");
    EXPECT_EQ(why("#!" + env + " not-there\n"), "");
    EXPECT_EQ(why("#!" + env + "\n"), "");
}

TEST_F(InspectTest, scripts_may_go_in_circles) {
    const std::string file = directory + "/program";
    EXPECT_EQ(why("#!" + file + "\n"), "its interpreter cannot be told");
    EXPECT_EQ(why("#!\n"), "its interpreter cannot be told");
    EXPECT_EQ(why("#!"), "its interpreter cannot be told");
    EXPECT_FALSE(inspect_program(write("x", "#!/not/there\n"), runner, nullptr));
}

TEST_F(InspectTest, what_is_no_program) {
    EXPECT_EQ(why(""), "it is no ELF program");
    EXPECT_EQ(why("\x7f"
                  "ELF"),
              "it is no ELF program");
    EXPECT_EQ(why("echo hello\n"), "it is no ELF program");
    const auto directory_itself = inspect_program(directory, runner, nullptr);
    ASSERT_TRUE(directory_itself);
    EXPECT_EQ(directory_itself->why_not, "it is no program");
    const std::string fifo = directory + "/fifo";
    ASSERT_EQ(mkfifo(fifo.c_str(), 0700), 0);
    EXPECT_TRUE(inspect_program(fifo, runner, nullptr)) << "and does not wait for a writer";
    EXPECT_FALSE(inspect_program(directory + "/none", runner, nullptr));
}

TEST_F(InspectTest, whatever_is_in_a_file_there_is_an_answer) {
    std::mt19937 random(1);
    const std::string good = dynamic().add(PT_NOTE, go_note()).text();
    for (int i = 0; i < 3000; ++i) {
        std::string text = good;
        for (unsigned flips = random() % 8; flips > 0; --flips)
            text[EI_NIDENT + random() % (text.size() - EI_NIDENT)] = static_cast<char>(random());
        text.resize(random() % 4 == 0 ? random() % text.size() : text.size());
        ASSERT_TRUE(inspect_program(write("program", text), runner, nullptr));
    }
    // Sizes and places that are far beyond the file.
    for (const Elf64_Off place :
         {Elf64_Off{UINT64_MAX}, Elf64_Off{INT64_MAX}, Elf64_Off{1} << 40}) {
        Elf elf = dynamic();
        elf.segments[1].p_offset = place;
        elf.segments[1].p_filesz = UINT64_MAX;
        elf.header.e_shoff = place;
        elf.header.e_shentsize = sizeof(Elf64_Shdr);
        elf.header.e_shnum = elf.header.e_shstrndx = 0xfff0;
        EXPECT_NE(why(elf.text()), "");
        elf.header.e_phoff = place;
        EXPECT_EQ(why(elf.text()), "its headers are damaged");
    }
    Elf many = dynamic();
    many.header.e_phnum = 0xffff;
    EXPECT_EQ(why(many.text()), "its headers are damaged");
}

TEST_F(InspectTest, programs_are_found_as_execvp_finds_them) {
    const std::string file = write("tool", "x"), hidden = write("plain", "x", 0644);
    EXPECT_EQ(find_program("tool", directory.c_str()), file);
    EXPECT_EQ(find_program("tool", ("/none:" + directory).c_str()), file);
    EXPECT_EQ(find_program("plain", directory.c_str()), std::nullopt);
    EXPECT_EQ(find_program("tool", "/none"), std::nullopt);
    EXPECT_EQ(find_program("", directory.c_str()), std::nullopt);
    EXPECT_EQ(find_program("./tool", directory.c_str()), "./tool");
    EXPECT_TRUE(find_program("sh", nullptr));
}

} // namespace
} // namespace xway
