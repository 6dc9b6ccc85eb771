# SPDX-License-Identifier: MIT
# On a fresh machine: `make run` or `make test`. CONTRIBUTING.md tells what the other targets are for.

VERSION := 0.1.0

# These belong to the builder. What the program needs stands beside them, so that setting them loses nothing.
CFLAGS ?= -O2 -g
CPPFLAGS ?=
LDFLAGS ?=
LDLIBS ?=
PREFIX ?= /usr/local
DESTDIR ?=
BINDIR ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share/metrics-sidecar
DOCDIR ?= $(PREFIX)/share/doc/metrics-sidecar
MANDIR ?= $(PREFIX)/share/man
BASHCOMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions
SYSTEMDUNITDIR ?= $(PREFIX)/lib/systemd/system
INSTALL ?= install
FUZZ_S ?= 60

# STATIC=1 makes one static file: with musl where musl-gcc is, else with the C library of the machine.
STATIC ?= 0
ifeq ($(STATIC)$(origin CC),1default)
ifneq ($(shell command -v musl-gcc),)
CC := musl-gcc
endif
endif
MUSL := $(findstring musl,$(CC))

# SYSTEMD=0 leaves libsystemd out; so do a static file, which could not load it, and a machine without its header.
has_header = $(shell printf '\043include <$(1)>\n' | $(CC) -E -x c - >/dev/null 2>&1 && echo 1 || echo 0)
SYSTEMD ?= $(if $(filter 1,$(STATIC)),0,$(call has_header,systemd/sd-daemon.h))

PROGRAM := metrics-sidecar
MODULES := answer crashes descriptors destinations exchange exposition handover hold http keeper landlock listen log manager options page ports procnet renewal report \
	   sandbox share signals siphash sockdiag supervisor terminal token trend usage util view
SOURCES := $(PROGRAM).c $(MODULES:=.c)
HEADERS := $(MODULES:=.h)

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion
# Fortification needs an optimizer, and the builder's own level of it wins.
OPTIMIZED := $(filter-out -O0,$(filter -O%,$(CFLAGS)))
FORTIFY := $(if $(OPTIMIZED),$(if $(findstring _FORTIFY_SOURCE,$(CFLAGS) $(CPPFLAGS)),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2))
# On 32 bits: files beyond 2 GiB, inodes beyond 32 bits, and times beyond 2038.
LARGE := -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64
OUR_CPPFLAGS = -D_GNU_SOURCE -I$(BUILD) $(LARGE) -DVERSION='"$(VERSION)"' -DWITH_SYSTEMD=$(SYSTEMD) $(FORTIFY)
# Each architecture's compiler knows some of these, and warns about the others once for each file.
has_flag = $(shell $(CC) -Werror $(1) -S -x c -o /dev/null /dev/null >/dev/null 2>&1 && echo $(1))
PROTECTION := $(foreach flag,-fstack-protector-strong -fstack-clash-protection -fcf-protection=full \
	      -mbranch-protection=standard -ftrivial-auto-var-init=zero,$(call has_flag,$(flag)))
OUR_CFLAGS := -std=c11 $(WARNINGS) $(PROTECTION)
OUR_LDFLAGS := -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack
ifeq ($(STATIC),0)
OUR_CFLAGS += -fPIE
OUR_LDFLAGS += -pie
else ifneq ($(MUSL),)
# musl-gcc of Debian does not see the headers of the kernel, which are beside those of glibc, and its specs know no static
# PIE: that is another file to start from, where it is there.
OUR_CFLAGS += -fPIE -idirafter /usr/include -idirafter /usr/include/$(shell $(CC) -print-multiarch)
MUSL_LIBRARY := /usr/lib/$(subst -gnu,-musl,$(shell $(CC) -print-multiarch))
ifneq ($(wildcard $(MUSL_LIBRARY)/rcrt1.o),)
OUR_LDFLAGS += -static -nostartfiles -Wl,-pie,--no-dynamic-linker,-z,text $(addprefix $(MUSL_LIBRARY)/,rcrt1.o crti.o)
OUR_LDLIBS := $(MUSL_LIBRARY)/crtn.o
else
OUR_LDFLAGS += -static -no-pie
NO_PIE := 1
endif
# The C library has what starts a static PIE on some architectures only; its name comes back as it is where it has not.
else ifneq ($(filter /%,$(shell $(CC) -print-file-name=rcrt1.o)),)
OUR_CFLAGS += -fPIE
OUR_LDFLAGS += -static-pie
else
OUR_CFLAGS += -fno-pie
OUR_LDFLAGS += -static -no-pie
NO_PIE := 1
endif

COMPILE = $(CC) $(OUR_CPPFLAGS) $(CPPFLAGS) $(OUR_CFLAGS) $(CFLAGS)
LINK = $(CC) $(OUR_CFLAGS) $(CFLAGS) $(OUR_LDFLAGS) $(LDFLAGS)

# Each configuration has objects of its own, and they are made anew when the flags change. With BUILD=DIR nothing is
# written among the sources, which may be read-only: the program is in DIR then.
BUILD := build/$(if $(filter 1,$(STATIC)),static,dynamic)-systemd$(SYSTEMD)
PLACE := $(if $(filter command%,$(origin BUILD)),$(BUILD),.)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)

.DELETE_ON_ERROR:
.PHONY: all run test deps check-headers fmt lint fuzz coverage coverage-programs install uninstall clean FORCE

# -f, because the old one may be running.
all: $(BUILD)/$(PROGRAM)
	@cmp -s $(BUILD)/$(PROGRAM) $(PLACE)/$(PROGRAM) || cp -f $(BUILD)/$(PROGRAM) $(PLACE)/$(PROGRAM)

$(BUILD)/$(PROGRAM): $(OBJECTS)
	$(LINK) -o $@ $(OBJECTS) $(LDLIBS) $(OUR_LDLIBS)
	$(if $(NO_PIE),@echo 'link $@: no rcrt1.o in this C library: static without position independence')

# The page's style and script as C has them, without indentation and lines that are comments, and the digests that its
# security policy allows them by.
PAGE := $(BUILD)/page-data.h
embedded = sed -e 's/^[[:space:]]*//' -e '/^\/\*.*\*\/$$/d' page.$(1)
bytes_of = { printf 'static const char page_$(1)[] = {'; $(call embedded,$(2)) | od -An -v -td1 | sed 's/[0-9][0-9]*/&,/g'; echo '};'; }
digest_of = printf '\043define PAGE_$(1)_DIGEST "sha256-%s"\n' \
	"$$($(call embedded,$(2)) | sha256sum | cut -c -64 | tr a-f A-F | basenc --base16 -d | base64)"

$(PAGE): page.css page.js Makefile
	@mkdir -p $(@D)
	{ $(call bytes_of,style,css) && $(call digest_of,STYLE,css) && \
		$(call bytes_of,script,js) && $(call digest_of,SCRIPT,js); } > $@

$(BUILD)/page.o: $(PAGE)

$(BUILD)/%.o: %.c $(BUILD)/flags
	$(COMPILE) -MMD -MP -c -o $@ $<

$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(call quote,$(COMPILE) $(LINK) $(LDLIBS)) | cmp -s - $@ || \
		printf '%s\n' $(call quote,$(COMPILE) $(LINK) $(LDLIBS)) > $@

quote = '$(subst ','\'',$(1))'

-include $(OBJECTS:.o=.d)

# Where `make run` listens; of several addresses with commas between them, each has a port, or is unix:/path.
LISTEN ?= localhost:9999
comma := ,
ADDRESSES = $(subst $(comma), ,$(LISTEN))
PORTS = $(foreach address,$(filter-out unix:%,$(ADDRESSES)),$(lastword $(subst :, ,$(address))))
URLS = $(filter unix:%,$(ADDRESSES)) \
       $(foreach address,$(filter-out unix:%,$(ADDRESSES)),http://$(if $(filter :%,$(address)),localhost)$(address)/)
taken_port = cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v ports='$(PORTS)' ' \
	BEGIN { count = split(ports, list, " "); for (i = 1; i <= count; i++) named[sprintf(":%04X", list[i])] = list[i] } \
	$$4 == "0A" && (port = substr($$2, length($$2) - 4)) in named { print named[port]; exit }'

# The program would wait for a port that is taken. What a target needs and the machine lacks is installed first; then the
# variables above are worked out anew.
run:
	@port=$$($(taken_port)); [ -z "$$port" ] || { \
		echo "Something listens on port $$port already: stop it, or take another port:" \
			"make run LISTEN=localhost:$$((port + 1))" >&2; exit 1; }
	@./deps.sh build
	@$(MAKE) --no-print-directory all
	@echo 'Serving $(strip $(URLS)) for you and /metrics for Prometheus; end with Ctrl-C.'
	@$(if $(filter localhost:%,$(LISTEN)),echo 'It listens on $(LISTEN). To open it to the network: make run LISTEN=:$(PORTS)')
	@$(PLACE)/$(PROGRAM) --web.listen-address='$(LISTEN)'

test:
	@./deps.sh build test deb $(if $(CI),lint)
	@tests/run --check
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory STATIC=1 build/static-systemd0/$(PROGRAM) build/tests/noalloc-static
	@$(MAKE) --no-print-directory check-headers test-programs
	@tests/run

deps:
	@./deps.sh build test lint deb

# Every header compiles by itself.
check-headers:
	@for header in $(HEADERS); do \
		$(COMPILE) -fsyntax-only -x c $$header || exit 1; \
	done

# Each version of clang-format has a taste of its own: this one decides, and others are not asked.
FORMATTER = $(shell command -v clang-format-14 || echo clang-format)
FORMATTER_DECIDES = { $(FORMATTER) --version | grep -q 'version 14\.' || \
	{ echo 'format: neither changed nor checked: clang-format 14 decides, which is not here'; false; }; }

fmt:
	@$(FORMATTER_DECIDES)
	$(FORMATTER) -i *.c *.h tests/*.[ch] bench/*.c

lint: $(PAGE)
	@./deps.sh build lint
	@! $(FORMATTER_DECIDES) || $(FORMATTER) --dry-run -Werror *.c *.h tests/*.[ch] bench/*.c
	for compiler in gcc clang; do \
		for systemd in 0 1; do \
			for source in $(SOURCES); do \
				$$compiler -Werror $(subst -DWITH_SYSTEMD=$(SYSTEMD),-DWITH_SYSTEMD=$$systemd,$(OUR_CPPFLAGS)) \
					$(filter-out $(PROTECTION),$(OUR_CFLAGS)) -O2 -c -o /dev/null $$source || exit 1; \
			done; \
		done; \
	done
	for source in $(SOURCES); do \
		gcc -fanalyzer -Werror -DWITH_SYSTEMD=1 $(filter-out -DWITH_SYSTEMD=%,$(OUR_CPPFLAGS)) $(OUR_CFLAGS) -O2 \
			-c -o /dev/null $$source && \
		clang --analyze --analyzer-output text -Xclang -analyzer-werror -DWITH_SYSTEMD=1 \
			$(filter-out -DWITH_SYSTEMD=%,$(OUR_CPPFLAGS)) -std=c11 -o /dev/null $$source || exit 1; \
	done
	clang-tidy --quiet --warnings-as-errors='*' $(SOURCES) -- -D_GNU_SOURCE -DWITH_SYSTEMD=1 -DVERSION='""' -I$(BUILD) -std=c11
	cppcheck --quiet --error-exitcode=1 --enable=warning,portability,performance --inline-suppr \
		--suppress=normalCheckLevelMaxBranches \
		--std=c11 -I$(BUILD) -D_GNU_SOURCE -DWITH_SYSTEMD=1 -DVERSION='""' $(SOURCES)
	shellcheck deps.sh .ci/run tests/run tests/coverage tests/browser/run tests/browser/screenshots tests/*.bash tests/pods/*.bash tests/soak/*.bash tests/cross/run tests/cross/swap-words bench/run inetd/*-run debian/p* $(PROGRAM).bash deploy/check/run
	shellcheck --shell=bash --external-sources tests/*.bats tests/pods/*.bats tests/soak/*.bats tests/cross/*.bats

# Helpers of the tests, and the fuzz targets' corpus replayed under the sanitizers.
FUZZERS := $(patsubst tests/fuzz-%.c,%,$(wildcard tests/fuzz-*.c))
PURE := destinations.c exposition.c hold.c http.c listen.c log.c manager.c options.c page.c ports.c procnet.c report.c \
	siphash.c sockdiag.c token.c trend.c usage.c util.c view.c
SANITIZE := -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

# With each C library.
NOALLOC := build/tests/noalloc$(if $(filter 1,$(STATIC)),-static)

.PHONY: test-programs
test-programs: build/tests/peer build/tests/load build/tests/probe build/tests/planted build/tests/torture $(NOALLOC) \
		build/tests/crash.so build/tests/takeover.so $(FUZZERS:%=build/tests/replay-%)

build/tests/peer build/tests/load build/tests/torture: build/tests/%: tests/%.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=c11 $(WARNINGS) -O2 -o $@ $< $(LDFLAGS)

# Loaded in front of the C library, in the program and in all that it starts.
build/tests/crash.so build/tests/takeover.so: build/tests/%.so: tests/%.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=c11 $(WARNINGS) -O2 -shared -fPIC -o $@ $< $(LDFLAGS)

# With the program's own sandbox.
build/tests/probe: tests/probe.c sandbox.c landlock.c util.c sandbox.h landlock.h util.h
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=c11 $(WARNINGS) -O2 -I. -o $@ $(filter %.c,$^) $(LDFLAGS)

# The program itself, with code planted where it looks at what came from the network.
PLANTED := -Wl,--wrap=http_head_is_ready,--wrap=http_parse_request,--wrap=backoff_grow

build/tests/planted: tests/planted.c $(OBJECTS)
	@mkdir -p $(@D)
	$(LINK) -D_GNU_SOURCE -I. $(PLANTED) -o $@ $^ $(LDLIBS) $(OUR_LDLIBS)

# The program itself, in which a confined process that allocates dies.
NEVER_ALLOCATES := -Wl,--wrap=sandbox_confine_server,--wrap=sandbox_confine_responder,--wrap=sandbox_filter_responder

$(NOALLOC): tests/noalloc.c $(OBJECTS)
	@mkdir -p $(@D)
	$(LINK) -D_GNU_SOURCE -fno-builtin -I. $(NEVER_ALLOCATES) -o $@ $^ $(LDLIBS) $(OUR_LDLIBS)

# The pure modules are compiled once for all targets: by the builder's compiler to replay a corpus, by clang for libFuzzer.
SANITIZED := build/sanitized
FUZZED := build/fuzzed
COMPILE_SANITIZED = $(OUR_CPPFLAGS) -U_FORTIFY_SOURCE -std=c11 $(WARNINGS) $(SANITIZE) -I. -MMD -MP -c -o $@ $<

$(SANITIZED)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(COMPILE_SANITIZED)

$(FUZZED)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	clang $(COMPILE_SANITIZED) -fsanitize=fuzzer-no-link

$(SANITIZED)/page.o $(FUZZED)/page.o: $(PAGE)

$(FUZZERS:%=build/tests/replay-%): build/tests/replay-%: $(SANITIZED)/tests/fuzz-%.o $(SANITIZED)/tests/replay.o \
		$(PURE:%.c=$(SANITIZED)/%.o)
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) -o $@ $^

$(FUZZERS:%=build/tests/fuzz-%): build/tests/fuzz-%: $(FUZZED)/tests/fuzz-%.o $(PURE:%.c=$(FUZZED)/%.o)
	@mkdir -p $(@D)
	clang $(SANITIZE) -fsanitize=fuzzer -o $@ $^

-include $(wildcard $(SANITIZED)/*.d $(SANITIZED)/tests/*.d $(FUZZED)/*.d $(FUZZED)/tests/*.d)

# What is found is written below build/; a fixed finding belongs into tests/corpus/.
fuzz: $(FUZZERS:%=build/tests/fuzz-%)
	@for target in $(FUZZERS); do \
		mkdir -p build/tests/found/$$target; \
		echo "fuzz-$$target, $(FUZZ_S) s"; \
		build/tests/fuzz-$$target -max_total_time=$(FUZZ_S) -print_final_stats=1 -verbosity=0 \
			-artifact_prefix=build/tests/found/$$target- \
			build/tests/found/$$target tests/corpus/$$target || exit 1; \
	done

# The program and the replays once more, of objects that count which of their lines and branches are run, and with what
# would keep a process from writing its counts left out.
COVERAGE := build/coverage
COVERED := $(SOURCES:%.c=$(COVERAGE)/%.o)
WRAPPED := -Wl,--wrap=syscall,--wrap=prctl,--wrap=_exit

coverage:
	@./deps.sh build test coverage
	@$(MAKE) --no-print-directory all build/tests/peer build/tests/load build/tests/crash.so build/tests/takeover.so \
		coverage-programs
	@$(MAKE) --no-print-directory STATIC=1 build/static-systemd0/$(PROGRAM)
	@tests/coverage

coverage-programs: $(COVERAGE)/$(PROGRAM) $(FUZZERS:%=$(COVERAGE)/replay-%)

$(COVERAGE)/%.o: %.c $(HEADERS) $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(OUR_CPPFLAGS) -U_FORTIFY_SOURCE $(CPPFLAGS) $(OUR_CFLAGS) -O0 -g --coverage -c -o $@ $<

$(COVERAGE)/page.o: $(PAGE)

$(COVERAGE)/$(PROGRAM): tests/coverage.c $(COVERED)
	$(CC) -D_GNU_SOURCE $(OUR_CFLAGS) -g $(OUR_LDFLAGS) $(WRAPPED) -o $@ $^ $(LDLIBS) -lgcov

$(COVERAGE)/replay-%: tests/fuzz-%.c tests/replay.c tests/scrape.h $(PURE:%.c=$(COVERAGE)/%.o)
	$(CC) -D_GNU_SOURCE -std=c11 $(WARNINGS) $(SANITIZE) -I. -o $@ $(filter-out %.h,$^) -lgcov

# Every architecture that there is a cross compiler for, a quarter of an hour; of these the tests compile two.
.PHONY: cross
cross:
	@./deps.sh build test cross
	@$(MAKE) --no-print-directory all build/tests/peer
	@tests/cross/run

# Every system call of the program fails, one after the other: some minutes. Of these the tests try a sample.
.PHONY: torture
torture:
	@./deps.sh build test
	@$(MAKE) --no-print-directory STATIC=1 build/static-systemd0/$(PROGRAM)
	@$(MAKE) --no-print-directory build/tests/torture
	@build/tests/torture build/static-systemd0/$(PROGRAM)

# Random worlds of sockets, about a second for each; of these the tests try some.
.PHONY: worlds
WORLDS ?= 1-400
worlds:
	@./deps.sh build test
	@$(MAKE) --no-print-directory all
	@tests/worlds/run $(WORLDS)

# The pictures of README.md, of a real browser and a real terminal; as root, three minutes.
.PHONY: screenshots
screenshots:
	@./deps.sh build test screenshots
	@$(MAKE) --no-print-directory all build/tests/peer
	@tests/browser/screenshots docs/images

# Attacks that last, an hour in all; not a part of `make test`.
.PHONY: soak
soak:
	@./deps.sh build test soak
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory STATIC=1 build/static-systemd0/$(PROGRAM)
	@$(MAKE) --no-print-directory test-programs build/bench/crowd
	@tests/run tests/soak/*.bats

# Holders of sockets, who measures, and the scanners fed by hand. Static, because a child is never counted smaller than
# its parent; the scanners are the program's own objects.
.PHONY: bench bench-programs
bench:
	@./deps.sh build bench
	@$(MAKE) --no-print-directory all bench-programs
	@$(MAKE) --no-print-directory STATIC=1 build/static-systemd0/$(PROGRAM)
	@bench/run $(BUILD)/flags

bench-programs: build/bench/crowd build/bench/measure build/bench/rows

build/bench/crowd build/bench/measure: build/bench/%: bench/%.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=c11 $(WARNINGS) -O2 -static -o $@ $<

build/bench/rows: bench/rows.c $(MODULES:%=$(BUILD)/%.o)
	@mkdir -p $(@D)
	$(LINK) $(OUR_CPPFLAGS) $(CPPFLAGS) -I. -o $@ $^ $(LDLIBS) $(OUR_LDLIBS)

UNITS := metrics-sidecar.socket metrics-sidecar@.service system-metrics-sidecar.slice \
	 metrics-sidecar-supervised.socket metrics-sidecar-supervised.service \
	 metrics-sidecar-netns@.socket metrics-sidecar-netns@.service
INETD := metrics-sidecar.xinetd inetd.conf stunnel.conf
RUN_SCRIPTS := tcpserver-run tcpsvd-run s6-ipcserver-run
# What README.md points to. A cluster and Prometheus read what is below deploy/, so it is not documentation, but a link
# leads from there to it.
DOCS := $(wildcard *.md docs/*.md docs/images/*.png bench/results.*)
DEPLOY := $(wildcard deploy/prometheus/*.yaml deploy/grafana/*.json deploy/kubernetes/*.yaml deploy/kubernetes/*/*.yaml)
install_files = umask 022; for file in $(1); do $(INSTALL) -D -m 644 $$file '$(DESTDIR)$(2)'/$$file || exit 1; done
remove_files = for file in $(1); do rm -f '$(DESTDIR)$(2)'/$$file; done

# Paths of this installation, and the lines that services share.
fill_in = sed -e 's|@BINDIR@|$(BINDIR)|g' \
	-e '/^@HARDENING@$$/r systemd/hardening.conf' -e '/^@HARDENING@$$/d' \
	-e '/^@SUPERVISOR@$$/r systemd/supervisor.conf' -e '/^@SUPERVISOR@$$/d'

install: all
	@case '$(BINDIR)' in *[!A-Za-z0-9/._+-]*) \
		echo "install to $(BINDIR): units and scripts cannot name such a path" >&2; exit 1 ;; esac
	$(INSTALL) -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(SYSTEMDUNITDIR)' '$(DESTDIR)$(DATADIR)/inetd' \
		'$(DESTDIR)$(DATADIR)/systemd' '$(DESTDIR)$(MANDIR)/man8' '$(DESTDIR)$(BASHCOMPLETIONDIR)'
	$(INSTALL) -m 755 $(PLACE)/$(PROGRAM) '$(DESTDIR)$(BINDIR)/$(PROGRAM)'
	umask 022; for unit in $(UNITS); do \
		$(fill_in) systemd/$$unit > '$(DESTDIR)$(SYSTEMDUNITDIR)'/$$unit || exit 1; \
	done
	umask 022; for file in $(INETD) $(RUN_SCRIPTS); do \
		$(fill_in) inetd/$$file > '$(DESTDIR)$(DATADIR)/inetd'/$$file || exit 1; \
	done
	cd '$(DESTDIR)$(DATADIR)/inetd' && chmod 755 $(RUN_SCRIPTS)
	$(INSTALL) -m 644 systemd/open-to-network.conf '$(DESTDIR)$(DATADIR)/systemd'
	$(INSTALL) -m 644 $(PROGRAM).8 '$(DESTDIR)$(MANDIR)/man8'
	$(INSTALL) -m 644 $(PROGRAM).bash '$(DESTDIR)$(BASHCOMPLETIONDIR)/$(PROGRAM)'
	$(call install_files,$(DOCS),$(DOCDIR))
	$(call install_files,$(DEPLOY),$(DATADIR))
	ln -sfn '$(DATADIR)/deploy' '$(DESTDIR)$(DOCDIR)/deploy'

# Our files by their names; a directory only when nothing else is in it.
uninstall:
	rm -f '$(DESTDIR)$(BINDIR)/$(PROGRAM)' '$(DESTDIR)$(MANDIR)/man8/$(PROGRAM).8' \
		'$(DESTDIR)$(BASHCOMPLETIONDIR)/$(PROGRAM)' '$(DESTDIR)$(DATADIR)/systemd/open-to-network.conf'
	for unit in $(UNITS); do rm -f '$(DESTDIR)$(SYSTEMDUNITDIR)'/$$unit; done
	$(call remove_files,$(INETD) $(RUN_SCRIPTS),$(DATADIR)/inetd)
	$(call remove_files,$(DOCS) deploy,$(DOCDIR))
	$(call remove_files,$(DEPLOY),$(DATADIR))
	find '$(DESTDIR)$(DATADIR)' '$(DESTDIR)$(DOCDIR)' -type d -empty -delete 2>/dev/null || :

# By whichever engine runs here; ARCH=arm64 builds for another architecture, with a compiler instead of emulation, and
# names it in the tag, so that the image of this machine keeps its own.
IMAGE ?= $(PROGRAM):$(VERSION)$(if $(ARCH),-$(ARCH))
ENGINE ?= $(shell docker info >/dev/null 2>&1 && echo docker || echo podman)
ENGINE_FLAGS ?=
MACHINE_ARCH = $(subst x86_64,amd64,$(subst aarch64,arm64,$(shell uname -m)))
.PHONY: image push test-pods
image:
	$(ENGINE) build $(if $(ARCH),--platform linux/$(ARCH)) --build-arg BUILDPLATFORM=linux/$(MACHINE_ARCH) \
		--build-arg VERSION=$(VERSION) $(ENGINE_FLAGS) -t $(IMAGE) .

# An image for each architecture and, by the name without one, their list, of which each node takes its own:
# make push REPOSITORY=registry.example.org/metrics-sidecar
# An attestation would make a list of each image, and docker makes no list of lists.
PUSHED_ARCHS := amd64 arm64
push:
	@[ -n '$(REPOSITORY)' ] || { echo 'push images: REPOSITORY must be set' >&2; exit 1; }
	for arch in $(PUSHED_ARCHS); do \
		BUILDX_NO_DEFAULT_ATTESTATIONS=1 $(MAKE) --no-print-directory image ARCH=$$arch IMAGE=$(REPOSITORY):$(VERSION)-$$arch && \
		$(ENGINE) push $(REPOSITORY):$(VERSION)-$$arch || exit 1; \
	done
	$(ENGINE) manifest rm $(REPOSITORY):$(VERSION) >/dev/null 2>&1 || :
	$(ENGINE) manifest create $(REPOSITORY):$(VERSION) $(PUSHED_ARCHS:%=$(REPOSITORY):$(VERSION)-%)
	$(ENGINE) manifest push $(REPOSITORY):$(VERSION) \
		$(if $(findstring podman,$(ENGINE)),docker://$(REPOSITORY):$(VERSION))

# Pods by podman, for which kubectl must be there; not a part of `make test`.
test-pods:
	@./deps.sh build test pods
	@$(MAKE) --no-print-directory test-programs build/bench/crowd
	@tests/run tests/pods/*.bats

# Where the project is published and its repository is, for the package: make deb HOMEPAGE=https://...
HOMEPAGE ?=

# In a copy, because building a package leaves traces, and without what this make was told.
.PHONY: deb deb-source
deb: deb-source
	@./deps.sh build deb
	cd build/deb/source && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u CC -u CFLAGS -u CPPFLAGS -u LDFLAGS -u LDLIBS \
		-u STATIC -u SYSTEMD -u BINDIR -u DATADIR -u DOCDIR -u MANDIR -u BASHCOMPLETIONDIR dpkg-buildpackage -b -us -uc
	lintian --allow-root --fail-on error --tag-display-limit 0 build/deb/*.changes

deb-source:
	rm -rf build/deb
	mkdir -p build/deb/source
	tar --exclude=./build --exclude=./.git --exclude=./$(PROGRAM) -cf - . | tar -C build/deb/source -xf -
	$(if $(HOMEPAGE),sed -i '/^Standards-Version:/a Homepage: $(HOMEPAGE)\nVcs-Browser: $(HOMEPAGE)\nVcs-Git: $(HOMEPAGE)' \
		build/deb/source/debian/control)

clean:
	rm -rf build $(PROGRAM)
