// "Not right?": other colors for a photo, seen at once, taken back, and kept as a photo of their own.

import { tellBoldness, tellStrength } from "./amounts.js";
import { fetchArtifact, preview, revise, suggest } from "./api.js";
import { nameOf, namesOf } from "./colors.js";
import { Painter, colorsOf, decode, withoutColor } from "./decode.js";
import { read } from "./distribution.js";
import { Known } from "./known.js";
import { say } from "./live.js";
import { Grid } from "./reach.js";
import { keepTried, remember, tried } from "./recent.js";
import { number, plural, t } from "./strings.js";

/** Longest side in pixels of what is seen before it is kept. */
const PREVIEW = 1024;
/** Options of pictures that are only looked at: they make nothing else, and go after ten minutes. */
const PASSING = { size: PREVIEW, format: "jpeg", quality: 95, artifacts: [], alternatives: 0, keep_for: 600, priority: "interactive", mark: false };
/** Longest side in pixels at which colors of a picture are looked at: the net has far fewer places. */
const COLORS = 256;
const ALTERNATIVES = 3;
const MOST_HINTS = 32;
/** How far around a place its color is sure, in shorter sides of the photo: of a spot, and of each place that stands for a whole thing. */
const SPOT = 0.01;
const WHOLE = 0.05;
const GRAY = "#808080";

const element = (id) => document.getElementById(id);

/**
 * What a person wishes to be different.
 * @typedef {{strength: number, boldness: number, hints: {x: number, y: number, color: string, radius: number}[], chosen: number}} Wish
 */

export class Opinion {
  /**
   * @param {object} job as the API tells it
   * @param {{id: string, secret: string, name: string}} own the photo as this browser keeps it in mind
   * @param {import("./viewer.js").Viewer} viewer
   * @param {(message: string) => void} tell shows a sentence and says it
   */
  constructor(job, own, viewer, tell) {
    this.job = job;
    this.own = own;
    this.viewer = viewer;
    this.tell = tell;
    const { vividness, boldness, hints, chosen } = job.options;
    /** @type {Wish[]} what was wished one after another; the first is the picture of this page */
    this.wishes = [{ strength: vividness, boldness, hints, chosen: chosen ?? 0 }];
    this.at = 0;
    const before = tried(job.id); // by the same tab, before the page was loaded again
    if (before) {
      this.wishes.push(...before.wishes.slice(1));
      this.at = before.at;
    }
    this.strength = element("strength");
    this.caution = element("caution");
    this.turn = new AbortController();
    this.#show(this.wish);
    this.#listen();
  }

  get wish() {
    return this.wishes[this.at];
  }

  /** The color that was chosen last, for a further place. @type {string | undefined} */
  get used() {
    return this.wishes.flatMap(({ hints }) => hints).at(-1)?.color;
  }

  /** What differs from the picture of this page, as options; null where nothing does. */
  get unkept() {
    return this.at === 0 ? null : asOptions(this.wish);
  }

  /** Fetches what the sliders need, so that the first move is as quick as the others. */
  async prepare() {
    this.ready ??= this.#load().catch((problem) => {
      this.ready = null;
      throw problem;
    });
    await this.ready;
  }

  async #load() {
    const before = element("viewer").querySelector(".before img");
    await before?.decode();
    const gray = before && grayOf(before, this.job.notices);
    const made = this.job.artifacts.find(({ name }) => name === "distribution");
    if (made) this.distribution = await read(new Uint8Array(await (await fetchArtifact(this.job.id, "distribution")).arrayBuffer()));
    if (!gray) return;
    const { frame, width, height } = this.distribution?.header.photo ?? {};
    const [top, left, bottom, right] = frame ?? [0, 0, 1, 1];
    const box = frame ? { left: left / width, top: top / height, right: right / width, bottom: bottom / height } : undefined;
    this.grid = new Grid(gray, box);
    this.painters = { framed: new Painter(gray, box), whole: new Painter(gray) };
    // Once in advance: what is compiled and worked out on the way need not be waited for later.
    if (this.distribution) this.#decode(this.wish.boldness);
  }

  #listen() {
    for (const slider of [this.strength, this.caution]) {
      slider.addEventListener("input", () => this.#slide(slider));
      slider.addEventListener("change", () => this.#wish(this.#slid()));
    }
    element("undo").addEventListener("click", () => this.#step(-1));
    element("redo").addEventListener("click", () => this.#step(+1));
    element("keep").addEventListener("click", () => this.#keep(asOptions(this.wish)));
    new Known(element("known"), this.job.options.palette, (palette) => this.#keep({ ...this.unkept, palette }));
    element("closer").addEventListener("click", () => this.#keep({ ...this.unkept, detail: this.job.options.detail === "on" ? "off" : "on" }));
    element("pick").addEventListener("click", () => this.#picking(element("pick").getAttribute("aria-pressed") !== "true"));
    element("others").addEventListener("click", () => this.#guesses());
    element("sure").addEventListener("click", () => this.#sureness());
    for (const button of element("more").querySelectorAll("[data-turn]")) {
      button.addEventListener("click", () => this.#keep(this.#turned(Number(button.dataset.turn))));
    }
    for (const button of element("more").querySelectorAll("[data-change]")) {
      const name = button.dataset.change;
      button.addEventListener("click", () => this.#keep({ [name]: !this.job.options[name], hints: [] }));
    }
    this.#crossListen();
  }

  /** As the sliders stand. */
  #slid() {
    return { ...this.wish, strength: Number(this.strength.value), boldness: -Number(this.caution.value) || 0 };
  }

  /** While a slider moves: what the browser can show by itself. */
  #slide() {
    const wish = this.#slid();
    this.#label(wish);
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.#paintHere(wish));
  }

  /** Paints from what is here, at once; false where the server has to be asked. */
  #paintHere(wish) {
    if (!this.painters) return false;
    if (isOwn(wish)) {
      if (!this.distribution || this.job.options.palette.length > 0) return false;
      if (this.decoded !== wish.boldness) this.#decode(wish.boldness);
      this.#paint(this.painters.framed, wish.strength);
      return true;
    }
    if (this.base?.wish.boldness === wish.boldness && sameBase(this.base.wish, wish) && this.base.strength > 0) {
      this.#paint(this.painters.whole, wish.strength / this.base.strength);
      return this.base.strength === wish.strength;
    }
    return false;
  }

  #decode(boldness) {
    this.painters.framed.take(decode(this.distribution, boldness, this.job.options.temperature));
    this.decoded = boldness;
  }

  #paint(painter, strength) {
    painter.paint(strength);
    const side = element("viewer").querySelector(".after");
    if (painter.canvas.parentElement !== side) {
      side.querySelector("canvas")?.remove();
      side.append(painter.canvas);
    }
  }

  /** A new wish: seen, and remembered for undo. */
  #wish(wish) {
    if (JSON.stringify(wish) === JSON.stringify(this.wish)) return this.#show(wish);
    this.wishes = [...this.wishes.slice(0, this.at + 1), wish];
    this.at += 1;
    element("said").hidden = true; // it was of another wish
    this.#remember();
    return this.#show(wish);
  }

  #step(by) {
    this.at = Math.min(this.wishes.length - 1, Math.max(0, this.at + by));
    this.#remember();
    this.#show(this.wish);
    say(by < 0 ? t("Undone.") : t("Done again."));
  }

  #remember() {
    keepTried(this.job.id, { wishes: this.wishes, at: this.at });
  }

  /** Shows the picture of a wish, by this browser or by the server. */
  async #show(wish) {
    this.strength.value = wish.strength;
    this.caution.value = -wish.boldness;
    this.#label(wish);
    this.#history();
    this.turn.abort();
    this.turn = new AbortController();
    const { signal } = this.turn;
    if (this.at === 0) {
      element("viewer").querySelector(".after canvas")?.remove();
      return this.#busy(false);
    }
    try {
      await this.prepare();
      if (signal.aborted || this.#paintHere(wish)) return this.#busy(false);
      this.#busy(true);
      await this.#fetchBase(wish, signal);
      this.#busy(false);
    } catch (problem) {
      if (signal.aborted) return;
      this.#busy(false);
      this.#complain(problem);
    }
  }

  /** A small picture from the server, with colors that this browser cannot work out. */
  async #fetchBase(wish, signal) {
    const picture = await createImageBitmap(await preview(this.own, { ...PASSING, ...asOptions(wish) }, signal));
    if (signal.aborted) return;
    if (!this.painters) return this.#showAlone(picture);
    this.base = { wish, strength: wish.strength };
    this.painters.whole.take(colorsOf(pixelsOf(picture, within(picture, COLORS))));
    this.#paint(this.painters.whole, 1);
  }

  /** Where the photo has no comparison, there is no lightness to join colors with. */
  #showAlone(picture) {
    const canvas = document.createElement("canvas");
    canvas.width = picture.width;
    canvas.height = picture.height;
    canvas.getContext("2d").drawImage(picture, 0, 0);
    const side = element("viewer").querySelector(".after");
    side.querySelector("canvas")?.remove();
    side.append(canvas);
  }

  #label({ strength, boldness }) {
    tellStrength(this.strength, strength);
    tellBoldness(this.caution, boldness);
  }

  #history() {
    element("undo").disabled = this.at === 0;
    element("redo").disabled = this.at === this.wishes.length - 1;
    element("keep").disabled = this.at === 0;
  }

  #busy(isBusy) {
    element("busy").hidden = !isBusy;
    element("viewer").setAttribute("aria-busy", isBusy);
  }

  #complain(problem) {
    if (!problem.detail) console.error(problem);
    this.tell(problem.detail ? `${problem.message}. ${problem.detail}` : t("Something went wrong on this page. Reload it and try again."));
  }

  /* A place and its color */

  #picking(isOn) {
    element("pick").setAttribute("aria-pressed", isOn);
    element("places").hidden = !isOn;
    element("cross").hidden = !isOn;
    element("swatches").hidden = true;
    element("ring").hidden = true;
    element("viewer").classList.toggle("picking", isOn);
    this.viewer.onTap = isOn ? (x, y) => this.#place(x, y) : null;
    if (!isOn) return;
    this.viewer.comparing = false;
    element("comparing")?.setAttribute("aria-pressed", "false");
    this.#cross(0.5, 0.5);
    say(element("place-help").textContent);
  }

  /** The cross, for who has no pointer: arrow keys move it, with Shift by small steps. */
  #crossListen() {
    const cross = element("cross");
    cross.addEventListener("keydown", (event) => {
      const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!arrow) return;
      event.preventDefault();
      const step = event.shiftKey ? 0.01 : 0.05;
      this.#cross(this.spot.x + step * arrow[0], this.spot.y + step * arrow[1]);
    });
    cross.addEventListener("click", () => this.#place(this.spot.x, this.spot.y));
  }

  #cross(x, y) {
    this.spot = { x: Math.min(0.99, Math.max(0.01, x)), y: Math.min(0.99, Math.max(0.01, y)) };
    const cross = element("cross");
    cross.style.left = `${100 * this.spot.x}%`;
    cross.style.top = `${100 * this.spot.y}%`;
    cross.setAttribute("aria-label", t("Place: {x}% from the left, {y}% from the top. Choose it", {
      x: Math.round(100 * this.spot.x),
      y: Math.round(100 * this.spot.y),
    }));
  }

  /** Shows the place of which colors are offered. */
  #ring({ x, y }) {
    const ring = element("ring");
    ring.style.left = `${100 * x}%`;
    ring.style.top = `${100 * y}%`;
    ring.hidden = false;
  }

  /** Lists the likely colors of a place. */
  async #place(x, y) {
    this.#cross(x, y);
    const place = { x: Math.round(1e4 * x) / 1e4, y: Math.round(1e4 * y) / 1e4 };
    this.#ring(place);
    let colors = [];
    try {
      const made = this.job.artifacts.some(({ name }) => name === "suggestions");
      colors = made ? await suggest(this.job.id, place.x, place.y) : [];
    } catch (problem) {
      return this.#complain(problem);
    }
    const likely = colors.map(({ color }) => color).filter((color) => color !== this.used && color !== GRAY);
    const offered = this.used && this.used !== GRAY ? [this.used, ...likely] : likely;
    const names = [...namesOf(offered), t("no color")];
    const buttons = [...offered, GRAY].map((color, at) => this.#swatch(color, names[at], place));
    if (this.used) {
      const again = buttons[this.used === GRAY ? buttons.length - 1 : 0];
      again.append(" ", t("(used last)"));
      buttons.unshift(...buttons.splice(buttons.indexOf(again), 1));
    }
    buttons.push(this.#ownColor(offered[0] ?? GRAY, place));
    element("swatches").replaceChildren(...buttons);
    element("swatches").hidden = false;
    buttons[0].focus({ preventScroll: true });
    element("swatches").scrollIntoView({ block: "nearest" });
    say(plural(colors.length, "One likely color for this place", "{count} likely colors for this place"));
  }

  #swatch(color, name, place) {
    const button = document.createElement("button");
    button.type = "button";
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.style.backgroundColor = color;
    button.append(chip, name);
    button.addEventListener("click", () => this.#hint(place, color, name));
    return button;
  }

  /** Any other color, by the browser's own chooser. */
  #ownColor(color, place) {
    const label = document.createElement("label");
    label.className = "own";
    const input = document.createElement("input");
    input.type = "color";
    input.value = color;
    input.addEventListener("change", () => this.#hint(place, input.value, nameOf(input.value)));
    label.append(input, t("another"));
    label.focus = (options) => input.focus(options);
    return label;
  }

  /** Colors a spot, or the whole thing around it: other colors that were chosen for that give way. */
  async #hint(place, color, name) {
    const isWhole = element("whole").checked;
    if (isWhole) await this.prepare().catch(() => {}); // what is wrong is said by what shows the picture
    const { places, has } = isWhole && this.grid ? this.grid.reach(place) : { places: [place], has: () => false };
    const isOther = (hint) =>
      places.every(({ x, y }) => Math.hypot(hint.x - x, hint.y - y) >= 1e-3) && !(hint.radius === WHOLE && hint.color !== color && has(hint));
    const added = places.map((one) => ({ ...one, color, radius: isWhole ? WHOLE : SPOT })).reverse(); // of two at one place, the last counts
    const hints = [...this.wish.hints.filter(isOther), ...added];
    if (hints.length > MOST_HINTS) return this.tell(t("Too many places are colored already. Take one back first."));
    this.#wish({ ...this.#slid(), hints });
    return say(isWhole ? t("This is {color} now.", { color: name }) : t("This place is {color} now.", { color: name }));
  }

  /* Other guesses */

  async #guesses() {
    const box = element("guesses");
    if (!box.hidden) {
      box.hidden = true;
      return;
    }
    if (!this.guessed) {
      element("others").disabled = true;
      try {
        const options = { ...PASSING, size: 384, alternatives: ALTERNATIVES, vividness: 1, boldness: 0, hints: [], chosen: 0 };
        this.guessed = await revise(this.own, options);
      } catch (problem) {
        return this.#complain(problem);
      } finally {
        element("others").disabled = false;
      }
    }
    const others = this.guessed.artifacts.filter(({ kind }) => kind === "alternative");
    if (others.length === 0) return this.tell(t("There is no other guess: the network is sure of this one."));
    const first = this.#guess(0, "result", t("First guess"));
    const rest = others.map(({ name, rank, probability }) =>
      this.#guess(rank, `artifacts/${name}`, t("Guess {number}", { number: rank + 1 }), t("{percent}% likely where it differs", { percent: Math.round(100 * probability) })));
    box.replaceChildren(first, ...rest);
    box.hidden = false;
    box.scrollIntoView({ block: "nearest" });
    say(plural(others.length, "One other guess", "{count} other guesses"));
  }

  #guess(rank, file, name, likely = "") {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", rank === this.wish.chosen);
    const picture = document.createElement("img");
    picture.src = new URL(`../v1/colorizations/${this.guessed.id}/${file}?redirect=false`, import.meta.url);
    picture.alt = "";
    const title = document.createElement("strong");
    title.textContent = name;
    button.append(picture, title, likely);
    button.addEventListener("click", () => {
      for (const other of element("guesses").children) other.setAttribute("aria-pressed", other === button);
      this.viewer.comparing = false;
      element("comparing")?.setAttribute("aria-pressed", "false");
      this.#wish({ ...this.#slid(), chosen: rank });
      say(name);
    });
    return button;
  }

  /* How sure? */

  async #sureness() {
    const button = element("sure");
    const isOn = button.getAttribute("aria-pressed") !== "true";
    if (isOn && !this.confidence) {
      button.disabled = true;
      try {
        const made = await revise(this.own, { ...PASSING, artifacts: ["confidence"] });
        this.confidence = await (await fetchArtifact(made.id, "confidence-map")).json();
        element("unsure").src = new URL(`../v1/colorizations/${made.id}/artifacts/confidence?redirect=false`, import.meta.url);
        await element("unsure").decode();
      } catch (problem) {
        return this.#complain(problem);
      } finally {
        button.disabled = false;
      }
    }
    button.setAttribute("aria-pressed", isOn);
    element("unsure").hidden = !isOn;
    element("legend").hidden = !isOn;
    if (!isOn) return undefined;
    const all = this.confidence.percent.flat();
    const share = (most) => number((100 * all.filter((percent) => percent < most).length) / all.length);
    element("sureness").textContent = t("In {unsure}% of the picture the network is unsure of the color, and in {guess}% it is a mere guess.", {
      unsure: share(50),
      guess: share(30),
    });
    return say(element("sureness").textContent);
  }

  /* Kept */

  /** Colors the whole photo so, and goes to the page of that. */
  async #keep(options) {
    const buttons = [...element("opinion").querySelectorAll("button")].filter((button) => !button.disabled);
    for (const button of buttons) button.disabled = true;
    this.#busy(true);
    say(t("Coloring the whole photograph"));
    try {
      const kept = { priority: "interactive", format: this.job.options.format, ...options };
      await keep(this.own, kept);
      if (options.hints === this.wish.hints) keepTried(this.job.id, null); // it has a page of its own now
    } catch (problem) {
      this.#complain(problem);
      this.#busy(false);
      for (const button of buttons) button.disabled = false;
    }
  }

  /** The options of the photo turned clockwise by so many degrees: with it turn the places of which colors are known. */
  #turned(degrees) {
    const turned = ({ x, y, ...hint }) => (degrees === 90 ? { x: 1 - y, y: x, ...hint } : { x: y, y: 1 - x, ...hint });
    return { rotate: (this.job.options.rotate + degrees) % 360, hints: this.job.options.hints.map(turned) };
  }
}

/** Colors a photo anew as a photo of its own, and leads to its page. */
export async function keep(own, options) {
  const made = await revise(own, options);
  remember({ id: made.id, secret: made.secret, name: own.name, revises: made.revises, expires: made.expires_at });
  location.assign(new URL(`../photos/${made.id}`, import.meta.url));
}

function asOptions({ strength, boldness, hints, chosen }) {
  return { vividness: strength, boldness, hints, chosen, ...(chosen ? { alternatives: ALTERNATIVES } : { alternatives: 0 }) };
}

/** Whether the net's whole answer is enough for it. */
function isOwn({ hints, chosen }) {
  return hints.length === 0 && chosen === 0;
}

function sameBase(one, other) {
  return one.chosen === other.chosen && JSON.stringify(one.hints) === JSON.stringify(other.hints);
}

/** The photo's lightness as gray pixels. The left half of a comparison is that but for a photo in color: then it is the right one's. */
function grayOf(comparison, notices) {
  const half = comparison.naturalWidth / 2, height = comparison.naturalHeight;
  const size = within({ width: half, height }, PREVIEW);
  if (!notices.some(({ code }) => code === "photo_in_color")) return pixelsOf(comparison, size, [0, 0, half, height]);
  return withoutColor(pixelsOf(comparison, size, [half, 0, half, height]));
}

/** A size of this shape whose longest side is no more. */
function within({ width, height }, longest) {
  const scale = Math.min(1, longest / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

function pixelsOf(picture, { width, height }, part = [0, 0, picture.width, picture.height]) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, ...part, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}
