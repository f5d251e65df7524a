// The client of /v1/batches: send a part of a batch, look at it, erase it.

import { ask, connectionLost, parse, problemFrom } from "./api.js";
import { isArchive } from "./picker.js";

const BATCHES = new URL("../v1/batches", import.meta.url).href;

/** The address of a batch, or of what lies below it. @param {string} id */
const addressOf = (id, below = "") => `${BATCHES}/${id}${below}`;

/**
 * Sends some files of a batch and resolves with it. Those that it has already are known by name and content.
 * XMLHttpRequest, since fetch does not tell how much of a body has been sent.
 * @param {{id: string, secret: string}} batch
 * @param {{name: string, file: File}[]} files
 * @param {{fields: Record<string, string>, more: boolean, onProgress: (share: number) => void, signal?: AbortSignal}} how
 *   `fields`: options; `more`: whether this is not the last part
 * @throws {Problem} with `after`, the seconds that the server asks to wait, where it does
 */
export function sendPart({ id, secret }, files, { fields, more, onProgress, signal }) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (const { name, file } of files) form.append(isArchive(file) ? "archive" : "photo", file, name);

  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const request = new XMLHttpRequest();
    request.open("PUT", addressOf(id, more ? "?more=true" : ""));
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Authorization", `Bearer ${secret}`);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      const body = parse(request.responseText);
      if (request.status === 202 && body?.id) return resolve(body);
      const problem = problemFrom(request.status, body);
      problem.after = Number(request.getResponseHeader("Retry-After")) || null;
      reject(problem);
    };
    request.onerror = () => reject(connectionLost());
    request.onabort = () => reject(signal.reason);
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

/** A page of a batch: how the whole stands, and `limit` of its files from `cursor` on. */
export async function read(id, { cursor = 0, limit = 100, signal } = {}) {
  return (await ask(addressOf(id, `?cursor=${cursor}&limit=${limit}`), { signal })).json();
}

const jobAt = (id, below = "") => new URL(`../v1/colorizations/${id}${below}`, import.meta.url).href;

/** A photograph's job. */
export async function fetchJob(id) {
  return (await ask(jobAt(id), {})).json();
}

/** The address of a picture of a job: `result`, or `artifacts/NAME`. */
export const fileOf = (id, name) => jobAt(id, `/${name}?redirect=false`);

/** Erases all photographs of a batch and what was made of them; what waits is not colored any more. */
export async function erase(id, secret) {
  await ask(addressOf(id), { method: "DELETE", headers: { Authorization: `Bearer ${secret}` } });
}
