/** What keeps the process from starting and the user can mend; its message is told as it is, without a trace. */
export class StartFailure extends Error {
  override readonly name = "StartFailure";
}
