/**
 * The rules by which a pod's traffic reaches its node's proxy (behaviour.md 17.3), in both languages that istio-cni
 * speaks. In each: what the proxy itself sends carries the mark and is left alone; connections that it opens with a
 * client's address are tagged, so that the answers come back to it and do not leave the pod.
 * @module
 */

/** How rules are written. */
export type RuleFlavour = "nftables" | "iptables";

export interface PodRules {
  readonly flavour: RuleFlavour;
  /** Also turns DNS to 15053, where somebody must answer then. */
  readonly dns: boolean;
  /** False where the namespace's kernel has no IPv6. */
  readonly ipv6: boolean;
}

/** What a probe of the node's kubelet comes from. */
export const PROBE_IP = "169.254.7.127";
export const PROBE_IP6 = "fd16:9254:7127:1337:ffff:ffff:ffff:ffff";

const MARK = "0x539";
const TAG = "0x111";
const MASK = "0xfff";
const ROUTE_TABLE = 100;
const RULE_PREFERENCE = 32764;

/** Lines of `ip -batch` for each family: what is tagged is routed to loopback, where the proxy's socket has it. */
export const ROUTING = `rule add fwmark ${TAG}/${MASK} lookup ${ROUTE_TABLE} pref ${RULE_PREFERENCE}
route add local default dev lo table ${ROUTE_TABLE}`;

const FAMILIES = [
  { ip: "ip", loopback: "127.0.0.1", probe: PROBE_IP, command: "iptables-restore", bits: 32 },
  { ip: "ip6", loopback: "::1", probe: PROBE_IP6, command: "ip6tables-restore", bits: 128 },
] as const;

/** Programs and what to feed them, to be run in the pod's namespace. */
export function podRules(rules: PodRules): readonly (readonly [command: string, input: string])[] {
  const families = FAMILIES.filter(({ ip }) => rules.ipv6 || ip === "ip");
  if (rules.flavour === "nftables") return [["nft -f -", nftRules(rules, families)]];
  return families.map((family) => [`${family.command} --noflush`, iptablesRules(rules, family)]);
}

/**
 * Rules of the node: what one of its own processes sends to a pod comes from the probe address; pods' packets that are
 * only forwarded keep theirs.
 */
export function nodeRules(flavour: RuleFlavour): readonly (readonly [string, string])[] {
  if (flavour === "iptables") {
    return FAMILIES.map(({ command }) => [
      `${command} --noflush`,
      "*nat\n:ISTIO_POSTRT -\n-I POSTROUTING 1 -j ISTIO_POSTRT\nCOMMIT",
    ]);
  }
  return [[
    "nft -f -",
    `table inet istio-ambient-nat {
      set probes-v4 { type ipv4_addr; }
      set probes-v6 { type ipv6_addr; }
      chain postrouting {
        type nat hook postrouting priority srcnat;
        meta skuid 0 meta l4proto tcp ip daddr @probes-v4 counter snat ip to ${PROBE_IP}
        meta skuid 0 meta l4proto tcp ip6 daddr @probes-v6 counter snat ip6 to ${PROBE_IP6}
      }
    }`,
  ]];
}

/** A command for the node's namespace: from now on (or no longer) this pod address is probed. */
export function probeRule(flavour: RuleFlavour, ip: string, act: "add" | "delete"): string {
  const six = ip.includes(":");
  if (flavour === "nftables") {
    return `nft ${act} element inet istio-ambient-nat probes-v${six ? 6 : 4} '{ ${ip} }'`;
  }
  return `${six ? "ip6tables" : "iptables"} -t nat ${act === "add" ? "-A" : "-D"} ISTIO_POSTRT ` +
    `-m owner --socket-exists -p tcp -d ${ip} -j SNAT --to-source ${six ? PROBE_IP6 : PROBE_IP}`;
}

type Family = typeof FAMILIES[number];

function nftRules(rules: PodRules, families: readonly Family[]): string {
  const unmarked = `meta mark & ${MASK} != ${MARK}`;
  const each = (line: (family: Family) => string) => families.map(line).join("\n        ");
  const dnsNat = !rules.dns ? "" : `
        meta l4proto udp udp dport 53 oifname != "lo" ${unmarked} counter redirect to :15053
        ${
    each((f) =>
      `${f.ip} daddr != ${f.loopback} tcp dport 53 ${unmarked} counter redirect to :15053`
    )
  }`;
  const dnsRaw = !rules.dns ? "" : `
    table inet istio-ambient-raw {
      chain istio-prerouting {
        type filter hook prerouting priority raw;
        udp sport 53 ${unmarked} counter ct zone set 1
      }
      chain istio-output {
        type filter hook output priority raw;
        udp dport 53 meta mark & ${MASK} == ${MARK} counter ct zone set 1
      }
    }`;
  return `table inet istio-ambient-mangle {
      chain istio-prerouting {
        type filter hook prerouting priority mangle;
        meta mark & ${MASK} == ${MARK} counter ct mark set ct mark & 0xfffff000 | ${TAG}
      }
      chain istio-output {
        type route hook output priority mangle;
        ct mark & ${MASK} == ${TAG} counter meta mark set ct mark
      }
    }
    table inet istio-ambient-nat {
      chain istio-prerouting {
        type nat hook prerouting priority dstnat;
        ${each((f) => `meta l4proto tcp ${f.ip} saddr ${f.probe} counter accept`)}
        ${
    each((f) =>
      `${f.ip} daddr != ${f.loopback} tcp dport != 15008 ${unmarked} counter redirect to :15006`
    )
  }
      }
      chain istio-output {
        type nat hook output priority -100;
        ${each((f) => `meta l4proto tcp ${f.ip} daddr ${f.probe} counter accept`)}${dnsNat}
        meta l4proto tcp meta mark & ${MASK} == ${TAG} counter accept
        ${each((f) => `oifname "lo" ${f.ip} daddr != ${f.loopback} counter accept`)}
        ${
    each((f) =>
      `meta l4proto tcp ${f.ip} daddr != ${f.loopback} ${unmarked} counter redirect to :15001`
    )
  }
      }
    }${dnsRaw}`;
}

function iptablesRules(rules: PodRules, family: Family): string {
  const unmarked = `-m mark ! --mark ${MARK}/${MASK}`;
  const elsewhere = `! -d ${family.loopback}/${family.bits}`;
  const probe = `${family.probe}/${family.bits}`;
  const dnsNat = !rules.dns ? "" : `
-A ISTIO_OUTPUT ! -o lo -p udp ${unmarked} --dport 53 -j REDIRECT --to-ports 15053
-A ISTIO_OUTPUT ${elsewhere} -p tcp --dport 53 ${unmarked} -j REDIRECT --to-ports 15053`;
  const dnsRaw = !rules.dns ? "" : `
*raw
:ISTIO_PRERT -
:ISTIO_OUTPUT -
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -p udp -m mark --mark ${MARK}/${MASK} --dport 53 -j CT --zone 1
-A ISTIO_PRERT -p udp ${unmarked} --sport 53 -j CT --zone 1
COMMIT`;
  return `*mangle
:ISTIO_PRERT -
:ISTIO_OUTPUT -
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_PRERT -m mark --mark ${MARK}/${MASK} -j CONNMARK --set-xmark ${TAG}/${MASK}
-A ISTIO_OUTPUT -m connmark --mark ${TAG}/${MASK} -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
COMMIT
*nat
:ISTIO_PRERT -
:ISTIO_OUTPUT -
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_PRERT -s ${probe} -p tcp -j ACCEPT
-A ISTIO_PRERT ${elsewhere} -p tcp ! --dport 15008 ${unmarked} -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -d ${probe} -p tcp -j ACCEPT${dnsNat}
-A ISTIO_OUTPUT -p tcp -m mark --mark ${TAG}/${MASK} -j ACCEPT
-A ISTIO_OUTPUT ${elsewhere} -o lo -j ACCEPT
-A ISTIO_OUTPUT ${elsewhere} -p tcp ${unmarked} -j REDIRECT --to-ports 15001
COMMIT${dnsRaw}`;
}
