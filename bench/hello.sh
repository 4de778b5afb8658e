# shellcheck shell=bash
# Sourced after lib.sh by benchmarks that deploy the example service: a project of their own, and its end.

BENCH_PROJECT=

# Instances outlive the command that started them, and so they would outlive the benchmark.
bench_hello_cleanup() {
    if [[ -n $BENCH_PROJECT && -d $BENCH_PROJECT/.vice ]]; then
        (cd "$BENCH_PROJECT" && "$BENCH_VICE" pride stop hello) >>"$BENCH_TMP/commands.log" 2>&1 || true
    fi
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

# Ends the project's instances, so that the next project has the machine for itself.
bench_hello_stop() { (cd "$BENCH_PROJECT" && "$BENCH_VICE" pride stop hello) >>"$BENCH_TMP/commands.log" 2>&1; }
