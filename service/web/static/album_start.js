// A new album: photographs and ZIPs are sent part by part, so that a lost connection loses little. Then its page opens.

import { Problem, random, sleep } from "./api.js";
import * as albums from "./albums.js";
import { sendPart } from "./batches.js";
import { isArchive } from "./picker.js";
import { retry } from "./retry.js";
import { number, plural, t } from "./strings.js";

/** Of one part. Small ones are sent again sooner, and large ones have fewer answers to wait for. */
const MOST_FILES = 20;
const MOST_BYTES = 16 * 2 ** 20;

/** Seconds between two tries of a part that could not be sent, and for how long it is tried. */
const PAUSE = 3;
const GIVE_UP = 180;

/** What systems leave in folders beside photographs; the server passes over the same. */
const LEFTOVER = /(^|\/)(\._.*|\.ds_store|thumbs\.db|ehthumbs\.db|desktop\.ini)$|(^|\/)(__macosx|@eadir)\//i;

/** Options of every album: what its page and its download are made of. */
export const ARTIFACTS = "thumbnail,comparison,sidecar";

/** Options of an album for an archive: nothing of the photograph is lost, and the color can be taken off again. */
export const MUSEUM = { format: "tiff", bits: "16", keep_metadata: "true", embed_disclosure: "true", artifacts: `${ARTIFACTS},color_layer` };

/**
 * Sends files as one album and goes to its page. Rejects with a Problem; the album is then kept in this browser, and given once
 * more with the same files it is gone on with.
 * @param {Iterable<File | {name: string, file: File}>} files photographs, ZIPs of them, or both; with a name where it is not the file's own
 * @param {{fields?: Record<string, string>, album?: albums.Album, megabytes: number, photographs: number,
 *   onProgress?: (state: {share: number, sent: number, of: number, lost: boolean}) => void, signal?: AbortSignal}} how
 *   `fields`: options of the API; `album`: one that is to be gone on with; `megabytes`, `photographs`: the most of a file, and of files;
 *   `share`: of all bytes, 0 to 1; `sent`, `of`: files; `lost`: the connection is, and is waited for
 */
export async function startAlbum(files, how) {
  const id = await send([...files], how);
  location.assign(new URL(`../albums/${id}`, import.meta.url));
}

/** The same without going there: resolves with the album's id. */
export async function send(files, { fields = {}, album = null, megabytes, photographs, onProgress = () => {}, signal }) {
  const chosen = files.map((one) => (one.file ? one : { name: one.webkitRelativePath || one.name, file: one })).filter(({ name }) => !LEFTOVER.test(name));
  const isTooLarge = ({ file }) => !isArchive(file) && file.size > megabytes * 2 ** 20;
  const sent = chosen.filter((one) => !isTooLarge(one));
  refuse(sent, chosen.length, photographs, megabytes);

  const left = chosen.filter(isTooLarge).map(({ name }) => name);
  const begun = album ?? { id: random(16), secret: random(24), name: nameOf(sent), fields: { artifacts: ARTIFACTS, ...fields } };
  albums.remember({ ...begun, photographs: sent.length, left, complete: false });

  const total = sent.reduce((sum, { file }) => sum + file.size, 0) || 1;
  let filesBefore = 0;
  let bytesBefore = 0;
  addEventListener("beforeunload", stay);
  try {
    const parts = split(sent);
    for (const [place, part] of parts.entries()) {
      const bytes = part.reduce((sum, { file }) => sum + file.size, 0);
      const more = place < parts.length - 1;
      const tell = (share, lost) => onProgress({ share: (bytesBefore + share * bytes) / total, sent: filesBefore, of: sent.length, lost });
      const attempt = (onMove) => {
        const moved = (share) => {
          onMove();
          tell(share, false);
        };
        return sendPart(begun, part, { fields: begun.fields, more, onProgress: moved, signal });
      };
      const batch = await patiently(attempt, () => tell(0, true), signal);
      albums.remember({ id: begun.id, expires: batch.expires_at, complete: !more });
      filesBefore += part.length;
      bytesBefore += bytes;
      tell(0, false);
    }
  } finally {
    removeEventListener("beforeunload", stay);
  }
  return begun.id;
}

/** @throws {Problem} */
function refuse(sent, chosen, most, megabytes) {
  if (sent.length === 0) {
    throw new Problem({
      code: "photo_missing",
      title: t("There is no photograph in it"),
      detail: chosen > 0 ? t("Each file is larger than {most} MB. Make the photographs smaller, and choose those.", { most: megabytes }) : t("Choose photographs, a folder with some, or a ZIP."),
    });
  }
  if (sent.length > most) {
    throw new Problem({
      code: "batch_too_large",
      title: t("These are too many photographs for one album"),
      detail: t("You chose {count}; {most} are the most. Make two albums of them.", { count: number(sent.length), most: number(most) }),
    });
  }
}

/** Parts of few files and bytes, in the order in which they were chosen; a ZIP is a part of its own. */
function split(files) {
  const parts = [];
  let bytes = Infinity;
  for (const one of files) {
    const isFull = parts.at(-1)?.length === MOST_FILES || bytes + one.file.size > MOST_BYTES;
    if (isFull || isArchive(one.file)) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1).push(one);
    bytes += isArchive(one.file) ? Infinity : one.file.size;
  }
  return parts;
}

/** Tries again what failed for a reason that passes, until nothing has moved for GIVE_UP seconds. */
function patiently(attempt, onSilence, signal) {
  let moved = Date.now();
  return retry(() => attempt(() => (moved = Date.now())), async (error) => {
    const passes = error instanceof Problem && error.retry && Date.now() - moved < GIVE_UP * 1000;
    if (!passes) throw error;
    onSilence();
    await sleep(1000 * Math.min(error.after ?? PAUSE, GIVE_UP), signal ?? new AbortController().signal);
  });
}

/** What an album is called: its folder or ZIP where it is one, else its first photograph. */
function nameOf(files) {
  const [{ name, file }] = files;
  const [folder, ...below] = name.split("/");
  if (below.length > 0 || isArchive(file)) return folder.replace(/\.zip$/i, "");
  return files.length === 1 ? name : plural(files.length - 1, "{name} and one more", "{name} and {count} more", { name });
}

function stay(event) {
  event.preventDefault();
}
