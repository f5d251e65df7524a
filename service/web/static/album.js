// An album's page: photographs as they get their colors, and what is decided of each. Decisions stay in this browser.

import { Viewer } from "./album_viewer.js";
import * as albums from "./albums.js";
import { ARTIFACTS, startAlbum } from "./album_start.js";
import { Problem, erase as eraseJob, follow, random, revise, send, sleep } from "./api.js";
import * as batches from "./batches.js";
import { say } from "./live.js";
import * as recent from "./recent.js";
import { number, plural, t, told } from "./strings.js";
import { Tiles } from "./tiles.js";

const element = (id) => document.getElementById(id);
const { id, start, maxMegabytes, maxPhotographs, ...data } = document.body.dataset;
const PAGE = Number(data.page);
const BASE = { vividness: Number(data.vividness), boldness: Number(data.boldness) };

/** Milliseconds between two looks at the album; after a silence, and the longest. */
const EVERY = 2500;
const SLOWEST = 20_000;
const MOST_UNDO = 200;
/** Photographs that are written in one go: the page is scrolled meanwhile. */
const AT_ONCE = 10;
/** What is least and most, and how many other pictures can be had. */
const BOUNDS = { vividness: [0, 2], boldness: [-1, 1] };
const OTHERS = 3;
const ENDED = new Set(["succeeded", "failed", "canceled", "expired"]);
/** Refusals of the file itself: the same again would be refused again. */
const OF_THE_FILE = /^(photo|member)_(?!lost)|^body_too_large$/;

const album = albums.recall(id);
const made = albums.decisions(id);
/** Photographs as the API lists them, from the first on; how many there are of each status, of all. */
const files = [];
let counts = {};
let status = data.status;
const busy = new Set();
/** Those that somebody wanted to decide while they were colored again. */
const early = new Set();
const problems = new Map();
const past = [];
const never = new AbortController().signal;

const tiles = new Tiles(element("photographs"), { onOpen: look, onKey: press });
const viewer = new Viewer({
  accept: () => judge(viewer.place, "accepted"),
  reject: () => judge(viewer.place, "rejected"),
  undo,
  turn: (step) => turn(step),
  change: (name, by) => change(viewer.place, name, by),
  other: () => other(viewer.place),
  first: () => decide(viewer.place, { redone: null }),
  retry: () => recolor(viewer.place, {}),
  part: () => recolor(viewer.place, { partial: true }),
  copy: (file) => sendCopy(viewer.place, file),
  own: () => keepForItsPage(viewer.place),
  close: (place) => tiles.moveTo(place),
});

// How it stands

/** Looks at one part of the album; those that are not ended come in turns. */
async function readPart(part) {
  const answer = await batches.read(id, { cursor: part * PAGE, limit: PAGE });
  counts = answer.counts;
  status = answer.status;
  for (const [at, file] of answer.files.entries()) {
    const place = part * PAGE + at;
    const isNew = JSON.stringify(files[place]) !== JSON.stringify(file);
    files[place] = file;
    if (!isNew) continue;
    show(place);
    if (at % AT_ONCE === AT_ONCE - 1) await sleep(0, never);
  }
  standing();
  element("more").hidden = files.length >= total();
}

async function followAlbum() {
  let part = -1;
  let pause = EVERY;
  for (;;) {
    const parts = unfinished();
    if (parts.length === 0 && status === "ended") return;
    await sleep(pause, never);
    if (document.hidden) continue;
    part = parts.find((one) => one > part) ?? parts[0] ?? 0;
    try {
      await readPart(part);
      pause = EVERY;
    } catch (error) {
      if (gone(error)) return;
      pause = Math.min(2 * pause, SLOWEST);
      element("standing").textContent = t("The connection is lost; trying again");
    }
  }
}

/** Parts that are on the page and have photographs yet to be colored. */
function unfinished() {
  const parts = files.flatMap((file, place) => (ENDED.has(file.status) ? [] : [Math.floor(place / PAGE)]));
  return [...new Set(parts)];
}

/** Where the album is gone, its page says so. */
function gone(error) {
  if (!["not_found", "expired", "canceled"].includes(error.code)) return false;
  albums.forget(id);
  location.reload();
  return true;
}

const total = () => Object.values(counts).reduce((sum, count) => sum + count, 0);

function standing() {
  const all = total();
  const ended = Object.entries(counts).reduce((sum, [name, count]) => sum + (ENDED.has(name) ? count : 0), 0);
  // What failed, and was mended on this page.
  const mended = Object.keys(made.redone).filter((place) => files[place]?.status === "failed").length;
  const failed = (counts.failed ?? 0) - mended;
  const done = (counts.succeeded ?? 0) + mended;
  const colored = number(done);
  const one = done ? t("The photograph is colored.") : t("The photograph is not colored yet.");
  const said = failed
    ? plural(all, "The photograph could not be colored.", "{colored} of {count} photographs are colored, {failed} could not be.", { colored, failed: number(failed), count: number(all) })
    : all === 1 ? one : t("{colored} of {count} photographs are colored.", { colored, count: number(all) });
  if (element("standing").textContent !== said) element("standing").textContent = said;
  element("progress").max = all || 1;
  element("progress").value = ended;
  const runs = ended < all || status === "receiving";
  if (!runs && !element("progress").hidden) say(`${t("The album is done.")} ${said}`);
  element("progress").hidden = !runs;
  element("download").querySelector("button").textContent = runs ? t("Save what is ready as a ZIP") : t("Save as a ZIP");
  element("erase").querySelector("summary").textContent = runs ? t("Stop and erase …") : t("Erase …");
  document.title = runs && all ? `${number(ended)}/${number(all)} · ${name()}` : `${name()} · Autochrome`;
  tellBroken();
}

const name = () => album?.name ?? t("An album");

/** Not all of it came: the tab was closed, or the connection was lost for good. Only where this browser began it can it go on. */
function tellBroken() {
  const isBroken = status === "receiving" && album !== null && !album.complete;
  element("broken").hidden = !isBroken;
  if (!isBroken) return;
  element("broken-words").textContent = t("Not all of it was sent: {there} of {all} are here. Choose the same again, and only the rest is sent.", {
    there: number(total()),
    all: number(album.photographs),
  });
}

async function goOn({ target }) {
  const chosen = [...target.files];
  target.value = "";
  if (chosen.length === 0) return;
  await showAll();
  const there = new Map();
  for (const file of files) there.set(file.name, (there.get(file.name) ?? 0) + 1);
  const rest = chosen.filter((file) => {
    const left = there.get(file.webkitRelativePath || file.name) ?? 0;
    there.set(file.webkitRelativePath || file.name, left - 1);
    return left <= 0;
  });
  const onProgress = ({ sent, of }) => (element("broken-words").textContent = t("{sent} of {of} sent", { sent: number(sent), of: number(of) }));
  const limits = { megabytes: Number(maxMegabytes), photographs: Number(maxPhotographs) };
  try {
    // One that is there already closes the album, where nothing is left to be sent.
    await startAlbum(rest.length ? rest : chosen.slice(-1), { album, ...limits, onProgress });
  } catch (error) {
    element("broken-words").textContent = `${error.message}. ${error.detail ?? ""}`;
    say(element("broken-words").textContent);
  }
}

// One photograph

const pictureOf = (place) => made.redone[place]?.id ?? (files[place].status === "succeeded" ? files[place].job : null);
const verdictOf = (place) => made.verdicts[place] ?? null;

/** The job that is colored anew for a place, and the secret that allows it. */
function sourceOf(place) {
  const sent = made.redone[place]?.source;
  if (sent) return sent;
  return files[place].job && album ? { id: files[place].job, secret: album.secret } : null;
}

function wordOf(place) {
  const { status: stands, error } = files[place];
  if (busy.has(place)) return early.has(place) ? t("Being colored again: decide when its new colors are here") : t("Being colored again");
  const verdict = { accepted: `✓ ${t("Accepted")}`, rejected: `✗ ${t("Rejected")}` }[verdictOf(place)];
  const problem = problems.get(place);
  if (problem) return problem.message;
  if (pictureOf(place)) return verdict ?? (made.redone[place] ? t("Colored again") : t("Done"));
  if (error) return told(error.title);
  return { waiting: t("Waiting its turn"), queued: t("Waiting its turn"), running: t("Being colored"), failed: t("Could not be colored") }[stands] ?? t("Erased");
}

function show(place) {
  const file = files[place];
  const picture = pictureOf(place);
  const job = made.redone[place]?.id ?? file.job;
  const hasThumbnail = made.redone[place] || file.thumbnail;
  tiles.put(place, {
    name: file.name,
    picture: hasThumbnail ? batches.fileOf(job, "artifacts/thumbnail") : null,
    href: job ? `../photos/${job}` : null,
    status: busy.has(place) ? "running" : picture ? "succeeded" : file.status,
    verdict: verdictOf(place),
    word: wordOf(place),
    shown: matches(place),
  });
  if (viewer.isOpen && viewer.place === place) look(place);
}

function look(place) {
  const file = files[place];
  if (!file) return;
  const job = pictureOf(place);
  const source = sourceOf(place);
  const problem = problems.get(place);
  const failed = !job && ENDED.has(file.status);
  const detail = problem ? problem.detail : failed && file.error ? told(file.error.detail) : "";
  viewer.show(
    {
      place,
      of: total(),
      name: file.name,
      job,
      page: `../photos/${source?.id ?? job}`,
      verdict: verdictOf(place),
      word: wordOf(place),
      detail,
      failed,
      busy: busy.has(place),
      canRetry: failed && source !== null && !OF_THE_FILE.test(file.error?.code ?? ""),
      hasPart: failed && source !== null && file.error?.code === "photo_damaged" && problem?.code !== "photo_damaged",
      canRedo: job !== null && source !== null,
      isRedone: Boolean(made.redone[place]) && file.status === "succeeded",
    },
    past.length > 0,
  );
  offerMadeThere(place);
}

async function turn(step, from = viewer.place) {
  const next = tiles.beside(from, step);
  if (next === from && step > 0 && files.length < total()) {
    await showMore();
    return turn(step, from);
  }
  if (viewer.isOpen) {
    tiles.moveTo(next, false);
    look(next);
  } else {
    tiles.moveTo(next);
  }
}

// Decisions

/** Changes what is decided of a place, so that it can be taken back. */
function decide(place, { verdict = verdictOf(place), redone = made.redone[place] ?? null }) {
  past.push({ place, verdict: verdictOf(place), redone: made.redone[place] ?? null });
  if (past.length > MOST_UNDO) past.shift();
  put(place, { verdict, redone });
}

function put(place, { verdict, redone }) {
  if (verdict) made.verdicts[place] = verdict;
  else delete made.verdicts[place];
  if (redone) made.redone[place] = redone;
  else delete made.redone[place];
  albums.decide(id, made);
  problems.delete(place);
  show(place);
  standing();
  tellVerdicts();
}

/** Accepts or rejects, and goes on to the next; the same a second time takes it back. Colors that nobody has seen are not decided. */
function judge(place, verdict) {
  if (!files[place] || !pictureOf(place)) return;
  if (busy.has(place)) {
    early.add(place);
    show(place);
    return say(`${files[place].name}: ${wordOf(place)}`);
  }
  const isSame = verdictOf(place) === verdict;
  const next = isSame ? place : tiles.beside(place, 1);
  decide(place, { verdict: isSame ? null : verdict });
  say(`${files[place].name}: ${wordOf(place)}`);
  if (viewer.isOpen && next !== place) turn(1, place);
  else if (!viewer.isOpen) tiles.moveTo(next);
}

function undo() {
  const last = past.pop();
  if (!last) return;
  put(last.place, last);
  tellVerdicts();
  say(`${files[last.place].name}: ${wordOf(last.place)}`);
  if (viewer.isOpen) look(last.place);
  else tiles.moveTo(last.place);
}

function tellVerdicts() {
  const of = (verdict) => Object.values(made.verdicts).filter((one) => one === verdict).length;
  element("verdicts").textContent = t("{accepted} accepted, {rejected} rejected", { accepted: number(of("accepted")), rejected: number(of("rejected")) });
  element("undo").disabled = past.length === 0;
  const rejected = of("rejected");
  element("rejected").hidden = rejected === 0 || element("only-accepted").checked;
  element("rejected").lastElementChild.textContent = plural(
    rejected,
    "also the rejected one, which is left out otherwise",
    "also the {count} rejected ones, which are left out otherwise",
  );
}

// Colored again

async function change(place, name, by) {
  const before = { ...BASE, ...made.redone[place]?.options };
  const [least, most] = BOUNDS[name];
  const value = Math.round(100 * Math.min(Math.max(before[name] + by, least), most)) / 100;
  await recolor(place, { ...before, [name]: value });
}

/** The next of the other pictures that the photograph could have been. */
async function other(place) {
  const { chosen = 0, ...before } = made.redone[place]?.options ?? {};
  await recolor(place, { ...before, alternatives: OTHERS, chosen: (chosen % OTHERS) + 1 });
}

/** @param {object} options that are others than the album's */
async function recolor(place, options) {
  const source = sourceOf(place);
  if (!source || busy.has(place)) return;
  const sent = made.redone[place]?.source;
  await work(place, async () => {
    const { id: job, secret } = await revise(source, { ...options, priority: "interactive" }, never);
    return { id: job, secret, options, ...(sent && { source: sent }) };
  });
}

async function sendCopy(place, file) {
  await work(place, async () => {
    const fields = Object.entries(album?.fields ?? { artifacts: ARTIFACTS });
    const job = await send(file, fields, { key: random(16), onProgress: () => {}, signal: never });
    const source = { id: job.id, secret: job.secret };
    if (job.status !== "succeeded") await follow(job.id, { onChange: () => {}, onSilence: () => {}, signal: never });
    return { ...source, options: {}, source };
  });
}

/** Does what gives a place another picture, and says how it went. */
async function work(place, make) {
  busy.add(place);
  early.delete(place);
  problems.delete(place);
  show(place);
  try {
    const redone = await make();
    busy.delete(place);
    decide(place, { redone });
    say(t("{name} is colored again.", { name: files[place].name }));
  } catch (error) {
    if (!(error instanceof Problem)) console.error(error);
    problems.set(place, error instanceof Problem ? error : { message: t("Something went wrong on this page"), detail: "" });
    busy.delete(place);
    show(place);
    say(`${problems.get(place).message}. ${problems.get(place).detail}`);
  }
}

/** So that its own page, in another tab, may change it as well. */
function keepForItsPage(place) {
  const source = sourceOf(place);
  if (source) recent.remember({ ...source, name: files[place].name, expires: album?.expires ?? null });
}

/** What was made of it on its own page meanwhile. */
function offerMadeThere(place) {
  const source = sourceOf(place);
  if (!source) return;
  const there = recent.list().filter(({ id: job, revises }) => revises === source.id && job !== made.redone[place]?.id);
  viewer.offer(there, ({ id: job, secret }) => decide(place, { redone: { id: job, secret, options: {}, ...(made.redone[place]?.source && { source }) } }));
}

// The list

function matches(place) {
  const verdict = verdictOf(place);
  const { value } = element("shown");
  if (value === "undecided") return !verdict && pictureOf(place) !== null;
  if (value === "failed") return !pictureOf(place) && ENDED.has(files[place].status);
  return value === "all" || value === verdict;
}

async function showMore() {
  if (files.length >= total()) return;
  await readPart(Math.floor(files.length / PAGE));
}

async function showAll() {
  while (files.length < total()) await showMore();
}

element("shown").addEventListener("change", async () => {
  await showAll().catch(() => {});
  files.forEach((_, place) => show(place));
  const first = files.findIndex((_, place) => matches(place));
  if (first >= 0) tiles.moveTo(first, false);
});
element("more").addEventListener("click", async () => {
  const first = files.length;
  await showMore().catch(() => {});
  tiles.moveTo(first);
});
// A finger or a wheel that nears the end has the next ones come.
new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && files.length && showMore().catch(() => {}), { rootMargin: "600px" }).observe(element("more"));

/** A letter upon a photograph of the list. */
function press(key, place) {
  if (key === "a") judge(place, "accepted");
  else if (key === "x") judge(place, "rejected");
  else if (key === "u") undo();
  else if (key === "r" && files[place] && pictureOf(place) && sourceOf(place)) {
    look(place);
    viewer.toggleRedo();
  } else return false;
  return true;
}

element("undo").addEventListener("click", undo);
element("only-accepted").addEventListener("change", tellVerdicts);
for (const input of ["rest", "rest-folder"]) element(input).addEventListener("change", goOn);
element("download").addEventListener("submit", ({ target }) => {
  const places = (verdict) => Object.keys(made.verdicts).filter((place) => made.verdicts[place] === verdict).join(",");
  target.elements.without_rejected.value = String(!element("with-rejected").checked);
  target.elements.accepted.value = places("accepted");
  target.elements.rejected.value = places("rejected");
  target.elements.redone.value = Object.entries(made.redone).map(([place, { id: job }]) => `${place}:${job}`).join(",");
});
element("erase").querySelector("form").addEventListener("submit", async (event) => {
  if (!album) return; // the form works by its cookie
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    await batches.erase(id, album.secret);
    const sent = Object.values(made.redone).flatMap(({ source }) => source ?? []);
    await Promise.allSettled(sent.map((one) => eraseJob(one.id, one.secret))); // all else goes with the album
    albums.forget(id);
    location.reload();
  } catch (error) {
    button.disabled = false;
    const reason = `${error.message}. ${error.detail ?? ""}`;
    event.target.querySelector("p").textContent = t("It could not be erased. {reason}", { reason });
    say(event.target.querySelector("p").textContent);
  }
});
addEventListener("storage", () => viewer.isOpen && offerMadeThere(viewer.place));

if (Number(start) > 0) {
  location.replace(location.pathname); // a link for those without scripts
} else {
  for (const one of document.querySelectorAll(".unscripted")) one.remove();
  element("title").textContent = name();
  element("erase").hidden &&= album === null;
  if (album?.left.length) {
    element("left").textContent = t("Too large to be sent, and left out: {names}", { names: album.left.join(", ") });
    element("left").hidden = false;
  }
  tellVerdicts();
  try {
    await readPart(0);
  } catch (error) {
    if (!gone(error)) element("standing").textContent = `${error.message}. ${error.detail ?? ""}`;
  }
  await followAlbum();
}
