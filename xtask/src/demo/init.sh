#!/bin/sh
# The first process of the demo's container. All that it starts says how far it is in a file below /run/www.
exec < /dev/null > /run/log 2>&1
cd /run/www || exit 1
ifconfig lo up

# A counter, in the memory of a shell.
(
    n=0
    while :; do
        n=$((n + 1))
        echo $n > counter.new && mv counter.new counter
        sleep 0.02
    done
) &

# A pipe: who reads says which line came last, or that one was lost.
(
    n=0
    while :; do
        n=$((n + 1))
        echo $n
        [ $((n % 500)) = 0 ] && sleep 0.02
    done
) | (
    last=0
    while read -r n; do
        [ "$n" = $((last + 1)) ] || echo "line $n after $last" >> lost
        last=$n
        [ $((n % 100)) = 0 ] && echo $n > pipe.new && mv pipe.new pipe
    done
) &

# Two processes that play ball over a pair of sockets; and one that sits at a terminal.
crux-workload demo-sockets sockets &
crux-workload demo-terminal terminal &

# What a user of the container sees.
httpd -f -p 127.0.0.1:80 -h /run/www &

: > ready
while :; do wait; done
