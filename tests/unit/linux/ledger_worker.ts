/** A thread that says who it is, and waits. */
import { FdLedger } from "#linux";

const parent = globalThis as unknown as Pick<Worker, "onmessage" | "postMessage">;
parent.onmessage = ({ data }) => {
  new FdLedger(data).adoptThread();
  parent.postMessage("here");
};
