/**
 * What this version cannot do yet, and warns of; whoever builds a thing deletes its lines here.
 * @module
 */
import type { Reader } from "./reader.ts";
import { DNS } from "./variables.ts";

/** Whether DNS questions are answered: not yet, so that the default is off too. */
export function dnsProxyOf(reader: Reader, wanted: boolean | undefined): boolean {
  if (wanted === true) {
    reader.warn(
      `${DNS.capture.name}=true: the DNS server comes with a later version; ` +
        "names are answered only through SOCKS5",
    );
  }
  return false;
}
