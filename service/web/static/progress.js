// The stages of a job as they pass: the list, the bar, and one sentence for screen readers.

import { say } from "./live.js";
import { number, plural, t } from "./strings.js";

/** How far along a job is once the stage has ended, in hundredths. Sending and inferring take the longest. */
const REACHED = { send: 30, open: 38, preprocess: 44, infer: 80, postprocess: 92, save: 100 };
const STAGES = Object.keys(REACHED);

const SENTENCES = {
  open: t("Opening the photograph"),
  preprocess: t("Preparing the photograph"),
  infer: t("Guessing the colors"),
  postprocess: t("Putting color and light together"),
  save: t("Saving the picture"),
};

export class Progress {
  /**
   * @param {{title: HTMLElement, bar: HTMLProgressElement, list: HTMLElement, grain: HTMLElement}} parts
   */
  constructor({ title, bar, list, grain }) {
    this.title = title;
    this.bar = bar;
    this.grain = grain;
    this.said = "";
    this.items = new Map(STAGES.map((name) => [name, list.querySelector(`[data-stage="${name}"]`)]));
  }

  /** @param {object} job as the API tells it; `stage`: the one that has begun, where that is known */
  job({ status, stage, queue_position: position, eta_s: eta, timings }) {
    const begun = STAGES.indexOf(stage ?? "send");
    const ended = STAGES.filter((name, at) => name === "send" || at < begun || name in timings);
    const now = status === "running" ? (stage ?? STAGES[ended.length] ?? "save") : undefined;
    for (const [name, item] of this.items) {
      const seconds = timings[name];
      if (ended.includes(name)) mark(item, "done", seconds === undefined ? "" : `${number(seconds, 2)} s`);
      else mark(item, name === now ? "now" : "", "");
    }
    let sentence = now ? SENTENCES[now] : t("Fetching the picture");
    if (status === "queued") sentence = waiting(position);
    this.#show(sentence, REACHED[ended.at(-1)], status === "queued" ? until(eta) : "");
  }

  silent() {
    this.#show(t("The connection is lost; trying again"), this.bar.value);
  }

  /** `aside` is shown and not said: it changes too often to be read out each time. */
  #show(sentence, percent, aside = "") {
    this.bar.value = percent;
    this.grain.style.setProperty("--split", `${percent}%`);
    this.title.textContent = sentence + aside;
    if (this.said === sentence) return;
    this.said = sentence;
    say(sentence);
  }
}

function mark(item, state, text) {
  item.dataset.is = state;
  item.querySelector("output").textContent = text;
}

/** @param {number | null | undefined} seconds until it will probably be done */
function until(seconds) {
  if (!seconds || seconds < 2) return "";
  if (seconds < 90) return t(", about {time}", { time: `${Math.ceil(seconds)}\u00a0s` });
  return t(", about {minutes} minutes", { minutes: Math.round(seconds / 60) });
}

/** @param {number | null | undefined} position in the queue; 1 is the next */
function waiting(position) {
  if (!position || position <= 1) return t("Waiting: yours is the next");
  return plural(position - 1, "Waiting: one photograph before yours", "Waiting: {count} photographs before yours");
}
