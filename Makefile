# SPDX-License-Identifier: GPL-2.0
# xway: TCP between guests of one Xen host over shared memory. `make help` lists what there is to do.

Q := $(if $(V),,@)

help: ## list the targets (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: deps programs modules ## two real Xen guests, unmodified programs, TCP and xway side by side
	$(Q)bench/demo $(if $(GUEST),--guest $(GUEST))

test: deps ## all tests: units, then the lab with PV and with PVH guests
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/run

vm: deps programs modules ## a shell in dom0, with two guests running and xway at hand
	$(Q)tests/vm/lab shell tests/vm/scenarios/xway.toml

all: modules programs abi ## build everything

modules: ## build xway_front.ko and xway_back.ko against KDIR, or the installed headers
	$(Q)$(MAKE) --no-print-directory -C backend
	$(Q)$(MAKE) --no-print-directory -C frontend

tools: ## build the commands xway and xwayd-xen
	$(Q)$(MAKE) --no-print-directory -C xenstore-tools

programs: tools ## build the tools, the test programs and the benchmark
	$(Q)$(MAKE) --no-print-directory -C tests/socket
	$(Q)$(MAKE) --no-print-directory -C bench

unit: ## build and run the unit tests (ASan and UBSan, TSan, plain)
	$(Q)$(MAKE) --no-print-directory -C tests/unit
	$(Q)tests/unit/run

abi: ## does docs/protocol.md say what include/xway is?
	$(Q)tests/abi/run

deps: ## install what is missing from Debian's packages (root, or sudo)
	$(Q)tests/deps

install: tools modules ## install modules, tools, man pages and the unit (DESTDIR, PREFIX)
	$(Q)$(MAKE) --no-print-directory -C xenstore-tools install
	$(Q)$(MAKE) --no-print-directory -C backend install
	$(Q)$(MAKE) --no-print-directory -C frontend install

clean: ## remove what was built
	$(Q)rm -rf build
	$(Q)$(MAKE) --no-print-directory -C backend clean
	$(Q)$(MAKE) --no-print-directory -C frontend clean

.PHONY: help demo test vm all modules tools programs unit abi deps install clean
.DEFAULT_GOAL := help
