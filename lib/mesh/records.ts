import { DecodeCache } from "./decode_cache.ts";
import { KIND, type Memory } from "./memory.ts";
import type { Policy, Service, Workload } from "./types.ts";
import { readPolicy } from "./read_policy.ts";
import { Cursor } from "./cursor.ts";
import { readService } from "./read_service.ts";
import { readWorkload } from "./read_workload.ts";

/** Decoded workloads and services that a thread keeps, of about 1.8 KB each: under 2 MB. */
const DECODED_MAX = 512;
/** Records are copied out before they are decoded; hardly one is larger. */
const SCRATCH_BYTES = 16 << 10;

/** The records of the arena as values, for one thread. A value stays the same object while it is remembered. */
export class Records {
  readonly #decoded = new DecodeCache<Workload | Service>(DECODED_MAX);
  /** Every policy that was asked for since the last change of policies: whoever judges needs them all. */
  readonly #policies = new DecodeCache<Policy>(Infinity);
  readonly #scratch = new Uint8Array(SCRATCH_BYTES);
  readonly #cursor = new Cursor(this.#scratch);

  constructor(private readonly memory: Memory) {}

  /** The workload of that id, if it is one and still there. */
  workload(id: number, shallRemember = true): Workload | undefined {
    const at = this.memory.at(id);
    if (at === 0 || this.memory.kindAt(at) !== KIND.workload) return undefined;
    const generation = this.memory.generationAt(at);
    const known = this.#decoded.get(generation);
    if (known !== undefined) return known as Workload;
    const cursor = this.#cursorAt(at);
    const workload = readWorkload(cursor, cursor.end, this.memory.isLocalAt(at));
    if (shallRemember) this.#decoded.set(generation, workload);
    return workload;
  }

  service(id: number, shallRemember = true): Service | undefined {
    const at = this.memory.at(id);
    if (at === 0 || this.memory.kindAt(at) !== KIND.service) return undefined;
    const generation = this.memory.generationAt(at);
    const known = this.#decoded.get(generation);
    if (known !== undefined) return known as Service;
    const cursor = this.#cursorAt(at);
    const service = readService(cursor, cursor.end, this.memory.isLocalAt(at));
    if (shallRemember) this.#decoded.set(generation, service);
    return service;
  }

  policy(id: number): Policy | undefined {
    const at = this.memory.at(id);
    if (at === 0 || this.memory.kindAt(at) !== KIND.policy) return undefined;
    const generation = this.memory.generationAt(at);
    const known = this.#policies.get(generation);
    if (known !== undefined) return known;
    const cursor = this.#cursorAt(at);
    const key = cursor.text();
    const policy = readPolicy(cursor, cursor.end, key, true);
    this.#policies.set(generation, policy);
    return policy;
  }

  /** The writer's thread has the value already, and judges by it at once. */
  rememberPolicyAt(at: number, policy: Policy): void {
    this.#policies.set(this.memory.generationAt(at), policy);
  }

  /** What is not asked for until the next change is forgotten. */
  policiesChanged(): void {
    this.#policies.rotate();
  }

  #cursorAt(at: number): Cursor {
    const body = this.memory.bodyAt(at);
    if (body.length > SCRATCH_BYTES) return new Cursor(body.slice());
    this.#scratch.set(body);
    this.#cursor.restart(body.length);
    return this.#cursor;
  }
}
