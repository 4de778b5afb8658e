# shellcheck shell=bash
# Sourced after lib.sh by benchmarks that deploy the example service: a project of their own, and its end.

BENCH_PROJECT=

# Ends the project's instances and its agent, which both outlive the command that started them.
bench_hello_stop() {
    local pid
    [[ -n $BENCH_PROJECT && -d $BENCH_PROJECT/.vice ]] || return 0
    "$BENCH_VICE" -C "$BENCH_PROJECT" pride stop hello >>"$BENCH_TMP/commands.log" 2>&1 || true
    # An agent stays as long as its environment has units, stopped ones included.
    for pid in $(pgrep -f -- " agent --dir $BENCH_PROJECT/" || true); do
        kill "$pid" 2>/dev/null || true
    done
}

bench_hello_cleanup() {
    bench_hello_stop
    bench_cleanup
}

# bench_hello INSTANCES: BENCH_PROJECT, a project with both versions of the example and checks that both of them pass.
# BENCH_VICE, the binary, must be set.
bench_hello() {
    local instances=$1
    "$LAB_ROOT/examples/hello/build" >&2
    BENCH_PROJECT=$BENCH_TMP/hello-$instances
    mkdir -p "$BENCH_PROJECT"
    cp -Rp "$LAB_ROOT/examples/hello/dist" "$BENCH_PROJECT/dist"
    cat >"$BENCH_PROJECT/vice.toml" <<TOML
name     = "hello"
version  = "1"
artifact = "dist/hello-{{version}}"
command  = ["./hello", "--port", "{{port}}"]
health   = "/healthz"

[env.dev]
instances = $instances

[check.healthy]
http = "{{env.url}}/healthz"
json = { "/status" = "ok" }

[check.version]
http    = "{{env.url}}/version"
capture = { running = "json:/version" }

[check.echoes]
http    = "{{env.url}}/echo"
body    = "version {{running}}"
matches = "^version [0-9]+$"
TOML
    trap bench_hello_cleanup EXIT
}
