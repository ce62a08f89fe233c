/**
 * What this version cannot do yet. A setting that asks for it refuses the start where going on without it would be
 * unsafe or useless, and is warned of otherwise; whoever builds a thing deletes its lines here.
 * @module
 */
import type { Reader } from "./reader.ts";
import { CERTIFICATES, CONTROL, DNS } from "./variables.ts";

/** The settings in question, as they came out. */
export interface Asked {
  readonly crlPath: string | undefined;
  readonly xdsOnDemand: boolean;
}

export function refuseWhatIsNotBuilt(reader: Reader, asked: Asked): void {
  if (asked.xdsOnDemand) {
    reader.refuse(CONTROL.xdsOnDemand, "on-demand xDS is not built yet; this version can do false");
  }
  if (asked.crlPath !== undefined) {
    reader.refuse(
      CERTIFICATES.crlPath,
      "revocation lists are not enforced yet, and ignoring them would be unsafe; unset it",
    );
  }
}

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
