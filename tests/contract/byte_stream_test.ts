import { createKernel } from "#linux";
import { type Acceptor, type ByteStream, pipe } from "#stream";
import { realClock } from "#system";
import { Ip } from "#values";
import { byteStreamContract } from "./byte_stream.ts";

byteStreamContract("pipe()", () => Promise.resolve(pipe()));

const kernel = createKernel({ clock: realClock });
byteStreamContract("TCP", async () => {
  const acceptor: Acceptor = kernel.listen({
    at: { ip: Ip.parse("127.61.0.1")!, port: 0 },
    transparent: "off",
    redirected: false,
  });
  const accepted = new Promise<ByteStream>((resolve) =>
    acceptor.serve((arrival) => resolve(arrival.stream))
  );
  const dialed = await kernel.dialer({}).dial(acceptor.address, { timeoutMs: 5000 });
  const pair: [ByteStream, ByteStream] = [dialed, await accepted];
  acceptor.close();
  return pair;
});
