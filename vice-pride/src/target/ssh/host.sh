# What vice does on a host. It is uploaded by its digest and run over ssh; it needs POSIX sh, flock, tar and sha256sum.
# It owns one folder (ROOT) and everything in it:
#
#   epoch, epoch.lock, lock    who may change things; held while somebody does
#   ops/KEY                    operations that were carried out
#   releases/DIGEST/           artifacts, each unpacked once
#   shared/DIGEST.tar          the latest artifact that other hosts fetch from this one
#   units/UNIT/current         a link to placed/KEY: what runs
#   units/UNIT/placed/KEY/     id, release.json, conf, run, env (secrets, mode 0600), address, files (a link into releases)
#   units/UNIT/want            up or down
#   units/UNIT/pending         the operation under way, and what to go back to when it breaks off
#   effects.log                one line for each operation that was carried out
#
# An operation is carried out at one moment, when `pending` becomes `ops/KEY`. Whoever gets the lock and finds a
# `pending` first brings back what ran before it. Exit statuses are listed in trouble.rs; what is said on standard
# output with a status other than 0 is one sentence, then lines of the instance's own output.
#
# A deploy would start a hundred programs here, a millisecond each; so what the shell can say itself (`read`, `cd -P`,
# /proc/uptime) it is asked.
# shellcheck shell=sh
# shellcheck disable=SC1007,SC1090,SC2086  # empty values, files of its own, and flags that are split on purpose
# Begins with host_common.sh.
back=no new=
case $0 in */*) script=$0 ;; *) script=$root/bin/$0 ;; esac
started_in=${PWD:-/}

mend() {
    for left in "$root"/units/*/pending; do
        [ -f "$left" ] || continue
        asked_unit=$unit
        left=${left%/pending}
        use_unit "${left##*/}"
        # shellcheck disable=SC2034  # the rest is for people
        read -r left_op was was_want left_rest <"$u/pending"
        back=yes
        become "$was" "$was_want" || :
        back=no
        rm -f "$u/pending" "$u/run/starting"
        printf '%s %s %s mended\n' "$(date -u +%FT%TZ)" "$left_op" "$unit" >>"$root/effects.log"
        if [ "$asked_unit" = - ]; then unit=-; else use_unit "$asked_unit"; fi
    done
}

# --- what a unit has -----------------------------------------------------------------------------------------------

# Sets `key` to what the unit has, - for nothing, and `want`.
look() {
    key=- want=down
    if [ -L "$u/current" ]; then
        # Where the link leads; one that leads nowhere has to be read.
        if cd -P "$u/current" 2>/dev/null; then key=$PWD; else key=$(readlink "$u/current"); fi
        key=${key##*/}
        cd "$started_in" || cd /
        if [ -f "$u/want" ]; then read -r want <"$u/want"; fi
    fi
}

id_of() {
    id=-
    if [ "$1" != - ] && [ -f "$u/placed/$1/id" ]; then read -r id <"$u/placed/$1/id"; fi
}

# Reads how a placed release is run.
conf() {
    mode=process port= health= ready_s=30 stop_s=10 timeout_s=2 healthy_after=1 service= services= version=- settle=1
    at=loopback address=127.0.0.1
    # Written by vice; it has no secrets.
    . "$u/placed/$1/conf"
    if [ "$at" = address ]; then read -r address <"$u/placed/$1/address"; fi
    # As long as what was adopted runs, nobody looks after it but us.
    if lives "$u/placed/$1/process"; then mode=adopted; fi
}

# The address by which ssh came here.
own_address() {
    set -- ${SSH_CONNECTION:-}
    own=${3:-127.0.0.1}
}

point() {
    ln -sfn "placed/$1" "$u/current.new" && mv -fT "$u/current.new" "$u/current" || end 28 "$u/current can't be switched"
    was_wanted=
    if [ -f "$u/want" ]; then read -r was_wanted <"$u/want"; fi
    if [ "$was_wanted" = "$2" ]; then durable "$u"; else write "$u/want" "$2"; fi
}

# --- processes -----------------------------------------------------------------------------------------------------

# Sets `started` to the start time of a process, empty when there is none. A dead one that nobody has waited for is none.
start_of() {
    started=
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
    set -- ${stat##*") "}
    case $1 in Z | X) ;; *) started=${20} ;; esac
}

# Whether `PID START` of a file is alive; sets `pid`.
lives() {
    pid=0 pid_start=
    # shellcheck disable=SC2034  # what follows is for others
    if [ -f "$1" ]; then read -r pid pid_start pid_rest <"$1"; fi
    # It is empty at the moment when it is made.
    case $pid in '' | 0) pid=0 && return 1 ;; esac
    start_of "$pid"
    [ -n "$started" ] && [ "$started" = "$pid_start" ]
}

# Whether something listens on the port at the address where the instance is asked. Nobody is asked for it, and the kernel
# goes through its whole table.
listens() {
    case $address in
        *:*) at_hex='[0-9A-F]*' ;;
        *)
            dots=$address.
            at_hex=
            while [ -n "$dots" ]; do
                at_hex=$(printf '%02X' "${dots%%.*}")$at_hex
                dots=${dots#*.}
            done
            ;;
    esac
    port_hex=$(printf '%04X' "$port")
    grep -q -s -i -E ": (0{8}|0{32}|0{24}01000000|(0{16}FFFF0000)?$at_hex):$port_hex [0-9A-F]*:0000 0A" /proc/net/tcp /proc/net/tcp6
}

# Whether the port is taken. Where a connection is refused nobody listens, which is quicker to find out; an instance that
# listens elsewhere than it is asked finds out by itself.
taken() {
    if speaks_tcp; then
        case $(BASH_ENV= timeout "$timeout_s" bash -c 'exec 3<>"/dev/tcp/$1/$2"' sh "$address" "$port" 2>&1) in *refused*) return 1 ;; esac
    fi
    listens
}

speaks_tcp() { command -v bash >/dev/null 2>&1 && command -v timeout >/dev/null 2>&1; }

# It has the lock of whoever launched it until it can be found with what it started: nobody mends before, though the other
# may be dead.
supervise() {
    start_of $$
    printf '%s %s\n' $$ "$started" >"$u/run/supervisor"
    # Whoever halts says so first and looks for us then.
    [ ! -f "$u/run/stop" ] || exit 0
    restarts=0 pause=1
    while :; do
        size=0
        if [ -s "$u/log" ]; then size=$(wc -c <"$u/log"); fi
        if [ "$size" -gt 10485760 ]; then mv -f "$u/log" "$u/log.1" && size=0; fi
        if [ $restarts = 0 ]; then printf '%s\n' "$size" >"$u/run/log_from"; fi
        began=$(date +%s)
        sh "$u/current/run" >>"$u/log" 2>&1 9>&- &
        child=$!
        start_of $child
        born="$child ${started:-0} $began $restarts"
        # Whoever reads the first one half written finds no instance, as a moment ago.
        if [ $restarts = 0 ]; then
            printf '%s\n' "$born" >"$u/run/child"
            exec 9>&-
        else
            printf '%s\n' "$born" >"$u/run/child.new"
            mv -f "$u/run/child.new" "$u/run/child"
        fi
        wait $child
        status=$?
        if [ -f "$u/run/stop" ]; then exit 0; fi
        # One that ends before it was healthy is not started again: whoever waits for it is told.
        if [ -s "$u/run/starting" ]; then
            printf '%s\n' "$status" >"$u/run/ended"
            exit 0
        fi
        restarts=$((restarts + 1))
        if [ $(($(date +%s) - began)) -gt 60 ]; then pause=1; fi
        sleep $pause
        if [ -f "$u/run/stop" ]; then exit 0; fi
        if [ $pause -lt 30 ]; then pause=$((pause * 2)); fi
    done
}

user_flag() { if [ "$(id -u)" = 0 ]; then flag=; units_dir=/etc/systemd/system; else flag=--user units_dir=$HOME/.config/systemd/user; fi; }

# Starts what `current` points at.
launch() {
    case $mode in
        process)
            need setsid
            [ ! -e "$u/run" ] || rm -rf "$u/run"
            mkdir "$u/run" && echo starting >"$u/run/starting"
            setsid sh "$script" supervise "$root" "$unit" </dev/null >/dev/null 2>&1 8>&- &
            # It says the same as soon as it runs; we may halt it before.
            start_of $!
            printf '%s %s\n' $! "$started" >"$u/run/supervisor"
            ;;
        systemd)
            need systemctl
            user_flag
            mkdir -p "$units_dir"
            if ! cmp -s "$u/current/service" "$units_dir/$service"; then
                cat "$u/current/service" >"$units_dir/$service.new" && chmod 644 "$units_dir/$service.new" &&
                    mv -f "$units_dir/$service.new" "$units_dir/$service" || end 28 "$units_dir/$service can't be written"
            fi
            systemctl $flag daemon-reload && systemctl $flag restart "$service" || fail 30 "systemctl could not start $service"
            ;;
        s6 | runit) launch_supervised ;;
    esac
}

launch_supervised() {
    if [ "$mode" = s6 ]; then need s6-svc; else need sv; fi
    [ -d "$services" ] || { fail 30 "the folder $services, where services are put, does not exist"; return 1; }
    mkdir -p "$u/service"
    printf '#!/bin/sh\nexec sh "%s/current/run" >>"%s/log" 2>&1\n' "$u" "$u" >"$u/service/run.new"
    chmod 700 "$u/service/run.new"
    mv -f "$u/service/run.new" "$u/service/run"
    # It is started by us, not by being seen.
    if [ ! -L "$services/$service" ]; then
        : >"$u/service/down"
        ln -sfn "$u/service" "$services/$service"
        if [ "$mode" = s6 ]; then s6-svscanctl -a "$services"; fi
    fi
    clock
    till=$((now + 10))
    until supervised_here; do
        clock
        [ "$now" -lt "$till" ] || { fail 30 "$mode does not look after $services/$service"; return 1; }
        nap
    done
    rm -f "$u/service/down"
    if [ "$mode" = s6 ]; then s6-svc -u "$u/service"; else sv up "$u/service" >/dev/null; fi
}

supervised_here() {
    if [ "$mode" = s6 ]; then s6-svok "$u/service"; else sv status "$u/service" >/dev/null 2>&1; fi
}

# Sets `pid` of the instance (0 for none), `since` in seconds and `restarts`.
instance() {
    pid=0 since=0 restarts=0
    case $mode in
        process)
            if lives "$u/run/child"; then read -r pid pid_start since restarts <"$u/run/child"; else pid=0; fi
            ;;
        systemd)
            user_flag
            pid=$(systemctl $flag show -p MainPID --value "$service" 2>/dev/null)
            restarts=$(systemctl $flag show -p NRestarts --value "$service" 2>/dev/null)
            ;;
        s6) pid=$(s6-svstat -o pid "$u/service" 2>/dev/null) ;;
        runit)
            pid=$(sv status "$u/service" 2>/dev/null)
            case $pid in run:*"(pid "*) pid=${pid#*"(pid "} pid=${pid%%")"*} ;; *) pid=0 ;; esac
            ;;
        adopted) if lives "$u/placed/$key/process"; then :; else pid=0; fi ;;
    esac
    case $pid in '' | -* | *[!0-9]*) pid=0 ;; esac
    case $restarts in '' | *[!0-9]*) restarts=0 ;; esac
    if [ "$pid" != 0 ] && [ "$since" = 0 ]; then since=$(stat -c %Y "/proc/$pid" 2>/dev/null || echo 0); fi
}

# Ends what the unit runs, and waits for it.
halt() {
    look
    [ "$key" != - ] || return 0
    conf "$key"
    # It may live on for a while: whoever comes after a halt that broke off is told that its days are counted.
    [ -d "$u/run" ] || mkdir -p "$u/run"
    : >"$u/run/stop"
    case $mode in
        process) halt_process "$u/run/child" "$u/run/supervisor" ;;
        adopted) halt_process "$u/placed/$key/process" /nonexistent ;;
        systemd)
            user_flag
            systemctl $flag stop "$service" 2>/dev/null || :
            ;;
        s6)
            if s6-svok "$u/service" 2>/dev/null; then
                s6-svc -d "$u/service"
                s6-svwait -D -t $((stop_s * 1000)) "$u/service" 2>/dev/null || { s6-svc -k "$u/service"; s6-svwait -D -t 5000 "$u/service"; }
            fi
            ;;
        runit) sv -w "$stop_s" force-stop "$u/service" >/dev/null 2>&1 || : ;;
    esac
    rm -rf "$u/run"
}

# halt_process CHILD SUPERVISOR: SIGTERM, patience, then SIGKILL for everything that it had started.
halt_process() {
    if lives "$1"; then
        kill -TERM "$pid" 2>/dev/null
        clock
        till=$((now + stop_s))
        while lives "$1" && [ "$now" -le "$till" ]; do nap && clock; done
        if lives "$1"; then kill -KILL "$pid" 2>/dev/null; fi
    fi
    if lives "$2"; then
        # It ends by itself as soon as its child has; it sleeps between restarts.
        kill -KILL "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || :
    fi
    if lives "$1"; then nap; fi
}

# --- health --------------------------------------------------------------------------------------------------------

fail() {
    fault=$1
    shift
    why=$*
    return 1
}

# Asks for the health; what answers is read to its end (64 KiB of it), so that nobody is cut off in the middle. Sets `got` to
# the status, empty for no answer. False where bash could not even ask: some are built without connections.
ask_by_bash() {
    case $address in *:*) named=[$address]:$port ;; *) named=$address:$port ;; esac
    # The shell takes the last newline away and the program printf adds one. What bash itself writes goes out line by line, and
    # servers that read once would answer the first one.
    request=$(printf 'GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: vice\r\nAccept: */*\r\nConnection: close\r\n\r\n' "$health" "$named")
    got=$(BASH_ENV= timeout "$timeout_s" bash -c '
        printf .
        exec 2>&1
        exec 3<>"/dev/tcp/$1/$2" || exit
        exec 2>/dev/null
        (exec printf "%s\n" "$3") >&3
        status=100
        while [[ $status == 1* ]]; do
            read -r -u 3 protocol status rest
            [[ $protocol == HTTP/* ]] || exit 0
            status=${status%%[!0-9]*} left=
            while read -r -u 3 name value && [[ -n ${name%[[:space:]]} ]]; do
                [[ ${name,,} != content-length: ]] || left=${value%%[!0-9]*}
            done
        done
        printf "%s" "$status"
        [[ $status != 204 && $status != 304 ]] || exit 0
        if [[ -n $left ]]; then
            read -r -N $((left < 65536 ? left : 65536)) -u 3 rest
        else
            while read -r -N 4096 -u 3 rest; do :; done
        fi' sh "$address" "$port" "$request" 2>/dev/null)
    # Without the dot it was not even begun.
    case $got in .*"No such file"*) return 1 ;; .*) got=${got#.} ;; *) return 1 ;; esac
    case $got in *[!0-9]*) got= ;; esac
}

# The same by what is there for it. Neither proxies nor what the user has set for curl have a say.
ask_by_program() {
    case $address in *:*) url=http://[$address]:$port$health ;; *) url=http://$address:$port$health ;; esac
    if command -v curl >/dev/null 2>&1; then
        got=$(curl -q -g -s -o /dev/null --noproxy '*' -m "$timeout_s" -w '%{http_code}' "$url" 2>/dev/null)
    elif command -v wget >/dev/null 2>&1; then
        # It says by its own status whether it was a 2xx, and by its words what else it was.
        if spoke=$(http_proxy= timeout "$timeout_s" wget -O /dev/null "$url" 2>&1); then
            got=200
        else
            got=$(printf '%s\n' "$spoke" | sed -n 's,.*\(HTTP/[0-9.]* \|ERROR \)\([0-9][0-9][0-9]\).*,\2,p' | tail -n 1)
        fi
    else
        end 27 curl
    fi
}

# One question. Sets `last` when the answer is no.
probe() {
    if [ -z "$health" ]; then
        listens && return 0
        last="nothing listens on port $port"
        return 1
    fi
    { speaks_tcp && ask_by_bash; } || ask_by_program
    case $got in
        2??) return 0 ;;
        '' | 000) last="it gave no answer" ;;
        *) last="it answered $got" ;;
    esac
    return 1
}

# Waits until the instance is healthy; `fault` and `why` say why not.
healthy() {
    clock
    began=$now good=0 last="it gave no answer" first_pid=0
    while :; do
        if [ -s "$u/run/ended" ]; then
            read -r status <"$u/run/ended"
            fail 22 "ended before it was healthy: exit status $status"
            return
        fi
        instance
        if [ "$pid" != 0 ] && [ "$first_pid" = 0 ]; then first_pid=$pid; fi
        if [ "$first_pid" != 0 ] && [ "$pid" != "$first_pid" ]; then
            # The supervisor is asked once more, because it may be about to say how it ended.
            nap
            [ -s "$u/run/ended" ] && continue
            fail 22 "ended before it was healthy"
            return
        fi
        clock
        passed=$((now - began))
        if [ -z "$port" ]; then
            [ "$first_pid" != 0 ] && [ "$passed" -gt "$settle" ] && break
        elif [ "$first_pid" != 0 ] && probe; then
            good=$((good + 1))
            [ "$good" -ge "$healthy_after" ] && break
        else
            good=0
        fi
        # Whoever was passed over gives up, but not half way back.
        see_epoch
        if [ "$seen" -gt "$epoch" ] && [ "$back" = no ]; then
            fail 20 "$seen"
            return
        fi
        if [ "$passed" -ge "$ready_s" ]; then
            fail 22 "did not become healthy within $ready_s s: $last"
            return
        fi
        nap
    done
    if [ -f "$u/run/starting" ]; then : >"$u/run/starting"; fi
    # It may have ended while that was still there, and then nobody starts it again.
    [ ! -s "$u/run/ended" ] || fail 22 "ended as soon as it was healthy"
}

# --- operations ----------------------------------------------------------------------------------------------------

# become KEY WANT: the unit has KEY (- for nothing) and runs or not. An adopted process that is as wanted is left alone.
become() {
    look
    if [ "$key" != - ] && [ "$key" = "$1" ] && [ "$want" = "$2" ]; then
        conf "$key"
        instance
        if [ "$2" = down ] && [ "$pid" = 0 ]; then return 0; fi
        if [ "$2" = up ] && [ "$pid" != 0 ] && [ ! -s "$u/run/starting" ] && [ ! -f "$u/run/stop" ] && [ "${3:-}" != again ]; then
            return 0
        fi
    fi
    halt
    if [ "$1" = - ]; then
        if [ -n "${service:-}" ] && [ -L "$services/$service" ]; then
            rm -f "$services/$service"
            if [ "$mode" = s6 ]; then s6-svscanctl -an "$services"; fi
        fi
        if [ -n "${service:-}" ] && [ "$mode" = systemd ]; then
            systemctl $flag disable "$service" 2>/dev/null
            rm -f "$units_dir/$service"
            systemctl $flag daemon-reload
        fi
        rm -f "$u/current" "$u/want"
        return 0
    fi
    point "$1" "$2"
    conf "$1"
    [ "$2" = up ] || return 0
    if [ -n "$port" ] && taken; then
        # What has just ended may hold it for a moment.
        clock
        till=$((now + 2))
        while taken && [ "$now" -le "$till" ]; do nap && clock; done
        if taken; then
            fail 23 "found port $port taken by another process"
            return 1
        fi
    fi
    log_from=0
    if [ "$mode" != process ] && [ -s "$u/log" ]; then log_from=$(wc -c <"$u/log"); fi
    launch && healthy
}

tail_of_log() {
    if [ "$mode" = systemd ]; then
        user_flag
        journalctl $flag -u "$service" -n 5 -o cat 2>/dev/null
    elif [ -f "$u/log" ]; then
        # Its supervisor knows better, which may have begun another log.
        if [ "$mode" = process ]; then
            [ -f "$u/run/log_from" ] || return 0
            read -r log_from <"$u/run/log_from"
        fi
        tail -c "+$((log_from + 1))" "$u/log" | tail -n 5
    fi
}

# change KEY WANT WHAT [again]: the operation itself, or everything as it was before.
change() {
    look
    was=$key was_want=$want
    pending="$op $was $was_want $3"
    if [ "$new" = "$1" ]; then
        write "$u/pending" "$pending" "$u/placed/$new"/* "$u/placed/$new" "$u/placed" "$root/units"
    else
        [ -d "$u" ] || mkdir -p "$u" || end 28 "$u can't be made"
        write "$u/pending" "$pending" "$root/units"
    fi
    fault=0 why=
    if become "$1" "$2" "${4:-}" && guard; then
        commit "$3"
        return 0
    fi
    unguard
    if [ "$fault" = 0 ]; then fault=20 why=$seen; fi
    said=$(tail_of_log)
    first_fault=$fault first_why=$why back=yes
    if become "$was" "$was_want"; then restored= code=$first_fault; else restored="$why" code=29; fi
    # Where that failed, it is at least started again whenever it ends.
    rm -f "$u/pending" "$u/run/starting"
    durable "$u"
    # What came for nothing goes, with the secrets in it; what was stored before stays.
    if [ "$new" = "$1" ]; then rm -rf "$u/placed/$1"; fi
    [ -z "$restored" ] || first_why="$first_why. What ran before could not be brought back: it $restored"
    printf '%s\n%s\n' "$first_why" "$said"
    exit "$code"
}

# This is the moment at which an operation was carried out.
commit() {
    if [ "$cmd" = undo ]; then
        rm -f "$u/pending" "$root/ops/$op"
    else
        mv -f "$u/pending" "$root/ops/$op" || end 28 "$root/ops can't be written"
    fi
    durable "$root/ops" "$u"
    unguard
    if [ "$mode" = systemd ] && [ -L "$u/current" ]; then systemctl $flag enable -q "$service" 2>/dev/null || :; fi
    printf '%s %s %s %s %s\n' "$(date -u +%FT%TZ)" "$cmd" "$op" "$unit" "$1" >>"$root/effects.log"
    tidy
}

# Only marks what needs no change.
mark_only() {
    if [ "$cmd" = undo ]; then rm -f "$root/ops/$op" && durable "$root/ops"; else write "$root/ops/$op" "$op - - none"; fi
}

# Keeps what the unit has and what it had before; everything that was placed earlier goes.
tidy() {
    look
    set -- "$u/run/starting"
    for placed in "$u"/placed/*; do
        [ -d "$placed" ] || continue
        # What was adopted is nowhere else.
        case ${placed##*/} in "$key" | "$was") ;; *) [ -f "$placed/process" ] || set -- "$@" "$placed" ;; esac
    done
    if [ $# -gt 1 ] || [ -f "$1" ]; then rm -rf "$@"; fi
}

# Unpacks what came on standard input as placed/KEY, which is on disk when `change` has begun; the link to the artifact is made
# here.
unpack() {
    [ -d "$u/placed" ] || mkdir -p "$u/placed" || end 28 "$u can't be made"
    new=$op.$epoch.$$
    [ ! -e "$u/placed/$new" ] || rm -rf "$u/placed/$new"
    mkdir "$u/placed/$new" && tar -xf - -C "$u/placed/$new" || end 28 "$u/placed can't be written"
    own_address
    printf '%s\n' "$own" >"$u/placed/$new/address"
    if [ -f "$u/placed/$new/artifact" ]; then
        read -r artifact <"$u/placed/$new/artifact"
        if [ ! -d "$root/releases/$artifact" ]; then
            # Nothing was changed yet.
            rm -rf "$u/placed/$new"
            end 21 "$artifact"
        fi
        ln -s "$root/releases/$artifact" "$u/placed/$new/files"
    fi
    if [ -f "$u/placed/$new/service" ]; then
        wanted=multi-user.target
        if [ "$(id -u)" != 0 ]; then wanted=default.target; fi
        sed "s,@UNIT@,$u,; s,@WANTED@,$wanted," "$u/placed/$new/service" >"$u/placed/$new/service.new"
        mv -f "$u/placed/$new/service.new" "$u/placed/$new/service"
    fi
}

# The placed release with that id, - when it is not here or its files are gone.
stored() {
    found=-
    for placed in "$u"/placed/*; do
        id_of "${placed##*/}"
        if [ "$id" = "$1" ] && { [ ! -L "$placed/files" ] || [ -d "$placed/files/." ]; }; then found=${placed##*/}; fi
    done
}

do_apply() {
    case $1 in
        place)
            unpack
            id_of "$new"
            [ "$id" = "$2" ] || end 25 "The release on its way has another id than the one that was asked for"
            conf "$new"
            change "$new" up "place $version"
            ;;
        remove)
            look
            if [ "$key" = - ]; then mark_only; else change - down remove; fi
            ;;
        start)
            need_unit
            conf "$key"
            instance
            # It may be meant to run and not do so, as after a reboot.
            if [ "$want" = up ] && [ "$pid" != 0 ]; then mark_only; else change "$key" up start; fi
            ;;
        stop)
            need_unit
            change "$key" down stop
            ;;
        restart)
            need_unit
            change "$key" up restart again
            ;;
    esac
}

need_unit() {
    look
    [ "$key" != - ] || end 24 "$unit"
}

# do_undo CHANGE BEFORE STDIN: BEFORE is the id of what the unit had, - for nothing.
do_undo() {
    look
    id_of "$key"
    if [ ! -f "$root/ops/$op" ] && [ "$id" = "$2" ]; then return 0; fi
    if [ "$2" = - ]; then
        if [ "$key" = - ]; then mark_only; else change - down "remove"; fi
        return 0
    fi
    case $1 in
        start) if [ "$key" != - ]; then change "$key" down stop; return 0; fi ;;
        stop) if [ "$key" != - ]; then change "$key" up start; return 0; fi ;;
        restart) if [ "$key" != - ]; then mark_only; return 0; fi ;;
    esac
    if [ "$key" != - ] && [ "$id" = "$2" ] && [ "$want" = up ]; then
        mark_only
        return 0
    fi
    stored "$2"
    if [ "$found" = - ] && [ "$3" = with ]; then
        unpack
        found=$new
        id_of "$found"
        [ "$id" = "$2" ] || end 25 "The release on its way has another id than the one that was asked for"
    fi
    [ "$found" != - ] || end 31 "$unit"
    conf "$found"
    change "$found" up "place $version"
}

list() {
    see_epoch
    own_address
    has=
    for dir in "$root"/releases/*; do
        if [ -d "$dir" ]; then has=$has,${dir##*/}; fi
    done
    printf '@\t%s\t%s\t%s\n' "$seen" "$own" "${has#,}"
    for dir in "$root"/units/*; do
        [ -L "$dir/current" ] || continue
        use_unit "${dir##*/}"
        look
        conf "$key"
        instance
        if [ "$want" = down ]; then
            state=stopped
        elif [ "$pid" = 0 ]; then
            state=crashed
        elif [ -s "$u/run/starting" ]; then
            state=starting
        elif [ -z "$port" ] || probe; then
            state=healthy
        else
            state=unhealthy
        fi
        if [ -f "$u/pending" ]; then state=starting; fi
        printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t' "$unit" "$state" "$since" "$restarts" "$pid" "$port" "$mode"
        line=
        IFS= read -r line <"$u/placed/$key/release.json" || :
        printf '%s\n' "$line"
    done
}

# arrives DIGEST: sets `in`, where an artifact comes in. It is gone when this ends.
arrives() {
    folders
    in=$root/incoming/$1.$$
    trap 'rm -rf "$in" "$in.tree" "$in.said"' EXIT
}

# arrived DIGEST KEEP: unpacks what has come in, once; KEEP keeps the archive for other hosts.
arrived() {
    mkdir "$in.tree" && tar -xf "$in" -C "$in.tree" || end 28 "$in.tree can't be written"
    if [ "$2" = keep ]; then
        mkdir -p "$root/shared" && rm -f "$root/shared/"* && mv "$in" "$root/shared/$1.tar" || end 28 "$root/shared can't be written"
    fi
    sync -f "$in.tree" 2>/dev/null || sync
    # Somebody else may have been faster, with the same content.
    mv -T "$in.tree" "$root/releases/$1" 2>/dev/null || [ -d "$root/releases/$1" ] || end 28 "$root/releases can't be written"
    durable "$root/releases"
}

# put DIGEST CHECKSUM BYTES SHA256 [keep]: takes an artifact from standard input. With `keep` it says how other hosts reach this one.
# ssh answers for what is on its way, so that it is only checked to be whole: whoever could change it there could change the
# sum as well.
put() {
    if [ -d "$root/releases/$1" ]; then
        cat >/dev/null
    else
        arrives "$1"
        cat >"$in" || end 28 "$in can't be written"
        if command -v cksum >/dev/null 2>&1; then
            sum=$(cksum <"$in") whole="$2 $3"
        else
            need sha256sum
            sum=$(sha256sum <"$in") whole=$4
            sum=${sum%% *}
        fi
        [ "$sum" = "$whole" ] || end 25 "What arrived has the checksum $sum, and $whole was sent"
        arrived "$1" "${5:-}"
    fi
    [ "${5:-}" = keep ] && [ -f "$root/shared/$1.tar" ] || return 0
    # shellcheck disable=SC2086  # to be split
    set -- ${SSH_CONNECTION:-}
    printf '%s\t%s\t%s\t%s\n' "$(id -un)" "${3:-}" "${4:-}" "$root"
}

# give DIGEST: what another host fetches.
give() { cat "$root/shared/$1.tar"; }

# fetch DIGEST SHA256 COMMAND USER ADDRESS PORT SSH...: takes an artifact from another host, by an ssh of this one's own. That
# host need not be trusted.
fetch() {
    need sha256sum
    if [ -d "$root/releases/$1" ]; then return 0; fi
    arrives "$1"
    digest=$1 wanted=$2 asks=$3 as=$4 from=$5 at=$6
    shift 6
    need "$1"
    "$@" -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10 -l "$as" -p "$at" -- "$from" "$asks" \
        </dev/null >"$in" 2>"$in.said" || end 34 "$(tail -n 1 "$in.said")"
    sum=$(sha256sum "$in")
    [ "${sum%% *}" = "$wanted" ] || end 25 "What arrived has the SHA-256 ${sum%% *}, and $wanted was sent"
    arrived "$digest" no
}

logs() {
    look
    [ "$key" != - ] || end 24 "$unit"
    conf "$key"
    if [ "$mode" = systemd ]; then
        user_flag
        set -- "$1" "$2" journalctl $flag -u "$service" -n "$1" -o cat
        [ "$2" = follow ] && set -- "$@" -f
    else
        : >>"$u/log"
        set -- "$1" "$2" tail -n "$1"
        [ "$2" = follow ] && set -- "$@" -F
        set -- "$@" "$u/log"
    fi
    follow=$2
    shift 2
    [ "$follow" = follow ] || exec "$@"
    # Whoever follows closes our standard input when it has had enough.
    "$@" 2>/dev/null &
    tailing=$!
    trap 'kill $tailing 2>/dev/null' EXIT
    cat >/dev/null
}

# prune MINUTES DIGEST...: removes artifacts that no unit has and that are not named, and forgotten uploads.
prune() {
    minutes=$1
    shift
    keep=" $* "
    for link in "$root"/units/*/placed/*/files; do
        [ -L "$link" ] || continue
        named=$(readlink "$link")
        keep="$keep${named##*/} "
    done
    for dir in "$root"/releases/*; do
        [ -d "$dir" ] || continue
        case $keep in *" ${dir##*/} "*) continue ;; esac
        [ -n "$(find "$dir" -prune -mmin "+$minutes")" ] || continue
        size=$(du -sk "$dir")
        chmod -R u+w "$dir" && rm -rf "$dir" && printf '%s\t%s\n' "${dir##*/}" "${size%%[!0-9]*}"
    done
    # They are for the time of a deploy.
    find "$root/shared" -mindepth 1 -mmin "+$minutes" -exec rm -f {} + 2>/dev/null
    find "$root/incoming" -mindepth 1 -maxdepth 1 -mmin +1440 -exec rm -rf {} + 2>/dev/null
    find "$root/ops" -type f -mtime +90 -exec rm -f {} + 2>/dev/null
    return 0
}

# adopt PID PATH: takes what runs as what the unit has, without touching it. PATH - means the folder that it runs in.
adopt() {
    look
    [ "$key" = - ] || end 32 "$unit"
    pid=$1
    if [ "$pid" = 0 ]; then find_listener "$3"; fi
    start_of "$pid"
    [ -n "$started" ] || end 33 "There is no process $pid"
    path=$2
    if [ "$path" = - ]; then path=$(readlink "/proc/$pid/cwd") || end 33 "The folder of process $pid can't be read"; fi
    [ -d "$path" ] || end 33 "$path is not a folder"
    unpack
    ln -sfn "$path" "$u/placed/$new/files"
    printf '%s %s\n' "$pid" "$started" >"$u/placed/$new/process"
    was=-
    write "$u/pending" "$op - down adopt" "$u/placed/$new"/* "$u/placed/$new" "$u/placed"
    point "$new" up
    guard || { rm -f "$u/pending" "$u/current"; end 20 "$seen"; }
    mode=process
    commit "adopt $pid"
    printf '%s\t%s\n' "$pid" "$path"
}

# The process that listens on a port: its socket's inode is looked for among everybody's open files.
find_listener() {
    port_hex=$(printf '%04X' "$1") inode=
    for table in /proc/net/tcp /proc/net/tcp6; do
        [ -r "$table" ] || continue
        while read -r _ here _ state _ _ _ _ _ socket _; do
            if [ "$state" = 0A ] && [ "${here##*:}" = "$port_hex" ] && [ -z "$inode" ]; then inode=$socket; fi
        done <"$table"
    done
    [ -n "$inode" ] || end 33 "Nothing listens on port $1"
    # One program for all of them where find knows what links say, else one a file.
    fd=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | head -n 1)
    for fd in ${fd:-/proc/[0-9]*/fd/*}; do
        if [ "$(readlink "$fd" 2>/dev/null)" = "socket:[$inode]" ]; then
            pid=${fd#/proc/} pid=${pid%%/*}
            return 0
        fi
    done
    end 33 "Which process listens on port $1 can't be seen by this user"
}

case $cmd in
    fence)
        epoch=$1
        folders
        admit
        lock 60
        ;;
    observe)
        epoch=$1 op=$2
        folders
        # Whoever was passed over may look; it changes nothing.
        see_epoch
        if [ "$epoch" -lt "$seen" ]; then epoch=$seen; fi
        admit
        lock 60
        if [ -f "$root/ops/$op" ]; then printf 'applied\n'; else printf 'not-applied\n'; fi
        ;;
    apply | undo | adopt)
        epoch=$1 op=$3
        use_unit "$2"
        shift 3
        folders
        admit
        lock 120
        # Somebody may have taken over while this waited.
        see_epoch
        [ "$seen" -le "$epoch" ] || end 20 "$seen"
        if [ "$cmd" = undo ]; then
            do_undo "$@"
        elif [ -f "$root/ops/$op" ]; then
            exit 0
        elif [ "$cmd" = adopt ]; then
            adopt "$@"
        else
            do_apply "$@"
        fi
        ;;
    put) put "$@" ;;
    give) give "$1" ;;
    fetch) fetch "$@" ;;
    list) list ;;
    logs)
        use_unit "$1"
        logs "$2" "$3"
        ;;
    prune)
        folders
        see_epoch
        epoch=$seen
        lock 60
        prune "$@"
        ;;
    supervise)
        use_unit "$1"
        supervise
        ;;
    *) end 2 "There is no command $cmd" ;;
esac
