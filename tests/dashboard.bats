#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The dashboard asks for what the program exposes, a real Prometheus answers each of its expressions, and it stays
# readable with hundreds of pods. deploy/check/run compares it with Grafana's types.

load helpers

DASHBOARD=$ROOT/deploy/grafana/dashboard.json
# Every row and panel, those of collapsed rows too; and the panels alone.
ALL='def all: .panels[] | ., .panels[]?; def panels: all | select(.type != "row");'
# Of the test with many pods: seconds since 1970, and what Grafana makes of 10 minutes and a scrape each minute.
START=1700000000
END=$((START + 600))
PODS=300

setup() {
    command -v jq >/dev/null || fail "needs jq"
}

teardown() {
    stop_all
}

# ask FILTER: of the dashboard, as plain text.
ask() {
    jq -r "$ALL $1" "$DASHBOARD"
}

# assert_none FILTER: the filter says what is wrong.
assert_none() {
    run ask "$1"
    assert_success
    assert_output ""
}

# fill_in JOB POD RATE-INTERVAL RANGE: the lines of standard input, as Grafana would send them.
fill_in() {
    sed -e "s/\\\$job/$1/g; s/\\\$namespace/.*/g; s/\\\$pod_name/$2/g; s/\\\$top/10/g" \
        -e "s/\\\$__rate_interval/$3/g; s/\\\$__range/$4/g"
}

# expression TITLE: that of the first query of a panel, on one line.
expression() {
    ask "panels | select(.title == \"$1\") | .targets[0].expr | gsub(\"\\n\"; \" \")"
}

# start_prometheus ARGUMENT...: with $BATS_TEST_TMPDIR/prometheus.yml and the storage $BATS_TEST_TMPDIR/data.
start_prometheus() {
    needs "$PROMETHEUS" "$PROMTOOL"
    start prometheus ns "$PROMETHEUS" --config.file="$BATS_TEST_TMPDIR/prometheus.yml" \
        --storage.tsdb.path="$BATS_TEST_TMPDIR/data" --web.listen-address="${API#http://}" --log.level=warn "$@"
    wait_until 20 ns curl -sSf --max-time 5 --noproxy '*' "$API/-/ready"
}

# labels_of: those of the series of standard input, each once.
labels_of() {
    grep -oE '[a-z_]+="' | tr -d '="' | sort -u
}

@test "every panel says what it shows and what to do with it, in which unit, from the data source chosen" {
    assert_none 'all | select((.title // "") == "") | "panel \(.id): no title"'
    assert_none 'panels | select((.description // "" | length) < 40) | "\(.title): no description"'
    assert_none 'panels | select((.fieldConfig.defaults.unit // "") == "") | "\(.title): no unit"'
    assert_none 'panels | select(.fieldConfig.defaults.min != 0) | "\(.title): does not begin at 0"'
    assert_none 'panels | select((.targets | length) == 0) | "\(.title): no query"'
    assert_none '(panels | ., .targets[]), (.templating.list[] | select(.type == "query")) |
        select(.datasource != {type: "prometheus", uid: "${datasource}"}) | "\(.title // .name // .expr): \(.datasource)"'
    # Nothing may depend on one installation: not a numeric id, not a version, not an input asked for.
    assert_none '.id, .version, .__inputs | values'
    run ask '.uid, (.templating.list[] | select(.type == "datasource") | .name, .query)'
    assert_output "$(printf '%s\n' metrics-sidecar datasource prometheus)"
}

@test "no id occurs twice, and no query of a panel has the name of another" {
    assert_none '[all.id] | group_by(.)[] | select(length > 1 or .[0] == null) | "id \(.[0]): \(length) times"'
    assert_none 'panels | .title as $title | [.targets[].refId] | group_by(.)[] | select(length > 1) | "\($title): \(.[0])"'
    # By title, too, nobody could tell them apart.
    assert_none '[panels.title] | group_by(.)[] | select(length > 1) | .[0]'
}

@test "no panel lies on another, or outside the 24 columns, or in a row that is not its own" {
    assert_none 'def clash: . as $p | range(length) as $i | range($i) as $j |
        $p[$i].gridPos as $a | $p[$j].gridPos as $b |
        select($a.x < $b.x + $b.w and $b.x < $a.x + $a.w and $a.y < $b.y + $b.h and $b.y < $a.y + $a.h) |
        "\($p[$i].title) lies on \($p[$j].title)";
        (.panels, (.panels[] | select(.type == "row").panels)) | clash'
    assert_none 'all | select(.gridPos | .x < 0 or .y < 0 or .w < 1 or .h < 1 or .x + .w > 24) | "\(.title): outside"'
    # A panel belongs to the row before it in the file; one of a collapsed row stands inside it.
    assert_none 'def unsorted: [.[].gridPos | [.y, .x]] | select(. != sort) | "not from top to bottom: \(.)";
        (.panels, (.panels[] | select(.type == "row").panels)) | unsorted'
    assert_none '.panels[] | select(.type == "row") | .gridPos.y as $y | select(.collapsed != (.panels | length > 0)),
        (.panels[] | select(.gridPos.y <= $y)) | "\(.title): row and panels do not agree"'
    assert_none '.panels[0] | select(.type != "row") | "\(.title): belongs to no row"'
}

@test "the columns of a table are those of its queries, and what is said of a column is said of one" {
    local many='panels | select(.type == "table") | .title as $title |
        (.transformations[] | select(.id == "organize").options) as $o | ($o.renameByName | to_entries) as $shown |'
    assert_none "$many"' (if (.targets | length) == 1 then ["Value"] else [.targets[] | "Value #\(.refId)"] end) as $have |
        [($shown[].key), ($o.excludeByName | keys[])] | map(select(startswith("Value"))) | sort |
        select(. != $have) | "\($title): \(.) shown or hidden, asked for are \($have)"'
    assert_none "$many"' [$o.indexByName | to_entries | sort_by(.value)[].key] | select(. != [$shown[].key]) |
        "\($title): the order is of other columns"'
    assert_none "$many"' (.options.sortBy[].displayName,
        (.fieldConfig.overrides[].matcher | if .id == "byRegexp" then .options[3:-3] / "|" | .[] else .options end)) |
        select(. as $name | all($shown[].value; . != $name)) | "\($title): no column \(.)"'
    assert_none 'panels | select(.type == "table") | .targets[] | select(.instant != true or .format != "table") | .expr'
}

@test "every metric of the dashboard is one that the program exposes, and the other way round" {
    ns_create
    start_server --top-destinations=10
    hold "listen 127.0.0.1 5000" "connect 127.0.0.1 5000 127.0.0.1 40100"
    scrape | sed -nE 's/^([a-z_]+)\{.*/\1/p' | sort -u >"$BATS_TEST_TMPDIR/exposed"
    # A name stands before its braces; one of ours without them is one that ignores the variables.
    ask '(panels | .targets[].expr), (.templating.list[].query | .query? // empty)' >"$BATS_TEST_TMPDIR/expressions"
    grep -oE '\b[a-z_]+\{|\b(port|metrics_sidecar)_[a-z_]+' "$BATS_TEST_TMPDIR/expressions" | tr -d '{' |
        grep -vx up | sort -u >"$BATS_TEST_TMPDIR/named"
    run diff "$BATS_TEST_TMPDIR/exposed" "$BATS_TEST_TMPDIR/named"
    assert_output ""
    assert_none 'panels | .targets[].expr | scan("\\b(?:port|metrics_sidecar)_[a-z_]+(?![a-z_{])")'
}

@test "every selector depends on the variables, and nothing else does on what they do not have" {
    # What a panel of all pods asks is the same whatever is selected; every other panel asks for the selected ones.
    assert_none 'panels | .targets[].expr | scan("[a-z_]+\\{[^}]*\\}") |
        select(startswith("port") or startswith("metrics")) |
        select(contains("job=~\"$job\", namespace=~\"$namespace\"") | not)'
    assert_none '(.panels | map(.title) | index("Selected pods")) as $first |
        (.panels[:$first][] | select(.type != "row") | .targets[].expr | select(contains("$pod_name"))),
        (.panels[$first:][] | ., .panels[]? | .targets[]?.expr |
            scan("\\b(?:port|metrics)[a-z_]+\\{[^}]*\\}") | select(contains("pod_name=~\"$pod_name\"") | not))'
    assert_equal "$(ask 'panels | .targets[].expr' | grep -oE '\$[a-z_]+' | sort -u | xargs)" \
        '$__range $__rate_interval $job $namespace $pod_name $top'
    assert_equal "$(ask '.templating.list[].name' | xargs)" 'datasource job namespace pod_name top'
    # All means also those that do not have the label at all.
    assert_none '.templating.list[] | select(.includeAll and (.allValue != ".*" or (.multi | not))) | .name'
}

@test "a real Prometheus that scrapes the program has an answer to every expression" {
    ns_create
    start_server --top-destinations=10 --web.listen-address=127.0.0.1:9999
    local sockets
    mapfile -t sockets < <(
        echo "listen 127.0.0.1 5000"
        lines 40100 40109 "connect 127.0.0.1 5000 127.0.0.1 ~PORT"
    )
    hold "${sockets[@]}"
    # Pods of a namespace; and hosts, whose targets have none.
    cat >"$BATS_TEST_TMPDIR/prometheus.yml" <<-'EOF'
	global: { scrape_interval: 1s, scrape_timeout: 1s }
	scrape_configs:
	- { job_name: pods, static_configs: [ { targets: [ '127.0.0.1:9999' ], labels: { namespace: shop } } ] }
	- { job_name: hosts, static_configs: [ { targets: [ '127.0.0.1:9999' ] } ] }
	EOF
    start_prometheus
    # A rate takes two scrapes.
    wait_until 20 finds 'rate(metrics_sidecar_connections_total{job="pods"}[10s])'
    wait_until 20 finds 'rate(metrics_sidecar_connections_total{job="hosts"}[10s])'

    # The test below has pods with a namespace.
    local expression count=0
    while read -r expression; do
        run query "$expression"
        assert_success
        [ -n "$output" ] || fail "nothing found: $expression"
        count=$((count + 1))
    done < <(ask 'panels | .targets[].expr | gsub("\n"; " ")' | fill_in hosts test-pod 10s 1m)
    assert_equal "$count" "$(ask '[panels | .targets[]] | length')"
    [ "$count" -gt 0 ]

    # What the variables offer: label_values(SELECTOR, LABEL) or label_values(NAME, LABEL).
    local selector label offered=''
    while read -r label selector; do
        offered+=" $(query "count by ($label) ($selector)" | labels_of)"
    done < <(ask '.templating.list[].query | .query? // empty' | fill_in pods |
        sed -nE 's/^label_values\((.*), ([a-z_]+)\)$/\2 \1/p')
    assert_equal "$offered" " job namespace pod_name"

    # And what was made, 10 ports to one destination; asking has made connections to others.
    run query "round(($(expression "Destinations nearest to exhaustion" | fill_in pods test-pod 10s 1m)) * 28232)"
    assert_line --regexp 'destination="127.0.0.1:5000", .*source="127.0.0.1"\} => 10 @'
    run query "round($(expression "Nearest of all" | fill_in pods) * 28232) >= 10"
    assert_line --regexp '^\{\} => [0-9]+ @'
}

# make_many_pods: what Prometheus would have of so many pods after 10 minutes, each with every series of the real
# program, but for what the awk script says. The order of the pods changes from minute to minute.
make_many_pods() {
    scrape -H 'Accept: application/openmetrics-text' | grep -v '^#' >"$BATS_TEST_TMPDIR/samples"
    awk -v pods="$PODS" -v start="$START" '
        { sample[NR] = $0 }
        END {
            for (t = 0; t <= 10; t++)
                for (p = 1; p <= pods; p++)
                    one(p, t, start + 60 * t)
            print "# EOF"
        }
        function one(p, t, time,    i, labels, name, total, used, answers) {
            labels = "pod_name=\"pod-" p "\",namespace=\"shop-" p % 7 "\",job=\"pods\",instance=\"pod-" p ":9999\""
            # The last five answer for three minutes.
            answers = p <= pods - 5 || t <= 3
            print "up{job=\"pods\",namespace=\"shop-" p % 7 "\",instance=\"pod-" p ":9999\"}", answers, time
            if (!answers)
                return
            # Three above 90 %, four more above 50 %, and one whose pool is empty.
            total = p == 8 ? 0 : 1000
            used = p <= 3 ? 950 : p <= 7 ? 600 : p == 8 ? 0 : (p * 37 + t * 53) % 500
            for (i = 1; i <= NR; i++) {
                name = substr(sample[i], 1, index(sample[i], "{") - 1)
                line = sample[i]
                sub(/pod_name="test-pod"/, labels, line)
                if (name ~ /^port_(destination_used(_max)?|used|time_wait(_reusable)?|blocked|scan_sockets|scan_duration_seconds)$/)
                    sub(/ [^ ]*$/, " " used, line)
                else if (name == "port_total")
                    sub(/ [^ ]*$/, " " total, line)
                else if (p <= 2)
                    sub(/netns="[a-z]+"/, "netns=\"other\"", line)
                print line, time
            }
        }' "$BATS_TEST_TMPDIR/samples" >"$BATS_TEST_TMPDIR/many"
    "$PROMTOOL" tsdb create-blocks-from openmetrics "$BATS_TEST_TMPDIR/many" "$BATS_TEST_TMPDIR/data" >/dev/null
}

# expect_figure VALUE TITLE: of a panel with one number, at the end.
expect_figure() {
    run query "$(expression "$2" | fill_in '.*' '.*' 4m 10m)" --time "$END"
    assert_output --regexp "^\{\} => $1 @"
}

@test "with hundreds of pods a panel shows no more series than it may, each with a name of its own, and counts right" {
    needs "$PROMTOOL"
    ns_create
    start_server --top-destinations=10
    hold "listen 127.0.0.1 5000" "connect 127.0.0.1 5000 127.0.0.1 40100"
    make_many_pods
    echo 'global: {}' >"$BATS_TEST_TMPDIR/prometheus.yml"
    start_prometheus --storage.tsdb.retention.time=100y

    # The 14 states of sockets are the most there is but for $top.
    local title legend expression series worst=0
    while IFS=$'\t' read -r title legend expression; do
        ns "$PROMTOOL" query range --start "$START" --end "$END" --step 60s "$API" "$expression" \
            >"$BATS_TEST_TMPDIR/range" || fail "$title: $expression"
        series=$(grep -c ' =>$' "$BATS_TEST_TMPDIR/range") || fail "$title: nothing found"
        [ "$series" -le 14 ] || fail "$title: $series series"
        case $expression in
        *topk*)
            [ "$series" -eq 10 ] || fail "$title: $series series of the worst 10"
            worst=$((worst + 1))
            ;;
        esac
        # The legend has the labels that the series have: no two have the same one.
        assert_equal "$title: $(grep ' =>$' "$BATS_TEST_TMPDIR/range" | labels_of | xargs)" \
            "$title: $(grep -oE '\{\{[a-z_]+' <<<"$legend" | tr -d '{' | sort -u | xargs)"
    done < <(ask 'panels | select(.type == "timeseries") | .title as $title | .targets[] |
        [$title, .legendFormat, (.expr | gsub("\n"; " "))] | join("\t")' | fill_in '.*' '.*' 4m 10m)
    [ "$worst" -ge 8 ]

    # The worst are there, with their peak: pod-8 has an empty pool.
    local pod
    run query "$(expression "Nearest destination: the worst pods" | fill_in '.*' '.*' 4m 10m)" --time "$END"
    for pod in 1 2 3 4 5 6 7 8; do
        assert_line --partial "pod_name=\"pod-$pod\""
    done
    assert_line --regexp 'pod_name="pod-8"\} => 1 @'
    assert_line --regexp 'pod_name="pod-1"\} => 0.95 @'

    expect_figure 295 "Pods measured"
    expect_figure 8 "Above 50 %"
    expect_figure 4 "Above 90 %"
    expect_figure 1 "Nearest of all"
    expect_figure 5 "Not answering"
    expect_figure 2 "Other network namespace"

    # One pod selected is one pod shown.
    run query "$(expression "TIME_WAIT" | fill_in '.*' pod-20 4m 10m)" --time "$END"
    assert_output --regexp '^\{namespace="shop-6", pod_name="pod-20"\} => [0-9]+ @'

    # A table has a line for each pod that answers, but for destinations, of which there may be a hundred of each.
    local columns lines
    while IFS=$'\t' read -r title columns expression; do
        query "$expression" --time "$END" >"$BATS_TEST_TMPDIR/instant"
        lines=$(wc -l <"$BATS_TEST_TMPDIR/instant")
        case $title in
        "Destinations now") assert_equal "$title: $lines" "$title: 100" ;;
        *) assert_equal "$title: $lines" "$title: 295" ;;
        esac
        # Its labels are columns.
        run comm -23 <(labels_of <"$BATS_TEST_TMPDIR/instant") <(tr ' ' '\n' <<<"$columns" | sort)
        assert_output ""
    done < <(ask 'panels | select(.type == "table") | .title as $title |
        (.transformations[1].options.renameByName | keys | map(select(startswith("Value") | not)) | join(" ")) as $labels |
        .targets[] | [$title, $labels, (.expr | gsub("\n"; " "))] | join("\t")' | fill_in '.*' '.*' 4m 10m)
}
