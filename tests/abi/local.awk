# SPDX-License-Identifier: GPL-2.0
# local.awk - turns docs/local.md into compile-time assertions on libxway/arena.h and wire.h.
#
#	awk -f local.awk libxway/arena.h libxway/wire.h docs/local.md >local.h
#
# Of the headers it reads only names: structs and their fields, constants, types of messages, so that
# one which the document leaves out is found as well. What it prints is C++20.

function assert(condition) {
	printf "static_assert(%s);\t// line %d\n", condition, FNR
}

function fail(text) {
	gsub(/"/, "'", text)
	printf "static_assert(false, \"%s\");\n", text
}

function end_table() {
	if (table)
		assert("sizeof(xway::" table ") == " at)
	table = ""
}

# What a cell says in backquotes, or else without blanks.
function plain(cell) {
	gsub(/[ `]/, "", cell)
	return cell
}

# The fields that a line "type a, b[N];" of struct @name declares.
function declare(name, line,    part, count, i) {
	sub(/^ *(alignas\([^)]*\) +)?[A-Za-z_:0-9<>]+ +/, "", line)
	sub(/;.*/, "", line)
	count = split(line, part, /, */)
	for (i = 1; i <= count; i++) {
		sub(/\[.*/, "", part[i])
		sub(/ .*/, "", part[i])
		fields[name " " part[i]] = 1
	}
}

BEGIN {
	print "// Made by local.awk of docs/local.md."
	print "#include <cstddef>"
	print "#include <string_view>"
	print "#include \"arena.h\""
	print "#include \"wire.h\""
}

# ---- the headers ------------------------------------------------------------------------------

FILENAME ~ /\.h$/ {
	line = $0
	sub(/ *\/\/.*/, "", line)
	if (line ~ /^struct .*\{$/) {
		inside = line
		sub(/ *\{$/, "", inside)
		sub(/.* /, "", inside)
		if (inside == "ArenaView")	# a process's own, not shared
			inside = ""
		else
			structs[inside] = 1
	} else if (line ~ /^}/) {
		inside = ""
		in_enum = ""
	} else if (inside && line ~ /;$/ && line !~ /[{}]/) {
		declare(inside, line)
	} else if (line ~ /^inline constexpr /) {
		sub(/(\[\])? *=.*/, "", line)
		sub(/.* /, "", line)
		constants[line] = 1
	} else if (line ~ /^enum /) {
		in_enum = line ~ /WireType/ ? "types" : "constants"
	} else if (in_enum && line ~ /^ +k[A-Za-z]+( = [0-9]+)?,/) {
		sub(/^ +/, "", line)
		sub(/[ ,=].*/, "", line)
		if (in_enum == "types")
			types[line] = 1
		else
			constants[line] = 1
	}
	next
}

# ---- the document -----------------------------------------------------------------------------

/^#/			{ end_table() }
/^### struct /		{ table = $3; at = 0; described[table] = 1 }

table && /^\| *[0-9]+ *\|/ {
	split($0, cell, "|")
	offset = cell[2] + 0
	size = cell[3] + 0
	field = plain(cell[4])
	if (offset != at)
		fail(table ": " (field ? field : "padding") " does not follow the field before it")
	at = offset + size
	if (field) {
		assert("offsetof(xway::" table ", " field ") == " offset)
		assert("sizeof(xway::" table "::" field ") == " size)
		described[table " " field] = 1
	}
	next
}

# Types of messages.
/^\| *[0-9]+ *\| *`k/ {
	split($0, cell, "|")
	name = plain(cell[3])
	assert("xway::WireType::" name " == xway::WireType{" plain(cell[2]) "}")
	described["WireType " name] = 1
}

# Constants: numbers, or texts.
/^\| *`k[A-Za-z]+` *\| *[0-9A-Z\/]/ {
	split($0, cell, "|")
	name = plain(cell[2])
	value = plain(cell[3])
	if (value ~ /^[0-9]/)
		assert("xway::" name " == " value)
	else
		assert("xway::" name " == std::string_view(\"" value "\")")
	described[name] = 1
}

END {
	end_table()
	for (name in structs)
		if (!(name in described))
			fail("docs/local.md has no table of struct " name)
	for (name in fields)
		if (!(name in described))
			fail("docs/local.md leaves out the field " name)
	for (name in constants)
		if (!(name in described))
			fail("docs/local.md does not state " name)
	for (name in types)
		if (!(("WireType " name) in described))
			fail("docs/local.md does not mention the type " name)
}
