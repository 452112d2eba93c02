# SPDX-License-Identifier: GPL-2.0-or-later
# The unit tests of xenstore-tools; none needs Xen.

TOOLS := ../../xenstore-tools

UNIT_TESTS += policy_test directory_test front_proc_test stat_report_test

policy_test_SRCS := policy_test.cpp $(TOOLS)/policy.cpp $(TOOLS)/address.cpp
policy_test_LIBS := -lfmt

directory_test_SRCS := directory_test.cpp $(TOOLS)/directory.cpp $(TOOLS)/policy.cpp $(TOOLS)/address.cpp
directory_test_LIBS := -lfmt

front_proc_test_SRCS := front_proc_test.cpp $(TOOLS)/front_proc.cpp $(TOOLS)/output.cpp $(TOOLS)/address.cpp
front_proc_test_LIBS := -lfmt

stat_report_test_SRCS := stat_report_test.cpp $(TOOLS)/stat_report.cpp $(TOOLS)/prometheus.cpp $(TOOLS)/front_proc.cpp \
			 $(TOOLS)/output.cpp $(TOOLS)/address.cpp
stat_report_test_LIBS := -lfmt
