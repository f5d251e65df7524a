// The first page: a photograph, or several, from the drop to a page of their own.

import { isZip, sendAlbum } from "./album_upload.js";
import { Problem, send } from "./api.js";
import { say } from "./live.js";
import { checkAlbum, checkFile, checkPixels, listen } from "./picker.js";
import { remember, thumbnail } from "./recent.js";
import { number, t } from "./strings.js";

const element = (id) => document.getElementById(id);
const { maxMegabytes, maxMegapixels, mostPhotos, batchMegabytes, formats } = document.body.dataset;
const views = ["empty", "work", "trouble"].map(element);
const form = element("empty");
const preview = element("preview");

/** What was chosen, and the key under which it is one order however often it is sent. */
let chosen = null;
/** What is being done with it. A new try ends the one before. */
let turn = new AbortController();

/** Sends what was chosen, and goes to its page. @param {File[]} files */
async function take(files) {
  chosen = { files, key: random() };
  await go();
}

async function go() {
  turn.abort();
  turn = new AbortController();
  const { signal } = turn;
  const { files, key } = chosen;
  const hooks = { key, signal, onProgress: (share) => progress(share, files) };
  try {
    const isAlbum = files.length > 1 || isZip(files[0]);
    await (isAlbum ? goAlbum(files, hooks) : goPhoto(files[0], hooks));
  } catch (error) {
    if (!signal.aborted) explain(error);
  }
}

async function goPhoto(file, hooks) {
  checkFile(file, Number(maxMegabytes), formats);
  const isShown = await shows(file);
  hooks.signal.throwIfAborted();
  if (isShown) checkPixels(preview, Number(maxMegapixels));
  begin(t("Sending the photograph"));
  const job = await send(file, options(), hooks);
  hooks.signal.throwIfAborted();
  remember({
    id: job.id,
    secret: job.secret,
    name: file.name,
    expires: job.expires_at,
    thumbnail: isShown ? thumbnail(preview, { x: 0, y: 0, width: preview.naturalWidth, height: preview.naturalHeight }) : null,
  });
  location.assign(new URL(`../photos/${job.id}`, import.meta.url));
}

async function goAlbum(files, hooks) {
  checkAlbum(files, Number(mostPhotos), Number(batchMegabytes));
  preview.hidden = true;
  begin(t("Sending the album"));
  const { id } = await sendAlbum(files, hooks);
  hooks.signal.throwIfAborted();
  location.assign(new URL(`../albums/${id}`, import.meta.url));
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
  progress(0, chosen.files);
  show("work");
  element("plate").scrollIntoView({ block: "nearest" });
  say(title);
}

/** @param {number} share of what is to be sent, 0 to 1 */
function progress(share, files) {
  const percent = Math.round(share * 100);
  const size = number(files.reduce((sum, { size }) => sum + size, 0) / 2 ** 20, 1);
  element("progress").value = percent;
  element("grain").style.setProperty("--split", `${percent}%`);
  const text =
    files.length > 1
      ? t("{percent} % of {count} photographs, {size} MB", { percent, count: files.length, size })
      : t("{percent} % of {size} MB", { percent, size });
  element("sent").textContent = percent < 100 ? text : t("Sent. Its page opens as soon as the server has looked at it.");
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
  const path = event.currentTarget.dataset.sample;
  const { signal } = turn;
  try {
    const answer = await fetch(path);
    if (!answer.ok) throw new TypeError(`${path}: ${answer.status}`);
    const photo = new File([await answer.blob()], path.replace(/.*\//, ""), { type: "image/jpeg" });
    if (!signal.aborted) await take([photo]);
  } catch (error) {
    if (!signal.aborted) event.target.submit(); // without this script it works too
  }
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

/** 256 random bits as hexadecimal digits, also where the page did not come by HTTPS. */
function random() {
  return Array.from(crypto.getRandomValues(new Uint8Array(32)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const picker = element("photo");
picker.multiple = true;
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
addEventListener("pageshow", ({ persisted }) => {
  if (persisted) leave();
});
