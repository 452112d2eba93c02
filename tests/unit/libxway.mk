# SPDX-License-Identifier: GPL-2.0-or-later
# The library between two processes. Its own functions are called, not the wrappers of libc's.

PRELOAD := ../../libxway/preload

UNIT_TESTS += libxway_hostile_test
libxway_hostile_test_SRCS := libxway_hostile_test.cpp libxway_noise_test.cpp $(patsubst %,$(PRELOAD)/%.cpp, \
	attach direct endpoint epoll inherit init listener poll process real registrar rx signals spare table tx wait)
libxway_hostile_test_CPPFLAGS := -I$(TOP)/libxway/preload
