import { type Cidr, Ip } from "#values";
import { MultiMap } from "./multi_map.ts";
import type { CidrVip, Service } from "#mesh";

/** The ranges of one network that have one family and one length, by their masked base. */
interface Stratum {
  readonly family: 4 | 6;
  readonly prefixLength: number;
  readonly services: MultiMap<string, Service>;
  /** How many ranges it holds. */
  count: number;
}

/**
 * Services by range. A look-up costs one hash per distinct prefix length of the network (at most 33 + 129), however
 * many ranges there are.
 */
export class CidrIndex {
  readonly #networks = new Map<string, Stratum[]>();

  add(vip: CidrVip, service: Service): void {
    const stratum = this.#stratum(vip, "create")!;
    stratum.services.add(baseOf(vip.cidr), service);
    stratum.count++;
  }

  remove(vip: CidrVip, service: Service): void {
    const stratum = this.#stratum(vip);
    if (stratum === undefined) return;
    stratum.services.remove(baseOf(vip.cidr), service);
    if (--stratum.count > 0) return;
    const strata = this.#networks.get(vip.network)!;
    strata.splice(strata.indexOf(stratum), 1);
    if (strata.length === 0) this.#networks.delete(vip.network);
  }

  replace(vip: CidrVip, previous: Service, next: Service): void {
    this.#stratum(vip)?.services.replace(baseOf(vip.cidr), previous, next);
  }

  /** Calls `consider` for each service whose range contains the address: per length, in insertion order. */
  containing(
    network: string,
    ip: Ip,
    consider: (service: Service, prefixLength: number) => void,
  ): void {
    const strata = this.#networks.get(network);
    if (strata === undefined) return;
    const bytes = Ip.toBytes(ip);
    const family = bytes.length === 4 ? 4 : 6;
    for (const stratum of strata) {
      if (stratum.family !== family) continue;
      for (const service of stratum.services.get(masked(bytes, stratum.prefixLength))) {
        consider(service, stratum.prefixLength);
      }
    }
  }

  #stratum(vip: CidrVip, otherwise?: "create"): Stratum | undefined {
    const family = Ip.family(vip.cidr.base);
    const { prefixLength } = vip.cidr;
    let strata = this.#networks.get(vip.network);
    const found = strata?.find((each) =>
      each.family === family && each.prefixLength === prefixLength
    );
    if (found !== undefined || otherwise === undefined) return found;
    if (strata === undefined) this.#networks.set(vip.network, strata = []);
    const created: Stratum = { family, prefixLength, services: new MultiMap(), count: 0 };
    strata.push(created);
    return created;
  }
}

function baseOf(cidr: Cidr): string {
  return masked(Ip.toBytes(cidr.base), cidr.prefixLength);
}

/** The first `prefixLength` bits, as a key. */
function masked(bytes: Uint8Array, prefixLength: number): string {
  const whole = prefixLength >> 3;
  const head = bytes.subarray(0, whole).join(".");
  const rest = prefixLength & 7;
  return rest === 0 ? head : `${head}/${bytes[whole]! & (0xff << (8 - rest))}`;
}
