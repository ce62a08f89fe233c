import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { validateRequest, validateResponse, validateTrailers } from "../../../lib/http2/headers.ts";
import type { HeaderField } from "../../../lib/http2/hpack.ts";

const CONNECT: readonly HeaderField[] = [[":method", "CONNECT"], [":authority", "10.0.0.1:80"]];
const GET: readonly HeaderField[] = [
  [":method", "GET"],
  [":scheme", "http"],
  [":authority", "shop.example"],
  [":path", "/"],
];
const EXTENDED: readonly HeaderField[] = [
  [":method", "CONNECT"],
  [":protocol", "websocket"],
  [":scheme", "https"],
  [":authority", "shop.example"],
  [":path", "/chat"],
];
const OK: readonly HeaderField[] = [[":status", "200"]];

/** A list with one pseudo header in another value, or without it. */
function changed(
  fields: readonly HeaderField[],
  name: string,
  value?: string,
): readonly HeaderField[] {
  const rest = fields.filter((field) => field[0] !== name);
  return value === undefined ? rest : [...rest, [name, value]];
}

Deno.test("validateRequest() takes the CONNECT of a tunnel", () => {
  const { head } = validateRequest([
    ...CONNECT,
    ["baggage", "a=b"],
    ["forwarded", 'for="10.1.2.3:4"'],
    ["baggage", "c=d"],
  ]);
  deepStrictEqual(head, {
    method: "CONNECT",
    authority: "10.0.0.1:80",
    scheme: undefined,
    path: undefined,
    protocol: undefined,
    headers: new Map([["baggage", ["a=b", "c=d"]], ["forwarded", ['for="10.1.2.3:4"']]]),
    contentLength: undefined,
  });
});

Deno.test("validateRequest() recognises an extended CONNECT and other methods", () => {
  const extended = validateRequest(EXTENDED).head!;
  deepStrictEqual([extended.method, extended.protocol, extended.path], [
    "CONNECT",
    "websocket",
    "/chat",
  ]);
  const get = validateRequest(GET).head!;
  deepStrictEqual([get.method, get.scheme, get.path, get.protocol], [
    "GET",
    "http",
    "/",
    undefined,
  ]);
});

const FINE_REQUESTS: readonly (readonly [what: string, fields: readonly HeaderField[]])[] = [
  ["te: trailers", [...CONNECT, ["te", "trailers"]]],
  ["an empty value", [...CONNECT, ["baggage", ""]]],
  ["a value of obs-text and a tab", [...CONNECT, ["x-a", "\xe4\tb\xff"]]],
  ["the host of its :authority", [...CONNECT, ["host", "10.0.0.1:80"]]],
  ["a host in other case and with the default port", [...GET, ["host", "SHOP.example:80"]]],
  ["an IPv6 :authority", changed(CONNECT, ":authority", "[2001:db8::1]:80")],
  ["no :authority but a host", [...changed(GET, ":authority"), ["host", "shop.example"]]],
  ["OPTIONS *", changed(changed(GET, ":method", "OPTIONS"), ":path", "*")],
  ["another scheme's path", changed(changed(GET, ":scheme", "urn"), ":path", "a:b")],
  ["names of all legal characters", [...CONNECT, ["!#$%&'*+-.^_`|~09az", "x"]]],
  ["one content-length, thrice", [...GET, ["content-length", "5, 5"], ["content-length", "5"]]],
];

for (const [what, fields] of FINE_REQUESTS) {
  Deno.test(`validateRequest() takes ${what}`, () => {
    strictEqual(validateRequest(fields).reason, undefined);
  });
}

const MALFORMED_REQUESTS: readonly (readonly [
  what: string,
  fields: readonly HeaderField[],
  reason: RegExp,
])[] = [
  ["nothing", [], /^no :method$/],
  ["no :method", changed(GET, ":method"), /^no :method$/],
  ["an empty :method", changed(GET, ":method", ""), /illegal :method ""/],
  ["a :method with a space", changed(GET, ":method", "GE T"), /illegal :method/],
  ["no :scheme", changed(GET, ":scheme"), /^no :scheme$/],
  ["an illegal :scheme", changed(GET, ":scheme", "1http"), /illegal :scheme/],
  ["no :path", changed(GET, ":path"), /^no :path$/],
  ["an empty :path", changed(GET, ":path", ""), /illegal :path ""/],
  ["a relative :path", changed(GET, ":path", "a"), /illegal :path "a"/],
  ["GET *", changed(GET, ":path", "*"), /illegal :path/],
  ["a :path with a space", changed(GET, ":path", "/a b"), /illegal :path/],
  ["CONNECT without :authority", changed(CONNECT, ":authority"), /^no :authority with CONNECT$/],
  ["CONNECT with an empty one", changed(CONNECT, ":authority", ""), /^no :authority with CONNECT$/],
  ["CONNECT with host alone", [CONNECT[0]!, ["host", "a:1"]], /^no :authority with CONNECT$/],
  ["CONNECT with :scheme", [...CONNECT, [":scheme", "http"]], /^:scheme with CONNECT$/],
  ["CONNECT with :path", [...CONNECT, [":path", "/"]], /^:path with CONNECT$/],
  [":protocol with GET", [...GET, [":protocol", "websocket"]], /^:protocol with "GET"$/],
  ["an empty :protocol", changed(EXTENDED, ":protocol", ""), /illegal :protocol/],
  ["extended CONNECT without :scheme", changed(EXTENDED, ":scheme"), /^no :scheme$/],
  ["extended CONNECT without :path", changed(EXTENDED, ":path"), /^no :path$/],
  ["extended CONNECT without :authority", changed(EXTENDED, ":authority"), /^no :authority with/],
  ["a pseudo header twice", [...CONNECT, [":authority", "10.0.0.1:80"]], /^:authority came twice$/],
  ["an unknown pseudo header", [...CONNECT, [":foo", "a"]], /pseudo header ":foo" out of place/],
  ["a response's pseudo header", [...CONNECT, [":status", "200"]], /":status" out of place/],
  ["a bare colon", [...CONNECT, [":", "a"]], /pseudo header ":" out of place/],
  ["a pseudo header at the end", [CONNECT[0]!, ["a", "b"], CONNECT[1]!], /behind a regular header/],
  ["an upper-case name", [...CONNECT, ["Baggage", "a"]], /illegal header name "Baggage"/],
  ["an empty name", [...CONNECT, ["", "a"]], /illegal header name ""/],
  ["a name with a space", [...CONNECT, ["a b", "a"]], /illegal header name "a b"/],
  ["a name with a colon", [...CONNECT, ["a:b", "a"]], /illegal header name "a:b"/],
  ["a name with a line feed", [...CONNECT, ["a\n", "a"]], /illegal header name "a\\n"/],
  ["a name that is not ASCII", [...CONNECT, ["\xe4", "a"]], /illegal header name/],
  ["a line feed in a value", [...CONNECT, ["a", "b\nc: d"]], /a control character in "a"/],
  ["a carriage return in a value", [...CONNECT, ["a", "b\r"]], /a control character in "a"/],
  ["a NUL in a value", [...CONNECT, ["a", "\0"]], /a control character in "a"/],
  ["a DEL in a value", [...CONNECT, ["a", "\x7f"]], /a control character in "a"/],
  ["a leading space", [...CONNECT, ["a", " b"]], /white space around "a"/],
  ["a trailing tab", [...CONNECT, ["a", "b\t"]], /white space around "a"/],
  ["white space around :authority", changed(CONNECT, ":authority", "a:1 "), /white space around/],
  ["connection", [...CONNECT, ["connection", "close"]], /connection-specific header connection/],
  ["keep-alive", [...CONNECT, ["keep-alive", "5"]], /connection-specific header keep-alive/],
  ["proxy-connection", [...CONNECT, ["proxy-connection", "a"]], /specific header proxy-connection/],
  ["transfer-encoding", [...GET, ["transfer-encoding", "chunked"]], /header transfer-encoding/],
  ["upgrade", [...GET, ["upgrade", "h2c"]], /connection-specific header upgrade/],
  ["te: gzip", [...GET, ["te", "gzip"]], /te is "gzip", not trailers/],
  ["te: trailers and more", [...GET, ["te", "trailers, gzip"]], /not trailers/],
  ["another host", [...CONNECT, ["host", "10.0.0.2:80"]], /host "10.0.0.2:80" is not :authority/],
  ["a host with another port", [...GET, ["host", "shop.example:443"]], /is not :authority/],
  ["a host without CONNECT's port", [...CONNECT, ["host", "10.0.0.1"]], /is not :authority/],
  ["two hosts", [...GET, ["host", "shop.example"], ["host", "shop.example"]], /host came twice/],
  ["user information", changed(GET, ":authority", "me@shop.example"), /illegal authority/],
  ["a path in :authority", changed(CONNECT, ":authority", "a:1/b"), /illegal authority/],
  ["an illegal host", [...changed(GET, ":authority"), ["host", "a b"]], /illegal authority "a b"/],
  ["two content-lengths", [...GET, ["content-length", "5"], ["content-length", "6"]], /"5, 6"/],
  ["a list of content-lengths", [...GET, ["content-length", "5,6"]], /illegal content-length/],
  ["a negative content-length", [...GET, ["content-length", "-1"]], /illegal content-length/],
  ["a signed content-length", [...GET, ["content-length", "+1"]], /illegal content-length/],
  ["an empty content-length", [...GET, ["content-length", ""]], /illegal content-length/],
  ["a hexadecimal content-length", [...GET, ["content-length", "0x5"]], /illegal content-length/],
  ["a content-length beyond numbers", [...GET, ["content-length", "9007199254740992"]], /illegal/],
  ["CONNECT with a broken content-length", [...CONNECT, ["content-length", "x"]], /illegal/],
];

for (const [what, fields, reason] of MALFORMED_REQUESTS) {
  Deno.test(`validateRequest() refuses ${what}`, () => {
    const result = validateRequest(fields);
    strictEqual(result.head, undefined);
    match(result.reason!, reason);
  });
}

Deno.test("validateRequest() tells what content-length binds to, and ignores it for a tunnel", () => {
  strictEqual(validateRequest([...GET, ["content-length", "12"]]).head!.contentLength, 12);
  strictEqual(validateRequest(GET).head!.contentLength, undefined);
  strictEqual(
    validateRequest([...CONNECT, ["content-length", "12"]]).head!.contentLength,
    undefined,
  );
  strictEqual(validateRequest([...EXTENDED, ["content-length", "12"]]).head!.contentLength, 12);
});

Deno.test("validateRequest() quotes little of what a peer sent, and no line breaks", () => {
  const { reason } = validateRequest([...GET, [`${"A\n".repeat(10_000)}`, "b"]]);
  ok(reason!.length < 200, reason!);
  ok(!reason!.includes("\n"));
});

Deno.test("validateResponse() takes final and interim heads", () => {
  const { head } = validateResponse([...OK, ["baggage", "a=b"], ["content-length", "3"]]);
  deepStrictEqual(head, {
    status: 200,
    headers: new Map([["baggage", ["a=b"]], ["content-length", ["3"]]]),
    contentLength: 3,
  });
  for (const status of [100, 103, 204, 404, 503, 999]) {
    strictEqual(validateResponse([[":status", `${status}`]]).head!.status, status);
  }
});

const MALFORMED_RESPONSES: readonly (readonly [
  what: string,
  fields: readonly HeaderField[],
  reason: RegExp,
])[] = [
  ["no :status", [["a", "b"]], /^no :status$/],
  ["two", [...OK, ...OK], /^:status came twice$/],
  ["101", [[":status", "101"]], /^:status 101$/],
  ...["", "20", "2000", "099", "2x0", "+20", "-10"].map((status) =>
    [`"${status}"`, [[":status", status]], /illegal :status/] as const
  ),
  ["one behind a header", [["a", "b"], ...OK], /^:status behind a regular header$/],
  ["a request's pseudo header", [...OK, [":path", "/"]], /":path" out of place/],
  ["connection-specific headers", [...OK, ["connection", "close"]], /connection-specific/],
  ["upper case", [...OK, ["Via", "a"]], /illegal header name "Via"/],
];

for (const [what, fields, reason] of MALFORMED_RESPONSES) {
  Deno.test(`validateResponse() refuses :status or headers: ${what}`, () => {
    const result = validateResponse(fields);
    strictEqual(result.head, undefined);
    match(result.reason!, reason);
  });
}

Deno.test("validateTrailers() takes headers only", () => {
  deepStrictEqual(validateTrailers([["grpc-status", "0"]]).head, new Map([["grpc-status", ["0"]]]));
  deepStrictEqual(validateTrailers([]).head, new Map());
  match(validateTrailers([["a", "b"], [":status", "200"]]).reason!, /":status" out of place/);
  match(validateTrailers([[":method", "GET"]]).reason!, /":method" out of place/);
  match(validateTrailers([["A", "b"]]).reason!, /illegal header name/);
});
