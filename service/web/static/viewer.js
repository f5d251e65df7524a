// The picture to look at: before and after with a divider between them, larger by wheel, fingers, keys or buttons, moved about.

import { say } from "./live.js";
import { t } from "./strings.js";

/** So many times as large as it fits the page, at most, where it has no more pixels than that. */
const LEAST_ZOOM = 4;
/** Milliseconds that a finger or button stays down until the original is shown; within two of them a second tap is a double one. */
const HOLD = 300;
/** Pixels of the page by which a finger may slip and still mean one place. */
const SLIP = 8;
const STEP = 1.5;

export class Viewer {
  /**
   * @param {HTMLElement} frame as `photo.html.j2` has it
   * @param {{onZoom?: () => void}} hooks `onZoom`: it is larger than the page shows it at first
   */
  constructor(frame, { onZoom = () => {} } = {}) {
    this.frame = frame;
    this.stage = frame.querySelector(".stage");
    this.divider = frame.querySelector(".divider");
    this.onZoom = onZoom;
    /** What a tap on the picture does in place of nothing. @type {((x: number, y: number) => void) | null} */
    this.onTap = null;
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.pointers = new Map();
    this.pixels = { width: 0, height: 0 };
    this.divider?.addEventListener("input", () => this.#divide());
    this.#listen();
    new ResizeObserver(() => this.#move(this.scale, this.x, this.y)).observe(frame);
  }

  /** How many pixels the picture has, so that it can be shown at full size. */
  set size(pixels) {
    this.pixels = pixels;
  }

  /** Shows the divider at this place, in percent from the left: 0 shows the colored picture alone. */
  set divided(percent) {
    if (!this.divider) return;
    this.divider.value = percent;
    this.#divide();
  }

  /** Whether there is a divider to be seen. */
  set comparing(isComparing) {
    this.frame.classList.toggle("whole", !isComparing);
    this.#divide();
  }

  get comparing() {
    return this.divider !== null && !this.frame.classList.contains("whole");
  }

  /** Whether the original is shown in place of all. */
  set original(isShown) {
    this.frame.classList.toggle("original", isShown);
  }

  /** @param {number} factor around the middle of what is seen */
  zoom(factor) {
    const { width, height } = this.frame.getBoundingClientRect();
    this.#zoomAt(this.scale * factor, width / 2, height / 2);
    say(t("{percent}% of its size on this page", { percent: Math.round(this.scale * 100) }));
  }

  fit() {
    this.#move(1, 0, 0);
  }

  get largest() {
    const { width } = this.frame.getBoundingClientRect();
    return Math.max(LEAST_ZOOM, (2 * this.pixels.width) / Math.max(1, width * devicePixelRatio));
  }

  #divide() {
    const at = this.comparing ? Number(this.divider.value) : 0;
    this.frame.style.setProperty("--split", `${at}%`);
    this.divider?.setAttribute("aria-valuetext", t("{before}% before, {after}% after", { before: at, after: 100 - at }));
    this.#clip(at);
  }

  /** Where the divider stands on the picture, which may be larger than the frame. */
  #clip(at) {
    const { width } = this.frame.getBoundingClientRect();
    const place = width ? ((at / 100) * width - this.x) / (this.scale * width) : at / 100;
    this.stage.style.setProperty("--clip", `${100 * Math.min(1, Math.max(0, place))}%`);
  }

  #zoomAt(scale, x, y) {
    const next = Math.min(this.largest, Math.max(1, scale));
    const grown = next / this.scale;
    this.#move(next, x - (x - this.x) * grown, y - (y - this.y) * grown);
  }

  /** `x`, `y`: of the picture's corner, in pixels of the page. The picture always fills the frame. */
  #move(scale, x, y) {
    const { width, height } = this.frame.getBoundingClientRect();
    this.scale = scale;
    this.x = Math.min(0, Math.max(width * (1 - scale), x));
    this.y = Math.min(0, Math.max(height * (1 - scale), y));
    this.stage.style.transform = `translate(${this.x}px, ${this.y}px) scale(${scale})`;
    this.stage.style.setProperty("--scale", scale);
    this.frame.classList.toggle("zoomed", scale > 1);
    this.#clip(this.comparing ? Number(this.divider.value) : 0);
    if (scale > 1) this.onZoom();
  }

  #listen() {
    const { frame } = this;
    frame.addEventListener("wheel", (event) => {
      const isMeant = event.ctrlKey || this.scale > 1 || (event.deltaY < 0 && scrollY === 0);
      if (!isMeant) return;
      event.preventDefault();
      const { x, y } = this.#within(event);
      this.#zoomAt(this.scale * Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), x, y);
    }, { passive: false });
    frame.addEventListener("pointerdown", (event) => this.#down(event));
    frame.addEventListener("pointermove", (event) => this.#moved(event));
    frame.addEventListener("pointerup", (event) => this.#up(event, true));
    frame.addEventListener("pointercancel", (event) => this.#up(event, false));
    frame.addEventListener("contextmenu", (event) => event.pointerType === "touch" && event.preventDefault());
    frame.addEventListener("keydown", (event) => event.target === frame && this.#key(event));
  }

  #down(event) {
    if (event.button !== 0 || event.target.closest("input, button, a")) return;
    this.pointers.set(event.pointerId, this.#within(event));
    frameCapture(this.frame, event.pointerId);
    clearTimeout(this.holding);
    this.original = false;
    if (this.pointers.size === 1) {
      this.pressed = { ...this.#within(event), at: performance.now(), isTap: true };
      this.holding = setTimeout(() => {
        this.pressed.isTap = false;
        this.original = true;
      }, HOLD);
    } else {
      this.pressed.isTap = false;
    }
  }

  #moved(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#within(event);
    if (this.pressed.isTap && Math.hypot(now.x - this.pressed.x, now.y - this.pressed.y) > SLIP) {
      this.pressed.isTap = false;
      clearTimeout(this.holding);
    }
    if (this.pointers.size === 1 && !this.pressed.isTap && !this.frame.classList.contains("original")) {
      this.#move(this.scale, this.x + now.x - before.x, this.y + now.y - before.y);
    } else if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const grown = Math.hypot(now.x - other.x, now.y - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
      this.#move(this.scale, this.x + (now.x - before.x) / 2, this.y + (now.y - before.y) / 2);
      this.#zoomAt(this.scale * grown, (now.x + other.x) / 2, (now.y + other.y) / 2);
    }
    this.pointers.set(event.pointerId, now);
  }

  #up(event, isMeant) {
    if (!this.pointers.delete(event.pointerId)) return;
    clearTimeout(this.holding);
    this.original = false;
    if (!isMeant || !this.pressed.isTap || this.pointers.size > 0) return;
    const { x, y, at } = this.pressed;
    const { width, height } = this.frame.getBoundingClientRect();
    if (this.onTap) {
      this.onTap((x - this.x) / (this.scale * width), (y - this.y) / (this.scale * height));
    } else if (this.tapped && at - this.tapped < 2 * HOLD) {
      this.tapped = 0;
      if (this.scale > 1) this.fit();
      else this.#zoomAt(Math.min(this.largest, Math.max(2.5, this.pixels.width / Math.max(1, width))), x, y);
    } else {
      this.tapped = at;
    }
  }

  #key(event) {
    const { width, height } = this.frame.getBoundingClientRect();
    const arrow = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (event.key === "+" || event.key === "=") this.zoom(STEP);
    else if (event.key === "-") this.zoom(1 / STEP);
    else if (event.key === "0") this.fit();
    else if (arrow && this.scale > 1) this.#move(this.scale, this.x + arrow[0] * width * 0.15, this.y + arrow[1] * height * 0.15);
    else return;
    event.preventDefault();
  }

  /** Where a pointer is in the frame, in pixels of the page. */
  #within({ clientX, clientY }) {
    const { left, top } = this.frame.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }
}

/** So that a finger that leaves the frame is still followed. */
function frameCapture(frame, id) {
  try {
    frame.setPointerCapture(id);
  } catch {
    // It was lifted in this very moment.
  }
}
