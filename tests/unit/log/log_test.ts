import { deepStrictEqual, doesNotThrow, match, strictEqual, throws } from "node:assert/strict";
import {
  blockingWriter,
  createLogHub,
  createRelayedLogHub,
  display,
  type Fields,
  InvalidFilter,
  LOG_LIMITS,
  type LogHubOptions,
} from "#log";

const TIME_MS = Date.UTC(2026, 2, 1, 10, 0, 0) + 123.456;

function hubWith(options: Partial<LogHubOptions> = {}) {
  const writes: string[] = [];
  const hub = createLogHub({
    write: (bytes) => void writes.push(new TextDecoder().decode(bytes)),
    nowMs: () => TIME_MS,
    filter: "info",
    format: "plain",
    defer: () => {},
    ...options,
  });
  const written = () => {
    hub.flush();
    return writes.join("");
  };
  return { hub, writes, written };
}

/** The client's side of the example connection (behaviour.md C.1). */
const EXAMPLE: Fields = {
  "src.addr": display("10.1.0.5:40000"),
  "src.workload": "web-6c",
  "src.namespace": "shop",
  "src.identity": "spiffe://cluster.local/ns/shop/sa/web",
  "src.cluster": "cluster-a",
  "dst.addr": display("10.1.0.9:15008"),
  "dst.hbone_addr": display("10.1.0.9:8080"),
  "dst.service": "cart.shop.svc.cluster.local",
  "dst.workload": "cart-7d",
  "dst.namespace": "shop",
  "dst.identity": "spiffe://cluster.local/ns/shop/sa/cart",
  "dst.cluster": "cluster-a",
  direction: "outbound",
  bytes_sent: 11,
  bytes_recv: 22,
  duration: "3ms",
  error: undefined,
};

Deno.test("scope() writes an access line as the specification's example when plain", () => {
  const { hub, written } = hubWith();
  hub.scope("access").info?.("connection complete", EXAMPLE);
  strictEqual(
    written(),
    "2026-03-01T10:00:00.123456Z\tinfo\taccess\tconnection complete\t" +
      'src.addr=10.1.0.5:40000 src.workload="web-6c" src.namespace="shop" ' +
      'src.identity="spiffe://cluster.local/ns/shop/sa/web" src.cluster="cluster-a" ' +
      "dst.addr=10.1.0.9:15008 dst.hbone_addr=10.1.0.9:8080 " +
      'dst.service="cart.shop.svc.cluster.local" dst.workload="cart-7d" dst.namespace="shop" ' +
      'dst.identity="spiffe://cluster.local/ns/shop/sa/cart" dst.cluster="cluster-a" ' +
      'direction="outbound" bytes_sent=11 bytes_recv=22 duration="3ms"\n',
  );
});

Deno.test("scope() writes an access line as the specification's example when JSON", () => {
  const { hub, written } = hubWith({ format: "json" });
  hub.scope("access").info?.("connection complete", EXAMPLE);
  strictEqual(
    written(),
    '{"level":"info","time":"2026-03-01T10:00:00.123456Z","scope":"access",' +
      '"message":"connection complete","src.addr":"10.1.0.5:40000","src.workload":"web-6c",' +
      '"src.namespace":"shop","src.identity":"spiffe://cluster.local/ns/shop/sa/web",' +
      '"src.cluster":"cluster-a","dst.addr":"10.1.0.9:15008","dst.hbone_addr":"10.1.0.9:8080",' +
      '"dst.service":"cart.shop.svc.cluster.local","dst.workload":"cart-7d",' +
      '"dst.namespace":"shop","dst.identity":"spiffe://cluster.local/ns/shop/sa/cart",' +
      '"dst.cluster":"cluster-a","direction":"outbound","bytes_sent":11,"bytes_recv":22,' +
      '"duration":"3ms"}\n',
  );
});

Deno.test("within() puts spans behind the target when plain and each under its own key when JSON", () => {
  for (
    const [format, expected] of [
      [
        "plain",
        "2026-03-01T10:00:00.123456Z\twarn\tproxy::inbound" +
        ':proxy{wl="shop/web"}:inbound{id=00ff peer=10.0.0.1:1}:bare\tno fields\t\n',
      ],
      [
        "json",
        '{"level":"warn","time":"2026-03-01T10:00:00.123456Z","scope":"ztunnel::proxy::inbound",' +
        '"message":"no fields","proxy":{"wl":"shop/web"},' +
        '"inbound":{"id":"00ff","peer":"10.0.0.1:1"},"bare":{}}\n',
      ],
    ] as const
  ) {
    const { hub, written } = hubWith({ format });
    hub.scope("ztunnel::proxy::inbound")
      .within({ name: "proxy", fields: { wl: "shop/web" } })
      .within({ name: "inbound", fields: { id: display("00ff"), peer: display("10.0.0.1:1") } })
      .within({ name: "bare", fields: {} })
      .warn?.("no fields");
    strictEqual(written(), expected);
  }
});

Deno.test("a line stays one line whatever a peer puts into its values", () => {
  const evil = 'x"\n2026\tinfo\taccess\r\u001b[2J\u2028\u202e\ud800\\';
  const { hub, written } = hubWith();
  hub.scope("access").info?.(`message ${evil}`, {
    text: evil,
    bare: display("a:1 bytes_sent=0"),
    empty: display(""),
    number: NaN,
    yes: true,
  });
  const escaped = String.raw`\n2026\tinfo\taccess\r\u{1b}[2J\u{2028}\u{202e}\u{d800}`;
  strictEqual(
    written(),
    `2026-03-01T10:00:00.123456Z\tinfo\taccess\tmessage x"${escaped}\\\t` +
      `text="x\\"${escaped}\\\\" bare="a:1 bytes_sent=0" empty="" number=NaN yes=true\n`,
  );
  const json = hubWith({ format: "json" });
  json.hub.scope("access").info?.(evil, { text: evil, c1: "\x9b2J\x7f", number: Infinity });
  const line = json.written();
  strictEqual(line.indexOf("\n"), line.length - 1);
  match(line, /^[\x20-\x7e]*\n$/, "nothing that a terminal obeys");
  strictEqual(JSON.parse(line).text, evil);
  strictEqual(JSON.parse(line).c1, "\x9b2J\x7f");
  strictEqual(JSON.parse(line).number, "Infinity");
});

Deno.test("scope() offers exactly the levels that the filter lets through", () => {
  const names = ["error", "warn", "info", "debug", "trace"] as const;
  const cases: [filter: string, scope: string, levels: number][] = [
    ["", "access", 3],
    ["info", "access", 3],
    ["off", "access", 0],
    ["TRACE", "access", 5],
    ["warning", "access", 2],
    ["critical", "access", 1],
    ["access=debug", "access", 4],
    ["access=debug", "dns", 0],
    ["info,ztunnel::proxy=debug", "ztunnel::proxy::inbound", 4],
    ["info,ztunnel::proxy=debug", "ztunnel::state", 3],
    [
      "ztunnel::proxy=debug,ztunnel::proxy::inbound=warn,ztunnel=error",
      "ztunnel::proxy::inbound",
      2,
    ],
    ["ztunnel=error,ztunnel::proxy=debug", "ztunnel::proxy::outbound", 4],
    ["info,access=error,access=trace", "access", 5],
    ["info,proxy=debug", "ztunnel::proxy::inbound", 4],
    ["trace", "hickory_server::server", 0],
    ["info,", "access", 3],
  ];
  for (const [filter, scope, levels] of cases) {
    const log = hubWith({ filter }).hub.scope(scope);
    deepStrictEqual(
      names.filter((name) => log[name] !== undefined),
      names.slice(0, levels),
      `${filter} for ${scope}`,
    );
  }
});

Deno.test("change() appends, or starts anew after a reset, and reports longest target first", () => {
  const { hub } = hubWith();
  const steps: [clauses: string, reset: boolean, report: string][] = [
    ["", false, "hickory_server::server=off,info"],
    ["access=debug,info", true, "hickory_server::server=off,access=debug,info"],
    ["dns=warn", false, "hickory_server::server=off,access=debug,dns=warn,info"],
    ["dns:trace", false, "hickory_server::server=off,access=debug,dns=trace,info"],
    ["ztunnel::xds:debug", true, "hickory_server::server=off,ztunnel::xds=debug,info"],
    ["debug", true, "hickory_server::server=off,debug"],
    ["", true, "hickory_server::server=off,info"],
  ];
  for (const [clauses, reset, report] of steps) {
    hub.change(clauses, reset);
    strictEqual(hub.filter, report);
  }
});

Deno.test("change() reaches logs that somebody already holds", () => {
  const { hub, written } = hubWith();
  const log = hub.scope("ztunnel::dns").within({ name: "dns_proxy", fields: { wl: "a/b" } });
  strictEqual("debug" in log && typeof log.debug, "undefined");
  hub.change("ztunnel::dns=debug", false);
  log.debug?.("now");
  strictEqual(
    written(),
    '2026-03-01T10:00:00.123456Z\tdebug\tdns:dns_proxy{wl="a/b"}\tnow\t\n',
  );
});

Deno.test("change() and createLogHub() refuse what is no filter and change nothing", () => {
  const many = Array.from({ length: 300 }, (_, index) => `t${index}=info`).join(",");
  for (
    const bad of [
      "invalid_level",
      "access=loud",
      "=info",
      "a b=info",
      "access=",
      "constructor",
      "x=__proto__",
      "debug,invalid",
      many,
      "i".repeat(20_000),
    ]
  ) {
    const { hub } = hubWith();
    throws(() => hub.change(bad, true), InvalidFilter, bad.slice(0, 30));
    strictEqual(hub.filter, "hickory_server::server=off,info");
    throws(() => hubWith({ filter: bad }), InvalidFilter);
  }
});

Deno.test("lines of one turn leave in one write", async () => {
  const writes: Uint8Array[] = [];
  const hub = createLogHub({
    write: (bytes) => void writes.push(bytes),
    nowMs: () => 0,
    filter: "",
    format: "plain",
  });
  for (let count = 0; count < 100; count++) hub.scope("access").info?.("line");
  strictEqual(writes.length, 0);
  await Promise.resolve();
  strictEqual(writes.length, 1);
});

Deno.test("a full batch is written at once, so no line is lost and no batch grows without end", () => {
  const { hub, writes } = hubWith();
  const log = hub.scope("access");
  for (let count = 0; count < LOG_LIMITS.linesMax; count++) log.info?.("line");
  strictEqual(writes.length, 1);
  log.info?.("x".repeat(LOG_LIMITS.batchCharsMax));
  strictEqual(writes.length, 2);
});

Deno.test("a writer that fails costs lines and never the caller; the loss is told when it works again", () => {
  let broken = true;
  const texts: string[] = [];
  const { hub } = hubWith({
    write: (bytes) => {
      if (broken) throw new Deno.errors.BrokenPipe("EPIPE");
      texts.push(new TextDecoder().decode(bytes));
    },
  });
  const log = hub.scope("access");
  doesNotThrow(() => {
    log.info?.("one");
    log.info?.("two");
    hub.flush();
  });
  broken = false;
  log.info?.("three");
  hub.flush();
  hub.flush();
  strictEqual(texts.length, 2);
  strictEqual(
    texts[1]?.split("\t").slice(1).join("\t"),
    "warn\tlog\tlog lines were lost, nobody took them\tlost=2\n",
  );
});

Deno.test("blockingWriter() goes on after short writes and full pipes", () => {
  const taken: number[] = [];
  let calls = 0;
  const write = blockingWriter({
    writeSync(bytes) {
      if (++calls % 2 === 0) throw new Deno.errors.WouldBlock("EAGAIN");
      taken.push(...bytes.subarray(0, 3));
      return Math.min(3, bytes.byteLength);
    },
  });
  write(new TextEncoder().encode("ten bytes\n"));
  strictEqual(String.fromCharCode(...taken), "ten bytes\n");
});

Deno.test("blockingWriter() gives up on a pipe that nobody reads and starts the next batch on a new line", () => {
  let room = 3;
  let text = "";
  const write = blockingWriter({
    writeSync(bytes) {
      const count = Math.min(room, bytes.byteLength);
      if (count === 0) throw new Deno.errors.WouldBlock("Resource temporarily unavailable");
      text += new TextDecoder().decode(bytes.subarray(0, count));
      room -= count;
      return count;
    },
  });
  throws(() => write(new TextEncoder().encode("lost line\n")), /takes no bytes/);
  room = 100;
  write(new TextEncoder().encode("next line\n"));
  strictEqual(text, "los\nnext line\n");
});

/** A data thread's hub and control's; what is sent waits until `deliver`. */
function relayed() {
  let text = "";
  const sent: [string, number][] = [];
  const options = { nowMs: () => 0, filter: "info", format: "plain" } as const;
  const control = createLogHub({
    ...options,
    write: (bytes) => void (text += new TextDecoder().decode(bytes)),
  });
  const thread = createRelayedLogHub({
    ...options,
    send: (lines, linesCount) => void sent.push([lines, linesCount]),
  });
  const deliver = () => {
    for (const [lines, linesCount] of sent.splice(0)) {
      control.relay(lines, linesCount);
      thread.taken(linesCount);
    }
    control.flush();
    return text;
  };
  return { control, thread, sent, deliver };
}

Deno.test("a data thread's lines are written by control, whole and in order", async () => {
  const { control, thread, sent, deliver } = relayed();
  const log = thread.scope("access");
  log.info?.("one");
  log.info?.("two", { n: 2 });
  log.debug?.("not said");
  await Promise.resolve();
  deepStrictEqual(sent.map(([, linesCount]) => linesCount), [2]);
  control.scope("ztunnel").info?.("control's own");
  strictEqual(
    deliver().replaceAll(/^[^\t]+\t/gm, ""),
    "info\tztunnel\tcontrol's own\t\ninfo\taccess\tone\t\ninfo\taccess\ttwo\tn=2\n",
  );
});

Deno.test("a data thread whose lines nobody takes drops them, goes on, and tells how many", () => {
  const { thread, sent, deliver } = relayed();
  const log = thread.scope("access");
  const say = (count: number) => {
    for (let line = 0; line < count; line++) log.info?.("line");
    thread.flush();
  };
  say(LOG_LIMITS.relayedLinesMax);
  say(30);
  say(12);
  strictEqual(sent.reduce((sum, [, count]) => sum + count, 0), LOG_LIMITS.relayedLinesMax);
  deliver();
  say(1);
  thread.flush();
  const lines = deliver().split("\n").slice(LOG_LIMITS.relayedLinesMax);
  deepStrictEqual(lines.map((line) => line.split("\t").slice(1).join(" ")), [
    "info access line ",
    "warn log log lines were lost, nobody took them lost=42",
    "",
  ]);
});

Deno.test("a filter that control prints is the same one on a thread, whatever was there before", () => {
  const { control, thread } = relayed();
  let toldCount = 0;
  control.onChange = () => {
    toldCount++;
    thread.change(control.filter, true);
  };
  for (
    const [clauses, reset] of [
      ["access=debug", false],
      ["off", false],
      ["ztunnel::x=trace", true],
      ["", true],
    ] as const
  ) {
    control.change(clauses, reset);
    strictEqual(thread.filter, control.filter);
    const [here, there] = [control.scope("access"), thread.scope("access")];
    deepStrictEqual([!here.info, !here.debug], [!there.info, !there.debug]);
  }
  strictEqual(toldCount, 4);
});
