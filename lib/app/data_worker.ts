/**
 * A data thread's own beginning: what a Worker runs. Nothing of the control side is imported here, since each thread
 * pays for its imports.
 * @module
 */
import { parentPort } from "node:worker_threads";
import { type Channel, channelPort, type ToControl, type ToData } from "#link";
import { OwnProcess } from "#linux";
import { attachMesh } from "#mesh";
import { realClock } from "#system";
import { startDataSide, type ThreadBoot } from "./data_side.ts";
import { tidyThread } from "./tidy_thread.ts";
import { surviveStrayRejections, textOf } from "./stray_errors.ts";

const parent = parentPort as unknown as Channel;

parent.onmessage = ({ data }: MessageEvent<ThreadBoot>) => {
  const port = channelPort<ToControl, ToData>(parent);
  const tidy = tidyThread(realClock);
  const view = attachMesh(data.mesh);
  const log = startDataSide(data, port, view, (bytesCount) => tidy.noteGarbage(bytesCount));
  surviveStrayRejections(log.scope("ztunnel::app"));
  // Now, while nobody waits for this thread: what loading it has left behind is some MB, which stay for long otherwise.
  OwnProcess.collectAndRelease();
  OwnProcess.askForShortSlices();
  globalThis.addEventListener("error", (event) => {
    // Control tells of it, ends this thread and starts another.
    event.preventDefault();
    log.flush();
    port.post({ tell: "dying", reason: textOf(event.error ?? event.message) });
    port.close();
  });
};
