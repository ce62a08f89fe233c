/**
 * A process with few fds and an acceptor. Prints its port; then, for each line on stdin, what it knows; see
 * emfile_test.ts, which starts it under `ulimit -n`.
 */
import process from "node:process";
import { createKernel, OpenFiles } from "#linux";
import { realClock } from "#system";
import { Ip } from "#values";

const kernel = createKernel({ clock: realClock });
const acceptor = kernel.listen({
  at: { ip: Ip.parse("127.61.0.2")!, port: 0 },
  transparent: "off",
  redirected: false,
});
// The runtime opens fds when it first meets signals, and panics where it cannot.
Deno.addSignalListener("SIGUSR2", () => {});
let accepted = 0;
acceptor.serve(({ stream }) => {
  accepted++;
  void (async () => {
    for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
      await stream.write(chunk);
    }
    await stream.closeWrite();
  })().catch(() => {});
});
console.log(JSON.stringify({ port: acceptor.address.port, fds: OpenFiles.count() }));
cpuMs();
const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream());
for await (const _ of lines) {
  console.log(JSON.stringify({ accepted, cpuMs: cpuMs() }));
}
acceptor.close();

/** /proc/self/stat could not be opened without an fd to spare. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return Math.round((user + system) / 1000);
}
