import type { Ip } from "#values";
import { CA_FAULTS, type Faults, noFaults, type Poison, POISONS, SERVER_FAULTS } from "./faults.ts";
import type { ControlPlaneHost, RootStep } from "./host.ts";
import { EMPTY_WIRE_MESH } from "./wire_mesh.ts";

export interface ControlSurface extends AsyncDisposable {
  readonly url: string;
}

const HELP = `The test control plane. GET shows, POST does; answers are JSON.

GET  /status                    streams, resources, faults
GET  /events?last=100           what happened, oldest first
POST /token?namespace=shop&serviceAccount=web[&node=n1][&lifetimeMs=60000]
POST /suspend /resume /restart  cut every connection; listen again; both
POST /streams/end?code=14&details=why
POST /faults?name=value&...     no values: all is well again
       answerDelayMs, reorder, paddingBytes, requestBytesMax, tokensExpired, caDelayMs,
       ca: ${CA_FAULTS.join(" ")}
       ofServer, from the next restart on: ${SERVER_FAULTS.join(" ")}
       refuseStreams: a gRPC code
POST /poison?name=uid&kind=...  ${POISONS.join(" ")}; without a name: none any more
POST /root?step=...             announce, use, forget: a new root, step by step
POST /mesh?update=1000          so many workloads of a generated mesh change
POST /mesh?empty / ?full        all of a generated mesh goes; comes back
`;

/** A request that cannot be done; its message is for whoever made it. */
class Unusable extends Error {}

/**
 * The control plane's knobs over HTTP, for people and for tests in another process. It binds a loopback address and
 * hands out tokens to anybody who asks: it is for tests. Throws what `Deno.serve` throws for a busy address.
 */
export function startControlSurface(
  host: ControlPlaneHost,
  { ip, port }: { readonly ip: Ip; readonly port: number },
): ControlSurface {
  const server = Deno.serve({ hostname: ip, port, onListen: () => {} }, async (request) => {
    try {
      if (!isFromHere(request)) return json({ error: "requests of other sites are refused" }, 403);
      return await answer(host, request.method, new URL(request.url));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      return json({ error: message }, error instanceof Unusable ? 400 : 500);
    }
  });
  return {
    url: `http://${ip}:${server.addr.port}`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** A browser on this machine reaches loopback too, for a page elsewhere: by its Origin, or by a name of its own. */
function isFromHere(request: Request): boolean {
  const { host, hostname } = new URL(request.url);
  const origin = request.headers.get("origin");
  const isOurs = hostname === "localhost" || hostname.startsWith("[") || /^[\d.]+$/.test(hostname);
  return isOurs && (origin === null || URL.parse(origin)?.host === host);
}

async function answer(host: ControlPlaneHost, method: string, url: URL): Promise<Response> {
  const { plane } = host;
  const ask = url.searchParams;
  switch (`${method} ${url.pathname}`) {
    case "GET /":
      return new Response(HELP);
    case "GET /status":
      return json(statusOf(host));
    case "GET /events":
      return json(eventsOf(host, numberOf(ask, "last", EVENTS_SHOWN)));
    case "POST /token":
      return new Response(tokenFor(host, ask));
    case "POST /suspend":
      await plane.suspend();
      return json(statusOf(host));
    case "POST /resume":
      await plane.resume();
      return json(statusOf(host));
    case "POST /restart":
      await plane.restart();
      return json(statusOf(host));
    case "POST /streams/end":
      plane.endStreams(numberOf(ask, "code", 0), ask.get("details") ?? "");
      return json(statusOf(host));
    case "POST /faults":
      setFaults(plane.faults, ask);
      return json(statusOf(host));
    case "POST /poison":
      setPoison(host, ask);
      return json(statusOf(host));
    case "POST /root":
      await host.stepRoot(oneOf(ask, "step", ROOT_STEPS));
      return json(statusOf(host));
    case "POST /mesh":
      return json({ told: changeMesh(host, ask) });
    default:
      return json({ error: `no ${method} ${url.pathname} here; GET / says what there is` }, 404);
  }
}

const EVENTS_SHOWN = 100;
const ROOT_STEPS: readonly RootStep[] = ["announce", "use", "forget"];

function statusOf({ plane }: ControlPlaneHost) {
  return {
    url: plane.url,
    streams: plane.streamsOpen,
    addresses: plane.mesh.address.size,
    policies: plane.mesh.authorization.size,
    certificates: plane.records.of("certificate").length,
    faults: plane.faults,
  };
}

/** Tokens are for those who have them. */
function eventsOf({ plane }: ControlPlaneHost, last: number) {
  return plane.records.all.slice(-last).map((event) =>
    "token" in event ? { ...event, token: "…" } : event
  );
}

function tokenFor({ plane }: ControlPlaneHost, ask: URLSearchParams): string {
  const node = ask.get("node");
  return plane.tokens.issue({
    namespace: textOf(ask, "namespace"),
    serviceAccount: textOf(ask, "serviceAccount"),
    ...(node !== null && { node }),
    ...(ask.has("lifetimeMs") && { lifetimeMs: numberOf(ask, "lifetimeMs", 0) }),
  });
}

function setFaults(faults: Faults, ask: URLSearchParams): void {
  const next = ask.size === 0 ? noFaults() : { ...faults };
  for (const name of ask.keys()) {
    switch (name) {
      case "answerDelayMs":
      case "paddingBytes":
      case "requestBytesMax":
      case "caDelayMs":
        next[name] = numberOf(ask, name, 0);
        break;
      case "reorder":
      case "tokensExpired":
        next[name] = oneOf(ask, name, ["true", "false"]) === "true";
        break;
      case "ca":
        next.ca = ask.get(name) === "" ? undefined : oneOf(ask, name, CA_FAULTS);
        break;
      case "ofServer":
        next.ofServer = ask.get(name) === "" ? undefined : oneOf(ask, name, SERVER_FAULTS);
        break;
      case "refuseStreams":
        next.refuseStreams = ask.get(name) === ""
          ? undefined
          : { code: numberOf(ask, name, 0), details: "on demand" };
        break;
      default:
        throw new Unusable(`no fault is called "${name}"`);
    }
  }
  Object.assign(faults, next);
}

function setPoison({ plane }: ControlPlaneHost, ask: URLSearchParams): void {
  const name = ask.get("name");
  if (name === null) return plane.unpoison();
  plane.poison(name, oneOf<Poison>(ask, "kind", POISONS));
}

function changeMesh({ plane, generated }: ControlPlaneHost, ask: URLSearchParams): number {
  if (generated === undefined) throw new Unusable("the mesh is a file's: edit the file");
  if (ask.has("empty")) return plane.setMesh(EMPTY_WIRE_MESH);
  if (ask.has("full")) return plane.setMesh(generated.mesh);
  return plane.setMesh(generated.update(numberOf(ask, "update", 1)));
}

function textOf(ask: URLSearchParams, name: string): string {
  const value = ask.get(name);
  if (value === null || value === "") throw new Unusable(`"${name}" is missing`);
  return value;
}

function numberOf(ask: URLSearchParams, name: string, fallback: number): number {
  const value = ask.get(name);
  if (value === null) return fallback;
  if (!/^\d{1,12}$/.test(value)) throw new Unusable(`"${name}" must be a number, not "${value}"`);
  return Number(value);
}

function oneOf<T extends string>(ask: URLSearchParams, name: string, words: readonly T[]): T {
  const value = ask.get(name);
  const word = words.find((each) => each === value);
  if (word !== undefined) return word;
  throw new Unusable(`"${name}" must be ${words.join(" or ")}, not "${value ?? ""}"`);
}

function json(value: unknown, status = 200): Response {
  return Response.json(value, { status });
}
