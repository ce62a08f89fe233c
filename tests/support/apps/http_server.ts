/** An application for tests: `http_server.ts IP PORT` says over HTTP who called. */
const [ip, port] = Deno.args;
Deno.serve(
  { hostname: ip!, port: Number(port), onListen: () => console.log(`listening on ${port}`) },
  (_request, info) => new Response(`you are ${info.remoteAddr.hostname}\n`),
);
