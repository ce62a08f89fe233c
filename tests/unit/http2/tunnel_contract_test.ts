import { pipe } from "#stream";
import { byteStreamContract } from "../../contract/byte_stream.ts";
import { tcpStreams, tlsStreams, tunnel } from "./support.ts";

const HOST = "127.83.1.1";

byteStreamContract("CONNECT over TCP", async () => await tunnel(await tcpStreams(HOST)));
byteStreamContract("CONNECT over TLS", async () => await tunnel(await tlsStreams(HOST)));
byteStreamContract("CONNECT over a pipe", async () => await tunnel(pipe()));
