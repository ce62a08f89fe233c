/**
 * What control and data threads say to each other. Small words that tell only *that* something happened; whoever
 * hears one looks in the mesh.
 *
 * Owns: the words and the ports they travel by. Never: behaviour. Runs on: every thread.
 *
 * @module
 */
export type * from "./words.ts";
export { type Channel, channelPort, loopback, type Port } from "./port.ts";
