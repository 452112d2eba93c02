-- SPDX-License-Identifier: GPL-2.0
-- browsers.lua - the bookshop's customers, for wrk: each of its threads has one connection and is one customer, who looks at
-- pages in TPC-W's shopping mix and thinks in between.
--
--   THINK=MS wrk -t N -c N -d SECONDS -s browsers.lua http://HOST/
--
-- THINK is the mean, and ten times that the most (TPC-W 1.8, clause 5.3.2.1 has 7 s and 70 s). Prints one line of JSON.

local ffi = require("ffi")
ffi.cdef [[
struct moment { long seconds, nanoseconds; };
int clock_gettime(int clock, struct moment *now);
]]
local CLOCK_MONOTONIC = 1

-- Of 10,000 interactions; TPC-W 1.8, clause 5.2.1, column Shopping.
local MIX = {
	{"home", 1600}, {"new_products", 500}, {"best_sellers", 500}, {"product_detail", 1700}, {"search_request", 2000},
	{"search_results", 1700}, {"shopping_cart", 1160}, {"customer_registration", 300}, {"buy_request", 260},
	{"buy_confirm", 120}, {"order_inquiry", 75}, {"order_display", 66}, {"admin_request", 10}, {"admin_confirm", 9},
}
local CUSTOMERS, ITEMS, SUBJECTS = 2880, 1000, 24
local MOST_THINKING = 10

-- ---- one thread, one customer ----

seen, failed = {}, 0		-- lines `page milliseconds`: wrk hands over no deeper tables

local moment = ffi.new("struct moment")
local page, begun

local function now_ms()
	ffi.C.clock_gettime(CLOCK_MONOTONIC, moment)
	return tonumber(moment.seconds) * 1e3 + tonumber(moment.nanoseconds) / 1e6
end

local function next_page()
	local drawn = math.random(10000)
	for _, entry in ipairs(MIX) do
		drawn = drawn - entry[2]
		if drawn <= 0 then
			return entry[1]
		end
	end
end

function init()
	math.randomseed(number)
	customer = math.random(CUSTOMERS)
	think = tonumber(os.getenv("THINK") or 0)
end

function delay()
	return math.floor(math.min(-math.log(1 - math.random()), MOST_THINKING) * think)
end

function request()
	page = next_page()
	local path = string.format("/?p=%s&c=%d&i=%d&s=%d", page, customer, math.random(ITEMS), math.random(SUBJECTS) - 1)
	begun = now_ms()
	return wrk.format("GET", path)
end

function response(status)
	if status == 200 then
		table.insert(seen, string.format("%s %.3f", page, now_ms() - begun))
	else
		failed = failed + 1
	end
end

-- ---- all of them ----

local threads = {}

function setup(thread)
	table.insert(threads, thread)
	thread:set("number", #threads)
end

function done(summary)
	local times, lines, failures = {}, {}, 0
	for _, entry in ipairs(MIX) do
		times[entry[1]] = {}
	end
	for _, thread in ipairs(threads) do
		for _, line in ipairs(thread:get("seen")) do
			local name, ms = line:match("(%S+) (%S+)")
			table.insert(times[name], ms)
		end
		failures = failures + thread:get("failed")
	end
	for _, entry in ipairs(MIX) do
		table.insert(lines, string.format('"%s": [%s]', entry[1], table.concat(times[entry[1]], ", ")))
	end
	local errors = summary.errors
	failures = failures + errors.connect + errors.read + errors.write + errors.timeout
	print(string.format('{"seconds": %.3f, "failed": %d, "ms": {%s}}', summary.duration / 1e6, failures, table.concat(lines, ", ")))
end
