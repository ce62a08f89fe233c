/** What a channel to a control plane is made with: the real clock and real sockets. */
import { CONTROL_KEEPALIVE, type GrpcMessage, type Network } from "#grpc";
import { createKernel, OwnProcess } from "#linux";
import { realClock } from "#system";

export const realNetwork: Network = {
  clock: realClock,
  dialer: createKernel({ clock: realClock }).dialer({ keepalive: CONTROL_KEEPALIVE }),
};

/** Everyone else's turn, as the program gives it. */
export const realTurn = OwnProcess.othersTurn;

/** All of a message at once. */
export async function wholeOf(message: GrpcMessage): Promise<Uint8Array> {
  const whole = new Uint8Array(message.bytesCount);
  let at = 0;
  for (let piece = await message.read(); piece !== undefined; piece = await message.read()) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
