#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What deploy/prometheus/ tells others to use: promtool and the Alertmanager take it, it says what it should, and it agrees
# with docs/runbook.md, whose commands runbook.bats runs.

load helpers

DEPLOY=$ROOT/deploy/prometheus
RUNBOOK=$ROOT/docs/runbook.md

teardown() {
    stop_all
}

# The alerts and the recording rules of rules.yaml, a name on each line.
rules_of_kind() {
    sed -nE "s/^ +- $1: //p" "$DEPLOY/rules.yaml"
}

# alert_block NAME: the lines of that alert.
alert_block() {
    awk -v first="- alert: $1" '/^ +- (alert|record): / { inside = index($0, first) && $NF == substr(first, 10) } inside' \
        "$DEPLOY/rules.yaml"
}

# anchors: of the headings of the runbook, as GitHub makes them.
anchors() {
    sed -nE 's/^#+ //p' "$RUNBOOK" | tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g'
}

@test "promtool check rules takes the rules" {
    needs "$PROMTOOL"
    run "$PROMTOOL" check rules "$DEPLOY/rules.yaml"
    assert_success
    assert_output --partial "SUCCESS: 14 rules found"
}

@test "promtool test rules: each alert fires when it should, and only then" {
    needs "$PROMTOOL"
    run "$PROMTOOL" test rules "$DEPLOY/rules.test.yaml"
    assert_success
    assert_output --partial "SUCCESS"
}

@test "the rules of the operator are the same" {
    diff <(sed -n '/^groups:/,$p' "$DEPLOY/rules.yaml") \
        <(sed -n '/^  groups:/,$p' "$DEPLOY/prometheusrule.yaml" | sed 's/^  //')
    run sed -n '/^groups:/,$p' "$DEPLOY/rules.yaml"
    assert_line --partial "- alert:"
    run grep -v '^ *#' "$DEPLOY/prometheusrule.yaml"
    assert_line --index 0 "apiVersion: monitoring.coreos.com/v1"
    assert_line --index 1 "kind: PrometheusRule"
    assert_line "spec:"
}

# pod NAME PHASE PORT-NAME ADDRESS: a target with the labels that Kubernetes gives it.
pod() {
    local meta=__meta_kubernetes
    printf '      - targets: ["%s"]\n        labels: { %s }\n' "$4" \
        "${meta}_namespace: shop, ${meta}_pod_name: $1, ${meta}_pod_phase: $2, ${meta}_pod_container_port_name: $3"
}

# Debian's Prometheus has no kubernetes_sd_configs, so fixed targets stand in for it.
pods_instead_of_kubernetes() {
    {
        echo "    static_configs:"
        pod one Running metrics-sidecar 10.0.0.1:9999
        pod two Succeeded metrics-sidecar 10.0.0.2:9999
        pod three Failed metrics-sidecar 10.0.0.3:9999
        pod four Running http 10.0.0.4:8080
    } >"$BATS_TEST_TMPDIR/pods"
    sed -e "/^    kubernetes_sd_configs:\$/r $BATS_TEST_TMPDIR/pods" -e '/^    kubernetes_sd_configs:$/d' \
        -e '/^      - role: pod$/d' "$DEPLOY/scrape-kubernetes.yaml"
    # The jobs of hosts, pasted below.
    sed '1,/^scrape_configs:$/d' "$DEPLOY/scrape.yaml"
}

@test "promtool check config takes the jobs, pasted into a prometheus.yml that has the rules" {
    cp "$DEPLOY/rules.yaml" "$BATS_TEST_TMPDIR"
    {
        printf 'global: { scrape_interval: 1m }\nrule_files: [ rules.yaml ]\n'
        pods_instead_of_kubernetes
    } >"$BATS_TEST_TMPDIR/prometheus.yml"
    needs "$PROMTOOL"
    run "$PROMTOOL" check config "$BATS_TEST_TMPDIR/prometheus.yml"
    assert_success
    assert_output --partial "SUCCESS: 1 rule files found"
    assert_output --partial "is valid prometheus config file syntax"
    # And what stood there before is what the documentation of Prometheus asks for.
    run grep -A 1 '^    kubernetes_sd_configs:$' "$DEPLOY/scrape-kubernetes.yaml"
    assert_line --index 1 "      - role: pod"
}

@test "promtool check config of Debian 12 takes scrape.yaml as it is, and nothing but the discovery of scrape-kubernetes.yaml is unknown to it" {
    run "$PROMTOOL" check config "$DEPLOY/scrape.yaml"
    assert_success
    assert_output --partial "SUCCESS"
    run "$PROMTOOL" check config "$DEPLOY/scrape-kubernetes.yaml"
    [ "$status" -eq 0 ] || {
        assert_line --regexp 'line [0-9]+: field kubernetes_sd_configs not found'
        refute_output --regexp 'field [^k]'
    }
}

@test "README says which Prometheus the tests run with, and which Grafana the dashboard is compared with" {
    local tested grafana
    tested=$("$PROMETHEUS" --version 2>&1 | sed -nE 's/^prometheus, version ([0-9]+\.[0-9]+)\..*/\1/p')
    grafana=$(jq -r '.dependencies["@grafana/schema"]' "$ROOT/deploy/check/package.json")
    [ -n "$tested" ]
    grep -q "Rules and scraping are tested with .*\b${tested/./[.]} of Debian" "$ROOT/README.md"
    grep -qF "Grafana ${grafana%.*} publishes" "$ROOT/README.md"
}

# targets_of JOB: what is scraped of it, the labels sorted.
targets_of() {
    "$PROMTOOL" check service-discovery --timeout=1s "$BATS_TEST_TMPDIR/prometheus.yml" "$1" |
        awk '/"discoveredLabels"/ { labels = 0 } /"labels": \{$/ { labels = 1; line = ""; next }
            labels && /\}/ { print line; labels = 0 } labels && !/"__(scheme|metrics_path)__"/ { gsub(/[ ",]/, ""); line = line " " $0 }'
}

@test "a running pod with a port named metrics-sidecar is scraped, every 15 s, with its namespace and name" {
    pods_instead_of_kubernetes >"$BATS_TEST_TMPDIR/prometheus.yml"
    run targets_of metrics-sidecar-pods
    assert_output " __address__:10.0.0.1:9999 __scrape_interval__:15s __scrape_timeout__:10s instance:10.0.0.1:9999\
 job:metrics-sidecar-pods namespace:shop pod:one"
    run targets_of metrics-sidecar-hosts
    assert_output " __address__:localhost:9999 __scrape_interval__:15s __scrape_timeout__:10s instance:localhost:9999\
 job:metrics-sidecar-hosts"
}

@test "the alerts are these eight, and each has a severity, a summary, a description, and its section in the runbook" {
    run rules_of_kind alert
    assert_output "LocalPortsDestinationHalfUsed
LocalPortsDestinationNearlyExhausted
LocalPortsDestinationExhaustedSoon
LocalPortsPoolMostlyUsed
LocalPortsPoolNearlyExhausted
LocalPortsBlocked
LocalPortsSidecarDown
LocalPortsLowerBound"
    local alert block anchor
    for alert in $(rules_of_kind alert); do
        block=$(alert_block "$alert")
        run echo "$block"
        assert_line --regexp '^ +for: [0-9]+m$'
        assert_line --regexp '^ +severity: (info|warning|critical)$'
        assert_line --regexp '^ +summary: ".*\{\{ \$labels\.pod_name \}\}.+"$'
        assert_line --regexp '^ +description: >-$'
        assert_output --partial '{{ $value | humanize'
        # shellcheck disable=SC2016 # of a template
        assert_output --regexp 'command: >-\s+\{\{ if \$labels\.namespace \}\}kubectl .* --report\{\{ end \}\}'
        anchor=$(sed -nE "s/^ +runbook_url: '\{\{ with query \"metrics_sidecar_runbook\" .*\{\{ end \}\}#(.+)'\$/\1/p" <<<"$block")
        assert_equal "$anchor" "${alert,,}"
        grep -qx "## $alert" "$RUNBOOK"
        run anchors
        assert_line "$anchor"
    done
}

@test "every link inside the runbook leads somewhere" {
    local anchor
    while read -r anchor; do
        run anchors
        assert_line "$anchor"
    done < <(grep -oE '\]\(#[^)]+\)' "$RUNBOOK" | sed -E 's/^\]\(#//; s/\)$//' | sort -u)
}

@test "each section of an alert says what it means, how bad it is, where to look, what to do, and when it is over" {
    local alert
    for alert in $(rules_of_kind alert); do
        run awk -v heading="## $alert" '/^## / { inside = $0 == heading } inside' "$RUNBOOK"
        assert_output --regexp '\*\*Meaning\.\*\*.*\*\*How bad\.\*\*.*\*\*Look\.\*\*.*\*\*Now\.\*\*.*\*\*Tomorrow\.\*\*.*\*\*Over when\*\*'
    done
}

@test "the address of the runbook is in one place, and every alert has it whole" {
    local file address=https://wiki.example.org/metrics-sidecar/docs/runbook.md other=https://docs.example.net/ports.md
    for file in rules.yaml prometheusrule.yaml; do
        run grep -c "$address" "$DEPLOY/$file"
        assert_output 1
        # With its section behind it: what the tests of the rules expect of each alert.
        sed "s|$address|$other|" "$DEPLOY/$file" >"$BATS_TEST_TMPDIR/$file"
    done
    # One case of the tests of the rules will do: the others are run above, each alert with its address.
    sed -n -e '1,/^tests:/p' -e '/^  - name: half used - one pod/,/^$/p' "$DEPLOY/rules.test.yaml" |
        sed "s|$address|$other|" >"$BATS_TEST_TMPDIR/rules.test.yaml"
    grep -q "runbook_url: \"$other#localports" "$BATS_TEST_TMPDIR/rules.test.yaml"
    run "$PROMTOOL" test rules "$BATS_TEST_TMPDIR/rules.test.yaml"
    assert_success
    cp "$DEPLOY/rules.yaml" "$BATS_TEST_TMPDIR"
    run "$PROMTOOL" test rules "$BATS_TEST_TMPDIR/rules.test.yaml"
    assert_failure
    assert_output --partial "$other"
}

# commands: what the alerts of rules.test.yaml name, each once.
commands() {
    sed -nE 's/^ +command: "(.*)"$/\1/p' "$DEPLOY/rules.test.yaml" | sort -u
}

@test "the command that an alert names is the report, of the pod that it is about" {
    run commands
    assert_line "kubectl -n shop exec -it shop-1-x2x7k -c metrics-sidecar -- /metrics-sidecar --report"
    assert_line "metrics-sidecar --report # on the host web; for a pod: kubectl exec -it web -c metrics-sidecar -- /metrics-sidecar --report"
    # kubectl takes it so far that it looks for a cluster; without kubectl's part it is a report.
    local command
    while IFS= read -r command; do
        dash -n <<<"$command"
        [[ $command != kubectl* ]] || command=${command#*-- /}
        run env PATH="$(dirname "$PROGRAM"):$PATH" dash -c "$command"
        assert_success
        assert_line --index 0 --partial "Local ports of test-pod: "
    done < <(commands)
    # The container has that name wherever there is one.
    run grep -rhoE '^ *(- )?name: metrics-sidecar$' "$ROOT"/deploy/kubernetes/*/container.yaml
    [ "${#lines[@]}" -ge 2 ]
}

# firing_at CASE TIME: the labels of the alerts that rules.test.yaml has firing then, as JSON for the Alertmanager.
firing_at() {
    awk -v begin="  - name: $1" -v time="$2" '/^  - name: / { inside = $0 == begin } !inside { next }
        /eval_time: / { now = $2 == time } now && /labels: ALERTS/' "$DEPLOY/rules.test.yaml" |
        sed -E 's/.*ALERTS\{(.*)\}$/\1/; s/([a-z_]+)=("[^"]*")/"\1": \2/g; s/.*/{"labels": {&}}/' |
        jq -s 'map(del(.labels.alertstate))'
}

# times_of CASE
times_of() {
    awk -v begin="  - name: $1" '/^  - name: / { inside = $0 == begin } inside && /eval_time: / { print $2 }' \
        "$DEPLOY/rules.test.yaml"
}

# start_alertmanager: in the namespace, with the rules of inhibition as they are shipped.
start_alertmanager() {
    {
        cat "$DEPLOY/alertmanager.yaml"
        printf 'route: { receiver: night }\nreceivers: [ { name: night } ]\n'
    } >"$BATS_TEST_TMPDIR/alertmanager.yml"
    rm -rf "$BATS_TEST_TMPDIR/alertmanager"
    # It reads its templates from where its package would have them.
    # shellcheck disable=SC2016 # for that shell
    start alertmanager ns unshare -m sh -c 'mount --bind "$1/usr/share" /usr/share && shift && exec "$@"' sh "$UNPACKED" \
        "$UNPACKED/usr/bin/prometheus-alertmanager" --config.file="$BATS_TEST_TMPDIR/alertmanager.yml" \
        --storage.path="$BATS_TEST_TMPDIR/alertmanager" --web.listen-address=127.0.0.1:9093 --cluster.listen-address=
    wait_until 20 ns curl -sSf http://127.0.0.1:9093/-/ready
}

# alerts [QUERY]: those that the Alertmanager has.
alerts() {
    ns curl -sSf "http://127.0.0.1:9093/api/v2/alerts?${1:-}" | jq -r '.[].labels | .alertname + (.protocol // "")' | sort
}

# has_alerts N [QUERY]
has_alerts() {
    [ "$(alerts "${2:-}" | wc -l)" -eq "$1" ]
}

# ring ALERTS: as Prometheus tells the Alertmanager.
ring() {
    ns curl -sSf -H 'Content-Type: application/json' -d "$1" http://127.0.0.1:9093/api/v2/alerts
}

# expect_ringing CASE TIME: of all that fires then, one alert rings.
expect_ringing() {
    local firing
    firing=$(firing_at "$1" "$2")
    ns_create
    start_alertmanager
    ring "$firing"
    wait_until 5 has_alerts "$(jq length <<<"$firing")"
    wait_until 5 has_alerts 1 inhibited=false || fail "$1, $2: ring $(alerts inhibited=false | tr '\n' ' ')"
    echo "$2 $(alerts inhibited=false)" >>"$BATS_TEST_TMPDIR/ringing"
    stop_all
}

@test "one leak rings one alert at a time, the gravest; another pod's, and one of UDP, ring beside it" {
    local leak time
    while IFS= read -r leak; do
        for time in $(times_of "$leak"); do
            expect_ringing "$leak" "$time"
        done
    done < <(sed -n 's/^  - name: \(one leak - .*\)/\1/p' "$DEPLOY/rules.test.yaml")
    diff - "$BATS_TEST_TMPDIR/ringing" <<'RINGING'
110m LocalPortsDestinationHalfUsed
160m LocalPortsDestinationExhaustedSoon
170m LocalPortsDestinationExhaustedSoon
185m LocalPortsDestinationNearlyExhausted
202m LocalPortsDestinationNearlyExhausted
40m LocalPortsBlocked
110m LocalPortsDestinationHalfUsed
202m LocalPortsDestinationNearlyExhausted
170m LocalPortsPoolMostlyUsedtcp
202m LocalPortsPoolNearlyExhaustedtcp
170m LocalPortsPoolMostlyUsedudp
202m LocalPortsPoolNearlyExhaustedudp
RINGING
    # All that fires of one pod, and one alert of another pod and of UDP.
    ns_create
    start_alertmanager
    ring "$(firing_at "one leak - connections to one destination, half a percent of the pool a minute" 202m)"
    ring "$(firing_at "one leak - UDP sockets" 170m)"
    ring "$(firing_at "one leak - UDP sockets" 170m | jq 'map(.labels.pod_name = "shop-2" | .labels.instance = "10.0.0.2:9999" | .labels.protocol = "tcp")')"
    wait_until 5 has_alerts 7
    wait_until 5 has_alerts 3 inhibited=false
    assert_equal "$(alerts inhibited=false | tr '\n' ' ')" \
        "LocalPortsDestinationNearlyExhausted LocalPortsPoolMostlyUsedtcp LocalPortsPoolMostlyUsedudp "
}

@test "the rules of inhibition name alerts that there are" {
    local alert
    while IFS= read -r alert; do
        rules_of_kind alert | grep -qx "$alert"
        echo "$alert" >>"$BATS_TEST_TMPDIR/named"
    done < <(sed -nE 's/^.*alertname =~? "LocalPorts\(?([A-Za-z|]+)\)?".*/\1/p' "$DEPLOY/alertmanager.yaml" | tr '|' '\n' | sed 's/^/LocalPorts/')
    # All of those that tell of used ports.
    run sort -u "$BATS_TEST_TMPDIR/named"
    assert_output "$(rules_of_kind alert | grep -vE 'SidecarDown|LowerBound' | sort)"
}

# tested fires|rests: alerts of rules.test.yaml with a case in which they fire, or in which they do not.
tested() {
    awk -v want="$1" '/^ +alertname: / { alert = $2 }
        /^ +exp_alerts: \[\]$/ { if (want == "rests") print alert; next }
        /^ +exp_alerts:/ { if (want == "fires") print alert }' "$DEPLOY/rules.test.yaml" | sort -u
}

@test "every alert has a test in which it fires, and one in which it does not" {
    assert_equal "$(tested fires)" "$(rules_of_kind alert | sort)"
    assert_equal "$(tested rests)" "$(rules_of_kind alert | sort)"
}

# metrics_in_rules: the metrics that expressions ask for: what is left of them without functions, keywords, labels
# and times.
metrics_in_rules() {
    {
        sed -nE 's/.*\{\{ with query "([a-z_]+)" .*/\1/p' "$DEPLOY/rules.yaml"
        awk '/^ +expr: \|$/ { inside = 1; next } inside && /^ +(for|labels|- [a-z]+): ?|^ *#|^$/ { inside = 0 } inside' \
            "$DEPLOY/rules.yaml"
    } | sed -E -e 's/(ignoring|group_left|on|by) \([^)]*\)//g' -e 's/\[[0-9a-z]+\]//g' \
        -e 's/[a-z_]+\(/(/g' -e 's/\{[^}]*\}//g' | grep -oE '[a-zA-Z_][a-zA-Z0-9_:]*' | grep -vxE 'and|or|unless|bool' | sort -u
}

# metrics_of_program: what it exposes; what only the supervisor does is in a scrape.
metrics_of_program() {
    ns_create
    start_server --top-destinations=1
    {
        ns "$PROGRAM" --print --top-destinations=1
        scrape
    } | awk '/^# TYPE / { print $3 }' | sort -u
}

@test "every metric in the rules is one that the program exposes, or a recording rule, or up" {
    metrics_of_program >"$BATS_TEST_TMPDIR/program"
    grep -qx port_total "$BATS_TEST_TMPDIR/program"
    grep -qx metrics_sidecar_connections_total "$BATS_TEST_TMPDIR/program"
    run comm -23 <(metrics_in_rules) <({
        cat "$BATS_TEST_TMPDIR/program"
        rules_of_kind record
        echo up
    } | sort)
    assert_output ""
    # The list is not empty, and each recording rule is of use.
    run metrics_in_rules
    assert_line port_destination_used_max
    assert_line up
    run comm -13 <(metrics_in_rules) <(rules_of_kind record | sort)
    assert_output ""
}

@test "every metric in the runbook is one that the program exposes, or a recording rule" {
    metrics_of_program >"$BATS_TEST_TMPDIR/program"
    run comm -23 <(grep -oE '\b(port_[a-z_]+|metrics_sidecar_[a-z_]+|pod_name[a-z_]*:[a-z_:]+)' "$RUNBOOK" | sort -u) \
        <({
            cat "$BATS_TEST_TMPDIR/program"
            rules_of_kind record
        } | sort)
    assert_output ""
}
