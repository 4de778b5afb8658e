#!/bin/sh
# What scripts on hosts have in common: epochs, the lock, and files that are replaced at one moment. It is put in front of
# each of them (ssh/host.sh, ansible/mark.sh); a script says in `mend` what is to be done when somebody gets the lock.
# shellcheck disable=SC2034  # what is not used here is used by the script that follows
set -u
umask 077
LC_ALL=C
PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH

cmd=$1 root=$2
shift 2
op=- unit=- epoch=0 u=

end() {
    code=$1
    shift
    printf '%s\n' "$*"
    exit "$code"
}

need() { command -v "$1" >/dev/null 2>&1 || end 27 "$1"; }
nap() { sleep 0.1 2>/dev/null || sleep 1; }
# Sets `now`: seconds that only grow, and no program that says them.
clock() {
    read -r now rest </proc/uptime
    now=${now%%.*}
}
# A file's content is on disk when this returns. Old `sync` knows no files and syncs everything.
durable() { sync "$@" 2>/dev/null || sync; }

# write FILE TEXT [OTHER...]: replaces it by one line, at one moment and durably; the OTHER files are on disk before it is there.
write() {
    to=$1
    printf '%s\n' "$2" >"$to.new" || printf '%s\n' "$2" | cat >"$to.new" || end 28 "$to can't be written"
    shift 2
    { durable "$to.new" "$@" && mv -f "$to.new" "$to"; } || end 28 "$to can't be written"
    durable "${to%/*}"
}

use_unit() {
    unit=$1 u=$root/units/$1
}

folders() {
    [ -d "$root/ops" ] && [ -d "$root/releases" ] && [ -d "$root/units" ] && [ -d "$root/incoming" ] && return
    mkdir -p "$root/ops" "$root/releases" "$root/units" "$root/incoming" || end 28 "$root can't be made"
}

# --- epochs and the lock -------------------------------------------------------------------------------------------

see_epoch() {
    seen=0
    if [ -f "$root/epoch" ]; then read -r seen <"$root/epoch"; fi
}

# Refuses a lower epoch, keeps a higher one. Whoever works under a lower one sees it and gives up.
admit() {
    need flock
    exec 8>"$root/epoch.lock" || end 28 "$root can't be written"
    flock 8 || end 28 "$root can't be locked"
    see_epoch
    [ "$epoch" -ge "$seen" ] || end 20 "$seen"
    if [ "$epoch" -gt "$seen" ]; then write "$root/epoch" "$epoch"; fi
    exec 8>&-
}

# Whether nobody has taken over; the epoch can't change from here until `unguard`.
guard() {
    exec 8>"$root/epoch.lock"
    flock 8 || end 28 "$root can't be locked"
    see_epoch
    [ "$seen" -le "$epoch" ]
}
unguard() { exec 8>&-; }

# lock SECONDS: waits until nobody else works here, then mends what somebody left half done.
lock() {
    exec 9>"$root/lock" || end 28 "$root can't be written"
    if ! flock -n 9; then
        clock
        till=$((now + $1))
        until flock -n 9; do
            clock
            [ "$now" -lt "$till" ] || end 26 "Another operation is still under way after $1 s"
            nap
        done
    fi
    mend
}
