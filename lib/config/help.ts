/** The variables as a table for `help`, from the same declaration that parses them. */
export function variableTable(_widthColumns: number): string {
  throw new Error("not written");
}
