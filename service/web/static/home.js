// The first page: a photograph, or several, from the drop to a page of their own.

import { Problem, random, send } from "./api.js";
import { showRecent } from "./gallery.js";
import { say } from "./live.js";
import { checkFile, checkPixels, isArchive, listen } from "./picker.js";
import { keepSent, remember, thumbnail } from "./recent.js";
import { number, t } from "./strings.js";

const element = (id) => document.getElementById(id);
const { formats } = document.body.dataset;
const [maxMegabytes, maxMegapixels, mostPhotos] = ["maxMegabytes", "maxMegapixels", "mostPhotos"].map((name) => Number(document.body.dataset[name]));
const views = ["empty", "work", "trouble"].map(element);
const form = element("empty");
const preview = element("preview");

/** What was chosen, and the key under which a photograph is one job however often it is sent; of several, the album that they became. */
let chosen = null;
/** What is being done with it. A new try ends the one before. */
let turn = new AbortController();

/** Sends what was chosen, and goes to its page. @param {File[]} files */
async function take(files) {
  chosen = { files, key: random(16), album: null };
  await go();
}

async function go() {
  turn.abort();
  turn = new AbortController();
  const { signal } = turn;
  const isAlbum = chosen.files.length > 1 || isArchive(chosen.files[0]);
  try {
    await (isAlbum ? goAlbum(signal) : goPhoto(signal));
  } catch (error) {
    if (!signal.aborted) explain(error);
  }
}

async function goPhoto(signal) {
  const [file] = chosen.files;
  checkFile(file, maxMegabytes, formats);
  const isShown = await shows(file);
  signal.throwIfAborted();
  if (isShown) checkPixels(preview, maxMegapixels);
  begin(t("Sending the photograph"));
  const size = number(file.size / 2 ** 20, 1);
  const onProgress = (share) => progress(share, t("{percent}% of {size} MB", { percent: Math.floor(100 * share), size }));
  const job = await send(file, options(), { key: chosen.key, onProgress, signal });
  const whole = { x: 0, y: 0, width: preview.naturalWidth, height: preview.naturalHeight };
  remember({ id: job.id, secret: job.secret, name: file.name, expires: job.expires_at, thumbnail: isShown ? thumbnail(preview, whole) : null });
  if (isShown) keepSent(job.id, thumbnail(preview, whole, 640));
  location.assign(new URL(`../photos/${job.id}`, import.meta.url));
}

/** Tried again, it goes on with the album that was begun. */
async function goAlbum(signal) {
  preview.hidden = true;
  begin(t("Sending the album"));
  const onProgress = ({ share, sent, of, lost }) =>
    progress(share, lost ? t("The connection is lost; trying again") : t("{sent} of {count} sent", { sent, count: of }));
  const { startAlbum } = await import("./album_start.js");
  const how = { album: chosen.album, megabytes: maxMegabytes, photographs: mostPhotos, onProgress, signal };
  try {
    await startAlbum(chosen.files, how);
  } catch (error) {
    if (error.retry) [chosen.album] = (await import("./albums.js")).list();
    throw error;
  }
}

/** What the form asks for beside its file. @returns {[string, string][]} */
function options() {
  return [...new FormData(form)].filter(([name]) => name !== "photo");
}

/** Shows the photograph where it will be waited for, and tells whether this browser can. */
async function shows(file) {
  URL.revokeObjectURL(preview.src);
  const loaded = new Promise((resolve) => {
    preview.onload = () => resolve(true);
    preview.onerror = () => resolve(false);
  });
  preview.src = URL.createObjectURL(file);
  const isShown = await loaded;
  preview.hidden = !isShown;
  if (isShown) element("sheet").style.setProperty("--wide", preview.naturalWidth / preview.naturalHeight);
  return isShown;
}

function begin(title) {
  element("sheet").hidden = preview.hidden;
  element("work-title").textContent = title;
  progress(0, "");
  show("work");
  element("plate").scrollIntoView({ block: "nearest" });
  say(title);
}

/** @param {number} share of what is to be sent, 0 to 1 @param {string} text */
function progress(share, text) {
  element("progress").value = 100 * share;
  element("grain").style.setProperty("--split", `${100 * share}%`);
  element("sent").textContent = share < 1 ? text : t("Sent. Its page opens as soon as the server has looked at it.");
}

/** Back to the empty plate. */
function leave() {
  turn.abort();
  chosen = null;
  URL.revokeObjectURL(preview.src);
  preview.removeAttribute("src");
  show("empty");
}

function explain(error) {
  if (!(error instanceof Problem)) {
    console.error(error);
    error = new Problem({
      code: "page_failed",
      title: t("Something went wrong on this page"),
      detail: t("Reload it and send the photograph again."),
    });
  }
  element("trouble-title").textContent = error.message;
  element("trouble-detail").textContent = error.detail;
  element("trouble-code").textContent = error.code;
  element("retry").hidden = !error.retry;
  show("trouble");
  say(`${error.message}. ${error.detail}`);
}

/** Shows one view of the plate. Focus follows when what had it goes away. */
function show(name) {
  const focused = document.activeElement;
  for (const view of views) view.hidden = view.id !== name;
  if (focused !== document.body && focused?.checkVisibility()) return;
  const target = name === "empty" ? element("photo") : element(`${name}-title`);
  target.focus({ preventScroll: true });
}

async function takeSample(event) {
  event.preventDefault();
  const { sample, name } = event.currentTarget.dataset;
  let blob;
  try {
    const answer = await fetch(sample);
    if (!answer.ok) throw new TypeError(`${sample}: ${answer.status}`);
    blob = await answer.blob();
  } catch {
    return event.target.submit(); // it works without this script too
  }
  await take([new File([blob], `${name}.jpg`, { type: blob.type })]);
}

/** The divide moves across a sample once when it is first seen, and when it is pointed at. */
function move(sample) {
  const seen = new IntersectionObserver(
    ([{ isIntersecting }]) => {
      if (!isIntersecting) return;
      seen.disconnect();
      sample.classList.add("moving");
    },
    { threshold: 0.6 },
  );
  seen.observe(sample);
  sample.addEventListener("pointerenter", () => sample.classList.add("moving"));
  sample.addEventListener("animationend", () => sample.classList.remove("moving"));
}

const picker = element("photo");
picker.accept += ",.zip,application/zip";
listen({ inputs: [picker, element("camera")], plate: element("plate"), take });
element("stop").addEventListener("click", leave);
element("choose").addEventListener("click", () => {
  leave();
  picker.click();
});
element("retry").addEventListener("click", go);
for (const sample of document.querySelectorAll("form[data-sample]")) sample.addEventListener("submit", takeSample);
document.querySelectorAll(".sample").forEach(move);
// Back from a photograph's page, the browser may show this one as it was left.
addEventListener("pageshow", ({ persisted }) => persisted && leave());
showRecent(element("recent"));
