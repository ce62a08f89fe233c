import { deepStrictEqual } from "node:assert/strict";
import { unchangedMappings } from "../../../lib/linux/smaps.ts";

const EXECUTABLE = "/usr/local/bin/deno (deleted)";

interface Shape {
  readonly at: string;
  readonly rights: string;
  readonly inode?: number;
  readonly path?: string;
  readonly anonymous?: number;
  readonly swap?: number;
}

/** As Linux 6.1 writes it, less the lines that mean nothing here. */
function smaps(shapes: readonly Shape[]): string {
  return shapes.map((
    { at, rights, inode = 1234, path = EXECUTABLE, anonymous = 0, swap = 0 },
  ) =>
    `${at} ${rights} 01b8e000 fe:01 ${inode}                    ${path}
Size:              62416 kB
Rss:               37376 kB
Shared_Clean:          0 kB
Private_Clean:     37376 kB
Private_Dirty:         0 kB
Referenced:        37376 kB
Anonymous:      ${String(anonymous).padStart(8)} kB
AnonHugePages:         0 kB
Swap:           ${String(swap).padStart(8)} kB
SwapPss:               0 kB
Locked:                0 kB
THPeligible:           0
VmFlags: rd ex mr mw me
`
  ).join("");
}

function startsOf(shapes: readonly Shape[]): string[] {
  return [...unchangedMappings(smaps(shapes), EXECUTABLE)].map(({ start, bytesCount }) =>
    `${start.toString(16)}+${bytesCount.toString(16)}`
  );
}

Deno.test("code and constants of a file are unchanged mappings, with their addresses whole", () => {
  deepStrictEqual(
    startsOf([
      { at: "55eff0000000-55eff1b8e000", rights: "r--p" },
      { at: "55eff1e04000-55eff5af8000", rights: "r-xp" },
      { at: "ffff600000000000-ffff600000001000", rights: "r-xp" },
    ]),
    ["55eff0000000+1b8e000", "55eff1e04000+3cf4000", "ffff600000000000+1000"],
  );
});

Deno.test("what could be lost is none: changed, swapped, writable, shared, or of another file", () => {
  deepStrictEqual(
    startsOf([
      { at: "1000-2000", rights: "r--p", anonymous: 4 },
      { at: "2000-3000", rights: "r-xp", swap: 4 },
      { at: "3000-4000", rights: "rw-p" },
      { at: "4000-5000", rights: "r--s" },
      { at: "5000-6000", rights: "---p" },
      { at: "6000-7000", rights: "rwxp" },
      { at: "7000-8000", rights: "r-xp", inode: 0, path: "[vdso]" },
      { at: "7800-8000", rights: "r-xp", path: "/usr/lib/libc.so.6" },
      { at: "8000-9000", rights: "r--p" },
    ]),
    ["8000+1000"],
  );
});

Deno.test("a text that is cut off, or none, says nothing of what it does not tell whole", () => {
  const whole = smaps([{ at: "1000-2000", rights: "r-xp" }]);
  deepStrictEqual([...unchangedMappings(whole.slice(0, whole.indexOf("VmFlags")), EXECUTABLE)], []);
  deepStrictEqual([...unchangedMappings("", EXECUTABLE)], []);
});
