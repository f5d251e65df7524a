// The albums that this browser has made: their secrets, and what was decided of their photographs. Only this browser has it.

const KEY = "autochrome.albums";
const OF_ALBUM = "autochrome.album.";

/** So many are kept in mind; the oldest go first. */
const MOST = 40;

/**
 * @typedef {{id: string, secret: string, name: string, photographs: number, fields: Record<string, string>, complete: boolean,
 *   left: string[], created: number, expires: string | null}} Album
 * `fields`: the options that it is sent with. `complete`: all of it has been sent. `left`: names of files that were too large to be sent.
 * `created`: milliseconds since 1970. `expires`: when the server erases it, as ISO 8601.
 *
 * @typedef {{verdicts: Record<string, "accepted" | "rejected">, redone: Record<string, {id: string, secret: string}>}} Decisions
 * By the place of a photograph in its album. `redone`: the job whose picture stands in the photograph's place.
 */

/** Keeps an album in mind, as the newest. Of one that is known, what is not named stays as it was. @param {Partial<Album> & {id: string}} album */
export function remember(album) {
  const known = recall(album.id) ?? { created: Date.now(), left: [], expires: null };
  const others = list().filter(({ id }) => id !== album.id);
  const all = [{ ...known, ...album }, ...others];
  for (const { id } of all.slice(MOST)) attempt(() => localStorage.removeItem(OF_ALBUM + id));
  write(KEY, all.slice(0, MOST));
}

/** @returns {Album | null} */
export function recall(id) {
  return list().find((album) => album.id === id) ?? null;
}

/** Newest first, without those that the server has erased by now. @returns {Album[]} */
export function list() {
  const now = Date.now();
  return (read(KEY) ?? []).filter(({ expires }) => !expires || Date.parse(expires) > now);
}

export function forget(id) {
  write(KEY, list().filter((album) => album.id !== id));
  attempt(() => localStorage.removeItem(OF_ALBUM + id));
}

/** @returns {Decisions} */
export function decisions(id) {
  return { verdicts: {}, redone: {}, ...read(OF_ALBUM + id) };
}

/** @param {Decisions} made */
export function decide(id, made) {
  write(OF_ALBUM + id, made);
}

function read(key) {
  return attempt(() => JSON.parse(localStorage.getItem(key)));
}

function write(key, value) {
  attempt(() => localStorage.setItem(key, JSON.stringify(value)));
}

/** A browser may forbid that anything is kept, or have no room: the pages work without. */
function attempt(action) {
  try {
    return action() ?? null;
  } catch {
    return null;
  }
}
