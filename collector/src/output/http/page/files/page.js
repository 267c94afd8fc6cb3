// Keeps the page current: fetches its changing part and puts in place what differs.
// Unfolded log lines stay unfolded, and the keyboard's focus stays where it is.
"use strict";

const EVERY_MS = 3000;
const PATIENCE_MS = 10000;

// What each part was made from, by its id: what people unfolded since then is no difference.
const sources = new Map();
const lost = document.getElementById("lost");

function unfolded(section) {
  const keys = new Set();
  for (const open of section.querySelectorAll("details[open]")) keys.add(open.dataset.key);
  return keys;
}

function place(next) {
  const current = document.getElementById(next.id);
  const source = next.outerHTML;
  if (!current || sources.get(next.id) === source) return;
  const open = unfolded(current);
  const focused = current.contains(document.activeElement)
    ? document.activeElement.closest("details")?.dataset.key
    : undefined;
  if (current.innerHTML !== next.innerHTML) current.replaceChildren(...next.childNodes);
  current.className = next.className;
  current.hidden = next.hidden;
  sources.set(next.id, source);
  for (const details of current.querySelectorAll("details")) {
    if (open.has(details.dataset.key)) details.open = true;
    if (focused === details.dataset.key) details.querySelector("summary").focus();
  }
}

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch("now", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = parsed.getElementById("live");
    const current = document.getElementById("live");
    const ids = (main) => Array.from(main.children, (child) => child.id).join();
    if (ids(next) !== ids(current)) {
      current.replaceChildren(...next.childNodes);
    } else {
      for (const part of Array.from(next.children)) place(part);
    }
    document.title = next.dataset.title;
    lost.hidden = true;
  } catch {
    lost.hidden = false;
  }
}

async function repeat() {
  await refresh();
  setTimeout(repeat, EVERY_MS);
}

document.addEventListener("visibilitychange", refresh);
setTimeout(repeat, EVERY_MS);
