#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What other architectures differ in, as far as it can be seen without them: two cross compilers, one of 32 bits and one
# whose bytes are in the other order. `make cross` tries all that there are, and runs what comes of it.

load helpers

setup_file() {
    mkdir "$BATS_FILE_TMPDIR/source"
    cp "$ROOT"/*.c "$ROOT"/*.h "$ROOT"/page.css "$ROOT"/page.js "$ROOT/Makefile" "$BATS_FILE_TMPDIR/source"
}

# build ARGUMENT...: make in a copy of the sources. The variables of the make that runs the tests are not meant for it.
build() {
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -C "$BATS_FILE_TMPDIR/source" "$@"
}

# expect_static COMPILER CLASS ORDER: it makes a static file of such a machine, says once that it has a fixed address
# where the C library makes it so, and no compiler or linker has anything else to say.
expect_static() {
    local binary=$BATS_FILE_TMPDIR/source/build/static-systemd0/metrics-sidecar type="DYN .Position-Independent" said=
    needs "$1"
    [ "$("$1" -print-file-name=rcrt1.o)" != rcrt1.o ] || {
        said="link build/static-systemd0/metrics-sidecar: no rcrt1.o in this C library: static without position independence"
        type="EXEC .Executable"
    }
    run build -s STATIC=1 CC="$1"
    assert_success
    assert_output "$said"
    run readelf -W -h -l -d "$binary"
    assert_output --regexp "Class: +$2"
    assert_output --regexp "Data: +.*$3 endian"
    assert_output --regexp "$type"
    refute_output --partial "INTERP"
    refute_output --partial "NEEDED"
}

@test "armel, of 32 bits: compiles, and links static" {
    expect_static arm-linux-gnueabi-gcc ELF32 little
}

@test "s390x, big-endian: compiles, and links static" {
    expect_static s390x-linux-gnu-gcc ELF64 big
}

@test "STATIC=1 where there is rcrt1.o: position-independent, and nothing is said" {
    run build STATIC=1 CC=gcc all
    assert_success
    refute_output --partial "rcrt1.o in"
    run readelf -W -h "$BATS_FILE_TMPDIR/source/build/static-systemd0/metrics-sidecar"
    assert_output --partial "DYN (Position-Independent Executable file)"
}

@test "names of calls that one architecture or another lacks are left out, alone or together" {
    local missing name header=$BATS_TEST_TMPDIR/missing.h
    local uids="getegid32 geteuid32 getgid32 getuid32" times="clock_gettime64 clock_nanosleep_time64 futex_time64 ppoll_time64"
    local older="access epoll_wait fork lstat open poll readlink setrlimit stat unlink"
    needs arm-linux-gnueabi-gcc
    # mips; hppa; powerpc; arc; loong64; musl on 32 bits; the headers of Linux 4.19.
    for missing in "$uids newfstatat ugetrlimit" "$uids newfstatat ugetrlimit sigreturn socketcall" "$uids newfstatat" \
        "_llseek $older fcntl fstat $uids lseek lstat64 mmap newfstatat recv send sigreturn stat64 ugetrlimit" \
        "_llseek $older fcntl64 mmap2 fstat fstat64 fstatat64 lstat64 stat64 $times $uids getrlimit newfstatat recv send sigreturn ugetrlimit" \
        "clock_gettime clock_nanosleep" \
        "$times close_range landlock_add_rule landlock_create_ruleset landlock_restrict_self rseq"; do
        {
            echo '#include <sys/syscall.h>'
            for name in $missing; do
                printf '#undef SYS_%s\n' "$name"
            done
        } >"$header"
        for name in landlock sandbox supervisor; do
            run arm-linux-gnueabi-gcc -D_GNU_SOURCE -DVERSION='""' -DWITH_SYSTEMD=0 -std=c11 -Wall -Wextra -Werror \
                -fsyntax-only -include "$header" "$ROOT/$name.c"
            assert_output ""
            assert_success
        done
    done
}

@test "a landlock call has its architecture's number where the headers have none" {
    # Of mips it is 4000 and the number that most have; that is what the header says, and what is made without it.
    local fallback
    fallback=$(sed -n '/^#ifndef SYS_landlock/,/^#define SYS_landlock_restrict_self/p' "$ROOT/landlock.h" && echo '#endif')
    run gcc -E -P -D__mips__ -D__NR_Linux=4000 - <<<"$fallback"$'\nSYS_landlock_restrict_self'
    assert_output "(4000 + 446)"
    run gcc -E -P -U__x86_64__ -D__alpha__ - <<<"$fallback"$'\nSYS_landlock_create_ruleset'
    assert_output "(110 + 444)"
    run gcc -E -P - <<<"$fallback"$'\nSYS_landlock_create_ruleset'
    assert_output "(0 + 444)"
}

# As it is on arm, powerpc and s390x.
@test "characters without a sign: the same responses" {
    local name
    run build SYSTEMD=0 CC=gcc CFLAGS='-O1 -funsigned-char -Werror'
    assert_success
    for name in idle busy exhausted ipv6-only no-ipv6 gvisor; do
        printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n' |
            "$BATS_FILE_TMPDIR/source/metrics-sidecar" --inetd --path.procfs="$FIXTURES/$name" | tr -d '\r' | steady |
            diff "$ROOT/tests/golden/$name.txt" -
    done
    # Bytes above 127, where they are looked at.
    run bash -c 'printf "GET /metrics HTTP/1.1\r\nHost: a\r\nX: \xff\x80\r\n\r\n" | "$1" --inetd --pod-name="$2" --path.procfs="$3"' \
        bash "$BATS_FILE_TMPDIR/source/metrics-sidecar" $'\xe9\xc3\xa9\x80' "$FIXTURES/idle"
    assert_line $'HTTP/1.1 200 OK\r'
    assert_line $'port_used{pod_name="\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd"} 0'
}

@test "fixtures of the other byte order: what is swapped is the addresses, and twice is not at all" {
    local swapped=$BATS_TEST_TMPDIR/swapped
    "$ROOT/tests/cross/swap-words" "$FIXTURES" "$swapped"
    run grep -m 1 -h ' 06 ' "$swapped/busy/self/net/tcp6"
    assert_output --regexp '^ +[0-9]+: 00000000000000000000000000000001:[0-9A-F]{4} 00000000000000000000000000000001:138B 06 00000000:00000000 03:'
    # Where the rows have no addresses but 127.0.0.1 and ports, only those are other ones.
    diff <(sed 's/0100007F/7F000001/g' "$FIXTURES/exhausted/self/net/tcp") "$swapped/exhausted/self/net/tcp"
    "$ROOT/tests/cross/swap-words" "$swapped" "$BATS_TEST_TMPDIR/again"
    diff -r "$FIXTURES" "$BATS_TEST_TMPDIR/again"
}
