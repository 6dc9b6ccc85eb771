#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The image and the manifests, in real pods: built and run by podman in a store of its own, rendered by kubectl, and
# scraped from inside the pod's network namespace, which no route leads to.

bats_require_minimum_version 1.5.0
load ../helpers
load blocks

setup_file() {
    [ "$(id -u)" = 0 ] || return 0
    export STORE=$BATS_FILE_TMPDIR/store CONTAINERS_CONF=$BATS_FILE_TMPDIR/containers.conf
    # runc can raise no limit that this machine does not have.
    cat >"$CONTAINERS_CONF" <<'CONF'
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=4096:4096", "nproc=8192:8192"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
    # As the image of that name has it.
    engine import -q --change 'CMD ["bash"]' --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' "$UNPACKED/machine.tar" docker.io/library/debian:bookworm-slim
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
    [ -z "${STOPPED:-}" ] || kill -CONT "$STOPPED"
    engine pod rm -af -t 0
    # One whose network another shares goes in the second round.
    engine rm -af -t 0 || engine rm -af -t 0
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

@test "for arm64: the same, with a tag of its own, and it measures under emulation" {
    build_image '' ARCH=arm64
    run engine image inspect -f '{{.Architecture}}' "$IMAGE" "$IMAGE-arm64"
    assert_output "amd64
arm64"
    assert_one_file "$IMAGE-arm64"
    readelf -lW "$BATS_TEST_TMPDIR/metrics-sidecar"
    echo "# the file has $(stat -c %s "$BATS_TEST_TMPDIR/metrics-sidecar") bytes" >&3
    [ "$(stat -c %s "$BATS_TEST_TMPDIR/metrics-sidecar")" -lt 180000 ]
    run readelf -hlW "$BATS_TEST_TMPDIR/metrics-sidecar"
    assert_output --partial AArch64
    refute_output --partial INTERP
    run qemu-aarch64-static "$BATS_TEST_TMPDIR/metrics-sidecar" --print --source=procfs --path.procfs="$FIXTURES/busy"
    assert_line 'port_used{pod_name="test-pod"} 41'
    run qemu-aarch64-static "$BATS_TEST_TMPDIR/metrics-sidecar" --print --source=procfs
    assert_success
    assert_line --regexp '^port_total\{pod_name="test-pod"\} [1-9][0-9]*$'
}

registry_answers() {
    ns curl -sSf --max-time 5 --noproxy '*' http://127.0.0.1:5000/v2/
}

# pushed TAG: what the registry in the namespace has by that name, and of which architectures.
pushed() {
    ns curl -sS --max-time 5 --noproxy '*' "http://127.0.0.1:5000/v2/metrics-sidecar/manifests/$1" \
        -H 'Accept: application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.index.v1+json,
            application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json' |
        jq -r 'if .manifests then [.manifests[].platform.architecture] | join(" ") else "an image" end'
}

@test "make push: an image for each architecture, and one name for both, again too" {
    local enter round
    ns_create
    # Built before, because there is no network in there.
    build_image '' ARCH=amd64
    build_image '' ARCH=arm64
    printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:5000"}\n' \
        "$BATS_TEST_TMPDIR/registry" >"$BATS_TEST_TMPDIR/registry.yml"
    printf '[[registry]]\nlocation = "127.0.0.1:5000"\ninsecure = true\n' >"$BATS_TEST_TMPDIR/registries.conf"
    start registry ns "$UNPACKED/usr/bin/docker-registry" serve "$BATS_TEST_TMPDIR/registry.yml"
    wait_until 10 registry_answers
    enter="${NS_ENTER[*]} --"
    for round in first second; do
        env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL CONTAINERS_REGISTRIES_CONF="$BATS_TEST_TMPDIR/registries.conf" \
            make -s -C "$BATS_FILE_TMPDIR/source" push REPOSITORY=127.0.0.1:5000/metrics-sidecar \
            ENGINE="$enter podman --root $STORE/root --runroot $STORE/run" ENGINE_FLAGS="--pull=never --network=host" \
            >"$BATS_TEST_TMPDIR/push-$round.log" 2>&1
        run pushed "$VERSION"
        assert_output "amd64 arm64"
        run pushed "$VERSION-arm64"
        assert_output "an image"
    done
    run make -s -C "$BATS_FILE_TMPDIR/source" push
    assert_failure
    assert_output --partial 'push images: REPOSITORY must be set'
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

# --- the manifests

# render [SED-EXPRESSION...]: the example as kubectl does it, with the image of this test.
render() {
    kubectl kustomize "$ROOT/deploy/kubernetes/example" >"$BATS_TEST_TMPDIR/rendered.yaml"
    sed "s|image: metrics-sidecar:.*|image: $IMAGE|; $1" "$BATS_TEST_TMPDIR/rendered.yaml" >"$BATS_TEST_TMPDIR/pod.yaml"
    grep -q "image: $IMAGE" "$BATS_TEST_TMPDIR/pod.yaml"
}

# In a namespace of the test's own, so that bridges and forwarded ports never touch the machine's.
# Where the working directory has one of an image's name, podman would build it.
play() {
    cd "$BATS_TEST_TMPDIR" || return
    ns podman --root "$STORE/root" --runroot "$STORE/run" kube play --network bridge "$@" "$BATS_TEST_TMPDIR/pod.yaml"
}

# As this version of podman calls it.
find_pod() {
    POD=$(engine pod ps --format '{{.Name}}')
    SHOP=$POD-shop
    SIDECAR=$POD-metrics-sidecar
}

shop_says() {
    engine logs "$SHOP" 2>&1 | grep -q "$1"
}

@test "kube play of the rendered example: limits, the pod's name, and the figures of a shop that leaks until connect() fails" {
    local answer used
    ns_create
    render 's/value: "100"/value: "5"/'
    play
    find_pod
    wait_until 10 pod_serves "$SIDECAR"
    run engine inspect -f '{{.HostConfig.Memory}} {{.HostConfig.CpuQuota}} {{.HostConfig.CpuPeriod}} {{.HostConfig.ReadonlyRootfs}}' "$SIDECAR"
    assert_output '134217728 25000 100000 true'
    # Through the port of the pod.
    run ns curl -sS --max-time 10 http://127.0.0.1:9999/metrics
    assert_line "port_total{pod_name=\"$POD\"} 28232"
    in_pod "$SHOP" sh -c 'echo 40000 40199 > /proc/sys/net/ipv4/ip_local_port_range'
    wait_until 30 shop_says 'connect: Cannot assign requested address'
    answer=$(scrape_pod "$SIDECAR")
    assert_metric "$answer" "$POD" 200 port_total
    assert_metric "$answer" "$POD" 200 port_used
    assert_metric "$answer" "$POD" 200 port_destination_used_max
    assert_metric "$answer" "$POD" 0 port_blocked
    # What the shop says it has opened, less those of before, with ports outside this range.
    used=$(engine logs "$SHOP" | sed -n 's/^connections: //p' | tail -n 1)
    in_pod "$SHOP" sh -c 'echo 1024 65000 > /proc/sys/net/ipv4/ip_local_port_range'
    # Both ends, since the other end's port is now of the pool, too, and that of this scrape.
    run scrape_pod "$SIDECAR"
    [ "$(metric "${output//pod_name=\"$POD\"/pod_name=\"test-pod\"}" port_destination_used_max)" -ge "$used" ]
}

# podman_as_typed: a podman for pasted blocks, with this test's store, pods in its namespace, and no registry.
podman_as_typed() {
    mkdir "$BATS_TEST_TMPDIR/bin"
    cat >"$BATS_TEST_TMPDIR/bin/podman" <<WRAPPER
#!/bin/sh
case \$1 in
build) shift && exec podman.real --root "$STORE/root" --runroot "$STORE/run" build --pull=never --network=host "\$@" ;;
esac
exec ${NS_ENTER[*]} -- podman.real --root "$STORE/root" --runroot "$STORE/run" "\$@"
WRAPPER
    chmod +x "$BATS_TEST_TMPDIR/bin/podman"
    ln -s "$(command -v podman)" "$BATS_TEST_TMPDIR/bin/podman.real"
}

# paste DIRECTORY N: the Nth block of README.md about Kubernetes, there.
paste() {
    block README.md '## In Kubernetes' "$2" >"$BATS_TEST_TMPDIR/block"
    [ -s "$BATS_TEST_TMPDIR/block" ]
    (cd "$1" && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL PATH="$BATS_TEST_TMPDIR/bin:$PATH" sh -eu "$BATS_TEST_TMPDIR/block")
}

page_is_open() {
    ns curl -sSf --max-time 10 --noproxy '*' http://localhost:9999/ | grep -q '<html'
}

@test "README: podman kube play after make run, open on this machine alone, and taken away" {
    ns_create
    podman_as_typed
    # make run leaves a file of the image's name.
    cp "$STATIC_PROGRAM" "$BATS_FILE_TMPDIR/source/metrics-sidecar"
    paste "$BATS_FILE_TMPDIR/source" 2
    wait_until 10 page_is_open
    run awk '$4 == "0A" && $2 ~ /:270F$/ { print $2 }' "/proc/$NS_PID/net/tcp" "/proc/$NS_PID/net/tcp6"
    assert_output 0100007F:270F
    paste "$BATS_FILE_TMPDIR/source/deploy/kubernetes" 3
    run engine pod ps -q
    assert_output ""
    rm "$BATS_FILE_TMPDIR/source/metrics-sidecar"
}

@test "docs/kubernetes.md: the archive that podman saves has the name that the manifests ask for" {
    ns_create
    podman_as_typed
    block docs/kubernetes.md '## The image' 3 | grep '^podman ' >"$BATS_TEST_TMPDIR/block"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/block")" -eq 2 ]
    (cd "$BATS_TEST_TMPDIR" && PATH=$BATS_TEST_TMPDIR/bin:$PATH sh -eu block)
    run jq -r '.[].RepoTags[]' < <(tar -xOf "$BATS_TEST_TMPDIR/metrics-sidecar.tar" manifest.json)
    assert_output "docker.io/library/metrics-sidecar:$VERSION"
}

# scrape_with TOKEN: the status.
scrape_with() {
    scrape_pod "$SIDECAR" -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $1"
}

answers_401() {
    [ "$(scrape_with wrong)" = 401 ]
}

@test "docs/kubernetes.md: the patch for a token; only who shows it is answered" {
    ns_create
    mkdir "$BATS_TEST_TMPDIR/shop-observed"
    cp -r "$ROOT/deploy" "$BATS_TEST_TMPDIR/metrics-sidecar"
    printf 'resources: [../metrics-sidecar/kubernetes/example]\npatches:\n' >"$BATS_TEST_TMPDIR/shop-observed/kustomization.yaml"
    block docs/kubernetes.md '## A token' 1 | grep -v '^kubectl' >"$BATS_TEST_TMPDIR/block"
    (cd "$BATS_TEST_TMPDIR" && sh -eu block)
    {
        # Until version 4.4 podman mounts no Secret.
        kubectl create configmap metrics-sidecar-token --from-literal=token=abc --dry-run=client -o yaml
        echo ---
        kubectl kustomize "$BATS_TEST_TMPDIR/shop-observed" |
            sed "s|image: metrics-sidecar:.*|image: $IMAGE|; s/^\( *\)secret:\$/\1configMap:/; s/secretName:/name:/"
    } >"$BATS_TEST_TMPDIR/pod.yaml"
    play
    find_pod
    wait_until 10 answers_401
    run scrape_with abc
    assert_output 200
}

# as_json FILE: the workloads of a rendered file, without a cluster.
as_json() {
    kubectl label --local -f "$1" as=json -o json | jq -s 'map((.items? // [.])[] | select(.spec.template))'
}

# assert_restricted JSON: what the restricted profile of the Pod Security Standards demands of a pod.
assert_restricted() {
    run jq -r '[.[] | .spec.template.spec | . as $pod | (.containers + (.initContainers // []))[] | {
            name,
            escalates: (.securityContext.allowPrivilegeEscalation != false),
            privileged: (.securityContext.privileged == true),
            capabilities: ((.securityContext.capabilities.drop != ["ALL"]) or (.securityContext.capabilities.add != null)),
            root: ((.securityContext.runAsNonRoot != true) or (.securityContext.runAsUser == 0)),
            seccomp: (.securityContext.seccompProfile.type != "RuntimeDefault"),
            proc: (.securityContext.procMount != null),
            host: ($pod.hostNetwork or $pod.hostPID or $pod.hostIPC or ([.ports[]?.hostPort] | any)),
            volumes: ([$pod.volumes[]? | keys[] | select(. != "name")] - ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral",
                "persistentVolumeClaim", "projected", "secret"] | length > 0),
            probes: (.name == "metrics-sidecar" and (.livenessProbe or .readinessProbe or .startupProbe))
        } | select([.[] | select(. == true)] | length > 0)]' <<<"$1"
    assert_output '[]'
}

@test "rendered: the restricted profile" {
    local component
    mkdir -p "$BATS_TEST_TMPDIR/app"
    cp -r "$ROOT/deploy/kubernetes" "$BATS_TEST_TMPDIR/kubernetes"
    cat >"$BATS_TEST_TMPDIR/app/workload.yaml" <<'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {metrics-sidecar: enabled}}
spec: {template: {metadata: {labels: {app: a}}, spec: {containers: [{name: a, image: a}]}}}
YAML
    for component in sidecar native-sidecar; do
        printf 'resources: [workload.yaml]\ncomponents: [../kubernetes/%s]\n' "$component" >"$BATS_TEST_TMPDIR/app/kustomization.yaml"
        kubectl kustomize "$BATS_TEST_TMPDIR/app" >"$BATS_TEST_TMPDIR/rendered.yaml"
        # The business container here has no security context; those of the sidecar and of the example have all.
        assert_restricted "$(as_json "$BATS_TEST_TMPDIR/rendered.yaml" |
            jq '[.[] | .spec.template.spec.containers |= map(select(.name == "metrics-sidecar"))]')"
    done
    render ''
    assert_restricted "$(as_json "$BATS_TEST_TMPDIR/pod.yaml")"
}

# --- under pressure: the container is running, and answers again when the cause is gone

is_running() {
    [ "$(engine inspect -f '{{.State.Running}} {{.RestartCount}}' "$1")" = "true 0" ]
}

# memory_peak CONTAINER: bytes.
memory_peak() {
    local group
    group=$(sed -nE 's/^[0-9]+:memory:(.*)/\1/p' "/proc/$(pid_of "$1")/cgroup")
    if [ -n "$group" ]; then
        cat "/sys/fs/cgroup/memory$group/memory.max_usage_in_bytes"
    else
        cat "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(pid_of "$1")/cgroup")/memory.peak"
    fi
}

crowd_is_ready() {
    grep -q ready "$BATS_TEST_TMPDIR/crowd.out"
}

# Of 50 scrapers at once, how many were answered with a 200.
scrape_by_50() {
    seq 50 | xargs -P 50 -I {} nsenter -t "$(pid_of "$1")" -n -- curl -s --max-time 60 --local-port 6000-9000 \
        -o /dev/null -w '%{http_code}\n' http://127.0.0.1:9999/metrics | grep -cx 200
}

# A pod with 100,000 sockets and a sidecar that may have so much memory.
endure() {
    local peak
    engine run -d --name crowded --network none --read-only --cap-drop=all --security-opt=no-new-privileges \
        --cpus 0.25 -m "$1" --memory-swap "$1" "$IMAGE" --timeout=60
    start crowd nsenter -t "$(pid_of crowded)" -n -- "$ROOT/build/bench/crowd" established 50000 32768 60999
    wait_until 60 crowd_is_ready
    run scrape_pod crowded
    assert_line --regexp '^port_sockets\{pod_name="[0-9a-f]+",protocol="tcp",state="established"\} 5000[0-9]$'
    run scrape_by_50 crowded
    echo "# of 50 scrapes answered: $output, peak $(($(memory_peak crowded) / 1024)) KiB of $1" >&3
    [ "$output" -eq 50 ]
    is_running crowded
    peak=$(memory_peak crowded)
    [ "$peak" -lt 16777216 ]
    wait_until 10 pod_serves crowded
}

@test "100,000 sockets and 50 scrapers under 250m and 128Mi: below 16 MiB" {
    endure 128m
}

@test "the same with a limit of 16Mi" {
    endure 16m
}

@test "a masked /proc: 500, and 200 when it is not masked any more" {
    engine run -d --name masked --network none --security-opt mask=/proc/sys/net "$IMAGE"
    masked_fails() {
        [ "$(scrape_pod masked -o /dev/null -w '%{http_code}' 2>/dev/null)" = 500 ]
    }
    wait_until 5 masked_fails
    is_running masked
    "$PEER" unmount "$(pid_of masked)" /proc/sys/net
    wait_until 5 pod_serves masked
    is_running masked
}

@test "the port is taken by the business container: waited for" {
    engine run -d --name business --network none debian:bookworm-slim sleep infinity
    start holder nsenter -t "$(pid_of business)" -n -- "$PEER" hold 'listen 0.0.0.0 9999'
    wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/holder.out"
    engine run -d --name late --network container:business "$IMAGE"
    says_taken() {
        engine logs late 2>&1 | grep -q 'listen on :9999: Address.* in use' # as glibc or musl words it
    }
    wait_until 5 says_taken
    is_running late
    kill -TERM "${STARTED[-1]}"
    wait_until 6 pod_serves late
    is_running late
}

@test "a pids limit of 3: some scrapes are refused, none ends the container" {
    engine run -d --name few --network none --pids-limit 3 "$IMAGE"
    wait_until 5 pod_serves few
    # The limit bites: in one round of some at least one is refused.
    for _ in 1 2 3 4 5 6; do
        run scrape_by_50 few
        [ "$output" -eq 50 ] || break
    done
    echo "# of 50 scrapes answered: $output" >&3
    [ "$output" -lt 50 ]
    is_running few
    wait_until 5 pod_serves few
}

@test "a log that nobody reads is not waited for" {
    engine run -d --name mute --network none --security-opt mask=/proc/sys/net "$IMAGE"
    STOPPED=$(engine inspect -f '{{.State.ConmonPid}}' mute)
    kill -STOP "$STOPPED"
    # Each is a line in the log, different ones at that.
    run scrape_by_50 mute
    is_running mute
    "$PEER" unmount "$(pid_of mute)" /proc/sys/net
    wait_until 5 pod_serves mute
    kill -CONT "$STOPPED"
    is_running mute
}

# --- Prometheus

# target POD: as service discovery would give it.
target() {
    printf '      - targets: ["%s:9999"]\n        labels:\n' "$(engine inspect -f '{{.NetworkSettings.IPAddress}}' "$1")"
    printf '          __meta_kubernetes_pod_%s\n' 'container_port_name: metrics-sidecar' 'phase: Running' "name: $1"
    printf '          __meta_kubernetes_namespace: shop\n'
}

# The shipped configuration and rules; the discovery of a cluster replaced by two targets, times by shorter ones.
configure_prometheus() {
    {
        target first
        target second
    } >"$BATS_TEST_TMPDIR/targets"
    {
        echo "rule_files: [$BATS_TEST_TMPDIR/rules.yaml]"
        echo 'global: { evaluation_interval: 1s }'
        sed -e 's/_interval: 15s/_interval: 1s/; s/_timeout: 10s/_timeout: 1s/; s/kubernetes_sd_configs:/static_configs:/' \
            -e "/- role: pod/ { r $BATS_TEST_TMPDIR/targets" -e 'd }' "$ROOT/deploy/prometheus/scrape-kubernetes.yaml"
    } >"$BATS_TEST_TMPDIR/prometheus.yml"
    sed 's/for: 2m/for: 5s/' "$ROOT/deploy/prometheus/rules.yaml" >"$BATS_TEST_TMPDIR/rules.yaml"
}

finds_nothing() {
    [ -z "$(query "$1")" ]
}

@test "Prometheus with the shipped configuration and rules: two pods are up, the alert is pending, fires, and ends" {
    local alert='ALERTS{alertname="LocalPortsDestinationNearlyExhausted",pod="first",namespace="shop"' pod
    ns_create
    for pod in first second; do
        ns podman --root "$STORE/root" --runroot "$STORE/run" run -d --name "$pod" --network bridge \
            --env POD_NAME="$pod" --read-only --cap-drop=all "$IMAGE"
    done
    configure_prometheus
    start prometheus ns "$PROMETHEUS" --config.file="$BATS_TEST_TMPDIR/prometheus.yml" \
        --storage.tsdb.path="$BATS_TEST_TMPDIR/data" --web.listen-address="${API#http://}" --log.level=warn
    wait_until 20 finds 'count(up{job="metrics-sidecar-pods"} == 1) == 2'
    wait_until 5 finds 'count by (namespace) (port_total{pod=~"first|second"}) == 2'
    finds_nothing 'ALERTS{alertname=~"LocalPorts.*",pod!=""}'

    in_pod first sh -c 'echo 40000 40099 > /proc/sys/net/ipv4/ip_local_port_range'
    start hold nsenter -t "$(pid_of first)" -n -- "$PEER" hold 'listen 127.0.0.1 5000' '95 x connect 127.0.0.1 5000'
    wait_until 10 finds "$alert,alertstate=\"pending\"}"
    wait_until 20 finds "$alert,alertstate=\"firing\"}"
    finds_nothing 'ALERTS{alertname=~"LocalPorts.*",pod="second"}'
    kill -KILL "${STARTED[-1]}"
    in_pod first sh -c 'echo 32768 60999 > /proc/sys/net/ipv4/ip_local_port_range'
    wait_until 20 finds_nothing "$alert}"
}
