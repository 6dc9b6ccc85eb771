#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What the Makefile promises to those who build and install.

load helpers

# build ARGUMENT...: make in a copy of the sources, so that the tested program stays as it is.
build() {
    if [ ! -d "$BATS_FILE_TMPDIR/source" ]; then
        mkdir "$BATS_FILE_TMPDIR/source"
        cp -r "$ROOT"/*.[ch] "$ROOT"/*.md "$ROOT"/page.css "$ROOT"/page.js "$ROOT/Makefile" "$ROOT"/metrics-sidecar.{8,bash} \
            "$ROOT"/{systemd,inetd,debian,deploy,docs} "$BATS_FILE_TMPDIR/source"
        mkdir "$BATS_FILE_TMPDIR"/source/{bench,tests}
        cp "$ROOT"/bench/results.* "$BATS_FILE_TMPDIR/source/bench"
        cp "$ROOT"/tests/*.[ch] "$BATS_FILE_TMPDIR/source/tests"
    fi
    # The variables of the make that runs the tests are not meant for this one.
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u BINDIR -u DATADIR -u DOCDIR -u SYSTEMDUNITDIR -u MANDIR \
        -u BASHCOMPLETIONDIR make -C "$BATS_FILE_TMPDIR/source" "$@"
}

@test "the builder's flags are kept, and ours are not lost by them" {
    run build all CFLAGS=-O1 CPPFLAGS=-DBUILDER LDFLAGS=-Wl,--as-needed
    assert_success
    assert_output --partial "-O1"
    assert_output --partial "-DBUILDER"
    assert_output --partial "-std=c11"
    assert_output --partial "-D_GNU_SOURCE"
    assert_output --partial "-Wl,--as-needed"
    refute_output --partial "warning"
    refute_output --partial "-O2"
    # The same again makes nothing.
    run build all CFLAGS=-O1 CPPFLAGS=-DBUILDER LDFLAGS=-Wl,--as-needed
    refute_output --partial "-o build"
    # Other flags make all anew.
    run build all CFLAGS=-O0
    assert_output --partial "ports.o"
    refute_output --partial "warning"
}

# read_only COMMAND...: with the sources on a file system that is mounted read-only.
read_only() {
    local unshare=(unshare -m)
    [ "$(id -u)" = 0 ] || unshare=(unshare -rm)
    # shellcheck disable=SC2016 # of the inner shell
    "${unshare[@]}" bash -ec 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; shift; "$@"' bash \
        "$BATS_FILE_TMPDIR/source" "$@"
}

@test "BUILD= builds and installs outside of sources that are read-only" {
    build clean
    export BATS_FILE_TMPDIR
    export -f build
    run read_only bash -c 'build "$@"' bash BUILD="$BATS_TEST_TMPDIR/objects" install DESTDIR="$BATS_TEST_TMPDIR/root"
    assert_success
    refute_output --partial warning
    run "$BATS_TEST_TMPDIR/root/usr/local/bin/metrics-sidecar" --print --path.procfs="$FIXTURES/busy"
    assert_line 'port_used{pod_name="test-pod"} 41'
    cmp "$BATS_TEST_TMPDIR/objects/metrics-sidecar" "$BATS_TEST_TMPDIR/root/usr/local/bin/metrics-sidecar"
    [ ! -e "$BATS_FILE_TMPDIR/source/build" ]
    # They are read-only indeed.
    run read_only touch "$BATS_FILE_TMPDIR/source/metrics-sidecar"
    assert_failure
    assert_output --partial "Read-only file system"
}

@test "a pure module is compiled with the sanitizers once, whatever the number of replays" {
    local source
    run build -n test-programs
    assert_success
    for source in token.c report.c tests/replay.c; do
        assert_equal "$(grep -cE -- "-fsanitize=address.* $source( |\$)" <<<"$output")" 1
    done
    assert_equal "$(grep -c -- '-o build/tests/replay-' <<<"$output")" "$(find "$ROOT/tests" -name 'fuzz-*.c' | wc -l)"
}

@test "the program is hardened" {
    run readelf -W -h -l -d "$PROGRAM"
    assert_output --partial "DYN (Position-Independent Executable file)"
    assert_output --partial "GNU_RELRO"
    assert_output --regexp "FLAGS_1\).*NOW"
    assert_output --regexp "GNU_STACK .* RW "
    run readelf -W --dyn-syms "$PROGRAM"
    assert_output --partial "__stack_chk_fail"
    assert_output --partial "_chk@"
    # The linker's note of it is left out where the C library's start files lack it, as Debian's do.
    case $(uname -m) in
    x86_64) assert_regex "$(objdump -d --disassemble=main "$PROGRAM")" '<main>:[^>]*endbr64' ;;
    aarch64) assert_regex "$(objdump -d --disassemble=main "$PROGRAM")" '<main>:[^>]*(bti|paciasp)' ;;
    esac
}

# Which of the program's protections it can give is the compiler's to say; gcc 12 and clang 14 know these.
@test "each protection that the compiler knows is asked of it, and no other" {
    local compiler
    needs clang "${MUSL_GCC:-musl-gcc}"
    for compiler in gcc clang "${MUSL_GCC:-musl-gcc}"; do
        run build -n CC="$compiler" BUILD="build/$compiler" all
        assert_success
        assert_output --partial ' -fstack-protector-strong '
        assert_output --partial ' -fstack-clash-protection '
        [ "$(uname -m)" != x86_64 ] || assert_output --partial ' -fcf-protection=full '
        [ "$(uname -m)" = x86_64 ] || refute_output --partial ' -fcf-protection'
        [ "$(uname -m)" = aarch64 ] || refute_output --partial ' -mbranch-protection'
    done
    run build -n CC=gcc BUILD=build/gcc all
    assert_output --partial ' -ftrivial-auto-var-init=zero '
}

@test "libsystemd is not linked, and not loaded unless it is asked for" {
    run ldd "$PROGRAM"
    refute_output --partial systemd
    run strace -f -e trace=openat "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    refute_output --partial systemd
}

@test "STATIC=1 makes one file that needs no other" {
    run readelf -W -l -d "$STATIC_PROGRAM"
    refute_output --partial "NEEDED"
    refute_output --partial "INTERP"
    assert_output --regexp "GNU_STACK .* RW "
    run "$STATIC_PROGRAM" --print --path.procfs="$FIXTURES/busy"
    assert_line 'port_used{pod_name="test-pod"} 41'
    # With the C library of the machine, where there is no musl.
    run build STATIC=1 CC=gcc all
    assert_success
    refute_output --partial "warning"
    run readelf -W -d "$BATS_FILE_TMPDIR/source/metrics-sidecar"
    refute_output --partial "NEEDED"
}

@test "the file of the image, built as Dockerfile builds it, is below 150 KB" {
    local flags
    flags=$(sed -nE 's/^ +(CFLAGS="[^"]+" LDFLAGS="[^"]+")$/\1/p' "$ROOT/Dockerfile")
    [ -n "$flags" ]
    eval "run build STATIC=1 SYSTEMD=0 $flags all"
    assert_success
    refute_output --partial warning
    size=$(stat -c %s "$BATS_FILE_TMPDIR/source/metrics-sidecar")
    echo "$size bytes"
    # The promise is of the compiler of the Dockerfile; that of another distribution may need a page more.
    if grep -q "^FROM .* debian:$(. /etc/os-release && echo "${VERSION_CODENAME:-}")-slim AS builder" "$ROOT/Dockerfile"; then
        [ "$size" -lt 150000 ]
    else
        [ "$size" -lt 160000 ]
    fi
}

@test "SYSTEMD=0 builds without libsystemd's header" {
    run build SYSTEMD=0 all
    assert_success
    assert_output --partial "-DWITH_SYSTEMD=0"
    run grep -c dlopen "$BATS_FILE_TMPDIR/source/metrics-sidecar"
    assert_output 0
}

@test "install: every file, paths filled in; uninstall: none is left" {
    run build install DESTDIR="$BATS_TEST_TMPDIR/root" PREFIX=/opt/ms
    assert_success
    run bash -c 'cd "$1" && find . -type f | grep -vE "^./opt/ms/share/(doc/|metrics-sidecar/deploy/)" | sort' bash \
        "$BATS_TEST_TMPDIR/root"
    assert_output "./opt/ms/bin/metrics-sidecar
./opt/ms/lib/systemd/system/metrics-sidecar-netns@.service
./opt/ms/lib/systemd/system/metrics-sidecar-netns@.socket
./opt/ms/lib/systemd/system/metrics-sidecar-supervised.service
./opt/ms/lib/systemd/system/metrics-sidecar-supervised.socket
./opt/ms/lib/systemd/system/metrics-sidecar.socket
./opt/ms/lib/systemd/system/metrics-sidecar@.service
./opt/ms/lib/systemd/system/system-metrics-sidecar.slice
./opt/ms/share/bash-completion/completions/metrics-sidecar
./opt/ms/share/man/man8/metrics-sidecar.8
./opt/ms/share/metrics-sidecar/inetd/inetd.conf
./opt/ms/share/metrics-sidecar/inetd/metrics-sidecar.xinetd
./opt/ms/share/metrics-sidecar/inetd/s6-ipcserver-run
./opt/ms/share/metrics-sidecar/inetd/stunnel.conf
./opt/ms/share/metrics-sidecar/inetd/tcpserver-run
./opt/ms/share/metrics-sidecar/inetd/tcpsvd-run
./opt/ms/share/metrics-sidecar/systemd/open-to-network.conf"
    # Nothing of inetd/ is forgotten, and every path is filled in.
    diff <(ls "$ROOT/inetd") <(ls "$BATS_TEST_TMPDIR/root/opt/ms/share/metrics-sidecar/inetd")
    run grep -rL '/opt/ms/bin/metrics-sidecar' "$BATS_TEST_TMPDIR"/root/opt/ms/share/metrics-sidecar/inetd \
        "$BATS_TEST_TMPDIR"/root/opt/ms/lib/systemd/system --include='*-run' --include='*.*d' --include='*.conf' --include='*.service'
    assert_output ""
    run grep -rE --exclude-dir=doc "@[A-Z]+@|$BATS_TEST_TMPDIR" "$BATS_TEST_TMPDIR/root/opt/ms/lib" "$BATS_TEST_TMPDIR/root/opt/ms/share"
    assert_failure 1
    run find "$BATS_TEST_TMPDIR/root" -name '*-run' -not -perm 755
    assert_output ""
    run build uninstall DESTDIR="$BATS_TEST_TMPDIR/root" PREFIX=/opt/ms
    assert_success
    run find "$BATS_TEST_TMPDIR/root" ! -type d
    assert_output ""
}

@test "install brings what README points to: documents, rules, dashboard, manifests" {
    local target=$BATS_TEST_TMPDIR/root share=$BATS_TEST_TMPDIR/root/usr/share file
    run build install DESTDIR="$target" PREFIX=/usr
    assert_success
    # All that users apply: what only checks it is left out.
    diff -r --exclude=check "$ROOT/deploy" "$share/metrics-sidecar/deploy"
    for file in "$ROOT"/*.md "$ROOT"/docs/*.md; do
        cmp "$file" "$share/doc/metrics-sidecar/${file#"$ROOT"/}"
    done
    # In the package the link is relative, and leads there too.
    assert_equal "$(readlink "$share/doc/metrics-sidecar/deploy")" /usr/share/metrics-sidecar/deploy
    ln -sfn ../../metrics-sidecar/deploy "$share/doc/metrics-sidecar/deploy"
    [ "$(links "$share/doc/metrics-sidecar" | wc -l)" -gt 15 ]
    while read -r file; do
        [ -e "$share/doc/metrics-sidecar/$file" ] || fail "$file is not installed"
    done < <(links "$share/doc/metrics-sidecar")
    run find "$share" -type d ! -perm -555
    assert_output ""
}

# links DIRECTORY: the files that documents there point to, from that directory on.
links() {
    local file
    (cd "$1" && for file in *.md docs/*.md; do
        grep -oE '\]\([^)#]+|(src|srcset)="[^"]+' "$file" | grep -v '://' | sed -E "s|^[^(\"]*.|$(dirname "$file")/|"
    done) | sort -u
}

@test "make deb HOMEPAGE= says in the package where the project is; without it there is no such field" {
    local field
    run build deb-source HOMEPAGE=https://example.org/metrics-sidecar
    assert_success
    for field in Homepage Vcs-Browser Vcs-Git; do
        assert_equal "$(sed -n "1,/^\$/s/^$field: //p" "$BATS_FILE_TMPDIR/source/build/deb/source/debian/control")" \
            https://example.org/metrics-sidecar
    done
    run bash -c 'cd "$1" && dpkg-gencontrol -pmetrics-sidecar -O 2>/dev/null' bash "$BATS_FILE_TMPDIR/source/build/deb/source"
    assert_line "Homepage: https://example.org/metrics-sidecar"
    run build deb-source
    assert_success
    cmp "$ROOT/debian/control" "$BATS_FILE_TMPDIR/source/build/deb/source/debian/control"
}

@test "uninstall: what is not ours stays; a path that units cannot name is refused; no umask hides what is installed" {
    local target=$BATS_TEST_TMPDIR/target
    (umask 077 && build install DESTDIR="$target" PREFIX=/usr >/dev/null)
    run find "$target" -type f ! -perm -444
    assert_output ""
    touch "$target/usr/share/metrics-sidecar/notes" "$target/usr/lib/systemd/system/other.socket"
    run build uninstall DESTDIR="$target" PREFIX=/usr
    assert_success
    run bash -c 'find "$1" -type f -printf "%f\n" | sort' bash "$target"
    assert_output $'notes\nother.socket'
    # The environment does not say what is deleted.
    mkdir "$target/data"
    touch "$target/data/precious"
    DATADIR=/data run build uninstall DESTDIR="$target" PREFIX=/usr
    [ -e "$target/data/precious" ]
    run build install DESTDIR="$target" PREFIX="/usr/my dir"
    assert_failure
    assert_output --partial 'install to /usr/my dir/bin: '
}

@test "without libsystemd all units are installed: none of them needs it" {
    local target=$BATS_TEST_TMPDIR/target
    run build install SYSTEMD=0 DESTDIR="$target" PREFIX=/usr
    assert_success
    run ls "$target/usr/lib/systemd/system"
    assert_equal "${#lines[@]}" 7
    assert_line metrics-sidecar-supervised.service
}

@test "another SYSTEMDUNITDIR, MANDIR and BASHCOMPLETIONDIR" {
    local target=$BATS_TEST_TMPDIR/root
    run build install DESTDIR="$target" PREFIX=/usr SYSTEMDUNITDIR=/etc/u MANDIR=/m BASHCOMPLETIONDIR=/b
    assert_success
    [ -e "$target/etc/u/metrics-sidecar.socket" ]
    [ -e "$target/m/man8/metrics-sidecar.8" ]
    [ -e "$target/b/metrics-sidecar" ]
    [ ! -e "$target/usr/lib" ]
}

# complete WORD...: what bash offers for the last one.
complete_words() {
    # shellcheck disable=SC2016 # of the inner shell
    PATH="$ROOT:$PATH" bash -c 'source "$0"; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _metrics_sidecar metrics-sidecar; printf "%s\n" "${COMPREPLY[@]}"' "$ROOT/metrics-sidecar.bash" "$@"
}

@test "bash completes every option of --help, and the sources" {
    local option
    run complete_words metrics-sidecar --top
    assert_output --top-destinations=
    run complete_words metrics-sidecar ""
    for option in $("$PROGRAM" --help | grep -oE -- '^ +--[a-z.-]+=?'); do
        assert_line -- "$option"
    done
    assert_line -- --print
    # As readline splits them.
    run complete_words metrics-sidecar --source = s
    assert_output sock_diag
    run complete_words metrics-sidecar --source =
    run "$PROGRAM" --source="${lines[0]}" --print
    assert_success
    # The same list as the program's.
    run bash -c '"$1" --source=x 2>&1 | sed "s/.*not one of //; s/; see --help//; s/,//g"' bash "$PROGRAM"
    assert_output "$(complete_words metrics-sidecar --source = | tr '\n' ' ' | sed 's/ $//')"
    run complete_words metrics-sidecar --path.procfs = /pro
    assert_output /proc
    run complete_words metrics-sidecar --print --vers
    assert_output --version
    run complete_words metrics-sidecar --pod-name = x
    assert_output ""
}

@test "the version is one: Makefile, package, CHANGELOG.md, image, manifests, README" {
    local version line
    version=$(sed -n 's/^VERSION := //p' "$ROOT/Makefile")
    run sed -n '1s/^metrics-sidecar (\(.*\)) .*/\1/p' "$ROOT/debian/changelog"
    assert_output "$version"
    run sed -n '0,/^## /s/^## \([0-9.]*\).*/\1/p' "$ROOT/CHANGELOG.md"
    assert_output "$version"
    run grep -hoE '(newTag: |VERSION=|metrics-sidecar:)[0-9]+\.[0-9.]+[0-9]' "$ROOT/README.md" "$ROOT/docs/kubernetes.md" \
        "$ROOT/Dockerfile" "$ROOT"/deploy/kubernetes/*/kustomization.yaml
    [ "${#lines[@]}" -eq 18 ]
    for line in "${lines[@]}"; do
        [[ $line == *[:=\ ]"$version" ]]
    done
}

@test "each header compiles by itself, and a broken one is noticed" {
    run build check-headers
    assert_success
    echo 'struct buf f(void);' >"$BATS_FILE_TMPDIR/source/util.h"
    run build check-headers
    assert_failure
    cp "$ROOT/util.h" "$BATS_FILE_TMPDIR/source/util.h"
}

@test "nothing is exported that nobody calls" {
    local name
    for name in $(cd "$ROOT" && nm -g --defined-only build/dynamic-*/*.o | awk '$2 ~ /[TDBR]/ { print $3 }' | sort -u); do
        [ "$name" != main ] || continue
        [ "$(grep -lw "$name" "$ROOT"/*.c "$ROOT"/tests/*.c | wc -l)" -ge 2 ] || fail "$name is used in one file only"
    done
}

# rule PATTERN: the number that CONTRIBUTING.md has there.
rule() {
    tr '\n' ' ' <"$ROOT/CONTRIBUTING.md" | sed -nE "s/.*$1.*/\1/p"
}

@test "functions and modules are as long as CONTRIBUTING.md says" {
    local longest main shortest
    longest=$(rule 'about 15 lines, ([0-9]+) at the most')
    main=$(rule ' at the most, `main` ([0-9]+)\.')
    shortest=$(rule 'and holds ([0-9]+) lines or more')
    [ "$longest" -le 40 ] && [ "$main" -le 30 ] && [ "$shortest" -gt 0 ]
    # The lines between the braces.
    run awk -v longest="$longest" -v main="$main" 'FNR == 1 { start = 0 }
        /^\{$/ { start = FNR; name = before }
        /^\}$/ && start { n = FNR - start - 1; if (n > longest || (name ~ /^main\(/ && n > main)) print FILENAME ": " name ": " n; start = 0 }
        { before = $0 }' "$ROOT"/*.c
    assert_output ""
    run awk -v shortest="$shortest" 'FNR == 1 && NR > 1 && lines < shortest { print file ": " lines } { lines = FNR; file = FILENAME }
        END { if (lines < shortest) print file ": " lines }' "$ROOT"/*.c
    assert_output ""
}

@test "the other numbers of CONTRIBUTING.md: columns, the compilers, what the tests try" {
    local number
    number=$(rule 'C11, tabs of 8, ([0-9]+) columns')
    grep -qx "ColumnLimit: *$number" "$ROOT/.clang-format"
    grep -qx "TabWidth: *8" "$ROOT/.clang-format"
    number=$(rule 'the format \(clang-format ([0-9]+) only')
    grep -qF "command -v clang-format-$number " "$ROOT/Makefile"
    number=$(rule 'the tests try ([0-9]+) \| \| `make soak')
    grep -qF "worlds/run\" 1-$number" "$ROOT/tests/worlds.bats"
}

@test "the checklists of CONTRIBUTING.md name files that exist" {
    local file
    for file in $(sed -n '/^## A new metric/,/^## Architectures/p' "$ROOT/CONTRIBUTING.md" | grep -oE '`[a-z/-]+\.([a-z]+\.)?(c|h|8|md|bats|yaml|json)`|`[A-Z]+\.md`' | tr -d '`' | sort -u); do
        [ -e "$ROOT/$file" ] || [ -e "$ROOT/deploy/prometheus/$file" ] || fail "$file: no such file"
        echo "$file" >>"$BATS_TEST_TMPDIR/files"
    done
    [ "$(wc -l <"$BATS_TEST_TMPDIR/files")" -ge 15 ]
}

@test "arrows point down: no module includes one above it" {
    # From top to bottom; a module may include those behind it only.
    local order="metrics-sidecar options answer keeper supervisor renewal crashes handover descriptors signals hold listen manager exchange terminal page report view sandbox landlock share token trend http exposition ports procnet sockdiag usage destinations log siphash util"
    local below="$order" module included
    for module in $order; do
        below=${below#*"$module"}
        while read -r included; do
            [ "$included" != page-data ] || continue # made of page.css and page.js
            [ "$included" = "$module" ] || [[ " $below " == *" $included "* ]] ||
                fail "$module includes $included, which is not below it"
        done < <(sed -nE 's/^#include "([a-z-]+)\.h"$/\1/p' "$ROOT/$module.c" "$ROOT/$module.h" 2>/dev/null)
    done
    # And no module is missing from that list.
    [ "$(tr ' ' '\n' <<<"$order" | sort)" = "$(cd "$ROOT" && basename -s .c -- *.c | sort)" ]
}

# commands_without NAME...: a directory with every other command of this machine.
commands_without() {
    COMMANDS=$BATS_TEST_TMPDIR/commands
    mkdir "$COMMANDS"
    find /usr/local/bin /usr/sbin /usr/bin /sbin /bin -maxdepth 1 ! -type d -exec ln -sft "$COMMANDS" {} +
    (cd "$COMMANDS" && rm -f "$@")
}

# stand_in NAME TEXT: a command of that name, which tells apt.log what it was asked for and runs the text.
stand_in() {
    printf '#!/bin/sh\necho "%s $*" >>"%s"\n%s\n' "$1" "$BATS_TEST_TMPDIR/apt.log" "$2" >"$COMMANDS/$1"
    chmod +x "$COMMANDS/$1"
}

@test "deps.sh: nothing missing, nothing said; without apt-get, what is missing is named" {
    run "$ROOT/deps.sh" build ${CI:+test}
    assert_success
    assert_output ""
    commands_without apt-get slowhttptest
    run env PATH="$COMMANDS" "$ROOT/deps.sh" build soak
    assert_success
    assert_output "deps.sh: no apt-get here; missing, by their Debian names: slowhttptest"
    run "$ROOT/deps.sh" nonsense
    assert_failure 2
}

@test "deps.sh: make run needs no libsystemd, and make lint does" {
    # A compiler that has every header but that one.
    cat >"$BATS_TEST_TMPDIR/cc" <<'COMPILER'
#!/bin/sh
! grep -q systemd
COMPILER
    chmod +x "$BATS_TEST_TMPDIR/cc"
    mkdir "$BATS_TEST_TMPDIR/commands"
    ln -s /usr/bin/* "$BATS_TEST_TMPDIR/commands"
    rm "$BATS_TEST_TMPDIR/commands/apt-get"
    run env CC="$BATS_TEST_TMPDIR/cc" PATH="$BATS_TEST_TMPDIR/commands" "$ROOT/deps.sh" build
    assert_success
    assert_output ""
    run env CC="$BATS_TEST_TMPDIR/cc" PATH="$BATS_TEST_TMPDIR/commands" "$ROOT/deps.sh" build lint
    assert_output --partial libsystemd-dev
}

@test "deps.sh says how much it installs; a package that cannot be had stops no other" {
    commands_without apt-get apt-cache sudo gcovr jq slowhttptest
    stand_in sudo 'exec "$@"'
    stand_in apt-cache '[ "$2" = gcovr ] && echo "  Candidate: (none)" || echo "  Candidate: 1.0-1"'
    stand_in apt-get 'case $* in
        *print-uris*) printf "Reading lists\n0 upgraded, 7 newly installed, 0 to remove and 0 not upgraded.\nNeed to get 1 MB\n" ;;
        *slowhttptest*) exit 100 ;;
        esac'
    run env PATH="$COMMANDS" "$ROOT/deps.sh" coverage soak
    assert_success
    assert_output "deps.sh: find package gcovr: not in this distribution; what needs it is not tested
deps.sh: installing jq slowhttptest
deps.sh: 0 upgraded, 7 newly installed, 0 to remove and 0 not upgraded.
deps.sh: Need to get 1 MB
deps.sh: install slowhttptest: failed"
    run sed -nE 's/^apt-get .*(install -y .*)/\1/p' "$BATS_TEST_TMPDIR/apt.log"
    assert_output "install -y --no-install-recommends jq slowhttptest
install -y --no-install-recommends jq
install -y --no-install-recommends slowhttptest"
}

@test "make test without bats says so before it compiles" {
    commands_without apt-get bats
    mkdir -p "$BATS_TEST_TMPDIR/tree/tests"
    cp "$ROOT/Makefile" "$ROOT/deps.sh" "$BATS_TEST_TMPDIR/tree"
    cp "$ROOT/tests/run" "$BATS_TEST_TMPDIR/tree/tests"
    run env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL PATH="$COMMANDS" make -C "$BATS_TEST_TMPDIR/tree" test
    assert_failure
    assert_line "tests/run: find bats: not there, so that no test can be run"
    refute_output --partial "metrics-sidecar.o"
}

@test "format, warnings of two compilers, static checks" {
    [ -n "${CI:-}" ] || skip "make lint does this; here only in CI"
    run env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -C "$ROOT" lint
    assert_success
}
