/**
 * Linux under our feet: sockets with their options, network namespaces, limits.
 *
 * Owns: every raw fd, the FFI to libc, TCP as ByteStreams. Never: words of the mesh. Runs on: every thread.
 *
 * @module
 */
export { acceptKeeper, type KeepAccepting } from "./accept_keeper.ts";
export type { SharedAcceptor } from "./acceptor.ts";
export { FdLedger } from "./fd_ledger.ts";
export { agentSide } from "./agent_side.ts";
export { createKernel, type KernelOptions, type LinuxKernel } from "./kernel.ts";
export { Netns } from "./netns.ts";
export { type Powers, powersProblem } from "./powers.ts";
export { type Packet, SeqPacket } from "./seqpacket.ts";
export { OwnProcess } from "./memory.ts";
export type { NativeTcp } from "./tcp_stream.ts";
export type { ReceivedPacket, SeqpacketListener, SeqpacketPeer } from "./seqpacket_listener.ts";
export { OpenFiles } from "./process.ts";
