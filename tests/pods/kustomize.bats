#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The command blocks of README.md and docs/kubernetes.md, pasted beside directories as users have them, and the
# components: what kubectl renders of it. There is no cluster here: apply and diff only render.

bats_require_minimum_version 1.5.0
load ../helpers
load blocks

INPUTS=$ROOT/tests/pods/inputs
EXPECTED=$ROOT/tests/pods/expected
VERSION=$(sed -n 's/^VERSION := //p' "$ROOT/Makefile")
WORKLOADS='Deployment StatefulSet DaemonSet ReplicaSet ReplicationController'

setup() {
    command -v jq >/dev/null || fail "needs jq"
    KUBECTL=$(command -v kubectl) || fail "needs kubectl"
    mkdir "$BATS_TEST_TMPDIR/bin" "$BATS_TEST_TMPDIR/work"
    cat >"$BATS_TEST_TMPDIR/bin/kubectl" <<WRAPPER
#!/bin/sh
case \$1 in
apply | diff) exec "$KUBECTL" kustomize "\$3" ;;
create) exec "$KUBECTL" "\$@" --dry-run=client -o yaml ;;
*) exec "$KUBECTL" "\$@" ;;
esac
WRAPPER
    chmod +x "$BATS_TEST_TMPDIR/bin/kubectl"
    cd "$BATS_TEST_TMPDIR/work" || return
    mkdir metrics-sidecar
    cp -r "$ROOT/deploy" metrics-sidecar/
}

# paste FILE HEADING N: the block, as a user of sh does it; what the last command prints is in rendered.yaml.
paste() {
    block "$@" >"$BATS_TEST_TMPDIR/block"
    [ -s "$BATS_TEST_TMPDIR/block" ] || fail "$1 has no block $3 below $2"
    PATH=$BATS_TEST_TMPDIR/bin:$PATH sh -eu "$BATS_TEST_TMPDIR/block" >printed.yaml
}

# user_has INPUT: that directory is his.
user_has() {
    rm -rf shop shop-observed
    cp -r "$INPUTS/$1" shop
}

# observe [KIND [PATCH]]: what README.md says, for another kind with the changes that the table of docs/kubernetes.md names.
observe() {
    paste README.md '## In Kubernetes' 4
    if [ "${1:-Deployment}" != Deployment ]; then
        cp "metrics-sidecar/deploy/kubernetes/${2:-sidecar/container.yaml}" shop-observed/container.yaml
        sed -i "s/kind: Deployment, name: shop/kind: $1, name: shop/" shop-observed/kustomization.yaml
        grep -q "kind: $1," shop-observed/kustomization.yaml
    fi
    render
}

render() {
    kubectl kustomize shop-observed >rendered.yaml
}

# as_json FILE: its documents, as one list.
as_json() {
    kubectl label --local -f "$1" as=json -o json | jq -s 'map(.items? // [.]) | add'
}

# pods FILTER: of each pod in rendered.yaml.
pods() {
    as_json rendered.yaml | jq -r '.[] | . as $workload | (.spec.jobTemplate.spec.template // .spec.template //
        if .kind == "Pod" then . else empty end) | '"$1"
}

# containers: a line for each workload: its name, and the names of its containers, a native sidecar behind a plus.
containers() {
    pods '"\($workload.metadata.name): " + ([(.spec.initContainers[]? | "+" + .name), .spec.containers[].name] | join(" "))'
}

# Nothing of the user's is edited, and nothing that his directory renders is gone or in another order.
assert_only_added() {
    diff -r "$INPUTS/$1" shop
    kubectl kustomize shop >before.yaml
    run grep '^<' <(diff -d before.yaml rendered.yaml)
    assert_output ""
    run grep -c '^>' <(diff -d before.yaml rendered.yaml)
    [ "$output" -gt 30 ]
}

# assert_rendered INPUT: as expected, but for the version.
assert_rendered() {
    sed "s/metrics-sidecar:$VERSION/metrics-sidecar:VERSION/" rendered.yaml >actual.yaml
    [ -z "${UPDATE_GOLDEN:-}" ] || cp actual.yaml "$EXPECTED/$1.yaml"
    diff "$EXPECTED/$1.yaml" actual.yaml
    assert_only_added "$1"
}

# --- directories as users have them

@test "several documents, comments, a namespace and a generator: one Deployment of two" {
    user_has documents
    observe
    assert_rendered documents
    run containers
    assert_output "payment: payment
shop: shop metrics-sidecar"
    # What the block itself printed, twice, is the same.
    diff printed.yaml <(cat rendered.yaml rendered.yaml)
}

@test "images of his own stay what they are" {
    user_has images
    observe
    assert_rendered images
    run pods '.spec.containers[].image'
    assert_output "registry.example.org/shop:7
redis:7.2-alpine
registry.example.org/metrics-sidecar:$VERSION"
}

@test "components and patches of his own still apply" {
    user_has components
    observe
    assert_rendered components
    run pods '.spec.containers[0].resources.limits.memory, $workload.spec.replicas'
    assert_output "256Mi
3"
}

@test "labels, a prefix and annotations of a transformer" {
    user_has labels
    observe
    assert_rendered labels
    run pods '.metadata.labels | keys | join(" ")'
    assert_output "app metrics-sidecar team"
}

@test "a StatefulSet" {
    user_has statefulset
    observe StatefulSet
    assert_rendered statefulset
}

@test "a Job" {
    user_has job
    observe Job native-sidecar/container.yaml
    assert_rendered job
    run containers
    assert_output "shop: +metrics-sidecar shop"
}

@test "a CronJob" {
    user_has cronjob
    observe CronJob native-sidecar/cronjob.yaml
    assert_rendered cronjob
    run containers
    assert_output "shop: +metrics-sidecar shop"
}

@test "hostNetwork, with another port as docs/kubernetes.md sets it" {
    user_has hostnetwork
    observe
    paste docs/kubernetes.md '## hostNetwork' 1
    render
    assert_rendered hostnetwork
    run containers
    assert_output "shop: shop metrics-sidecar"
    run pods '.spec.containers[1] | (.env[] | select(.name == "METRICS_SIDECAR_PORT").value), (.ports | tojson)'
    assert_output '9998
[{"containerPort":9998,"name":"metrics-sidecar"}]'
}

@test "initContainers of his own: the native sidecar is the first" {
    user_has initcontainers
    paste README.md '## In Kubernetes' 4
    cp metrics-sidecar/deploy/kubernetes/native-sidecar/container.yaml shop-observed/
    render
    assert_rendered initcontainers
    run containers
    assert_output "shop: +metrics-sidecar +migrate +proxy shop"
}

@test "a template without labels" {
    user_has unlabelled
    observe Job native-sidecar/container.yaml
    assert_rendered unlabelled
    run pods '.metadata.labels | tojson'
    assert_output '{"metrics-sidecar":"enabled"}'
}

# --- the other blocks

@test "options: set for the sidecar, and the containers keep their order" {
    user_has images
    observe
    containers >before
    # All of his own are named, as the text says.
    block docs/kubernetes.md '## Options' 1 | sed "s/^\( *\)- name: shop\$/&\n\1- name: cache/" >options.sh
    sh -eu options.sh
    render
    assert_only_added images
    diff before <(containers)
    run pods '.spec.containers[2].env | map(.name) | join(" ")'
    assert_output "METRICS_SIDECAR_TOP_DESTINATIONS METRICS_SIDECAR_PORT POD_NAME"
    # And they would not, as it says too: else there is no need to name them.
    sed -i '/- name: shop$/d; /- name: cache$/d' shop-observed/kustomization.yaml
    render
    run containers
    assert_output "shop: metrics-sidecar shop cache"
}

@test "a token: a Secret, mounted" {
    user_has components
    observe
    paste docs/kubernetes.md '## A token' 1
    run grep -E '^(kind|  name|  token): ' printed.yaml
    assert_line 'kind: Secret'
    assert_line '  name: metrics-sidecar-token'
    run sed -n 's/^  token: //p' printed.yaml
    [ "$(base64 -d <<<"$output" | wc -c)" -eq 64 ]
    render
    assert_only_added components
    run containers
    assert_output "shop: shop metrics-sidecar"
    run pods '.spec.containers[1].volumeMounts, .spec.volumes | tojson'
    assert_output '[{"mountPath":"/token","name":"metrics-sidecar-token","readOnly":true}]
[{"name":"metrics-sidecar-token","secret":{"secretName":"metrics-sidecar-token"}}]'
}

@test "a mesh: the port is left out, and annotations of his own stay" {
    user_has labels
    observe
    paste docs/kubernetes.md '## Meshes' 1
    render
    assert_only_added labels
    run pods '.metadata.annotations | to_entries[] | .key + "=" + .value'
    assert_output "config.linkerd.io/skip-inbound-ports=9999
owner=checkout@example.org
traffic.sidecar.istio.io/excludeInboundPorts=9999"
}

@test "the operator: its label and the token" {
    paste docs/kubernetes.md '## The Prometheus operator' 1
    run jq -c '.[] | .kind, .metadata.labels.release, .spec.selector.matchLabels, .spec.podMetricsEndpoints[0].authorization' \
        < <(as_json printed.yaml)
    assert_output '"PodMonitor"
"prometheus"
{"metrics-sidecar":"enabled"}
{"credentials":{"key":"token","name":"metrics-sidecar-token"}}'
}

@test "a cluster on this machine is given the image that the example asks for" {
    local file number image
    kubectl kustomize "$ROOT/deploy/kubernetes/example" >rendered.yaml
    image=$(pods '.spec.containers[] | select(.name == "metrics-sidecar").image')
    for number in 'README.md ## In Kubernetes:1' 'docs/kubernetes.md ## The image:1' 'docs/kubernetes.md ## The image:2'; do
        file=${number%% *} number=${number#* }
        run block "$file" "${number%:*}" "${number##*:}"
        assert_line --regexp "^(kind load docker-image|minikube image load) $image( +#.*)?\$"
    done
}

# --- components, by the label

# workloads KIND...: each with the label, two kinds with a template that has none.
workloads() {
    local kind api selector labels
    for kind; do
        api=apps/v1 selector='selector: {matchLabels: {app: a}},' labels='metadata: {labels: {app: a}},'
        case $kind in
        Job | CronJob) api=batch/v1 selector='' labels='' ;;
        ReplicationController | Pod) api=v1 selector='selector: {app: a},' ;;
        StatefulSet) selector="serviceName: a, $selector" ;;
        esac
        printf 'apiVersion: %s\nkind: %s\nmetadata: {name: %s, labels: {metrics-sidecar: enabled}}\n' "$api" "$kind" "${kind,,}"
        case $kind in
        Pod) printf 'spec: {containers: [{name: a, image: a}]}\n---\n' ;;
        CronJob) printf 'spec: {schedule: "@daily", jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: a}]}}}}}\n---\n' ;;
        *)
            printf 'spec: {%s template: {%s spec: {containers: [{name: a, image: a}]}}}\n---\n' "$selector" "$labels"
            ;;
        esac
    done
}

# has_workloads COMPONENTS KIND...: a directory shop with these, and what it renders.
has_workloads() {
    mkdir -p shop shop-observed
    workloads "${@:2}" >shop/shop.yaml
    echo 'resources: [shop.yaml]' >shop/kustomization.yaml
    printf 'resources: [../shop]\ncomponents: [%s]\n' "$1" >shop-observed/kustomization.yaml
}

SIDECAR=../metrics-sidecar/deploy/kubernetes/sidecar
NATIVE=../metrics-sidecar/deploy/kubernetes/native-sidecar

@test "the component sidecar: last in every kind that goes on for ever, and its label for Prometheus" {
    # shellcheck disable=SC2086 # a list of words
    has_workloads "$SIDECAR" $WORKLOADS
    render
    run containers
    [ "${#lines[@]}" -eq 5 ]
    refute_line --regexp ': a$'
    [ "$(grep -c ': a metrics-sidecar$' <<<"$output")" -eq 5 ]
    run pods '.metadata.labels["metrics-sidecar"]'
    [ "$(grep -cx enabled <<<"$output")" -eq 5 ]
}

@test "the component sidecar refuses a Job, a CronJob and a Pod, and says what takes them" {
    local kind
    for kind in Job CronJob Pod; do
        has_workloads "$SIDECAR" Deployment "$kind"
        run render
        assert_failure
        assert_output --partial 'a Job, CronJob or Pod takes deploy/kubernetes/native-sidecar instead of sidecar'
    done
}

@test "the component native-sidecar, as docs/kubernetes.md has it: first in every kind" {
    # shellcheck disable=SC2086 # a list of words
    has_workloads "" $WORKLOADS Job CronJob Pod
    paste docs/kubernetes.md '## By a label' 1
    render
    run containers
    [ "${#lines[@]}" -eq 8 ]
    [ "$(grep -c ': +metrics-sidecar a$' <<<"$output")" -eq 8 ]
    run pods '.metadata.labels["metrics-sidecar"], .spec.initContainers[0].restartPolicy, .spec.initContainers[0].image'
    [ "$(grep -cx enabled <<<"$output")" -eq 8 ]
    [ "$(grep -cx Always <<<"$output")" -eq 8 ]
    [ "$(grep -cx "registry.example.org/metrics-sidecar:$VERSION" <<<"$output")" -eq 8 ]
}

@test "a template without labels, with the component in the directory that adds labels to it" {
    local component
    for component in "$SIDECAR" "$NATIVE"; do
        has_workloads "$component" Deployment
        sed -i 's/metadata: {labels: {app: a}},//' shop/shop.yaml
        printf 'resources: [shop.yaml]\ncomponents: [%s]\nlabels: [{pairs: {app: a}, includeSelectors: true}]\n' \
            "$component" >shop/kustomization.yaml
        kubectl kustomize shop >rendered.yaml
        run pods '.metadata.labels | tojson'
        assert_output '{"app":"a","metrics-sidecar":"enabled"}'
    done
}

@test "both components, or one in a base and in its overlay: one sidecar" {
    local first second
    for first in "$SIDECAR" "$NATIVE"; do
        for second in "$SIDECAR" "$NATIVE"; do
            # shellcheck disable=SC2086 # a list of words
            has_workloads "$first, $second" $WORKLOADS
            render
            cp rendered.yaml both.yaml
            run containers
            [ "$(grep -o metrics-sidecar <<<"$output" | wc -l)" -eq 5 ]
            printf 'resources: [shop.yaml]\ncomponents: [%s]\n' "$first" >shop/kustomization.yaml
            printf 'resources: [../shop]\ncomponents: [%s]\n' "$second" >shop-observed/kustomization.yaml
            render
            diff both.yaml rendered.yaml
        done
    done
}

@test "without the label nothing is added" {
    # shellcheck disable=SC2086 # a list of words
    has_workloads "$SIDECAR, $NATIVE" $WORKLOADS Job CronJob Pod
    sed -i 's/metrics-sidecar: enabled/metrics-sidecar: disabled/' shop/shop.yaml
    render
    diff <(kubectl kustomize shop) rendered.yaml
}

# --- the manifests themselves

@test "the sidecar is the same in every patch" {
    local kind patch
    has_workloads "$SIDECAR" Deployment
    render
    pods '.spec.containers[1]' | jq -S . >plain.json
    has_workloads "$NATIVE" Deployment CronJob Pod
    render
    for kind in Deployment CronJob Pod; do
        diff plain.json <(pods 'select($workload.kind == "'$kind'") | .spec.initContainers[0] | del(.restartPolicy)' | jq -S .)
    done
}

@test "what is rendered has the types of Kubernetes and of the operator" {
    local directory
    paste docs/kubernetes.md '## The Prometheus operator' 1
    cp printed.yaml monitor.yaml
    for directory in example podman service podmonitor; do
        kubectl kustomize "$ROOT/deploy/kubernetes/$directory" >"$directory.yaml"
    done
    # shellcheck disable=SC2086 # a list of words
    has_workloads "$NATIVE" $WORKLOADS Job CronJob Pod
    render
    run "$ROOT/deploy/check/run" "$EXPECTED"/*.yaml "$ROOT/deploy/kubernetes/networkpolicy.yaml" \
        monitor.yaml example.yaml podman.yaml service.yaml podmonitor.yaml rendered.yaml
    assert_success
    assert_output --regexp 'checked by type: [3-9][0-9], errors: 0'
}
