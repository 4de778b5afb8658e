# shellcheck shell=bash
# An S3 server that checks signatures: SeaweedFS, all parts in one process, its data in a folder of the caller.
# Sourced after common.sh.
#
#   lab_s3_start DIR     starts it and returns at once
#   lab_s3_ready         waits until it stores objects, creates the bucket, exports VICE_LAB_S3_*
#   lab_s3_stop

LAB_S3_KEY=viceLabKey
LAB_S3_SECRET=viceLabSecretOfNoValue
LAB_S3_BUCKET=vice-lab
LAB_S3_PID=

lab_s3_start() {
    local dir=$1 p
    mkdir -p "$dir/data"
    read -r -a p <<<"$(lab_ports 8)"
    cat >"$dir/s3.json" <<JSON
{"identities":[{"name":"lab","credentials":[{"accessKey":"$LAB_S3_KEY","secretKey":"$LAB_S3_SECRET"}],
 "actions":["Admin","Read","List","Tagging","Write"]}]}
JSON
    lab_leashed "$LAB_VENV/bin/weed" -logdir="$dir" server -dir="$dir/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
        -master.port="${p[0]}" -master.port.grpc="${p[1]}" -volume.port="${p[2]}" -volume.port.grpc="${p[3]}" \
        -filer -filer.port="${p[4]}" -filer.port.grpc="${p[5]}" -s3 -s3.port="${p[6]}" -s3.port.grpc="${p[7]}" \
        -s3.port.iceberg=0 -s3.port.lance=0 -master.telemetry=false \
        -s3.config="$dir/s3.json" -volume.max=20 -master.volumeSizeLimitMB=64 \
        >"$dir/s3.log" 2>&1 </dev/null &
    LAB_S3_PID=$!
    LAB_S3_DIR=$dir
    LAB_S3_ENDPOINT=http://127.0.0.1:${p[6]}
}

lab_s3_ready() {
    export VICE_LAB_S3_ENDPOINT=$LAB_S3_ENDPOINT
    export VICE_LAB_S3_REGION=us-east-1
    export VICE_LAB_S3_ACCESS_KEY=$LAB_S3_KEY
    export VICE_LAB_S3_SECRET_KEY=$LAB_S3_SECRET
    export VICE_LAB_S3_BUCKET=$LAB_S3_BUCKET
    local said
    # 8 s on an idle machine; a build on all cores beside it makes that a multiple.
    if ! said=$("$LAB_VENV/bin/python" "$LAB_ROOT/scripts/lab/s3_ready.py" 90 2>&1); then
        tail -n 20 "$LAB_S3_DIR/s3.log" >&2
        lab_die "The S3 server cannot be used: $said."
    fi
}

# SIGTERM would take 25 s, and the data is thrown away.
lab_s3_stop() {
    [[ -n $LAB_S3_PID ]] || return 0
    kill -KILL "$LAB_S3_PID" 2>/dev/null || true
    wait "$LAB_S3_PID" 2>/dev/null || true
    LAB_S3_PID=
}
