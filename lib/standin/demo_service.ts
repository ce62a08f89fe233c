import { Ip, SocketAddress } from "#values";

export interface DemoService extends AsyncDisposable {
  readonly address: SocketAddress;
}

/**
 * A small HTTP service that says who it is and who called. Throws what `Deno.serve` throws for a busy address.
 */
export function startDemoService(name: string, address: SocketAddress): DemoService {
  const server = Deno.serve(
    { hostname: address.ip, port: address.port, onListen: () => {} },
    (request, info) => {
      const { hostname, port } = info.remoteAddr;
      const caller = Ip.parse(hostname);
      const from = caller === undefined ? hostname : SocketAddress.format({ ip: caller, port });
      const path = new URL(request.url).pathname;
      return new Response(`Hello from ${name} (${path}). The caller came from ${from}.\n`);
    },
  );
  return { address, [Symbol.asyncDispose]: () => server.shutdown() };
}
