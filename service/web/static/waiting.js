// The page of a photo that waits or is being colored: its place in the line, its stages, and the way to stop it.

import { Problem, erase, follow } from "./api.js";
import { showRecent } from "./gallery.js";
import { say } from "./live.js";
import { Progress } from "./progress.js";
import { forget, recall, remember, sent } from "./recent.js";
import { t } from "./strings.js";

const element = (id) => document.getElementById(id);
const job = JSON.parse(element("job").textContent);
const own = recall(job.id);
const turn = new AbortController();
const progress = new Progress({
  title: element("heading"),
  bar: element("progress"),
  list: element("stages"),
  grain: element("sheet").querySelector(".grain"),
});

async function wait() {
  progress.job(job);
  try {
    await follow(job.id, {
      onChange: (seen) => progress.job(seen),
      onSilence: () => progress.silent(),
      signal: turn.signal,
    });
  } catch (problem) {
    if (turn.signal.aborted) return;
    if (problem instanceof Problem && problem.code === "connection_lost") return waitForConnection(problem);
    // The page itself says in words why there is no picture.
  }
  try {
    sessionStorage.setItem("autochrome.waited", job.id);
  } catch {
    // A browser may forbid that anything is kept.
  }
  location.reload();
}

/** Nothing is lost: the photo is colored meanwhile. */
function waitForConnection(problem) {
  element("heading").textContent = problem.message;
  tell(t("Check that you are online. The photograph is safe on the server, and this page goes on by itself."));
  addEventListener("online", () => location.reload(), { once: true });
}

async function stop() {
  element("stop").disabled = true;
  try {
    await erase(job.id, own.secret);
    turn.abort();
    forget(job.id);
    location.reload();
  } catch (problem) {
    element("stop").disabled = false;
    tell(t("It could not be erased. {reason}", { reason: `${problem.message}. ${problem.detail ?? ""}` }));
  }
}

function tell(message) {
  element("said").hidden = false;
  element("said").textContent = message;
  say(message);
}

if (own) {
  remember({ id: job.id, expires: job.expires_at, revises: job.revises });
  element("stop").addEventListener("click", stop);
  const picture = sent(job.id) ?? own.thumbnail;
  if (picture) {
    const preview = element("preview");
    preview.src = picture;
    preview.hidden = false;
    await preview.decode().catch(() => {});
    element("sheet").style.setProperty("--wide", preview.naturalWidth / Math.max(1, preview.naturalHeight));
  }
}
showRecent(element("recent"), job.id);
wait();
