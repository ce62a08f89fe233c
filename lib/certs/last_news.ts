/** What was last said of a trouble that lasts: once is enough, until it is over or another one. */
export class LastNews {
  #text = "";

  /** Whether `text` is another one than was said last; it is what was said last now. */
  isNew(text: string): boolean {
    const isNew = text !== this.#text;
    this.#text = text;
    return isNew;
  }

  /** There is no trouble, so that the next one is news. */
  over(): void {
    this.#text = "";
  }
}
