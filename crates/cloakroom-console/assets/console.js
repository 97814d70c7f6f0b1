// Without this file everything works too: by links, forms and reloading.
"use strict";

const live = document.querySelector("[data-live]");
if (live) {
  const stream = new EventSource(live.dataset.live);
  const [shown, said] = [document.querySelector("[data-state]"), document.querySelector("[role=status]")];
  let saying;
  const state = (text, spoken, patience) => {
    shown.textContent = shown.dataset.state = text;
    clearTimeout(saying);
    // A screen reader hears what changes for longer than a moment, and once.
    saying = setTimeout(() => said.textContent !== spoken && (said.textContent = spoken), patience);
  };
  const banner = () => live.querySelector("[data-banner]")?.dataset.banner;
  const isLive = () => state("live", banner() ?? (said.textContent && "The numbers are live."), 0);
  stream.onopen = isLive;
  stream.onmessage = (event) => ((live.innerHTML = event.data), isLive());
  const { CLOSED } = EventSource;
  stream.onerror = () =>
    stream.readyState === CLOSED
      ? state("stopped: reload the page", "The numbers are old: reload the page.", 0)
      : state("old numbers, reconnecting…", "The numbers are old: reconnecting.", 10_000);
  addEventListener("pagehide", () => stream.close());
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}

const boxes = () => [...document.querySelectorAll("[data-rows] input[name=id]")];
const all = document.querySelector("[data-all]");
const button = document.querySelector("[data-selected]");
function count() {
  const selected = boxes().filter((box) => box.checked).length;
  button.disabled = selected === 0;
  button.textContent = selected ? `End ${selected} selected…` : "End selected…";
  all.checked = selected > 0 && selected === boxes().length;
  all.indeterminate = selected > 0 && !all.checked;
}
if (all && button) {
  all.addEventListener("change", () => (boxes().forEach((box) => (box.checked = all.checked)), count()));
  document.querySelector("[data-rows]").addEventListener("change", count);
  count();
}

const working = document.querySelector("[data-working]");
async function follow() {
  const link = working.querySelector("a");
  const answer = await fetch(link.href, { headers: { accept: "application/json" } }).catch(() => null);
  if (answer && answer.status !== 202) return link.click();
  if (answer) working.querySelector("[data-ended]").textContent = (await answer.json()).ended.toLocaleString("en");
  setTimeout(follow, 1500);
}
if (working) setTimeout(follow, 1500);
