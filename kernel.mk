# SPDX-License-Identifier: GPL-2.0
# kernel.mk - which kernel to build a module against: KDIR, else the running kernel's headers, else
# the newest that are installed (in a container the running kernel is somebody else's).
#
# The names are expanded where a recipe uses them, so that targets without a module need no headers.

xway_headers = $(wildcard /lib/modules/*/build/Makefile)
xway_newest  = $(shell printf '%s\n' $(dir $(xway_headers)) | sort -V | tail -n 1)
xway_kernel  = $(wildcard /lib/modules/$(shell uname -r)/build/Makefile)
xway_kdir    = $(or $(KDIR),$(dir $(xway_kernel)),$(xway_newest),$(error No kernel headers found: \
	install the package linux-headers-$(shell uname -r) (Debian: linux-headers-amd64), \
	or name a kernel's build directory with KDIR=))

# $(call xway_kbuild,GOAL): runs kbuild's GOAL on the module in the current directory.
xway_kbuild  = $(MAKE) -C $(xway_kdir) M=$(CURDIR) $(1)
