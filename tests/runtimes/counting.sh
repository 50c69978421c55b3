# A shell with variables, a job in the background that starts programs all the time, a trap, and a
# pipeline that waits. Says "ready", and "ok" for each line that it is told.

set -u
wrong=

complain() {
    wrong="$wrong$1; "
}

seen=0
trap 'seen=$((seen + 1))' USR1
sum() {
    local total=0 each
    for each in "$@"; do
        total=$((total + each))
    done
    echo "$total"
}

(
    count=0
    while :; do
        count=$((count + 1))
        echo "$count" > /tmp/next
        mv /tmp/next /tmp/count
        sleep 0.01
    done
) &
job=$!

# It reads from a pipe to which nobody writes until the end.
sleep 1000 | sed 's/^/never /' > /tmp/never &
pipeline=$!

exec 4> /tmp/log
echo first >&4
until [ -s /tmp/count ]; do :; done
echo ready

rounds=0
while read -r line; do
    rounds=$((rounds + 1))
    wrong=
    read -r before < /tmp/count
    tries=0
    after=$before
    while [ "$after" -le "$before" ] && [ "$tries" -lt 2000 ]; do
        read -r after < /tmp/count
        tries=$((tries + 1))
        sleep 0.005
    done
    [ "$after" -gt "$before" ] || complain "the job in the background stands still at $after"
    kill -0 "$job" || complain "there is no job $job"
    kill -0 "$pipeline" || complain "there is no pipeline $pipeline"
    kill -USR1 $$
    [ "$seen" = "$rounds" ] || complain "$seen signals for $rounds"
    [ "$(sum 1 2 3 "$rounds")" = $((rounds + 6)) ] || complain "a function counts wrong"
    (exit 7)
    [ $? = 7 ] || complain "the status of a child is lost"
    echo "$line $rounds" >&4
    [ "$(wc -l < /tmp/log)" = $((rounds + 1)) ] || complain "the log has $(wc -l < /tmp/log) lines"
    [ $$ = 1 ] || complain "it has number $$"
    echo "${wrong:-ok}"
done
kill "$job"
# A shell may say that it was ended.
wait "$job" 2> /dev/null
[ $? = 143 ] || echo "the job's status is not 143"
