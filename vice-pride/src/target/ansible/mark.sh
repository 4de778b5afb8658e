# What vice notes on a host that is deployed to by a playbook. It comes with every call, as the command itself.
# It owns one folder (ROOT) and everything in it:
#
#   epoch, epoch.lock, lock    who may change things; held while somebody notes something
#   ops/KEY                    operations that were carried out
#   units/UNIT/release         the release that the host has (JSON); units/UNIT/id and units/UNIT/since beside it
#   units/UNIT/pending         the operation under way: OP EPOCH RUN
#   effects.log                one line for each operation that was carried out or taken back
#
# A playbook can't be brought back by this script. A `pending` that somebody left behind stays until the next operation on
# the unit has ended; until then the host is half done, and says so. What an orphan still runs here is ended first: vice
# gives every task of a playbook the variable VICE_RUN. Exit statuses are listed in trouble.rs.
# shellcheck shell=sh
# shellcheck disable=SC2154,SC2088,SC2013  # what host_common.sh sets, a literal ~, and names without blanks
mend() { :; }

# How long a controller that is not heard of may go on; see LIMIT in vice_events.py.
patience=6

# Processes that a run has started and that belong to a task under way: somebody still waits for their session's leader.
# What a task has left running in a session of its own is not among them.
tasks_of() {
    tasks=
    for file in $(grep -l -s "VICE_RUN=$1" /proc/[0-9]*/environ); do
        pid=${file#/proc/} pid=${pid%/environ}
        { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086  # to be split
        set -- "$1" ${stat##*") "}
        case $2 in Z | X) continue ;; esac
        case $(tr '\0' ' ' 2>/dev/null <"/proc/$5/cmdline") in
            *'&& sleep 0'* | *BECOME-SUCCESS-* | *AnsiballZ_* | *async_wrapper* | *ansible-tmp-*) tasks="$tasks $pid" ;;
        esac
    done
}

# shut_out RUN EPOCH: returns when no task of that run is under way and none can begin any more.
shut_out() {
    began=$(date +%s) signal=TERM quiet=0
    while :; do
        tasks_of "$1"
        now=$(date +%s)
        if [ -z "$tasks" ]; then
            # Under another holder the controller may be alive for a moment, between two tasks.
            [ "$2" = "$epoch" ] && return 0
            [ $((now - began)) -ge $patience ] && [ $quiet -ge 2 ] && return 0
            quiet=$((quiet + 1))
        else
            quiet=0
            [ $((now - began)) -lt 30 ] || end 26 "Tasks of an earlier run are still under way"
            # shellcheck disable=SC2086  # several
            kill -$signal $tasks 2>/dev/null
            if [ $((now - began)) -ge 2 ]; then signal=KILL; fi
        fi
        nap
    done
}

look() {
    pending_op=- pending_epoch=0 pending_run=- id=-
    if [ -f "$u/pending" ]; then read -r pending_op pending_epoch pending_run <"$u/pending"; fi
    if [ -f "$u/id" ]; then read -r id <"$u/id"; fi
}

# Ends what is left of the operation under way on a unit.
clear_way() {
    look
    [ "$pending_run" != - ] || return 0
    shut_out "$pending_run" "$pending_epoch"
    # Nobody has to wait for it a second time.
    if [ "$pending_epoch" != "$epoch" ]; then write "$u/pending" "$pending_op $epoch $pending_run"; fi
}

note() { printf '%s %s %s %s %s\n' "$(date -u +%FT%TZ)" "$1" "$op" "$unit" "$2" >>"$root/effects.log"; }

# begin WAY RUN ID: WAY is `apply`, `undo` (ID is what the unit had before) or `restore`.
begin() {
    clear_way
    case $1 in
        apply) [ ! -f "$root/ops/$op" ] || end 40 "It was carried out already" ;;
        undo)
            if [ "$pending_op" = - ] && [ "$id" = "$3" ]; then
                rm -f "$root/ops/$op"
                durable "$root/ops"
                end 40 "It was taken back already"
            fi
            ;;
    esac
    mkdir -p "$u" || end 28 "$u can't be made"
    write "$u/pending" "$op $epoch $2"
}

# finish WAY RUN ID RELEASE: this is the moment at which an operation was carried out. `-` for a release: the unit has none.
finish() {
    look
    guard || end 20 "$seen"
    if [ "$pending_op" != "$op" ] || [ "$pending_run" != "$2" ]; then end 41 "Another operation has come between"; fi
    if [ "$1" != restore ]; then have "$3" "$4"; fi
    if [ "$1" = apply ]; then
        mv -f "$u/pending" "$root/ops/$op" || end 28 "$root/ops can't be written"
    else
        rm -f "$u/pending"
        if [ "$1" = undo ]; then rm -f "$root/ops/$op"; fi
    fi
    durable "$u" "$root/ops"
    unguard
    note "$1" "$3"
}

have() {
    if [ "$1" = - ]; then
        rm -f "$u/release" "$u/id" "$u/since"
        return
    fi
    # The id comes first: with a release that does not fit it, the pending operation is still there.
    write "$u/id" "$1"
    date +%s >"$u/since"
    write "$u/release" "$2"
}

list() {
    see_epoch
    printf '@\t%s\n' "$seen"
    for dir in "$root"/units/*; do
        [ -f "$dir/release" ] || [ -f "$dir/pending" ] || continue
        use_unit "${dir##*/}"
        look
        state=whole
        if [ "$pending_run" != - ]; then
            tasks_of "$pending_run"
            if [ -n "$tasks" ]; then state=under-way; else state=half-done; fi
        fi
        since=0
        if [ -f "$u/since" ]; then read -r since <"$u/since"; fi
        printf '%s\t%s\t%s\t' "$unit" "$state" "$since"
        if [ -f "$u/release" ]; then cat "$u/release"; else printf '\n'; fi
    done
}

case $root in "~/"*) root=$HOME/${root#"~/"} ;; esac
case $cmd in
    list)
        [ -d "$root" ] || { printf '@\t0\n'; exit 0; }
        list
        ;;
    fence)
        epoch=$1
        folders
        admit
        lock 60
        for dir in "$root"/units/*; do
            [ -f "$dir/pending" ] || continue
            use_unit "${dir##*/}"
            clear_way
        done
        ;;
    observe)
        epoch=$1 op=$3
        use_unit "$2"
        folders
        # Whoever was passed over may look; it changes nothing.
        see_epoch
        if [ "$epoch" -lt "$seen" ]; then epoch=$seen; fi
        admit
        lock 60
        clear_way
        if [ -f "$root/ops/$op" ] && [ "$pending_op" != "$op" ]; then
            printf 'applied\n'
        elif [ "$pending_op" = "$op" ]; then
            printf 'half-done\n'
        else
            printf 'not-applied\n'
        fi
        ;;
    begin | finish)
        epoch=$1 op=$3
        use_unit "$2"
        shift 3
        folders
        admit
        lock 60
        "$cmd" "$@"
        ;;
    *) end 2 "There is no command $cmd" ;;
esac
