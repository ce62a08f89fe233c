import { Ip } from "./ip.ts";

/** One end of a TCP connection. */
export interface SocketAddress {
  readonly ip: Ip;
  readonly port: number;
}

export const SocketAddress: {
  parse(text: string): SocketAddress | undefined;
  format(address: SocketAddress): string;
  equal(a: SocketAddress, b: SocketAddress): boolean;
} = {
  /** `1.2.3.4:80` or `[2001:db8::1]:80`. */
  parse(text: string): SocketAddress | undefined {
    const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
    if (match === null) return undefined;
    const ip = Ip.parse(match[1] ?? match[2]!);
    const port = Number(match[3]);
    if (ip === undefined || port > 65_535) return undefined;
    if (match[1] !== undefined && !match[1].includes(":")) return undefined;
    return { ip, port };
  },
  format: ({ ip, port }: SocketAddress): string =>
    Ip.family(ip) === 6 ? `[${ip}]:${port}` : `${ip}:${port}`,
  equal: (a: SocketAddress, b: SocketAddress): boolean => a.ip === b.ip && a.port === b.port,
};
