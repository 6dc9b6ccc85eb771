#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Random worlds of sockets: every figure against what was made, and against what connect() and bind() then get. Which
# seeds are taken makes no difference; `make worlds` takes more.

load helpers

@test "24 random worlds of sockets: no figure is wrong, and connect() gets what they say" {
    [ -e /proc/sys/net/ipv4/tcp_tw_reuse_delay ] || skip "needs tcp_tw_reuse_delay, which Linux has since 6.14"
    [ -w /dev/net/tun ] || skip "needs /dev/net/tun"
    run "$ROOT/tests/worlds/run" 1-24
    assert_success
    assert_line --partial "compared exactly"
    assert_line "24 worlds, 0 wrong"
}
