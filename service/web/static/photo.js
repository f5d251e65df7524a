// A photo's own page, when it is colored: look at it, save it, pass it on, mend it, erase it.

import { fetchResult, revise } from "./api.js";
import { offerErasing } from "./erasing.js";
import { showRecent } from "./gallery.js";
import { say } from "./live.js";
import { Opinion, keep } from "./opinion.js";
import { recall, remember, thumbnail } from "./recent.js";
import { t } from "./strings.js";
import { Viewer } from "./viewer.js";

const element = (id) => document.getElementById(id);
const job = JSON.parse(element("job").textContent);
const own = recall(job.id);
/** Where whoever looks may change colors. @type {Opinion | undefined} */
let opinion;
const after = element("after");
/** What browsers can show. */
const SHOWN = new Set(["image/jpeg", "image/png", "image/webp", "image/avif"]);
const ENDINGS = { "image/jpeg": "jpg", "image/tiff": "tif" };

const viewer = new Viewer(element("viewer"), { onZoom: showAllPixels });
viewer.size = job.result;

/** Once it is enlarged, in place of the comparison the picture itself, which may have more pixels. */
function showAllPixels() {
  const has = after.naturalWidth / (after.closest(".halves") ? 2 : 1);
  if (after.dataset.whole || !SHOWN.has(job.result.media_type) || has >= job.result.width) return;
  after.dataset.whole = "loading";
  const whole = new Image();
  whole.onload = () => {
    after.src = whole.src;
    after.dataset.whole = "shown";
  };
  whole.src = new URL(`../v1/colorizations/${job.id}/result?redirect=false`, import.meta.url);
}

function tell(message) {
  element("said").hidden = false;
  element("said").textContent = message;
  say(message);
}

function complain(problem) {
  if (!problem.detail) console.error(problem);
  tell(problem.detail ? `${problem.message}. ${problem.detail}` : t("Something went wrong on this page. Reload it and try again."));
}

/* Looking at it */

element("larger").addEventListener("click", () => viewer.zoom(1.5));
element("smaller").addEventListener("click", () => viewer.zoom(1 / 1.5));
element("comparing")?.addEventListener("click", () => {
  viewer.comparing = !viewer.comparing;
  element("comparing").setAttribute("aria-pressed", viewer.comparing);
});
const original = element("original");
if (original) {
  const show = (isShown) => () => { viewer.original = isShown; };
  original.addEventListener("pointerdown", show(true));
  for (const end of ["pointerup", "pointerleave", "pointercancel", "blur", "keyup"]) original.addEventListener(end, show(false));
  original.addEventListener("keydown", (event) => (event.key === " " || event.key === "Enter") && show(true)());
  original.addEventListener("contextmenu", (event) => event.preventDefault());
}

/* Saved, shared, printed */

function fileName(mediaType) {
  const stem = (own?.name ?? "").replace(/\.[^.]*$/, "") || t("photograph");
  return `${stem}-color.${ENDINGS[mediaType] ?? mediaType.replace("image/", "")}`;
}

function saveAs(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  tell(t("Saved as {name}", { name }));
}

async function save(event) {
  event.preventDefault(); // by its address alone it would be called what the server calls every picture
  try {
    if (opinion?.unkept) tell(t("Coloring the whole photograph"));
    const shown = opinion?.unkept ? await passing({ format: job.options.format }) : job;
    saveAs(await fetchResult(shown.id), fileName(shown.result.media_type));
  } catch (problem) {
    complain(problem);
  }
}

for (const name of ["save", "save-here"]) element(name)?.addEventListener("click", save);

/** The photo in whole as it is seen, changes that are not kept yet among it, for saving alone. */
function passing(options) {
  return revise(own, { ...opinion?.unkept, ...options, artifacts: [], keep_for: 600, priority: "interactive" });
}

for (const button of element("formats").querySelectorAll("[data-format]")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    tell(t("Making the {format} …", { format: button.textContent }));
    try {
      const format = button.dataset.format;
      const made = await passing({ format, ...(format === "tiff" && { bits: 16 }) });
      saveAs(await fetchResult(made.id), fileName(made.result.media_type));
    } catch (problem) {
      complain(problem);
    }
    button.disabled = false;
  });
}

element("share").addEventListener("click", async () => {
  if (opinion?.unkept) return tell(t("Choose “Keep this” first: until then the link leads to the colors before your change."));
  const about = { title: document.title, url: location.href };
  try {
    if (navigator.share) await navigator.share(about);
    else {
      await navigator.clipboard.writeText(location.href);
      tell(t("The link is copied. Whoever has it sees this page, until it is erased."));
    }
  } catch (error) {
    if (error.name !== "AbortError") tell(t("Copy this address: {address}", { address: location.href }));
  }
});

element("print").addEventListener("click", () => print());

/* What whoever sent it may do */

/** What is different once a notice is followed, by its code. */
const MENDED = {
  photo_in_color: { if_color: "keep", hints: [] },
  kept_in_color: { if_color: "colorize" },
  border_found: { crop_border: true, hints: [] },
  border_cropped: { crop_border: false, hints: [] },
};

function mend(button) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    say(t("Coloring the whole photograph"));
    try {
      await keep(own, { ...MENDED[button.dataset.mend], priority: "interactive" });
    } catch (problem) {
      complain(problem);
      button.disabled = false;
    }
  });
}

/** A thumbnail for the list of recent ones, and when it will be gone. */
async function keepInMind() {
  await after.decode().catch(() => {});
  const width = after.naturalWidth, height = after.naturalHeight;
  const part = after.closest(".halves") ? { x: width / 2, y: 0, width: width / 2, height } : { x: 0, y: 0, width, height };
  const small = width && !after.dataset.whole ? thumbnail(after, part) : null;
  remember({ id: job.id, revises: job.revises, expires: job.expires_at, ...(small && { thumbnail: small }) });
}

if (own) {
  for (const button of document.querySelectorAll("[data-mend]")) mend(button);
  offerErasing(element("erase"), job.id);
  if (element("opinion")) {
    opinion = new Opinion(job, own, viewer, tell);
    const prepare = () => opinion.prepare().catch(() => {}); // what is wrong is said once it is needed
    for (const sign of ["pointerenter", "focusin"]) element("opinion").addEventListener(sign, prepare, { once: true });
    if (!navigator.connection?.saveData) addEventListener("load", () => (globalThis.requestIdleCallback ?? setTimeout)(prepare));
  }
  keepInMind();
}
after.addEventListener("error", () => tell(t("Your browser cannot show this kind of file. Save it to see it in another program.")));
showRecent(element("recent"), job.id);
// Brought back as it was left, it would be in the midst of what led away, and show a photograph that may have been erased meanwhile.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

try {
  if (sessionStorage.getItem("autochrome.waited") === job.id) {
    sessionStorage.removeItem("autochrome.waited");
    element("heading").focus({ preventScroll: true });
    say(t("Done. {heading}", { heading: element("heading").textContent }));
  }
} catch {
  // A browser may forbid that anything is kept.
}
