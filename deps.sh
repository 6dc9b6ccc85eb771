#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what building and testing need and this machine lacks, saying so; do nothing where nothing is missing.
#
# usage: deps.sh build|test|lint|coverage|deb|pods|soak|bench|screenshots|cross...
#
# Packages come from the distribution, by apt-get. Servers that the tests only run by hand are unpacked below
# build/unpacked, not installed: the super-servers exclude each other, and some packages start a service.
# Without apt-get, what is missing is named and the build goes on as far as it can; a package that the distribution
# does not have is named too, and does not stop the others.
set -u
cd "$(dirname "$0")" || exit 1
# What apt-get says is read here; and an ordinary user may have no directory of root's commands in the path.
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
unpacked=build/unpacked
machine=$unpacked/machine.tar

# The program speaks to systemd without libsystemd, too; what compiles it both ways needs the header.
# What to look for, then the package that has it. A name is a command, <...> a header, /... a file. Where there are
# several, with | between them, any of the first is enough, and the first package that the distribution has is taken.
build_needs='
cc                                  gcc
<stdio.h>                           libc6-dev
'
test_needs='
bats                                bats
/usr/lib/bats/bats-assert/load.bash bats-assert
/usr/lib/bats/bats-support/load.bash bats-support
/etc/protocols                      netbase
/usr/arm-linux-gnueabi/lib/libc.a   libc6-dev-armel-cross
/usr/s390x-linux-gnu/lib/libc.a     libc6-dev-s390x-cross
arm-linux-gnueabi-gcc               gcc-arm-linux-gnueabi
<systemd/sd-daemon.h>               libsystemd-dev
chromium|chromium-headless-shell    chromium-headless-shell|chromium
cmp                                 diffutils
curl                                curl
ip                                  iproute2
jq                                  jq
mandoc                              mandoc
musl-gcc                            musl-tools
node                                nodejs
npm|corepack                        node-corepack|npm
nsenter                             util-linux
openssl                             openssl
ps                                  procps
python3                             python3
s390x-linux-gnu-gcc                 gcc-s390x-linux-gnu
shellcheck                          shellcheck
strace                              strace
systemd-socket-activate             systemd
tmux                                tmux
valgrind                            valgrind
'
lint_needs='
<systemd/sd-daemon.h>               libsystemd-dev
clang                               clang
clang-format-14|clang-format        clang-format-14|clang-format
clang-tidy                          clang-tidy
cppcheck                            cppcheck
gcc                                 gcc
shellcheck                          shellcheck
'
coverage_needs='
gcov                                gcc
gcovr                               gcovr
jq                                  jq
'
deb_needs='
<systemd/sd-daemon.h>               libsystemd-dev
dh                                  debhelper
/usr/share/doc/build-essential      build-essential
dpkg-buildpackage                   dpkg-dev
lintian                             lintian
'
# For a machine with a service manager of its own, which only root can start.
machine_needs='
mmdebstrap                          mmdebstrap
systemd-nspawn                      systemd-container
'
pods_needs='
/usr/bin/catatonit                  catatonit
/usr/lib/podman/aardvark-dns        aardvark-dns
/usr/lib/podman/netavark            netavark
/usr/bin/qemu-aarch64-static        qemu-user-static
buildah                             buildah
conmon                              conmon
iptables                            iptables
newuidmap                           uidmap
podman                              podman
runc                                runc
'
pods_unpack_needs='
usr/bin/docker-registry             docker-registry
'
soak_needs='
slowhttptest                        slowhttptest
'
# Compilers for every other architecture of Debian 12 that has one.
cross_needs='
/usr/aarch64-linux-gnu/lib/libc.a   libc6-dev-arm64-cross
/usr/alpha-linux-gnu/lib/libc.a     libc6.1-dev-alpha-cross
/usr/arc-linux-gnu/lib/libc.a       libc6-dev-arc-cross
/usr/arm-linux-gnueabi/lib/libc.a   libc6-dev-armel-cross
/usr/arm-linux-gnueabihf/lib/libc.a libc6-dev-armhf-cross
/usr/bin/qemu-s390x-static          qemu-user-static
/usr/hppa-linux-gnu/lib/libc.a      libc6-dev-hppa-cross
/usr/i686-linux-gnu/lib/libc.a      libc6-dev-i386-cross
/usr/m68k-linux-gnu/lib/libc.a      libc6-dev-m68k-cross
/usr/mips-linux-gnu/lib/libc.a      libc6-dev-mips-cross
/usr/mips64el-linux-gnuabi64/lib/libc.a libc6-dev-mips64el-cross
/usr/mipsel-linux-gnu/lib/libc.a    libc6-dev-mipsel-cross
/usr/powerpc-linux-gnu/lib/libc.a   libc6-dev-powerpc-cross
/usr/powerpc64-linux-gnu/lib/libc.a libc6-dev-ppc64-cross
/usr/powerpc64le-linux-gnu/lib/libc.a libc6-dev-ppc64el-cross
/usr/riscv64-linux-gnu/lib/libc.a   libc6-dev-riscv64-cross
/usr/s390x-linux-gnu/lib/libc.a     libc6-dev-s390x-cross
/usr/sh4-linux-gnu/lib/libc.a       libc6-dev-sh4-cross
/usr/sparc64-linux-gnu/lib/libc.a   libc6-dev-sparc64-cross
/usr/x86_64-linux-gnux32/lib/libc.a libc6-dev-x32-cross
aarch64-linux-gnu-gcc               gcc-aarch64-linux-gnu
alpha-linux-gnu-gcc                 gcc-alpha-linux-gnu
arc-linux-gnu-gcc                   gcc-arc-linux-gnu
arm-linux-gnueabi-gcc               gcc-arm-linux-gnueabi
arm-linux-gnueabihf-gcc             gcc-arm-linux-gnueabihf
hppa-linux-gnu-gcc                  gcc-hppa-linux-gnu
i686-linux-gnu-gcc                  gcc-i686-linux-gnu
m68k-linux-gnu-gcc                  gcc-m68k-linux-gnu
mips-linux-gnu-gcc                  gcc-mips-linux-gnu
mips64el-linux-gnuabi64-gcc         gcc-mips64el-linux-gnuabi64
mipsel-linux-gnu-gcc                gcc-mipsel-linux-gnu
powerpc-linux-gnu-gcc               gcc-powerpc-linux-gnu
powerpc64-linux-gnu-gcc             gcc-powerpc64-linux-gnu
powerpc64le-linux-gnu-gcc           gcc-powerpc64le-linux-gnu
riscv64-linux-gnu-gcc               gcc-riscv64-linux-gnu
s390x-linux-gnu-gcc                 gcc-s390x-linux-gnu
sh4-linux-gnu-gcc                   gcc-sh4-linux-gnu
sparc64-linux-gnu-gcc               gcc-sparc64-linux-gnu
x86_64-linux-gnux32-gcc             gcc-x86-64-linux-gnux32
'
# Commands below build/unpacked, and the packages they are taken from.
unpack_needs='
usr/sbin/xinetd                     xinetd
usr/sbin/inetd                      openbsd-inetd
usr/bin/tcpserver                   ucspi-tcp
usr/bin/tcpsvd                      ipsvd
usr/bin/s6-ipcserver                s6
usr/bin/stunnel4                    stunnel4
usr/bin/prometheus                  prometheus
usr/bin/promtool                    promtool|prometheus
usr/bin/prometheus-alertmanager     prometheus-alertmanager
usr/bin/runsc                       runsc
'
screenshots_needs='
/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf fonts-dejavu-core
tmux                                tmux
'
bench_needs='
awk                                 mawk
gnuplot                             gnuplot-nox
ip                                  iproute2
musl-gcc                            musl-tools
nsenter                             util-linux
ss                                  iproute2
valgrind                            valgrind
wrk                                 wrk
'
bench_unpack_needs='
usr/bin/prometheus-node-exporter    prometheus-node-exporter
'
# Is what $1 names there?
has() {
    case $1 in
    *'|'*) has "${1%%|*}" || has "${1#*|}" ;;
    '<'*) printf '#include %s\n' "$1" | ${CC:-cc} -E -x c - >/dev/null 2>&1 ;;
    /*) [ -e "$1" ] ;;
    usr/*) [ -x "$unpacked/$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# The packages of the list $1 that are missing, each once.
missing() {
    printf '%s\n' "$1" | while read -r need package; do
        [ -z "$need" ] || has "$need" || echo "$package"
    done | sort -u
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        return 1
    fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq "$@" >/dev/null
}

# Of each of the arguments, PACKAGE|PACKAGE..., the first that this distribution has.
choose() {
    for alternatives; do
        for package in $(echo "$alternatives" | tr '|' ' '); do
            # A package that is known and cannot be installed has the candidate "(none)".
            apt-cache policy "$package" | grep -q '^  Candidate: [^(]' && echo "$package" && continue 2
        done
        echo "deps.sh: find package $alternatives: not in this distribution; what needs it is not tested" >&2
    done | sort -u
}

# What the packages bring with them, as apt-get has it.
announce_packages() {
    echo "deps.sh: installing $*" >&2
    apt-get install --print-uris --no-install-recommends "$@" 2>/dev/null |
        sed -nE '/^[0-9]+ upgraded|^Need to get|^After this/s/^/deps.sh: /p' >&2
}

# All at once is faster; if that fails, what can be had is had.
install_packages() {
    apt install -y --no-install-recommends "$@" && return
    as_root true && for package; do
        apt install -y --no-install-recommends "$package" || echo "deps.sh: install $package: failed" >&2
    done
}

# The libraries that an archive says it depends on, by the names of this distribution.
libraries_of() {
    dpkg-deb -f "$1" Depends | tr ',' '\n' | sed -nE 's/^ *(lib[a-z0-9.+-]+).*/\1/p' | grep -v '^libjs-'
}

announce_archives() {
    echo "deps.sh: unpacking $* below $unpacked, and installing the libraries that they need" >&2
    apt-get download --print-uris "$@" 2>/dev/null |
        awk '{ size += $3 } END { printf "deps.sh: Need to get %.0f MB of archives.\n", size / 1e6 }' >&2
}

unpack_packages() {
    mkdir -p "$unpacked/archives"
    for package; do
        (cd "$unpacked/archives" && apt-get -qq download "$package" >/dev/null 2>&1) ||
            echo "deps.sh: download $package: failed" >&2
    done
    for archive in "$unpacked"/archives/*.deb; do
        dpkg -x "$archive" "$unpacked" || echo "deps.sh: unpack $archive: failed" >&2
        for library in $(libraries_of "$archive"); do
            dpkg -s "$library" >/dev/null 2>&1 || libraries="${libraries:-} $library"
        done
    done
    rm -rf "$unpacked/archives"
    # shellcheck disable=SC2046,SC2086 # lists of words
    [ -z "${libraries:-}" ] || install_packages $(printf '%s\n' $libraries | sort -u)
}

# The file system of that machine: a small Debian, from where this one's packages come from.
make_machine() {
    set -- "$1"
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ ! -s "$list" ] || set -- "$@" "$list"
    done
    # shellcheck disable=SC1091 # not ours
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    target=$1
    shift
    mkdir -p "$unpacked"
    rm -f "$target.new"
    mmdebstrap --quiet --format=tar --variant=minbase --include=systemd,systemd-sysv,iproute2,man-db "$suite" "$target.new" "$@" >&2 &&
        mv "$target.new" "$target"
}

packages=
to_unpack=
for group; do
    case $group in
    build) packages="$packages $(missing "$build_needs")" ;;
    test)
        packages="$packages $(missing "$test_needs")"
        to_unpack="$to_unpack $(missing "$unpack_needs")"
        if [ "$(id -u)" = 0 ]; then
            packages="$packages $(missing "$machine_needs")"
            [ -e "$machine" ] || to_make=$machine
        fi
        ;;
    lint) packages="$packages $(missing "$lint_needs")" ;;
    coverage) packages="$packages $(missing "$coverage_needs")" ;;
    deb) packages="$packages $(missing "$deb_needs")" ;;
    pods)
        packages="$packages $(missing "$pods_needs")"
        to_unpack="$to_unpack $(missing "$pods_unpack_needs")"
        ;;
    screenshots) packages="$packages $(missing "$screenshots_needs")" ;;
    soak) packages="$packages $(missing "$soak_needs")" ;;
    cross) packages="$packages $(missing "$cross_needs")" ;;
    bench)
        packages="$packages $(missing "$bench_needs")"
        to_unpack="$to_unpack $(missing "$bench_unpack_needs")"
        ;;
    *)
        echo "deps.sh: install for $group: no such group" >&2
        exit 2
        ;;
    esac
done
# shellcheck disable=SC2086 # lists of words
set -- $packages $to_unpack ${to_make:-}
[ $# -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "deps.sh: no apt-get here; missing, by their Debian names: $*" >&2
    exit 0
fi
# Package lists may be old or, in a fresh container, not there at all.
if as_root true; then
    apt update
else
    echo "deps.sh: install $*: needs root or sudo" >&2
    packages=
fi
# shellcheck disable=SC2046,SC2086 # lists of words
{
    packages=$(choose $packages)
    to_unpack=$(choose $to_unpack)
    [ -z "$packages" ] || announce_packages $packages
    [ -z "$to_unpack" ] || announce_archives $to_unpack
    [ -z "${to_make:-}" ] || echo "deps.sh: making $to_make, a small Debian, of about 150 packages" >&2
    [ -z "$packages" ] || install_packages $packages
    [ -z "$to_unpack" ] || unpack_packages $to_unpack
}
[ -z "${to_make:-}" ] || make_machine "$to_make" || echo "deps.sh: make $to_make: failed" >&2
exit 0
