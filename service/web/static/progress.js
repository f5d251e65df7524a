// The stages of a job as they pass: the list, the bar, and one sentence for screen readers.

/** How far along a job is once the stage has ended, in hundredths. Sending and inferring take the longest. */
const REACHED = { send: 30, open: 38, preprocess: 44, infer: 80, postprocess: 92, save: 100 };
const STAGES = Object.keys(REACHED);

const SENTENCES = {
  send: "Sending the photograph",
  open: "Opening the photograph",
  preprocess: "Preparing the photograph",
  infer: "Guessing the colors",
  postprocess: "Putting color and light together",
  save: "Saving the picture",
};

export class Progress {
  /**
   * @param {{title: HTMLElement, bar: HTMLProgressElement, list: HTMLElement, grain: HTMLElement,
   *   say: (sentence: string) => void}} parts
   */
  constructor({ title, bar, list, grain, say }) {
    this.title = title;
    this.bar = bar;
    this.grain = grain;
    this.say = say;
    this.said = "";
    this.items = new Map(STAGES.map((name) => [name, list.querySelector(`[data-stage="${name}"]`)]));
  }

  reset() {
    this.said = "";
    for (const item of this.items.values()) mark(item, "", "");
    this.sent(0);
  }

  /** @param {number} share of the file that has been sent, 0 to 1 */
  sent(share) {
    mark(this.items.get("send"), "now", `${Math.round(share * 100)} %`);
    this.#show(SENTENCES.send, REACHED.send * share);
  }

  /** @param {object} job as the API tells it; `stage`: the one that has begun, where that is known */
  job({ status, stage, queue_position: position, eta_s: eta, timings }) {
    const begun = STAGES.indexOf(stage ?? "send");
    const ended = STAGES.filter((name, at) => name === "send" || at < begun || name in timings);
    const now = status === "running" ? (stage ?? STAGES[ended.length] ?? "save") : undefined;
    for (const [name, item] of this.items) {
      const seconds = timings[name];
      if (ended.includes(name)) mark(item, "done", seconds === undefined ? "" : `${seconds.toFixed(2)} s`);
      else mark(item, name === now ? "now" : "", "");
    }
    let sentence = now ? SENTENCES[now] : "Fetching the picture";
    if (status === "queued") sentence = waiting(position);
    this.#show(sentence, REACHED[ended.at(-1)], status === "queued" ? until(eta) : "");
  }

  silent() {
    this.#show("The connection is lost; trying again", this.bar.value);
  }

  /** `aside` is shown and not said: it changes too often to be read out each time. */
  #show(sentence, percent, aside = "") {
    this.bar.value = percent;
    this.grain.style.setProperty("--split", `${percent}%`);
    this.title.textContent = sentence + aside;
    if (this.said === sentence) return;
    this.said = sentence;
    this.say(sentence);
  }
}

function mark(item, state, text) {
  item.dataset.is = state;
  item.querySelector("output").textContent = text;
}

/** @param {number | null | undefined} seconds until it will probably be done */
function until(seconds) {
  if (!seconds || seconds < 2) return "";
  if (seconds < 90) return `, about ${Math.ceil(seconds)}\u00a0s`;
  return `, about ${Math.round(seconds / 60)} minutes`;
}

/** @param {number | null | undefined} position in the queue; 1 is the next */
function waiting(position) {
  if (!position || position <= 1) return "Waiting: yours is the next";
  const before = position - 1;
  return `Waiting: ${before} ${before === 1 ? "photograph" : "photographs"} before yours`;
}
