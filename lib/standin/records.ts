import type { SpiffeId } from "#values";
import type { Heard } from "./istiod_stream.ts";
import type { Caller } from "./tokens.ts";
import type { WireType } from "./wire_mesh.ts";

/** What has happened at a control plane, from its own side. Streams are numbered from 1. */
export type ControlPlaneEvent =
  | {
    readonly kind: "stream_opened";
    readonly stream: number;
    readonly caller: Caller;
    readonly token: string;
    readonly clusterId: string;
  }
  /** `reason` is what we ended it with; the client ended it where there is none. */
  | {
    readonly kind: "stream_closed";
    readonly stream: number;
    readonly caller: Caller;
    readonly reason?: string;
  }
  | {
    readonly kind: "heard";
    readonly stream: number;
    readonly caller: Caller;
    readonly node: string;
    readonly heard: Heard;
  }
  | {
    readonly kind: "sent";
    readonly stream: number;
    readonly caller: Caller;
    readonly type: WireType;
    readonly nonce: string;
    readonly resources: number;
    readonly removed: number;
    readonly bytes: number;
  }
  | {
    readonly kind: "certificate";
    readonly identity: SpiffeId;
    readonly caller: Caller;
    readonly token: string;
    readonly csr: string;
    readonly requestedUri: string | undefined;
    readonly isImpersonated: boolean;
    /** As asked for, seconds. */
    readonly validitySeconds: number;
  }
  | {
    readonly kind: "refused";
    readonly service: "xds" | "ca";
    readonly code: number;
    readonly reason: string;
  };

export type EventOf<K extends ControlPlaneEvent["kind"]> = Extract<
  ControlPlaneEvent,
  { readonly kind: K }
>;

/** Older ones are forgotten: a control plane may run for days. */
const EVENTS_MAX = 20_000;

/** What happened, in its order. */
export class Records {
  #events: ControlPlaneEvent[] = [];

  add(event: ControlPlaneEvent): void {
    this.#events.push(event);
    if (this.#events.length > EVENTS_MAX) this.#events = this.#events.slice(EVENTS_MAX / 2);
  }

  get all(): readonly ControlPlaneEvent[] {
    return this.#events;
  }

  of<K extends ControlPlaneEvent["kind"]>(kind: K): readonly EventOf<K>[] {
    return this.#events.filter((event): event is EventOf<K> => event.kind === kind);
  }

  /** Requests of one kind, oldest first. */
  heard<K extends Heard["kind"]>(kind: K): readonly Extract<Heard, { readonly kind: K }>[] {
    return this.of("heard").map(({ heard }) => heard).filter((
      heard,
    ): heard is Extract<Heard, { readonly kind: K }> => heard.kind === kind);
  }

  clear(): void {
    this.#events = [];
  }
}
