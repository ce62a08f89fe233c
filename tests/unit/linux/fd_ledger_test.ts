import { strictEqual } from "node:assert/strict";
import { FdLedger } from "#linux";
import { c } from "../../../lib/linux/libc.ts";
import { duplicateFd } from "../../../lib/linux/fd_ledger.ts";

/** Whether the number is open, without asking the parallel tests' fds. */
const isOpen = (fd: number) => c.fcntl(fd, 1, /* F_GETFD */ 0) >= 0;
/** Above what this process hands out by itself, so that no parallel test gets a number that was just closed. */
function highFd(): number {
  const fd = c.fcntl(0, 1030, /* F_DUPFD_CLOEXEC */ 5_000);
  if (fd < 0) throw new Error("no fd 0 to duplicate");
  return fd;
}

Deno.test("FdLedger: an entry is taken once, by whichever side comes first", () => {
  const thread = new FdLedger();
  const control = new FdLedger(thread.buffer);
  thread.add(5_001);
  strictEqual(control.take(5_001), true);
  strictEqual(thread.take(5_001), false);
  strictEqual(thread.take(7), false, "never there");
});

Deno.test("FdLedger: closeAll() closes what is left, and only once", () => {
  const thread = new FdLedger();
  const control = new FdLedger(thread.buffer);
  const [kept, given] = [highFd(), highFd()];
  thread.add(kept);
  thread.add(given);
  thread.take(given);
  strictEqual(control.closeAll(), 1);
  strictEqual(isOpen(kept), false);
  strictEqual(isOpen(given), true, "its owner is another");
  strictEqual(control.closeAll(), 0);
  c.close(given);
});

Deno.test("FdLedger: what is lent is in the borrower's book", () => {
  const ledger = new FdLedger();
  const fd = highFd();
  const lent = ledger.lend(fd);
  strictEqual(isOpen(lent), true);
  strictEqual(ledger.closeAll(), 1);
  strictEqual(isOpen(lent), false);
  strictEqual(isOpen(fd), true);
  c.close(fd);
});

Deno.test("FdLedger: it outlives a hundred thousand entries, and one too many is only not recorded", () => {
  const ledger = new FdLedger();
  for (let fd = 0; fd < 100_000; fd++) {
    ledger.add(fd);
    strictEqual(ledger.take(fd), true);
  }
  for (let fd = 1_000_000; fd < 1_065_540; fd++) ledger.add(fd);
  strictEqual(ledger.take(1_000_000), true);
  strictEqual(ledger.take(1_065_535), true);
  strictEqual(ledger.take(1_065_539), false);
});

Deno.test("FdLedger: a thread is alive while its Worker runs", async () => {
  const ledger = new FdLedger();
  strictEqual(ledger.isThreadAlive, false, "nobody has it yet");
  const worker = new Worker(new URL("./ledger_worker.ts", import.meta.url), { type: "module" });
  await new Promise((resolve) => {
    worker.onmessage = resolve;
    worker.postMessage(ledger.buffer);
  });
  strictEqual(ledger.isThreadAlive, true);
  worker.terminate();
  for (let waits = 0; ledger.isThreadAlive && waits < 500; waits++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  strictEqual(ledger.isThreadAlive, false);
});

Deno.test("duplicateFd() refuses what is not open", () => {
  let code = "";
  try {
    duplicateFd(999_999);
  } catch (error) {
    code = String(error);
  }
  strictEqual(/EBADF|fcntl/.test(code), true, code);
});
