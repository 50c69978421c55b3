// Timers, promises, threads, a process that echoes. Says "ready", and "ok" for each line that it is told.
"use strict";

const crypto = require("crypto");
const fs = require("fs");
const path = require("path");
const readline = require("readline");
const { spawn } = require("child_process");
const { Worker, isMainThread, workerData } = require("worker_threads");

const THREADS = 3;

if (!isMainThread) {
  const counts = new Int32Array(workerData.counts);
  for (;;) {
    Atomics.add(counts, workerData.at, 1);
    // For a millisecond, or until somebody wakes it.
    Atomics.wait(counts, THREADS, 0, 1);
  }
}

const complaints = [];
const complain = (what) => complaints.push(what);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function until(what, holds) {
  const limit = Date.now() + 60000;
  while (!holds()) {
    if (Date.now() > limit) return complain(`waited in vain for ${what}`);
    await pause(1);
  }
}

const shared = new SharedArrayBuffer(4 * (THREADS + 1));
const counts = new Int32Array(shared);
for (let at = 0; at < THREADS; at++) {
  new Worker(__filename, { workerData: { counts: shared, at } }).unref();
}

let ticks = 0;
setInterval(() => ticks++, 10);
let sleeps = 0;
(async () => {
  for (;;) {
    const begun = process.hrtime.bigint();
    await pause(100);
    // libuv counts in milliseconds.
    const slept = process.hrtime.bigint() - begun;
    if (slept < 98000000n) complain(`a sleep took ${slept} ns`);
    sleeps++;
  }
})();
setTimeout(() => complain("a wait of an hour has ended"), 3600 * 1000);

const data = new Map();
for (let at = 0; at < 5000; at++) data.set(at, crypto.randomBytes(200));
const digest = () => {
  const hash = crypto.createHash("sha256");
  for (const bytes of data.values()) hash.update(bytes);
  return hash.digest("hex");
};
const before = digest();
let caught = 0;
process.on("SIGUSR2", () => caught++);
const echo = spawn("/bin/cat", { stdio: ["pipe", "pipe", "inherit"] });
const echoed = readline.createInterface({ input: echo.stdout })[Symbol.asyncIterator]();

async function look(turn) {
  const counted = Array.from(counts);
  const [ticked, slept] = [ticks, sleeps];
  await until("every thread's next turn", () => {
    const on = counted.slice(0, THREADS).every((count, at) => Atomics.load(counts, at) > count);
    return on && ticks > ticked && sleeps > slept;
  });
  if (digest() !== before) complain("data are not what they were");
  process.kill(process.pid, "SIGUSR2");
  await until("a signal", () => caught === turn);
  echo.stdin.write(`turn ${turn}\n`);
  const { value } = await echoed.next();
  if (value !== `turn ${turn}`) complain(`cat says ${value}`);
  // By another thread of libuv's.
  const own = await fs.promises.readFile("/proc/self/cmdline");
  if (!own.includes(path.basename(__filename))) complain("it is somebody else");
}

(async () => {
  await until("the first turns", () => ticks > 0 && counts.slice(0, THREADS).every((it) => it > 0));
  console.log("ready");
  let turn = 0;
  for await (const _ of readline.createInterface({ input: process.stdin })) {
    await look(++turn);
    console.log(complaints.join("; ") || "ok");
  }
  echo.stdin.end();
  echo.on("close", (code) => process.exit(code));
})();
