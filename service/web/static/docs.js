// The page for developers: its form sends a photo and shows request, answer and picture; and what it says can be searched.

import { Problem, erase, follow } from "./api.js";
import { say } from "./live.js";
import { t } from "./strings.js";

const WAIT = 30; // seconds that the answer may take
const element = (name) => document.getElementById(`trial-${name}`);
const form = document.getElementById("trial");
const send = form.querySelector("button[type=submit]");
const eraser = element("erase");
const picture = element("picture");
let made = null;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  send.disabled = true;
  eraser.hidden = picture.hidden = true;
  try {
    await color(fields(form), element("key")?.value.trim());
  } catch (error) {
    const why = error instanceof Problem ? `${error.code}: ${error.detail}` : String(error);
    element("answer").textContent += `\n\n${why}`;
    say(why);
  } finally {
    send.disabled = false;
  }
});

eraser.addEventListener("click", async () => {
  await erase(made.id, made.secret);
  eraser.hidden = picture.hidden = true;
  element("answer").textContent += `\n\n${t("Erased.")}`;
  say(t("Erased."));
});

/** What was filled in, the photo last. */
function fields(form) {
  const filled = [...new FormData(form)].filter(([, value]) => value !== "");
  return filled.sort(([one], [other]) => (one === "photo") - (other === "photo"));
}

async function color(sent, key) {
  const headers = { Prefer: `wait=${WAIT}`, Accept: "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const body = new FormData();
  for (const [name, value] of sent) body.append(name, value);
  element("request").textContent = asCurl(sent, key);
  element("answer").textContent = t("Waiting for the answer …");
  document.getElementById("trial-shown").hidden = false;

  const answer = await fetch(form.action, { method: "POST", body, headers });
  const said = await answer.json();
  show(`HTTP ${answer.status}\n${named(answer.headers)}\n`, said);
  if (!answer.ok) return say(`${said.code}: ${said.title}`);
  made = said;
  eraser.hidden = false;
  if (said.status !== "succeeded") {
    const signal = new AbortController().signal;
    const job = await follow(said.id, { onChange: () => {}, onSilence: () => {}, signal });
    show(`GET ${job.id}\n\n`, job);
  }
  picture.src = `${form.action}/${said.id}/result?redirect=false`;
  picture.hidden = false;
  say(t("The photograph is in color."));
}

function show(head, document) {
  element("answer").textContent = head + JSON.stringify(document, null, 2);
}

function named(headers) {
  const names = ["content-type", "location", "preference-applied", "retry-after", "ratelimit"];
  return names
    .filter((name) => headers.has(name))
    .map((name) => `${name}: ${headers.get(name)}\n`)
    .join("");
}

function asCurl(sent, key) {
  const parts = ["curl", "-H", `'Prefer: wait=${WAIT}'`];
  if (key) parts.push("-H", '"Authorization: Bearer $AUTOCHROME_KEY"');
  for (const [name, value] of sent) {
    parts.push("-F", quoted(value instanceof File ? `${name}=@${value.name}` : `${name}=${value}`));
  }
  return [...parts, form.action].join(" ");
}

/** As a shell takes it for one word. */
function quoted(word) {
  return /^[\w@=.,/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

const find = document.getElementById("find");
const found = [...document.querySelectorAll("details.operation, section[aria-labelledby=problems] tr[id], section[aria-labelledby=options] tr")];
const texts = found.map((one) => one.textContent.toLowerCase());
find.hidden = false;
find.querySelector("input").addEventListener("input", ({ target }) => {
  const words = target.value.toLowerCase().split(/\s+/).filter(Boolean);
  found.forEach((one, index) => {
    one.hidden = !words.every((word) => texts[index].includes(word));
  });
  const left = found.filter((one) => !one.hidden).length;
  say(t("Found: {count}", { count: left }));
});

/** A link may lead to what is folded up. */
function unfold() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.matches("details")) target.open = true;
}

addEventListener("hashchange", unfold);
unfold();
