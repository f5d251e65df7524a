// The page that explains: one sample, whose answer by the net is loaded when the reader comes near, and decoded here.

import { nameOf, namesOf } from "./colors.js";
import { lab } from "./lab.js";
import { say } from "./live.js";
import { Plane, hex, withRing } from "./plane.js";
import { number, t } from "./strings.js";

const [width, height] = ["width", "height"].map((side) => Number(document.getElementById("gray").getAttribute(side)));
const sliders = Object.fromEntries(["weight", "temperature", "strength"].map((name) => [name, document.getElementById(name)]));
const marks = [...document.querySelectorAll(".mark circle")];
const place = { x: Number(marks[0].getAttribute("cx")) / width, y: Number(marks[0].getAttribute("cy")) / height };
const [weighed, likeliest, annealed, mean, result] = document.querySelectorAll(".live canvas");
/** Pictures of one temperature, at whatever weight: both ends of its slider. */
const ENDS = [[likeliest, Number(sliders.temperature.min)], [mean, Number(sliders.temperature.max)]];
/** Pictures that are near what is seen. */
const near = new Set();
/** Of each live picture, what it shows: decoding and strength. */
const painted = new Map();
/** What is loaded: the answer, its decoder, a painter, the gray pixels; and the colors, with what they were decoded at. */
let sample = null;
let isAsked = false;
let isDue = false;

/* The sample */

async function load() {
  const trouble = document.getElementById("trouble");
  isAsked = true;
  try {
    const [{ read }, decoding, file] = await Promise.all([import("./distribution.js"), import("./decode.js"), fetched("how/sample.distribution")]);
    const answer = await read(file);
    const gray = await pixels(document.getElementById("gray"));
    begin({ answer, decode: decoding.decode, painter: new decoding.Painter(decoding.withoutColor(gray)), gray });
    trouble.hidden = true;
  } catch {
    trouble.hidden = false;
    say(trouble.querySelector("p").textContent);
  }
}

async function fetched(name) {
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw new Error(answer.statusText);
  return new Uint8Array(await answer.arrayBuffer());
}

async function pixels(image) {
  await image.decode();
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

function begin(loaded) {
  const { centers } = loaded.answer.header;
  const first = document.querySelector('[data-shows="chances"] svg');
  const planes = { chances: new Plane(first, centers) };
  for (const holder of document.querySelectorAll(".plane:not([data-shows=chances])")) {
    const svg = withRing(first);
    holder.prepend(svg);
    planes[holder.dataset.shows] = new Plane(svg, centers);
  }
  sample = { ...loaded, planes };
  for (const slider of [...Object.values(sliders), document.getElementById("reset")]) slider.disabled = false;
  showPlace();
  draw();
}

/* What is drawn */

/** Once a frame, however often a slider moves meanwhile. */
function redraw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    if (sample) draw();
  });
}

function draw() {
  const { answer, decode, painter } = sample;
  const weight = Number(sliders.weight.value), temperature = Number(sliders.temperature.value);
  const boldness = boldnessOf(1 - weight / 100);
  const decoding = `${weight} ${temperature}`;
  const isOther = sample.decoding !== decoding;
  if (isOther) Object.assign(sample, { decoding, colors: decode(answer, boldness, temperature), at: null });
  const due = ENDS.filter(([canvas]) => isDueAt(canvas, weight));
  for (const [canvas, end] of due) {
    painter.take(decode(answer, boldness, end));
    painter.paint(1);
    put(canvas, weight);
  }
  if (isOther || due.length) painter.take(sample.colors);
  paint([weighed, annealed], 1);
  paint([result], sliders.strength.value / 100);
  const at = row() * answer.width + column();
  if (sample.at !== at) showColor(at, boldness, temperature);
  tell(sliders.strength, percent(sliders.strength.value), null);
}

/** Those of these that are near what is seen, and others than they were; the rest follow when they come near. */
function paint(canvases, strength) {
  const wanted = `${sample.decoding} ${strength}`;
  const due = canvases.filter((canvas) => isDueAt(canvas, wanted));
  if (!due.length) return;
  sample.painter.paint(strength);
  for (const canvas of due) put(canvas, wanted);
}

/** Whether it is near what is seen, and does not show this yet. */
const isDueAt = (canvas, wanted) => near.has(canvas.parentElement) && painted.get(canvas) !== wanted;

/** Shows on a canvas what was painted last. */
function put(canvas, shown) {
  painted.set(canvas, shown);
  canvas.getContext("2d").drawImage(sample.painter.canvas, 0, 0, width, height);
  canvas.hidden = false;
}

/** The color that is taken at the marked place: on both planes, and in words. */
function showColor(at, boldness, temperature) {
  const { answer, colors, planes } = sample;
  sample.at = at;
  const taken = [colors.ab[at], colors.ab[colors.ab.length / 2 + at]];
  const logits = answer.logits(at, boldness);
  const lightness = lightnessHere();
  planes.weighed.show(logits.map(Math.exp), lightness, taken);
  planes.annealed.show(logits.map((value) => Math.exp(value / temperature)), lightness, taken);
  const color = nameOf(hex(lightness, ...taken));
  for (const id of ["weighed", "annealed"]) document.getElementById(id).textContent = t("At the marked place: {color}.", { color });
  tell(sliders.weight, percent(sliders.weight.value), color);
  tell(sliders.temperature, number(temperature, 2), color);
}

/** The boldness at which this share of the rebalancing is taken back, by the file's table, which falls. */
function boldnessOf(share) {
  const rows = sample.answer.header.boldness;
  const above = rows.findIndex(([, ofRow]) => ofRow <= share);
  const [to, low] = rows[above], [from, high] = rows[Math.max(0, above - 1)];
  return high === low ? to : from + ((to - from) * (high - share)) / (high - low);
}

function tell(slider, value, color) {
  for (const told of document.querySelectorAll(`[data-tells="${slider.id}"]`)) told.textContent = value;
  slider.setAttribute("aria-valuetext", color ? t("{value}; at the marked place: {color}", { value, color }) : value);
}

function percent(value) {
  return t("{percent}%", { percent: number(Number(value)) });
}

/* The place */

const row = () => Math.floor(place.y * sample.answer.height);
const column = () => Math.floor(place.x * sample.answer.width);

function lightnessHere() {
  const byte = 4 * (Math.floor(place.y * height) * width + Math.floor(place.x * width));
  return lab(...sample.gray.data.subarray(byte, byte + 3))[0];
}

function move(x, y) {
  place.x = Math.min(0.999, Math.max(0, x));
  place.y = Math.min(0.999, Math.max(0, y));
  for (const mark of marks) {
    mark.setAttribute("cx", place.x * width);
    mark.setAttribute("cy", place.y * height);
  }
  if (!sample) return;
  sample.at = null;
  say(showPlace().join(", "));
  redraw();
}

/** Draws the chances, and writes the likeliest colors down as a list. @returns {string[]} the same as words */
function showPlace() {
  const { answer, planes } = sample;
  const lightness = lightnessHere();
  const likely = answer.palette(row(), column());
  planes.chances.show(answer.logits(row() * answer.width + column()).map(Math.exp), lightness);
  const codes = likely.map(([a, b]) => hex(lightness, a, b));
  const names = namesOf(codes);
  const list = document.getElementById("likely");
  const said = likely.map(([, , chance], at) => [names[at], percent(Math.round(100 * chance))]);
  while (list.children.length < said.length) list.append(list.lastElementChild.cloneNode(true));
  [...list.children].forEach((item, at) => {
    item.hidden = at >= said.length;
    if (item.hidden) return;
    item.querySelector("rect").setAttribute("fill", codes[at]);
    item.querySelector(".name").textContent = said[at][0];
    item.querySelector(".value").textContent = said[at][1];
  });
  return said.map((words) => words.join(" "));
}

function follow(element) {
  const toPointer = (event) => {
    const box = element.getBoundingClientRect();
    move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  };
  element.addEventListener("pointerdown", toPointer);
  element.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) toPointer(event);
  });
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

document.getElementById("pad").addEventListener("keydown", (event) => {
  const step = STEPS[event.key];
  if (!step || !sample) return;
  event.preventDefault();
  const far = event.shiftKey ? 4 : 1;
  move(place.x + (far * step[0]) / sample.answer.width, place.y + (far * step[1]) / sample.answer.height);
});

document.querySelectorAll(".live").forEach(follow);
Object.values(sliders).forEach((slider) => slider.addEventListener("input", redraw));
document.getElementById("reset").addEventListener("click", () => {
  for (const slider of Object.values(sliders)) slider.value = slider.defaultValue;
  redraw();
  say(t("Everything is as it was."));
});
document.getElementById("retry").addEventListener("click", load);

const observer = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) near[isIntersecting ? "add" : "delete"](target);
    if (near.size && !isAsked) load();
    redraw();
  },
  { rootMargin: "500px" },
);
document.querySelectorAll(".live").forEach((picture) => observer.observe(picture));

/* Lightness */

const grayness = document.getElementById("grayness");
grayness.addEventListener("input", () => {
  document.getElementById("fade").style.setProperty("--grayness", grayness.value / 100);
  tell(grayness, percent(grayness.value), null);
});

/* Shirts */

const shirts = document.getElementById("shirts");
const red = document.getElementById("red");
const green = shirts.dataset.means.split(" ")[0];
red.addEventListener("input", () => {
  const count = Number(red.value);
  const mean = shirts.dataset.means.split(" ")[count];
  shirts.querySelectorAll(".row use").forEach((shirt, at) => shirt.setAttribute("fill", at < count ? shirts.dataset.red : green));
  outcome("mean", mean, nameOf(mean));
  const isRed = count >= 5;
  outcome("mode", isRed ? shirts.dataset.red : green, count === 5 ? t("red or green") : isRed ? t("red") : t("green"));
  shirts.querySelector(".control .value").textContent = number(count);
  red.setAttribute("aria-valuetext", t("{count} of ten are red; the mean is {color}", { count, color: nameOf(mean) }));
});

function outcome(id, color, name) {
  const line = document.getElementById(id);
  line.querySelector("use").setAttribute("fill", color);
  line.querySelector(".value").textContent = name;
}
