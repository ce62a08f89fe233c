declare const spiffeBrand: unique symbol;

/** `spiffe://<trust domain>/ns/<namespace>/sa/<service account>` (behaviour.md 7.4). */
export type SpiffeId = string & { readonly [spiffeBrand]: true };

const PREFIX = "spiffe://";

export const SpiffeId: {
  parse(text: string): SpiffeId | undefined;
  of(trustDomain: string, namespace: string, serviceAccount: string): SpiffeId;
  parts(
    id: SpiffeId,
  ): {
    readonly trustDomain: string;
    readonly namespace: string;
    readonly serviceAccount: string;
  };
  principal(id: SpiffeId): string;
} = {
  /** Exactly five segments, the second `ns` and the fourth `sa`; segments may be empty. */
  parse(text: string): SpiffeId | undefined {
    if (!text.startsWith(PREFIX)) return undefined;
    const segments = text.slice(PREFIX.length).split("/");
    if (segments.length !== 5 || segments[1] !== "ns" || segments[3] !== "sa") return undefined;
    return text as SpiffeId;
  },
  of: (trustDomain: string, namespace: string, serviceAccount: string): SpiffeId =>
    `${PREFIX}${trustDomain}/ns/${namespace}/sa/${serviceAccount}` as SpiffeId,
  parts(id: SpiffeId) {
    const [trustDomain = "", , namespace = "", , serviceAccount = ""] = id.slice(PREFIX.length)
      .split("/");
    return { trustDomain, namespace, serviceAccount };
  },
  /** The text that policies compare principals with: the id without its scheme (behaviour.md 5.4). */
  principal: (id: SpiffeId): string => id.slice(PREFIX.length),
};
