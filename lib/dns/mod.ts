/**
 * Names of the mesh: which addresses a local workload gets for one, and which names are somebody else's.
 *
 * Owns: the pure answer, name expansion. Never: writing to the mesh, sockets (the server and the forwarder come
 * with another issue). Runs on: data threads.
 *
 * @module
 */
export { type Answer, answerName, type NameAsk, resolveName } from "./answer.ts";
