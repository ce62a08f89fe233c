export type Level = "error" | "warn" | "info" | "debug" | "trace";

/** Strings are quoted in plain format; what `display` wraps (addresses) is printed bare. `undefined` is left out. */
export type FieldValue = string | number | boolean | Displayed | undefined;
export type Fields = Readonly<Record<string, FieldValue>>;
interface Displayed {
  readonly displayed: string;
}
export function display(text: string): Displayed {
  return { displayed: text };
}

/** What a line happened inside of, e.g. `inbound{id=… peer=…}` (behaviour.md 13.9). */
export interface Span {
  readonly name: string;
  readonly fields: Fields;
}

export type Write = (message: string, fields?: Fields) => void;

/**
 * A scope's log. A level that is off is an absent method: `log.debug?.("…", {…})` then builds nothing. The
 * level may change between two calls, so the methods are looked up on each.
 */
export interface Log {
  readonly error: Write | undefined;
  readonly warn: Write | undefined;
  readonly info: Write | undefined;
  readonly debug: Write | undefined;
  readonly trace: Write | undefined;
  /** The same scope inside one more span. */
  within(span: Span): Log;
}

const silence = {
  error: undefined,
  warn: undefined,
  info: undefined,
  debug: undefined,
  trace: undefined,
};
/** For tests and for whoever has nobody to tell. */
export const silentLog: Log = { ...silence, within: () => silentLog };
