import { deepStrictEqual as assertEquals } from "node:assert/strict";

/** Runs `program` where socket(AF_INET6) fails; what it prints as JSON. */
async function withoutIpv6(program: string): Promise<unknown> {
  const wrapper = new URL("../../support/apps/without_ipv6.py", import.meta.url).pathname;
  const { stdout, stderr } = await new Deno.Command("python3", {
    args: [wrapper, Deno.execPath(), "eval", program],
    cwd: new URL("../../../", import.meta.url),
  }).output();
  const text = new TextDecoder();
  try {
    return JSON.parse(text.decode(stdout));
  } catch {
    throw new Error(text.decode(stdout) + text.decode(stderr));
  }
}

Deno.test("a kernel without IPv6 gets 0.0.0.0 where :: was asked for, and says no to ::1", async () => {
  const told = await withoutIpv6(`
    import { createKernel } from "#linux";
    import { realClock } from "#system";
    import { Ip } from "#values";
    const kernel = createKernel({ clock: realClock });
    const listen = (ip) =>
      kernel.listen({ at: { ip: Ip.parse(ip), port: 0 }, transparent: "off", redirected: false });
    const told = [];
    const acceptor = listen("::");
    told.push(acceptor.address.ip);
    const arriving = new Promise((resolve) => acceptor.serve(resolve));
    const to = { ip: Ip.parse("127.0.0.1"), port: acceptor.address.port };
    const dialed = await kernel.dialer({}).dial(to, { timeoutMs: 30_000 });
    told.push((await arriving).source.ip);
    for (const ip of ["::1"]) {
      try {
        listen(ip);
      } catch (error) {
        told.push(error.name + " " + error.code);
      }
    }
    console.log(JSON.stringify(told));
    Deno.exit();`);
  assertEquals(told, ["0.0.0.0", "127.0.0.1", "ListenError EAFNOSUPPORT"]);
});
