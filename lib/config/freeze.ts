/** Freezes plain data all the way down; a loop, since JSON from the environment may nest deeper than the stack. */
export function freezeDeep<T>(root: T): T {
  const pending: unknown[] = [root];
  while (pending.length > 0) {
    const value = pending.pop();
    if (typeof value !== "object" || value === null || Object.isFrozen(value)) continue;
    Object.freeze(value);
    for (const part of Object.values(value)) pending.push(part);
  }
  return root;
}
