# SPDX-License-Identifier: GPL-2.0-or-later
# The unit tests of xwayd and xway-run.

LIBXWAY := ../../libxway
LIBXWAY_INCLUDE := -I$(TOP)/libxway -I$(TOP)/libxway/monitor -I$(TOP)/xenstore-tools

UNIT_TESTS += monitor_test
UNIT_TSAN_TESTS += monitor_test
monitor_test_SRCS := monitor_test.cpp monitor_hostile_test.cpp monitor_direct_test.cpp \
	monitor_queue_test.cpp $(TOOLS)/address.cpp $(TOOLS)/front_proc.cpp \
	$(LIBXWAY)/socket_file.cpp $(patsubst %,$(LIBXWAY)/monitor/%.cpp,arena_pool caller client control \
	direct inspector local_policy monitor monitor_direct pairing queues report shared_memory socket_lookup tcp_end wire_io)
monitor_test_CPPFLAGS := $(LIBXWAY_INCLUDE)
monitor_test_LIBS := -levent_core -lfmt

UNIT_TESTS += pairing_test local_policy_test inspect_test
pairing_test_SRCS := pairing_test.cpp $(LIBXWAY)/monitor/pairing.cpp $(TOOLS)/address.cpp
pairing_test_CPPFLAGS := $(LIBXWAY_INCLUDE)

local_policy_test_SRCS := local_policy_test.cpp $(LIBXWAY)/monitor/local_policy.cpp
local_policy_test_CPPFLAGS := $(LIBXWAY_INCLUDE) -DXWAY_CONFIGS='"$(TOP)/configs"'
local_policy_test_LIBS := -lfmt

inspect_test_SRCS := inspect_test.cpp $(LIBXWAY)/inspect.cpp
inspect_test_CPPFLAGS := $(LIBXWAY_INCLUDE)

# The program is run inside the test, in a child.
UNIT_TESTS += xway_run_test
xway_run_test_SRCS := xway_run_test.cpp $(patsubst %,$(LIBXWAY)/%.cpp,xway-run inspect socket_file)
xway_run_test_CPPFLAGS := $(LIBXWAY_INCLUDE) -Dmain=xway_run_main
xway_run_test_LIBS := -lfmt

UNIT_TESTS += queue_test
UNIT_TSAN_TESTS += queue_test
queue_test_CPPFLAGS := $(LIBXWAY_INCLUDE)
