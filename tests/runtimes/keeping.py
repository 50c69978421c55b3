"""Redis with ten thousand keys, a log of what is written, and clients that stay connected: one that asks, one that waits.

Says "ready", and "ok" for each line that it is told.
"""

import hashlib
import socket
import subprocess
import sys
import time

KEYS = 10000
PLACE = "/tmp/redis"
complaints = []


def complain(what):
    complaints.append(what)


class Client:
    """As much of the protocol as this takes."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(PLACE)
        self.answers = self.socket.makefile("rb")

    def ask(self, *words):
        self.tell(*words)
        return self.answer()

    def tell(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        text = b"*%d\r\n" % len(words)
        self.socket.sendall(text + b"".join(b"$%d\r\n%s\r\n" % (len(it), it) for it in words))

    def answer(self):
        line = self.answers.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if int(rest) < 0 else self.answers.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(max(int(rest), 0))]
        raise ValueError(line)


def value(at):
    return hashlib.sha256(b"%d" % at).hexdigest().encode()


server = subprocess.Popen(
    ["/usr/bin/redis-server", "--port", "0", "--unixsocket", PLACE, "--dir", "/tmp"]
    + ["--appendonly", "yes", "--save", "", "--logfile", "/tmp/redis.log"]
)
until = time.monotonic() + 60
while True:
    try:
        client, waiter = Client(), Client()
        break
    except OSError:
        if server.poll() is not None or time.monotonic() > until:
            print("there is no server:", open("/tmp/redis.log").read(), flush=True)
            sys.exit(1)
        time.sleep(0.01)
for at in range(KEYS):
    client.tell("SET", "key %d" % at, value(at))
for at in range(KEYS):
    if client.answer() != b"OK":
        complain("a key was not set")
for at in range(100):
    client.ask("ZADD", "scores", at, "member %d" % at)
client.ask("SET", "passing", "by", "EX", 3600)
waiter.tell("BLPOP", "queue", 0)


def look(turn):
    if client.ask("DBSIZE") != KEYS + 2 + (turn > 1):
        complain("there are %s keys" % client.ask("DBSIZE"))
    keys = client.ask("MGET", *["key %d" % at for at in range(KEYS)])
    if keys != [value(at) for at in range(KEYS)]:
        complain("keys are not what they were")
    if client.ask("ZRANK", "scores", "member 42") != 42:
        complain("a rank is not what it was")
    if not 3000 < client.ask("TTL", "passing") <= 3600:
        complain("a key passes by in %d s" % client.ask("TTL", "passing"))
    if client.ask("INCR", "turns") != turn:
        complain("a counter is elsewhere")
    client.ask("RPUSH", "queue", "turn %d" % turn)
    if waiter.answer() != [b"queue", b"turn %d" % turn]:
        complain("who waits was told something else")
    waiter.tell("BLPOP", "queue", 0)
    another = Client()
    if another.ask("PING") != b"PONG":
        complain("a new client is not heard")
    another.socket.close()
    if client.ask("BGREWRITEAOF")[:10] != b"Background":
        complain("the log is not written anew")
    while b"aof_rewrite_in_progress:0" not in client.ask("INFO", "persistence"):
        time.sleep(0.01)
    if b"aof_last_bgrewrite_status:ok" not in client.ask("INFO", "persistence"):
        complain("the log could not be written anew")


print("ready", flush=True)
for turn, _ in enumerate(sys.stdin, start=1):
    look(turn)
    print("; ".join(complaints) or "ok", flush=True)
client.tell("SHUTDOWN", "NOSAVE")
if server.wait() != 0:
    print("the server ended with", server.returncode, flush=True)
