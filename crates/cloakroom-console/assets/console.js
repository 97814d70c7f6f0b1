// Without this file everything works too: by links, forms and reloading.
"use strict";

const live = document.getElementById("live");
if (live) {
  const stream = new EventSource(live.dataset.live);
  const state = (text) => {
    const shown = live.querySelector("[data-state]");
    if (shown) {
      shown.textContent = text;
      shown.dataset.state = text;
    }
  };
  stream.onmessage = (event) => (live.innerHTML = event.data);
  const { OPEN, CLOSED } = EventSource;
  stream.onerror = () => state(stream.readyState === CLOSED ? "stopped: reload the page" : "reconnecting…");
  document.addEventListener("visibilitychange", () => !document.hidden && stream.readyState === OPEN && state("live"));
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

if (document.querySelector("[data-reload]")) setTimeout(() => document.querySelector("[data-reload] a").click(), 1500);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "/") (event.preventDefault(), document.querySelector("input[type=search]").focus());
  if (event.key === "n") document.querySelector("a[rel=next]")?.click();
});
