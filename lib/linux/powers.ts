/**
 * What a node's proxy must be allowed to do, tried out before anything depends on it (behaviour.md 10.10).
 * @module
 */
import { C, c, cString, errno } from "./libc.ts";
import { CallError } from "./errno.ts";
import { closeFd, setOption, tcpSocket, trySetTransparent } from "./socket.ts";

export interface Powers {
  /** SO_MARK, if sockets are to have one. */
  readonly mark: number | undefined;
  /** IP_TRANSPARENT is not optional (ENABLE_ORIG_SRC=true). */
  readonly transparent: boolean;
}

/**
 * What the kernel does not let us do, with the call that failed and the capability that it wants; undefined when all is well.
 * Leaves nothing behind.
 */
export function powersProblem({ mark, transparent }: Powers): string | undefined {
  const marking = () => onSocket((fd) => setOption(fd, C.SOL_SOCKET, C.SO_MARK, mark!, "SO_MARK"));
  const keeping = () =>
    onSocket((fd) => {
      if (!trySetTransparent(fd, 4)) throw new CallError("set IP_TRANSPARENT", errno());
    });
  return problem("enter a pod's network namespace", "CAP_SYS_ADMIN", enterOwn) ??
    (mark === undefined ? undefined : problem("mark packets", EITHER, marking)) ??
    (transparent ? problem("keep the client's address", EITHER, keeping) : undefined);
}

/** Since Linux 5.17 each is enough for SO_MARK; before, it was CAP_NET_ADMIN alone (socket(7)). */
const EITHER = "CAP_NET_ADMIN or CAP_NET_RAW";

function problem(what: string, capability: string, work: () => void): string | undefined {
  try {
    work();
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    return `cannot ${what}: ${error.message}; this needs the capability ${capability}`;
  }
  return undefined;
}

function onSocket(work: (fd: number) => void): void {
  const fd = tcpSocket(4);
  try {
    work(fd);
  } finally {
    closeFd(fd);
  }
}

/** Going home is as hard as going anywhere. */
function enterOwn(): void {
  const fd = c.open(cString("/proc/thread-self/ns/net"), C.O_CLOEXEC);
  if (fd < 0) throw new CallError("open /proc/thread-self/ns/net", errno());
  try {
    if (c.setns(fd, C.CLONE_NEWNET) !== 0) throw new CallError("setns", errno());
  } finally {
    closeFd(fd);
  }
}
