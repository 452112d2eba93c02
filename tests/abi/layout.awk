# SPDX-License-Identifier: GPL-2.0
# layout.awk - turns docs/protocol.md into compile-time assertions on include/xway.
#
#	awk -f layout.awk include/xway/abi.h docs/protocol.md >layout.h
#
# Of the header it reads only names: which structs, messages and decline reasons there are, so that
# one which the document leaves out is found as well. What it prints is C11 and C++20.

function assert(condition) {
	printf "XWAY_ASSERT(%s);\t/* line %d */\n", condition, FNR
}

function fail(text) {
	gsub(/"/, "'", text)
	printf "XWAY_ASSERT(!\"%s\");\n", text
}

# The number that follows @before in @text, which is an assertion on @name.
function limit(text, before, name,    at) {
	at = index(text, before)
	if (!at)
		return
	text = substr(text, at + length(before))
	if (match(text, /^[0-9]+/)) {
		assert(name " == " substr(text, 1, RLENGTH))
		limits[name] = 1
	}
}

function end_table() {
	if (table)
		assert("sizeof(struct " table ") == " at)
	table = ""
}

BEGIN {
	print "/* Made by layout.awk of docs/protocol.md. */"
	print "#include <xway/abi.h>"
	print "#include <xway/ring.h>"
	reason["busy"] = "BUSY"
	reason["refused"] = "REFUSED"
	reason["link going down"] = "QUIESCING"
}

# ---- the header -------------------------------------------------------------------------------

FNR == NR && /^struct xway_[a-z_]+ \{/			{ structs[$2] = 1 }
FNR == NR && /^#define XWAY_(MSG|DECLINE)_[A-Z]+[ \t]/	{ numbers[$2] = 1 }
FNR == NR						{ next }

# ---- the document -----------------------------------------------------------------------------

/^#/			{ end_table() }
/^## /			{ section = $2 + 0 }
/^### struct /		{ table = $3; at = 0; described[table] = 1 }

table && /^\| *[0-9]+ *\|/ {
	split($0, cell, "|")
	gsub(/[ `]/, "", cell[4])
	offset = cell[2] + 0
	size = cell[3] + 0
	field = cell[4]
	if (offset != at)
		fail("struct " table ": " field " does not follow the field before it")
	assert("offsetof(struct " table ", " field ") == " offset)
	assert("sizeof(((struct " table " *)0)->" field ") == " size)
	at = offset + size
	if (field == "magic")
		assert("XWAY_LINK_MAGIC == " cell[6])
	if (field == "version")
		assert("XWAY_ABI_VERSION == " cell[6])
	if (field == "mark")
		limit(cell[6], "e % ", "XWAY_MARKS")
}

section == 5 && /^\| *[0-9]+ *\|/ {
	split($0, cell, "|")
	gsub(/ /, "", cell[3])
	assert("XWAY_MSG_" cell[3] " == " cell[2])
	described["XWAY_MSG_" cell[3]] = 1
	if (cell[3] == "DECLINE") {
		sub(/^[^:]*: */, "", cell[6])
		sub(/ *$/, "", cell[6])
		count = split(cell[6], item, /, */)
		for (i = 1; i <= count; i++) {
			number = item[i] + 0
			sub(/^[0-9]+ /, "", item[i])
			if (!(item[i] in reason)) {
				fail("no constant is known for the decline reason " item[i])
				continue
			}
			name = "XWAY_DECLINE_" reason[item[i]]
			assert(name " == " number)
			described[name] = 1
		}
	}
}

{
	limit($0, "< pages <= ", "XWAY_REGION_PAGES")
	limit($0, "1 <= ctl_pages <= ", "XWAY_CTL_PAGES_MAX")
	limit($0, "1 <= slot_pages <= ", "XWAY_SLOT_PAGES_MAX")
	limit($0, "its capacity (", "XWAY_MSGS_PER_PAGE")
	limit($0, "of an order above ", "XWAY_RING_ORDER_MAX")
}

END {
	end_table()
	for (name in structs)
		if (!(name in described))
			fail("docs/protocol.md has no table of struct " name)
	for (name in numbers)
		if (!(name in described))
			fail("docs/protocol.md does not mention " name)
	split("REGION_PAGES CTL_PAGES_MAX SLOT_PAGES_MAX MSGS_PER_PAGE RING_ORDER_MAX MARKS", want, " ")
	for (i in want)
		if (!(("XWAY_" want[i]) in limits))
			fail("docs/protocol.md does not state XWAY_" want[i])
}
