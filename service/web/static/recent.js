// The photographs that this browser has sent: their secrets, and what a list of them shows. Only this browser has it.

const KEY = "autochrome.photos";
const SENT = "autochrome.sent";
const TRIED = "autochrome.tried.";

/** So many are kept in mind; the oldest go first. */
const MOST = 60;

/** Longest side of a thumbnail in pixels, where no other is asked for: some three kilobytes each. */
const THUMBNAIL = 144;

/**
 * @typedef {{id: string, secret: string, name: string, revises: string | null, expires: string | null, thumbnail: string | null}} Recent
 * `revises`: the photograph that this one colors anew, with which it is erased. `expires`: when the server erases it, as ISO 8601.
 * `thumbnail`: a `data:` address.
 */

/**
 * Keeps a photograph in mind, as the newest. Of one that is known, what is not named stays as it was.
 * @param {Partial<Recent> & {id: string}} photo
 */
export function remember(photo) {
  const known = { secret: "", name: "", revises: null, expires: null, thumbnail: null, ...recall(photo.id) };
  const others = list().filter(({ id }) => id !== photo.id);
  write([{ ...known, ...photo }, ...others].slice(0, MOST));
}

/** @param {string} id @returns {Recent | null} */
export function recall(id) {
  return list().find((photo) => photo.id === id) ?? null;
}

/** Newest first, without those that the server has erased by now. @returns {Recent[]} */
export function list() {
  try {
    const now = Date.now();
    return JSON.parse(localStorage.getItem(KEY) ?? "[]").filter(({ expires }) => !expires || Date.parse(expires) > now);
  } catch {
    return []; // a browser may forbid that anything is kept
  }
}

/** Forgets a photograph and those that color it anew: erased together. @param {string} id */
export function forget(id) {
  const photos = list();
  const stays = (photo) => photo.id !== id && photo.revises !== id;
  for (const photo of photos) if (!stays(photo)) keepTried(photo.id, null);
  write(photos.filter(stays));
}

/** Keeps in this tab what was tried on a photograph's page and is not kept there; null: nothing. @param {string} id @param {object | null} wishes */
export function keepTried(id, wishes) {
  try {
    if (wishes) sessionStorage.setItem(TRIED + id, JSON.stringify(wishes));
    else sessionStorage.removeItem(TRIED + id);
  } catch {
    // Full, or forbidden: it lasts as long as the page.
  }
}

/** @param {string} id @returns {{wishes: object[], at: number} | null} as `opinion.js` keeps it */
export function tried(id) {
  try {
    return JSON.parse(sessionStorage.getItem(TRIED + id) ?? "null");
  } catch {
    return null;
  }
}

/**
 * A picture small enough to be kept.
 * @param {CanvasImageSource} picture
 * @param {{x: number, y: number, width: number, height: number}} part of it, in its own pixels
 * @param {number} longest side of it, in pixels
 * @returns {string | null} a `data:` address
 */
export function thumbnail(picture, { x, y, width, height }, longest = THUMBNAIL) {
  const scale = Math.min(1, longest / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  if (!context) return null;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, x, y, width, height, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.75);
}

/** Keeps the picture that was just sent, for the page where it is waited for in this tab. @param {string} id @param {string | null} picture a `data:` address */
export function keepSent(id, picture) {
  try {
    sessionStorage.setItem(SENT, JSON.stringify({ id, picture }));
  } catch {
    // Full, or forbidden: the thumbnail is there.
  }
}

/** @param {string} id @returns {string | null} a `data:` address */
export function sent(id) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(SENT) ?? "{}");
    return kept.id === id ? kept.picture : null;
  } catch {
    return null;
  }
}

function write(photos) {
  try {
    localStorage.setItem(KEY, JSON.stringify(photos));
  } catch {
    // Full, or forbidden: the pages work without.
  }
}
