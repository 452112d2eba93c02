# SPDX-License-Identifier: GPL-2.0
# How the programs of tests and benchmarks are compiled, and what is said of it. -g1: lines for reports; all of -g
# costs a third of the time.

CXX ?= g++
CXXFLAGS ?= -O2 -g1
flags := -std=c++20 -Wall -Wextra -Wshadow -Werror -pthread -D_GNU_SOURCE

ifeq ($(V),1)
quiet =
else
quiet = @printf '  %-5s %s\n' '$(1)' '$(notdir $@)';
endif
