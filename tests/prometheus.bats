#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# A real Prometheus takes what the program says, in both formats, and so does promtool.

load helpers

# The one remark: dashboards of users depend on that name.
REMARK='port_total non-counter metrics should not have "_total" suffix'

setup() {
    needs "$PROMETHEUS" "$PROMTOOL"
    ns_create
    make_busy_procfs "$BATS_TEST_TMPDIR/procfs"
}

teardown() {
    stop_all
}

# start_text_only PORT: a server that is never asked for OpenMetrics. Prometheus always prefers that and has no
# setting for it, so a filter in front of `--inetd`, one for each connection, takes the Accept field away.
start_text_only() {
    start text_only ns systemd-socket-activate -a --inetd -l "127.0.0.1:$1" -E "POD_NAME=$POD_NAME" \
        -E "METRICS_SIDECAR_PROCFS=$BATS_TEST_TMPDIR/procfs" -E "PROGRAM=$PROGRAM" \
        sh -c 'sed -u "/^Accept:/d" | "$PROGRAM" --inetd'
    wait_until 5 ns_listens "$1"
}

# start_prometheus JOB=PORT...: it scrapes each every second.
start_prometheus() {
    local job
    {
        echo 'global: { scrape_interval: 1s, scrape_timeout: 1s }'
        echo 'scrape_configs:'
        for job; do
            echo "- { job_name: ${job%=*}, static_configs: [ { targets: [ '127.0.0.1:${job#*=}' ] } ] }"
        done
    } >"$BATS_TEST_TMPDIR/prometheus.yml"
    "$PROMTOOL" check config --syntax-only "$BATS_TEST_TMPDIR/prometheus.yml"
    start prometheus ns "$PROMETHEUS" --config.file="$BATS_TEST_TMPDIR/prometheus.yml" \
        --storage.tsdb.path="$BATS_TEST_TMPDIR/data" --web.listen-address="${API#http://}" --log.level=warn
}

# query_values EXPRESSION: a line for each series, without the time it is from.
query_values() {
    query "$1" | sed 's/ @\[[0-9.]*\]$//'
}

# type_of JOB FAMILY: what Prometheus was told of it.
type_of() {
    ns curl -sS --max-time 5 --noproxy '*' -G "$API/api/v1/targets/metadata" \
        --data-urlencode "match_target={job=\"$1\"}" --data-urlencode "metric=$2" |
        grep -oE '"type":"[a-z]+"'
}

# assert_ingested JOB: the series of make_busy_procfs are there, with these values.
assert_ingested() {
    local labels="instance=\"127.0.0.1:$2\", job=\"$1\", pod_name=\"test-pod\""
    run query_values "port_used{job=\"$1\"}"
    assert_output "port_used{$labels} => 6"
    run query_values "port_total{job=\"$1\"}"
    assert_output "port_total{$labels} => 990"
    run query_values "port_used_by_protocol{job=\"$1\"}"
    assert_line "port_used_by_protocol{$labels, protocol=\"tcp\"} => 4"
    assert_line "port_used_by_protocol{$labels, protocol=\"udp\"} => 3"
}

# samples JOB: how many series the last scrape brought.
samples() {
    query_values "scrape_samples_scraped{job=\"$1\"}" | sed 's/.*=> //'
}

@test "Prometheus scrapes it, OpenMetrics and text, and has the right figures" {
    start_server --web.listen-address=127.0.0.1:9999
    start openmetrics ns "$PROGRAM" --web.listen-address=127.0.0.1:9998 --path.procfs="$BATS_TEST_TMPDIR/procfs"
    wait_until 5 ns_listens 9998
    start_text_only 9997
    start_prometheus true=9999 openmetrics=9998 text=9997
    local job
    for job in true openmetrics text; do
        wait_until 20 finds "up{job=\"$job\"}"
        run query_values "up{job=\"$job\"} == 1"
        assert_output --regexp "^up\{.*job=\"$job\"\} => 1$"
    done

    assert_ingested openmetrics 9998
    assert_ingested text 9997
    # Every line of the exposition became a series: those of the supervisor are seven outcomes and its start.
    assert_equal "$(samples text)" "$("$PROGRAM" --print --path.procfs="$BATS_TEST_TMPDIR/procfs" | grep -vc '^#')"
    assert_equal "$(samples openmetrics)" "$(($(samples text) + 8))"
    # Each job was told the family in its own format: only OpenMetrics has a type for facts.
    run type_of openmetrics metrics_sidecar
    assert_output '"type":"info"'
    run type_of text metrics_sidecar_info
    assert_output '"type":"gauge"'
    run type_of openmetrics metrics_sidecar_connections
    assert_output '"type":"counter"'

    # The true figures: Prometheus itself has ports of the pool.
    run query_values 'port_used{job="true"} >= 1 and port_used{job="true"} <= port_total{job="true"}'
    assert_output --regexp '^port_used\{.*\} => [0-9]+$'
    run query_values 'port_total{job="true"} == 28232'
    assert_output --regexp '=> 28232$'
    run query_values 'increase(metrics_sidecar_connections_total{job="true",outcome!="served"}[1m]) > 0'
    assert_output ""
}

@test "promtool check metrics has nothing to say but that port_total ends in _total" {
    start_server
    scrape >"$BATS_TEST_TMPDIR/loop"
    ns "$PROGRAM" --print >"$BATS_TEST_TMPDIR/print"
    local exposition
    for exposition in loop print; do
        run "$PROMTOOL" check metrics <"$BATS_TEST_TMPDIR/$exposition"
        assert_output "$REMARK"
        # 3 is a remark; 1 is what does not parse.
        assert_failure 3
    done
}

# without_threshold QUERY: where nothing is wrong, an expression of an alert finds nothing.
without_threshold() {
    sed -E 's/ (>|==|!=) [0-9]+(\.[0-9]+)?//g; s/\{netns="other"\}//; s/outcome="[a-z]+"//' <<<"$1"
}

@test "every query of docs/metrics.md finds something" {
    local heading n=0 last="" expression number=0
    start_server --web.listen-address=127.0.0.1:9999 --top-destinations=5
    hold "listen 127.0.0.1 5000" "connect 127.0.0.1 5000 127.0.0.1 ~40000"
    start_prometheus docs=9999
    # rate() needs two scrapes.
    wait_until 20 finds 'changes(port_total[1m]) == 0 and count_over_time(port_total[1m]) > 1'
    while IFS= read -r heading; do
        [ "$heading" = "$last" ] || n=0
        last=$heading
        n=$((n + 1))
        number=$((number + 1))
        expression=$(block_below docs/metrics.md "$heading" promql "$n")
        run query "$expression"
        assert_success
        [ -n "$output" ] || finds "$(without_threshold "$expression")" || fail "$heading: $expression: nothing found"
    done < <(blocks docs/metrics.md | sed -n 's/\tpromql$//p')
    assert_equal "$number" "$(grep -c '^```promql$' "$ROOT/docs/metrics.md")"
    # An expression of a metric that does not exist finds nothing either way.
    run finds "$(without_threshold 'port_nonexistent > 1')"
    assert_failure
}

@test "OpenMetrics, as Prometheus asks for it: its media type, and # EOF at the end" {
    local accept='application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75'
    accept+=',text/plain;version=0.0.4;q=0.5,*/*;q=0.1'
    start_server
    scrape -H "Accept: $accept" -D "$BATS_TEST_TMPDIR/head" >"$BATS_TEST_TMPDIR/answer"
    run grep -i '^content-type:' "$BATS_TEST_TMPDIR/head"
    assert_output --regexp '^Content-Type: application/openmetrics-text; ?version=1\.0\.0; ?charset=utf-8'
    [ "$(tail -n 1 "$BATS_TEST_TMPDIR/answer")" = "# EOF" ]
    tail -c 6 "$BATS_TEST_TMPDIR/answer" | cmp - <(printf "# EOF\n")
    assert_equal "$(grep -c '^# EOF' "$BATS_TEST_TMPDIR/answer")" 1
    # The text format has no such line.
    run grep -c '^# EOF' <(scrape)
    assert_output 0
}
