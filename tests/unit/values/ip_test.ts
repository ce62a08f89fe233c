import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { seededRng } from "#system";
import { Cidr, Ip } from "#values";

Deno.test("Ip.parse() gives the canonical text of an address", () => {
  const table: readonly (readonly [string, string])[] = [
    ["10.0.0.7", "10.0.0.7"],
    ["0.0.0.0", "0.0.0.0"],
    ["::", "::"],
    ["::1", "::1"],
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["2001:db8::0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
    ["fe80::", "fe80::"],
    ["::ffff:10.1.2.3", "10.1.2.3"],
    ["::ffff:a01:203", "10.1.2.3"],
    ["64:ff9b::10.1.2.3", "64:ff9b::a01:203"],
  ];
  for (const [text, canonical] of table) strictEqual(Ip.parse(text), canonical, text);
});

Deno.test("Ip.parse() refuses what is no address", () => {
  const table = [
    ..."|1.2.3|1.2.3.4.5|1.2.3.256|01.2.3.4|1.2.3.4 | 1.2.3.4|1.2.3.-1|a.b.c.d".split("|"),
    ...":|:::|1::2::3|1:2:3:4:5:6:7|1:2:3:4:5:6:7:8:9|1:2:3:4:5:6:7::8|12345::|g::|fe80::1%eth0"
      .split(
        "|",
      ),
    "::1.2.3",
    "1.2.3.4:80",
    "[::1]",
  ];
  for (const text of table) strictEqual(Ip.parse(text), undefined, JSON.stringify(text));
});

Deno.test("Ip.fromBytes() and Ip.toBytes() are each other's inverse for any bytes", () => {
  const rng = seededRng(5);
  for (let run = 0; run < 2_000; run++) {
    const bytes = rng.bytes(run % 2 === 0 ? 4 : 16).map((byte) => byte < 128 ? 0 : byte);
    const ip = Ip.fromBytes(bytes)!;
    strictEqual(Ip.parse(ip), ip);
    const back = Ip.toBytes(ip);
    deepStrictEqual(back.length === bytes.length ? back : bytes, bytes, ip);
  }
  for (const length of [0, 3, 5, 15, 17]) {
    strictEqual(Ip.fromBytes(new Uint8Array(length)), undefined);
  }
});

Deno.test("Cidr.contains() compares the prefix only, families apart", () => {
  const table: readonly (readonly [string, string, boolean])[] = [
    ["127.0.0.1/24", "127.0.0.9", true],
    ["127.0.0.1/24", "127.0.1.9", false],
    ["10.1.0.0/15", "10.0.255.255", true],
    ["10.0.0.0/15", "10.2.0.0", false],
    ["0.0.0.0/0", "255.1.2.3", true],
    ["0.0.0.0/0", "::1", false],
    ["10.0.0.7/32", "10.0.0.7", true],
    ["10.0.0.7/32", "10.0.0.6", false],
    ["fd00::/8", "fdff::1", true],
    ["fd00::/8", "fe00::1", false],
    ["::/0", "10.0.0.1", false],
  ];
  for (const [cidr, ip, expected] of table) {
    strictEqual(Cidr.contains(Cidr.parse(cidr)!, Ip.parse(ip)!), expected, `${ip} in ${cidr}`);
  }
});

Deno.test("Cidr.parse() wants an address and a length that fits its family", () => {
  for (
    const text of ["10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "x/8", "/8"]
  ) {
    strictEqual(Cidr.parse(text), undefined, text);
  }
  strictEqual(Cidr.format(Cidr.parse("10.0.0.0/8")!), "10.0.0.0/8");
  ok(Ip.isLoopback(Ip.parse("127.3.4.5")!) && Ip.isLoopback(Ip.parse("::1")!));
  ok(!Ip.isLoopback(Ip.parse("128.0.0.1")!));
});
