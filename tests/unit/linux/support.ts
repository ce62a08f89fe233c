import { createKernel } from "#linux";
import type { Acceptor, Arrival, ByteStream, ListenOptions } from "#stream";
import { realClock } from "#system";
import { Ip } from "#values";

export const kernel = createKernel({ clock: realClock });

export const ip = (text: string): Ip => Ip.parse(text)!;

export function listenOptions(at: string, more: Partial<ListenOptions> = {}): ListenOptions {
  return { at: { ip: ip(at), port: 0 }, transparent: "off", redirected: false, ...more };
}

/** The acceptor's next arrival; call once. */
export function firstArrival(acceptor: Acceptor): Promise<Arrival> {
  return new Promise((resolve) => acceptor.serve(resolve));
}

export async function readText(stream: ByteStream): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    text += decoder.decode(chunk, { stream: true });
  }
  return text;
}

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
