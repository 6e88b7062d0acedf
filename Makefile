# Dunlin. One build folder per flavour: build/ (release), build-asan/, build-tsan/, build-fuzz/. Nothing else is
# written, and nothing is configured first. Longer recipes are scripts in tests/check/. What `make help` says:
#
## make             the broker, build/dunlin, and the load tool, build/dunlin-bench
## make run         installs what is missing, builds, and starts the broker on 127.0.0.1:1883; ARGS="-c FILE -v"
## make test        installs what is missing, builds, and runs all tests; PARTS="unit model fault replay conformance system"
## make check       unit and model tests, layers, style, lint, docs: seconds
## make conformance each clause of MQTT 5.0 and 3.1.1 with its verdict; ONLY="3.1.2-8 3.1.2-10"
## make conformance-mutants  shows that those tests can fail: each of many small faults is caught; ONLY="will* dup*"
## make conformance-random  scripts made by chance, with a model of a broker beside it; SEEDS=1-1000 (or one), ARGS="--host H"
## make asan        all tests under AddressSanitizer and UndefinedBehaviorSanitizer; PARTS as above
## make tsan        all tests under ThreadSanitizer; PARTS as above
## make fuzz        fuzzes with libFuzzer; T="topic" a target or some (default: all), S=60 seconds for each, J=1 at a time
## make soak        clients of every bad kind for MINUTES=10, after which nothing may be left; SEED=, FLAVOUR=asan or tsan
## make bench       benchmarks, with mosquitto beside it if it is installed
## make peers       what other brokers cost, those that are installed; ARGS="--quick --node-modules DIR"
## make cost        what a message costs, by function: instructions, misses, allocations, atomics; ARGS="--only pairs"
## make bench-report  curves of cost, memory and latency from 100 sessions to 1000000, into docs/; ARGS="--redraw"; SET=1 as for scale
## make scale       N=1000000 real connections to one broker, and what they cost; SET=1 sets sysctls for it, ARGS="--json F"
## make install     programs, manual pages, /etc/dunlin, systemd unit; PREFIX=/usr/local DESTDIR= sysconfdir=/etc
## make uninstall   takes them away again
## make clean       removes all build folders
##
## Any of them: CC=clang, B=build-clang (the folder), V=1 (shows commands), -j1 (default: one job per core)

FLAVOUR    ?= release
PREFIX     ?= /usr/local
bindir     ?= $(PREFIX)/sbin
toolbindir ?= $(PREFIX)/bin
mandir     ?= $(PREFIX)/share/man
sysconfdir ?= /etc
unitdir    ?= $(PREFIX)/lib/systemd/system

ifeq ($(origin CC),default)
CC := $(if $(filter fuzz,$(FLAVOUR)),clang,gcc)
endif
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += --no-print-directory -j$(shell nproc)
endif

# ---- flags ----

harden        := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
flags-release := -O2 -g -fno-plt $(harden)
flags-asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
flags-tsan    := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
flags-fuzz    := -O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined
link-release  := -pie -Wl,-z,relro,-z,now
dir-release   := build
B             := $(or $(dir-$(FLAVOUR)),build-$(FLAVOUR))

VERSION := $(shell cat VERSION)
WARN    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
C_FLAGS  = -std=gnu11 $(WARN) $(flags-$(FLAVOUR)) -D_GNU_SOURCE -DDUNLIN_VERSION='"$(VERSION)"' \
           -Iinclude -Ibroker -I. $(CFLAGS)
LD_FLAGS = $(link-$(FLAVOUR)) $(LDFLAGS)
LIBS     = -lcjson -lmbedcrypto -lpthread -lm $(LDLIBS)

# ---- what there is ----

LIB_SRC    := $(wildcard protocol/*.c storage/*.c broker/*/*.c broker/persist.c broker/server.c)
UNIT_SRC   := $(shell find tests/unit tests/model tests/fault -name 'test_*.c' 2>/dev/null)
BENCH_SRC  := $(wildcard tests/bench/bench_*.c)
TOOL_SRC   := $(filter-out bench/main.c,$(wildcard bench/*.c))
FUZZ_SRC   := $(wildcard tests/fuzz/fuzz_*.c)
UNIT_BIN   := $(patsubst %.c,$B/%,$(filter-out tests/unit/bench/%,$(UNIT_SRC)))
TOOL_TESTS := $(patsubst %.c,$B/%,$(filter tests/unit/bench/%,$(UNIT_SRC)))
BENCH_BIN  := $(BENCH_SRC:%.c=$B/%)
FUZZ_BIN   := $(FUZZ_SRC:%.c=$B/%)
REPLAY_BIN := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=$B/tests/fuzz/replay_%)

# ---- building ----

Q    := $(if $(V),,@)
LINK  = @mkdir -p $(@D)$(if $(V),,; echo "  link $@")
LINK += ; $(if $(V),set -x;) $(CC) $(C_FLAGS) $(LD_FLAGS) -o $@ $^

all: $B/dunlin $B/dunlin-bench ; @:

$B/dunlin: $B/obj/broker/main.o $B/libdunlin.a
	$(LINK) $(LIBS)

$B/libdunlin.a: $(LIB_SRC:%.c=$B/obj/%.o)
	@rm -f $@
	$(Q)ar rcs $@ $^

$B/obj/%.o: %.c Makefile VERSION
	@mkdir -p $(@D)$(if $(V),,; echo "  cc   $<")
	$(Q)$(CC) $(C_FLAGS) -MMD -MP -c -o $@ $<

$(UNIT_BIN): $B/%: $B/obj/%.o $B/libdunlin.a
	$(LINK) -lcmocka $(LIBS)

$(BENCH_BIN): $B/%: $B/obj/%.o $B/libdunlin.a
	$(LINK) $(LIBS)

# The load tool has no code of the broker, nor have its tests.
$B/dunlin-bench: $B/obj/bench/main.o $B/libbench.a
	$(LINK) -lpthread -lm $(LDLIBS)

$B/libbench.a: $(TOOL_SRC:%.c=$B/obj/%.o)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(TOOL_TESTS): $B/%: $B/obj/%.o $B/libbench.a
	$(LINK) -lcmocka -lpthread -lm $(LDLIBS)

$B/tests/bench/relay: $B/obj/tests/bench/relay.o
	$(LINK)

$B/tests/bench/spans.so: tests/bench/spans.c Makefile
	@mkdir -p $(@D)$(if $(V),,; echo "  link $@")
	$(Q)$(CC) $(C_FLAGS) -fPIC -shared -o $@ $<

# A fuzz target with libFuzzer (FLAVOUR=fuzz, clang), and the same target replaying a corpus (any flavour).
$(FUZZ_BIN): $B/%: $B/obj/%.o $B/libdunlin.a
	$(LINK) -fsanitize=fuzzer $(LIBS)

$(REPLAY_BIN): $B/tests/fuzz/replay_%: $B/obj/tests/fuzz/fuzz_%.o $B/obj/tests/fuzz/replay.o $B/libdunlin.a
	$(LINK) $(LIBS)

unit-bins: $(UNIT_BIN) $(TOOL_TESTS) $(REPLAY_BIN) ; @:
bench-bins: $(BENCH_BIN) $B/dunlin-bench $B/tests/bench/relay $B/tests/bench/spans.so ; @:

# ---- using ----

run: ; @tests/check/packages build
	@$(MAKE) all
	@$B/dunlin $(ARGS)

# PARTS of the suite: unit model fault replay conformance system
test: ; @tests/check/packages build test
	@$(MAKE) all unit-bins
	@tests/check/run $B $(PARTS)

conformance: ; @tests/check/packages build test
	@$(MAKE) all
	@conformance/run --start $B/dunlin $(ONLY:%=--only %)

# Small faults, each built into the broker in turn; ARGS=--record writes docs/MUTANTS.md.
conformance-mutants: export DUNLIN_COMPILE = $(CC) $(C_FLAGS)
conformance-mutants: export DUNLIN_LINK = $(LD_FLAGS) $(LIBS)
conformance-mutants: ; @tests/check/packages build test
	@$(MAKE) all
	@conformance/mutate $(ARGS) $B $(foreach name,$(ONLY),'$(name)')

# SEEDS: A-B or one of them. ARGS: what conformance/random_run.py takes
SEEDS ?= 1-1000
conformance-random: ; @tests/check/packages build test
	@$(MAKE) all
	@conformance/random_run.py --start $B/dunlin --seeds $(SEEDS) $(ARGS)

asan tsan: ; @$(MAKE) FLAVOUR=$@ test

check: ; @tests/check/packages build test check
	@$(MAKE) all unit-bins
	@tests/check/layers $B
	@tests/check/style
	@tests/check/lint
	@tests/check/docs $B
	@tests/check/run $B unit model

# T: a target, as in tests/fuzz/fuzz_$T.c; all of them in turn when none is named. S: seconds for each. J: so many at a time.
T ?= $(patsubst tests/fuzz/fuzz_%.c,%,$(FUZZ_SRC))
S ?= 60
J ?= 1
fuzz: ; @tests/check/packages build fuzz
	@$(MAKE) FLAVOUR=fuzz $(T:%=build-fuzz/tests/fuzz/fuzz_%)
	@tests/check/fuzz build-fuzz $S $J $T

# ThreadSanitizer of some compilers does not start where the kernel spreads addresses widely.
MINUTES ?= 10
soak: ; @tests/check/packages build test
	@$(MAKE) all
	@$(if $(filter tsan,$(FLAVOUR)),setarch -R) /usr/bin/python3 tests/soak/soak.py --minutes $(MINUTES) $(SEED:%=--seed %) $B/dunlin

bench: $B/dunlin bench-bins
	@set -e; for bench in $(BENCH_BIN); do echo "== $$bench"; $$bench; done
	/usr/bin/python3 tests/bench/run.py --quick --build $B

peers: ; @tests/check/packages build
	@$(MAKE) all
	@/usr/bin/python3 tests/bench/peers.py --build $B $(ARGS)

bench-report: ; @tests/check/packages build bench
	@$(MAKE) all
	@/usr/bin/python3 tests/bench/report.py --build $B $(if $(SET),--set) $(ARGS)

cost: ; @tests/check/packages build cost
	@$(MAKE) all
	@/usr/bin/python3 tests/bench/cost.py --build $B $(ARGS)

N ?= 1000000
scale: ; @tests/check/packages build scale
	@$(MAKE) all
	@/usr/bin/python3 tests/bench/scale.py --build $B $(if $(SET),--set) $(ARGS) $N

# ---- installing: DESTDIR, PREFIX, bindir, toolbindir, mandir, sysconfdir, unitdir ----
# Modes are given, so that the umask of who installs does not matter.

INSTALLED = $(bindir)/dunlin $(toolbindir)/dunlin-bench \
            $(mandir)/man8/dunlin.8 $(mandir)/man5/dunlin.conf.5 $(mandir)/man1/dunlin-bench.1 \
            $(sysconfdir)/dunlin/dunlin.conf.example $(unitdir)/dunlin.service

install: $B/dunlin $B/dunlin-bench ; @:
	install -d $(sort $(dir $(INSTALLED:%=$(DESTDIR)%)))
	install -m 755 $B/dunlin $(DESTDIR)$(bindir)/dunlin
	install -m 755 $B/dunlin-bench $(DESTDIR)$(toolbindir)/dunlin-bench
	$B/dunlin --print-man8 >$(DESTDIR)$(mandir)/man8/dunlin.8
	$B/dunlin --print-man5 >$(DESTDIR)$(mandir)/man5/dunlin.conf.5
	$B/dunlin-bench --print-man1 >$(DESTDIR)$(mandir)/man1/dunlin-bench.1
	install -m 644 docs/dunlin.conf.example $(DESTDIR)$(sysconfdir)/dunlin/dunlin.conf.example
	sed 's,@bindir@,$(bindir),; s,@sysconfdir@,$(sysconfdir),' docs/dunlin.service \
		>$(DESTDIR)$(unitdir)/dunlin.service
	chmod 644 $(filter %.1 %.5 %.8 %.service,$(INSTALLED:%=$(DESTDIR)%))

uninstall:
	rm -f $(INSTALLED:%=$(DESTDIR)%)
	-rmdir $(DESTDIR)$(sysconfdir)/dunlin

clean:
	rm -rf build build-*

help:
	@sed -nE "s,^##( |$$),,p" Makefile

.PHONY: all unit-bins bench-bins run test conformance conformance-mutants conformance-random asan tsan check fuzz soak \
        bench bench-report peers cost scale install uninstall clean help
.SECONDARY:
-include $(shell find $B/obj -name '*.d' 2>/dev/null)
