/** Bounds of a local mesh file. Past any of them the file is refused with a problem that says which. */
export const LOCAL_LIMITS = {
  /** A file of pods is a few megabytes; whatever is larger is something else, or belongs behind a control plane. */
  fileBytesMax: 64 * 1024 * 1024,
  /** Words and marks of YAML, some 100 per workload. Each costs up to 500 bytes and 3 us while the file is read. */
  tokensMax: 2_000_000,
  /** The schema itself needs 9 levels; the parser recurses once per level. */
  depthMax: 32,
  /** Uses of anchors (`*name`): people share a waypoint or a locality, not every field. */
  aliasesMax: 10_000,
  /** Values after each alias is replaced by what it stands for: a few lines of aliases of aliases make billions. */
  expandedValuesMax: 2_000_000,
  /** Told at once; whoever has more than this fixes these first. */
  problemsMax: 50,
} as const;
