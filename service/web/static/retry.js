// What may fail is done again, for as long as somebody sees a point in it.

/**
 * What the action resolves with, however often it fails before.
 * @template T
 * @param {() => Promise<T>} action
 * @param {(error: Error) => Promise<void>} recover resolves when it is to be done again; what it throws ends it
 * @returns {Promise<T>}
 */
export async function retry(action, recover) {
  for (;;) {
    try {
      return await action();
    } catch (error) {
      await recover(error);
    }
  }
}
