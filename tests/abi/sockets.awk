# SPDX-License-Identifier: GPL-2.0
# sockets.awk - does every row of docs/sockets.md name a case that exists, and is every case named?
#
#	awk -f sockets.awk tests/socket/cases_*.cpp docs/sockets.md
#
# Prints a line a mistake. In the last column a case stands in backquotes; a test elsewhere as
# `tests/FILE: WORDS`, and these words must be in that file.

function say(text) {
	print FILENAME ":" FNR ": " text
}

function is_in_file(file, words,    line, found) {
	while ((getline line <file) > 0)
		found = found || index(line, words)
	close(file)
	return found
}

function check_name(name,    at) {
	at = index(name, ": ")
	if (at && name ~ /^tests\//) {
		if (!is_in_file(substr(name, 1, at - 1), substr(name, at + 2)))
			say("there is no " name)
	} else if (name in cases) {
		named[name] = 1
	} else {
		say("there is no case " name)
	}
}

function check_row(    part, count, i) {
	rows++
	if (NF != 6)
		say("a row has four columns; write | in a cell as \\|")
	else if ($2 ~ /^ *$/ || $3 ~ /^ *$/)
		say("what, or on which rail?")
	count = split($5, part, "`")
	if (count < 3)
		say("no case proves this:" $2)
	for (i = 2; i <= count; i += 2)
		check_name(part[i])
}

BEGIN { FS = "|" }

FILENAME ~ /\.cpp$/ {
	if (match($0, /^TWO_SIDED\([a-z0-9_]+/))
		cases[substr($0, 11, RLENGTH - 10)] = 1
	next
}

# A cell may hold a bar.
{ gsub(/\\\|/, "\001") }

/^\| what \| rail \|/	{ in_table = 1; next }
in_table && /^\|-/	{ next }
in_table && /^\|/	{ check_row(); next }
			{ in_table = 0 }

END {
	for (name in cases) {
		if (!(name in named))
			print FILENAME ": no row names the case " name
	}
	if (!rows)
		print FILENAME ": no rows"
}
