/** How many of something there are, and when none is left. */
export class Crowd {
  #count = 0;
  #waiting: (() => void)[] = [];

  /** One more, until the result is called; calling that twice does nothing. */
  enter(): () => void {
    this.#count++;
    let isIn = true;
    return () => {
      if (!isIn) return;
      isIn = false;
      this.#count--;
      if (this.#count === 0) { for (const tell of this.#waiting.splice(0)) tell(); }
    };
  }

  emptied(): Promise<void> {
    if (this.#count === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
