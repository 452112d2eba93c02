// SPDX-License-Identifier: GPL-2.0-or-later
//
// checklist.h - what xway needs, one line each: passed, or the remedy.
#pragma once

#include <string>

#include "command.h"
#include "output.h"

namespace xway {

class Checklist {
public:
    void pass(const std::string& what, const std::string& found = "") {
        add("ok", what, found, "");
    }

    // Worth knowing, but it keeps nothing from working.
    void note(const std::string& what, const std::string& found, const std::string& remedy = "") {
        add("note", what, found, remedy);
    }

    void fail(const std::string& what, const std::string& found, const std::string& remedy) {
        add("FAIL", what, found, remedy);
        failed_ = true;
    }

    bool failed() const { return failed_; }
    const Table& table() const { return table_; }

private:
    void add(const char* result, const std::string& what, const std::string& found,
             const std::string& remedy) {
        table_.add({result, what, found.empty() ? Cell(found, " ") : Cell(found),
                    remedy.empty() ? Cell(remedy, " ") : Cell(remedy)});
    }

    Table table_{
        {{"result", "RESULT"}, {"check", "CHECK"}, {"found", "FOUND"}, {"remedy", "REMEDY"}}};
    bool failed_ = false;
};

void check_dom0(Checklist& list, const Host& host);
void check_guest(Checklist& list, const Host& host);
void check_peer(Checklist& list, const Host& host, const std::string& address);
void check_program(Checklist& list, const std::string& name); // for xway-run

} // namespace xway
