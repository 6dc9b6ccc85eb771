#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Options, environment variables, and what is said of bad ones.

load helpers

setup() {
    ns_create
}

teardown() {
    stop_all
}

@test "--version names the version that metrics_sidecar_info has" {
    run "$PROGRAM" --version
    assert_success
    assert_line --index 0 --regexp '^metrics-sidecar [0-9]+\.[0-9]+\.[0-9]+$'
    assert_line --index 1 --regexp '^sandbox:( [a-z_]+)*$'
    local version=${lines[0]#metrics-sidecar }
    run "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_line --partial "version=\"$version\""
}

@test "--help fits 80 columns and 30 lines" {
    run "$PROGRAM" --help
    assert_success
    [ "$(wc -l <<<"$output")" -le 30 ]
    [ "$(wc -L <<<"$output")" -le 80 ]
}

@test "a bad option: one line, status 2, nothing served" {
    local option
    while read -r option; do
        # shellcheck disable=SC2086 # words
        run ns timeout 5 "$PROGRAM" $option
        [ "$status" -eq 2 ] || fail "$option: status $status"
        [ "${#lines[@]}" -eq 1 ] || fail "$option: said $output"
        [[ $output == "metrics-sidecar: use "*": "*"; see --help" ]] || fail "$option: said $output"
    done <<'OPTIONS'
--nonsense
nonsense
-x
--timeout
--timeout=
--timeout=0
--timeout=61
--timeout=1.5
--timeout=-1
--timeout=99999999999999999999
--max-connections=0
--max-connections=16385
--max-processes=65
--max-processes=0x8
--top-destinations=101
--idle-exit=x
--source=magic
--source=sock_diag --path.procfs=/tmp
--path.procfs=
--netns-file=
--web.listen-address=9999
--web.listen-address=:0
--web.listen-address=:65536
--web.listen-address=localhost
--web.listen-address=shop.example:9999
--web.listen-address=:http
--web.listen-address=*:9999
--web.listen-address=::1:9999
--web.listen-address=[::1]
--web.listen-address=[]:9999
--web.listen-address=[fe80::1]:9999
--web.listen-address=[fe80::1%]:9999
--web.listen-address=[::1%lo]:9999
--web.listen-address=unix:relative
--web.listen-address=unix:
--web.listen-address=:1,
--print=x
--print --report
--report --print
--inetd --print
--report --inetd
-h -x
OPTIONS
    run ns "$PROGRAM" --web.listen-address="$(seq -s , -f ':%g' 17)"
    [ "$status" -eq 2 ]
    assert_output --partial ': more than 16 addresses'
    run ns "$PROGRAM" --pod-name="$(printf '%0254d' 0)"
    [ "$status" -eq 2 ]
    # What is repeated of it does nothing to a terminal, and makes no second line.
    run "$PROGRAM" --timeout=$'a\nb\e[31m\xff'
    [ "$status" -eq 2 ]
    assert_output "metrics-sidecar: use --timeout=a?b?[31m?: not a whole number from 1 to 60; see --help"
    run "$PROGRAM" --print --report
    assert_output "metrics-sidecar: use --report: only one of --inetd, --print and --report; see --help"
}

@test "-h is --help, and help is given whatever else is asked for" {
    local options help
    help=$("$PROGRAM" --help)
    [[ $help == "Usage: metrics-sidecar "* ]]
    for options in -h "--print -h" "--help --print" "--report --help --inetd" "--watch --help" "-h --version"; do
        # shellcheck disable=SC2086 # words
        run "$PROGRAM" $options
        assert_success
        assert_output "$help"
    done
    # The same mode twice is one.
    run "$PROGRAM" --print --print --path.procfs="$FIXTURES/idle"
    assert_success
}

@test "the report names destinations whatever the variable says, unless the option asks for none" {
    local value
    for value in '' 0 3 nonsense; do
        METRICS_SIDECAR_TOP_DESTINATIONS=$value run "$PROGRAM" --report --path.procfs="$FIXTURES/busy"
        assert_success
        assert_line --regexp '^23 of 990 ports .*: 127\.0\.0\.1:5000 from 127\.0\.0\.1$'
        assert_line "Top destinations"
    done
    METRICS_SIDECAR_TOP_DESTINATIONS=3 run "$PROGRAM" --report --top-destinations=0 --path.procfs="$FIXTURES/busy"
    assert_line --partial "not named without --top-destinations=N"
    refute_line "Top destinations"
    # What everyone who can open the port may see is as the variable says.
    METRICS_SIDECAR_TOP_DESTINATIONS=0 run "$PROGRAM" --print --path.procfs="$FIXTURES/busy"
    refute_line --regexp '^port_destination_used\{'
}

@test "every option is read from its variable, and the option wins" {
    METRICS_SIDECAR_PORT=9998 start_server
    run ns curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9998/metrics
    assert_output 200
    stop_all

    ns_create
    METRICS_SIDECAR_LISTEN_ADDRESS='127.0.0.1:9997,[::1]:9996' METRICS_SIDECAR_PORT=9998 start_server
    run ns curl -s -o /dev/null -o /dev/null -w '%{http_code}' http://127.0.0.1:9997/metrics 'http://[::1]:9996/metrics'
    assert_output 200200
    run ns curl -s http://127.0.0.1:9998/metrics
    assert_failure
    stop_all

    ns_create
    METRICS_SIDECAR_LISTEN_ADDRESS=127.0.0.1:9997 start_server --web.listen-address=:9999
    serves
    run ns curl -s http://127.0.0.1:9997/metrics
    assert_failure

    run env METRICS_SIDECAR_PROCFS="$FIXTURES/exhausted" "$PROGRAM" --print
    assert_line 'port_total{pod_name="test-pod"} 10'
    run env METRICS_SIDECAR_PROCFS="$FIXTURES/exhausted" "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_line 'port_total{pod_name="test-pod"} 28232'
}

@test "pod_name: option, else POD_NAME, else the host name" {
    run env POD_NAME=a "$PROGRAM" --print --pod-name=b --path.procfs="$FIXTURES/idle"
    assert_line 'port_used{pod_name="b"} 0'
    run env POD_NAME=a "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_line 'port_used{pod_name="a"} 0'
    run env -u POD_NAME "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_line "port_used{pod_name=\"$(uname -n)\"} 0"
    # The host name of a pod, as the kernel has it.
    run unshare -Urn --uts sh -c 'hostname shop-abc; exec env -u POD_NAME "$@"' sh \
        "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_line 'port_used{pod_name="shop-abc"} 0'
}

@test "a bad variable is logged, and the default used" {
    # The second is what Kubernetes sets for a Service that is called metrics-sidecar.
    METRICS_SIDECAR_TIMEOUT=never METRICS_SIDECAR_PORT=tcp://10.0.0.1:9999 METRICS_SIDECAR_SOURCE=magic \
        METRICS_SIDECAR_MAX_PROCESSES=0 METRICS_SIDECAR_LISTEN_ADDRESS=somewhere POD_NAME=$(printf '%0254d' 0) \
        start_server
    [ "$(scrape_status)" = 200 ]
    run server_log
    assert_line "metrics-sidecar: use METRICS_SIDECAR_TIMEOUT=never: not a whole number from 1 to 60: default used"
    assert_line --partial "use METRICS_SIDECAR_PORT=tcp://10.0.0.1:9999: "
    assert_line --partial "use METRICS_SIDECAR_SOURCE=magic: not one of auto, sock_diag, procfs"
    assert_line --partial "use METRICS_SIDECAR_MAX_PROCESSES=0: "
    assert_line --regexp "use METRICS_SIDECAR_LISTEN_ADDRESS=somewhere: .*: localhost:9999 used\$"
    assert_line --partial "use POD_NAME=0"
    run scrape
    assert_line "port_total{pod_name=\"$(uname -n)\"} 28232"
}

@test "an empty variable is none" {
    METRICS_SIDECAR_PORT='' METRICS_SIDECAR_TIMEOUT='' start_server
    serves
    [ "$(wc -l <"$BATS_TEST_TMPDIR/server.err")" -eq 1 ]
}

@test "with another procfs, auto means its files; the variable cannot ask for anything else" {
    run "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_output --partial 'source="procfs"'
    METRICS_SIDECAR_SOURCE=sock_diag run "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_success
    assert_output --partial "use METRICS_SIDECAR_SOURCE=sock_diag: another procfs than /proc is read as files only: procfs used"
    assert_output --partial 'source="procfs"'
}

@test "--print that fails: status 1, one line, no number" {
    run "$PROGRAM" --print --path.procfs=/nonexistent
    assert_failure 1
    assert_output "metrics-sidecar: read procfs: No such file or directory"
    run bash -c '"$1" --print --path.procfs="$2" > /dev/full' bash "$PROGRAM" "$FIXTURES/idle"
    assert_failure 1
    assert_output "metrics-sidecar: write metrics: No space left on device"
}

# assert_named WORD FILE...
assert_named() {
    local file
    for file in "${@:2}"; do
        grep -qF -- "$1" "$file" || fail "$(basename "$file") does not name $1"
    done
}

@test "README and the manual page name every option, variable and metric of the program" {
    local word manual=$BATS_TEST_TMPDIR/manual
    needs mandoc
    mandoc -T ascii "$ROOT/metrics-sidecar.8" | col -b >"$manual"
    # Of the source, lest one be missing everywhere.
    for word in $(sed -nE 's/^\t\{ "([a-z.-]+)".*/--\1/p' "$ROOT/options.c") \
        $(grep -oE '"(METRICS_SIDECAR|POD)_[A-Z_]+"' "$ROOT/options.c" | tr -d '"'); do
        assert_named "$word" "$ROOT/README.md" "$manual" <("$PROGRAM" --help)
    done
    start_server --top-destinations=1
    for word in $(scrape | sed -nE 's/^# TYPE ([a-z_]+) .*/\1/p'); do
        assert_named "\`$word\`" "$ROOT/README.md"
        # As an entry of its own.
        grep -qE "^\.It (.* )?$word( |$)" "$ROOT/metrics-sidecar.8" || fail "the manual page has no entry $word"
    done
}

# options_in program|help|README|manual: a line for each option, as it is told there: name, variable, default, range.
options_in() {
    python3 - "$ROOT" "$PROGRAM" "$1" <<'PYTHON'
import os, re, subprocess, sys

root, program, place = sys.argv[1:]
RANGE = r"(\d+) to (\d+)"


def read(name):
    with open(os.path.join(root, name)) as f:
        return f.read()


def say(*arguments, **variables):
    run = subprocess.run([program, *arguments], env={"POD_NAME": "x", **variables}, capture_output=True, text=True)
    return run.stdout + run.stderr


def last(pattern, text):
    found = re.findall(pattern, text)
    return found[-1].strip() if found else "-"


def range_in(text):
    found = re.search(RANGE, text)
    return " to ".join(found.groups()) if found else "-"


def of_program():
    """Variable and default of a number as the source has them; the range as option and variable refuse a value."""
    defaults_of_help = {option: default for option, _, default, _ in of_help()}
    source = read("options.c")
    defaults = re.search(r"\nset_defaults\(.*?\n}\n", source, re.S)[0]
    for row in re.findall(r"\{ \"(.*?) \},\n", source, re.S):
        option = row.split('"')[0]
        variable = last(r'"([A-Z_]+_[A-Z_]+)"', row)
        ranges = "-"
        default = defaults_of_help[option]
        number = re.search(r"NUMBER\((\w+)\)", row)
        if number:
            ranges = range_in(say("--print", f"--{option}=x"))
            assert ranges == range_in(say("--print", **{variable: "x"})), option
            default = last(rf"\.{number[1]} = (\d+)", defaults).replace("-", "0")
        yield option, variable, default, ranges


def of_help():
    text = say("--help")
    variables = text.split("Environment, ")[1].split(":")[1].split()
    assert variables.pop(0) == "METRICS_SIDECAR_PORT"
    for option, argument, rest in re.findall(r"^  --([a-z.-]+)(=\S+)? +(.*)$", text, re.M):
        # They stand there in the order of the options that have one.
        yield option, variables.pop(0) if argument else "-", last(r"\(([^);]*)[^)]*\)$", rest), range_in(rest)
    assert not variables, variables


def of_readme():
    table = read("README.md").split("| option | variable | default |\n")[1].split("\n\n")[0]
    for line in table.splitlines()[1:]:
        told, variable, default = (cell.strip() for cell in line.strip("|").split("|"))
        for option in re.match(r"(?:`--[^`]+`(?:, (?=`--))?)+", told)[0].split(", "):
            yield (re.match(r"`--([a-z.-]+)", option)[1], last(r"^`([A-Z_]+)`", variable),
                   last(r"^[^;:]+|^:\d+", default.replace("`", "")), range_in(told) if "=" in option else "-")


def of_manual():
    text = read("metrics-sidecar.8")
    variables = {option: variable for variable, option in
                 re.findall(r"^\.It Ev ([A-Z_]+)\n\.Fl -([a-z.-]+)", text, re.M)}
    part = text.split(".Ss Options\n")[1].split(".Sh ENVIRONMENT")[0]
    for item in part.split("\n.It Fl -")[1:]:
        head, body = item.split("\n", 1)
        body = " ".join(re.sub(r"^\.(Ql|Pa|Fl|Ar|Xr|Va|Ev|Pq) ", "", line) for line in body.splitlines())
        option = head.split()[0]
        yield (option, variables.get(option, "-"), last(r"default is (?:the )?(.+?) ?[.,;:](?:\s|$)", body),
               range_in(body) if "Ns" in head else "-")


places = {"program": of_program, "help": of_help, "README": of_readme, "manual": of_manual}
for option, variable, default, ranges in places[place]():
    print(option, variable, default, ranges)
PYTHON
}

@test "every option has the same variable, default and range in the program, --help, README and the manual page" {
    local place file=$BATS_TEST_TMPDIR/options
    for place in program help README manual; do
        options_in "$place" | sort >"$file.$place"
        [ "$(wc -l <"$file.$place")" -eq "$("$PROGRAM" --help | grep -c '^  --')" ]
    done
    diff "$file.program" "$file.help"
    diff "$file.program" "$file.README"
    diff "$file.program" "$file.manual"
    # A variable without an option.
    METRICS_SIDECAR_PORT=x run "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_output --partial "METRICS_SIDECAR_PORT=x: not a whole number from 1 to 65535"
    grep -qF 'METRICS_SIDECAR_PORT` for the port alone, 1 to 65535 |' "$ROOT/README.md"
    grep -qF 'every address: 1 to 65535; the default is 9999.' "$ROOT/metrics-sidecar.8"
}

# texts: what users read or install, by name.
texts() {
    (cd "$ROOT" && ls README.md CONTRIBUTING.md SECURITY.md CHANGELOG.md docs/*.md metrics-sidecar.8 systemd/* inetd/* \
        deploy/kubernetes/*.yaml deploy/kubernetes/*/*.yaml debian/control Dockerfile page.c)
}

@test "every text names options and variables that exist, with values that the program takes" {
    local text word option value variables
    variables=$(grep -oE '"(METRICS_SIDECAR|POD)_[A-Z_]+"' "$ROOT/options.c" | tr -d '"')
    "$PROGRAM" --help | sed -nE 's/^  (--[a-z.-]+).*/\1/p' >"$BATS_TEST_TMPDIR/options"
    # Options of other programs, which texts name as ours.
    printf '%s\n' --allowed-unsafe-sysctls --collector.sysctl.include --target >>"$BATS_TEST_TMPDIR/options"
    while read -r text; do
        # In code that begins with an option, behind the program's name, and as the manual page has them.
        while read -r word; do
            option=${word%%=*}
            grep -qxF -- "$option" "$BATS_TEST_TMPDIR/options" || fail "$text: $word: no such option"
            value=${word#"$option"}
            [[ $value =~ ^=[0-9]+$ ]] || continue
            run "$PROGRAM" --print --path.procfs="$FIXTURES/idle" "$word"
            assert_success
            echo "$word" >>"$BATS_TEST_TMPDIR/values"
        done < <({
            grep -oE '`--[a-z][a-z.-]*(=[^` ]*)?' "$ROOT/$text" | tr -d '`'
            grep -oE '(^|[^c] |[/`@])metrics-sidecar( --[a-z][a-z.-]*(=[^` ]*)?)+' "$ROOT/$text" | grep -oE -- '--[a-z][a-z.-]*(=[^` ]*)?'
            sed -nE 's/^\.(It )?Fl -([a-z.-]+).*/--\2/p' "$ROOT/$text"
        } | sed 's/[.,:]*$//' | sort -u)
        while read -r word; do
            grep -qxF "${word%%=*}" <<<"$variables" || fail "$text: $word: no such variable"
            [[ $word == *=* ]] || continue
            run env "$word" "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
            refute_output --partial ': default used'
            echo "$word" >>"$BATS_TEST_TMPDIR/values"
        done < <(grep -oE 'METRICS_SIDECAR_[A-Z]+(_[A-Z]+)*(=[0-9]+)?' "$ROOT/$text" | sort -u)
    done < <(texts)
    [ "$(sort -u "$BATS_TEST_TMPDIR/values" | wc -l)" -ge 2 ]
}

@test "no text says that there is no authentication" {
    local text
    for text in $(texts); do
        # Lines end anywhere.
        run grep -lziE '(no|without|neither|any)[[:space:]]+(kind[[:space:]]+of[[:space:]]+)?authentication|unauthenticated' "$ROOT/$text"
        assert_output ""
    done
    # Who reaches the port is told together with the option that asks for more.
    run bash -c 'sed -n "/^\.Sh SECURITY/,/^\.Sh/p" "$1" | tr "\n" " "' bash "$ROOT/metrics-sidecar.8"
    assert_output --partial 'Without .Fl -bearer-token-file whoever reaches the port may read the metrics'
}

@test "mandoc has nothing to say about the manual page" {
    needs mandoc
    # But which other manuals this machine has.
    run bash -c 'mandoc -T lint "$1" 2>/dev/null | grep -v "referenced manual not found"' bash "$ROOT/metrics-sidecar.8"
    assert_output ""
    run grep -c '^\.Sh' "$ROOT/metrics-sidecar.8"
    [ "$output" -ge 12 ]
}
