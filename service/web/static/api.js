// The client of the REST API: send a photo, follow its job, fetch the result, erase it.

import { t, told } from "./strings.js";

const JOBS = new URL("../v1/colorizations", import.meta.url).href;

/** Milliseconds between two looks at a job: quick while something moves, slower while nothing does. */
const QUICKEST = 250;
const SLOWEST = 4000;
const SLOWING = 1.5;

/** Milliseconds without an answer after which following a job is given up. */
const RETRY_FOR = 120_000;

/** Answers which say "not now" rather than "no". */
const TRANSIENT = new Set([429, 502, 503, 504]);

/** Something went wrong, in words for the person at the page. `code` is stable. */
export class Problem extends Error {
  constructor({ code, title, detail, retry = false }) {
    super(title);
    this.name = "Problem";
    this.code = code;
    this.detail = detail;
    this.retry = retry;
  }
}

/** So many random bytes as hexadecimal digits, also where the page did not come by HTTPS: keys and secrets are made of them. */
export function random(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Sends the photo and resolves with its job, `secret` included.
 * XMLHttpRequest, since fetch does not tell how much of a body has been sent.
 * @param {Blob} photo
 * @param {[string, string][]} options form fields
 * @param {{key: string, onProgress: (share: number) => void, signal: AbortSignal}} hooks `key`: random; sent again under the same one it
 *   stays one job, however often the connection is lost before the answer
 */
export function send(photo, options, { key, onProgress, signal }) {
  const form = new FormData();
  for (const [name, value] of options) form.append(name, value);
  form.append("photo", photo);

  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const request = new XMLHttpRequest();
    request.open("POST", JOBS);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Idempotency-Key", key);
    request.setRequestHeader("X-Requested-With", "XMLHttpRequest"); // no other site's page may add it: this one is the server's own
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      const body = parse(request.responseText);
      if (request.status >= 200 && request.status < 300 && body?.id) resolve(body);
      else reject(problemFrom(request.status, body));
    };
    request.onerror = () => reject(connectionLost());
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

/**
 * Follows the job until it has ended; resolves with it when it succeeded, rejects with its Problem otherwise.
 * By its events where they come through, else by looking again and again. A lost connection is waited out for
 * two minutes.
 * @param {string} id
 * @param {{onChange: (job: object) => void, onSilence: () => void, signal: AbortSignal}} hooks
 */
export async function follow(id, hooks) {
  return (await listen(id, hooks)) ?? look(id, hooks);
}

/** Resolves with the job, or with null where no events come through. */
function listen(id, { onChange, onSilence, signal }) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const source = new EventSource(`${JOBS}/${id}/events`);
    let retrying = null;
    const end = (settle, value) => {
      source.close();
      clearTimeout(retrying);
      signal.removeEventListener("abort", stop);
      settle(value);
    };
    const stop = () => end(reject, signal.reason);
    signal.addEventListener("abort", stop);
    const on = (name, handle) =>
      source.addEventListener(name, (event) => {
        clearTimeout(retrying);
        retrying = null;
        handle(JSON.parse(event.data));
      });

    // How long stages took comes with the whole job. Short ones have no event of their own.
    on("queued", ({ position, eta_s }) => onChange({ status: "queued", queue_position: position, eta_s, timings: {} }));
    on("stage", ({ name }) => onChange({ status: "running", stage: name, queue_position: null, eta_s: null, timings: {} }));
    on("succeeded", (job) => end(resolve, job));
    for (const name of ["failed", "canceled", "expired"]) on(name, (job) => end(reject, endedAs(job)));
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) return end(resolve, null);
      onSilence();
      retrying ??= setTimeout(() => end(resolve, null), RETRY_FOR);
    };
  });
}

/** Looks at the job, quickly while something moves; resolves with it when it has succeeded. */
async function look(id, { onChange, onSilence, signal }) {
  let pause = QUICKEST;
  let seen = "";
  let answered = Date.now();
  for (;;) {
    await sleep(pause, signal);
    let job;
    try {
      job = await (await ask(`${JOBS}/${id}`, { signal })).json();
    } catch (error) {
      if (!(error instanceof Problem && error.retry) || Date.now() - answered > RETRY_FOR) throw error;
      onSilence();
      pause = Math.min(pause * SLOWING, SLOWEST);
      seen = "";
      continue;
    }
    answered = Date.now();
    if (job.status === "succeeded") return job;
    if (job.status !== "queued" && job.status !== "running") throw endedAs(job);
    const now = JSON.stringify([job.status, job.queue_position, job.timings]);
    pause = now === seen ? Math.min(pause * SLOWING, SLOWEST) : QUICKEST;
    if (now !== seen) onChange(job);
    seen = now;
  }
}

/** @returns {Promise<Blob>} the colored picture */
export async function fetchResult(id, signal) {
  return (await ask(`${JOBS}/${id}/result?redirect=false`, { signal })).blob();
}

/** A file that was made beside the picture, by its name. @returns {Promise<Response>} */
export function fetchArtifact(id, name, signal) {
  return ask(`${JOBS}/${id}/artifacts/${name}?redirect=false`, { signal });
}

/** @returns {Promise<{color: string, probability: number}[]>} the likeliest colors at a place, 0…1 across and down */
export async function suggest(id, x, y, signal) {
  return (await ask(`${JOBS}/${id}/suggestions?x=${x}&y=${y}`, { signal })).json();
}

/**
 * Colors a photo anew that was sent before.
 * @param {{id: string, secret: string}} original
 * @param {object} options that are to be others than the original's
 * @returns {Promise<object>} its job when it has ended, `secret` included
 */
export async function revise(original, options, signal) {
  const job = await (await order(original, options, "application/json", signal)).json();
  return job.status === "succeeded" ? job : { ...(await follow(job.id, quietly(signal))), secret: job.secret };
}

/** The same, as the picture alone. @returns {Promise<Blob>} */
export async function preview(original, options, signal) {
  const answer = await order(original, options, "image/*", signal);
  if (answer.headers.get("Content-Type").startsWith("image/")) return answer.blob();
  const { id } = await answer.json();
  await follow(id, quietly(signal));
  return fetchResult(id, signal);
}

function order({ id, secret }, options, accept, signal) {
  return ask(JOBS, {
    method: "POST",
    headers: { Accept: accept, "Content-Type": "application/json", Prefer: "wait=20", "X-Requested-With": "XMLHttpRequest" },
    body: JSON.stringify({ revise: id, secret, ...options }),
    signal,
  });
}

function quietly(signal) {
  return { onChange: () => {}, onSilence: () => {}, signal };
}

/** Erases the photo and all that was made of it. */
export async function erase(id, secret) {
  await ask(`${JOBS}/${id}`, { method: "DELETE", headers: { Authorization: `Bearer ${secret}` } });
}

export async function ask(path, init) {
  let response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw connectionLost();
  }
  if (!response.ok) throw problemFrom(response.status, parse(await response.text()));
  return response;
}

export function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** A Problem from an answer: its own words when it is an RFC 9457 problem, ours when a proxy answered. */
export function problemFrom(status, body) {
  const retry = TRANSIENT.has(status) || status >= 500;
  if (body?.title && body?.code) return new Problem({ ...body, title: told(body.title), detail: told(body.detail ?? ""), retry });
  if (status === 413) {
    return new Problem({
      code: "body_too_large",
      title: t("This file is too large"),
      detail: t("The server refused it for its size. Send a smaller copy of the photograph."),
    });
  }
  return new Problem({
    code: `http_${status}`,
    title: t("The server did not answer as it should"),
    detail: t("It may be starting or being worked on. Try again in a minute."),
    retry,
  });
}

function endedAs(job) {
  // What is wrong with a photo stays wrong; what befell a worker may not happen again.
  if (job.error) {
    const { code, title, detail } = job.error;
    return new Problem({ code, title: told(title), detail: told(detail), retry: !code.startsWith("photo_") });
  }
  return new Problem({
    code: job.status,
    title: t("The photograph is no longer on the server"),
    detail: t("It was erased before it was colored. Send it again."),
    retry: true,
  });
}

export function connectionLost() {
  return new Problem({
    code: "connection_lost",
    title: t("The connection to the server was lost"),
    detail: t("Check that you are online, then try again. The photograph is still here on this page."),
    retry: true,
  });
}

export function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}
