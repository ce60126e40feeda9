/** What is said when Python cannot be had. */

/** A start of Python that failed: `reason` is a sentence for the reader, with what to do. */
export class BootError extends Error {
  /** @param {string} reason */
  constructor(reason) {
    super(reason);
    this.name = "BootError";
    this.reason = reason;
  }
}

/** Run `work`; whatever it throws becomes a BootError that starts with `what` happened. */
export async function orExplain(what, work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof BootError) throw error;
    throw new BootError(`${what} (${error.message ?? error})`);
  }
}
