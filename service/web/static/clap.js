// Clap if fake: rounds of two pictures, answers, and the score.

import { decoded, expose, pause } from "./exposure.js";
import { say } from "./live.js";
import { retry } from "./retry.js";
import { language, number, plural, t } from "./strings.js";

const HERE = new URL("../clap/", import.meta.url);
const RATES = new URL("../v1/realism", import.meta.url);
const SECOND = 1000;
/** Milliseconds before the first picture, and behind each. */
const READY = 700;
const BETWEEN = 400;
/** Rounds of a game in which nothing is told before its end, as in the paper. */
const SILENT = 40;
/** Where a game stands that is not at its end, in this tab alone; and the milliseconds after which the server calls it over. */
const GAME = "autochrome.game";
const LASTS = 3_600_000;
const CHOICES = ["first", "second"];
const KEYS = { 1: "first", ArrowLeft: "first", 2: "second", ArrowRight: "second" };
/** Of a normal distribution: 95%. */
const CONFIDENCE = 1.96;

const element = (id) => document.getElementById(id);
const views = ["intro", "play", "score", "trouble"].map(element);
const stage = element("stage");
const question = element("question");
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

/** Takes "first" or "second" while that is asked, else null. */
let answer = null;
/** Of the game that is played; aborted where another is begun in its midst. */
let turn = new AbortController();

async function begin(count) {
  const { rounds } = await patiently(() => post("games", { rounds: count }));
  await play({ count, rounds, answers: [], isSeen: false, until: Date.now() + LASTS });
}

/** From the first round on that has no answer. `isSeen`: its pictures were shown before, and the page was loaded anew since. */
async function play(game) {
  const { count, rounds, answers } = game;
  const practice = rounds.length - count;
  const all = [];
  let coming = null;
  for (let at = answers.length; at < rounds.length; at++) {
    const round = rounds[at];
    const pictures = await patiently(() => coming ?? load(round), () => (coming = null));
    coming = at + 1 < rounds.length ? load(rounds[at + 1]) : null;
    const place = round.practice
      ? t("Practice {at} of {count}, which does not count", { at: at + 1, count: practice })
      : t("Round {at} of {count}", { at: at + 1 - practice, count });
    const isFirst = !game.isSeen;
    keep({ ...game, isSeen: true });
    const isFair = (await show(pictures, place)) && isFirst;
    const chosen = await ask();
    const told = await patiently(() => post("answers", { token: round.token, colored: chosen, fair: isFair }));
    all[at] = pictures;
    answers.push(told);
    game.isSeen = false;
    keep(game);
    const isLast = at + 1 === rounds.length;
    const goesOn = isLast ? t("See the score") : at + 1 === practice ? t("Begin to count") : t("Next round");
    await next({ chosen, pictures, ...told, isFair: isFair || round.practice, isSilent: !round.practice && count === SILENT, isLast, goesOn });
  }
  const played = await patiently(() => Promise.all(rounds.map(async (round, at) => ({ pictures: all[at] ?? (await load(round)), ...answers[at] }))));
  keep(null);
  await end(played.slice(practice));
}

function keep(game) {
  try {
    if (game) sessionStorage.setItem(GAME, JSON.stringify(game));
    else sessionStorage.removeItem(GAME);
  } catch {
    // No room, or not allowed: then a reload ends the game.
  }
}

/** The game that a reload has interrupted, where it is not over. */
function kept() {
  try {
    const game = JSON.parse(sessionStorage.getItem(GAME));
    return game?.until > Date.now() ? game : null;
  } catch {
    return null;
  }
}

/** Offers to go on with it. */
function offer(game) {
  if (!game) return;
  const { count, rounds, answers } = game;
  const at = Math.min(count, Math.max(1, answers.length + 1 - (rounds.length - count)));
  const button = element("resume");
  button.textContent = t("Go on with your game: round {at} of {count}", { at, count });
  button.hidden = false;
  button.addEventListener("click", () => play(game), { once: true });
}

/** Both pictures of a round, ready to be painted. */
function load(round) {
  const pictures = Promise.all(round.pictures.map((name) => decoded(new URL(`pictures/${name}`, HERE).href)));
  pictures.catch(() => {}); // whoever waits for it hears of it
  return pictures;
}

/** Resolves with whether each was shown for a second. */
async function show(pictures, place) {
  see("play");
  element("round").textContent = place;
  element("told").hidden = true;
  stage.hidden = false;
  element("answers").hidden = false;
  question.textContent = t("Look.");
  enable(false);
  question.focus({ preventScroll: true });
  await pause(READY);
  let isFair = true;
  for (const picture of pictures) {
    isFair = (await expose(stage, picture, SECOND)) && isFair;
    await pause(BETWEEN);
  }
  return isFair;
}

/** Resolves with "first" or "second". */
async function ask() {
  question.textContent = t("Which one was colored by a machine?");
  say(question.textContent);
  enable(true);
  const chosen = await new Promise((resolve) => (answer = resolve));
  answer = null;
  enable(false);
  return chosen;
}

/** Says how it was and shows both, unless that is for the end, and waits until the next round is wished for. */
async function next({ chosen, pictures, colored, isFair, isSilent, isLast, goesOn }) {
  const lines = [];
  if (!isSilent) {
    const place = colored === "first" ? t("The first was the machine’s.") : t("The second was the machine’s.");
    lines.push(`${chosen === colored ? t("Right.") : t("Fooled.")} ${place}`);
    element("pair").replaceChildren(...both(pictures, colored));
  }
  if (!isFair) lines.push(t("These pictures were not seen for just a second each, so this round does not count for others."));
  if (isSilent && !isLast && !isCalm.matches) return;
  question.textContent = lines[0] ?? t("Answered.");
  element("more").textContent = lines.slice(1).join(" ");
  element("told").hidden = false;
  stage.hidden = element("answers").hidden = !isSilent;
  element("pair").hidden = isSilent;
  say(lines.join(" "));
  element("next").textContent = goesOn;
  element("next").focus({ preventScroll: true });
  element("next").scrollIntoView({ block: "nearest" });
  await clicked("next");
}

async function end(played) {
  const of = played.length;
  const wrong = played.filter(({ fooled }) => fooled).length;
  const [low, high] = wilson(wrong, of);
  element("score-title").textContent = plural(wrong, "Fooled once in {of} rounds", "Fooled {count} times in {of} rounds", { of });
  element("yours").textContent = t("{share} of your answers were wrong; by so few rounds alone, that is anything from {low} to {high}.", {
    share: percent(wrong / of),
    low: percent(low),
    high: percent(high),
  });
  element("all").textContent = "";
  element("pairs").replaceChildren(...played.map(row));
  see("score");
  element("score-title").focus({ preventScroll: true });
  const nets = await fetch(RATES).then((found) => (found.ok ? found.json() : { nets: [] }), () => ({ nets: [] }));
  element("all").textContent = nets.nets
    .map(({ name, shown, rate, low, high }) =>
      plural(
        shown,
        "All who played here, with the network “{name}”: one answer.",
        "All who played here, with the network “{name}”: {share} ({low} to {high}) of {answers} answers.",
        { name, answers: number(shown), share: percent(rate), low: percent(low), high: percent(high) },
      ),
    )
    .join(" ");
}

/** A round with both its pictures, and how it went. */
function row({ pictures, colored, fooled }) {
  const item = document.createElement("li");
  const verdict = document.createElement("p");
  verdict.textContent = fooled ? t("Fooled you.") : t("You saw it.");
  item.className = fooled ? "fooled" : "";
  item.append(...both(pictures, colored), verdict);
  return item;
}

/** Both pictures, with what they are. */
function both(pictures, colored) {
  return pictures.map((picture, place) => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const isColored = CHOICES[place] === colored;
    caption.textContent = isColored ? t("This one was colored by the machine") : t("This one is as the camera saw it");
    picture.alt = isColored ? t("With colors by the machine") : t("With its own colors");
    figure.className = isColored ? "colored" : "";
    figure.append(picture, caption);
    return figure;
  });
}

/** The ends of the 95% interval of a share (Wilson 1927). */
function wilson(count, of) {
  const share = count / of;
  const square = CONFIDENCE ** 2;
  const middle = (share + square / (2 * of)) / (1 + square / of);
  const reach = (CONFIDENCE * Math.sqrt((share * (1 - share)) / of + square / (4 * of ** 2))) / (1 + square / of);
  return [middle - reach, middle + reach];
}

function percent(share) {
  return Math.max(0, share).toLocaleString(language, { style: "percent", maximumFractionDigits: 0 });
}

async function post(path, values) {
  const url = new URL(path, HERE);
  url.search = new URLSearchParams(values);
  // No other site's page may add the header: this one is the server's own.
  const headers = { Accept: "application/json", "X-Requested-With": "fetch" };
  const got = await fetch(url, { method: "POST", headers });
  if (got.ok) return got.json();
  throw Object.assign(new Error(`${got.status}`), { status: got.status, wait: Number(got.headers.get("Retry-After")) });
}

/** What the action resolves with. Where it fails, the page says so, and tries again when it is told to. */
async function patiently(action, before = () => {}) {
  let hasFailed = false;
  const result = await retry(action, async (error) => {
    hasFailed = true;
    const isOver = error.status === 410;
    if (isOver) keep(null);
    element("trouble-title").textContent = isOver ? t("This game is over") : t("That did not come through");
    element("trouble-detail").textContent = reason(error);
    element("retry").hidden = isOver;
    see("trouble");
    element("trouble-title").focus({ preventScroll: true });
    await clicked("retry");
    before();
  });
  if (hasFailed) see("play");
  return result;
}

function reason({ status, wait }) {
  if (status === 410) return t("It was begun more than an hour ago, or its pictures were replaced. Begin a new one.");
  if (status === 429) {
    return plural(wait, "There were many games from your network. Try again in one second.", "There were many games from your network. Try again in {count} seconds.");
  }
  return t("The connection is gone, or the service is having trouble. Your game is still here: try again.");
}

function clicked(id) {
  return new Promise((resolve) => element(id).addEventListener("click", resolve, { once: true, signal: turn.signal }));
}

function enable(isAsked) {
  for (const choice of CHOICES) element(choice).setAttribute("aria-disabled", !isAsked);
}

function see(name) {
  for (const view of views) view.hidden = view.id !== name;
}

for (const choice of CHOICES) element(choice).addEventListener("click", () => answer?.(choice));
addEventListener("keydown", (event) => {
  if (!answer || !(event.key in KEYS) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  answer(KEYS[event.key]);
});
for (const button of document.querySelectorAll("[data-rounds]")) {
  button.addEventListener("click", () => begin(Number(button.dataset.rounds)));
}
for (const id of ["again", "anew"]) {
  element(id).addEventListener("click", () => {
    turn.abort();
    turn = new AbortController();
    keep(null);
    element("resume").hidden = true;
    see("intro");
    element("intro-title").focus({ preventScroll: true });
  });
}
offer(kept());
see("intro");
