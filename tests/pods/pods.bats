#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The image and the manifests, in real pods: built and run by podman in a store of its own, rendered by kubectl, and
# scraped from inside the pod's network namespace, which no route leads to.

bats_require_minimum_version 1.5.0
load ../helpers

setup_file() {
    [ "$(id -u)" = 0 ] || return 0
    export STORE=$BATS_FILE_TMPDIR/store CONTAINERS_CONF=$BATS_FILE_TMPDIR/containers.conf
    # runc can raise no limit that this machine does not have.
    cat >"$CONTAINERS_CONF" <<'CONF'
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=8192:8192"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
    engine import -q --change 'CMD ["bash"]' "$UNPACKED/machine.tar" docker.io/library/debian:bookworm-slim
    git -C "$ROOT" ls-files -z --cached | tar -C "$ROOT" --null -T - -cf - |
        { mkdir "$BATS_FILE_TMPDIR/source" && tar -C "$BATS_FILE_TMPDIR/source" -xf -; }
    build_image --no-cache
}

teardown_file() {
    [ "$(id -u)" = 0 ] || return 0
    engine system prune -af >/dev/null
    umount "$STORE/root/overlay" 2>/dev/null || true
}

setup() {
    require_root "it starts containers"
}

teardown() {
    [ "$(id -u)" = 0 ] || return 0
    stop_all
    engine pod rm -af -t 0
    engine rm -af -t 0
}

engine() {
    podman --root "$STORE/root" --runroot "$STORE/run" "$@"
}

# build_image FLAGS [VARIABLE=VALUE...]: make image from a clean checkout.
build_image() {
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -C "$BATS_FILE_TMPDIR/source" image \
        ENGINE="podman --root $STORE/root --runroot $STORE/run" \
        ENGINE_FLAGS="--pull=never --network=host $1" "${@:2}" >"$BATS_FILE_TMPDIR/build.log" 2>&1 ||
        { tail -20 "$BATS_FILE_TMPDIR/build.log" >&2; return 1; }
}

VERSION=$(sed -n 's/^VERSION := //p' "$ROOT/Makefile")
IMAGE=localhost/metrics-sidecar:$VERSION

pid_of() {
    engine inspect -f '{{.State.Pid}}' "$1"
}

# in_pod CONTAINER COMMAND...: with this machine's programs, in the network of the pod.
in_pod() {
    nsenter -t "$(pid_of "$1")" -n -- "${@:2}"
}

scrape_pod() {
    in_pod "$1" curl -sS --max-time 10 --local-port 6000-9000 "${@:2}" http://127.0.0.1:9999/metrics
}

pod_serves() {
    [ "$(scrape_pod "$1" -o /dev/null -w '%{http_code}' 2>/dev/null)" = 200 ]
}

# assert_metric EXPOSITION POD VALUE NAME [LABELS]
assert_metric() {
    expect_value "${1//pod_name=\"$2\"/pod_name=\"test-pod\"}" "${@:3}"
}

assert_one_file() {
    local files
    engine save -q "$1" -o "$BATS_TEST_TMPDIR/image.tar"
    mkdir "$BATS_TEST_TMPDIR/image"
    tar -C "$BATS_TEST_TMPDIR/image" -xf "$BATS_TEST_TMPDIR/image.tar"
    files=$(find "$BATS_TEST_TMPDIR/image" -name '*.tar' -type f -exec tar -tf {} \; | sort -u)
    assert_equal "$files" metrics-sidecar
    tar -C "$BATS_TEST_TMPDIR" -xf "$(find "$BATS_TEST_TMPDIR/image" -name '*.tar' -type f | head -n 1)"
}

# --- the image

@test "the image: one static file below 150 KB, labels, a user without a name" {
    local size
    assert_one_file "$IMAGE"
    size=$(stat -c %s "$BATS_TEST_TMPDIR/metrics-sidecar")
    echo "# the file has $size bytes, the image $(engine image inspect -f '{{.Size}}' "$IMAGE")" >&3
    [ "$size" -lt 150000 ]
    run readelf -hldW "$BATS_TEST_TMPDIR/metrics-sidecar"
    assert_output --partial 'DYN (Position-Independent Executable file)'
    refute_output --partial INTERP
    refute_output --partial NEEDED
    run engine image inspect -f '{{.Config.User}} {{.Architecture}} {{index .Labels "org.opencontainers.image.version"}}' "$IMAGE"
    assert_output "65532:65532 amd64 $VERSION"
}

@test "for arm64: the same, and it measures under emulation" {
    build_image '' ARCH=arm64 IMAGE=localhost/metrics-sidecar:arm64
    run engine image inspect -f '{{.Architecture}}' localhost/metrics-sidecar:arm64
    assert_output arm64
    assert_one_file localhost/metrics-sidecar:arm64
    [ "$(stat -c %s "$BATS_TEST_TMPDIR/metrics-sidecar")" -lt 150000 ]
    run readelf -hlW "$BATS_TEST_TMPDIR/metrics-sidecar"
    assert_output --partial AArch64
    refute_output --partial INTERP
    run qemu-aarch64-static "$BATS_TEST_TMPDIR/metrics-sidecar" --print --source=procfs --path.procfs="$FIXTURES/busy"
    assert_line 'port_used{pod_name="test-pod"} 41'
    run qemu-aarch64-static "$BATS_TEST_TMPDIR/metrics-sidecar" --print --source=procfs
    assert_success
    assert_line --regexp '^port_total\{pod_name="test-pod"\} [1-9][0-9]*$'
}

@test "podman run: serves, and ends within a second when told to" {
    local start ms
    engine run -d --name one --network none --read-only --cap-drop=all --security-opt=no-new-privileges "$IMAGE"
    wait_until 5 pod_serves one
    run scrape_pod one
    assert_line --regexp '^port_total\{pod_name="[0-9a-f]{12}"\} 28232$'
    assert_line --regexp '^metrics_sidecar_info\{.*source="sock_diag",launcher="supervisor",netns="same"\} 1$'
    start=${EPOCHREALTIME/./}
    engine stop -t 10 one
    ms=$(((${EPOCHREALTIME/./} - start) / 1000))
    echo "# ended after $ms ms" >&3
    [ "$ms" -lt 1000 ]
    run engine inspect -f '{{.State.ExitCode}}' one
    assert_output 0
}
