# SPDX-License-Identifier: GPL-2.0
# The only entry: `make` lists what there is. V=1 shows the commands, KDIR=DIR names the kernel to build
# for, DEPS=0 leaves packages alone. MINUTES is how long `make test` may take, 0: as long as it does.

PREFIX		?= /usr
DESTDIR		?=
DEPS		?= 1
MINUTES		?= 80
began		:= $(shell date +%s)

.DEFAULT_GOAL	:= help
MAKEFLAGS	+= --no-print-directory
quiet		= $(if $(V),,-s)
export PREFIX DESTDIR

# As many jobs as there are processors, unless whoever called has said how many.
jobs		= $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

cxx_files	= $(sort $(wildcard $(foreach d,xenstore-tools tests/unit tests/socket tests/fuzz tests/local tests/vm bench \
			libxway libxway/monitor libxway/preload, \
			$(d)/*.cpp $(d)/*.h)))
c_files		= $(sort $(wildcard frontend/*.[ch] backend/*.[ch] bench/floor/*.c))
headers		= $(sort $(wildcard include/xway/*.h))
scripts		= $(shell git ls-files -co --exclude-standard 2>/dev/null | \
			xargs -r grep -lIE '^\#!/(usr/)?bin/(env )?(ba|da|)sh' 2>/dev/null)

##@ Build

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^##@ /{print "\n" substr($$0, 5)} /^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' \
		Makefile

.PHONY: all
all: modules tools libxway programs abi ## modules, tools, library and the programs that the tests run

.PHONY: modules frontend backend
modules: frontend backend ## xway_front.ko and xway_back.ko
frontend backend:
	@echo "  KMOD    $@"
	@+$(MAKE) $(quiet) -C $@

.PHONY: tools
tools: ## the command xway and dom0's daemon xwayd-xen
	@+$(MAKE) $(quiet) -C xenstore-tools

.PHONY: libxway
libxway: ## the library for processes of one machine, xway-run and xwayd
	@+$(MAKE) $(quiet) -C libxway

.PHONY: programs programs-unit programs-socket programs-fuzz programs-local programs-bench
programs: programs-unit programs-socket programs-fuzz programs-local programs-bench
programs-fuzz: programs-socket
programs-unit programs-socket programs-fuzz programs-local:
	@+$(MAKE) $(quiet) -C tests/$(@:programs-%=%) all
programs-bench:
	@+$(MAKE) $(quiet) -C bench all

.PHONY: install
install: modules tools libxway ## into $(DESTDIR): modules, tools, library, headers, examples of configuration
	@+$(MAKE) -C frontend install $(if $(DESTDIR),INSTALL_MOD_PATH=$(abspath $(DESTDIR)))
	@+$(MAKE) -C backend install $(if $(DESTDIR),INSTALL_MOD_PATH=$(abspath $(DESTDIR)))
	@+$(MAKE) -C xenstore-tools install
	@+$(MAKE) -C libxway install
	@install -d $(DESTDIR)$(PREFIX)/include/xway $(DESTDIR)$(PREFIX)/share/doc/xway/examples
	@install -m 644 $(headers) $(DESTDIR)$(PREFIX)/include/xway
	@cp -R configs/. $(DESTDIR)$(PREFIX)/share/doc/xway/examples

.PHONY: clean
clean: ## remove all that was built
	@+$(MAKE) -s -C frontend clean
	@+$(MAKE) -s -C backend clean
	@rm -rf build

##@ Test

.PHONY: test
test: ## everything: packages, build, units, applications, then Xen with PV and PVH guests (MINUTES=80: less if slow)
	@+$(MAKE) deps-test
	@+$(MAKE) $(jobs) all
	@exec tests/run --minutes $(MINUTES) --began $(began)

.PHONY: test-kernels
test-kernels: ## the modules on Linux 6.12 and 7.x of Debian's backports, which it downloads (400 MB): VM tests
	@+$(MAKE) deps-kernels
	@tests/vm/kernels fetch bookworm-backports trixie-backports
	@+$(MAKE) $(jobs) tools programs
	@exec tests/run --kernels

.PHONY: unit
unit: programs-unit ## the unit tests; no Xen, no module
	@tests/unit/run

.PHONY: local
local: ## libxway from process to process: all of its tests; no Xen, no module
	@+$(MAKE) deps-local-tests
	@+$(MAKE) $(jobs) libxway tools programs-socket programs-fuzz programs-local
	@exec tests/run 'local-*'

.PHONY: fuzz-sockets
fuzz-sockets: ## random programs of socket calls, libxway against TCP, an hour (ARGS=--minutes N --seed S --mode M)
	@+$(MAKE) deps-local-tests
	@+$(MAKE) $(jobs) libxway tools programs-socket programs-fuzz
	@exec tests/fuzz/run $(or $(ARGS),--minutes 60)

.PHONY: test-apps
test-apps: ## Debian applications between two guests, by xway and by TCP; takes root, ARGS="--only GLOB"
	@+$(MAKE) deps-apps
	@+$(MAKE) $(jobs) tools
	@exec tests/apps/run $(ARGS)

# A stamp, so that an unchanged document costs nothing.
.PHONY: abi
abi: build/abi/checked ## do protocol.md and local.md agree with the headers, and sockets.md with the socket cases?
build/abi/checked: docs/protocol.md docs/local.md docs/sockets.md $(headers) libxway/arena.h libxway/wire.h \
		$(wildcard tests/socket/cases_*.cpp tests/abi/*)
	@mkdir -p $(@D)
	@tests/abi/run >$(@D)/log 2>&1 || { cat $(@D)/log; exit 1; }
	@echo "  ABI     docs/protocol.md, docs/local.md, docs/sockets.md: $$(tail -n 1 $(@D)/log)"
	@touch $@

.PHONY: vm
vm: ## a shell in dom0 of a real Xen host with two guests
	@+$(MAKE) deps
	@+$(MAKE) $(jobs) tools programs
	@exec tests/vm/lab shell tests/vm/scenarios/xway.toml

.PHONY: demo
demo: ## two guests, unmodified programs: TCP over netfront and xway side by side
	@+$(MAKE) deps
	@+$(MAKE) $(jobs) tools programs
	@exec bench/demo

.PHONY: demo-local
demo-local: ## redis over TCP, a UNIX socket and xway, on this machine; no Xen, no root, two minutes
	@+$(MAKE) deps-local
	@+$(MAKE) $(jobs) libxway
	@exec bench/demo-local $(ARGS)

.PHONY: bench-quick
bench-quick: ## the targets of xway between guests, measured in the lab: met or not; ten minutes (ARGS=--guest pvh)
	@+$(MAKE) deps
	@+$(MAKE) $(jobs) tools programs
	@exec bench/guests $(ARGS)

.PHONY: bench
bench: ## everything that is measured between guests, with plots, into bench/results: an hour; takes root (ARGS=--guest pvh)
	@+$(MAKE) deps-apps deps-bench
	@+$(MAKE) $(jobs) tools programs
	@bench/guests --full $(ARGS) && bench/three $(ARGS) && bench/apps $(ARGS) && bench/tiers $(ARGS) && bench/report

.PHONY: bench-three
bench-three: ## three guests stream pairwise, one stops reading: do the others notice? four minutes (ARGS=--guest pvh)
	-@+$(MAKE) deps
	@+$(MAKE) $(jobs) tools programs
	@exec bench/three $(ARGS)

.PHONY: bench-tiers
bench-tiers: ## a bookshop in three tiers over three guests, with think times; five minutes; takes root (ARGS=--guest pvh)
	@+$(MAKE) deps-apps
	@+$(MAKE) $(jobs) all
	@exec bench/tiers $(ARGS)

.PHONY: bench-dbt1
bench-dbt1: ## the same with OSDL's DBT-1 (DBT1=DIR, where it was built); takes root (ARGS=--users N --seconds S)
	@+$(MAKE) deps-apps
	@+$(MAKE) $(jobs) all
	@exec bench/dbt1 $(DBT1) $(ARGS)

.PHONY: bench-local
bench-local: ## the targets of libxway, measured here: met or not (ARGS=--quick: three minutes, not twelve)
	@+$(MAKE) deps-bench
	@+$(MAKE) $(jobs) libxway programs-bench
	@exec bench/local $(ARGS)

.PHONY: deps deps-test deps-apps deps-kernels deps-local deps-local-tests deps-bench
deps: lists := tests/packages tests/vm/packages
deps-test: lists := tests/packages tests/vm/packages tests/packages-local-apps
deps-kernels: lists := tests/packages tests/vm/packages tests/vm/packages-kernels
deps-apps: lists := tests/packages tests/vm/packages tests/packages-apps
deps-local: lists := tests/packages-local
deps-local-tests: lists := tests/packages tests/packages-local-apps
deps-bench: lists := tests/packages-local tests/packages-bench
deps: ## install the Debian packages that are missing, if any
deps deps-test deps-apps deps-kernels deps-local deps-local-tests deps-bench:
	@[ "$(DEPS)" != 0 ] || exit 0; $(install_packages)

# Asks dpkg first: on a machine that has all, nothing is run, asked or said.
define install_packages
	wanted=$$(cat $(lists) | sort -u); \
	missing=; \
	for package in $$wanted; do \
		dpkg-query -W -f '$${db:Status-Status}' "$$package" 2>/dev/null | grep -qx installed || \
			missing="$$missing $$package"; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	if ! command -v apt-get >/dev/null; then \
		echo "deps: no apt-get here. Install what your system calls these packages of Debian 12," >&2; \
		echo "deps: then add DEPS=0 to the command:$$missing" >&2; \
		exit 1; \
	fi; \
	as_root=; \
	if [ "$$(id -u)" -ne 0 ]; then \
		as_root="sudo"; [ -t 0 ] || as_root="sudo -n"; \
		if ! command -v sudo >/dev/null || ! $$as_root true; then \
			echo "deps: packages are missing and I may not install them. As root, run:" >&2; \
			echo "deps:   apt-get install --no-install-recommends$$missing" >&2; \
			exit 1; \
		fi; \
	fi; \
	echo "deps: installing$$missing"; \
	case "$$missing" in *xen-hypervisor*) [ ! -d /boot/grub ] || \
		echo "deps: note: GRUB will offer Xen first; XEN_OVERRIDE_GRUB_DEFAULT=0 in" \
		     "/etc/default/grub.d/xen.cfg keeps Linux first" ;; \
	esac; \
	mkdir -p build/log; \
	apt="$$as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300"; \
	{ $$apt update && $$apt install -y --no-install-recommends $$missing; } \
		</dev/null >build/log/deps.log 2>&1 || { \
		tail -n 15 build/log/deps.log >&2; \
		echo "deps: apt-get failed, see build/log/deps.log. The lists are made for Debian 12 (bookworm);" >&2; \
		echo "deps: with other packages in their place, add DEPS=0 to the command" >&2; \
		exit 1; \
	}
endef

##@ Look after

.PHONY: style
style: ## clang-format and shellcheck
	@bad=0; \
	if command -v clang-format >/dev/null; then \
		for file in $(cxx_files); do \
			clang-format --dry-run -Werror "$$file" 2>/dev/null || { echo "style: $$file: run clang-format -i on it"; bad=1; }; \
		done; \
	else echo "skip: clang-format is not installed"; fi; \
	if command -v shellcheck >/dev/null; then \
		shellcheck $(scripts) || bad=1; \
	else echo "skip: shellcheck is not installed"; fi; \
	exit $$bad

# A file may be longer if one of its first lines says why: "Long because ...".
.PHONY: check
check: ## file sizes, cppcheck, sparse
	@mkdir -p build; bad=0; \
	limit() { \
		most=$$1; shift; \
		for file; do \
			lines=$$(wc -l <"$$file"); \
			[ "$$lines" -le "$$most" ] || head -n 20 "$$file" | grep -q 'Long because' || \
				{ echo "check: $$file: $$lines lines, $$most are the limit"; bad=1; }; \
		done; \
	}; \
	limit 100 $(filter %/main.c %/main.cpp,$(c_files) $(cxx_files)); \
	limit 800 $(filter %.c,$(c_files)); \
	limit 700 $(filter %.cpp,$(cxx_files)); \
	limit 300 $(filter %.h,$(c_files) $(cxx_files) $(headers)); \
	if command -v cppcheck >/dev/null; then \
		cppcheck --quiet $(jobs) --std=c++20 --language=c++ --enable=warning,portability --inline-suppr \
			--library=googletest \
			--suppress=missingInclude --suppress=ignoredReturnValue --error-exitcode=1 -Iinclude \
			$(filter %.cpp,$(cxx_files)) || bad=1; \
	else echo "skip: cppcheck is not installed"; fi; \
	if command -v sparse >/dev/null; then \
		for module in frontend backend; do \
			$(MAKE) -s -C $$module C=2 CF=-D__CHECK_ENDIAN__ >build/sparse-$$module.log 2>&1 || bad=1; \
			grep -E "$$module/.*(warning|error):|include/xway/.*(warning|error):" build/sparse-$$module.log && bad=1; \
		done; \
	else echo "skip: sparse is not installed"; fi; \
	exit $$bad
