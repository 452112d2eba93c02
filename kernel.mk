# SPDX-License-Identifier: GPL-2.0
# kernel.mk - the Makefile of both modules. kbuild reads their Kbuild; what is here chooses a kernel
# to build against: KDIR, else the running kernel's headers, else the newest that are installed (in a
# container the running kernel is somebody else's).

xway_headers = $(wildcard /lib/modules/*/build/Makefile)
xway_newest  = $(shell printf '%s\n' $(dir $(xway_headers)) | sort -V | tail -n 1)
xway_kernel  = $(wildcard /lib/modules/$(shell uname -r)/build/Makefile)
xway_kdir    = $(or $(KDIR),$(dir $(xway_kernel)),$(xway_newest),$(error No kernel headers found: \
	install the package linux-headers-$(shell uname -r) (Debian: linux-headers-amd64), \
	or name a kernel's build directory with KDIR=))

.PHONY: modules clean install
.DEFAULT_GOAL := modules

modules clean install:
	+$(MAKE) -C $(xway_kdir) M=$(CURDIR) $(@:install=modules_install)
