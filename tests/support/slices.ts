/** Slices of the processor, as the kernel tells them. */

const [major, minor] = Deno.osRelease().split(".").map(Number) as [number, number];

/** Earlier kernels take a wish for other slices, and do nothing. */
export const KERNEL_GRANTS_SLICES = major > 6 || (major === 6 && minor >= 12);
/** What a data thread asks for. */
export const SHORT_SLICE_NS = 100_000;

/** A field of a thread's /proc/.../sched; NaN where there is none. */
export function schedField(text: string, name: "se.slice" | "prio"): number {
  return Number(new RegExp(`^${name} *: *(\\d+)`, "m").exec(text)?.[1]);
}
