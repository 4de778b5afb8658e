# shellcheck shell=bash
# The SMTP sink: smtp_sink.py says how it keeps messages and how to make it refuse. Sourced after common.sh.
#
#   lab_smtp_start DIR   starts it and returns at once
#   lab_smtp_ready       waits until it listens, exports VICE_LAB_SMTP (host:port) and VICE_LAB_SMTP_DIR
#   lab_smtp_stop

LAB_SMTP_PID=

lab_smtp_start() {
    LAB_SMTP_DIR=$1
    mkdir -p "$LAB_SMTP_DIR"
    lab_leashed "$LAB_VENV/bin/python" "$LAB_ROOT/scripts/lab/smtp_sink.py" "$LAB_SMTP_DIR" \
        >"$LAB_SMTP_DIR/.log" 2>&1 </dev/null &
    LAB_SMTP_PID=$!
}

lab_smtp_ready() {
    if ! lab_wait 20 "$LAB_SMTP_PID" test -s "$LAB_SMTP_DIR/port"; then
        tail -n 20 "$LAB_SMTP_DIR/.log" >&2
        lab_die "The SMTP sink did not become ready within 20 s."
    fi
    export VICE_LAB_SMTP
    VICE_LAB_SMTP=127.0.0.1:$(<"$LAB_SMTP_DIR/port")
    export VICE_LAB_SMTP_DIR=$LAB_SMTP_DIR
}

lab_smtp_stop() {
    [[ -n $LAB_SMTP_PID ]] || return 0
    kill "$LAB_SMTP_PID" 2>/dev/null || true
    wait "$LAB_SMTP_PID" 2>/dev/null || true
    LAB_SMTP_PID=
}
