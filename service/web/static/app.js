// The page: one photograph at a time, from the drop to the download.

import { Problem, erase, fetchResult, follow, send } from "./api.js";
import { Compare, loads, shape } from "./compare.js";
import { say } from "./live.js";
import { forget, recall, remember } from "./memory.js";
import { Options } from "./options.js";
import { checkFile, checkPixels, listen } from "./picker.js";
import { Progress } from "./progress.js";
import { language, number, t, told } from "./strings.js";

const element = (id) => document.getElementById(id);
const { maxMegabytes, maxMegapixels, formats } = document.body.dataset;
const views = ["empty", "work", "done", "trouble"].map(element);
const preview = element("preview");
const compare = new Compare(element("compare"));
const options = new Options(element("options"));
/** Problems that say of a job of before: there is nothing to go on with. */
const GONE = new Set(["not_found", "expired", "canceled"]);
const progress = new Progress({
  title: element("work-title"),
  bar: element("progress"),
  list: element("stages"),
  grain: element("sheet").querySelector(".grain"),
});

/** The photograph on the page: its name, its file, its address for <img>, and whether this browser can show it.
 *  Once the page was loaded anew the file is gone, and the name is left. */
let photo = null;
/** What is being done with it. A new try ends the one before. */
let turn = new AbortController();
/** The job of this try, once the server has taken the photograph. */
let job = null;
let resultUrl = null;

/** Takes a new photograph; `others` came with it and are left. */
async function take(file, others) {
  leave();
  if (others > 0) {
    element("note").textContent = t("One at a time: {name} was taken.", { name: file.name });
    say(element("note").textContent);
  }
  photo = { name: file.name, file, url: URL.createObjectURL(file), shown: false };
  await color();
}

/** Colors the photograph on the page, with the options as they stand. */
async function color() {
  const { signal } = begin();
  try {
    checkFile(photo.file, Number(maxMegabytes), formats);
    progress.reset();
    photo.shown = await loads(preview, photo.url);
    signal.throwIfAborted();
    preview.hidden = !photo.shown;
    if (photo.shown) {
      checkPixels(preview, Number(maxMegapixels));
      shape(element("sheet"), preview);
    }
    show("work");
    element("plate").scrollIntoView({ block: "nearest" });
    // What this browser cannot show (a TIFF) comes back as something that it can.
    const fields = photo.shown ? options.fields() : { format: "png", ...options.fields() };
    job = await send(photo.file, fields, { onProgress: (share) => progress.sent(share), signal });
    remember(job, photo.name);
    await see(signal);
  } catch (error) {
    if (!signal.aborted) explain(error);
  }
}

/** Follows the job to its end and shows the picture. */
async function see(signal) {
  progress.job(job);
  const finished = await follow(job.id, {
    onChange: (seen) => progress.job(seen),
    onSilence: () => progress.silent(),
    signal,
  });
  progress.job(finished);
  await present(finished, await fetchResult(job.id, signal), signal);
}

/** Goes on with the job of before this page was loaded anew. The photograph itself is no longer here. */
async function goOn(kept) {
  const { signal } = begin();
  job = { id: kept.id, secret: kept.secret, status: "queued", queue_position: null, eta_s: null, timings: {} };
  remember(job, kept.name);
  photo = { name: kept.name, file: null, url: null, shown: false };
  preview.hidden = true;
  progress.reset();
  show("work");
  try {
    await see(signal);
  } catch (error) {
    if (signal.aborted) return;
    if (GONE.has(error.code)) {
      job = null;
      leave();
    } else {
      explain(error);
    }
  }
}

async function present(finished, picture, signal) {
  URL.revokeObjectURL(resultUrl);
  resultUrl = URL.createObjectURL(picture);
  await compare.show(photo.shown ? photo.url : null, resultUrl);
  signal.throwIfAborted();

  const { result, timings, net, notices, expires_at: expires } = finished;
  const seconds = Object.values(timings).reduce((sum, one) => sum + one, 0);
  const kind = result.media_type.replace("image/", "").toUpperCase();
  element("details").textContent = t("{width} × {height} pixels, {kind}, colored in {time} by the network “{net}”.", {
    width: result.width,
    height: result.height,
    kind,
    time: `${number(seconds, 1)}\u00a0s`,
    net: net.name,
  });
  list(element("notices"), notices);
  element("kept").textContent = t("The server keeps both pictures until {time}, then erases them.", {
    time: localTime(expires),
  });
  element("download").href = resultUrl;
  element("download").download = coloredName(photo.name, result.media_type);
  element("erase").hidden = false;
  element("erase").disabled = false;
  show("done");
  compare.reveal();
  const isAlone = compare.frame.classList.contains("alone");
  const done = isAlone ? t("Done.") : t("Done. Move the slider to compare before and after.");
  say([done, ...notices.map(({ detail }) => told(detail))].join(" "));
}

/** Shows what a person should know of the picture, one item each; nothing where there is nothing. */
function list(target, notices) {
  const items = notices.map(({ code, detail }) => {
    const item = document.createElement("li");
    item.dataset.code = code;
    item.textContent = told(detail);
    return item;
  });
  target.replaceChildren(...items);
  target.hidden = items.length === 0;
}

async function eraseNow() {
  const { signal } = turn;
  const button = element("erase");
  button.disabled = true;
  let message = t("Erased from the server. The picture on this page is your own copy; it goes when you leave.");
  try {
    await erase(job.id, job.secret);
    if (signal.aborted) return;
    job = null;
    forget();
    button.hidden = true;
  } catch (problem) {
    if (signal.aborted) return;
    message = t("It could not be erased. {reason}", { reason: `${problem.message}: ${problem.detail}` });
  }
  button.disabled = false;
  element("kept").textContent = message;
  say(message);
}

/** Ends what is being done and starts anew. The server need not keep what this page can no longer show. */
function begin() {
  turn.abort();
  if (job) erase(job.id, job.secret).catch(() => {});
  job = null;
  forget();
  turn = new AbortController();
  return turn;
}

/** Back to the empty plate. */
function leave() {
  begin();
  if (photo?.url) URL.revokeObjectURL(photo.url);
  URL.revokeObjectURL(resultUrl);
  photo = null;
  resultUrl = null;
  element("note").textContent = "";
  preview.removeAttribute("src");
  element("sheet").style.removeProperty("--wide");
  compare.clear();
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
  element("retry").hidden = !error.retry || !photo?.file;
  show("trouble");
  say(`${error.message}. ${error.detail}`);
}

/** Shows one view of the plate. Focus follows when what had it goes away. */
function show(name) {
  const focused = document.activeElement;
  for (const view of views) view.hidden = view.id !== name;
  element("again").hidden = name !== "done" || !photo?.file;
  if (focused !== document.body && focused?.checkVisibility()) return;
  const target = name === "empty" ? element("photo") : element(`${name}-title`);
  target.focus({ preventScroll: true });
}

function localTime(iso) {
  return new Date(iso).toLocaleString(language, { weekday: "long", hour: "numeric", minute: "2-digit" });
}

/** "street.tif", "image/png" → "street-color.png" */
function coloredName(name, mediaType) {
  const stem = name.replace(/\.[^.]*$/, "") || "photo";
  const extension = { "image/jpeg": "jpg", "image/tiff": "tif" }[mediaType] ?? mediaType.replace("image/", "");
  return `${stem}-color.${extension}`;
}

listen({ input: element("photo"), plate: element("plate"), take });
element("stop").addEventListener("click", leave);
element("another").addEventListener("click", leave);
element("choose").addEventListener("click", () => {
  leave();
  element("photo").click();
});
element("retry").addEventListener("click", color);
element("erase").addEventListener("click", eraseNow);
element("options").addEventListener("submit", (event) => {
  event.preventDefault();
  if (photo?.file) color();
});

const kept = recall();
if (kept) goOn(kept);
